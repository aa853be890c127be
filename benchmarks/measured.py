"""What the benchmarks share: runs in turn, memory of a process of its own, and result files that can be compared.

A script measures ours and a reference in one run, refuses to go on where they disagree (``must_agree``), and keeps a
page for readers with a JSON twin for ``compare.py`` (``keep``). A ratio is always *reference / ours* in time or memory:
1 is level, more is better. With ``--short`` it takes at most three minutes and is kept under ``<what>-short``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpgr.evaluation.provenance import commit, hardware, peak_memory_bytes, versions
from hpgr.evaluation.writing import write_whole

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Reference / ours: the median over runs, the least and the most; larger is better."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}–{self.most:.2f})"


@dataclass(frozen=True, slots=True)
class Alone:
    """What a function gave in a process of its own, the resident bytes just before it, and the most it reached."""

    value: Any
    before_bytes: int
    peak_bytes: int

    @property
    def grown_bytes(self) -> int:
        """What the call added to the memory that imports and arguments already took."""
        return self.peak_bytes - self.before_bytes


def ratio(reference: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Of runs that were taken in turn: each pair's ratio."""
    each = [theirs / own for theirs, own in zip(reference, ours, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def in_turn(jobs: Mapping[str, Callable[[], Any]], runs: int, *, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each run by job; every round runs each job once, after ``warm`` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(warm + runs):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            if turn >= warm:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """``median (min–max)``."""
    middle, least, most = (f"{f(values):.{digits}f}" for f in (statistics.median, min, max))
    return f"{middle} ({least}–{most})"


def milliseconds(seconds: Sequence[float]) -> str:
    """``median (min–max)`` of times."""
    return spread([1e3 * second for second in seconds], 1)


def must_agree(what: str, got: Tensor, want: Tensor, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Stop the script where ``got`` is not the reference's ``want``: no speed of a wrong answer is printed."""
    if got.shape != want.shape or not torch.allclose(got.double(), want.double(), rtol=rtol, atol=atol):
        far = (got.double() - want.double()).abs().max().item() if got.shape == want.shape else float("nan")
        raise SystemExit(f"{what} (off by {far:.2g}) must be what the reference gives; no speed is printed")


def alone(function: Callable[..., Any], *arguments: Any) -> Alone:
    """Call a function of a module's top level in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_watched, function, arguments).result()


def _watched(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Alone:
    before = _memory("VmRSS")
    return Alone(function(*arguments), before, _memory("VmHWM"))


def _memory(line: str) -> int:
    # A spawned process inherits its parent's ru_maxrss; what Linux tells of the process itself does not.
    status = Path("/proc/self/status")
    found = re.search(rf"{line}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else peak_memory_bytes() or 0


def machine(device: torch.device | str = "cpu") -> str:
    """The hardware in a file's name, such as ``x86_64-2cores`` or ``nvidia-h100-80gb-hbm3``."""
    if torch.device(device).type == "cpu":
        return f"{platform.machine()}-{len(os.sched_getaffinity(0))}cores"
    return re.sub(r"[^a-z0-9]+", "-", str(hardware(device)["device"]).lower())


def keep(
    what: str,
    lines: Sequence[str],
    ratios: Mapping[str, Ratio],
    *,
    command: str,
    settings: Mapping[str, Any],
    device: torch.device | str = "cpu",
) -> Path:
    """Write ``results/<what>_<hardware>_<yyyymm>.md`` and ``.json``; the path of the page.

    ``lines``: the page, Markdown, with its title first. ``ratios`` by a name that tells the case with its shapes.
    """
    stem = f"{what}_{machine(device)}_{datetime.now(timezone.utc):%Y%m}"
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    where = " · ".join(str(value) for value in hardware(device).values())
    source = (
        f"`{command}`, commit {commit() or 'unknown'}; {where}; {torch.get_num_threads()} threads; {libraries}.\n\n"
        f"```json\n{json.dumps(dict(settings), indent=1, default=str)}\n```\n"
    )
    write_whole(RESULTS / f"{stem}.md", "\n".join([*lines, "", "## Source", "", source]).encode())
    twin = {"what": what, "commit": commit(), "settings": dict(settings)}
    twin["ratios"] = {name: asdict(value) for name, value in ratios.items()}
    write_whole(RESULTS / f"{stem}.json", (json.dumps(twin, indent=1, default=str) + "\n").encode())
    return RESULTS / f"{stem}.md"


def by_cases(
    what: str,
    about: str,
    header: Sequence[str],
    cases: Sequence[Any],
    compared: Callable[[Any, int], tuple[list[str], dict[str, Ratio]]],
    *,
    runs: int,
) -> None:
    """The command of a benchmark that compares case by case: ``--runs``, ``--threads``, ``--write``.

    ``about``: for its help. ``compared``: of a case and how many runs, lines of the table under ``header`` and ratios.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    page, ratios = list(header), dict[str, Ratio]()
    for case in cases:
        lines, more = compared(case, asked.runs)
        print("\n".join(lines), flush=True)
        page += lines
        ratios |= more
    told = ["", *(f"- {name}: {found}" for name, found in ratios.items())]
    print("\n".join(told))
    if asked.write:
        command = f"python benchmarks/{what}.py --threads {asked.threads} --write"
        print(keep(what, page + told, ratios, command=command, settings={"runs": asked.runs}))
