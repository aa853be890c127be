"""GRU4Rec on session-parallel batches: states as if each session were read alone, taken up after a kill, refused elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.api.fitting import fit
from hpgr.api.material import Material
from hpgr.core.batch import History
from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError
from hpgr.data.log import EventLog
from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.split_rules import GlobalTime
from hpgr.data.store import SequenceStore
from hpgr.models.bert4rec import bert4rec
from hpgr.models.gru4rec import gru4rec
from hpgr.models.sasrec import sasrec
from hpgr.training.run import Run
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

SETTINGS = StageSettings(optimiser="adagrad", lr=0.1, momentum=0.3, epochs=2, clip=None)


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    """50 users, each with sessions of 2 … 9 events two hours apart."""
    rng = np.random.default_rng(3)
    users, times = [], []
    for user in range(50):
        at = int(rng.integers(0, 10**9))
        for _ in range(3):
            length = int(rng.integers(2, 10))
            users += [user] * length
            times += [at + 1000 * event for event in range(length)]
            at += 7_200_000
    frame = pl.DataFrame({"user_id": users, "item_id": rng.integers(0, 25, len(users)), "timestamp": times})
    log = EventLog.read(frame.with_columns(pl.col("timestamp") + 10**12), time_unit="ms")
    return Material.of(SequenceStore.build(log, tmp_path_factory.mktemp("carried") / "store"), GlobalTime())


def run(num_steps: int = 1, **options) -> Run:
    config = gru4rec(dim=8, num_layers=2, num_negatives=4, **options)
    config = replace(config, items=replace(config.items, unknown_prob=0.0))
    return Run(
        model=config,
        windows=SessionParallelWindows.Config(num_lanes=12, num_steps=num_steps),
        stages={"retrieve": SETTINGS},
    )


def built(of: Run, material: Material):
    torch.manual_seed(0)
    frame = of.model.build(num_items=len(material.split.catalogue))
    frame.observe(torch.from_numpy(material.split.catalogue.train_count))
    return frame


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("scope", ["session", "user"])
def test_states_are_those_of_each_session_read_alone(material, num_steps, scope, close):
    asked = run(num_steps, input_dropout=0.0, scope=scope)
    frame = built(asked, material).train()
    (stage,) = frame.stages()
    told: dict[int, list[int]] = {}
    seen = 0
    for batch in material.training_batches(stage, asked):
        read = batch.without_last()
        states = frame.states(read).values.split(read.lengths.tolist())
        items = read.item_idx.split(read.lengths.tolist())
        for row, lane in enumerate(batch.features["lane"][batch.user_offsets[:-1]].tolist()):
            if not batch.features["continues"][batch.user_offsets[row]]:
                told[lane] = []
            told[lane] += items[row].tolist()
            alone = History.from_lists([told[lane]])
            close(states[row][-1], frame.states(alone).values[-1])
            seen += len(told[lane]) > num_steps
    assert seen > 50, "sessions that went on from an earlier batch"


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_training_is_continued_to_the_same_weights(material, tmp_path, epoch):
    asked = run(input_dropout=0.2, dropout=0.1)
    num_batches = len(material.training_batches(built(asked, material).stages()[0], asked))
    assert num_batches > 20

    def trained(keep=None, dying_at=None, forget=False):
        frame = built(asked, material)
        (stage,) = frame.stages()
        calls = []

        def loss(batch, generator):
            calls.append(1)
            if len(calls) == dying_at:
                raise RuntimeError("killed")
            if forget and len(calls) == 1:
                frame.encoder.set_extra_state(frame.encoder.get_extra_state() * 0)
            return frame.loss(batch, generator)

        batches = material.training_batches(stage, asked)
        fit_stage(replace(stage, loss=loss), batches, settings=SETTINGS, seed=1, keep=keep)
        return frame.state_dict()

    whole = trained()
    with pytest.raises(RuntimeError, match="killed"):
        trained(Housekeeping(folder=tmp_path, checkpoint_every_steps=8), dying_at=epoch * num_batches + 13)
    position = torch.load(tmp_path / "retrieve" / "last.pt", weights_only=True)["position"]
    assert (position["epoch"], position["step_in_epoch"] > 0) == (epoch, True)
    (tmp_path / "other" / "retrieve").mkdir(parents=True)
    (tmp_path / "other" / "retrieve" / "last.pt").write_bytes((tmp_path / "retrieve" / "last.pt").read_bytes())
    resumed = trained(Housekeeping(folder=tmp_path, resume=True))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    other = trained(Housekeeping(folder=tmp_path / "other", resume=True), forget=True)
    assert not torch.equal(other["items.weight"], whole["items.weight"]), "the kept states were read"


def test_a_whole_run_leaves_no_lanes(material):
    asked = run()
    frame = built(asked, material)
    result = fit(frame, material, asked)["retrieve"]
    assert result.curve[1]["loss"] < result.curve[0]["loss"]
    assert frame.eval().encoder.get_extra_state().shape[0] == 0
    assert from_tree(to_tree(asked)) == asked


def test_models_that_carry_no_state_are_refused(material):
    for model, message in (
        (
            sasrec(dim=8),
            r"windows \(session-parallel\) must have an encoder that carries its states from batch to batch, which "
            r"AttentionEncoder cannot; take GruEncoder or TrainWindows",
        ),
        (
            replace(gru4rec(dim=8), objective=bert4rec().objective),
            r"windows \(session-parallel\) must have the objective NextItem; take it or TrainWindows",
        ),
    ):
        asked = replace(run(), model=model)
        (stage,) = built(asked, material).stages()
        with pytest.raises(ConfigError, match=message):
            material.training_batches(stage, asked)
