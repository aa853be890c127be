"""The verbs of a Python user, on a small simulated log."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.answering.answerer import Wanted
from hpgr.api.asking import retrieve
from hpgr.api.evaluating import Measure
from hpgr.api.recommender import Recommender
from hpgr.api.runs import split_rule
from hpgr.core.errors import ConfigError, DataError, UnknownNameError, UnsupportedError
from hpgr.data.appending import append
from hpgr.data.columns import Columns
from hpgr.data.history import gather_history
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.simulator import Simulator
from hpgr.data.split_rules import GlobalTime, LastSession, LeaveOneOut
from hpgr.data.store import SequenceStore

FAST = (
    "stages.retrieve.epochs=1",
    "stages.rank.epochs=1",
    "stages.retrieve.limit_batches=4",
    "stages.rank.limit_batches=4",
    "windows.max_len=30",
)


@pytest.fixture(scope="module")
def log():
    simulator = Simulator(Simulator.Config(num_users=90, num_items=120, num_categories=6, days=20, seed=3))
    return pl.concat(list(simulator.frames())), simulator.items()


@pytest.fixture(scope="module")
def store(log, tmp_path_factory):
    events, items = log
    return SequenceStore.build(EventLog.read(events), tmp_path_factory.mktemp("api") / "store", items=items, ties="set")


@pytest.fixture(scope="module")
def fitted(store):
    return Recommender("hpgr", changes=FAST).fit(store)


@pytest.fixture(scope="module")
def sasrec(store):
    return Recommender("sasrec", changes=FAST).fit(store)


def test_a_bare_history_gets_what_evaluation_gives_for_the_same_events(sasrec, store):
    """A user never seen in training, asked with nothing but events, gets the ranking that the test part is measured by."""
    material = sasrec._held_out(None)
    new = np.flatnonzero(~np.isin(material.split.test.user_idx, material.split.train.user_idx))
    queries = material.split.test.take(new[:3] if len(new) else np.arange(3))
    measured = retrieve(sasrec.frame, material, queries, max_len=30, exclude_seen=False, top=5)
    for q in range(len(queries)):
        at = np.arange(queries.start[q], queries.stop[q])
        bare = pl.DataFrame(
            {
                "user_id": ["somebody new"] * len(at),
                "item_id": store.items.at(store.item_idx[at]),
                "timestamp": store.time_ms[at],
                "event": [store.manifest["actions"][a - 1] for a in store.action[at]],
            }
        ).sample(fraction=1.0, shuffle=True, seed=q)
        if not len(at):
            continue
        found = sasrec.recommend(histories=bare, at=int(queries.now_ms[q]), wanted=Wanted(k=5)).table
        want = sasrec.frame.num_items
        assert want > 0
        assert found["item_id"].to_list() == material.split.catalogue.items.at(measured.top_QK[q]).to_list()
        assert found["user_id"].unique().to_list() == ["somebody new"]


def test_known_users_equal_their_own_history(fitted, store):
    user = store.users.ids[4]
    start, stop = store.user_offsets[4:6]
    bare = pl.DataFrame(
        {
            "user_id": [user] * (stop - start),
            "item_id": store.items.at(store.item_idx[start:stop]),
            "timestamp": store.time_ms[start:stop],
            "event": [store.manifest["actions"][a - 1] for a in store.action[start:stop]],
        }
    )
    now = int(store.time_ms.max()) + 1
    known, new = fitted.recommend(users=[user]), fitted.recommend(histories=bare, at=now)
    assert known.table.equals(new.table)
    assert known.table["rank"].to_list() == list(range(1, 11))
    assert known.table["score"].is_sorted(descending=True)
    assert known.table.columns == ["user_id", "item_id", "score", "rank"]


def test_variety_takes_turns_among_categories(fitted, store):
    users = store.users.ids[:4].to_list()
    plain, same, varied = (
        fitted.recommend(users=users, wanted=Wanted(k=6, by="retrieve", variety=v)).table for v in (0.0, 1e-9, 1e6)
    )
    assert same.equals(plain)
    assert varied.group_by("user_id", maintain_order=True).agg("rank")["rank"].to_list() == [list(range(1, 7))] * 4
    listed = dict(store.item_table.select("item_id", "categories").iter_rows())

    def shared(table: pl.DataFrame) -> int:
        found = 0
        for _, items in table.group_by("user_id").agg("item_id").iter_rows():
            names = [set(listed[item] or ()) for item in items]
            found += sum(bool(a & b) for i, a in enumerate(names) for b in names[:i])
        return found

    assert shared(varied) < shared(plain)
    with pytest.raises(ConfigError, match=r"variety \(-1\) must be finite and not negative"):
        Wanted(variety=-1)


def test_saved_is_loaded(fitted, store, tmp_path):
    fitted.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    users = store.users.ids[:3].to_list()
    assert loaded.recommend(users=users).table.equals(fitted.recommend(users=users).table)
    assert loaded.run == fitted.run
    assert loaded.stages == fitted.stages
    mine, theirs = (r.evaluate(how=Measure(limit=50))["rank"].metrics["AUC"] for r in (fitted, loaded))
    assert mine == theirs
    with pytest.raises(DataError, match="must not exist yet"):
        fitted.save(tmp_path / "bundle")


def test_a_damaged_bundle_is_refused_with_the_remedy(fitted, tmp_path):
    folder = fitted.save(tmp_path / "bundle")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged model.safetensors; train it again with: hpgr train"):
        Recommender.load(folder)
    weights.unlink()
    with pytest.raises(DataError, match=r"lacks model\.safetensors"):
        Recommender.load(folder)
    head = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(head | {"format": 0}))
    with pytest.raises(DataError, match="has format 0, this hpgr reads 1"):
        Recommender.load(folder)
    with pytest.raises(DataError, match=r"must be a folder that holds config\.json"):
        Recommender.load(tmp_path / "nothing")


def test_unknown_ids_are_named_and_the_rest_is_answered(fitted, store):
    users = [store.users.ids[0], "nobody"]
    found = fitted.recommend(users=users, wanted=Wanted(k=3))
    assert found.unknown_users == ("nobody",)
    assert found.table["user_id"].unique().to_list() == [store.users.ids[0]]
    found = fitted.recommend(histories=[store.items.ids[0], "no item"], wanted=Wanted(k=3))
    assert found.unknown_items == ("no item",)
    assert len(found.table) == 3
    wanted = Wanted(candidates=[store.items.ids[1], "no item", store.items.ids[2]])
    found = fitted.recommend(users=users[:1], wanted=wanted)
    assert found.unknown_candidates == ("no item",)
    assert sorted(found.table["item_id"]) == sorted([store.items.ids[1], store.items.ids[2]])
    assert fitted.recommend(users=["nobody"]).table.is_empty()


def test_an_empty_history_gets_what_is_popular(sasrec, store):
    found = sasrec.recommend(histories=[], wanted=Wanted(k=3)).table
    counts = sasrec._held_out(None).split.catalogue.train_count
    assert found["item_id"][0] in sasrec._ready().catalogue.items.at(np.flatnonzero(counts == counts.max())).to_list()


def test_what_is_measured_is_named_rightly():
    for options, message in (
        ({"part": "valid"}, r"part \(valid\) must be test or validation"),
        ({"question": "ranking"}, r"question \(ranking\) must be retrieve, rank or None"),
        ({"metrics": "NDCG@10"}, r"metrics \('NDCG@10'\) must be a tuple of names"),
        ({"limit": 0}, r"limit \(0\) must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            Measure(**options)


def test_users_come_as_any_sequence_and_a_moment_before_all_events_is_no_moment(sasrec, store):
    ids = store.users.ids[:2]
    want = sasrec.recommend(users=ids.to_list(), wanted=Wanted(k=2)).table
    for users in (ids, ids.to_numpy(), tuple(ids)):
        assert sasrec.recommend(users=users, wanted=Wanted(k=2)).table.equals(want)
    with pytest.raises(
        ConfigError, match=r"at \(1700327580, ms 1700327580\) must not lie before all events of the store"
    ):
        sasrec.recommend(users=ids, at=1_700_327_580)


def test_users_with_nothing_done_stay_in_a_mapping(sasrec, store):
    item = store.items.ids[0]
    found = sasrec.recommend(histories={"anna": [], "ben": [item], "cleo": []}, wanted=Wanted(k=2)).table
    assert found["user_id"].unique().sort().to_list() == ["anna", "ben", "cleo"]
    alone = sasrec.recommend(histories={"anna": []}, wanted=Wanted(k=2)).table
    assert alone["user_id"].to_list() == ["anna", "anna"]
    assert alone["item_id"].to_list() == found.filter(pl.col("user_id") == "anna")["item_id"].to_list()


@pytest.mark.parametrize("rule", [HistoryRule(events=("buy",), duplicates="drop"), HistoryRule(labels="all")])
def test_a_bare_table_is_read_by_the_rule_of_the_log(rule, tmp_path):
    rows = [
        (
            user,
            f"i{(user + 3 * k) % 9}",
            1_700_000_000 + 86_400 * k + 3600 * user,
            "buy" if k % 2 else "view",
            float(k % 3 == 0) if k > 3 else None,
        )
        for user in range(12)
        for k in [0, 1, 1, 2, 3, 4, 5, 6, 7]
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "event", "label"], orient="row")
    store = SequenceStore.build(EventLog.read(frame), tmp_path / "store", history=rule)
    model = Recommender("sasrec", changes=["stages.retrieve.epochs=1"]).fit(store)
    model.save(tmp_path / "bundle")
    model = Recommender.load(tmp_path / "bundle")
    asked = model._asked_histories([5], None, None, store)
    bare = model._asked_histories(None, frame.filter(pl.col("user_id") == 5), None, store)
    for name in ("item_idx", "time_ms", "action"):
        told, kept = (getattr(one.events, name)[one.start[0] : one.stop[0]] for one in (bare, asked))
        assert told.tolist() == kept.tolist(), name
    assert bare.unknown_items == ()


OWN = Columns(user="visitor", item="product", time="nth", event="kind", session="visit", tie="row")


@pytest.mark.parametrize("usual", [False, True])
@pytest.mark.parametrize("named", [True, False])
def test_a_bare_table_may_have_the_columns_of_the_log(usual, named, tmp_path):
    """Names, an order in place of times, sessions and the order of simultaneous events are the log's."""
    rows = [
        (visitor, f"p{(visitor + k * k) % 7}", k // 2, ("buy", "view")[k % 2], f"{visitor} {k // 4}", -k)
        for visitor in range(12)
        for k in range(9)
    ]
    frame = pl.DataFrame(rows, schema=["visitor", "product", "nth", "kind", "visit", "row"], orient="row")
    log = EventLog.read(frame, columns=OWN, time_unit="order")
    store = SequenceStore.build(log, tmp_path / "store", sessions=GivenSessions(), ties="column:row")
    Recommender("sasrec", split=LeaveOneOut(), changes=["stages.retrieve.epochs=1"]).fit(store).save(
        tmp_path / "bundle"
    )
    model, history = Recommender.load(tmp_path / "bundle"), frame.filter(pl.col("visitor") == 5)
    if usual:
        history = history.rename(
            {"visitor": "user_id", "product": "item_id", "nth": "timestamp", "visit": "session_id"}
        )
        history = history.rename({"kind": "event"})
    if not named:
        history = history.drop("user_id" if usual else "visitor")
    history.write_csv(tmp_path / "history.csv")
    asked = model._asked_histories([5], None, None, store)
    for source in (history, tmp_path / "history.csv"):
        bare = model._asked_histories(None, source, None, store)
        for name in ("item_idx", "time_ms", "action"):
            told, kept = (getattr(one.events, name)[one.start[0] : one.stop[0]] for one in (bare, asked))
            assert told.tolist() == kept.tolist(), name
        assert np.diff(bare.events.session_offsets).tolist() == [4, 4, 1]
        assert bare.users.to_list() == ([5] if named else ["anonymous"])
    with pytest.raises(
        DataError, match=r"column of items of the frame \(absent\) must be named product, as in the log, or item_id"
    ):
        model.recommend(histories=history.rename({"item_id" if usual else "product": "thing"}))


def test_a_store_that_grew_by_a_kind_of_events_is_read_as_before(tmp_path):
    rows = [
        (u, f"i{(u + k) % 9}", 1_700_000_000 + 86_400 * k, "buy" if k % 2 else "view")
        for u in range(9)
        for k in range(6)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "event"], orient="row")
    store = SequenceStore.build(EventLog.read(frame), tmp_path / "store")
    model = Recommender("sasrec", changes=["stages.retrieve.epochs=1"]).fit(store)
    model.save(tmp_path / "bundle")
    model, moment = Recommender.load(tmp_path / "bundle"), 1_700_000_000_000 + 6 * 86_400_000
    later = frame.filter(pl.col("user_id") > 4).with_columns(
        event=pl.lit("add"), timestamp=pl.col("timestamp") + 10 * 86_400
    )
    grown = append(tmp_path / "store", EventLog.read(later))
    assert (store.actions, grown.actions) == (["buy", "view"], ["add", "buy", "view"])
    before, after = (model._asked_histories([3, 7], None, at, one) for one, at in ((store, moment), (grown, moment)))
    histories = [
        gather_history(one.events, model._ready().catalogue, one.start, one.stop, one.now_ms, max_len=30)
        for one in (before, after)
    ]
    assert histories[0].action.tolist() == histories[1].action.tolist()
    assert set(histories[0].action.tolist()) == {1, 2}
    new = model._asked_histories([7], None, None, grown)
    told = gather_history(new.events, model._ready().catalogue, new.start, new.stop, new.now_ms, max_len=3)
    assert told.action.tolist() == [0, 0, 0]


def test_seen_items_are_left_out_when_asked(fitted, store):
    start, stop = store.user_offsets[2:4]
    seen = set(store.items.at(store.item_idx[start:stop]))
    users = [store.users.ids[2]]
    everything = Wanted(k=len(store.items), pool=len(store.items))
    kept = fitted.recommend(users=users, wanted=everything).table
    left_out = fitted.recommend(users=users, wanted=replace(everything, exclude_seen=True)).table
    assert seen & set(kept["item_id"])
    assert not seen & set(left_out["item_id"])
    assert set(kept["item_id"]) == set(left_out["item_id"]) | (seen & set(kept["item_id"]))


def test_later_events_do_not_change_an_earlier_answer(fitted, store):
    """``at`` asks in the past: what happened at or after it is neither read nor counted."""
    user = store.users.ids[5]
    start, stop = store.user_offsets[5:7]
    at = int(store.time_ms[(start + stop) // 2])
    before = store.time_ms[start:stop] < at
    bare = pl.DataFrame(
        {
            "user_id": [user] * int(before.sum()),
            "item_id": store.items.at(store.item_idx[start:stop][before]),
            "timestamp": store.time_ms[start:stop][before],
            "event": [store.manifest["actions"][a - 1] for a in store.action[start:stop][before]],
        }
    )
    assert fitted.recommend(users=[user], at=at).table.equals(fitted.recommend(histories=bare, at=at).table)
    whole = fitted.recommend(histories=bare.with_columns(timestamp=pl.lit(at)), at=at)
    assert whole.dropped == len(bare)


def test_explanations_show_what_was_read_and_what_it_adds(fitted, store):
    found = fitted.recommend(users=[store.users.ids[1]], wanted=Wanted(k=2), explained_events=3)
    table = found.explanations
    assert set(table["item_id"]) == set(found.table["item_id"])
    assert (table.group_by("item_id").len()["len"] <= 3).all()
    assert table["weight"].is_between(0, 1).all()
    assert np.allclose(table["score"] - table["score_without"], table["change"])
    scores = dict(zip(found.table["item_id"], found.table["score"]))
    assert np.allclose([scores[item] for item in table["item_id"]], table["score"], atol=1e-5)
    assert table["event_item_id"].is_in(store.items.ids.implode()).all()


def test_of_equal_gates_the_most_similar_events_are_told_first(fitted, store):
    user = int(np.argmax(np.diff(store.user_offsets)))
    table = fitted.recommend(
        users=[store.users.ids[user]], wanted=Wanted(k=1, by="rank"), explained_events=4
    ).explanations
    rows, item = store.items.rows(table["event_item_id"]), store.items.rows(table["item_id"][:1])
    of_store = fitted._ready().catalogue.of_store
    vectors = torch.nn.functional.normalize(fitted.frame.ranker.items.weight.detach(), dim=1)
    likeness = (vectors[of_store[rows]] @ vectors[of_store[item]][0]).numpy()
    gates = table["weight"].to_numpy()
    assert (np.diff(gates) <= 0).all()
    tied = np.diff(gates) == 0
    assert tied.any(), "chosen events all have a gate of one"
    assert (np.diff(likeness)[tied] <= 1e-6).all()


def test_an_item_without_a_score_is_explained_without_a_change(sasrec, store):
    counts = sasrec._held_out(None).split.catalogue
    cold = np.setdiff1d(np.arange(len(store.items)), counts.store_rows())
    items = store.items.at(np.array([cold[0], counts.store_rows()[0]])).to_list()
    table = sasrec.recommend(
        users=[store.users.ids[1]], wanted=Wanted(candidates=items), explained_events=2
    ).explanations
    known = table.filter(pl.col("item_id") == items[1])
    assert np.isfinite(known["change"].to_numpy()).all()
    assert known["change"].to_list() == sorted(known["change"], reverse=True)
    unknown = table.filter(pl.col("item_id") == items[0])
    assert (len(unknown), unknown["change"].null_count()) == (2, 2)


def test_cards_say_what_was_measured(fitted, sasrec, tmp_path):
    cards = fitted.evaluate(how=Measure(limit=60))
    assert set(cards) == {"retrieve", "rank"}
    assert cards["retrieve"].certificate == cards["rank"].certificate
    assert "full catalogue" in cards["retrieve"].protocol.candidates
    assert cards["rank"].protocol.candidates.startswith("exposed")
    assert {"NDCG@10", "HitRate@10", "coverage@10", "novelty@10"} <= set(cards["retrieve"].metrics)
    assert {"AUC", "GAUC", "AUC in lists", "log loss", "calibration error"} <= set(cards["rank"].metrics)
    for name, interval in cards["rank"].metrics.items():
        assert interval.low is None or interval.low <= interval.value <= interval.high, name
    assert cards["rank"].calibration is not None
    assert cards["retrieve"].comparable(sasrec.evaluate(how=Measure(limit=60))["retrieve"])
    cards["rank"].save(tmp_path)
    assert {"rank zero_shot_auc", "rank sem_branch_ratio", "retrieve sem_branch_ratio"} & {
        name.replace("valid.", "") for name in cards["rank"].monitors
    }


def test_memory_budget_changes_no_metric(sasrec):
    material = sasrec._held_out(None)
    queries = material.queries("test", 40)
    whole, pieces = (
        retrieve(sasrec.frame, material, queries, max_len=30, exclude_seen=True, top=5, memory_mb=mb)
        for mb in (256, 0.01)
    )
    assert (whole.top_QK == pieces.top_QK).all()
    assert (whole.counts.better == pieces.counts.better).all()


def test_a_model_is_not_measured_on_another_log(fitted, log, tmp_path):
    other = SequenceStore.build(EventLog.read(log[0][:-50]), tmp_path / "other", ties="set")
    with pytest.raises(DataError, match="must be the one that the model was trained under"):
        fitted.evaluate(other)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda r: r.recommend(), ConfigError, "users and histories"),
        (lambda r: r.recommend(users=["a"], histories=["b"]), ConfigError, "must be one of the two"),
        (lambda r: r.recommend(histories=["a", 1]), DataError, "strings and numbers mixed"),
        (lambda r: r.recommend(histories=["a"], at="soon"), ConfigError, r"at \(soon\) must be an ISO date-time"),
        (lambda r: r.recommend(histories=["a"], at=-5), ConfigError, r"at \(-5\) must not be negative"),
        (lambda r: r.recommend(histories=["a"], wanted=Wanted(candidates=["zz"])), DataError, "candidates"),
        (lambda r: Wanted(k=0), ConfigError, r"k \(0\) must be at least 1"),
        (lambda r: split_rule("last-sesion"), UnknownNameError, "did you mean last-session"),
        (lambda r: Recommender("sasrecc").run, UnknownNameError, "did you mean sasrec"),
        (lambda r: Recommender("sasrec", changes=["stages.retrieve.lrr=1"]).run, UnknownNameError, "did you mean lr"),
        (lambda r: Recommender("hpgr").recommend(histories=[]), ConfigError, "must be fitted or loaded first"),
    ],
)
def test_wrong_questions_get_one_sentence(fitted, ask, error, message):
    with pytest.raises(error, match=message):
        ask(fitted)


def test_the_split_is_chosen_by_a_word(store):
    model = Recommender("popularity", split=split_rule("last-session"), changes=["split.targets=first"]).fit(store)
    assert model.run.split == LastSession(targets="first")
    facts = model.evaluate()["retrieve"].certificate.facts
    assert facts["queries"] == facts["users"]


def test_models_that_cannot_rank_say_so(sasrec):
    with pytest.raises(UnsupportedError, match=r"by \(rank\) must be retrieve"):
        sasrec.recommend(histories=[], wanted=Wanted(by="rank"))


def test_the_same_seed_gives_the_same_model(store, sasrec):
    again = Recommender("sasrec", changes=FAST).fit(store)
    for name, tensor in again.frame.state_dict().items():
        assert torch.equal(tensor, sasrec.frame.state_dict()[name]), name
    other = Recommender("sasrec", seed=2, changes=FAST).fit(store)
    assert not torch.equal(other.frame.items.weight, sasrec.frame.items.weight)


def test_a_catalogue_of_one_item_is_refused_where_it_cannot_work(tmp_path):
    frame = pl.DataFrame(
        {"user_id": [1, 1, 1, 2, 2, 2], "item_id": ["a"] * 6, "timestamp": [1_700_000_000 + 60 * i for i in range(6)]}
    )
    store = SequenceStore.build(EventLog.read(frame), tmp_path / "one")
    run = replace(Recommender("hpgr", changes=FAST).run, split=GlobalTime(test_share=0.2, valid_share=0.2))
    with pytest.raises(DataError, match=r"\(1 item\) must hold at least 2"):
        Recommender(run).fit(store)


def test_selection_in_an_untrained_space_is_warned_of(store, fitted):
    run = replace(fitted.run, model=fitted.run.model.ranker)
    with pytest.warns(UserWarning, match="no first stage has trained"):
        Recommender(run).fit(store)
