"""Compositions nobody published: every encoder with every objective and further part that any registered model has.

A new part is found by itself, as soon as a model uses it; where it does not fit another one, the reason belongs in ``REFUSED``.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch

import hpgr.models  # noqa: F401 - fills the registry
from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.transformed import TransformedEncoder
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.objectives.masked_item import MaskedItem

NUM_ITEMS, DIM = 12, 8
# Slots of which every kind meets every other; the rest are options of one frame.
SCORING = ("encoder", "objective")
RANKING = ("trunk", "encoder", "head")
BASE = ("items", "mask_at")
# What makes another architecture of a class: options that are parts, and words.
OPTIONS = ("context", "query_source", "position", "bias", "selection", "flip")
TOLD = (("norm", "post"), ("norm", "released"), ("act", "swiglu"), ("scope", "session"))


def configs(kind: type) -> list[Any]:
    """The configs of that frame in all registered models, stages of two-stage ones among them."""
    found = []
    for name in MODELS.names():
        config = MODELS[name](dim=DIM) if "dim" in MODELS[name].__code__.co_varnames else MODELS[name]()
        stages = [getattr(config, stage) for stage in ("retriever", "ranker") if hasattr(config, stage)]
        found += [one for one in (config, *stages) if isinstance(one, kind)]
    return found


def part_name(part: Any) -> str:
    """What tells parts apart: the class, what is inside an objective or a wrapper, what it and its layers have of ``OPTIONS``,
    whether it reads later events."""
    if part is None:
        return "none"
    name = type(part).__qualname__.split(".")[0]
    inner = [getattr(part, slot) for slot in ("cost", "encoder") if is_dataclass(getattr(part, slot, None))]
    name += "".join(f"[{part_name(one)}]" for one in inner)
    held = [part, *(getattr(part, slot, None) for slot in ("layer", "attention"))]
    options = [slot for slot in OPTIONS if any(is_dataclass(getattr(one, slot, None)) for one in held)]
    options += [word for one in held for slot, word in TOLD if getattr(one, slot, None) == word]
    name += f" with {', '.join(options)}" if options else ""
    return name + (" (reads later events)" if getattr(part, "causal", True) is False else "")


def parts(frames: list[Any], slot: str) -> dict[str, Any]:
    """The kinds of parts that any frame has in ``slot``, the first of each."""
    found: dict[str, Any] = {}
    for frame in frames:
        found.setdefault(part_name(getattr(frame, slot)), getattr(frame, slot))
    return found


def further_slots(kind: type) -> list[str]:
    """Slots of the frame that a model may leave empty."""
    return [f.name for f in fields(kind) if f.default is None and f.name not in (*SCORING, *BASE)]


def scoring_pairings() -> list[dict[str, str]]:
    """Every encoder with every objective, alone and with each further part."""
    frames, found = configs(ScoringRecommender.Config), []
    for encoder, objective in product(parts(frames, "encoder"), parts(frames, "objective")):
        pair = {"encoder": encoder, "objective": objective}
        found.append(pair)
        for slot in further_slots(ScoringRecommender.Config):
            found += [pair | {slot: name} for name in parts(frames, slot) if name != "none"]
    return found


def scoring_config(pairing: dict[str, str]) -> ScoringRecommender.Config:
    """The config, with items that score as the cost wants them."""
    frames = configs(ScoringRecommender.Config)
    chosen = {slot: parts(frames, slot)[name] for slot, name in pairing.items()}
    by_distance = getattr(getattr(chosen["objective"], "cost", None), "needs_distance", False)
    items = replace(next(f for f in frames if hasattr(f.items, "distance")).items, dim=DIM, distance=by_distance)
    return ScoringRecommender.Config(items=items, **chosen)


def windows() -> History:
    history = History.from_lists(
        [[1, 2, 3, 4, 5], [6, 2], [7, 8, 9, 1, 4]], sessions=[[0, 0, 1, 1, 1], [0, 0], [0, 0, 1, 1, 2]]
    )
    return replace(history, now_ms=history.now_ms - 1000)


def beside(history: History, kind: str) -> Any:
    """A batch as a stage takes it: alone, or with what stands beside it."""
    if kind == "shown":
        items = [[n, n + 1] for n in range(history.session_offsets.shape[0] - 1)]
        return history, Candidates.from_lists(items, now_ms=torch.zeros(len(items)), labels=[[0.0, 0.0]] * len(items))
    return (history, history) if kind == "pairs" else history


def train(frame: Any, batch: Any) -> None:
    """Two steps, for a map that begins at 0 lets nothing through in the first; fails unless items, encoder and interests move,
    where they have weights, and the loss and all weights are finite."""
    (stage,) = frame.stages()
    before = {name: value.detach().clone() for name, value in frame.named_parameters()}
    batch = beside(batch, stage.batches)
    frame.train()
    if stage.each_epoch is not None:
        frame.eval()
        with torch.no_grad():
            stage.each_epoch(0, [batch], torch_generator(1))
        frame.train()
    optimiser = torch.optim.Adam([p for p in frame.parameters() if p.requires_grad], lr=1e-2)
    for step in range(2):
        optimiser.zero_grad()
        loss = stage.loss(batch, torch_generator(2, step))["loss"]
        assert loss.isfinite()
        loss.backward()
        optimiser.step()
    moved = {name for name, value in frame.named_parameters() if not torch.equal(value, before[name])}
    for part in ("items.", "encoder.", "interests."):
        assert any(name.startswith(part) for name in moved) or not any(name.startswith(part) for name in before), part
    assert all(value.isfinite().all() for value in frame.parameters())


def small(config: Any) -> Any:
    """The same with as few prototypes and clusters as three windows can have, placed at once."""
    changes = {}
    if hasattr(config.auxiliary, "bank"):
        changes["auxiliary"] = replace(config.auxiliary, bank=replace(config.auxiliary.bank, num_prototypes=2))
    if hasattr(config.adapter, "clusters"):
        clusters = replace(config.adapter.clusters, num_clusters=2)
        changes["adapter"] = replace(config.adapter, clusters=clusters, warm_epochs=0)
    return replace(config, **changes)


PAIRINGS = scoring_pairings()
REFUSED = {
    "later sessions": r"^(trunk|encoder) \(\w+, which reads later sessions\) must not under (NextSession|ExposedRanking): it would read "
    "what it is to predict; take a causal one or BySession around one$",
    "needs causal": r"^(trunk|encoder) \(\w+, which reads later events\) must be causal under NextItem: it would read what it is "
    "to predict; take a causal one, MaskedItem or LastItem$",
    "adapter hides": r"^objective \((MaskedItem|LastItem|NextSession)\) must tell all events before its predictions under FewShot, which "
    "learns from them, and take weights; take NextItem$",
    "several states": r"^cost \(\w+\) must make one answer of several states under Reasoning; take Progressive or Ensemble$",
    "one state read": r"^(auxiliary|adapter|interests) \(\w+, which reads one state of an event\) must be None under Reasoning, "
    "which gives several$",
    "items hidden": r"^objective \(MaskedItem, which hides items\) must tell them all under (encoder SessionTokens|adapter LongTermMemory), "
    "which knows events of one item by it; take NextItem or LastItem$",
    "adapter weighs": r"^cost \(\w+\) must tell what each prediction costs under FewShot, which weighs them; take MarginRanking$",
}


def reason(pairing: dict[str, str]) -> str | None:
    """Why it is refused; None for a legal one."""
    later = "(reads later events)"
    ahead = [later in pairing["encoder"], later in pairing.get("trunk", "")]
    if pairing["objective"].startswith("NextItem") and any(ahead):
        return "needs causal"
    asks_of_sessions = pairing["objective"].startswith("NextSession") or pairing.get("auxiliary") == "ExposedRanking"
    if asks_of_sessions and (ahead[1] or (ahead[0] and not pairing["encoder"].startswith("BySession"))):
        return "later sessions"
    if pairing["objective"].startswith("NextItem"):
        if pairing["encoder"].startswith("Reasoning"):
            return _of_several(pairing)
        if pairing.get("adapter") == "FewShot" and "MarginRanking" not in pairing["objective"]:
            return "adapter weighs"
    elif pairing["encoder"].startswith("Reasoning"):
        return _of_several(pairing)
    elif pairing.get("adapter") == "FewShot":
        return "adapter hides"
    reads_items = pairing["encoder"].startswith("SessionTokens") or pairing.get("adapter") == "LongTermMemory"
    return "items hidden" if reads_items and pairing["objective"].startswith("MaskedItem") else None


def _of_several(pairing: dict[str, str]) -> str | None:
    if "[Progressive" not in pairing["objective"] and "[Ensemble" not in pairing["objective"]:
        return "several states"
    # Distillation asks the items and no state.
    reads = {"adapter", "interests"} & set(pairing) or pairing.get(
        "auxiliary", "TransitionDistillation"
    ) != "TransitionDistillation"
    return "one state read" if reads else None


def test_the_registry_knows_these_parts():
    frames = configs(ScoringRecommender.Config)
    assert len(frames) == 25
    assert len(parts(frames, "encoder")) == 18, list(parts(frames, "encoder"))
    assert len(parts(frames, "objective")) == 10, list(parts(frames, "objective"))
    further = {slot: len(parts(frames, slot)) - 1 for slot in further_slots(ScoringRecommender.Config)}
    assert further == {"trunk": 1, "auxiliary": 3, "adapter": 2, "interests": 2}
    assert [len(parts(RANKERS, slot)) for slot in RANKING] == [4, 6, 1]
    refused = [reason(pairing) for pairing in PAIRINGS]
    assert {why: refused.count(why) > 0 for why in REFUSED} == dict.fromkeys(REFUSED, True)
    assert (len(PAIRINGS), refused.count(None)) == (1620, 944)


def test_contextual_and_plain_layers_of_one_class_are_parts_of_their_own():
    found = parts(configs(ScoringRecommender.Config), "encoder")
    assert {name for name in found if name.startswith(("AttentionEncoder", "HstuStates"))} == {
        "AttentionEncoder with context",
        "AttentionEncoder with position",
        "AttentionEncoder with position, post",
        "AttentionEncoder with position, swiglu",
        "AttentionEncoder with bias (reads later events)",
        "HstuStates with context",
        "HstuStates with position, bias",
    }


@pytest.mark.parametrize("pairing", PAIRINGS, ids=lambda pairing: " + ".join(pairing.values()))
def test_a_pairing_trains_or_says_why_not(pairing):
    why = reason(pairing)
    if why is not None:
        with pytest.raises(ConfigError, match=REFUSED[why]):
            scoring_config(pairing)
        return
    torch.manual_seed(0)
    frame = small(scoring_config(pairing)).build(num_items=NUM_ITEMS)
    frame.count([windows()])
    train(frame, windows())
    with torch.no_grad():
        scores = frame.eval().scores(windows())
    assert scores.shape == (3, NUM_ITEMS)
    assert scores.isfinite().all()


def test_costs_by_distance_refuse_items_that_score_otherwise():
    (frame,) = (one for one in configs(ScoringRecommender.Config) if one.items.distance)
    with pytest.raises(
        ConfigError,
        match=r"^items \(IdEmbedding, which score by dot products\) must score by distance under MarginRanking; "
        "set items.distance=true$",
    ):
        replace(frame, items=replace(frame.items, distance=False))


def test_what_an_encoder_says_of_itself_holds_inside_another():
    """Reading items, counting before an epoch, and several states are not lost by an encoder around."""
    counting = MODELS["pisa"](dim=DIM)
    around = replace(counting, encoder=TransformedEncoder.Config(encoder=counting.encoder))
    (stage,) = around.build(num_items=NUM_ITEMS).stages()
    assert stage.each_epoch is not None
    with pytest.raises(ConfigError, match=REFUSED["items hidden"]):
        replace(around, objective=MaskedItem.Config(), adapter=None)
    thinking = MODELS["rearec"](dim=DIM)
    with pytest.raises(
        ConfigError, match=r"^encoder \(TransformedEncoder\) must hold encoders of one state an event; put Reasoning"
    ):
        replace(thinking, encoder=TransformedEncoder.Config(encoder=thinking.encoder))


@pytest.mark.parametrize("slot", ["auxiliary", "adapter"])
def test_parts_that_read_one_vector_refuse_several(slot):
    frames = configs(ScoringRecommender.Config)
    (several, _) = (one for one in frames if one.interests is not None)
    part = next(getattr(one, slot) for one in frames if getattr(one, slot) is not None)
    with pytest.raises(
        ConfigError,
        match=rf"^{slot} \(\w+, which reads one state of an event\) must be None under AttendedInterests, which gives several$",
    ):
        replace(several, **{slot: part})


def test_several_states_of_an_event_and_several_vectors_of_a_user_keep_apart():
    """Costs that make one answer of thoughts leave a user's vectors alone: each stays a query of its own."""
    frames = configs(ScoringRecommender.Config)
    thinking = next(one for one in frames if getattr(one.encoder, "several_states", False))
    several = next(one for one in frames if one.interests is not None)
    with torch.no_grad():
        thought = thinking.build(num_items=NUM_ITEMS).eval().query(windows())
        frame = replace(several, objective=thinking.objective).build(num_items=NUM_ITEMS).eval()
        vectors, scores = frame.query(windows()), frame.scores(windows())
    assert thought.dim() == 2
    assert vectors.shape == (3, 4, DIM)
    torch.testing.assert_close(scores, (vectors @ frame.items.table().T).amax(1))


ROUNDS = MODELS["ada_retrieval"](dim=DIM, rounds=3, per_round=3)


@pytest.mark.parametrize(
    "pairing",
    [one for one in PAIRINGS if len(one) == 2 and reason(one) is None],
    ids=lambda pairing: " + ".join(pairing.values()),
)
def test_rounds_go_over_every_encoder_and_objective(pairing):
    base = scoring_config(pairing)
    if getattr(base.encoder, "several_states", False):
        with pytest.raises(ConfigError, match=r"^base.encoder \(Reasoning, which gives several states\) must give one"):
            replace(ROUNDS, base=base)
        return
    torch.manual_seed(0)
    frame = replace(ROUNDS, base=base).build(num_items=NUM_ITEMS)
    frame.train().loss(windows(), torch_generator(1))["loss"].backward()
    assert frame.user_adapter.outer.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert frame.eval().scores(windows()).isfinite().all()


RANKERS = configs(RankingRecommender.Config)


@pytest.mark.parametrize(
    "chosen", list(product(*(parts(RANKERS, slot) for slot in RANKING))), ids=lambda chosen: " + ".join(chosen)
)
def test_every_trunk_encoder_and_head_of_rankers_go_together(chosen):
    torch.manual_seed(0)
    slots = {slot: parts(RANKERS, slot)[name] for slot, name in zip(RANKING, chosen)}
    frame = replace(RANKERS[0], features=(), **slots).build(num_items=NUM_ITEMS)
    history = windows()
    labels = [[1.0, 0.0], [0.0], [1.0, 0.0]]
    candidates = Candidates.from_lists([[1, 2], [3], [4, 5]], now_ms=history.now_ms, labels=labels)
    (stage,) = frame.stages()
    before = frame.items.weight.detach().clone()
    optimiser = torch.optim.Adam(frame.parameters(), lr=1e-2)
    loss = stage.loss((history, candidates), torch_generator(1))["loss"]
    loss.backward()
    optimiser.step()
    assert loss.isfinite()
    assert not torch.equal(frame.items.weight, before)
    assert frame.eval().logits(history, candidates).isfinite().all()
