from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.request_tokens import RequestTokens

HOUR_MS = 3_600_000


def test_a_token_each_for_hour_day_and_length():
    tokens = RequestTokens.Config().build(dim=4)
    now_ms = torch.tensor([0, 24 * HOUR_MS - 1, 8 * 24 * HOUR_MS + 5 * HOUR_MS])
    with torch.no_grad():
        for table in (tokens.hour, tokens.weekday, tokens.length):
            table.weight.copy_(torch.arange(table.num_embeddings)[:, None].expand(-1, 4))
    # Two buckets a doubling from one event on: none is row 0, one row 1, two row 3, nine (2^3.17) row 7.
    got = tokens(now_ms, torch.tensor([0, 2, 9]))
    assert got.shape == (3, RequestTokens.NUM_TOKENS, 4)
    assert got[:, :, 0].tolist() == [[0, 0, 0], [23, 0, 3], [5, 1, 7]]


def test_a_length_beyond_the_table_has_its_last_row():
    tokens = RequestTokens.Config().build(dim=2)
    long, longer = tokens(torch.zeros(2, dtype=torch.int64), torch.tensor([10**6, 10**9])).unbind()
    assert torch.equal(long, longer)


def test_a_bad_option_is_named():
    with pytest.raises(ConfigError, match=r"std \(0.0\) must be positive"):
        RequestTokens.Config(std=0.0)
