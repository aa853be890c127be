"""Which candidates are asked for after which events: what was shown, or positives among sampled negatives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpgr.core.errors import DataError
from hpgr.data.catalogue import Catalogue
from hpgr.data.negatives import SampledNegatives
from hpgr.data.ranges import Queries, flat_index, lower_bound, offsets_from
from hpgr.data.store import Exposures, SequenceStore


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lists:
    """Candidates for ``B`` histories: events ``start [B] … stop [B]-1``, asked at ``now_ms [B]``.

    ``item_rows [C]``: item rows of the events (-1: unknown there); ``offsets [B+1]``; ``label [C]`` where known.
    """

    start: np.ndarray
    stop: np.ndarray
    now_ms: np.ndarray
    item_rows: np.ndarray
    offsets: np.ndarray
    label: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Lists:
        """The lists at ``rows [n]``, in that order."""
        low, high = self.offsets[rows], self.offsets[rows + 1]
        at = flat_index(low, high)
        return Lists(
            start=self.start[rows],
            stop=self.stop[rows],
            now_ms=self.now_ms[rows],
            item_rows=self.item_rows[at],
            offsets=offsets_from(high - low),
            label=None if self.label is None else self.label[at],
        )

    def shuffled(self, generator: np.random.Generator) -> Lists:
        """The same lists, each in random order."""
        row = np.repeat(np.arange(len(self.start)), np.diff(self.offsets))
        order = np.lexsort((generator.random(len(row)), row))
        label = None if self.label is None else self.label[order]
        return replace(self, item_rows=self.item_rows[order], label=label)


def exposures_of(store: SequenceStore) -> Exposures:
    """Raises: DataError if the store has none."""
    if store.exposures is None:
        raise DataError(
            "exposures (none) must be in the store; prepare the log with its label column, or sample negatives"
        )
    return store.exposures


def request_histories(store: SequenceStore, requests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(start, stop)``, ``[n]`` each: the events of each request's user strictly before it."""
    exposures, offsets = exposures_of(store), np.asarray(store.user_offsets)
    user = np.asarray(exposures.request_user)[requests]
    now_ms = np.asarray(exposures.request_time_ms)[requests]
    return offsets[user], lower_bound(store.time_ms, offsets[user], offsets[user + 1], now_ms)


def exposed_lists(store: SequenceStore, requests: np.ndarray) -> Lists:
    """What was shown in each of the ``requests`` (rows of the store's exposures), in the store's order."""
    exposures = exposures_of(store)
    start, stop = request_histories(store, requests)
    low, high = np.asarray(exposures.offsets)[requests], np.asarray(exposures.offsets)[requests + 1]
    shown = flat_index(low, high)
    return Lists(
        start=start,
        stop=stop,
        now_ms=np.asarray(exposures.request_time_ms)[requests],
        item_rows=np.asarray(exposures.item_idx)[shown].astype(np.int64),
        offsets=offsets_from(high - low),
        label=np.asarray(exposures.label)[shown],
    )


def sampled_lists(
    queries: Queries, catalogue: Catalogue, negatives: SampledNegatives, generator: np.random.Generator
) -> Lists:
    """The targets of each query among sampled negatives; a negative that is another target of the query is left out."""
    count = negatives.negatives
    first = queries.target_idx[queries.target_offsets[:-1]]
    drawn = catalogue.store_rows()[negatives.draw(catalogue, catalogue.rows(first), generator)].reshape(-1)
    row = np.concatenate([queries.query_of_target(), np.repeat(np.arange(len(queries)), count)])
    item = np.concatenate([queries.target_idx, drawn])
    label = np.arange(len(item)) < len(queries.target_idx)
    keep = label | ~np.isin(row * len(catalogue.of_store) + item, (row * len(catalogue.of_store) + item)[label])
    row, item, label = row[keep], item[keep], label[keep]
    order = np.argsort(row, kind="stable")
    return Lists(
        start=queries.start,
        stop=queries.stop,
        now_ms=queries.now_ms,
        item_rows=item[order],
        offsets=offsets_from(np.bincount(row, minlength=len(queries))),
        label=label[order],
    ).shuffled(generator)
