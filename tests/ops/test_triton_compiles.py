"""The kernels compile for an H100 where there is none: what the interpreter accepts, the compiler may not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

TILE = {"K": 12, "V": 16, "BLOCK_K": 16, "BLOCK_V": 16, "M": 16, "N": 16, "SIZE": 16}
INTEGERS = {"q_offsets", "k_offsets", "q_at", "q_time", "k_time", "q_group", "k_group", "q_when", "k_when"}
INTEGERS |= {"rows", "cell_edge"}
SHORT = {"cell_base", "union", "sizes"}
BIAS = {"place", "time", "q_at", "q_time", "k_time", "cell_base", "cell_edge"}
FACTS = {"q_group", "k_group", "q_when", "k_when", "window"}
OWN = {"own_k", "own_v", "own_dk", "own_dv"}
SUMS = {"lse", "delta", "place_grad", "time_grad", "gate_grad", "gates", "place", "time"}
NUMBERS = {"num_rows", "reach", "window", "num_heads", "copies", "place_size", "time_size", "list_width"}
NUMBERS |= {"union_width", "num_queries"}
STEPS = {f"{x}_{step}" for x in "qkv" for step in ("token", "head")}


@pytest.mark.triton
@pytest.mark.slow
def test_every_kernel_compiles_for_an_h100(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["14", "kernels"]


def _type(name: str, dtype: str) -> str:
    if name in NUMBERS | STEPS:
        return "i32"
    if name in ("scale", "share"):
        return "fp32"
    if name in SHORT:
        return "*i32"
    return "*i64" if name in INTEGERS else "*fp32" if name in SUMS else f"*{dtype}"


def _compile(kernel, absent: set[str], dtype: str, constants: dict) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, given = {}, {}
    for name in kernel.arg_names:
        if name in constants or name in absent:
            signature[name], given[name] = "constexpr", constants.get(name)
        else:
            signature[name] = _type(name, dtype)
    built = triton.compile(ASTSource(kernel, signature, given), target=GPUTarget("cuda", 90, 32))
    assert built.asm["cubin"]


def _main() -> None:
    from hpgr.ops.kernels.dense_backward import key_kernel, query_kernel
    from hpgr.ops.kernels.dense_forward import forward_kernel
    from hpgr.ops.kernels.listed_kernels import listed_backward, listed_forward
    from hpgr.ops.kernels.union_kernels import union_backward, union_forward

    dense = (forward_kernel, query_kernel, key_kernel)
    kernels = (*dense, listed_forward, listed_backward, union_forward, union_backward)
    simple = {"SOFTMAX": True, "CAUSAL": True, "SAME": True, "PLAIN": True, "PRECISION": "tf32x3", "FAST": False}
    full = {"SOFTMAX": False, "CAUSAL": False, "SAME": False, "PLAIN": False, "PRECISION": "ieee", "FAST": True}
    cases = [(simple, BIAS | FACTS | OWN, "fp32"), (full, {"lse", "delta"}, "bf16")]
    count = 0
    for kernel, (constants, absent, dtype) in itertools.product(kernels, cases):
        _compile(kernel, absent, dtype, TILE | constants)
        count += 1
    print(count, "kernels")


if __name__ == "__main__":
    _main()
