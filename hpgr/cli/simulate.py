"""``hpgr simulate``: a log whose every cause is known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show, table
from hpgr.core.errors import ConfigError, DataError


def simulate(
    users: Annotated[int, typer.Option("--users", min=1, metavar="N", help="Users of the log.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="LOG.parquet", help="File to write; its items stand beside it.")
    ],
    items: Annotated[int, typer.Option("--items", min=2, metavar="N", help="Items of the catalogue.")] = 2000,
    days: Annotated[int, typer.Option("--days", min=1, metavar="N", help="Days of the log.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Equal seeds write equal logs.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Any other option, as noise=0.3; repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a log whose every cause is known.

    It has preferences, sessions, exposures and noise; the score that an oracle reaches on it is printed.

    Example: hpgr simulate --users 1000 --out log.parquet
    """
    from hpgr.core.config import override
    from hpgr.data.simulated_oracle import oracle
    from hpgr.data.simulator import Simulator

    config = Simulator.Config(num_users=users, num_items=items, days=days, seed=seed)
    config = override(config, dict(_change(text) for text in changes or []))
    beside = out.with_suffix(".items.parquet")
    if out.suffix != ".parquet":
        raise ConfigError(f"out ({out}) must end in .parquet")
    for path in (out, beside):
        if path.exists() and not overwrite:
            raise DataError(f"{path} (exists) must be a new path; choose another one or add --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    simulator = config.build()
    rows = simulator.write(out)
    simulator.items().write_parquet(beside)
    best: dict[str, float] = {}
    try:
        best = asdict(oracle(config))
    except DataError as error:
        remark(f"no oracle's score: {error}")
    if json:
        emit({"log": out, "items": beside, "rows": rows, "users": config.num_users, "oracle": best or None})
        return
    show(f"{rows:,} rows of {config.num_users:,} users: {out}", f"{config.num_items:,} items: {beside}")
    if best:
        title = "What nobody can beat on the last tenth of the days"
        show(table(["oracle's", "score"], best.items(), title=title))


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"set ({text}) must be written as OPTION=VALUE, as in noise=0.3")
    return name.strip(), value.strip()
