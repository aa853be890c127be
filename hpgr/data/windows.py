"""Training batches of bare histories: windows of the training ranges, jagged, to a token budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.seeds import derive, numpy_generator
from hpgr.data.budget import fill_by_length
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import Events, gather_history
from hpgr.data.keyed_draws import KeyedDraws
from hpgr.data.ranges import Ranges, flat_index
from hpgr.data.thinning import kept_events, kept_lengths, thin_length, thinned
from hpgr.data.tie_shuffle import shuffled_ties

_SAMPLINGS = ("cover", "proportional", "prefixes")


class TrainWindows:
    """Iterates over one epoch of ``History`` batches; the same for the same seed, epoch and number of ranks.

    A history's ``now_ms`` is the time of its last event, which is what a hidden event at the end is asked at.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``max_len``: events in a window at most. ``batch_tokens``: events in a batch at most.

        ``min_len``: users with fewer training events are left out. ``sampling``: ``cover`` cuts every user's events
        into windows at borders that move with each epoch, so that each event is in exactly one; ``proportional``
        draws as many windows as make up the same number of events, users in proportion to their events; ``prefixes`` has
        a window for every event from the ``min_len``-th on: it and what came before, which is for objectives that predict
        a window's last event only.
        ``stochastic_length``: alpha in (1, 2]; a window of more than ``max_len ** (alpha / 2)`` events is often thinned
        to as many, anew in each epoch; 2 keeps all (see ``hpgr.data.thinning``).
        """

        max_len: int = 200
        batch_tokens: int = 8192
        min_len: int = 2
        sampling: Literal["cover", "proportional", "prefixes"] = "cover"
        stochastic_length: float = 2.0

        def __post_init__(self) -> None:
            if self.min_len < 1:
                raise ConfigError(f"min_len ({self.min_len}) must be at least 1")
            if self.max_len < 2 * self.min_len - 1:
                raise ConfigError(f"max_len ({self.max_len}) must be at least 2 * min_len - 1 ({2 * self.min_len - 1})")
            if self.batch_tokens < self.max_len:
                raise ConfigError(
                    f"batch_tokens ({self.batch_tokens}) must be at least max_len ({self.max_len}); a window must fit"
                )
            if self.sampling not in _SAMPLINGS:
                raise ConfigError(f"sampling ({self.sampling}) must be one of {', '.join(_SAMPLINGS)}")
            if not 1 < self.stochastic_length <= 2:
                raise ConfigError(f"stochastic_length ({self.stochastic_length}) must lie in (1, 2]")

    def __init__(
        self,
        events: Events,
        ranges: Ranges,
        catalogue: Catalogue,
        config: Config,
        *,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        shuffle_ties: bool = False,
    ) -> None:
        """``shard``: (rank, world); every rank gets equally many batches and together they are the epoch.
        ``shuffle_ties``: simultaneous events of a session come in another order in each epoch, for ties that are a set.

        Raises: DataError if no range has ``min_len`` events.
        """
        self.config = config
        self._events, self._catalogue, self._seed, self._shard = events, catalogue, seed, shard
        self._shuffle_ties = shuffle_ties
        enough = ranges.lengths >= config.min_len
        self._start, self._stop = ranges.start[enough], ranges.stop[enough]
        self.skipped_events = int(ranges.lengths[~enough].sum())
        if not enough.any():
            raise DataError(f"training part must have a user with {config.min_len} events (min_len); it has none")
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that ``len`` and iteration speak of."""
        self._epoch = epoch
        self._plan: list[tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[History]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> History:
        """One batch of the epoch, by its place in it."""
        start, stop = self._batches()[number]
        now_ms = np.asarray(self._events.time_ms)[stop - 1]
        history = gather_history(self._events, self._catalogue, start, stop, now_ms, max_len=self.config.max_len)
        if self._shuffle_ties:
            draws = KeyedDraws(derive(self._seed, "ties", self._epoch))
            history = shuffled_ties(history, draws.uniform("events", flat_index(start, stop)))
        return history if self.config.stochastic_length == 2 else self._thinned(history, start, stop)

    def borders(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """``(start [B], stop [B])``: the events that the windows of one batch are cut from."""
        return self._batches()[number]

    def _batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        if self._plan is None:
            generator = numpy_generator(self._seed, "windows", self._epoch)
            start, stop = _WINDOWS[self.config.sampling](self._start, self._stop, self.config, generator)
            rows = fill_by_length(self._kept(start, stop), self.config.batch_tokens, generator, self._shard)
            self._plan = [(start[batch], stop[batch]) for batch in rows]
        return self._plan

    def _kept(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """``[W]`` int64: events that stay of each window."""
        if self.config.stochastic_length == 2:
            return stop - start
        thin_len = max(thin_length(self.config.max_len, self.config.stochastic_length), self.config.min_len)
        draw = KeyedDraws(derive(self._seed, "thinning", self._epoch)).uniform("windows", start, stop)
        return kept_lengths(stop - start, thin_len, draw)

    def _thinned(self, history: History, start: np.ndarray, stop: np.ndarray) -> History:
        draws = KeyedDraws(derive(self._seed, "thinning", self._epoch))
        draw = draws.uniform("events", flat_index(start, stop), np.repeat(start, stop - start))
        offsets, time_ms = history.user_offsets.numpy(), history.time_ms.numpy()
        return thinned(history, kept_events(time_ms, offsets, self._kept(start, stop), draw))


def covering_windows(
    start: np.ndarray, stop: np.ndarray, config: TrainWindows.Config, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """``(start [W], stop [W])``: windows of ``min_len`` to ``max_len`` events that cover each range once.

    A range longer than ``max_len`` is cut at a random phase; a piece at either end that would be shorter than
    ``min_len`` takes events from its neighbour.
    """
    size, least = config.max_len, config.min_len
    lengths = stop - start
    phase = np.where(lengths > size, generator.integers(1, size + 1, len(lengths)), size)
    phase = np.maximum(phase, least)
    later = -(-np.maximum(lengths - phase, 0) // size)
    owner = np.repeat(np.arange(len(lengths)), later + 1)
    ordinal = flat_index(np.zeros_like(later), later + 1)
    opens = start[owner] + np.where(ordinal == 0, 0, phase[owner] + (ordinal - 1) * size)
    is_last = np.append(owner[1:] != owner[:-1], True)
    opens = np.where(is_last & (ordinal > 0), np.minimum(opens, stop[owner] - least), opens)
    closes = np.append(opens[1:], 0)
    return opens, np.where(is_last, stop[owner], closes)


def _proportional_windows(
    start: np.ndarray, stop: np.ndarray, config: TrainWindows.Config, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    lengths = stop - start
    size = np.minimum(lengths, config.max_len)
    ends = np.cumsum(lengths)
    expected = float((lengths / ends[-1] * size).sum())
    drawn = np.searchsorted(ends, generator.integers(0, ends[-1], max(round(ends[-1] / expected), 1)), side="right")
    opens = start[drawn] + generator.integers(0, lengths[drawn] - size[drawn] + 1)
    return opens, opens + size[drawn]


def _prefixes(
    start: np.ndarray, stop: np.ndarray, config: TrainWindows.Config, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    count = stop - start - config.min_len + 1
    closes = flat_index(start + config.min_len, stop + 1)
    return np.maximum(np.repeat(start, count), closes - config.max_len), closes


_WINDOWS = {"cover": covering_windows, "proportional": _proportional_windows, "prefixes": _prefixes}
