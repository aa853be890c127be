"""What exactly was asked of a model: a hash of every (user, history, target), and the facts a reader should know.

The hash speaks in the users' own ids and times, so that neither the order of rows in a file nor our numbering matters.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpgr.core.errors import DataError
from hpgr.data.catalogue import Catalogue
from hpgr.data.digests import QuestionDigests
from hpgr.data.ranges import Queries, Ranges, chunks, flat_index, lower_bound
from hpgr.data.store import SequenceStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """``hash``: 64 hexadecimal digits; ``facts``: JSON values by name. Results compare only under one hash."""

    hash: str
    facts: dict[str, Any]

    def to_json(self) -> str:
        """Text that ``from_json`` reads."""
        return json.dumps({"hash": self.hash, "facts": self.facts}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Raises: DataError if the text is not a certificate."""
        try:
            tree = json.loads(text)
            return cls(hash=tree["hash"], facts=tree["facts"])
        except (ValueError, KeyError, TypeError):
            raise DataError("certificate (unreadable) must be what hpgr wrote; evaluate again to make one") from None


def same(a: Certificate, b: Certificate) -> None:
    """Raises: DataError with both hashes if two results were not asked the same questions."""
    if a.hash != b.hash:
        raise DataError(
            f"certificates ({a.hash[:16]} and {b.hash[:16]}) must be the same for results to be compared; "
            "evaluate both on one split of one log"
        )


def certify(
    store: SequenceStore, *, rule: str, train: Ranges, catalogue: Catalogue, test: Queries, requests: np.ndarray
) -> Certificate:
    """The certificate of the ``test`` queries and of the test ``requests`` (rows of the store's exposures)."""
    digests = QuestionDigests(store)
    seal = hashlib.sha256()
    for part in (digests.of_queries(test), digests.of_requests(requests)):
        seal.update(len(part).to_bytes(8, "little"))
        seal.update(np.sort(part).astype("<u8").tobytes())
    return Certificate(hash=seal.hexdigest(), facts=_facts(store, rule, train, catalogue, test, requests))


def _facts(
    store: SequenceStore, rule: str, train: Ranges, catalogue: Catalogue, test: Queries, requests: np.ndarray
) -> dict[str, Any]:
    times = np.asarray(store.time_ms)
    first_test = int(test.now_ms.min())
    later = int((train.stop - lower_bound(times, train.start, train.stop, np.full(len(train), first_test + 1))).sum())
    asked = np.unique(test.user_idx)
    lengths = np.diff(store.user_offsets)
    return {
        "rule": rule,
        "ties": store.ties,
        "queries": len(test),
        "requests": len(requests),
        "targets": len(test.target_idx),
        "users": len(asked),
        "users_without_target": int((lengths > 0).sum()) - len(asked),
        "items": len(catalogue),
        "train_users": len(train),
        "train_events": train.num_events,
        "tied_events_share": _tied_share(store),
        "train_later_than_a_test_event_share": later / train.num_events if store.timed else None,
        "cold_user_share": float(np.mean(~np.isin(asked, train.user_idx))),
        "cold_target_share": float(np.mean(catalogue.rows(test.target_idx) == len(catalogue))),
        "repeat_target_share": float(np.mean(_is_repeat(store, test))),
    }


def _tied_share(store: SequenceStore) -> float:
    """The share of events that have a user and a time in common with another."""
    times, first = np.asarray(store.time_ms), np.asarray(store.user_offsets[:-1])
    tied = np.zeros(len(times) + 1, dtype=bool)
    tied[1:-1] = times[1:] == times[:-1]
    tied[first] = False
    return float(np.mean(tied[1:] | tied[:-1]))


def _is_repeat(store: SequenceStore, test: Queries) -> np.ndarray:
    """``[targets]`` bool: the target occurs in the history of its own query."""
    users, query = np.unique(test.user_idx), test.query_of_target()
    offsets, num_items = np.asarray(store.user_offsets), len(store.items)
    found = np.zeros(len(query), dtype=bool)
    for low, high in chunks(offsets[users + 1] - offsets[users]):
        some = users[low:high]
        event = flat_index(offsets[some], offsets[some + 1])
        owner = np.repeat(some, offsets[some + 1] - offsets[some])
        pair, first = np.unique(owner * num_items + np.asarray(store.item_idx)[event], return_index=True)
        here = np.flatnonzero(np.isin(test.user_idx[query], some))
        wanted = test.user_idx[query[here]] * num_items + test.target_idx[here]
        at = np.minimum(np.searchsorted(pair, wanted), len(pair) - 1)
        found[here] = (pair[at] == wanted) & (event[first[at]] < test.stop[query[here]])
    return found
