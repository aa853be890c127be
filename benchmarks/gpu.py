"""How fast the Triton kernels are on a CUDA device; no speed is printed where results disagree with the reference.

    pip install -e '.[gpu]'
    python benchmarks/gpu.py            # measures, writes benchmarks/results/gpu_<card>_<yyyymm>.md
    python benchmarks/gpu.py --check    # only compares; without a GPU in Triton's interpreter, with tiny shapes

Three questions: attention beside the vectorised path and another kernel of the same sum, at L = 1k … 8k; candidates that
read lists beside candidates that read everything; session-sparse history rows beside dense ones.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, autograd

from hpgr.core.jagged import offsets_of
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.session_rows import SessionRows
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.candidate_attention import candidate_attention
from hpgr.ops.kernels.support import installed
from hpgr.ops.listed_attention import listed_attention

CUDA = torch.cuda.is_available()
RESULTS = Path(__file__).parent / "results"
HEADS, WIDTH = 4, 64
# Of the largest value of the reference, which computes in float32 from the same inputs.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
DEVICE = torch.device("cuda" if CUDA else "cpu")
Read = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """Users, events of each, candidates of each, listed rows, heads and their width."""

    users: int
    length: int
    candidates: int = 0
    listed: int = 0
    heads: int = HEADS
    width: int = WIDTH

    def __str__(self) -> str:
        more = f", N = {self.candidates}, K = {self.listed}" if self.candidates else ""
        return f"{self.users} × L = {self.length:,}{more}, {self.heads} × {self.width}"


class Problem:
    """Random history and candidates of some users, and the reads that are compared."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        generator = torch.Generator(device=DEVICE).manual_seed(0)
        events, asked = shape.users * shape.length, shape.users * shape.candidates
        self.shape, self.normaliser = shape, float(shape.length)

        def draw(rows: int) -> Tensor:
            drawn = torch.randn(rows, shape.heads, shape.width, generator=generator, device=DEVICE)
            return drawn.to(dtype).requires_grad_()

        self.qkv = [draw(events) for _ in range(3)]
        self.asked = [draw(asked) for _ in range(3)]
        self.offsets = offsets_of(torch.full((shape.users,), shape.length, device=DEVICE))
        self.candidate_offsets = offsets_of(torch.full((shape.users,), shape.candidates, device=DEVICE))
        # Sessions of 20 events, a minute apart; half a day between sessions.
        step = torch.arange(events, device=DEVICE) % shape.length
        self.time_ms = step * 60_000 + step // 20 * 43_200_000
        starts = torch.arange(0, events, 20, device=DEVICE)
        self.sessions = torch.cat([torch.unique(torch.cat([starts, self.offsets[:-1]])), self.offsets[-1:]])
        self.bias = RelativeBias.Config().build().to(DEVICE)
        user = torch.arange(asked, device=DEVICE) // max(1, shape.candidates)
        rows = torch.rand(asked, shape.length, generator=generator, device=DEVICE).topk(shape.listed, 1).indices
        self.listed = rows + self.offsets[user][:, None], torch.rand(rows.shape, generator=generator, device=DEVICE)

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.qkv, *(self.asked if self.shape.candidates else []), *self.bias.parameters()]

    def dense(self, impl: str, biased: bool = False) -> Tensor:
        bias = self.bias.between(self.time_ms, self.time_ms, None) if biased else None
        how: dict[str, Any] = {"weights": "silu", "rule": MaskRule(), "normaliser": self.normaliser, "bias": bias}
        return attention(*self.qkv, self.offsets, **how, scale=self.shape.width**-0.5, impl=impl)

    @functools.cached_property
    def session_lists(self) -> tuple[Tensor, Tensor]:
        """What the events read in a session-sparse history, chosen from random vectors."""
        return SessionRows()(self.qkv[1].detach().flatten(1).float(), self.offsets, self.sessions)

    def sparse(self, impl: str) -> Tensor:
        how: dict[str, Any] = {"weights": "silu", "normaliser": self.normaliser, "scale": self.shape.width**-0.5}
        return listed_attention(*self.qkv, *self.session_lists, **how, impl=impl)

    def candidates(self, impl: str, listed: bool) -> Tensor:
        (q, own_k, own_v), (_, k, v) = self.asked, self.qkv
        how: dict[str, Any] = {"weights": "silu", "normaliser": self.normaliser, "scale": self.shape.width**-0.5}
        return candidate_attention(
            q, k, v, own_k, own_v, self.offsets, self.candidate_offsets, **how,
            listed=self.listed if listed else None, impl=impl,
        )  # fmt: skip


def difference(got: Tensor, want: Tensor) -> float:
    """The largest difference over the largest value wanted."""
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).abs().max() / want.abs().max().clamp(min=1e-30))


def disagreements(problem: Problem, other: str) -> Iterator[str]:
    """One sentence for each output or gradient of Triton's that is not that of ``other``, computed in float32."""
    reads: dict[str, Callable[[Problem, str], Tensor]] = {
        "attention": lambda p, impl: p.dense(impl),
        "attention with a bias": lambda p, impl: p.dense(impl, biased=True),
        "session-sparse rows": lambda p, impl: p.sparse(impl),
    }
    if problem.shape.candidates:
        reads["candidates"] = lambda p, impl: p.candidates(impl, listed=False)
        reads["listed candidates"] = lambda p, impl: p.candidates(impl, listed=True)
    dtype = problem.qkv[0].dtype
    exact = Problem(problem.shape, torch.float32)
    exact.session_lists = problem.session_lists
    exact.bias.load_state_dict(problem.bias.state_dict())
    with torch.no_grad():
        for mine, theirs in zip(exact.leaves, problem.leaves):
            mine.copy_(theirs)
    for name, read in reads.items():
        got, want = read(problem, "triton"), read(exact, other)
        up = torch.randn_like(got)
        pairs = [(got, want)]
        graded = (
            autograd.grad(out, p.leaves, up.to(out.dtype), materialize_grads=True)
            for out, p in ((got, problem), (want, exact))
        )
        pairs += zip(*graded)
        for at, (mine, theirs) in enumerate(pairs):
            # Written so that NaN disagrees.
            if not difference(mine, theirs) <= TOLERANCES[dtype]:
                what = "result" if at == 0 else f"gradient {at}"
                yield f"{name}, {problem.shape}, {dtype}: {what} is {difference(mine, theirs):.1e} off the {other}"


def check() -> list[str]:
    """Compares with the loops on small shapes, and on a GPU with the vectorised path on larger ones."""
    small, problems = Shape(1, 18, 2, 3, heads=1, width=12), []
    for dtype in TOLERANCES:
        problems += disagreements(Problem(small, dtype), "reference")
        if CUDA:
            for shape in (Shape(3, 300, 17, 32), Shape(2, 1000, 100, 32, heads=2, width=128)):
                problems += disagreements(Problem(shape, dtype), "vectorised")
    return problems


def timed(read: Read, leaves: list[Tensor] | None, runs: int) -> tuple[list[float], float]:
    """Milliseconds of each run by CUDA events, and the peak of memory in MiB; with a backward where there are leaves."""

    def run() -> None:
        out = read()
        if leaves is not None:
            autograd.grad(out, leaves, torch.ones_like(out), allow_unused=True)

    for _ in range(3):
        run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
    for start, stop in marks:
        start.record()
        run()
        stop.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(stop) for start, stop in marks], torch.cuda.max_memory_allocated() / 2**20


def meta_kernel(problem: Problem) -> Read | None:
    """Meta's Triton HSTU attention on the same tensors, where ``generative_recommenders`` can be imported."""
    try:
        from generative_recommenders.ops.triton.triton_hstu_attention import triton_hstu_mha
    except ImportError:
        return None
    q, k, v = problem.qkv
    length, width = problem.shape.length, problem.shape.width
    # The function's parameters have changed with its versions; the result is compared before anything is timed.
    known = {"N": length, "max_seq_len": length, "alpha": width**-0.5, "q": q, "k": k, "v": v, "causal": True}
    known |= {"seq_offsets": problem.offsets, "attn_scale": torch.tensor([1 / length], device=DEVICE)}
    given = {name: known[name] for name in inspect.signature(triton_hstu_mha).parameters if name in known}
    return lambda: triton_hstu_mha(**given)


def compiled(problem: Problem) -> Read:
    """The plain expression of the same sum, padded and compiled by torch."""

    @torch.compile(dynamic=False)
    def silu_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, share: float) -> Tensor:
        weights = F.silu(q @ k.transpose(-1, -2) * scale) * share
        return weights.tril() @ v

    def read() -> Tensor:
        q, k, v = (x.unflatten(0, (problem.shape.users, -1)).transpose(1, 2) for x in problem.qkv)
        out = silu_attention(q, k, v, problem.shape.width**-0.5, 1 / problem.normaliser)
        return out.transpose(1, 2).flatten(0, 1)

    return read


def rival(problem: Problem) -> tuple[str, Read]:
    """The other kernel by its name: Meta's where it is there and agrees, else torch's compiled expression."""
    want = problem.dense("vectorised").detach()
    read = meta_kernel(problem)
    if read is not None:
        try:
            off = difference(read(), want)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            print(f"Meta's kernel cannot be called by this benchmark and is left out: {error}", file=sys.stderr)
        else:
            if off <= TOLERANCES[torch.bfloat16]:
                return "Meta's Triton HSTU kernel", read
            print(f"Meta's kernel is {off:.1e} off the reference and is left out", file=sys.stderr)
    read = compiled(problem)
    if not difference(read(), want) <= TOLERANCES[torch.bfloat16]:
        raise SystemExit("the compiled expression must give the result of the reference; it does not")
    return "torch.compile of the plain expression, a stand-in", read


def line(what: str, shape: Shape, mode: str, measured: tuple[list[float], float], base: list[float]) -> str:
    """One row of the table; the ratio is how many times as long the first of its group took."""
    runs, peak = measured
    ratio = statistics.median(base) / statistics.median(runs)
    spread = f"{statistics.median(runs):.3f} ({min(runs):.3f}–{max(runs):.3f})"
    return f"| {what} | {shape} | {mode} | {spread} | {ratio:.2f} | {peak:,.0f} |"


def group(reads: dict[str, Read], problem: Problem, runs: int) -> Iterator[str]:
    """Forward, then forward and backward, of each read in turn, beside the first."""
    for mode, leaves in (("forward", None), ("forward + backward", problem.leaves)):
        base: list[float] = []
        for name, read in reads.items():
            try:
                measured = timed(read, leaves, runs)
            except torch.cuda.OutOfMemoryError:
                yield f"| {name} | {problem.shape} | {mode} | out of memory | – | – |"
                continue
            base = base or measured[0]
            yield line(name, problem.shape, mode, measured, base)


def measurements(runs: int) -> Iterator[str]:
    """The rows of the table, each problem compared before it is timed."""
    for length in (1024, 2048, 4096, 8192):
        problem = Problem(Shape(max(1, 16_384 // length), length), torch.bfloat16)
        refuse(disagreements(problem, "vectorised"))
        name, other = rival(problem)
        yield from group(
            {
                name: other,
                "hpgr triton": functools.partial(problem.dense, "triton"),
                "hpgr triton, place and time bias": functools.partial(problem.dense, "triton", biased=True),
                "hpgr vectorised": functools.partial(problem.dense, "vectorised"),
            },
            problem,
            runs,
        )
    # The reference keeps the squares of every user, so that fewer are compared than are timed.
    refuse(disagreements(Problem(Shape(2, 8192, 256, 32), torch.bfloat16), "vectorised"))
    problem = Problem(Shape(32, 8192, 256, 32), torch.bfloat16)
    yield from group(
        {
            "candidates read everything": functools.partial(problem.candidates, "triton", listed=False),
            "candidates read lists": functools.partial(problem.candidates, "triton", listed=True),
        },
        problem,
        runs,
    )
    problem = Problem(Shape(8, 8192), torch.bfloat16)
    yield from group(
        {
            "dense history": functools.partial(problem.dense, "triton"),
            "session-sparse history, lists known from an earlier layer": functools.partial(problem.sparse, "triton"),
            "session-sparse history, lists chosen anew": functools.partial(chosen_and_read, problem),
        },
        problem,
        runs,
    )


def chosen_and_read(problem: Problem) -> Tensor:
    """The session-sparse read with its lists and their unions made anew, as the first layer of a model pays."""
    problem.__dict__.pop("session_lists", None)
    return problem.sparse("triton")


def refuse(problems: Iterator[str] | list[str]) -> None:
    """Raises: SystemExit with the disagreements, where there are any."""
    found = list(problems)
    if found:
        raise SystemExit("no speed is printed, because results disagree:\n" + "\n".join(found))


def driver() -> str:
    """The version of the driver, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told[0] if told else "unknown"


def write_result(rows: list[str], runs: int) -> Path:
    """This month's file of this card, written anew."""
    import triton

    card, now = torch.cuda.get_device_name(), datetime.now(timezone.utc)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    path = RESULTS / f"gpu_{re.sub('[^a-z0-9]+', '-', card.lower())}_{now:%Y%m}.md"
    path.write_text(
        f"# Attention kernels on a GPU\n\nCommit {commit or 'unknown'}; {card}, driver {driver()}, CUDA "
        f"{torch.version.cuda}; Python {platform.python_version()}, torch {torch.__version__}, Triton "
        f"{triton.__version__}.\n`benchmarks/gpu.py --runs {runs}`: bfloat16, silu weights, causal; sessions of 20 events; "
        "every result and gradient was compared first.\nTargets: hpgr triton ≥ 1.0 of the first line of its group; "
        "candidates that read lists ≥ 5; session-sparse forward + backward ≥ 4.\n\n"
        "| what | shape | pass | ms, median (min–max) | times as fast as the first of its group | peak MiB |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return path


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare with the reference")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args(words)
    if not installed():
        print("triton (not installed) must be there; pip install -e '.[gpu]'", file=sys.stderr)
        raise SystemExit(2)
    if not CUDA and not arguments.check:
        print("this benchmark needs a CUDA device, and torch sees none; --check runs without one", file=sys.stderr)
        raise SystemExit(2)
    if not CUDA:
        # Triton reads it when it is imported, at the first kernel.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    refuse(check())
    where = torch.cuda.get_device_name() if CUDA else "Triton's interpreter"
    print(f"results and gradients agree with the reference on {where}")
    if not arguments.check:
        rows = []
        for row in measurements(arguments.runs):
            print(row, flush=True)
            rows.append(row)
        print(write_result(rows, arguments.runs))


if __name__ == "__main__":
    main()
