"""A model that asks with several vectors a user, served as any other: as the Python face answers, kept, and through an index."""

from __future__ import annotations

import pytest
import torch

from hpgr import Recommender, Wanted
from hpgr.core.batch import History
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event
from hpgr.serving.kept import KeptModel
from hpgr.serving.questions import Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.sqlite_states import SqliteStates
from tests.serving.conftest import train


@pytest.fixture(scope="module", params=["comirec", "comirec-dr"])
def bundle(request, tmp_path_factory):
    return train(tmp_path_factory.mktemp("several"), seed=1, model=request.param)


@pytest.fixture(scope="module")
def states(bundle):
    made = SqliteStates(":memory:")
    engine = Engine(bundle, made, EngineSettings(blend_events=0))
    for user, count in (("a", 3), ("b", 12)):
        items, end_ms = engine.reading.ids[5 : 5 + count], engine.log.end_ms
        made.append(
            [Event(user=user, item=str(i), time_ms=end_ms - 90_000 * (count - n)) for n, i in enumerate(items)], 10**15
        )
    yield made
    made.close()


def lists(engine: Engine, **more) -> list[list[tuple[str, float]]]:
    questions = [Question(user=user, k=6, **more) for user in ("a", "b")]
    return [answer.items for answer in engine.answer(questions, engine.log.end_ms)]


def same(one: list, other: list) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert [item for item, _ in mine] == [item for item, _ in theirs]
        assert [score for _, score in mine] == pytest.approx([score for _, score in theirs], abs=1e-5)


def test_the_service_answers_as_the_python_face_asked_twice_and_by_an_index(bundle, states):
    engine = Engine(bundle, states, EngineSettings(blend_events=0))
    found = lists(engine, exclude_seen=True)
    events = states.read([("b", None)])[0].rows
    bare = Recommender.load(bundle).recommend(
        histories=[row.item for row in events], wanted=Wanted(k=6, exclude_seen=True)
    )
    assert [item for item, _ in found[1]] == bare.table["item_id"].to_list()
    same(lists(engine, exclude_seen=True), found)
    assert engine.kept.counts.hits == 2
    narrowed = {"candidates": tuple(item for item, _ in found[0])}
    assert {item for item, _ in lists(engine, **narrowed)[0]} == set(narrowed["candidates"])
    pytest.importorskip("faiss")
    indexed = Engine(bundle, states, EngineSettings(blend_events=0, index="flat"))
    assert indexed._index.recall == 1
    same(lists(indexed), lists(engine))


@torch.no_grad()
def test_what_is_kept_is_every_vector(bundle):
    frame = Recommender.load(bundle).frame
    kept, history = KeptModel(frame, 1 << 20), History.from_lists([[1, 2, 3], [4]])
    first, again = kept.queries(["a", "b"], history), kept.queries(["a", "b"], history)
    assert first.shape == (2, 4, 64)
    assert torch.equal(first, again)
    torch.testing.assert_close(first, frame.query(history))
    assert kept.counts.bytes == sum(one.num_bytes for one in kept._held.values()) > 2 * 4 * 64 * 4
