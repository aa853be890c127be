"""Names are filed once and found with a hint."""

import pytest

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.registry import Registry
from hpgr.core.seeds import derive
from hpgr.core.units import seconds


def test_registry_finds_and_refuses():
    things = Registry("thing")
    things.register("sasrec")(1)
    assert things["sasrec"] == 1
    assert list(things) == ["sasrec"]
    with pytest.raises(UnknownNameError, match="no thing is named 'sasrecc'; did you mean sasrec\\?"):
        things["sasrecc"]
    with pytest.raises(ConfigError, match="must be registered once"):
        things.register("sasrec")(2)


def test_durations():
    assert seconds("2d") == 172800
    with pytest.raises(ConfigError, match=r"duration \(half an hour\) must be a number with one of the units"):
        seconds("half an hour")
    with pytest.raises(ConfigError):
        seconds("-3m")


def test_seeds_differ_by_place_and_fit_torch():
    assert len({derive(1, "a", i) for i in range(100)}) == 100
    assert 0 <= derive(7) < 2**63
