"""What the engine answers: as the Python face does for the same events, alone or together."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore, Wanted
from hpgr.core.errors import ConfigError, DataError, HpgrError, UnknownNameError, UnsupportedError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.catalogue import Catalogue
from hpgr.data.item_clock import Listed
from hpgr.data.simulator import Simulator
from hpgr.serving.batching import Batcher, OverCapacity
from hpgr.serving.clock import Clock
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event, Stored
from hpgr.serving.ordering import diverse
from hpgr.serving.prior import Popularity
from hpgr.serving.probing import self_test
from hpgr.serving.questions import Answer, Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.shelf import Shelf
from hpgr.serving.sqlite_states import SqliteStates

MINUTE, DAY = 60_000, 86_400_000


@pytest.fixture(scope="module")
def states():
    made = SqliteStates(":memory:")
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine(bundle, states):
    """With users ``u0`` … ``u5`` of 0, 1, 4, 9, 16, 25 events."""
    made = Engine(bundle, states, EngineSettings(blend_events=0))
    generator = np.random.default_rng(0)
    for user in range(6):
        items = generator.choice(made.reading.ids, user**2)
        times = made.log.end_ms - 1 - np.cumsum(generator.integers(1, 60, user**2))[::-1] * MINUTE
        states.append([Event(user=f"u{user}", item=str(i), time_ms=int(t)) for i, t in zip(items, times)], 10**15)
    return made


def ask(engine, **question) -> Answer:
    [answer] = engine.answer([Question(**question)], engine.log.end_ms)
    if isinstance(answer, HpgrError):
        raise answer
    return answer


def ids(answer):
    return [item for item, _ in answer.items]


def close_to(one: Answer, other: Answer) -> None:
    assert ids(one) == ids(other)
    np.testing.assert_allclose([s for _, s in one.items], [s for _, s in other.items], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by", ["retrieve", "rank"])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_answers_are_those_of_the_recommender(engine, states, bundle, by, exclude_seen):
    events = states.read([("u4", None)])[0].rows
    history = {"u4": [row.item for row in events]}
    recommender = Recommender.load(bundle)
    wanted = Wanted(k=7, by=by, exclude_seen=exclude_seen, pool=30)
    bare = recommender.recommend(histories=history, wanted=wanted)
    untimed = tuple(replace(row, time_ms=-1) for row in events)
    got = ask(engine, events=untimed, untimed=True, k=7, by=by, exclude_seen=exclude_seen, pool=30)
    assert ids(got) == bare.table["item_id"].to_list()
    np.testing.assert_allclose([s for _, s in got.items], bare.table["score"], rtol=1e-5, atol=1e-5)
    told = ask(engine, user="u4", at_ms=engine.log.end_ms, k=7, by=by, exclude_seen=exclude_seen, pool=30)
    timed = ask(engine, events=tuple(events), at_ms=engine.log.end_ms, k=7, by=by, exclude_seen=exclude_seen, pool=30)
    close_to(told, timed)
    assert got.ordered_by == by


def test_together_is_as_one_by_one(engine):
    some = tuple(engine.reading.ids[3:40:5])
    questions = [
        Question(user=f"u{u}", by=by, candidates=candidates, k=6, pool=20, exclude_seen=bool(u % 2))
        for u in range(6)
        for by in ("retrieve", "rank")
        for candidates in (None, some)
    ]
    together = engine.answer(questions, engine.log.end_ms)
    assert len(together) == 24
    for question, answer in zip(questions, together):
        close_to(answer, engine.answer([question], engine.log.end_ms)[0])


def test_who_is_new_gets_the_prior_and_a_short_history_a_blend(bundle, states):
    engine = Engine(bundle, states, EngineSettings(blend_events=10, prior="training"))
    popular = [
        engine.reading.ids[r]
        for r in engine.shelf.store_rows[np.argsort(-engine.answerer.catalogue.train_count, kind="stable")[:5]]
    ]
    nobody = ask(engine, user="nobody", k=5)
    assert (nobody.source, ids(nobody), nobody.history_length) == ("prior", popular, 0)
    assert [ask(engine, user=f"u{u}").source for u in (1, 3, 4)] == ["blend", "blend", "model"]
    candidates = tuple(reversed(popular))
    assert ids(ask(engine, events=(), candidates=candidates, by="rank", k=None)) == popular


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_an_index_finds_what_exact_search_finds_and_what_is_narrowed_is_scored(engine, bundle, states, kind):
    pytest.importorskip("faiss")
    indexed = Engine(bundle, states, EngineSettings(blend_events=0, index=kind))
    assert indexed._index.recall > 0.99
    narrowed = {"exclude_seen": True}, {"weights": ((engine.reading.ids[3], 9.0),)}
    categories = engine.answerer.clock.category_names.ids.to_list()
    for more in ({}, *narrowed, {"categories": (str(categories[0]),)}):
        for by in ("retrieve", "rank"):
            close_to(
                ask(indexed, user="u4", by=by, k=6, pool=20, **more),
                ask(engine, user="u4", by=by, k=6, pool=20, **more),
            )
    questions = [Question(user=f"u{u}", k=5, exclude_seen=u == 4) for u in range(6)]
    for one, other in zip(*(e.answer(questions, engine.log.end_ms) for e in (indexed, engine))):
        close_to(one, other)


def test_a_new_item_joins_by_its_categories(engine, bundle, states, tmp_path):
    clock, ids = engine.answerer.clock, engine.reading.ids
    category = str(clock.category_names.ids[0])
    table = {"item_id": ["new", "odd", ids[0]], "categories": [[category, "unheard of"], [], [category]]}
    pl.DataFrame(table, schema={"item_id": pl.String, "categories": pl.List(pl.String)}).write_parquet(
        tmp_path / "new.parquet"
    )
    made = Engine(bundle, states, EngineSettings(blend_events=0, items=str(tmp_path / "new.parquet")))
    assert made.reading.ids == [*ids, "new", "odd"]
    scores = dict(ask(made, user="u4", by="retrieve", k=500).items)
    inside = [ids[r] for r in range(80) if 0 in clock.categories.values[slice(*clock.categories.offsets[r : r + 2])]]
    assert scores["new"] == pytest.approx(np.mean([scores[item] for item in inside if item in scores]), abs=1e-4)
    assert "odd" not in scores
    assert {item: score for item, score in scores.items() if item != "new"} == pytest.approx(
        dict(ask(engine, user="u4", by="retrieve", k=500).items), abs=1e-4
    )
    assert "new" in {item for item, _ in ask(made, user="u4", categories=(category,), k=80).items}
    ranked = ask(made, user="u4", by="rank", candidates=("new", "odd", ids[1]), k=None)
    assert (len(ranked.items), ranked.unknown_candidates) == (3, ())
    assert dict(ranked.items)[ids[1]] == pytest.approx(
        dict(ask(engine, user="u4", by="rank", candidates=(ids[1],), k=None).items)[ids[1]], abs=1e-4
    )
    given = ask(made, user="u4", by="retrieve", candidates=("new", "odd"), k=None)
    assert dict(given.items) == {"new": pytest.approx(scores["new"], abs=1e-4), "odd": None}
    assert ids_of_similar(made, "new")[0] in inside
    history = (Stored(1, made.log.end_ms - 5000, "new", None, None),)
    assert ask(made, events=history, at_ms=made.log.end_ms).unknown_items == ()
    self_test(made)
    assert ask(made, user="nobody", k=500).items[-1][0] == "new"
    for wrong, rule in (
        ({"item_id": ["a"]}, "columns categories of new items"),
        ({**table, "item_id": ["a", "a", "b"]}, "must not repeat"),
    ):
        pl.DataFrame(wrong).write_parquet(tmp_path / "wrong.parquet")
        with pytest.raises(DataError, match=rule):
            Engine(bundle, states, EngineSettings(items=str(tmp_path / "wrong.parquet")))


def ids_of_similar(engine, item):
    return ids(engine.similar(item, Question(k=3)))


@pytest.mark.parametrize("options", [{"index": "hnsw"}, {"items": "new.parquet"}], ids=str)
def test_what_needs_item_vectors_is_refused_without_any(tmp_path, options):
    simulator = Simulator(Simulator.Config(num_users=30, num_items=40, num_categories=4, days=10, seed=3))
    store = SequenceStore.build(
        EventLog.read(pl.concat(list(simulator.frames()))), tmp_path / "store", items=simulator.items()
    )
    counting = Recommender("popularity").fit(store).save(tmp_path / "bundle")
    pl.DataFrame({"item_id": ["new"], "categories": [["c0"]]}).write_parquet(tmp_path / "new.parquet")
    options = {name: str(tmp_path / given) if name == "items" else given for name, given in options.items()}
    with pytest.raises(UnsupportedError, match=r"must be left out: popularity has no item vectors to search by"):
        Engine(counting, SqliteStates(":memory:"), EngineSettings(**options))


def test_what_is_popular_depends_on_the_moment():
    """Three items of ten training events each; in the last week, one was chosen at noon, one at night."""
    hour = 3_600_000
    end = 100 * DAY
    noon, night = ([end - DAY * d - h * hour for d in range(1, 4) for _ in range(300)] for h in (12, 0))
    times = [*[DAY] * 10, *sorted(noon), *sorted(night), end - 30 * DAY]
    offsets = np.array([0, 10, 910, 1811])
    clock = SimpleNamespace(events=Listed(np.array(times), offsets))
    shelf = Shelf(
        SimpleNamespace(
            frame=None,
            clock=clock,
            catalogue=Catalogue(items=Vocabulary.of([0, 1, 2]), of_store=np.arange(3), train_count=np.full(3, 10)),
        ),
        3,
    )

    def best(kind, at):
        return int(Popularity(kind, shelf, clock, np.full(3, 10), end).log_share(at)[:-1].argmax())

    def share(kind, at):
        return np.exp(Popularity(kind, shelf, clock, np.full(3, 10), end).log_share(at))

    np.testing.assert_allclose(share("training", end), [1 / 3, 1 / 3, 1 / 3, 1 / 33])
    np.testing.assert_allclose(share("recent", end)[:3], np.array([0, 900, 900]) / 2800 + 1000 / 2800 / 3)
    recent = np.array([0, 900, 900]) / 2800 + 1000 / 2800 / 3
    np.testing.assert_allclose(share("context", end + 12 * hour)[:3], (1000 * recent + [0, 900, 0]) / 1900)
    assert [best("context", end + 9 * DAY + h * hour) for h in (12, 0)] == [1, 2]
    # Nothing that came later is told: before that week all were alike.
    np.testing.assert_allclose(share("context", end - 8 * DAY)[:3], [1 / 3] * 3)


def test_unknown_ids_are_listed_and_the_rest_is_answered(engine):
    history = (Stored(1, 1000, "gone", None, None), Stored(2, 2000, engine.reading.ids[0], None, None))
    answer = ask(engine, events=history, candidates=(engine.reading.ids[1], "none such"), k=None)
    assert (answer.unknown_items, answer.unknown_candidates, len(answer.items)) == (("gone",), ("none such",), 1)
    assert ask(engine, events=history, candidates=("none such",), k=None).items == []


def test_only_available_items_of_the_categories_are_answered(engine):
    available = tuple(engine.reading.ids[:30:2])
    assert set(ids(ask(engine, user="u4", available=available, k=50))) <= set(available)
    name = engine.answerer.clock.category_names.ids[0]
    listed = engine.answerer.clock.categories
    inside = {engine.reading.ids[i] for i in range(80) if 0 in listed.values[listed.offsets[i] : listed.offsets[i + 1]]}
    got = ids(ask(engine, user="u4", categories=(str(name),), k=80))
    assert got
    assert set(got) <= inside
    with pytest.raises(HpgrError, match="no category is named 'nowhere'"):
        ask(engine, user="u4", categories=("nowhere",))


def test_weights_move_items_and_0_leaves_them_out(engine):
    before = ask(engine, user="u4", k=80)
    first, last = before.items[0][0], before.items[-1][0]
    after = ask(engine, user="u4", k=80, weights=((first, 0.0), (last, 1e6)))
    assert first not in ids(after)
    moved = dict(after.items)[last] - dict(before.items)[last]
    assert moved == pytest.approx(np.log(1e6), rel=1e-5)
    ranked = ask(engine, user="u4", by="rank", candidates=(first, last), weights=((last, 1e6),), k=None)
    assert ids(ranked)[0] == last


def test_diversity_chooses_by_relevance_and_unlikeness():
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0.6, 0.8]])
    score = np.array([4.0, 3.9, 2.0, 3.0])
    assert diverse(score, vectors, 4, 0.0).tolist() == [0, 1, 3, 2]
    # Then: 1 is worth .475 - .5, 2 is worth 0 - 0, 3 is worth .25 - .3.
    assert diverse(score, vectors, 2, 0.5).tolist() == [0, 2]


def test_variety_spreads_a_list_over_categories(engine, monkeypatch):
    plain, varied = (ask(engine, user="u4", by="retrieve", k=10, variety=variety) for variety in (0.0, 1e5))
    clock, rows = engine.answerer.clock, {id_: row for row, id_ in enumerate(engine.reading.ids)}
    shared = []
    for answer in (plain, varied):
        marks = clock.marks(np.array([rows[item] for item in ids(answer)])).astype(int)
        shared.append(int((np.triu(marks @ marks.T, 1) > 0).sum()))
    assert shared[1] < shared[0]
    assert varied.items[0] == plain.items[0]
    scores = dict(ask(engine, user="u4", by="retrieve", k=80).items)
    assert all(score == scores[item] for item, score in varied.items), "scores are told whole"
    nameless = replace(engine.answerer, clock=replace(clock, categories=None))
    monkeypatch.setattr(engine, "answerer", nameless)
    (refused,) = engine.answer([Question(user="u4", variety=0.5)], 10**13)
    assert "variety (0.5) must be 0 for this model, whose items have no categories" in str(refused)


def test_similar_items_are_the_nearest_vectors(engine):
    table, rows = engine.shelf.likeness[:-1], engine.shelf.store_rows
    item = engine.reading.ids[rows[5]]
    order = [r for r in np.argsort(-(table @ table[5]), kind="stable") if r != 5][:4]
    assert ids(engine.similar(item, Question(k=4))) == [engine.reading.ids[rows[r]] for r in order]
    with pytest.raises(DataError, match=r"item_id \(none\) must be an item that the model was trained on"):
        engine.similar("none", Question())


def test_a_question_about_now_is_asked_at_a_whole_moment_and_never_before_the_newest_event(engine, bundle, states):
    newest = max(row.time_ms for row in states.read([("u3", None)])[0].rows)
    minutes = Engine(bundle, states, EngineSettings(moment_s=60))
    exact = Engine(bundle, states, EngineSettings(moment_s=0))
    now = (newest // MINUTE + 5) * MINUTE + 59_999

    def at(engine, user, now_ms):
        return engine.answer([Question(user=user)], now_ms)[0].at_ms

    assert [at(one, "u3", now) for one in (minutes, engine, exact)] == [now - 59_999, now - 999, now]
    assert at(minutes, "u3", newest) == newest + 1
    assert at(minutes, "nobody", now) == now - 59_999
    at(minutes, "u3", now)
    begun = minutes.kept.counts.begun
    assert [at(minutes, "u3", now - back) for back in (0, 20_000, 50_000)] == [now - 59_999] * 3
    assert minutes.kept.counts.begun == begun


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match="no prior is named 'recents'; did you mean recent"):
        EngineSettings(prior="recents")
    with pytest.raises(UnknownNameError, match="no index is named 'hsnw'"):
        EngineSettings(index="hsnw")
    with pytest.raises(ConfigError, match=r"moment_s \(-1\) must be at least 0"):
        EngineSettings(moment_s=-1)


def test_events_after_the_moment_asked_about_are_left_out(engine, states):
    times = [row.time_ms for row in states.read([("u3", None)])[0].rows]
    answer = ask(engine, user="u3", at_ms=sorted(times)[4])
    assert (answer.history_length, answer.dropped_events) == (4, 5)


def test_a_bundle_tests_itself(engine):
    self_test(engine)
    broken = Engine(engine.folder, SqliteStates(":memory:"), EngineSettings())
    broken.answerer.frame.retriever.items.weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"self-test of bundle \w+ with 1 events must give 5 items with finite scores"):
        self_test(broken)


def test_the_clock_never_goes_back():
    times, noticed = iter([5.0, 3.0, 2.0, 6.0, 1.0]), []
    clock = Clock(lambda: next(times), lambda: noticed.append(1))
    assert [clock.now_ms() for _ in range(5)] == [5000, 5000, 5000, 6000, 6000]
    assert len(noticed) == 2


def test_waiting_jobs_are_done_together_and_too_many_are_turned_away():
    sizes, may_go = [], threading.Event()

    def work(jobs):
        may_go.wait(5)
        sizes.append(len(jobs))
        return [DataError("odd") if job % 2 else job * 10 for job in jobs]

    batcher: Batcher[int, int] = Batcher("test", work, most=4, queue=6)
    first = batcher.submit(0)
    while batcher.depth:
        time.sleep(0.001)
    rest: list[Future[int]] = [batcher.submit(i) for i in range(2, 8)]
    with pytest.raises(OverCapacity, match=r"waiting requests \(6\) must not grow"):
        batcher.submit(9)
    rest[0].cancel()
    may_go.set()
    assert first.result(5) == 0
    assert [f.result(5) for f in rest[2::2]] == [40, 60]
    assert all(isinstance(f.exception(5), DataError) for f in rest[1::2])
    batcher.close()
    assert sizes == [1, 3, 2]
    with pytest.raises(OverCapacity, match="the service is stopping"):
        batcher.submit(1)


def test_what_slips_in_behind_the_end_of_a_batcher_is_turned_away():
    batcher: Batcher[int, int] = Batcher("slow", lambda jobs: jobs, most=4)
    put, at_the_door, may_go = batcher._queue.put_nowait, threading.Event(), threading.Event()

    def slow(job):
        at_the_door.set()
        may_go.wait(5)
        put(job)

    batcher._queue.put_nowait = slow
    late: list[Future[int]] = []
    thread = threading.Thread(target=lambda: late.append(batcher.submit(1)))
    thread.start()
    at_the_door.wait(5)
    batcher.close()
    may_go.set()
    thread.join(5)
    with pytest.raises(OverCapacity, match="the service is stopping; ask another one"):
        late[0].result(2)
