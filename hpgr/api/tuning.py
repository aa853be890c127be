"""Trials: settings of a search space, drawn at random or by Optuna, each judged on the validation part and kept.

Source: Bergstra & Bengio, JMLR 2012 (random search). Departs: no setting is drawn twice.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hpgr.api.study import Space, option_text
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.core.seeds import derive, numpy_generator
from hpgr.evaluation.headlines import smaller_is_better
from hpgr.evaluation.writing import write_whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """``setting``: option paths and texts. ``value``: of the metric on validation; none where training diverged, as
    ``fault`` says. ``key``: what was asked; a record of another key does not count."""

    number: int
    setting: dict[str, str]
    metric: str
    value: float | None
    seconds: float
    sampler: str
    key: str
    fault: str = ""

    @property
    def changes(self) -> list[str]:
        """The setting as ``overridden`` takes it."""
        return [f"{path}={text}" for path, text in self.setting.items()]

    @property
    def outcome(self) -> str:
        """For people."""
        return self.fault if self.value is None else f"{self.metric} {self.value:.4f}"

    @property
    def worth(self) -> float:
        """The larger the better."""
        if self.value is None:
            return -math.inf
        return -self.value if smaller_is_better(self.metric) else self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Which settings of ``space`` are tried next. ``sampler``: ``random`` or ``tpe``; equal seeds and results, equal settings."""

    space: Space
    sampler: str
    seed: int
    name: str

    def next(self, tried: Sequence[Trial]) -> dict[str, str]:
        """The setting after those that were tried; never one of them.

        Raises: ConfigError where every setting was tried.
        """
        before = [trial.setting for trial in tried]
        if len(before) >= size(self.space):
            raise ConfigError(f"space of {self.name} ({size(self.space)} settings) must hold more than {len(before)}")
        if self.sampler == "tpe":
            asked = self._asked(tried)
            if asked not in before:
                return asked
        return next(setting for setting in self._drawn() if setting not in before)

    def _drawn(self) -> Iterator[dict[str, str]]:
        generator = numpy_generator(self.seed, "trials", self.name)
        while True:
            rows = {path: int(generator.integers(len(choices))) for path, choices in self.space.items()}
            yield {path: option_text(self.space[path][row]) for path, row in rows.items()}

    def _asked(self, tried: Sequence[Trial]) -> dict[str, str]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        options = {path: [option_text(choice) for choice in choices] for path, choices in self.space.items()}
        asked = {path: optuna.distributions.CategoricalDistribution(texts) for path, texts in options.items()}
        seed = derive(self.seed, "tpe", self.name, len(tried)) % 2**32
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for trial in tried:
            state = optuna.trial.TrialState.FAIL if trial.value is None else optuna.trial.TrialState.COMPLETE
            value = None if trial.value is None else trial.worth
            study.add_trial(
                optuna.trial.create_trial(params=trial.setting, distributions=asked, value=value, state=state)
            )
        return {path: str(text) for path, text in study.ask(asked).params.items()}


def chosen_sampler(asked: str) -> str:
    """The sampler that a name means here.

    Raises: UnsupportedError for ``tpe`` without Optuna.
    """
    there = importlib.util.find_spec("optuna") is not None
    if asked == "tpe" and not there:
        raise UnsupportedError("sampler (tpe) must have Optuna; install it with: pip install 'hpgr[tune]'")
    return "tpe" if asked == "auto" and there else "random" if asked == "auto" else asked


def size(space: Space) -> int:
    """How many settings a space holds.

    >>> size({"a": (1, 2), "b": (0.1, 0.2, 0.3)})
    6
    """
    return math.prod(len(choices) for choices in space.values())


def tune(
    search: Search, trials: int, key: str, folder: Path, judge: Callable[[int, dict[str, str]], Trial]
) -> list[Trial]:
    """``trials`` trials in order, each kept in ``folder/NUMBER.json``; those that are there are not judged again."""
    found: list[Trial] = []
    for number in range(1, trials + 1):
        path = folder / f"{number:03}.json"
        trial = _kept(path, key)
        if trial is None or any(trial.setting == earlier.setting for earlier in found):
            trial = judge(number, search.next(found))
            write_whole(path, json.dumps(asdict(trial), indent=1, ensure_ascii=False, allow_nan=False).encode())
        found.append(trial)
    return found


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the best value, of equal ones the first.

    Raises: DataError where none has a value.
    """
    found = max(trials, key=lambda trial: trial.worth)
    if found.value is None:
        raise DataError(f"trials ({len(trials)}) must have one with a value; the first: {trials[0].fault}")
    return found


def _kept(path: Path, key: str) -> Trial | None:
    if not path.exists():
        return None
    try:
        trial = Trial(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None
    return trial if trial.key == key else None
