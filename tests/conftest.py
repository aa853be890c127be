"""What every test gets: one thread, one seed, and one table of tolerances."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

# The largest absolute and relative difference that counts as equal, per dtype.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


# Bits depend on the number of threads; fixtures of any scope, and subprocesses, are to see the same one.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Kernels run on any tensors then; Triton reads it when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs a kernel, and skips it where Triton is missing."""
    missing = importlib.util.find_spec("triton") is None
    for item in items:
        if getattr(item, "callspec", None) is not None and item.callspec.params.get("impl") == "triton":
            item.add_marker("triton")
        if missing and item.get_closest_marker("triton"):
            item.add_marker(pytest.mark.skip(reason="triton is not installed; pip install 'hpgr[gpu]'"))


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def close() -> Callable[[Tensor, Tensor], None]:
    """Fails unless two tensors agree in shape, dtype and value within the table."""

    def check(got: Tensor, want: Tensor) -> None:
        tolerance = TOLERANCES.get(want.dtype, 0.0)
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)

    return check
