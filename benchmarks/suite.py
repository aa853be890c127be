"""Runs every CPU benchmark in its short form, one after the other, and says what moved: ``make bench``.

    python benchmarks/suite.py
    python benchmarks/suite.py --only attention latency

Each writes its page to ``benchmarks/results/``; one that fails or is not here is told and does not stop the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_LIMIT_S = 300

JOBS = {
    "loading": ["loading.py", "--short", "--write"],
    "attention": ["attention.py", "--runs", "5", "--write"],
    "selective_scan": ["selective_scan.py", "--runs", "3", "--write"],
    "reasoning": ["reasoning.py", "--threads", "1", "--runs", "5", "--write"],
    "catalogue": ["catalogue.py", "--parts", "softmax", "--write"],
    "interest_search": ["interest_search.py", "--threads", "1", "--runs", "3", "--write"],
    "latency": ["latency.py"],
    "cost_curves": ["cost_curves.py", "--candidates", "50", "--longest-dense", "8192"],
    "store_building": ["store_building.py", "--events", "500000", "--runs", "1"],
    "evaluation": ["evaluation.py", "--users", "256", "--items", "20000"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(JOBS), default=list(JOBS))
    asked = parser.parse_args()
    failed, begun = [], time.monotonic()
    for name in asked.only:
        script, *options = JOBS[name]
        if not (_HERE / script).exists():
            print(f"-- {name}: {script} is not here", flush=True)
            continue
        print(f"-- {name}", flush=True)
        try:
            done = subprocess.run([sys.executable, str(_HERE / script), *options], timeout=_LIMIT_S, check=False)
            failed += [name] if done.returncode else []
        except subprocess.TimeoutExpired:
            print(f"{name} took more than {_LIMIT_S} s", flush=True)
            failed.append(name)
    print(f"-- what moved ({time.monotonic() - begun:.0f} s in all)", flush=True)
    moved = subprocess.run([sys.executable, str(_HERE / "compare.py")], check=False).returncode
    if failed:
        print(f"failed: {', '.join(failed)}")
    sys.exit(1 if failed or moved else 0)


if __name__ == "__main__":
    main()
