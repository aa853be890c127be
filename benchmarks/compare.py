"""What moved since the stored results: each ratio to the reference of its own run, never a time.

    python benchmarks/compare.py
    python benchmarks/compare.py --to v0.2.0 --tolerance 0.2

Compares the ``.json`` twins in ``benchmarks/results/`` with those of a commit: same benchmark and hardware, the newest
month of each. A ratio moved where the two ranges of runs do not meet and the medians differ by more than ``--tolerance``.
Exit code 1 where one got worse.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from measured import RESULTS

_NAME = re.compile(r"(?P<key>.+)_(?P<month>\d{6})\.json")


def newest(names: Iterable[str]) -> dict[str, str]:
    """By benchmark and hardware, the file of the newest month."""
    found: dict[str, str] = {}
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match:
            found[match["key"]] = name
    return found


def stored(commit: str, folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The results of a commit, by benchmark and hardware."""
    at = f"{commit}:./"
    listed = ["git", "ls-tree", "--full-tree", "--name-only", at]
    told = subprocess.run(listed, cwd=folder, capture_output=True, text=True, check=True)

    def read(name: str) -> dict[str, Any]:
        shown = subprocess.run(["git", "show", at + name], cwd=folder, capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)

    return {key: read(name) for key, name in newest(told.stdout.split()).items()}


def present(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The results in the working tree, by benchmark and hardware."""
    names = newest(path.name for path in folder.glob("*.json"))
    return {key: json.loads((folder / name).read_text()) for key, name in names.items()}


def verdict(before: dict[str, float], after: dict[str, float], tolerance: float) -> str:
    """``better``, ``worse`` or ``same``; ratios are reference / ours, so more is better.

    >>> was = {"median": 2.0, "least": 1.9, "most": 2.1}
    >>> verdict(was, {"median": 1.5, "least": 1.4, "most": 1.6}, 0.1)
    'worse'
    >>> verdict(was, {"median": 1.7, "least": 1.4, "most": 2.0}, 0.1)
    'same'
    """
    apart = after["least"] > before["most"] or after["most"] < before["least"]
    change = after["median"] / before["median"] - 1
    if not apart or abs(change) <= tolerance:
        return "same"
    return "better" if change > 0 else "worse"


def lines(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], tolerance: float
) -> tuple[list[str], int]:
    """A line for each ratio that moved, came or went, and how many got worse."""
    told, worse, same = [], 0, 0
    for key in sorted({*before, *after}):
        old, new = (side.get(key, {}).get("ratios", {}) for side in (before, after))
        for name in dict.fromkeys([*old, *new]):
            if name not in new or name not in old:
                told.append(
                    f"{key}: {name}: {'not measured any more' if name in old else 'measured for the first time'}"
                )
                continue
            found = verdict(old[name], new[name], tolerance)
            same += found == "same"
            worse += found == "worse"
            if found != "same":
                told.append(f"{key}: {name}: {found}: {old[name]['median']:.2f} -> {new[name]['median']:.2f}")
    return [*told, f"{same} the same, {worse} worse"], worse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="HEAD", help="commit whose results are the measure")
    parser.add_argument("--tolerance", type=float, default=0.15, help="share by which a ratio may differ")
    asked = parser.parse_args()
    told, worse = lines(stored(asked.to), present(), asked.tolerance)
    print("\n".join(told))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
