"""How fast hpgr trains beside RecTools and RecBole, on one log, in turn, and what each has learnt after one epoch.

    python benchmarks/peers.py --write
    python benchmarks/peers.py --peers rectools --models sasrec --fraction 0.1 --runs 1

Each peer gets a virtual environment of its own under ``--envs``, made at the first run. The log is simulated (3,000 users,
5,000 items, about 525,000 events) and cut to each user's newest ``L + 2`` events, so that all supervise the same positions:
one is held out and ``L`` of the rest are predicted. Speeds are of runs that alternate, each in a fresh process and of a
``--fraction`` of an epoch; the epoch that judges what was learnt is not timed. RecBole has no such epoch: it makes a
sequence of every prefix, so that one takes hours.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from measured import Ratio, keep, ratio, spread

from hpgr.core.units import human_bytes
from hpgr.data.simulator import Simulator

_HOME = Path(__file__).resolve().parents[1]
_PAGE = _HOME / "benchmarks" / "peers.md"
_CHILD = Path(__file__).with_name("peer_models.py")
CLOCKS = ("seconds", "cpu_seconds")
MAX_LEN, USERS, ITEMS, SESSIONS = 200, 3000, 5000, 28.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A library to compare with: what its environment holds, its models, and the sequences of a batch it prefers."""

    packages: tuple[str, ...]
    models: tuple[str, ...]
    batch: int
    learns: bool = True
    steps: int | None = None


PEERS = {
    "rectools": Peer(packages=("rectools[torch]==0.19.*",), models=("sasrec", "hstu"), batch=128),
    "recbole": Peer(
        packages=("recbole==1.2.1", "numpy<2", "pandas<2.2", "scipy<1.13"),
        models=("sasrec",),
        batch=2048,
        learns=False,
        steps=1,
    ),
}


def environment(name: str, folder: Path, torch: str) -> Path:
    """The Python of a peer's environment, made where it is not there yet."""
    home = folder / name
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "pip"), "install", "--quiet"]
        subprocess.run([*pip, f"torch=={torch}"], check=True)
        subprocess.run([*pip, *PEERS[name].packages, f"torch=={torch}"], check=True)
        (home / "ready").touch()
    return home / "bin" / "python"


def write_log(path: Path) -> pl.DataFrame:
    """The log that all read, as CSV: ``user, item, time_s``, integers; grouped by user, oldest first."""
    shape = {"num_users": USERS, "num_items": ITEMS, "sessions_per_user": SESSIONS, "exposures_per_session": 0.0}
    whole = pl.concat(Simulator.Config(**shape).build().frames())
    rank = (pl.col(f"{name}_id").rank("dense").cast(pl.Int64).alias(name) for name in ("user", "item"))
    log = (
        whole.select(*rank, time_s=pl.col("timestamp") // 1000).group_by("user", maintain_order=True).tail(MAX_LEN + 2)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    log.write_csv(path)
    return log


class Ring:
    """Runs the jobs of one comparison; ``threads`` for each of them."""

    def __init__(self, asked: argparse.Namespace, log: Path) -> None:
        self._asked, self._log = asked, log

    def run(self, library: str, python: Path, **changes: Any) -> dict[str, Any]:
        """What one process found."""
        job = {
            "log": str(self._log),
            "max_len": MAX_LEN,
            "dim": 64,
            "heads": 2,
            "dropout": 0.2,
            "lr": 1e-3,
            "threads": self._asked.threads,
            "judge": False,
            **changes,
        }
        path = self._log.with_name("job.json")
        path.write_text(json.dumps(job))
        threads = {
            "OMP_NUM_THREADS": str(self._asked.threads),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONWARNINGS": "ignore",
        }
        done = subprocess.run(
            [str(python), str(_CHILD), library, str(path)], env=os.environ | threads, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{library} ({changes['model']}) must run; it ended with:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def speeds(self, name: str, python: Path, model: str, positions: int) -> tuple[list[dict], list[dict]]:
        """What each timed run found, ours and the peer's."""
        peer, asked = PEERS[name], self._asked
        theirs_epoch = math.ceil(USERS / peer.batch)
        their_steps = peer.steps or max(1, round(asked.fraction * theirs_epoch))
        our_steps = max(1, round(asked.fraction * positions / asked.batch_tokens))
        ours, theirs = [], []
        for seed in range(1, asked.runs + 1):
            for library, found in (("ours", ours), (name, theirs)):
                is_ours = library == "ours"
                told = {"model": model, "seed": seed, "batch": asked.batch_tokens if is_ours else peer.batch}
                told["steps"] = our_steps if is_ours else their_steps
                found.append(self.run(library, Path(sys.executable) if is_ours else python, **told))
                rates = (found[-1]["positions"] / found[-1][clock] for clock in CLOCKS)
                print(f"{model}, {library}, run {seed}: {' / '.join(f'{x:,.0f}' for x in rates)}", flush=True)
        return ours, theirs

    def learnt(self, library: str, python: Path, model: str, batch: int) -> dict[str, Any]:
        """Loss and hits on the held-out events after a whole epoch."""
        found = self.run(library, python, model=model, seed=1, batch=batch, steps=0, judge=True)
        print(f"{model}, {library}: loss {found['loss']:.4f}, HitRate@10 {found['hit10']:.4f}", flush=True)
        return found


def compared(
    ring: Ring, name: str, python: Path, model: str, positions: int, asked: argparse.Namespace
) -> tuple[str, dict[str, Ratio]]:
    """The row of one model against one peer, and the ratios of their speeds by either clock."""
    ours, theirs = ring.speeds(name, python, model, positions)

    def cost(runs: list[dict], clock: str) -> list[float]:
        return [run[clock] / run["positions"] for run in runs]

    faster = {clock: ratio(cost(theirs, clock), cost(ours, clock)) for clock in CLOCKS}
    learnt = ["not run", "not run", ""]
    if PEERS[name].learns and not asked.speed_only:
        own = ring.learnt("ours", Path(sys.executable), model, asked.batch_tokens)
        other = ring.learnt(name, python, model, PEERS[name].batch)
        learnt = [f"{x['loss']:.3f} / {x['hit10']:.4f} ({x['steps']} steps)" for x in (own, other)]
        learnt.append(f"{100 * (own['loss'] / other['loss'] - 1):+.1f} %")
    rates = [spread([1e-3 / x for x in cost(runs, "seconds")]) for runs in (ours, theirs)]
    told = [f"**{faster['seconds']}**", str(faster["cpu_seconds"])]
    return "| " + " | ".join([model, name, *rates, *told, *learnt]) + " |", faster


def page(rows: list[str], log: pl.DataFrame, notes: list[str]) -> list[str]:
    """What is kept for readers."""
    counts = log.group_by("user").len()["len"]
    return [
        "# Beside the peers",
        "",
        f"A simulated log: {log['user'].n_unique():,} users, {log['item'].n_unique():,} items, cut to the newest "
        f"{MAX_LEN + 2} events of a user: {log.height:,} events, {statistics.median(counts):.0f} in the middle. Width 64, two "
        f"blocks of two heads, L = {MAX_LEN}, dropout 0.2, full softmax over dot products, Adam at 0.001, float32, CPU.",
        "Speeds are supervised positions (not padding) a second in training, median (min–max) of alternating runs; the ratio by "
        "CPU time says more where other work shared the machine. Loss is "
        "the mean cross-entropy of each user's held-out last event over the whole catalogue, in nats, after one epoch.",
        "",
        "| model | peer | hpgr, 1000/s | peer, 1000/s | ratio | ratio by CPU time | hpgr: loss / HitRate@10 | peer: the same "
        "| loss, ours to theirs |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *notes,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--models", nargs="+", choices=("sasrec", "hstu"), default=["sasrec", "hstu"])
    parser.add_argument("--envs", type=Path, default=_HOME / "build" / "peers", help="where environments are kept")
    parser.add_argument("--fraction", type=float, default=0.25, help="of an epoch in a timed run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=4096, help="events in a batch of ours")
    parser.add_argument("--torch", default="2.13.0", help="version in the peers' environments")
    parser.add_argument("--speed-only", action="store_true", help="do not train the epoch that judges what was learnt")
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/peers.md and its figures in benchmarks/results/"
    )
    asked = parser.parse_args()
    log_path = asked.envs / "log" / "log.csv"
    log = write_log(log_path)
    print(f"{log.height:,} events, {human_bytes(log_path.stat().st_size)}", flush=True)
    positions = log.height - 2 * log["user"].n_unique()
    rows, ratios, ring = [], {}, Ring(asked, log_path)
    for name in asked.peers:
        python = environment(name, asked.envs, asked.torch)
        for model in (model for model in PEERS[name].models if model in asked.models):
            row, faster = compared(ring, name, python, model, positions, asked)
            rows.append(row)
            for clock, found in faster.items():
                ratios[f"{model} beside {name}, positions by {clock}, d=64 L={MAX_LEN} V={ITEMS}"] = found
            print(row, flush=True)
    if asked.write:
        settings = {name: str(value) for name, value in vars(asked).items() if name not in ("envs", "write")}
        kept = keep(
            "peers", page(rows, log, []), ratios, command="python benchmarks/peers.py --write", settings=settings
        )
        kept.replace(_PAGE)
        print(_PAGE)


if __name__ == "__main__":
    main()
