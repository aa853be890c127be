"""What the service answers a second, how late, and in how much memory; no speed is printed where its answers are not the model's.

A process of its own asks over HTTP, on this machine: each of a few connections asks again as soon as it is answered.

    python benchmarks/serving.py --minutes 2 --out benchmarks/serving.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch

from hpgr import EventLog, Recommender, SequenceStore, Wanted
from hpgr.data.split_rules import GlobalTime
from hpgr.serving.client import Client

ITEMS, EVENTS, CANDIDATES, USERS = 50_000, 500, 200, 64
TARGET = "150 requests/s, p99 60 ms"
MODES: dict[str, dict[str, Any]] = {
    "recommend, retrieved from the whole catalogue": {"by": "retrieve", "k": 10},
    "rank, 200 candidates given": {"by": "rank", "candidates": [f"i{i}" for i in range(CANDIDATES)], "k": 10},
    "recommend, 200 retrieved, then ranked": {"by": "rank", "k": 10, "pool": CANDIDATES},
}
NOBODY = "recommend to who is new: the prior, without the model"


def histories(users: int, seed: int) -> pl.DataFrame:
    """``EVENTS`` events a user, in sessions about ten long, items drawn evenly."""
    draw = np.random.default_rng(seed)
    gaps = np.where(draw.random((users, EVENTS)) < 0.1, draw.integers(3600, 86_400, (users, EVENTS)), 60)
    times = (1_700_000_000 + gaps.cumsum(1)).reshape(-1)
    items = np.concatenate([draw.permutation(ITEMS), draw.integers(0, ITEMS, max(0, users * EVENTS - ITEMS))])
    named = [f"i{item}" for item in items[: users * EVENTS]]
    return pl.DataFrame({"user_id": np.repeat(np.arange(users), EVENTS), "item_id": named, "timestamp": times})


def make_bundle(folder: Path, model: str) -> Path:
    """A bundle of one training step: what it costs to ask does not depend on what it has learnt."""
    store = SequenceStore.build(EventLog.read(histories(400, seed=0)), folder / "store")
    steps = [f"stages.{stage}.{what}=1" for stage in ("retrieve", "rank") for what in ("epochs", "limit_batches")]
    changes = [*steps, f"windows.max_len={EVENTS}"]
    return Recommender(model, changes=changes, split=GlobalTime(valid_share=1e-5)).fit(store).save(folder / "bundle")


async def connection(port: int, bodies: list[bytes], until: float, found: list[tuple[float, int]]) -> None:
    """Ask on one connection until the time is over; ``(seconds, status)`` of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at = 0
    while time.monotonic() < until:
        begun = time.perf_counter()
        writer.write(bodies[at % len(bodies)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        found.append((time.perf_counter() - begun, int(head.split()[1])))
        at += 1
    writer.close()


async def generate(port: int, connections: int, seconds: float, mode: str) -> None:
    """The load, and what became of it, as JSON on standard output."""
    bodies = []
    for user in range(USERS):
        asked = {"user_id": f"new {user}"} if mode == NOBODY else {"user_id": user, **MODES[mode]}
        body = json.dumps(asked).encode()
        head = f"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        bodies.append(head.encode() + body)
    found: list[tuple[float, int]] = []
    until = time.monotonic() + seconds
    lots = [bodies[i:] + bodies[:i] for i in range(0, USERS, max(1, USERS // connections))]
    await asyncio.gather(*(connection(port, lot, until, found) for lot in lots[:connections]))
    ms = np.array([taken for taken, _ in found]) * 1000
    wrong = sum(status != 200 for _, status in found)
    p50, p99 = np.percentile(ms, [50, 99])
    print(json.dumps({"answers": len(found), "wrong": wrong, "a second": len(found) / seconds, "p50": p50, "p99": p99}))


def load(port: int, server: psutil.Process, mode: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One mode's load, with the server's memory at its beginning, middle and end, in MiB."""
    seconds = arguments.minutes * 60 / (len(MODES) + 1)
    words = [sys.executable, __file__, "--generate", mode, "--port", str(port), "--seconds", str(seconds)]
    memory = []
    with subprocess.Popen([*words, "--connections", str(arguments.connections)], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            memory.append(server.memory_info().rss >> 20)
            time.sleep(0.5)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    return told | {"memory": [memory[len(memory) // 10], memory[len(memory) // 2], memory[-1]]}


def check(client: Client, bundle: Path) -> None:
    """Answers over HTTP, asked together, are those of the Python face."""
    recommender = Recommender.load(bundle)
    table = histories(USERS, seed=1)
    for mode, body in MODES.items():
        for user in range(3):
            mine = table.filter(pl.col("user_id") == user)
            at = int(mine["timestamp"][-1]) * 1000 + 60_000
            wanted = Wanted(k=10, by=body["by"], candidates=body.get("candidates"), pool=CANDIDATES)
            true = recommender.recommend(histories=mine, wanted=wanted, at=at).table
            got = client.recommend(user, at=at, **body)["items"]
            if not np.allclose([item["score"] for item in got], true["score"].to_numpy(), rtol=1e-4, atol=1e-4):
                raise SystemExit(f"answers must be the model's; in {mode!r} they are not")


def serve(bundle: Path, folder: Path, threads: int) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    door = [sys.executable, "-c", "from hpgr.cli.main import main; main()", "serve", str(bundle)]
    words = ["--state", f"sqlite:{folder / 'state'}", "--port", str(port), "--threads", str(threads)]
    process = subprocess.Popen([*door, *words], stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                client.ready()
            return process, port
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service must be ready within a minute; it was not")


def report(arguments: argparse.Namespace, told_a_second: float, rows: dict[str, dict[str, Any]]) -> str:
    cores = os.cpu_count()
    lines = [
        "# The service under load",
        "",
        f"`python benchmarks/serving.py --minutes {arguments.minutes:g} --connections {arguments.connections} "
        f"--threads {arguments.threads} --model {arguments.model}` on {platform.machine()} with {cores} cores, load generator on "
        f"the same machine; torch {torch.__version__}, float32. {ITEMS:,} items, {USERS} users of {EVENTS} events, "
        f"{arguments.connections} connections that ask again as soon as they are answered; SQLite synced at every commit.",
        "",
        f"Target: {TARGET}. Events were taken at {told_a_second:,.0f} a second, {EVENTS} a request.",
        "",
        "| asked | answers | not 200 | a second | p50 ms | p99 ms | memory MiB, begin – middle – end |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, row in rows.items():
        memory = " – ".join(map(str, row["memory"]))
        speed = f"{row['a second']:.1f} | {row['p50']:.0f} | {row['p99']:.0f}"
        lines.append(f"| {mode} | {row['answers']} | {row['wrong']} | {speed} | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="hpgr")
    parser.add_argument("--bundle", type=Path, help="one that this script made before")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--generate", metavar="MODE", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.generate:
        asyncio.run(generate(arguments.port, arguments.connections, arguments.seconds, arguments.generate))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        bundle = arguments.bundle or make_bundle(folder, arguments.model)
        process, port = serve(bundle, folder, arguments.threads)
        try:
            with Client(f"http://127.0.0.1:{port}", timeout_s=60) as client:
                begun = time.perf_counter()
                for (user,), mine in histories(USERS, seed=1).group_by("user_id", maintain_order=True):
                    times = (mine["timestamp"] * 1000).to_list()
                    pairs = zip(mine["item_id"].to_list(), times)
                    client.events([{"user_id": user, "item_id": i, "timestamp": t} for i, t in pairs])
                told_a_second = USERS * EVENTS / (time.perf_counter() - begun)
                check(client, bundle)
            rows = {mode: load(port, psutil.Process(process.pid), mode, arguments) for mode in [*MODES, NOBODY]}
        finally:
            process.terminate()
            process.wait()
    text = report(arguments, told_a_second, rows)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
