"""The models that ``peers.py`` trains, one in each process: ours, RecTools' and RecBole's, through their public doors.

Imports of a library stand inside its function: the process has one of them. ``job``: ``model``, ``log`` (CSV:
``user, item, time_s``, integers), ``max_len``, ``dim``, ``heads``, ``dropout``, ``lr``, ``batch`` (each library's own
measure), ``steps`` (0 for the whole epoch), ``threads``, ``seed``, ``judge``. A user's last event is held out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

BETAS = (0.9, 0.98)


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """hpgr: windows of ``max_len + 1`` events, so that each has at most ``max_len`` supervised positions."""
    from dataclasses import replace

    import numpy as np
    import polars as pl
    import torch

    from hpgr.api.material import Material
    from hpgr.data.log import EventLog
    from hpgr.data.split_rules import LeaveOneOut
    from hpgr.data.store import SequenceStore
    from hpgr.data.windows import TrainWindows
    from hpgr.models.hstu import hstu
    from hpgr.models.sasrec import sasrec
    from hpgr.objectives.costs import FullSoftmax
    from hpgr.objectives.next_item import NextItem
    from hpgr.training.settings import Housekeeping, StageSettings
    from hpgr.training.stages import fit_stage

    folder = tempfile.TemporaryDirectory()
    log = pl.read_csv(job["log"]).rename({"user": "user_id", "item": "item_id", "time_s": "timestamp"})
    store = SequenceStore.build(EventLog.read(log, time_unit="s"), Path(folder.name) / "store")
    material = Material.of(store, LeaveOneOut(train_on_validation=True))
    shape = {"dim": job["dim"], "num_heads": job["heads"], "dropout": job["dropout"]}
    if job["model"] == "hstu":
        config = hstu(**shape, max_len=job["max_len"] + 1, negatives=None)
        config = replace(config, objective=NextItem.Config(cost=FullSoftmax()))
    else:
        config = sasrec(**shape, block=job.get("block", "released"))
    torch.manual_seed(job["seed"])
    frame = config.build(num_items=len(material.split.catalogue))
    frame.observe(torch.from_numpy(material.split.catalogue.train_count))
    windows = TrainWindows.Config(max_len=job["max_len"] + 1, batch_tokens=job["batch"])
    windows = TrainWindows(store, material.split.train, material.split.catalogue, windows, seed=job["seed"])
    read = Counting(windows)
    settings = StageSettings(
        epochs=1, lr=job["lr"], betas=BETAS, precision="32", patience=None, limit_batches=job["steps"] or None
    )
    done = fit_stage(frame.stages()[0], read, settings=settings, seed=job["seed"], keep=Housekeeping(accelerator="cpu"))
    found = read.clock.read() | {"positions": read.positions, "steps": done.steps}
    found["wait_share"] = done.curve[0]["wait_share"]
    if not job["judge"]:
        return found
    frame.eval()
    queries = material.queries("test")
    target = material.split.catalogue.rows(queries.target_idx)
    logits = np.zeros((len(queries), len(material.split.catalogue)), dtype=np.float32)
    with torch.no_grad():
        for history, rows in material.query_batches(queries, job["max_len"]):
            logits[rows] = frame.scores(history).numpy()
    known = target < logits.shape[1]
    return found | judged(torch.from_numpy(logits[known]), torch.from_numpy(target[known]))


class Clock:
    """Seconds by the clock and of all cores since it was made; the second says more where a machine is shared."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """``seconds`` and ``cpu_seconds``."""
        return {"seconds": time.perf_counter() - self._begun[0], "cpu_seconds": time.process_time() - self._begun[1]}


class Counting:
    """Batches of histories that count the supervised positions they give, and note when the first is asked for."""

    def __init__(self, batches: Any) -> None:
        self._batches, self.positions = batches, 0
        self.set_epoch = batches.set_epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Any:
        self.clock = Clock()
        for history in self._batches:
            self.positions += history.num_events - history.num_users
            yield history


def rectools(job: dict[str, Any]) -> dict[str, Any]:
    """RecTools' transformer models: sequences padded to ``max_len``, Adam with the same betas."""
    import numpy as np
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import HSTUModel, SASRecModel

    seed_everything(job["seed"], verbose=False)
    log = pd.read_csv(job["log"])
    log.columns = [Columns.User, Columns.Item, Columns.Datetime]
    log[Columns.Weight] = 1.0
    log[Columns.Datetime] = pd.to_datetime(log[Columns.Datetime], unit="s")
    is_last = ~log.duplicated(Columns.User, keep="last")
    train, held = log[~is_last], log[is_last]

    class Watch(Callback):
        def __init__(self) -> None:
            self.positions, self.steps = 0, 0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.clock = Clock()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.positions += int((batch["y"] != 0).sum())
            self.steps += 1

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.took = self.clock.read()

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        limit = {"limit_train_batches": job["steps"]} if job["steps"] else {}
        return Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            enable_model_summary=False,
            callbacks=[Watch()],
            **quiet,
            **limit,
        )

    model = {"sasrec": SASRecModel, "hstu": HSTUModel}[job["model"]](
        n_blocks=2,
        n_heads=job["heads"],
        n_factors=job["dim"],
        dropout_rate=job["dropout"],
        session_max_len=job["max_len"],
        loss="softmax",
        lr=job["lr"],
        batch_size=job["batch"],
        epochs=1,
        get_trainer_func=trainer,
    )
    model.fit(Dataset.construct(train))
    watch = next(c for c in model.fit_trainer.callbacks if isinstance(c, Watch))
    found = watch.took | {"positions": watch.positions, "steps": watch.steps}
    if not job["judge"]:
        return found
    net = model.lightning_model.eval()
    with torch.no_grad():
        table = net.torch_model.item_model.get_all_embeddings()
    rows, extra = model.data_preparator.item_id_map.to_internal, model.data_preparator.n_item_extra_tokens
    held = held[held[Columns.Item].isin(rows.index)]
    past = dict(iter(train.groupby(Columns.User)))
    size, logits, targets = job["max_len"], [], []
    held = held[held[Columns.User].isin(past)]
    for first in range(0, len(held), 128):
        part = held.iloc[first : first + 128]
        x = np.zeros((len(part), size), dtype=np.int64)
        at = np.zeros((len(part), size + 1), dtype=np.int64)
        for row, (user, asked) in enumerate(zip(part[Columns.User], part[Columns.Datetime])):
            events = past[user].iloc[-size:]
            x[row, size - len(events) :] = rows[events[Columns.Item]].to_numpy()
            seconds = (
                np.append(events[Columns.Datetime].to_numpy(), np.datetime64(asked))
                .astype("datetime64[s]")
                .astype(np.int64)
            )
            at[row] = np.concatenate([np.full(size - len(events), seconds[0]), seconds])
        with torch.no_grad():
            batch = {"x": torch.from_numpy(x), "unix_ts": torch.from_numpy(at)}
            # Only the newest place of each user is scored.
            states = net.torch_model.encode_sessions(batch, table)[:, -1:]
            logits.append(net.torch_model.similarity_module(states, table)[:, 0, extra:])
        targets.append(torch.from_numpy(rows[part[Columns.Item]].to_numpy() - extra))
    return found | judged(torch.cat(logits), torch.cat(targets))


def recbole(job: dict[str, Any]) -> dict[str, Any]:
    """RecBole's SASRec: every prefix of a history is a sequence of its own with one target; its loss, its batches."""
    import pandas as pd
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.utils import init_seed

    with tempfile.TemporaryDirectory() as folder:
        log = pd.read_csv(job["log"])
        log.columns = ["user_id:token", "item_id:token", "timestamp:float"]
        (Path(folder) / "log").mkdir()
        log.to_csv(Path(folder) / "log" / "log.inter", sep="\t", index=False)
        told = {
            "data_path": folder,
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": job["max_len"],
            "n_layers": 2,
            "n_heads": job["heads"],
            "hidden_size": job["dim"],
            "inner_size": job["dim"],
            "hidden_dropout_prob": job["dropout"],
            "attn_dropout_prob": job["dropout"],
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "train_batch_size": job["batch"],
            "learning_rate": job["lr"],
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "seed": job["seed"],
        }
        config = Config(model="SASRec", dataset="log", config_dict=told)
        init_seed(config["seed"], True)
        train, _, _ = data_preparation(config, create_dataset(config))
    model = SASRec(config, train.dataset).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=job["lr"], betas=BETAS)
    torch.set_num_threads(job["threads"])
    clock, positions, steps = Clock(), 0, 0
    for batch in train:
        optimiser.zero_grad()
        model.calculate_loss(batch).backward()
        optimiser.step()
        positions += len(batch)
        steps += 1
        if steps == job["steps"]:
            break
    return clock.read() | {"positions": positions, "steps": steps, "epoch_steps": len(train)}


def judged(logits: Any, target: Any) -> dict[str, float]:
    """Mean cross-entropy over the whole catalogue, in nats, and the share of targets among the ten highest scores."""
    import torch

    cost = torch.nn.functional.cross_entropy(logits.float(), target)
    better = (logits > logits.gather(1, target[:, None])).sum(1)
    return {"loss": float(cost), "hit10": float((better < 10).float().mean()), "asked": len(target)}


def main() -> None:
    """``python peer_models.py LIBRARY JOB.json``: prints what was found as the last line."""
    warnings.simplefilter("ignore")
    job = json.loads(Path(sys.argv[2]).read_text())
    import torch

    torch.set_num_threads(job["threads"])
    found = {"ours": ours, "rectools": rectools, "recbole": recbole}[sys.argv[1]](job)
    print(json.dumps(found | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
