from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.event_features import HOUR_MS, EventFeatures
from hpgr.models.sasrec import sasrec


def test_kinds_and_hours_are_added_and_a_new_kind_is_unknown(close):
    trunk = EventFeatures.Config(num_actions=2, week=True, utc_offset_h=1).build(dim=4)
    history = History.from_lists([[5, 5, 5]], times_ms=[[0, HOUR_MS, 168 * HOUR_MS]], actions=[[1, 2, 9]])
    x = history.jagged(torch.randn(3, 4))
    with torch.no_grad():
        added = trunk(x, history).values - x.values
        close(added, trunk.actions.weight[[1, 2, 0]] + trunk.hours.weight[[1, 2, 1]])


def test_it_learns_what_only_the_hour_tells():
    """In even hours item 1 follows, in odd ones item 2; the item before is always 0."""
    costs = {}
    for week in (False, True):
        torch.manual_seed(0)
        trunk = EventFeatures.Config(week=True) if week else None
        frame = replace(sasrec(dim=8, num_layers=1, dropout=0.0), trunk=trunk).build(num_items=3)
        optimiser = torch.optim.Adam(frame.parameters(), lr=0.02)
        for step in range(80):
            hours = torch.randint(48, (16,), generator=torch_generator(step)).tolist()
            history = History.from_lists(
                [[0, 1 + h % 2] for h in hours], times_ms=[[h * HOUR_MS, h * HOUR_MS + 1] for h in hours]
            )
            optimiser.zero_grad()
            loss = frame.loss(history, torch_generator(step))["loss"]
            loss.backward()
            optimiser.step()
        costs[week] = loss.item()
    assert costs[False] > 0.6
    assert costs[True] < 0.2


def test_nothing_to_tell_is_refused():
    with pytest.raises(ConfigError, match=r"week \(False\) must be True where num_actions is 0"):
        EventFeatures.Config()
