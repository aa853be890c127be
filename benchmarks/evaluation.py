"""How fast exact ranks and lists are found, beside a full sort of every row; no speed is printed where the two disagree.

Scores of a counting model: few linked items a user, the rest tied.

    python benchmarks/evaluation.py --users 512 --items 50000 --runs 3
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hpgr.core.jagged import Jagged
from hpgr.core.units import human_bytes
from hpgr.evaluation.ranks import rank_counts
from hpgr.retrieval.exact import top_k

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
LINKS, SEEN, TOP = 30, 8, 10


def questions(users: int, items: int) -> tuple[Tensor, Tensor, Jagged]:
    """Scores ``[B, V]``, a target a user that is not excluded, and what is excluded."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(items, generator=generator).mul(20).floor().mul(1e-6).repeat(users, 1)
    linked = torch.randint(items, (users, LINKS), generator=generator)
    scores.scatter_(1, linked, torch.randint(1, 4, (users, LINKS), generator=generator).float())
    drawn = torch.stack([torch.randperm(items, generator=generator)[: SEEN + 1] for _ in range(users)])
    return scores, drawn[:, 0], Jagged.from_lengths(drawn[:, 1:].flatten(), [SEEN] * users)


def by_sorting(scores: Tensor, targets: Tensor, seen: Jagged) -> Answer:
    """Every row sorted whole."""
    scores = scores.clone()
    scores[seen.row_of(), seen.values] = -torch.inf
    ordered, rows = scores.sort(dim=1, descending=True, stable=True)
    own = scores.gather(1, targets[:, None])
    return (ordered > own).sum(1).numpy(), (ordered == own).sum(1).numpy() - 1, rows[:, :TOP].numpy()


def by_counting(scores: Tensor, targets: Tensor, seen: Jagged) -> Answer:
    """As the package does."""
    counts = rank_counts(scores, targets, excluded=seen)
    return counts.better, counts.tied, top_k(scores, TOP, excluded=seen)[0].numpy()


def timed(
    answer: Callable[[Tensor, Tensor, Jagged], Answer], asked: tuple[Tensor, Tensor, Jagged], runs: int
) -> list[float]:
    """Milliseconds a user of each run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        answer(*asked)
        seconds.append((time.perf_counter() - start) * 1e3 / len(asked[1]))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=512)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    asked = questions(arguments.users, arguments.items)
    if not all(np.array_equal(a, b) for a, b in zip(by_counting(*asked), by_sorting(*asked))):
        raise SystemExit("ranks and lists must be those of a full sort; they are not")
    counting, sorting = timed(by_counting, asked, arguments.runs), timed(by_sorting, asked, arguments.runs)
    peak = human_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    print(
        f"{platform.machine()}, one thread, float32 [{arguments.users}, {arguments.items}], peak {peak}, torch {torch.__version__}"
    )
    for name, runs in (("counted", counting), ("sorted", sorting)):
        print(f"{name}: {statistics.median(runs):.3f} ms a user ({min(runs):.3f}–{max(runs):.3f})")
    print(f"ratio: {statistics.median(sorting) / statistics.median(counting):.1f}")


if __name__ == "__main__":
    main()
