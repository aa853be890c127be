from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.ops.hashed_positions import IMPLEMENTATIONS, hashed_positions, recall, sign_codes
from hpgr.ops.nearest_positions import nearest_positions


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_fewest_differing_bits_by_hand(impl):
    # They differ from 0 in 2, 0, 64, 1 and 0 bits.
    key, query = torch.tensor([[0b11], [0], [-1], [0b100], [0]]), torch.tensor([[0]])
    where = torch.tensor([0, 5]), torch.tensor([0, 1])
    assert hashed_positions(query, key, *where, 6, impl=impl).tolist() == [[4, 1, 3, 0, 2, -1]]


@pytest.mark.parametrize(
    ("history", "candidates"), [([0, 1, 7], [2, 1, 3]), ([0], [2]), ([], []), ([300, 9], [3, 5])], ids=str
)
def test_vectorised_matches_the_reference(history, candidates):
    items = torch.randn(6, 16)
    key, query = (items[torch.randint(0, 6, (sum(lengths),))] for lengths in (history, candidates))
    where = [offsets_of(torch.tensor(lengths, dtype=torch.int64)) for lengths in (history, candidates)]
    codes = [sign_codes(x, 128) for x in (query, key)]
    got, want = (hashed_positions(*codes, *where, 4, impl=i) for i in ("vectorised", "reference"))
    assert got.tolist() == want.tolist()


def test_more_bits_find_more_of_the_nearest_and_opposites_share_none():
    history, asked = torch.randn(600, 32), torch.randn(50, 32)
    where = torch.tensor([0, 600]), torch.tensor([0, 50])
    exact = nearest_positions(asked, history, *where, 16)
    found = {
        bits: recall(hashed_positions(sign_codes(asked, bits), sign_codes(history, bits), *where, 16), exact)
        for bits in (64, 1024)
    }
    assert 16 / 600 < found[64] < found[1024]
    assert found[1024] > 0.7
    assert sign_codes(asked, 64).shape == (50, 1)
    assert torch.equal(sign_codes(3 * asked, 64), sign_codes(asked, 64))


def test_bad_input_is_named():
    codes, offsets = torch.zeros(3, 1).long(), torch.tensor([0, 3])
    with pytest.raises(ConfigError, match=r"k \(0\) must be at least 1"):
        hashed_positions(codes, codes, offsets, offsets, 0)
    with pytest.raises(ValueError, match=r"query and key must be \(C, W\) and \(T, W\); got \(3, 1\) and \(3, 2\)"):
        hashed_positions(codes, torch.zeros(3, 2).long(), offsets, offsets, 1)
    for bits in (0, 65):
        with pytest.raises(ConfigError, match=rf"bits \({bits}\) must be a positive multiple of 64"):
            sign_codes(torch.zeros(1, 4), bits)
