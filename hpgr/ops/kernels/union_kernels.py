"""Lists that neighbours share, read by product units: a block of queries meets the union of its lists, and a gate says who
listed what (0: not listed). Silu weights, no bias, no gradient of the gate: the rows of session-sparse histories."""

from __future__ import annotations

import triton
import triton.language as tl

from hpgr.ops.kernels.tiles import load_rows, product, sigmoid, silu_and_slope, store_rows


@triton.jit
def union_rows(base, rows, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """``[rows, BLOCK]`` of listed rows; zeros for -1."""
    dims = tl.arange(0, BLOCK)
    inside = (rows >= 0)[:, None] & (dims < WIDTH)[None, :]
    return tl.load(base + rows[:, None] * stride + dims[None, :], mask=inside, other=0.0)


@triton.jit
def union_forward(q, k, v, union, sizes, gates, out, union_width, num_queries, q_token, q_head, k_token, k_head,
                  v_token, v_head, scale, share, num_heads, PRECISION: tl.constexpr, FAST: tl.constexpr,
                  K: tl.constexpr, V: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
                  SIZE: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """``out [Q, H, V]``. Grid: blocks of ``SIZE`` queries times heads."""
    block, head = tl.program_id(0).to(tl.int64) // num_heads, tl.program_id(0) % num_heads
    rows = block * SIZE + tl.arange(0, SIZE)
    queries = load_rows(q + head * q_head, rows, num_queries, q_token, K, BLOCK_K)
    total = tl.zeros([SIZE, BLOCK_V], tl.float32)
    gate_rows = gates + rows[:, None] * union_width
    size = tl.load(sizes + block)
    for n0 in range(0, size, N):
        at = n0 + tl.arange(0, N)
        listed = tl.load(union + block * union_width + at, mask=at < size, other=-1).to(tl.int64)
        keys = union_rows(k + head * k_head, listed, k_token, K, BLOCK_K)
        values = union_rows(v + head * v_head, listed, v_token, V, BLOCK_V)
        gate = tl.load(gate_rows + at[None, :], mask=(at < size)[None, :], other=0.0)
        scores = product(queries, tl.trans(keys), PRECISION) * scale
        weights = scores * sigmoid(scores, FAST) * gate
        total += product(weights.to(v.dtype.element_ty), values, PRECISION)
    store_rows(out + head * V, total * share, rows, num_queries, num_heads * V, V, BLOCK_V)


@triton.jit
def union_backward(q, k, v, union, sizes, gates, do, dq, dk, dv, union_width, num_queries, q_token, q_head, k_token,
                   k_head, v_token, v_head, scale, share, num_heads, PRECISION: tl.constexpr, FAST: tl.constexpr,
                   K: tl.constexpr, V: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
                   SIZE: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """``dq``; ``dk`` and ``dv`` (float32) are added to, once a block and listed row. Grid as in ``union_forward``."""
    block, head = tl.program_id(0).to(tl.int64) // num_heads, tl.program_id(0) % num_heads
    rows = block * SIZE + tl.arange(0, SIZE)
    queries = load_rows(q + head * q_head, rows, num_queries, q_token, K, BLOCK_K)
    ups = load_rows(do + head * V, rows, num_queries, num_heads * V, V, BLOCK_V)
    total = tl.zeros([SIZE, BLOCK_K], tl.float32)
    gate_rows = gates + rows[None, :] * union_width
    wide, deep = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_V)
    size = tl.load(sizes + block)
    for n0 in range(0, size, N):
        at = n0 + tl.arange(0, N)
        listed = tl.load(union + block * union_width + at, mask=at < size, other=-1).to(tl.int64)
        keys = union_rows(k + head * k_head, listed, k_token, K, BLOCK_K)
        values = union_rows(v + head * v_head, listed, v_token, V, BLOCK_V)
        gate = tl.load(gate_rows + at[:, None], mask=(at < size)[:, None], other=0.0)
        weights, slope = silu_and_slope(product(keys, tl.trans(queries), PRECISION) * scale, FAST)
        grad = (product(values, tl.trans(ups), PRECISION) * slope * gate).to(q.dtype.element_ty)
        total += product(tl.trans(grad), keys, PRECISION)
        key_grad = product(grad, queries, PRECISION) * (scale * share)
        value_grad = product((weights * gate).to(q.dtype.element_ty), ups, PRECISION) * share
        there = (listed >= 0)[:, None]
        dk_rows = dk + head * K + listed[:, None] * (num_heads * K) + wide[None, :]
        tl.atomic_add(dk_rows, key_grad, mask=there & (wide < K)[None, :], sem="relaxed")
        dv_rows = dv + head * V + listed[:, None] * (num_heads * V) + deep[None, :]
        tl.atomic_add(dv_rows, value_grad, mask=there & (deep < V)[None, :], sem="relaxed")
    store_rows(dq + head * K, total * (scale * share), rows, num_queries, num_heads * K, K, BLOCK_K)
