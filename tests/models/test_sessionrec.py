"""Facts of SessionRec: sets without order, what it reduces to, what it costs, and where sessions and exposures must win."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.by_session import BySession
from hpgr.encoders.session import SessionEnhancement, SessionTrunk
from hpgr.models.bert4rec import bert4rec
from hpgr.models.sasrec import sasrec
from hpgr.models.sessionrec import sessionrec, sessionrec_hstu
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.set_pool import SetPool
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.before_sessions import before_sessions
from hpgr.objectives.exposed_ranking import ExposedRanking
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.next_session import NextSession

NUM_ITEMS = 40
BOTH = pytest.mark.parametrize("model", [sessionrec, sessionrec_hstu], ids=lambda model: model.__name__)


def built(config, seed: int = 1):
    torch.manual_seed(seed)
    frame = config.build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in frame.parameters():
            parameter.normal_(std=0.3)
    return frame


def history(rows: list[list[list[int]]]) -> History:
    """Users of sessions of items, a day apart; events of one session a second apart."""
    return History.from_lists(
        [[i for session in row for i in session] for row in rows],
        sessions=[[s for s, session in enumerate(row) for _ in session] for row in rows],
        times_ms=[
            [86_400_000 * s + 1000 * k for s, session in enumerate(row) for k in range(len(session))] for row in rows
        ],
        now_ms=[86_400_000 * 20] * len(rows),
    )


ROWS = [[[1, 2, 3], [4, 5], [6, 7, 8, 9]], [], [[10], [11, 12]], [[13, 14]]]


@BOTH
def test_order_inside_a_session_changes_no_score_and_the_order_of_sessions_does(model, close):
    frame = built(model(dim=16))
    scores = frame.scores(history(ROWS))
    shuffled = [[[3, 1, 2], [5, 4], [9, 6, 8, 7]], [], [[10], [12, 11]], [[14, 13]]]
    close(frame.scores(history(shuffled)), scores)
    other = frame.scores(history([[ROWS[0][1], ROWS[0][0], ROWS[0][2]], *ROWS[1:]]))
    assert (other[0] - scores[0]).abs().max() > 1e-3
    close(other[1:], scores[1:])


@BOTH
def test_a_session_that_goes_on_changes_what_comes_next(model):
    frame = built(model(dim=16))
    longer = [[*ROWS[0][:2], [*ROWS[0][2], 20]], *ROWS[1:]]
    assert (frame.scores(history(longer))[0] - frame.scores(history(ROWS))[0]).abs().max() > 1e-3


def test_of_single_events_without_exposures_it_is_the_next_item_transformer(close):
    """Same weights: same states, scores, loss and gradients as SASRec."""
    flat, ours = built(sasrec(dim=16)), built(sessionrec(dim=16, alpha=0.0))
    renamed = {name.replace("encoder.", "encoder.encoder."): value for name, value in flat.state_dict().items()}
    assert ours.load_state_dict(renamed, strict=True)
    single = history([[[i] for session in row for i in session] for row in ROWS])
    close(ours.states(single).values, flat.states(single).values)
    close(ours.scores(single), flat.scores(single))
    losses = [frame.loss(single, torch_generator(0))["loss"] for frame in (ours, flat)]
    close(*losses)
    grads = [torch.autograd.grad(loss, frame.items.weight)[0] for loss, frame in zip(losses, (ours, flat))]
    close(*grads)


def test_negatives_that_are_read_begin_as_if_they_were_not_there(close):
    """A session without a positive is read and not predicted; its token is what its negatives make of it."""
    plain = sessionrec(dim=16, alpha=0.0)
    config = replace(
        plain,
        encoder=replace(plain.encoder, pool=SetPool.Config(negatives=(2,))),
        objective=NextSession.Config(actions=(1,)),
    )
    frame, without = built(config), built(plain)
    frame.encoder.pool.apart.weight.data.zero_()
    assert not without.load_state_dict(frame.state_dict(), strict=False).missing_keys
    shown = replace(history([[[1, 30, 2], [31, 4], [6]]]), action=torch.tensor([1, 2, 1, 2, 1, 1]))
    close(frame.scores(shown), without.scores(history([[[1, 2], [4], [6]]])))
    only = replace(history([[[1], [30, 31], [2]]]), action=torch.tensor([1, 2, 2, 1]))
    task = frame.objective.training_task(only, torch_generator(0))
    assert (task.read_N.tolist(), task.target_N.tolist()) == ([2], [2])
    frame.encoder.pool.apart.weight.data.normal_()
    other = frame.scores(replace(shown, item_idx=torch.tensor([1, 33, 2, 31, 4, 6])))
    assert (frame.scores(shown) - other).abs().max() > 1e-3


def flops(config, num_sessions: int, length: int) -> int:
    frame, one = built(config), history([[[s % NUM_ITEMS] * length for s in range(num_sessions)]])
    x = frame.tokens(one)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        frame.encoder(x, one)
    return counter.get_total_flops()


def test_its_products_grow_with_sessions_and_not_with_their_events():
    """Counted on HSTU, whose attention is made of plain products: over T events they are a · T + b · T², over sessions the same of S."""
    over = sessionrec_hstu(dim=16, num_layers=1)
    flat = replace(sasrec(dim=16), encoder=over.encoder.encoder)
    ours = {(s, n): flops(over, s, n) for s, n in ((64, 1), (64, 16), (1024, 1))}
    assert ours[64, 1] == ours[64, 16] == flops(flat, 64, 1)
    assert flops(flat, 64, 16) == flops(flat, 1024, 1) == ours[1024, 1]
    # A line alone would give 16.
    assert flops(flat, 64, 16) > 3 * 16 * ours[64, 16]


@pytest.mark.parametrize(
    "part", [{"objective": NextSession.Config()}, {"auxiliary": ExposedRanking.Config()}], ids=list
)
def test_encoders_that_read_later_sessions_are_refused(part):
    with pytest.raises(ConfigError, match=r"encoder \(TransformedEncoder, which reads later sessions\) must not under"):
        replace(bert4rec(dim=8), **part)
    with pytest.raises(
        ConfigError, match=r"encoder \(BySession, which reads later events\) must be causal under NextItem"
    ):
        replace(sessionrec(dim=8), objective=NextItem.Config(), auxiliary=None)


def test_hpgr_session_tokens_may_predict_sessions_if_they_are_causal():
    """Its trunk reads a session both ways and, where it is causal, no later one: what NextSession needs and NextItem refuses."""
    place = TimeAwarePosition.Config(clock="previous")
    sem = SessionEnhancement.Config(layer=TransformerLayer.Config(ffn_dim=8), causal=True, position=place)
    trunk = SessionTrunk.Config(sem=sem, position=place)
    config = replace(sasrec(dim=8), trunk=trunk, objective=NextSession.Config())
    frame = config.build(num_items=NUM_ITEMS)
    frame.loss(history(ROWS), torch_generator(0))["loss"].backward()
    assert frame.trunk.sem.intra[0].feed_forward.inner.weight.grad.abs().max() > 0
    with pytest.raises(
        ConfigError, match=r"trunk \(SessionTrunk, which reads later sessions\) must not under NextSession"
    ):
        replace(config, trunk=replace(trunk, sem=replace(sem, causal=False)))
    for telling in (
        replace(trunk, position=TimeAwarePosition.Config()),
        replace(trunk, sem=replace(sem, position=TimeAwarePosition.Config())),
    ):
        with pytest.raises(
            ConfigError, match=r"clock of the position in trunk \(now, .*\) must be previous under NextSession"
        ):
            replace(config, trunk=telling)


SPAN = 5


def two_intents(num_users: int, seed: int, num_sessions: int = 5) -> list[list[list[int]]]:
    """Eight intents of five items. A session mixes two of them, two items of each, in any order; the next one's are those plus
    one and plus three: told by the session before it, and by none of its items alone."""
    generator = torch_generator(seed, "intents")
    rows = []
    for _ in range(num_users):
        pair, row = torch.randperm(8, generator=generator)[:2].tolist(), []
        for _ in range(num_sessions):
            items = [SPAN * i + k for i in pair for k in torch.randperm(SPAN, generator=generator)[:2].tolist()]
            row.append([items[k] for k in torch.randperm(4, generator=generator).tolist()])
            pair = [(pair[0] + 1) % 8, (pair[1] + 3) % 8]
            pair = pair if pair[0] != pair[1] else [pair[0], (pair[1] + 1) % 8]
            pair.sort()
        rows.append(row)
    return rows


def by_chance(num_users: int, seed: int, num_sessions: int = 5) -> list[list[list[int]]]:
    draw = torch.randint(NUM_ITEMS, (num_users, num_sessions, 4), generator=torch_generator(seed, "chance"))
    return draw.tolist()


def trained(config, batches: list, steps: int, lr: float = 1e-2):
    torch.manual_seed(0)
    frame = config.build(num_items=NUM_ITEMS)
    optimiser = torch.optim.Adam(frame.parameters(), lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        frame.loss(batches[step % len(batches)], torch_generator(7, step))["loss"].backward()
        optimiser.step()
    return frame.eval()


def recall(config, planted, *, k: int = 10, steps: int = 150) -> float:
    """Of the items of a session that is held out, the share among the first ``k``."""
    frame = trained(config, [history(planted(32, seed)) for seed in range(8)], steps)
    rows = planted(200, 99)
    with torch.no_grad():
        best = frame.scores(history([row[:-1] for row in rows])).topk(k).indices
    want = torch.tensor([row[-1] for row in rows])
    return (best[:, :, None] == want[:, None]).any(1).float().mean().item()


SMALL = {"dim": 16, "num_layers": 1, "dropout": 0.0}


def test_a_session_of_two_intents_is_found_by_sessions_and_less_by_items():
    """Ten of forty items are of the next two intents. An item's successor is mostly one of its own session."""
    ours, flat = recall(sessionrec(**SMALL), two_intents), recall(sasrec(**SMALL), two_intents)
    assert ours > 0.95
    assert flat < ours - 0.3


def test_neither_finds_anything_in_chance():
    for config in (sessionrec(**SMALL), sasrec(**SMALL)):
        assert recall(config, by_chance, steps=60) == pytest.approx(0.25, abs=0.05)


def one_visit(num_users: int, seed: int) -> list[list[int]]:
    """All five items of one intent, in any order, in one session."""
    generator = torch_generator(seed, "visit")
    intents = torch.randint(8, (num_users,), generator=generator).tolist()
    return [(SPAN * i + torch.randperm(SPAN, generator=generator)).tolist() for i in intents]


def found_amid_a_session(cut_prob: float) -> float:
    """Of the last two items of a session, the share among the first five after three."""
    config = sessionrec(**SMALL)
    config = replace(config, objective=replace(config.objective, cut_prob=cut_prob))
    frame = trained(config, [history([[row] for row in one_visit(32, seed)]) for seed in range(8)], 80)
    rows = one_visit(100, 99)
    with torch.no_grad():
        best = frame.scores(history([[row[:3]] for row in rows])).topk(5).indices
    return (best[:, :, None] == torch.tensor([row[3:] for row in rows])[:, None]).any(1).float().mean().item()


def test_cut_sessions_teach_what_follows_amid_a_session():
    """Where every user has one session, whole ones teach nothing."""
    assert found_amid_a_session(0.5) > 0.9
    assert found_amid_a_session(0.0) < 0.4


RATES = (0.3, 0.9)


def exposed(num_users: int, seed: int, rates: tuple[float, float] = RATES) -> tuple[History, Candidates, torch.Tensor]:
    """Four groups of ten items; a session is of the group after that of the session before it. Five items of a group are
    always shown and chosen three times in ten; of the other five one is shown, and chosen nine times in ten: an item of the first is
    chosen more often all the same. The third value ``[U, 6]``: what of the last session's list is chosen."""
    generator = torch_generator(seed, "exposed")
    rate, rows, shown, labels = torch.tensor([rates[0]] * 5 + [rates[1]]), [], [], []
    for _ in range(num_users):
        group, row = int(torch.randint(4, (), generator=generator)), []
        for s in range(4):
            one = 5 + torch.randint(5, (1,), generator=generator)
            items = 10 * ((group + s) % 4) + torch.cat([torch.arange(5), one])
            chosen = torch.rand(6, generator=generator) < rate
            chosen[0] |= ~chosen.any()
            row.append(items[chosen].tolist())
            shown.append(items.tolist())
            labels.append(chosen.float().tolist())
        rows.append(row)
    lists = Candidates.from_lists(shown, now_ms=torch.zeros(len(shown), dtype=torch.int64), labels=labels)
    return history(rows), lists, torch.tensor(labels[3::4])


def among_the_shown(alpha: float, rates: tuple[float, float]) -> tuple[float, float]:
    """``(NDCG, Recall@10)`` of the last session: inside the list that is shown in it, and in the whole catalogue."""
    frame = trained(sessionrec(**SMALL, alpha=alpha), [exposed(24, seed, rates)[:2] for seed in range(8)], 120)
    told, lists, label_UC = exposed(200, 99, rates)
    with torch.no_grad():
        scores_UV = frame.scores(before_sessions(told)[0])
    shown_UC = lists.item_idx.view(200, 4, 6)[:, 3]
    order = scores_UV.gather(1, shown_UC).argsort(1, descending=True)
    gain = label_UC.gather(1, order)
    discount = 1 / torch.log2(torch.arange(6) + 2.0)
    ideal = label_UC.sort(1, descending=True).values @ discount
    ndcg = (gain @ discount / ideal).mean().item()
    found = torch.zeros(200, NUM_ITEMS).scatter(1, scores_UV.topk(10).indices, 1.0).gather(1, shown_UC)
    return ndcg, ((found * label_UC).sum(1) / label_UC.sum(1)).mean().item()


def test_exposures_lift_the_order_of_what_is_shown_at_little_cost_to_what_is_found():
    bare, ranked = (among_the_shown(alpha, RATES) for alpha in (0.0, 1.0))
    assert ranked[0] > bare[0] + 0.05
    assert min(bare[1], ranked[1]) > 0.97


def test_exposures_that_tell_nothing_lift_nothing():
    bare, ranked = (among_the_shown(alpha, (0.5, 0.5)) for alpha in (0.0, 1.0))
    assert ranked[0] == pytest.approx(bare[0], abs=0.03)


@BOTH
def test_it_trains_in_bfloat16_with_what_was_shown(model):
    told, lists, _ = exposed(8, 1)
    torch.manual_seed(1)
    frame = model(dim=16, alpha=0.5).build(num_items=NUM_ITEMS).eval()
    want = frame.loss((told, lists), torch_generator(0))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = frame.loss((told, lists), torch_generator(0))
    found["loss"].backward()
    torch.testing.assert_close(found["loss"].float(), want, rtol=0.02, atol=0.02)
    assert found["exposed_sessions"].item() == 24
    assert all(p.grad.isfinite().all() for p in frame.encoder.parameters() if p.grad is not None)


def test_any_retriever_may_learn_from_what_was_shown():
    """The flat control of the card: the same signals without sessions as tokens."""
    told, lists, _ = exposed(8, 1)
    frame = replace(sasrec(dim=16), auxiliary=ExposedRanking.Config(alpha=0.5)).build(num_items=NUM_ITEMS).eval()
    (stage,) = frame.stages()
    assert stage.batches == "shown"
    found = frame.loss((told, lists), torch_generator(0))
    assert found["loss"] > frame.loss(told, torch_generator(0))["loss"] + 0.2
    assert isinstance(sessionrec().encoder, BySession.Config)
