"""What the service answers a second, how late, and in how much memory; no speed is printed where its answers are not the model's.

A process of its own asks over HTTP, on this machine: each of a few connections asks again as soon as it is answered.
With Redis beside the service, two workers are measured too. All rows together take ``--minutes``.

    python benchmarks/serving.py --minutes 10 --write
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
MAX_LEN = 2 * EVENTS
TARGET_RATE, TARGET_MS = 150, 60
PAGE = Path(__file__).with_suffix(".md")
GIVEN = [f"i{i}" for i in range(CANDIDATES)]
MODES: dict[str, dict[str, Any]] = {
    "retrieve from the whole catalogue": {"by": "retrieve", "k": 10},
    "rank 200 given candidates": {"by": "rank", "candidates": GIVEN, "k": 10},
    "an event, then rank 200 given candidates": {"by": "rank", "candidates": GIVEN, "k": 10},
    "retrieve 200, then rank them": {"by": "rank", "k": 10, "pool": CANDIDATES},
}
WITH_EVENTS = "an event, then rank 200 given candidates"
NOBODY = "who is new: the prior, without the model"


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
    changes = [*steps, f"windows.max_len={MAX_LEN}"]
    return Recommender(model, changes=changes, split=GlobalTime(valid_share=1e-5)).fit(store).save(folder / "bundle")


class Caller:
    """One connection; asks again as soon as it is answered, of one user after another."""

    def __init__(self, mode: str, users: list[int]) -> None:
        self.found: list[tuple[float, int]] = []
        self._mode, self._users = mode, users

    async def run(self, port: int, until: float) -> None:
        """Until the time is over; ``found`` are ``(seconds, status)`` of each answer."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        at = 0
        while time.monotonic() < until:
            user = self._users[at % len(self._users)]
            if self._mode == WITH_EVENTS:
                one = {"user_id": user, "item_id": f"i{at % ITEMS}", "timestamp": int(time.time() * 1000)}
                status = await self._post("/v1/events", {"events": [one]})
                assert status == 200
            begun = time.perf_counter()
            body = {"user_id": f"new {user}"} if self._mode == NOBODY else {"user_id": user, **MODES[self._mode]}
            status = await self._post("/v1/recommend", body)
            self.found.append((time.perf_counter() - begun, status))
            at += 1
        self._writer.close()

    async def _post(self, path: str, asked: dict[str, Any]) -> int:
        body = json.dumps(asked).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        head_back = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(int(head_back.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        return int(head_back.split()[1])


async def generate(port: int, connections: int, seconds: float, mode: str) -> None:
    """The load, and what became of it, as JSON on standard output."""
    callers = [Caller(mode, list(range(first, USERS, connections))) for first in range(connections)]
    until = time.monotonic() + seconds
    await asyncio.gather(*(caller.run(port, until) for caller in callers))
    found = [one for caller in callers for one in caller.found]
    ms = np.array([taken for taken, _ in found]) * 1000
    wrong = sum(status != 200 for _, status in found)
    p50, p99 = np.percentile(ms, [50, 99])
    print(json.dumps({"answers": len(found), "wrong": wrong, "a second": len(found) / seconds, "p50": p50, "p99": p99}))


def processes(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def load(port: int, server: psutil.Process, mode: str, seconds: float, connections: int) -> dict[str, Any]:
    """One mode's load, with the service's memory at its beginning, middle and end, in MiB, and its CPU an answer, in ms."""
    words = [sys.executable, __file__, "--generate", mode, "--port", str(port), "--seconds", str(seconds)]
    memory = []
    before = sum(sum(one.cpu_times()[:2]) for one in processes(server))
    with subprocess.Popen([*words, "--connections", str(connections)], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            memory.append(sum(one.memory_info().rss for one in processes(server)) >> 20)
            time.sleep(0.5)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    used = sum(sum(one.cpu_times()[:2]) for one in processes(server)) - before
    return told | {
        "memory": [memory[len(memory) // 10], memory[len(memory) // 2], memory[-1]],
        "cpu": used * 1000 / max(1, told["answers"]),
    }


def check(port: int, bundle: Path) -> None:
    """Answers over HTTP, of whichever worker, are those of the Python face."""
    recommender, table = Recommender.load(bundle), histories(USERS, seed=1)
    for mode, body in MODES.items():
        for user in range(3):
            mine = table.filter(pl.col("user_id") == user)
            at = int(mine["timestamp"][-1]) * 1000 + 60_000
            wanted = Wanted(k=10, by=body["by"], candidates=body.get("candidates"), pool=CANDIDATES)
            true = recommender.recommend(histories=mine, wanted=wanted, at=at).table
            with Client(f"http://127.0.0.1:{port}", timeout_s=60) as client:
                got = client.recommend(user, at=at, **body)["items"]
            if not np.allclose([item["score"] for item in got], true["score"].to_numpy(), rtol=1e-4, atol=1e-4):
                raise SystemExit(f"answers must be the model's; in {mode!r} they are not")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The address of a server that syncs every write."""
    port = str(free_port())
    words = ["redis-server", "--port", port, "--dir", str(folder), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*words, "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL
    ) as server:
        time.sleep(1)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


@contextmanager
def served(bundle: Path, *words: str) -> Iterator[tuple[psutil.Process, int]]:
    """The running command and its port."""
    port = free_port()
    door = [sys.executable, "-c", "from hpgr.cli.main import main; main()", "serve", str(bundle), "--port", str(port)]
    # A second of one user's questions would share what the retriever works out; here each pays for its own.
    door += ["--moment", "0"]
    with subprocess.Popen([*door, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                try:
                    with Client(f"http://127.0.0.1:{port}") as client:
                        client.ready()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise SystemExit("the service must be ready within a minute; it was not")
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            process.wait()


def tell(port: int) -> None:
    """Every user's history, a request each."""
    with Client(f"http://127.0.0.1:{port}", timeout_s=60) as client:
        for (user,), mine in histories(USERS, seed=1).group_by("user_id", maintain_order=True):
            pairs = zip(mine["item_id"].to_list(), (mine["timestamp"] * 1000).to_list())
            client.events([{"user_id": user, "item_id": i, "timestamp": t} for i, t in pairs])


def measured(
    bundle: Path, words: list[str], seconds: float, modes: list[str], connections: int
) -> dict[str, dict[str, Any]]:
    """Each mode's load on one running service, whose answers are checked first."""
    with served(bundle, *words) as (server, port):
        tell(port)
        check(port, bundle)
        return {mode: load(port, server, mode, seconds, connections) for mode in modes}


def met(rows: list[tuple[str, str, dict[str, Any]]]) -> str:
    """In words, which rows meet the target."""
    found = [
        f"{model}, {service}: {mode}"
        for model, service, told in rows
        for mode, row in told.items()
        if mode != NOBODY and row["a second"] >= TARGET_RATE and row["p99"] <= TARGET_MS and not row["wrong"]
    ]
    return f"Met by {'; '.join(found)}." if found else "No row meets both."


def report(arguments: argparse.Namespace, command: str, rows: list[tuple[str, str, dict[str, Any]]]) -> str:
    lines = [
        "# The service under load",
        "",
        f"`{command}` on {platform.machine()} with {os.cpu_count()} cores, load generator on the same machine (load average "
        f"{os.getloadavg()[2]:.1f} over the last quarter of an hour); torch {torch.__version__}, float32, one thread a worker. "
        f"{ITEMS:,} items, {USERS} users of {EVENTS} events, {arguments.connections} connections that ask again as soon as they "
        "are answered, each at a millisecond of its own (`--moment 0`); every write is "
        "synced. Bundles of one training step: what it costs to ask does not depend on what was learnt.",
        "",
        f"Target: {TARGET_RATE} requests/s, p99 {TARGET_MS} ms. {met(rows)}",
        "",
        "`CPU ms`: of all processes of the service, an answer; what two cores can give at most is 2,000 divided by it.",
        "",
        "| preset | service | asked | answers | not 200 | a second | p50 ms | p99 ms | CPU ms | memory MiB, begin – middle – end |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, service, told in rows:
        for mode, row in told.items():
            speed = f"{row['a second']:.0f} | {row['p50']:.0f} | {row['p99']:.0f} | {row['cpu']:.1f}"
            memory = " – ".join(map(str, row["memory"]))
            lines.append(f"| {model} | {service} | {mode} | {row['answers']} | {row['wrong']} | {speed} | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--model", action="append", help="may be given again; hpgr-live and hpgr where left out")
    parser.add_argument("--bundle", type=Path, help="one that this script made before, of the first model")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--generate", metavar="MODE", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.generate:
        asyncio.run(generate(arguments.port, arguments.connections, arguments.seconds, arguments.generate))
        return
    models, has_redis = arguments.model or ["hpgr-live", "hpgr"], shutil.which("redis-server") is not None
    num_rows = len(models) * len(MODES) * (1 + has_redis) + 1
    seconds, rows = arguments.minutes * 60 / num_rows, []
    with tempfile.TemporaryDirectory() as made:
        for n, model in enumerate(models):
            folder = Path(made) / model
            folder.mkdir()
            bundle = arguments.bundle if arguments.bundle and not n else make_bundle(folder, model)
            modes = [*MODES, *([NOBODY] if not n else [])]
            state = ["--state", f"sqlite:{folder / 'state'}"]
            rows.append((model, "1 worker, SQLite", measured(bundle, state, seconds, modes, arguments.connections)))
            if has_redis:
                with redis(folder) as url:
                    state = ["--state", url, "--workers", "2"]
                    told = measured(bundle, state, seconds, list(MODES), arguments.connections)
                    rows.append((model, "2 workers, Redis", told))
    command = f"python benchmarks/serving.py --minutes {arguments.minutes:g} --connections {arguments.connections}"
    text = report(arguments, command + "".join(f" --model {one}" for one in arguments.model or ()), rows)
    print(text)
    if arguments.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
