"""A study: models × data × seeds, every trained model tuned by the same number of trials; a file holds one."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from hpgr.api.comparing import Question
from hpgr.api.evaluating import Measure
from hpgr.api.material import Part
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.split_rules import GlobalTime, SplitRule
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card_files import file_name
from hpgr.training.run import Run

Say = Callable[[str], None]
Space = Mapping[str, tuple[Any, ...]]
"""Option paths of a run and what each may be: ``{"stages.retrieve.lr": (1e-3, 3e-3)}``."""


class Compared(Protocol):
    """Runs on one log and what is asked of it, as a recipe has them; all runs share one split."""

    @property
    def summary(self) -> str: ...
    @property
    def entries(self) -> tuple[Run, ...]: ...
    @property
    def question(self) -> Question: ...
    @property
    def source(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def view(self) -> Mapping[str, Any]: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def exclude_seen(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """What is asked of which log. ``source``, ``folder`` and ``view``: as in a recipe; or ``build``, which writes a store
    to the path that it is given. ``limit``: questions asked at most, spread evenly; None: all. ``exclude_seen``: what is in
    a user's history is not recommended. ``metric``: what trials on it are judged by, in place of the tuning's. ``entries``:
    runs that a recipe has for it, for the functions of models to take theirs from."""

    question: Question
    split: SplitRule = field(default_factory=GlobalTime)
    source: str | None = None
    folder: str = ""
    view: Mapping[str, Any] = field(default_factory=dict)
    build: Callable[[Path], SequenceStore] | None = None
    limit: int | None = None
    exclude_seen: bool = False
    metric: str | None = None
    entries: tuple[Run, ...] = ()

    @classmethod
    def of(cls, recipe: Compared, *, question: Question | None = None, metric: str | None = None) -> DataSet:
        """The log of a recipe, asked as there; or another ``question``."""
        return cls(
            question=question or recipe.question,
            split=recipe.entries[0].split,
            source=recipe.source,
            folder=recipe.folder,
            view=recipe.view,
            limit=recipe.limit,
            exclude_seen=recipe.exclude_seen,
            metric=metric,
            entries=recipe.entries,
        )

    def entry(self, name: str) -> Run:
        """The run of that name.

        Raises: UnknownNameError where the recipe has none.
        """
        for run in self.entries:
            if run.name == name:
                return run
        raise UnknownNameError.of("entry", name, [run.name for run in self.entries])

    def measure(self, part: Part = "test") -> Measure:
        """How the data set is asked."""
        return Measure(part=part, question=self.question, limit=self.limit, exclude_seen=self.exclude_seen)

    def __post_init__(self) -> None:
        if (self.source is None) == (self.build is None):
            raise ConfigError(f"source ({self.source}) or build must be given, and only one of them")
        if self.question not in ("retrieve", "rank"):
            raise ConfigError(f"question ({self.question}) must be retrieve or rank")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit ({self.limit}) must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """``trials`` settings of each model's space are tried with one seed and judged by ``metric`` on the validation part.

    ``spaces``: by model. ``metric``: of the result card; by default NDCG@10 or GAUC, as the question is; a data set may name
    its own. ``sampler``: ``random`` draws without repetition; ``tpe`` is Optuna's (extra ``tune``); ``auto`` is ``tpe`` where
    it is installed.
    """

    trials: int
    spaces: Mapping[str, Space]
    metric: str | None = None
    sampler: Literal["auto", "random", "tpe"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"trials ({self.trials}) must be at least 1; leave tuning out to try none")
        if self.sampler not in ("auto", "random", "tpe"):
            raise ConfigError(f"sampler ({self.sampler}) must be auto, random or tpe")
        for model, space in self.spaces.items():
            for path, choices in space.items():
                if isinstance(choices, str) or not choices or len(set(map(option_text, choices))) < len(choices):
                    raise ConfigError(f"choices of {path} of {model} ({choices!r}) must be a tuple of different values")

    def metric_for(self, data: DataSet) -> str:
        """What a trial on ``data`` is judged by."""
        return data.metric or self.metric or ("NDCG@10" if data.question == "retrieve" else "GAUC")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """``models``: by name a function of the data set that gives the run; name, split and seed of the run are the study's.

    The first of ``seeds`` is also that of the trials. ``factors``: by name the models that differ in one thing, the one that
    the others are held against first; each gets a plot, and the differences with their intervals. ``changes``: options of
    every run, as ``overridden`` takes them.
    """

    data: Mapping[str, DataSet]
    models: Mapping[str, Callable[[DataSet], Run]]
    seeds: tuple[int, ...] = (1, 2, 3)
    tuning: Tuning | None = None
    summary: str = "Study"
    factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        recipe: Compared,
        *,
        data: Mapping[str, DataSet],
        summary: str | None = None,
        factors: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Study:
        """The runs of a recipe as they are, with five seeds."""
        models = {run.name: lambda data, run=run: run for run in recipe.entries}
        seeds = (1, 2, 3, 4, 5)
        return cls(summary=summary or recipe.summary, data=data, models=models, seeds=seeds, factors=factors or {})

    def __post_init__(self) -> None:
        for name, values in (("data", self.data), ("models", self.models), ("seeds", self.seeds)):
            if not values:
                raise ConfigError(f"{name} (none) must be at least one")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds ({', '.join(map(str, self.seeds))}) must be different")
        names = [*self.data, *self.models]
        if len({file_name(name) for name in names}) < len(names):
            raise ConfigError(f"names of data and models ({', '.join(names)}) must be different, also as folders")
        for factor, models in self.factors.items():
            if len(models) < 2:
                raise ConfigError(f"models of factor {factor} ({', '.join(models) or 'none'}) must be at least 2")
            for model in models:
                if model not in self.models:
                    raise UnknownNameError.of(f"model of factor {factor}", model, self.models)
        for model in self.tuning.spaces if self.tuning else ():
            if model not in self.models:
                raise UnknownNameError.of("model of the study", model, self.models)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where a study runs and who is told: ``out`` keeps everything, ``data`` holds the public data sets."""

    out: Path
    data: Path | None = None
    say: Say = lambda line: None
    progress: bool = False


def option_text(value: Any) -> str:
    """A value as an override takes it.

    >>> option_text(0.003), option_text(True), option_text(None), option_text((0.9, 0.98))
    ('0.003', 'true', 'none', '0.9,0.98')
    """
    if isinstance(value, (tuple, list)):
        return ",".join(map(option_text, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def study_of(path: Path) -> Study:
    """The study that the one function of a Python file returns whose annotation says so.

    Raises: ConfigError where the file cannot be read as Python, or has no such function or several.
    """
    found = [
        value
        for value in vars(_module(path)).values()
        if inspect.isfunction(value) and value.__module__ == _module_name(path) and _returns_a_study(value)
    ]
    if len(found) != 1:
        names = ", ".join(function.__name__ for function in found) or "none"
        raise ConfigError(f"functions of {path} that return a Study ({names}) must be one: def study() -> Study: ...")
    made = found[0]()
    if not isinstance(made, Study):
        raise ConfigError(f"{found[0].__name__} of {path} (gave {type(made).__name__}) must return a Study")
    return made


def _returns_a_study(function: Callable[..., Any]) -> bool:
    try:
        return typing.get_type_hints(function).get("return") is Study
    except NameError:
        return False


def _module_name(path: Path) -> str:
    return f"study_file_{path.stem}"


def _module(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"file ({path}) must be a Python file that is there")
    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Config classes that the file defines are found again by the name of their module.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise ConfigError(f"{path} ({error}) must be Python that can be imported") from error
    return module
