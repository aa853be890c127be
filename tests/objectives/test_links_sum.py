"""Links added up in pieces."""

import torch

import hpgr.ops.keyed_sums as keyed_sums
from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.objectives.links import SkipLinks, SummedLinks


def histories() -> list[History]:
    generator = torch_generator(5, "items")
    return [
        History.from_lists([torch.randint(9, (30,), generator=generator).tolist() for _ in range(4)]) for _ in range(6)
    ]


def test_merging_early_changes_no_bit(monkeypatch):
    sums = []
    for merge_at in (10**9, 100, 0):
        monkeypatch.setattr(keyed_sums, "_MERGE_AT", merge_at)
        counter = SummedLinks(SkipLinks(reach=3), num_items=8)
        for history in histories():
            counter.add(history)
        if merge_at == 0:
            assert len(counter._sums._key_P) > 0, "nothing was merged on the way"
        sums.append(counter.links())
    for merged in sums[1:]:
        assert all(torch.equal(a, b) for a, b in zip(sums[0], merged))
    from_N, to_N, weight_N = sums[0]
    assert (from_N * 8 + to_N).diff().min() > 0
    want = {}
    for history in histories():
        for origin, target, weight in zip(*(column.tolist() for column in SkipLinks(reach=3).links(history))):
            want[origin, target] = want.get((origin, target), 0.0) + weight
    known = {pair: weight for pair, weight in want.items() if max(pair) < 8}
    assert len(known) < len(want)
    got = dict(zip(zip(from_N.tolist(), to_N.tolist()), weight_N.tolist()))
    assert got.keys() == known.keys()
    assert all(abs(got[pair] - known[pair]) < 1e-5 for pair in known)
