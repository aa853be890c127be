"""How fast a log becomes a store, and in how much memory.

Writes a log (Zipf items, users of unlike activity), then builds a store of it in a fresh process:

    python benchmarks/store_building.py --events 5000000 --ids integer --runs 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hpgr.core.units import human_bytes
from hpgr.data.log import EventLog
from hpgr.data.store import SequenceStore

CHUNK = 1_000_000
NUM_ITEMS = 100_000
EVENTS_A_USER = 50
FIRST_MS, DAYS = 1_600_000_000_000, 365
RESULTS = Path(__file__).parent / "results"


def write_log(path: Path, events: int, ids: str, order: str) -> None:
    """A log of ``events`` rows, a chunk at a time; ``order`` of rows is ``time`` or ``random``."""
    rng = np.random.default_rng(0)
    num_users = max(1, events // EVENTS_A_USER)
    item_odds = np.cumsum(1 / np.arange(1, NUM_ITEMS + 1))
    item_ids = rng.permutation(NUM_ITEMS) * 7
    user_ids = rng.permutation(num_users) * 3
    writer = None
    for start in range(0, events, CHUNK):
        size = min(CHUNK, events - start)
        users = user_ids[(num_users * rng.random(size) ** 3).astype(np.int64)]
        items = item_ids[np.searchsorted(item_odds, rng.random(size) * item_odds[-1])]
        span = DAYS * 86_400_000
        times = rng.integers(0, span, size)
        if order == "time":
            times = np.sort((start + times * (size / span)).astype(np.int64) * (span // events))
        table = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": FIRST_MS + times})
        if ids == "string":
            text = (pl.format(f"{name}-{{}}", f"{name}_id").alias(f"{name}_id") for name in ("user", "item"))
            table = table.with_columns(text)
        arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, arrow.schema)
        writer.write_table(arrow)
    if writer is not None:
        writer.close()


def build_once(log: Path, store: Path, ties: str, memory_mb: int) -> dict[str, float]:
    """Seconds by the clock and of all cores, and the largest resident memory of one build in a process of its own."""
    start, start_cpu = time.perf_counter(), time.process_time()
    built = SequenceStore.build(EventLog.read(log), store, ties=ties, memory_mb=memory_mb)
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak, "events": built.num_events}


def measured(arguments: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """One entry for each run, each in a fresh process."""
    log, store = folder / "log.parquet", folder / "store"
    write_log(log, arguments.events, arguments.ids, arguments.order)
    runs = []
    for _ in range(arguments.runs):
        options = ["--ties", arguments.ties, "--memory-mb", str(arguments.memory_mb)]
        command = [sys.executable, __file__, "--child", str(log), str(store), *options]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        if runs[-1]["events"] != arguments.events:
            raise SystemExit(f"events ({runs[-1]['events']}) must be as many as were written ({arguments.events})")
        subprocess.run(["rm", "-r", str(store)], check=True)
    return runs


def row_of(arguments: argparse.Namespace, runs: list[dict[str, float]]) -> str:
    """The measurement as a line of a Markdown table."""
    rates = [run["events"] / run["seconds"] / 1e6 for run in runs]
    rate = f"{statistics.median(rates):.2f} ({min(rates):.2f}–{max(rates):.2f})"
    peak = human_bytes(max(run["peak_bytes"] for run in runs))
    case = f"{arguments.events:,} | {arguments.ids} | {arguments.order} | {arguments.ties} | {arguments.memory_mb}"
    cpu = statistics.median(run["cpu_seconds"] for run in runs)
    return f"| {case} | {rate} | {cpu:.0f} | {peak} | {len(runs)} |"


def write_result(line: str) -> Path:
    """Append ``line`` to this month's file of this machine."""
    now = datetime.now(timezone.utc)
    cores = len(os.sched_getaffinity(0))
    path = RESULTS / f"store_building_{platform.machine()}-{cores}cores_{now:%Y%m}.md"
    if not path.exists():
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        path.write_text(
            f"# Building a store\n\nCommit {commit or 'unknown'}; {platform.machine()}, {cores} cores; Python "
            f"{platform.python_version()}, Polars {pl.__version__}, NumPy {np.__version__}, Arrow {pa.__version__}.\n"
            f"`benchmarks/store_building.py`: {NUM_ITEMS:,} items by Zipf, {EVENTS_A_USER} events a user on average, "
            f"{DAYS} days, milliseconds; each build in a fresh process, the log in the page cache.\n\n"
            "| events | ids | order of rows | ties | memory_mb | million events/s, median (min–max) | CPU s | "
            "peak RSS | runs |\n"
            "|---|---|---|---|---|---|---|---|---|\n"
        )
    path.write_text(path.read_text() + line + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--ids", choices=("integer", "string"), default="integer")
    parser.add_argument("--order", choices=("time", "random"), default="time")
    parser.add_argument("--ties", default="file")
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--child", nargs=2, metavar=("LOG", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        log, store = map(Path, arguments.child)
        print(json.dumps(build_once(log, store, arguments.ties, arguments.memory_mb)))
        return
    with tempfile.TemporaryDirectory() as folder:
        line = row_of(arguments, measured(arguments, Path(folder)))
    print(line)
    if arguments.write:
        print(write_result(line))


if __name__ == "__main__":
    main()
