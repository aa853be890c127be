"""A folder of raw columns and tables under a manifest that knows the size and checksum of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hpgr.core.errors import DataError
from hpgr.core.units import human_bytes
from hpgr.data.files import sha256

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class ColumnWriter:
    """One column, appended to piece by piece and hashed on the way."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype | type) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.file = f"{name}.bin"
        self.length = 0
        self._hash = hashlib.sha256()
        self._handle = open(folder / self.file, "wb")  # noqa: SIM115 (closed on leaving the context)

    def append(self, values: np.ndarray) -> None:
        """Write ``values [n]`` at the end."""
        block = np.ascontiguousarray(values, dtype=self.dtype)
        self._handle.write(block.data)
        self._hash.update(block.data)
        self.length += len(block)

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._handle.close()

    def entry(self) -> dict[str, Any]:
        """What the manifest keeps of this file."""
        size = self.length * self.dtype.itemsize
        return {"bytes": size, "sha256": self._hash.hexdigest(), "dtype": self.dtype.str, "length": self.length}


def file_entry(path: Path) -> dict[str, Any]:
    """What the manifest keeps of a finished file."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def map_column(folder: Path, file: str, entry: dict[str, Any]) -> np.ndarray:
    """A column of the manifest, mapped read-only."""
    if not entry["length"]:
        return np.empty(0, dtype=entry["dtype"])
    return np.memmap(folder / file, dtype=entry["dtype"], mode="r", shape=(entry["length"],))


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest`` with a checksum of itself."""
    signed = manifest | {"checksum": _checksum(manifest)}
    (folder / MANIFEST).write_text(json.dumps(signed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str, version: int, remedy: str) -> dict[str, Any]:
    """The manifest of a ``kind`` of folder.

    Raises: DataError with ``remedy`` if it is missing, damaged or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "without a manifest" if folder.is_dir() else "absent"
        raise DataError(f"{kind} {folder} ({what}) must be a folder that hpgr wrote; {remedy}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        given = manifest.pop("checksum")
        known = manifest["kind"], manifest["format"]
    except (ValueError, KeyError, AttributeError):
        raise DataError(f"{MANIFEST} of {kind} {folder} (damaged) must be readable; {remedy}") from None
    if known[1] != version or known[0] != kind:
        raise DataError(f"{kind} {folder} ({known[0]}, format {known[1]}) must be of format {version}; {remedy}")
    if given != _checksum(manifest):
        raise DataError(f"{MANIFEST} of {kind} {folder} (damaged) must match its checksum; {remedy}")
    return manifest


def verify_files(folder: Path, manifest: dict[str, Any], *, whole: bool, small: int, remedy: str) -> str:
    """Check that every file is there with its size, and its checksum if ``whole`` or of at most ``small`` bytes.

    Returns: what was checked, for people.

    Raises: DataError with ``remedy`` that names the file.
    """
    hashed = 0
    for file, entry in manifest["files"].items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{file} of {folder} (missing) must be present; {remedy}")
        if path.stat().st_size != entry["bytes"]:
            found = f"{path.stat().st_size} bytes instead of {entry['bytes']}"
            raise DataError(f"{file} of {folder} ({found}) must be as it was written; {remedy}")
        if whole or entry["bytes"] <= small:
            if sha256(path) != entry["sha256"]:
                raise DataError(f"{file} of {folder} (damaged) must match its checksum; {remedy}")
            hashed += entry["bytes"]
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    sizes = f"{human_bytes(hashed)} of {human_bytes(total)}"
    return f"presence and size of {len(manifest['files'])} files; checksums of {sizes}"


def _checksum(manifest: dict[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
