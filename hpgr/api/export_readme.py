"""The README.md of an export: what its files take and give."""

from __future__ import annotations

from typing import Any


def readme(signature: dict[str, Any]) -> str:
    """Markdown, from what ``signature.json`` says."""
    lines = [
        f"# {signature['model']}, exported by hpgr {signature['hpgr']}",
        "",
        f"One user a call. `item_idx` are rows of `items.parquet`; {signature['num_items']} stands for any other item. "
        f"A history has {signature['num_events']} places: the newest events, oldest first, then anything; `num_events` says how "
        "many there are.",
        "",
    ]
    for name, part in signature["parts"].items():
        lines += [f"## {part['file']}", "", "| input | dtype | shape | what it is |", "|---|---|---|---|"]
        lines += [f"| {one['name']} | {one['dtype']} | {one['shape']} | {one['means']} |" for one in part["inputs"]]
        (out,) = part["outputs"]
        says = (
            "held against `items.safetensors`: `vectors @ vector + bias` are the scores of the catalogue; a user without events "
            "has the scores `popularity`"
            if name == "encoder"
            else "log-odds of each candidate, which do not depend on the other ones"
        )
        checked = part["checked"]
        lines += [
            "",
            f"Gives `{out['name']}` {out['shape']}, {out['dtype']}: {says}.",
            "",
            f"Held to the model on {checked['histories']} histories of its store: the first {checked['k']} items are the same, "
            f"scores differ by {checked['largest_difference']:.1e} at most.",
            "",
        ]
    if signature["features"]:
        lines += [f"Features, in order: {', '.join(signature['features'])}; `hpgr.data.features` defines them.", ""]
    if signature["actions"]:
        lines += [f"Actions, 1 being the first: {', '.join(signature['actions'])}.", ""]
    return "\n".join(lines)
