"""Gradients of ``dense_forward``, weights computed anew: one kernel by blocks of queries, one by blocks of keys."""

from __future__ import annotations

import triton
import triton.language as tl

from hpgr.ops.kernels.dense_forward import key_range
from hpgr.ops.kernels.tiles import (
    LOG2E,
    add_bias_grad,
    load_facts,
    load_rows,
    may_see,
    product,
    row_of_block,
    silu_and_slope,
    store_rows,
    visible,
    with_bias,
)


@triton.jit
def query_tile(q, do, dq, lse, delta, m0, n0, num_keys, k_base, v_base, k_stride, v_stride, key_start, query_at,
               query_time, query_group, query_when, key_time, key_group, key_when, place, time, place_grad, time_grad,
               reach, cell_base, cell_edge, window, scale, MASKED: tl.constexpr, CAUSAL: tl.constexpr,
               SAME: tl.constexpr, SOFTMAX: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr,
               K: tl.constexpr, V: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr,
               N: tl.constexpr):  # fmt: skip
    """``dq`` with one tile of keys added; the tile's share of the tables' gradients goes out at once."""
    rows = n0 + tl.arange(0, N)
    k = load_rows(k_base, rows, num_keys, k_stride, K, BLOCK_K)
    v = load_rows(v_base, rows, num_keys, v_stride, V, BLOCK_V)
    key = rows[None, :]
    scores = product(q, tl.trans(k), PRECISION) * scale
    if time is not None:
        times = load_facts(key_time, key_start, rows, num_keys)[None, :]
    else:
        times = None
    scores = with_bias(scores, query_at, key, query_time, times, n0, place, time, reach, cell_base, cell_edge, N)
    up = product(do, tl.trans(v), PRECISION)
    if SOFTMAX:
        grad = tl.exp2(scores * LOG2E - lse[:, None]) * (up - delta[:, None])
    else:
        grad = up * silu_and_slope(scores, FAST)[1]
    if MASKED:
        groups = None
        when = None
        if key_group is not None:
            groups = load_facts(key_group, key_start, rows, num_keys)[None, :]
        if key_when is not None:
            when = load_facts(key_when, key_start, rows, num_keys)[None, :]
        query = (m0 + tl.arange(0, M))[:, None]
        seen = visible(query, key, num_keys, query_group, groups, query_when, when, window, CAUSAL, SAME)
        grad = tl.where(seen, grad, 0.0)
    add_bias_grad(grad, query_at, key, query_time, times, n0, place, time, place_grad, time_grad, reach, cell_base,
                  cell_edge, N)  # fmt: skip
    return dq + product(grad.to(k_base.dtype.element_ty), k, PRECISION)


@triton.jit
def query_kernel(q, k, v, own_k, own_v, do, lse, delta, dq, own_dk, own_dv, q_offsets, k_offsets, num_rows, q_token,
                 q_head, k_token, k_head, v_token, v_head, q_at, q_time, q_group, q_when, k_time, k_group, k_when,
                 place, time, place_grad, time_grad, copies, place_size, time_size, reach, cell_base, cell_edge,
                 window, scale, share, num_heads, CAUSAL: tl.constexpr, SAME: tl.constexpr, SOFTMAX: tl.constexpr,
                 PLAIN: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
                 BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """``dq``, the gradients of the own column, and ``[copies, table]`` parts of the tables' gradients, without ``share``.

    Grid: blocks of queries (the longest ways first), heads.
    """
    block, head = tl.num_programs(0) - 1 - tl.program_id(0), tl.program_id(1)
    row = row_of_block(q_offsets, num_rows, block, M)
    q_start, k_start = tl.load(q_offsets + row), tl.load(k_offsets + row)
    num_queries = (tl.load(q_offsets + row + 1) - q_start).to(tl.int32)
    num_keys = (tl.load(k_offsets + row + 1) - k_start).to(tl.int32)
    m0 = ((block - row - q_start // M) * M).to(tl.int32)
    if m0 >= num_queries:
        return
    copy = (block * tl.num_programs(1) + head) % copies
    place_grad += copy * place_size
    time_grad += copy * time_size
    rows = m0 + tl.arange(0, M)
    at = q_start * num_heads + head
    queries = load_rows(q + q_start * q_token + head * q_head, rows, num_queries, q_token, K, BLOCK_K)
    ups = load_rows(do + at * V, rows, num_queries, num_heads * V, V, BLOCK_V)
    k_base, v_base = k + k_start * k_token + head * k_head, v + k_start * v_token + head * v_head
    query_at = None
    query_time = None
    query_group = None
    query_when = None
    mass = None
    shift = None
    if place is not None:
        query_at = (load_facts(q_at, q_start, rows, num_queries) - k_start).to(tl.int32)[:, None]
    if time is not None:
        query_time = load_facts(q_time, q_start, rows, num_queries)[:, None]
    if q_group is not None:
        query_group = load_facts(q_group, q_start, rows, num_queries)[:, None]
    if q_when is not None:
        query_when = load_facts(q_when, q_start, rows, num_queries)[:, None]
    if SOFTMAX:
        mass = tl.load(lse + at + rows * num_heads, mask=rows < num_queries, other=float("inf"))
        shift = tl.load(delta + at + rows * num_heads, mask=rows < num_queries, other=0.0)
    total = tl.zeros([M, BLOCK_K], tl.float32)
    if own_k is not None:
        mine = load_rows(own_k + at * K, rows, num_queries, num_heads * K, K, BLOCK_K).to(tl.float32)
        value = load_rows(own_v + at * V, rows, num_queries, num_heads * V, V, BLOCK_V).to(tl.float32)
        score = tl.sum(queries.to(tl.float32) * mine, 1) * scale
        if place is not None:
            score += tl.load(place + reach).to(tl.float32)
        if time is not None:
            score += tl.load(time).to(tl.float32)
        up = tl.sum(ups.to(tl.float32) * value, 1)
        if SOFTMAX:
            weight = tl.exp2(score * LOG2E - mass)
            grad = weight * (up - shift)
        else:
            weight, slope = silu_and_slope(score, FAST)
            grad = up * slope
        if place is not None:
            tl.atomic_add(place_grad + reach, tl.sum(grad), sem="relaxed")
        if time is not None:
            tl.atomic_add(time_grad, tl.sum(grad), sem="relaxed")
        total = grad[:, None] * mine
        own_dk_rows = grad[:, None] * queries.to(tl.float32) * (scale * share)
        store_rows(own_dk + at * K, own_dk_rows, rows, num_queries, num_heads * K, K, BLOCK_K)
        own_dv_rows = weight[:, None] * ups.to(tl.float32) * share
        store_rows(own_dv + at * V, own_dv_rows, rows, num_queries, num_heads * V, V, BLOCK_V)
    first, whole, last = key_range(m0, num_keys, window, CAUSAL, PLAIN, M, N)
    for n0 in range(first, whole, N):
        total = query_tile(
            queries, ups, total, mass, shift, m0, n0, num_keys, k_base, v_base, k_token, v_token, k_start, query_at,
            query_time, query_group, query_when, k_time, k_group, k_when, place, time, place_grad, time_grad, reach,
            cell_base, cell_edge, window, scale, False, CAUSAL, SAME, SOFTMAX, PRECISION, FAST, K, V, BLOCK_K,
            BLOCK_V, M, N)  # fmt: skip
    for n0 in range(whole, last, N):
        may = True
        if (q_group is not None) or (q_when is not None):
            keys = n0 + tl.arange(0, N)
            may = may_see(m0, n0, query_group, load_facts(k_group, k_start, keys, num_keys), query_when,
                          load_facts(k_when, k_start, keys, num_keys), M, N, SAME)  # fmt: skip
        if may:
            total = query_tile(
                queries, ups, total, mass, shift, m0, n0, num_keys, k_base, v_base, k_token, v_token, k_start,
                query_at, query_time, query_group, query_when, k_time, k_group, k_when, place, time, place_grad,
                time_grad, reach, cell_base, cell_edge, window, scale, True, CAUSAL, SAME, SOFTMAX, PRECISION,
                FAST, K, V, BLOCK_K, BLOCK_V, M, N)  # fmt: skip
    store_rows(dq + at * K, total * (scale * share), rows, num_queries, num_heads * K, K, BLOCK_K)


@triton.jit
def key_tile(k, v, dk, dv, m0, n0, num_queries, num_keys, q_base, do_base, lse_base, delta_base, q_stride, num_heads,
             query_start, key_start, q_at, q_time, q_group, q_when, key_time, key_group, key_when, place, time, reach,
             cell_base, cell_edge, window, scale, MASKED: tl.constexpr, CAUSAL: tl.constexpr, SAME: tl.constexpr,
             SOFTMAX: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
             BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """``dk`` and ``dv`` with one tile of queries added; the tile lies with keys first. Rows outside have no gradient."""
    rows = m0 + tl.arange(0, M)
    q = load_rows(q_base, rows, num_queries, q_stride, K, BLOCK_K)
    do = load_rows(do_base, rows, num_queries, num_heads * V, V, BLOCK_V)
    key, query = (n0 + tl.arange(0, N))[:, None], rows[None, :]
    query_at = None
    query_time = None
    query_group = None
    query_when = None
    if place is not None:
        query_at = (load_facts(q_at, query_start, rows, num_queries) - key_start).to(tl.int32)[None, :]
    if time is not None:
        query_time = load_facts(q_time, query_start, rows, num_queries)[None, :]
    scores = product(k, tl.trans(q), PRECISION) * scale
    scores = with_bias(scores, query_at, key, query_time, key_time, n0, place, time, reach, cell_base, cell_edge, N)
    if MASKED:
        if q_group is not None:
            query_group = load_facts(q_group, query_start, rows, num_queries)[None, :]
        if q_when is not None:
            query_when = load_facts(q_when, query_start, rows, num_queries)[None, :]
        seen = visible(query, key, num_keys, query_group, key_group, query_when, key_when, window, CAUSAL, SAME)
    up = product(v, tl.trans(do), PRECISION)
    if SOFTMAX:
        mass = tl.load(lse_base + rows * num_heads, mask=rows < num_queries, other=float("inf"))
        shift = tl.load(delta_base + rows * num_heads, mask=rows < num_queries, other=0.0)
        weights = tl.exp2(scores * LOG2E - mass[None, :])
        grad = weights * (up - shift[None, :])
    else:
        weights, slope = silu_and_slope(scores, FAST)
        grad = up * slope
    if MASKED:
        weights, grad = tl.where(seen, weights, 0.0), tl.where(seen, grad, 0.0)
    dv += product(weights.to(do_base.dtype.element_ty), do, PRECISION)
    dk += product(grad.to(q_base.dtype.element_ty), q, PRECISION)
    return dk, dv


@triton.jit
def key_kernel(q, k, v, do, lse, delta, dk, dv, q_offsets, k_offsets, num_rows, q_token, q_head, k_token, k_head,
               v_token, v_head, q_at, q_time, q_group, q_when, k_time, k_group, k_when, place, time, reach, cell_base,
               cell_edge, window, scale, share, num_heads, CAUSAL: tl.constexpr, SAME: tl.constexpr,
               SOFTMAX: tl.constexpr, PLAIN: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr,
               K: tl.constexpr, V: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr,
               N: tl.constexpr):  # fmt: skip
    """``dk`` and ``dv``. Grid: blocks of keys, heads."""
    block, head = tl.program_id(0), tl.program_id(1)
    row = row_of_block(k_offsets, num_rows, block, N)
    q_start, k_start = tl.load(q_offsets + row), tl.load(k_offsets + row)
    num_queries = (tl.load(q_offsets + row + 1) - q_start).to(tl.int32)
    num_keys = (tl.load(k_offsets + row + 1) - k_start).to(tl.int32)
    n0 = ((block - row - k_start // N) * N).to(tl.int32)
    if n0 >= num_keys:
        return
    rows = n0 + tl.arange(0, N)
    at = q_start * num_heads + head
    keys = load_rows(k + k_start * k_token + head * k_head, rows, num_keys, k_token, K, BLOCK_K)
    values = load_rows(v + k_start * v_token + head * v_head, rows, num_keys, v_token, V, BLOCK_V)
    q_base, do_base = q + q_start * q_token + head * q_head, do + at * V
    lse_base = None
    delta_base = None
    key_time = None
    key_group = None
    key_when = None
    if SOFTMAX:
        lse_base, delta_base = lse + at, delta + at
    if time is not None:
        key_time = load_facts(k_time, k_start, rows, num_keys)[:, None]
    if q_group is not None:
        key_group = load_facts(k_group, k_start, rows, num_keys)[:, None]
    if q_when is not None:
        key_when = load_facts(k_when, k_start, rows, num_keys)[:, None]
    first = tl.zeros((), tl.int32)
    last = num_queries
    if CAUSAL:
        first = n0 // M * M
    if window is not None:
        if not CAUSAL:
            first = tl.maximum(n0 - window + 1, 0) // M * M
        last = tl.minimum(num_queries, n0 + N + window - 1)
    whole = last
    if PLAIN:
        whole = first
        if CAUSAL:
            whole = tl.minimum((n0 + N + M - 2) // M * M, last)
    dk_total, dv_total = tl.zeros([N, BLOCK_K], tl.float32), tl.zeros([N, BLOCK_V], tl.float32)
    for m0 in range(first, whole, M):
        may = True
        if (q_group is not None) or (q_when is not None):
            asked = m0 + tl.arange(0, M)
            may = may_see(m0, n0, load_facts(q_group, q_start, asked, num_queries), key_group,
                          load_facts(q_when, q_start, asked, num_queries), key_when, M, N, SAME)  # fmt: skip
        if may:
            dk_total, dv_total = key_tile(
                keys, values, dk_total, dv_total, m0, n0, num_queries, num_keys, q_base, do_base, lse_base, delta_base,
                q_token, num_heads, q_start, k_start, q_at, q_time, q_group, q_when, key_time, key_group, key_when,
                place, time, reach, cell_base, cell_edge, window, scale, True, CAUSAL, SAME, SOFTMAX, PRECISION, FAST,
                K, V, BLOCK_K, BLOCK_V, M, N)  # fmt: skip
    for m0 in range(whole, last, M):
        dk_total, dv_total = key_tile(
            keys, values, dk_total, dv_total, m0, n0, num_queries, num_keys, q_base, do_base, lse_base, delta_base,
            q_token, num_heads, q_start, k_start, q_at, q_time, q_group, q_when, key_time, key_group, key_when, place,
            time, reach, cell_base, cell_edge, window, scale, False, CAUSAL, SAME, SOFTMAX, PRECISION, FAST, K, V,
            BLOCK_K, BLOCK_V, M, N)  # fmt: skip
    at = k_start * num_heads + head
    store_rows(dk + at * K, dk_total * (scale * share), rows, num_keys, num_heads * K, K, BLOCK_K)
    store_rows(dv + at * V, dv_total * share, rows, num_keys, num_heads * V, V, BLOCK_V)
