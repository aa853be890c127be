"""Config trees: there and back, overrides by path, and what is refused."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from hpgr.core.config import from_tree, options, override, to_tree
from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    dim: int = 4
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    flag: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    part: Part = Part()
    stages: tuple[Part, ...] = (Part(), Part(dim=8))


def test_tree_there_and_back():
    whole = Whole(part=Part(names=("x", "y"), limit=3))
    assert from_tree(json.loads(json.dumps(to_tree(whole)))) == whole


def test_overrides_reach_every_kind():
    changed = override(
        Whole(),
        {
            "part.dim": "7",
            "part.rate": "1e-3",
            "part.kind": "b",
            "part.limit": "5",
            "part.flag": "true",
            "part.names": "x,y",
            "stages.1.dim": "9",
        },
    )
    assert changed.part == Part(dim=7, rate=1e-3, kind="b", limit=5, flag=True, names=("x", "y"))
    assert [s.dim for s in changed.stages] == [4, 9]
    assert override(changed, {"part.limit": "none"}).part.limit is None


@pytest.mark.parametrize(
    ("path", "text", "error", "message"),
    [
        ("part.dmi", "1", UnknownNameError, r"no option at 'part.dmi' is named 'dmi'; did you mean dim\?"),
        ("part.dim", "x", ConfigError, r"part.dim \(x\) must be an integer"),
        ("part.kind", "c", UnknownNameError, r"no choice for part.kind is named 'c'; known: a, b"),
        ("part.flag", "1", ConfigError, r"part.flag \(1\) must be true or false"),
        ("part", "1", ConfigError, r"part \(1\) must be set through one of its own options"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(path, text, error, message):
    with pytest.raises(error, match=message):
        override(Whole(), {path: text})


def test_code_that_is_not_ours_is_refused():
    with pytest.raises(UnsupportedError, match="outside hpgr; import os_not_imported first"):
        from_tree({"class": "os_not_imported:Thing"})
    with pytest.raises(UnsupportedError, match="this version of hpgr does not have"):
        from_tree({"class": "hpgr.core.config:Nothing"})
    with pytest.raises(UnsupportedError, match="not a config class"):
        from_tree({"class": "os:system"})


def test_options_lists_every_path():
    assert options(Whole())["stages.1.dim"] == 8
    assert "part.names" in options(Whole())
