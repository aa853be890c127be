"""Facts of PISA: causality over sessions, lengths and shares of one, what the mechanism finds in planted listening and not in chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.core.seeds import torch_generator
from hpgr.core.vocabulary import Vocabulary
from hpgr.encoders.gru import GruEncoder
from hpgr.encoders.hstu_states import HstuStates
from hpgr.encoders.session_tokens import SessionTokens
from hpgr.encoders.sigma import SigmaEncoder
from hpgr.evaluation.beyond_accuracy import list_facts
from hpgr.evaluation.ranks import RankCounts
from hpgr.evaluation.slices import by_target, repeat_classes
from hpgr.frames.bundle import Bundle, read_bundle, write_bundle
from hpgr.models.actr import actr
from hpgr.models.hstu import hstu
from hpgr.models.pisa import pisa
from hpgr.models.sasrec import sasrec
from hpgr.nn.activation_pool import Plays
from hpgr.nn.selective_layer import SelectiveLayer
from hpgr.objectives import Task
from hpgr.objectives.long_term import LongTermMemory

DAY_MS = 86_400_000
V = 12


def listener(items, sessions, *, hours=24) -> History:
    """One user; a song a minute, sessions so many hours apart, asked as long after the last."""
    times = [1_000_000 + hours * 3_600_000 * s + 60_000 * n for n, s in enumerate(sessions)]
    return History.from_lists(
        [items], times_ms=[times], sessions=[sessions], now_ms=[times[-1] + hours * 3_600_000 if times else 0]
    )


def small(**options):
    torch.manual_seed(2)
    return pisa(dim=8, **options).build(num_items=V).eval()


HISTORY = listener([1, 2, 1, 3, 4, 2, 5, 6, 1, 7], [0, 0, 0, 1, 1, 2, 2, 2, 3, 3])


def test_states_have_length_two_at_most_and_the_answer_is_of_parts_of_length_one(close):
    model = small(memory=0.5)
    task = model.objective.request_task(HISTORY)
    memory = model.adapter.memory(task, model.items)
    close(memory.norm(dim=1), torch.ones(1))
    answer = model.query(HISTORY)
    close((answer - 0.5 * memory).norm(dim=1), torch.ones(1))
    assert 0 < model.adapter.monitors["memory_share"] < 1
    model.encoder.config = replace(model.encoder.config, skip=False)
    close(model.states(HISTORY).values.norm(dim=1), torch.ones(10))


def test_what_is_remembered_by_hand(close):
    """Plays of 0 at ages 4 and 16, of 1 at 1: .75 and 1; of two, and of the one that is strongest."""
    history = History.from_lists([[0, 0, 1]], times_ms=[[84_000, 96_000, 99_000]], now_ms=[100_000])
    task = Task(history=history, hidden_T=None, read_N=torch.tensor([2, 1]))
    memory = LongTermMemory.Config(num_items=2).build(dim=4)
    item, share = memory.remembered(task, V)
    assert item[0].tolist() == [1, 0]
    close(share[0], torch.tensor([1 / 1.75, 0.75 / 1.75]))
    # At the second event it is 99 s: ages 15 and 3, and nothing else to remember.
    assert item[1, 0] == 0
    close(share[1], torch.tensor([1.0, 0.0]))
    item, share = LongTermMemory.Config(num_items=1).build(dim=4).remembered(task, V)
    assert item.tolist() == [[1], [0]]
    # Items that training did not know are nobody's memory, and are not one item.
    _, share = memory.remembered(task, 1)
    close(share[0], torch.tensor([0.0, 0.75 / 1.75]))


def test_songs_that_training_did_not_know_are_not_one_song(close):
    model = small()
    known, unknown = (listener([0, *others], [0] * 5) for others in ((1, 2, 3, 4), (V, V, V, V)))
    shares = []
    for history in (known, unknown):
        told = model._apart(history)
        plays = Plays(
            item_T=told.item_idx,
            time_ms_T=told.time_ms,
            user_offsets_B1=told.user_offsets,
            session_offsets_S1=told.session_offsets,
        )
        flat = torch.ones(5, 8)
        event, share = model.encoder.pool.weights(flat, plays, torch.tensor([4]), told.next_time_ms()[4:])
        shares.append((event, share))
    close(shares[0][1], shares[1][1])
    assert (shares[1][1] > 0).all()


def test_each_prediction_of_bpr_has_negatives_of_its_own():
    cost = pisa(loss="bpr").objective.cost
    assert (cost.shared, cost.num_negatives, cost.in_batch) == ("prediction", 10, False)


def test_an_event_reads_ended_sessions_and_its_own_so_far(close):
    model = small()
    before = model.states(HISTORY).values
    other = listener([1, 2, 1, 3, 8, 2, 5, 6, 1, 7], [0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    after = model.states(other).values
    close(after[:4], before[:4])
    assert not torch.isclose(after[4:], before[4:]).all(1).any()


def test_the_order_of_simultaneous_songs_in_a_session_says_nothing(close):
    def of(items):
        return History.from_lists(
            [items], times_ms=[[0, 0, 0, DAY_MS]], sessions=[[0, 0, 0, 1]], now_ms=[DAY_MS + 60_000]
        )

    model = small()
    close(model.scores(of([1, 2, 3, 4])), model.scores(of([3, 1, 2, 4])))


def test_newest_states_are_those_of_the_whole_run_and_rows_may_come_in_any_order(close):
    lengths = [[1, 2, 3], [], [4], [5, 5, 6, 5]]
    history = History.from_lists(lengths, sessions=[[0, 1, 1], [], [0], [0, 0, 1, 2]])
    encoder = small().encoder
    x = history.jagged(torch.randn(8, 8))
    every = encoder(x, history).values
    close(encoder.newest(x, history), every[[2, 3, 7]])
    close(encoder.states_at(x, history, torch.tensor([7, 0, 7, 4])), every[[7, 0, 7, 4]])


def test_the_token_of_a_session_is_that_of_its_last_event_when_the_next_begins(close):
    """Run over whole sessions as one row, the Transformer says the same as when events ask one by one."""
    model = small()
    encoder, x = model.encoder, model.tokens(HISTORY)
    by_event = encoder(x, HISTORY).values[HISTORY.session_offsets[1:] - 1]
    ends = HISTORY.session_offsets[1:] - 1
    plays = Plays(
        item_T=HISTORY.item_idx,
        time_ms_T=HISTORY.time_ms,
        user_offsets_B1=HISTORY.user_offsets,
        session_offsets_S1=HISTORY.session_offsets,
    )
    token = encoder.pool(x.values, plays, ends, HISTORY.next_time_ms()[ends])
    row = torch.cat([encoder.before_D[None], token * 8**0.5])
    zero = torch.zeros(5, dtype=torch.int64)
    # The time of a row is the end of the session before it, and a session's own question is asked at that of the row before.
    times = HISTORY.time_ms[torch.cat([torch.zeros(1, dtype=torch.int64), ends])]
    for session in range(4):
        told = replace(
            History.from_lists([[0] * (session + 2)]),
            item_idx=zero[: session + 2],
            time_ms=torch.cat([times[: session + 1], times[session : session + 1]]),
        )
        alone = encoder.encoder(Jagged(row[: session + 2], told.user_offsets), told).values[-1]
        want = torch.nn.functional.normalize(alone, dim=0) + torch.nn.functional.normalize(token[session], dim=0)
        close(by_event[session], want)


ENCODERS = {
    "gru": GruEncoder.Config(scope="user"),
    "hstu": hstu(dim=8).encoder,
}


@pytest.mark.parametrize("name", ["gru", "hstu"])
def test_any_encoder_that_goes_on_after_an_event_reads_the_sessions(name):
    encoder = ENCODERS[name]
    if isinstance(encoder, HstuStates.Config):
        encoder = replace(encoder, position=None)
    model = replace(pisa(dim=8), encoder=SessionTokens.Config(encoder=encoder)).build(num_items=V)
    model.loss(HISTORY, torch_generator(1))["loss"].backward()
    assert model.encoder.before_D.grad.any()
    assert model.encoder.pool.mix.grad.any()


def test_encoders_that_cannot_are_refused():
    with pytest.raises(
        UnsupportedError,
        match=r"^encoder inside SessionTokens must be causal, go on after an event and tell no places: Sigma",
    ):
        SessionTokens.Config(encoder=SigmaEncoder.Config(layer=SelectiveLayer.Config())).build(dim=8)
    both_ways = replace(pisa(dim=8).encoder.encoder, causal=False)
    with pytest.raises(UnsupportedError, match="a session's token would know the sessions after it"):
        SessionTokens.Config(encoder=both_ways).build(dim=8)
    with pytest.raises(UnknownNameError, match="no loss is named 'bce'"):
        pisa(loss="bce")
    with pytest.raises(ConfigError, match=r"^weight \(-1\) must be finite and not negative$"):
        pisa(memory=-1)


def test_memory_and_links_serve_other_models(tmp_path):
    """The memory beside SASRec's states; links that training counted go into the bundle."""
    model = replace(sasrec(dim=8), adapter=LongTermMemory.Config()).build(num_items=V)
    assert model.loss(HISTORY, torch_generator(1))["loss"].isfinite()
    model = small()
    (stage,) = model.stages()
    stage.each_epoch(0, [HISTORY], torch_generator(1))
    links = model.encoder.pool.links
    assert links(torch.tensor([1, 3, 1]), torch.tensor([2, 4, 9])).gt(0).tolist() == [True, True, False]
    counted = links.weight_P.clone()
    stage.each_epoch(1, [listener([8, 9], [0, 0])], torch_generator(1))
    assert torch.equal(links.weight_P, counted), "links are counted once"
    items = Vocabulary.of([f"i{n:02}" for n in range(V)])
    write_bundle(tmp_path / "b", Bundle(model="pisa", frame=model, items=items, facts={}))
    assert torch.equal(read_bundle(tmp_path / "b").frame.scores(HISTORY), model.scores(HISTORY))


def test_the_counted_form_by_hand(close):
    """Sessions {0, 1} and {0, 2}: links of 0 are 1/√2. Asked with 0 at age 4 (.5) and 3 at age 16 (.25)."""
    model = actr(spread=0.5).build(num_items=4)
    model.observe(torch.ones(4))
    model.fit([History.from_lists([[0, 1, 0, 2]], sessions=[[0, 0, 1, 1]])])
    asked = History.from_lists([[3, 0]], times_ms=[[84_000, 96_000]], now_ms=[100_000])
    beside = 0.5 * 0.5 / 2**0.5
    torch.testing.assert_close(model.scores(asked)[0], torch.tensor([0.5, beside, beside, 0.25]), rtol=1e-4, atol=1e-5)
    alone = actr(spread=0.0).build(num_items=4)
    alone.observe(torch.ones(4))
    alone.fit([])
    assert alone.scores(asked)[0, 1:3].max() < 1e-5


def test_known_songs_alone_explore_nothing_and_repeat_all():
    """Two users with histories {0, 1} and {2, 3}, lists of what they know; one target known and one new for the first user."""
    history = Jagged(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 4]))
    lists = np.array([[1, 0], [3, 2]])
    facts = list_facts(lists, np.ones(6), history=history)
    assert facts["repeats@2"].tolist() == [1, 1]
    # Ranks of the targets 1 and 4 of the first query, 2 of the second, in a catalogue of 6.
    counts = RankCounts(
        offsets=np.array([0, 2, 3]),
        rows=np.array([1, 4, 2]),
        better=np.array([0, 2, 1]),
        tied=np.array([0, 0, 0]),
        eligible=np.array([6, 6, 6]),
    )
    repeat, explore = by_target(
        repeat_classes(counts, history, 6), np.array(["a", "b"]), counts, ["HitRate@2", "NDCG@2"]
    )
    assert (repeat.name, repeat.metrics["HitRate@2"].value, repeat.num_users) == ("repeat", 1.0, 2)
    assert repeat.metrics["NDCG@2"].value == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert (explore.name, explore.metrics["HitRate@2"].value, explore.num_users) == ("explore", 0.0, 1)


GROUPS, SIZE, SONGS = 20, 15, 8
GROUP_V = np.repeat(np.arange(GROUPS), SIZE)


def listening(num_users: int, num_sessions: int, seed: int, *, chance: bool = False) -> list[tuple[list, list, list]]:
    """``(items, hours, sessions)`` of each user: 8 different songs a session, sessions at random hours.

    A user begins with songs of three groups. Later, four of five songs were heard before, each drawn in proportion to
    ``Σ age^-½`` of its plays; the fifth is new, of a group that the user knows. ``chance``: any song, evenly.
    """
    draw, users = np.random.default_rng(seed), []
    for _ in range(num_users):
        now, mine = 0.0, np.isin(GROUP_V, draw.choice(GROUPS, 3, replace=False))
        items: list[int] = []
        hours: list[float] = []
        for _ in range(num_sessions):
            now += 2 + draw.exponential(60.0)
            strength_V = np.zeros(len(GROUP_V))
            np.add.at(strength_V, items, [(now - hour) ** -0.5 for hour in hours])
            heard: list[int] = []
            while len(heard) < SONGS:
                new_V = np.ones(len(GROUP_V)) if chance else mine * (strength_V == 0.0)
                known_V = strength_V * ~np.isin(np.arange(len(GROUP_V)), heard)
                anew = chance or not known_V.any() or draw.random() < 0.2
                new_V[heard] = 0
                open_V = new_V if anew and new_V.any() else known_V
                heard.append(int(draw.choice(len(GROUP_V), p=open_V / open_V.sum())))
            items, hours = items + heard, hours + [now + n / 20 for n in range(SONGS)]
        users.append((items, hours, [n // SONGS for n in range(len(items))]))
    return users


LAST = 11


def told(users) -> tuple[History, list[list[int]]]:
    """What was heard before session ``LAST``, asked when it begins; and the songs of that session."""
    cut = LAST * SONGS
    ms = [[round(3_600_000 * hour) for hour in hours] for _, hours, _ in users]
    history = History.from_lists(
        [items[:cut] for items, _, _ in users],
        times_ms=[row[:cut] for row in ms],
        sessions=[sessions[:cut] for *_, sessions in users],
        now_ms=[row[cut] for row in ms],
    )
    return history, [items[cut:] for items, *_ in users]


def found(frame, users, k: int = 10) -> tuple[float, float, float]:
    """Shares of the session's songs in the first ``k``: of all, of those heard before, of new ones; means over users."""
    history, wanted = told(users)
    with torch.no_grad():
        lists = frame.scores(history).topk(k).indices
    hits: tuple[list[float], list[float], list[float]] = ([], [], [])
    for row, songs, own in zip(lists.tolist(), wanted, history.item_idx.split(history.lengths.tolist())):
        known = set(songs) & set(own.tolist())
        for into, asked in zip(hits, (set(songs), known, set(songs) - known)):
            into += [len(asked & set(row)) / len(asked)] if asked else []
    return tuple(float(np.mean(part)) for part in hits)


def trained(config, users, steps: int):
    torch.manual_seed(0)
    frame = config.build(num_items=len(GROUP_V))
    (stage,) = frame.stages()
    parts = [told(users[first : first + 16])[0] for first in range(0, len(users), 16)]
    parts = [replace(part, now_ms=part.time_ms[part.user_offsets[1:] - 1]) for part in parts]
    if stage.each_epoch is not None:
        with torch.no_grad():
            stage.each_epoch(0, parts, torch_generator(1))
    optimiser = torch.optim.Adam(frame.parameters(), lr=3e-3)
    frame.train()
    for step in range(steps):
        optimiser.zero_grad()
        stage.loss(parts[step % len(parts)], torch_generator(7, step))["loss"].backward()
        optimiser.step()
    return frame.eval()


def counted(spread: float, users):
    frame = actr(spread=spread).build(num_items=len(GROUP_V))
    frame.observe(torch.ones(len(GROUP_V)))
    frame.fit([told(users)[0]])
    return frame


FULL = pisa(dim=32, dropout=0.1)
BACKBONE = replace(sasrec(dim=32, dropout=0.1), objective=FULL.objective)


def test_activation_finds_what_is_due_again_and_counting_alone_finds_nothing_new():
    users = listening(256, LAST + 1, 1)
    remembering = replace(BACKBONE, adapter=LongTermMemory.Config())
    backbone, remembered, pooled, full = (
        found(trained(config, users, 120), users)
        for config in (BACKBONE, remembering, replace(FULL, adapter=None), FULL)
    )
    alone, spreading = counted(0.0, users), counted(0.1, users)
    # What the log was drawn by wins repeats, and a list of known songs holds no new one.
    assert found(alone, users)[1] > full[1] + 0.1
    assert found(alone, users)[2] == 0
    # It is best over all songs too. Each half of PISA finds more than its backbone, and so do both.
    assert found(alone, users)[0] > max(backbone[0], remembered[0], pooled[0], full[0]) + 0.03
    for part in (remembered, pooled, full):
        assert part[1] > backbone[1] + 0.03
        assert part[0] > backbone[0]
    assert min(backbone[2], full[2]) > 0.02
    # Deep enough for new songs to have room, spreading finds several times as many and loses few repeats.
    assert found(spreading, users, 60)[2] > 2 * found(alone, users, 60)[2]
    assert found(spreading, users)[1] > found(alone, users)[1] - 0.02


def test_in_chance_nothing_is_found():
    """Ten of 300 songs are a thirtieth of the session's; a memory can add no more than the songs that it repeats."""
    users, fresh = listening(128, LAST + 1, 1, chance=True), listening(128, LAST + 1, 2, chance=True)
    for frame in (trained(BACKBONE, users, 60), trained(FULL, users, 60), counted(0.1, users)):
        assert found(frame, fresh)[0] < 0.055
