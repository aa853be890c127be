"""Where a result comes from: machine, library versions, commit, memory, time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import torch

_HOME = Path(__file__).resolve().parents[2]
_LIBRARIES = ("hpgr", "torch", "lightning", "polars", "numpy")


def hardware(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Processor count, operating system, processor type and the device that the model ran on."""
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu_count": os.cpu_count() or 1,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": name,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path = _HOME) -> str | None:
    """The commit of the git checkout whose root is ``folder``, with ``-dirty`` where files differ; None without one.

    Only a root counts: a package installed somewhere inside another project must not borrow that project's commit.
    """
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def forget_peak_memory() -> bool:
    """Let ``peak_memory_bytes`` count from here on; whether the system does, as Linux on its own processes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes() -> int | None:
    """The most memory that this process has held since ``forget_peak_memory``; None where the system does not tell.

    What was held already at that moment is in it, such as the data and what other models of the process left. Where the system
    cannot forget, it is the most since the process began: an upper bound, which a smaller run inherits from a larger one before it.
    """
    try:
        held = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        held = None
    if held is not None:
        return int(held[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
