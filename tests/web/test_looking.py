"""What the page is told of a user: the history, the list, the reasons, and what would be if."""

from __future__ import annotations

import json
import random

import pytest

from hpgr import SequenceStore
from tests.serving.conftest import now_ms, tell, view

MINUTE = 60_000
JSON = {"Content-Type": "application/json"}


def post(client, path, status=200, **body):
    answer = client.post(f"/v1/page/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def looked(client, **body):
    return post(client, "look", **body)


def longest(road) -> str:
    store = SequenceStore.open(road.store)
    offsets = store.user_offsets
    return store.users.ids[int((offsets[1:] - offsets[:-1]).argmax())]


def recommended(client, events, at, **body):
    """What the service itself answers to these events."""
    history = [{"item_id": e["item_id"], "timestamp": e["time_ms"], "event": e["action"]} for e in events]
    answer = client.post("/v1/recommend", json={"history": history, "at": at, "k": 10} | body)
    assert answer.status_code == 200, answer.text
    return [(one["item_id"], pytest.approx(one["score"], abs=1e-4)) for one in answer.json()["items"]]


def listed(found):
    return [(one["item_id"], one["score"]) for one in found["items"]]


def test_a_user_of_the_log_is_found_and_answered_as_the_service_answers(client, road):
    user = longest(road)
    found = client.get("/v1/page/users", params={"q": user[:-1]}).json()["users"]
    assert {"user_id": user, "source": "log"} in found
    assert client.get("/v1/page/users", params={"q": "nobody"}).json()["users"] == []
    seen = looked(client, user_id=user)
    store = SequenceStore.open(road.store)
    row = int(store.users.rows([user])[0])
    start, stop = store.user_offsets[row : row + 2]
    assert [e["item_id"] for e in seen["events"]] == store.items.at(store.item_idx[start:stop]).to_list()
    assert [e["time_ms"] for e in seen["events"]] == store.time_ms[start:stop].tolist()
    borders = store.session_offsets
    assert len({e["session"] for e in seen["events"]}) == int(((borders >= start) & (borders < stop)).sum())
    assert (seen["from"], seen["source"], seen["num_events"]) == ("log", "model", stop - start)
    assert sum(e["read"] for e in seen["events"]) == min(30, stop - start)
    assert all(e["title"] != e["item_id"] and e["category"] is not None for e in seen["events"])
    assert listed(seen) == recommended(client, seen["events"], seen["at_ms"])


def test_what_would_be_without_an_event_is_what_the_service_would_answer(client, road, service):
    user = longest(road)
    seen = looked(client, user_id=user)
    gone = seen["events"][-3]["seq"]
    without = looked(client, user_id=user, at=seen["at_ms"], removed=[gone])
    assert gone not in [e["seq"] for e in without["events"]]
    assert listed(without) == recommended(client, [e for e in seen["events"] if e["seq"] != gone], seen["at_ms"])
    assert listed(without) != listed(seen)
    item = seen["items"][-1]["item_id"]
    more = looked(client, user_id=user, at=seen["at_ms"], added=[item])
    assert [(e["seq"], e["item_id"]) for e in more["events"]][-1] == (-1, item)
    assert listed(more) != listed(seen)
    assert listed(looked(client, user_id=user, at=seen["at_ms"], added=[item], removed=[-1])) == listed(seen)
    # Nothing of it is kept, and nothing counted as an answer of the service.
    assert service.states.find("", 10) == []
    assert client.get("/v1/page/live").json()["answers"] == {"model": 1}


def test_reasons_are_the_mask_of_the_model_and_scores_without_each_event(client, road):
    user = longest(road)
    seen = looked(client, user_id=user)
    item = seen["items"][0]["item_id"]
    told = post(client, "explain", user_id=user, at=seen["at_ms"], item_id=item)
    assert (told["selects"], told["only"], told["most_chosen"], told["cold"]) == (True, False, 6, False)
    assert told["score"] == pytest.approx(seen["items"][0]["score"], abs=1e-4)
    read = [e["seq"] for e in seen["events"] if e["read"]]
    assert [one["seq"] for one in told["events"]] == read
    chosen = [one for one in told["events"] if one["chosen"]]
    assert len(chosen) == 6
    alike = sorted((one["similarity"] for one in told["events"]), reverse=True)
    assert min(one["similarity"] for one in chosen) >= alike[6] - 1e-3
    assert all(one["gate"] == pytest.approx(1.0) for one in chosen)
    assert any(0 < one["gate"] < 1 for one in told["events"] if not one["chosen"])
    assert sum(one["share"] for one in told["sessions"]) == pytest.approx(1.0)
    assert [seq for one in told["sessions"] for seq in one["seqs"]] == read
    measured = [one for one in told["events"] if one["change"] is not None]
    assert len(measured) == 16
    one = measured[0]
    rest = [e for e in seen["events"] if e["read"] and e["seq"] != one["seq"]]
    without = dict(recommended(client, rest, seen["at_ms"], candidates=[item]))[item]
    assert told["score"] - one["change"] == without
    assert any(abs(one["change"]) > 1e-3 for one in measured)


def test_a_live_user_comes_before_one_of_the_log_and_unknown_items_are_said(client, road, service):
    user, ids = longest(road), service.engine.reading.ids
    tell(client, [view(user, ids[i], MINUTE * (9 - i)) for i in range(8)] + [view(user, "no <such> item")])
    found = client.get("/v1/page/users", params={"q": user}).json()["users"]
    assert found == [{"user_id": user, "source": "live"}]
    seen = looked(client, user_id=user)
    assert (seen["from"], seen["num_events"]) == ("live", 9)
    last = seen["events"][-1]
    assert (last["item_id"], last["title"], last["known"], last["learnt"]) == ("no <such> item",) * 2 + (False, False)
    assert abs(seen["at_ms"] - now_ms()) < MINUTE


def test_a_visitor_without_events_gets_what_is_popular_and_says_so(client):
    seen = looked(client)
    assert (seen["source"], seen["from"], seen["events"]) == ("prior", "given", [])
    told = post(client, "explain", item_id=seen["items"][0]["item_id"])
    assert (told["source"], told["events"], told["sessions"]) == ("prior", [], [])
    one = looked(client, added=[seen["items"][0]["item_id"]])
    assert (one["source"], len(one["events"])) == ("model", 1)


def test_models_of_other_shapes_are_looked_at_too(other, road):
    counting = other("popularity")
    seen = looked(counting, history=["i00001", "i00002", "i00003"])
    assert (seen["ranks"], seen["retrieves"], seen["ordered_by"]) == (False, True, "retrieve")
    told = post(counting, "explain", history=["i00001", "i00002", "i00003"], item_id=seen["items"][0]["item_id"])
    assert told["selects"] is False
    assert [(one["gate"], one["chosen"], one["similarity"]) for one in told["events"]] == [(None, None, None)] * 3
    assert "must come from item vectors" in counting.get("/v1/page/map").json()["error"]


def test_a_model_that_only_ranks_is_asked_about_what_is_popular(other):
    ranking = other("hstu-ranker")
    seen = looked(ranking, history=["i00001", "i00002"], k=7)
    assert (seen["retrieves"], seen["ordered_by"], len(seen["items"])) == (False, "rank", 7)
    assert post(ranking, "explain", history=["i00001"], item_id=seen["items"][0]["item_id"])["selects"] is False


def test_items_are_found_by_title_and_id(client, service):
    names = client.get("/v1/page/items", params={"q": "I0000"}).json()["items"]
    assert [one["item_id"] for one in names] == service.engine.reading.ids[:10]
    title = names[3]["title"]
    found = client.get("/v1/page/items", params={"q": title.upper()}).json()["items"]
    assert found[0]["item_id"] == names[3]["item_id"]
    assert client.get("/v1/page/items", params={"q": "(.*"}).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("look", {"user_id": "nobody"}, "user (nobody) must be one that the service was told of, or of the store"),
        ("look", {"user_id": "a", "history": []}, "give one of the two"),
        ("look", {"k": 51}, "k: "),
        ("look", {"removed": list(range(201))}, "removed: "),
        ("look", {"nonsense": 1}, "nonsense: "),
        ("explain", {"item_id": "none"}, "item_id (none) must be an item that the model's log holds"),
        ("explain", {}, "item_id: "),
        ("near", {"item_id": "none"}, "item_id (none) must be an item that the model was trained on"),
        ("compare", {"first": "hpgr-rank", "second": "x"}, "no card is named 'x'"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_told_in_a_sentence(client, path, body, sentence):
    assert sentence in post(client, path, 422, **body)["error"]


def test_whatever_is_asked_is_answered_or_refused_in_a_sentence(client, road, service):
    draw, user, ids = random.Random(0), longest(road), service.engine.reading.ids
    tell(client, [view("live", ids[i], MINUTE * (9 - i)) for i in range(8)])
    values = [
        None,
        0,
        -1,
        7,
        2**62,
        -(2**70),
        1.5,
        "",
        "x",
        user,
        "live",
        ids[3],
        "\ud800",
        "a" * 300,
        True,
        [],
        [ids[0]],
        [1, "x"],
        {"a": 1},
    ]
    fields = [
        "user_id",
        "history",
        "removed",
        "added",
        "at",
        "k",
        "exclude_seen",
        "by",
        "item_id",
        "first",
        "second",
        "q",
    ]
    seen = set()
    for i in range(250):
        body = {name: draw.choice(values) for name in draw.sample(fields, draw.randint(0, 3))}
        if i % 2:
            body |= {
                "user_id": draw.choice([user, "live"]),
                "item_id": draw.choice(ids),
                "at": draw.choice([0, 1, now_ms()]),
            }
            body.pop("history", None)
        answer = client.post(
            f"/v1/page/{draw.choice(['look', 'explain', 'near', 'compare'])}", content=json.dumps(body), headers=JSON
        )
        seen.add(answer.status_code)
        assert answer.status_code in (200, 422), (body, answer.text)
        assert answer.status_code == 200 or answer.json()["error"]
    assert seen == {200, 422}
    assert client.get("/v1/users/live/state").json()["events"] == 8
