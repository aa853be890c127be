"""What several vectors a user cost in exact search, beside one vector, for few users and for many.

    python benchmarks/interest_search.py --threads 1 --write

Float32, dimension 64, the best 100. *one* asks with one vector a user, *four* with four, *four apart* searches four times and
merges, as one does without an index that knows of several; *request* is a whole answer of ComiRec to histories of 50 events.
Runs of all take turns, so that a ratio compares runs of one minute. No speed is printed where the result is not that of all
scores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measured import Ratio, by_cases, in_turn, milliseconds, ratio
from torch import Tensor

from hpgr.core.batch import History
from hpgr.models.comirec import comirec
from hpgr.retrieval.exact import ExactIndex, top_k

CASES = ((100_000, 1), (1_000_000, 1), (1_000_000, 4), (100_000, 16), (100_000, 64))
DIM, VECTORS, BEST = 64, 4, 100
HEADER = (
    "# Several vectors a user in exact search",
    "",
    f"The best {BEST}, dimension {DIM}, float32; milliseconds a batch, median (min–max) of runs that take turns; *four apart* is a",
    "search for each vector, and a merge; *request* an answer to histories of 50 events.",
    "",
    "| items | users at once | path | search | it ÷ one |",
    "|---|---|---|---|---|",
)


def vectors(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, DIM, generator=torch.Generator().manual_seed(seed))


def apart(index: ExactIndex, query_BQD: Tensor) -> Tensor:
    """``[B, K]`` scores of a search for each vector and what is best of all that they found, an item once."""
    rows, scores = index.search(query_BQD.flatten(0, 1), BEST)
    rows, scores = (x.reshape(query_BQD.shape[0], -1) for x in (rows, scores))
    rows, order = rows.sort(dim=1, stable=True)
    scores = scores.gather(1, order)
    # An item that several vectors found stands in neighbouring places; its best score stays.
    for step in range(1, VECTORS):
        again = rows[:, step:] == rows[:, :-step]
        worse = scores[:, step:] <= scores[:, :-step]
        scores[:, step:] = scores[:, step:].masked_fill(again & worse, -torch.inf)
        scores[:, :-step] = scores[:, :-step].masked_fill(again & ~worse, -torch.inf)
    return scores.topk(BEST).values


def check(index: ExactIndex, table_VD: Tensor, query_BQD: Tensor) -> None:
    """Raises: SystemExit where rows or scores are not those of all scores."""
    want_rows, want = top_k((query_BQD @ table_VD.T).amax(1), BEST)
    rows, scores = index.search(query_BQD, BEST)
    same = (rows == want_rows).float().mean() > 0.999 and torch.allclose(scores, want, atol=1e-4)
    if not (same and torch.allclose(apart(index, query_BQD), want, atol=1e-4)):
        raise SystemExit("what is found must be the best of all scores; it is not")


def requests(items: int, users: int) -> dict[str, Callable[[], object]]:
    """An answer with one vector and with four; the catalogue's vectors are the same for both."""
    rows = torch.randint(items, (users, 50), generator=torch.Generator().manual_seed(2))
    history, found = History.from_lists(rows.tolist()), {}
    one, four = (comirec(dim=DIM, num_interests=count).build(num_items=items).eval() for count in (1, VECTORS))
    four.items.weight = one.items.weight
    index = ExactIndex(*one.catalogue_vectors())
    for name, frame in (("request, one", one), ("request, four", four)):
        found[name] = lambda frame=frame: frame.found(history, index, BEST)
    return found


@torch.no_grad()
def compared(items: int, users: int, runs: int) -> tuple[list[str], dict[str, Ratio]]:
    """One catalogue and batch: lines of the table, and one vector's time over that of several."""
    table, query = vectors(items, seed=0), vectors(users, VECTORS, seed=1)
    index = ExactIndex(table)
    check(index, table, query)
    jobs: dict[str, Callable[[], object]] = {
        "one": lambda: index.search(query[:, 0], BEST),
        "four": lambda: index.search(query, BEST),
        "four apart": lambda: apart(index, query),
    } | requests(items, users)
    seconds = in_turn(jobs, runs)
    lines, ratios = [], {}
    for name, own in seconds.items():
        one = seconds["request, one" if name.startswith("request") else "one"]
        lines.append(f"| {items:,} | {users} | {name} | {milliseconds(own)} | {ratio(own, one).median:.2f} |")
        if own is not one:
            ratios[f"{name}, {items:,} items, {users} users"] = ratio(one, own)
    return lines, ratios


if __name__ == "__main__":
    by_cases("interest_search", __doc__, HEADER, CASES, lambda case, runs: compared(*case, runs), runs=9)
