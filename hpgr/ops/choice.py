"""Which implementation of an op runs."""

from __future__ import annotations

from collections.abc import Iterable

from hpgr.core.errors import UnknownNameError, UnsupportedError
from hpgr.core.jagged import shapes_are_fixed


def chosen(impl: str, known: Iterable[str], *, triton: bool = False) -> str:
    """The implementation that ``impl`` stands for: itself, or for ``auto`` the vectorised one; ``triton`` where that can
    run on the tensors at hand; inside ``fixed_shapes`` the one whose shapes depend on no value.

    Raises: UnknownNameError where the op has no such implementation; a named one is never replaced. UnsupportedError for
    an op without an implementation of fixed shapes.

    >>> chosen("auto", ["reference", "vectorised"])
    'vectorised'
    """
    known = tuple(known)
    if impl == "auto" and shapes_are_fixed():
        if "fixed" not in known:
            raise UnsupportedError(f"operation (one of {', '.join(known)}) has no implementation of fixed shapes")
        return "fixed"
    name = ("triton" if triton else "vectorised") if impl == "auto" else impl
    if name not in known:
        raise UnknownNameError.of("implementation", name, [*known, "auto"])
    return name
