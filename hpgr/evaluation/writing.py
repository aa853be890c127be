"""Files that are either whole or not there."""

from __future__ import annotations

from pathlib import Path

from hpgr.data.files import appearing


def write_whole(path: Path, content: bytes) -> None:
    """``content`` as the file ``path``; an interrupted or failed write leaves the old file.

    Folders above are made. Raises: OSError as the file system gives it, such as a full disk.
    """
    with appearing(path) as part:
        part.write_bytes(content)
