"""What steps of reasoning cost after the pass over a history, beside steps that are taken alone and beside full passes.

    python benchmarks/reasoning.py --threads 1 --write

Float32, 64 wide, two layers, one request of equally long histories. *pass* is the encoder over the histories with its keys and
values kept; *one step* follows it with one token a history, *k steps* with ``k``; *answer* is the pass and its steps, *again* the
same with a pass over the longer histories for each step. Runs of all take turns. No speed is printed where *answer* and *again*
disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from measured import Ratio, by_cases, in_turn, milliseconds, must_agree, ratio
from torch import Tensor

from hpgr.core.batch import History
from hpgr.encoders.reasoning import Reasoning
from hpgr.models.rearec import rearec

CASES = ((200, 1), (1024, 1), (200, 16), (1024, 16))
DIM, STEPS = 64, 3
HEADER = (
    "# Steps of reasoning on a CPU",
    "",
    f"Float32, {DIM} wide, two layers, k = {STEPS}; milliseconds, median (min–max) of runs that take turns; *answer* is the pass",
    "and k steps, *again* the same with a pass over the longer histories for each step.",
    "",
    "| L | histories | path | time | ÷ one step |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Case:
    """An encoder that reasons, what it reads, and the rows that think: the newest event of each history."""

    reasoning: Reasoning
    x_TD: Tensor
    history: History
    newest_N: Tensor


def case_of(length: int, users: int) -> Case:
    torch.manual_seed(0)
    reasoning = rearec(dim=DIM, steps=STEPS).encoder.build(dim=DIM).eval()
    history = History.from_lists([[0] * length] * users)
    return Case(reasoning, torch.randn(length * users, DIM), history, history.user_offsets[1:] - 1)


def steps(case: Case, begun: tuple[Any, Any], number: int) -> Tensor:
    """``[N, D]``: the thought after ``number`` tokens that follow what is kept."""
    states, chains = begun
    thought_ND = states.values[case.newest_N]
    for place_D in case.reasoning.place[:number]:
        thought_ND, chains = case.reasoning.encoder.follow(chains, thought_ND + place_D)
    return thought_ND


def begin(case: Case) -> tuple[Any, Any]:
    return case.reasoning.encoder.begin(case.history.jagged(case.x_TD), case.history, case.newest_N)


def answer(case: Case) -> Tensor:
    """``[N, k + 1, D]``: all thoughts, as the package gives them."""
    return case.reasoning.states_at(case.history.jagged(case.x_TD), case.history, case.newest_N)


def again(case: Case, number: int) -> Tensor:
    """``[N, D]``: a thought without anything kept; each step is a pass over histories that are longer by the thoughts so far."""
    encoder = case.reasoning.encoder
    read = case.x_TD.unflatten(0, (case.history.num_users, -1))
    # Events have the places that they have without thoughts; thoughts have none.
    offsets, times, now = case.history.user_offsets, case.history.time_ms, case.history.now_ms
    tokens = read + encoder.position.for_history(offsets, times, now).view_as(read)
    thought_ND = case.reasoning.encoder(case.history.jagged(case.x_TD), case.history).values[case.newest_N]
    for place_D in case.reasoning.place[:number]:
        tokens = torch.cat([tokens, (thought_ND + place_D)[:, None]], 1)
        longer = History.from_lists([[0] * tokens.shape[1]] * tokens.shape[0])
        states = longer.jagged(encoder.dropout(encoder.input_norm(tokens.flatten(0, 1))))
        for layer in encoder.layers:
            states = layer(states, encoder.rule)
        thought_ND = encoder.norm(states.values)[longer.user_offsets[1:] - 1]
    return thought_ND


def check(case: Case) -> None:
    """Raises: SystemExit where a step that follows what is kept is not that of a pass over the longer histories."""
    thoughts = answer(case)
    for number in range(1, STEPS + 1):
        want_ND = again(case, number)
        must_agree(f"step {number}", steps(case, begin(case), number), want_ND)
        must_agree(f"thought {number}", thoughts[:, number], want_ND)


@torch.no_grad()
def compared(length: int, users: int, runs: int) -> tuple[list[str], dict[str, Ratio]]:
    """One shape: lines of the table, and what steps cost beside single ones and beside passes."""
    case = case_of(length, users)
    check(case)
    begun = begin(case)
    jobs: dict[str, Callable[[], object]] = {
        "pass": lambda: begin(case),
        "one step": lambda: steps(case, begun, 1),
        "k steps": lambda: steps(case, begun, STEPS),
        "answer": lambda: answer(case),
        "again": lambda: again(case, STEPS),
    }
    seconds = in_turn(jobs, runs, warm=2)
    lines = [
        f"| {length:,} | {users} | {name} | {milliseconds(own)} | {ratio(own, seconds['one step']).median:.1f} |"
        for name, own in seconds.items()
    ]
    single = [STEPS * second for second in seconds["one step"]]
    where = f"L={length} histories={users}"
    return lines, {
        f"{STEPS} x one step ÷ {STEPS} steps, {where}": ratio(single, seconds["k steps"]),
        f"pass ÷ one step, {where}": ratio(seconds["pass"], seconds["one step"]),
        f"again ÷ answer, {where}": ratio(seconds["again"], seconds["answer"]),
    }


if __name__ == "__main__":
    by_cases("reasoning", __doc__, HEADER, CASES, lambda case, runs: compared(*case, runs), runs=15)
