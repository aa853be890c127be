"""Facts of MTGR on whole models (its card, 2, 5 and 6): times, cross features, and the leak that its mask closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.config import override
from hpgr.core.seeds import torch_generator
from hpgr.encoders.mtgr_tokens import Domain
from hpgr.evaluation.classification import auc
from hpgr.models.mtgr import mtgr

NUM_ITEMS = 12
DAY_MS = 86_400_000
NOW_MS = 20 * DAY_MS
OLD_MS = [NOW_MS - 3 * DAY_MS + i for i in range(3)]
SMALL = mtgr(dim=16, num_layers=2, dropout=0.0, features=())


def packed_users(items: list[list[int]], times_ms: list[list[int]], asked, asked_ms: list[int], features=None):
    """A user's candidates are shown one after another, at ``asked_ms``."""
    history = History.from_lists(items, times_ms=times_ms, now_ms=[NOW_MS] * len(items))
    candidates = Candidates.from_lists(asked.tolist(), now_ms=history.now_ms, features=features)
    return history, replace(candidates, time_ms=torch.tensor(asked_ms * len(items)))


def labelled(candidates: Candidates, label: torch.Tensor) -> Candidates:
    return replace(candidates, label=label.reshape(-1, 1), weight=torch.ones(label.numel()))


def trained(config, batches, *, steps: int, lr: float):
    torch.manual_seed(0)
    model = config.build(num_items=NUM_ITEMS)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        model.loss(batches[step % len(batches)], torch_generator(7, step))["loss"].backward()
        optimiser.step()
    return model.eval()


def auc_of(scores: torch.Tensor, candidates: Candidates) -> float:
    return auc(scores.detach().reshape(-1).numpy(), candidates.label.reshape(-1).numpy())


def test_an_item_clicked_at_or_after_a_candidate_changes_nothing_before():
    torch.manual_seed(1)
    model = mtgr(dim=16, features=("times_seen",)).build(num_items=NUM_ITEMS).eval()
    times = [*OLD_MS, *(NOW_MS - 1000 * (9 - i) for i in range(9))]
    asked, features = torch.arange(NUM_ITEMS - 3).view(1, 9), torch.randn(9, 1)
    items = list(range(12))
    before = model.logits(*packed_users([items], [times], asked, times[3:], features))
    items[8] = 0
    after = model.logits(*packed_users([items], [times], asked, times[3:], features))
    assert torch.equal(before[:6], after[:6])
    assert (before[6:] != after[6:]).all()


def test_every_domain_learns_its_own_norm():
    model = mtgr(dim=16).build(num_items=NUM_ITEMS)
    times = [*OLD_MS, NOW_MS - 2000, NOW_MS - 1000]
    history, candidates = packed_users(
        [[1, 2, 3, 4, 5]], [times], torch.tensor([[6, 7]]), [NOW_MS] * 2, torch.randn(2, 8)
    )
    label = torch.tensor([1.0, 0.0])
    model.loss((history, labelled(candidates, label)), torch_generator(0))["loss"].backward()
    for layer in model.encoder.layers[:-1]:
        for norm in (layer.in_norm, layer.read_norm):
            assert norm.gain_GD.shape[0] == len(Domain)
            assert (norm.gain_GD.grad != 0).any(1).all()


def test_the_ablations_are_options():
    config = override(
        mtgr(),
        {
            "encoder.layer.grouped": "false",
            "encoder.dynamic_mask": "false",
            "features": "none",
            "encoder.request": "none",
        },
    )
    model = config.build(num_items=NUM_ITEMS)
    assert model.encoder.layers[0].in_norm.gain_GD.shape[0] == 1
    assert model.encoder.request is None
    assert model.feature_in is None
    assert config.encoder.dynamic_mask is False


def rated(seed: int, num_users: int = 32) -> tuple[History, Candidates]:
    """Labels follow a rate that only the features know, and a little the parity of the history."""
    generator = torch_generator(seed, "rated")
    kind = torch.randint(2, (num_users, 1), generator=generator)
    items = 2 * torch.randint(NUM_ITEMS // 2, (num_users, 6), generator=generator) + kind
    times = [*OLD_MS, NOW_MS - 3000, NOW_MS - 2000, NOW_MS - 1000]
    asked = torch.randint(NUM_ITEMS, (num_users, 4), generator=generator)
    rate = torch.randn(num_users, 4, generator=generator)
    odds = 2 * rate + 0.5 * (2 * (asked % 2 == kind).float() - 1)
    label = (torch.rand(num_users, 4, generator=generator) < odds.sigmoid()).float()
    history, candidates = packed_users(items.tolist(), [times] * num_users, asked, [NOW_MS] * 4, rate.reshape(-1, 1))
    return history, labelled(candidates, label)


def test_without_cross_features_more_is_lost_than_without_grouped_norms_or_the_mask():
    full = replace(SMALL, features=("times_seen",))
    layer = replace(full.encoder.layer, grouped=False)
    found = {}
    for name, config in {
        "full": full,
        "no features": SMALL,
        "one norm": replace(full, encoder=replace(full.encoder, layer=layer)),
        "no mask": replace(full, encoder=replace(full.encoder, dynamic_mask=False)),
    }.items():
        batches = [*(rated(seed) for seed in range(8)), rated(99, num_users=300)]
        if not config.features:
            batches = [(h, replace(c, features=c.features[:, :0])) for h, c in batches]
        model = trained(config, batches[:8], steps=30, lr=1e-2)
        found[name] = auc_of(model.logits(*batches[8]), batches[8][1])
    assert found["full"] > 0.8
    assert found["full"] - found["no features"] > 0.2
    assert abs(found["full"] - found["one norm"]) < 0.03
    assert abs(found["full"] - found["no mask"]) < 0.03


def clicked(seed: int, num_users: int = 64) -> tuple[History, Candidates, torch.Tensor]:
    """A click becomes an event one second later; the odds, which are all that can be known, depend on the item alone."""
    generator = torch_generator(seed, "clicked")
    asked = torch.randint(NUM_ITEMS, (num_users, 4), generator=generator)
    odds = torch.where(asked % 2 == 0, 0.7, -0.7)
    label = (torch.rand(num_users, 4, generator=generator) < odds.sigmoid()).float()
    old = torch.randint(NUM_ITEMS, (num_users, 3), generator=generator).tolist()
    shown_ms = [NOW_MS - 60_000 * (4 - k) for k in range(4)]
    items = [row + asked[user][label[user] > 0].tolist() for user, row in enumerate(old)]
    times = [[*OLD_MS, *(shown_ms[k] + 1000 for k in range(4) if row[k])] for row in label]
    history, candidates = packed_users(items, times, asked, shown_ms)
    return history, labelled(candidates, label), odds


@pytest.mark.parametrize("dynamic_mask", [True, False], ids=["masked", "unmasked"])
def test_only_without_the_mask_clicks_leak_into_the_score(dynamic_mask):
    config = replace(SMALL, encoder=replace(SMALL.encoder, dynamic_mask=dynamic_mask))
    model = trained(config, [clicked(seed)[:2] for seed in range(8)], steps=60, lr=1e-2)
    history, candidates, odds = clicked(99, num_users=300)
    ours, oracle = auc_of(model.logits(history, candidates), candidates), auc_of(odds, candidates)
    if dynamic_mask:
        assert oracle - 0.05 < ours < oracle + 0.01
    else:
        assert ours > oracle + 0.1
