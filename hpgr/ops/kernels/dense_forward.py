"""Reading every visible key of one's row: a block of queries a program, keys in tiles, nothing of the square kept.

Tiling and the running softmax: Dao, arXiv:2307.08691. Departs: pointwise weights need no running state.
"""

from __future__ import annotations

import triton
import triton.language as tl

from hpgr.ops.kernels.tiles import (
    LOG2E,
    load_facts,
    load_rows,
    may_see,
    product,
    row_of_block,
    sigmoid,
    store_rows,
    visible,
    with_bias,
)


@triton.jit
def key_range(m0, num_keys, window, CAUSAL: tl.constexpr, PLAIN: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """``(first, whole, last)``: keys a block of queries may see; from ``first`` to ``whole`` it sees every one."""
    first = tl.zeros((), tl.int32)
    last = num_keys
    if CAUSAL:
        last = tl.minimum(num_keys, m0 + M)
    if window is not None:
        first = tl.maximum(m0 - window + 1, 0) // N * N
        if not CAUSAL:
            last = tl.minimum(num_keys, m0 + M + window - 1)
    whole = first
    if PLAIN:
        if CAUSAL:
            whole = tl.minimum(m0, num_keys) // N * N
        else:
            whole = num_keys // N * N
    return first, whole, last


@triton.jit
def read_tile(q, total, top, mass, m0, n0, num_keys, k_base, v_base, k_stride, v_stride, key_start,
              query_at, query_time, query_group, query_when, key_time, key_group, key_when, place, time, reach,
              cell_base, cell_edge, window, scale, MASKED: tl.constexpr, CAUSAL: tl.constexpr, SAME: tl.constexpr,
              SOFTMAX: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
              BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """One tile of keys, added to ``total``; softmax rescales what stood there."""
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
    if MASKED:
        groups = None
        when = None
        if key_group is not None:
            groups = load_facts(key_group, key_start, rows, num_keys)[None, :]
        if key_when is not None:
            when = load_facts(key_when, key_start, rows, num_keys)[None, :]
        query = (m0 + tl.arange(0, M))[:, None]
        seen = visible(query, key, num_keys, query_group, groups, query_when, when, window, CAUSAL, SAME)
    if SOFTMAX:
        scores *= LOG2E
        if MASKED:
            scores = tl.where(seen, scores, -float("inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(new_top == -float("inf"), 0.0, new_top)
        weights = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(top - base)
        mass = mass * shrink + tl.sum(weights, 1)
        total = total * shrink[:, None]
        top = new_top
    else:
        weights = scores * sigmoid(scores, FAST)
        if MASKED:
            weights = tl.where(seen, weights, 0.0)
    total += product(weights.to(v_base.dtype.element_ty), v, PRECISION)
    return total, top, mass


@triton.jit
def forward_kernel(q, k, v, own_k, own_v, out, lse, q_offsets, k_offsets, num_rows, q_token, q_head, k_token, k_head,
                   v_token, v_head, q_at, q_time, q_group, q_when, k_time, k_group, k_when, place, time, reach,
                   cell_base, cell_edge, window, scale, share, num_heads, CAUSAL: tl.constexpr, SAME: tl.constexpr,
                   SOFTMAX: tl.constexpr, PLAIN: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr,
                   K: tl.constexpr, V: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, M: tl.constexpr,
                   N: tl.constexpr):  # fmt: skip
    """``out [Q, H, V]``, and for softmax ``lse [Q, H]``, the base-2 logarithm of the mass.

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
    rows = m0 + tl.arange(0, M)
    queries = load_rows(q + q_start * q_token + head * q_head, rows, num_queries, q_token, K, BLOCK_K)
    k_base, v_base = k + k_start * k_token + head * k_head, v + k_start * v_token + head * v_head
    query_at = None
    query_time = None
    query_group = None
    query_when = None
    if place is not None:
        query_at = (load_facts(q_at, q_start, rows, num_queries) - k_start).to(tl.int32)[:, None]
    if time is not None:
        query_time = load_facts(q_time, q_start, rows, num_queries)[:, None]
    if q_group is not None:
        query_group = load_facts(q_group, q_start, rows, num_queries)[:, None]
    if q_when is not None:
        query_when = load_facts(q_when, q_start, rows, num_queries)[:, None]
    total = tl.zeros([M, BLOCK_V], tl.float32)
    top, mass = tl.full([M], -float("inf"), tl.float32), tl.zeros([M], tl.float32)
    if own_k is not None:
        at = q_start * num_heads + head
        mine = load_rows(own_k + at * K, rows, num_queries, num_heads * K, K, BLOCK_K).to(tl.float32)
        value = load_rows(own_v + at * V, rows, num_queries, num_heads * V, V, BLOCK_V).to(tl.float32)
        score = tl.sum(queries.to(tl.float32) * mine, 1) * scale
        if place is not None:
            score += tl.load(place + reach).to(tl.float32)
        if time is not None:
            score += tl.load(time).to(tl.float32)
        if SOFTMAX:
            top, mass, total = score * LOG2E, mass + 1.0, value
        else:
            total = (score * sigmoid(score, FAST))[:, None] * value
    first, whole, last = key_range(m0, num_keys, window, CAUSAL, PLAIN, M, N)
    for n0 in range(first, whole, N):
        total, top, mass = read_tile(
            queries, total, top, mass, m0, n0, num_keys, k_base, v_base, k_token, v_token, k_start, query_at,
            query_time, query_group, query_when, k_time, k_group, k_when, place, time, reach, cell_base, cell_edge,
            window, scale, False, CAUSAL, SAME, SOFTMAX, PRECISION, FAST, K, V, BLOCK_K, BLOCK_V, M, N)  # fmt: skip
    for n0 in range(whole, last, N):
        may = True
        if (q_group is not None) or (q_when is not None):
            keys = n0 + tl.arange(0, N)
            may = may_see(m0, n0, query_group, load_facts(k_group, k_start, keys, num_keys), query_when,
                          load_facts(k_when, k_start, keys, num_keys), M, N, SAME)  # fmt: skip
        if may:
            total, top, mass = read_tile(
                queries, total, top, mass, m0, n0, num_keys, k_base, v_base, k_token, v_token, k_start, query_at,
                query_time, query_group, query_when, k_time, k_group, k_when, place, time, reach, cell_base, cell_edge,
                window, scale, True, CAUSAL, SAME, SOFTMAX, PRECISION, FAST, K, V, BLOCK_K, BLOCK_V, M, N)  # fmt: skip
    if SOFTMAX:
        reads = mass > 0
        total = tl.where(reads[:, None], total / tl.where(reads, mass, 1.0)[:, None], 0.0)
        final = tl.where(reads, top + tl.log2(tl.where(reads, mass, 1.0)), float("inf"))
        tl.store(lse + (q_start + rows) * num_heads + head, final, mask=rows < num_queries)
    else:
        total *= share
    store_rows(out + (q_start * num_heads + head) * V, total, rows, num_queries, num_heads * V, V, BLOCK_V)
