"""The errors a user can meet; each message names the thing, the value, the rule and, where not obvious, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HpgrError(Exception):
    """Base of every error that hpgr raises on purpose; its text is one sentence for the user."""


class ConfigError(HpgrError, ValueError):
    """An option has a value that its rule forbids."""


class DataError(HpgrError, ValueError):
    """A log, store, bundle or batch holds something that would corrupt a result."""


class UnknownNameError(HpgrError, LookupError):
    """A name that nothing has; the message offers the nearest known one."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """The error for ``name``, with a did-you-mean from ``known`` or the whole list."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
        return cls(f"no {kind} is named {name!r}; {hint}")


class UnsupportedError(HpgrError, NotImplementedError):
    """Something asked for that this part, machine or version cannot do."""
