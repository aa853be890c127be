"""Which implementation of an op runs."""

from __future__ import annotations

from collections.abc import Iterable

from hpgr.core.errors import UnknownNameError


def chosen(impl: str, known: Iterable[str], *, triton: bool = False) -> str:
    """The implementation that ``impl`` stands for: itself, or for ``auto`` the vectorised one; ``triton`` where that can
    run on the tensors at hand.

    Raises: UnknownNameError where the op has no such implementation; a named one is never replaced.

    >>> chosen("auto", ["reference", "vectorised"])
    'vectorised'
    """
    name = ("triton" if triton else "vectorised") if impl == "auto" else impl
    if name not in known:
        raise UnknownNameError.of("implementation", name, [*known, "auto"])
    return name
