"""``hpgr export``: a bundle's model as files that run without hpgr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show


def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What hpgr train wrote.")],
    to: Annotated[
        str, typer.Option("--to", metavar="onnx|torch", help="ONNX (extra export), or .pt2 of torch.export.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder for the files.")],
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="encoder|ranker", help="Only this part; repeatable. By default all there are."),
    ] = None,
    events: Annotated[
        int | None, typer.Option("--events", min=1, metavar="N", help="Places of a history; by default the model's.")
    ] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, metavar="N", help="Places for the ranker's candidates.")
    ] = 200,
    histories: Annotated[
        int,
        typer.Option("--histories", min=1, metavar="N", help="Of the store, on which the files are held to the model."),
    ] = 24,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="STORE", help="By default where it was at training.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model as ONNX or torch files of fixed shapes, checked against the model.

    Beside them stand the item vectors, and signature.json and README.md, which say what goes in and comes out. A model
    whose files would answer otherwise is refused.

    Example: hpgr export bundle --to onnx --out exported
    """
    from hpgr.api.exporting import ExportSettings, Part, To
    from hpgr.api.recommender import Recommender
    from hpgr.data.store import SequenceStore

    how = ExportSettings(
        to=cast(To, to),
        parts=tuple(cast(Part, part) for part in parts or ()),
        num_events=events,
        num_candidates=candidates,
        num_histories=histories,
    )
    opened = None if store is None else SequenceStore.open(store)
    signature = Recommender.load(bundle).export(out, how, store=opened, overwrite=overwrite)
    if json:
        emit(signature)
        return
    for name, part in signature["parts"].items():
        checked = part["checked"]
        show(
            f"{name}: {out / part['file']}; differs by {checked['largest_difference']:.1e} at most on "
            f"{checked['histories']} histories"
        )
