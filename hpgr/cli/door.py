"""Where errors become sentences and exit codes; what every command has in common.

Exit codes: 0 fine; 1 the data or the run failed, or was interrupted; 2 wrong usage: a wrong option, name or value.
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hpgr.core.errors import ConfigError, HpgrError, UnknownNameError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "give the path of a folder",
    errno.EACCES: "choose another path or change its permissions",
    errno.EPERM: "choose another path or change its permissions",
    errno.EROFS: "choose another path",
    errno.ENOSPC: "free some space or choose another path",
    errno.EDQUOT: "free some space or choose another path",
}


class Door(TyperCommand):
    """A command that answers every error a user can cause with one sentence; with ``--debug``, a traceback before it."""

    def invoke(self, ctx: Any) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (HpgrError, OSError, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            print(f"error: {_sentence(error)}", file=sys.stderr)
            raise typer.Exit(2 if isinstance(error, (ConfigError, UnknownNameError)) else 1) from None


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing unfinished was kept"
    if isinstance(error, OSError):
        name = "file" if error.filename is None else str(error.filename)
        reason = (error.strerror or str(error)).lower()
        return f"{name} ({reason}) must be usable; {_REMEDIES.get(error.errno or 0, 'look at it and try again')}"
    return " ".join(str(error).split())
