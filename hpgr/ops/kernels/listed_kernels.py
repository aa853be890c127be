"""Reading a list of keys a query: a query and a head a program, listed rows gathered in chunks, no square and no product
units; the gradients of keys and values are added up where the rows lie."""

from __future__ import annotations

import triton
import triton.language as tl

from hpgr.ops.kernels.tiles import LOG2E, place_row, sigmoid, silu_and_slope, time_bucket


@triton.jit
def gathered_rows(base, rows, there, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """float32 ``[rows, BLOCK]``, zeros where there is nothing."""
    dims = tl.arange(0, BLOCK)
    inside = there[:, None] & (dims < WIDTH)[None, :]
    return tl.load(base + rows[:, None] * stride + dims[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def one_row(base, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """float32 ``[BLOCK]``."""
    dims = tl.arange(0, BLOCK)
    return tl.load(base + dims, mask=dims < WIDTH, other=0.0).to(tl.float32)


@triton.jit
def add_rows(base, values, rows, there, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Adds ``values [rows, BLOCK]`` to float32 rows."""
    dims = tl.arange(0, BLOCK)
    inside = there[:, None] & (dims < WIDTH)[None, :]
    tl.atomic_add(base + rows[:, None] * stride + dims[None, :], values, mask=inside, sem="relaxed")


@triton.jit
def own_score(query, own_k, place, time, reach, scale, K: tl.constexpr, BLOCK_K: tl.constexpr):
    """The score of the query's own column: no distance, no time."""
    score = tl.sum(query * one_row(own_k, K, BLOCK_K)) * scale
    if place is not None:
        score += tl.load(place + reach).to(tl.float32)
    if time is not None:
        score += tl.load(time).to(tl.float32)
    return score


@triton.jit
def list_places(n, listed, q_at, place, reach):
    """The row of the place table of each listed key; None without a table."""
    if place is None:
        places = None
    else:
        places = place_row(tl.load(q_at + n), listed, reach)
    return places


@triton.jit
def list_buckets(n, listed, there, q_time, k_time, time, cell_base, cell_edge):
    """The row of the time table of each listed key; None without a table."""
    if time is None:
        buckets = None
    else:
        times = tl.load(k_time + listed, mask=there, other=0)
        buckets = time_bucket(tl.load(q_time + n) - times, cell_base, cell_edge)
    return buckets


@triton.jit
def list_scores(query, keys, places, buckets, place, time, scale):
    """Scores of a chunk of the list, with the bias of each pair."""
    scores = tl.sum(keys * query[None, :], 1) * scale
    if place is not None:
        scores += tl.load(place + places).to(tl.float32)
    if time is not None:
        scores += tl.load(time + buckets).to(tl.float32)
    return scores


@triton.jit
def listed_forward(q, k, v, own_k, own_v, rows, gate, out, lse, list_width, q_token, q_head, k_token, k_head, v_token,
                   v_head, q_at, q_time, k_time, place, time, reach, cell_base, cell_edge, scale, share, num_heads,
                   SOFTMAX: tl.constexpr, FAST: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
                   BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """``out [Q, H, V]`` and for softmax ``lse [Q, H]`` to base 2. Grid: queries times heads, so that the heads of a row
    are read together."""
    at = tl.program_id(0).to(tl.int64)
    n, head = at // num_heads, at % num_heads
    query = one_row(q + n * q_token + head * q_head, K, BLOCK_K)
    total = tl.zeros([BLOCK_V], tl.float32)
    top, mass = tl.full((), -float("inf"), tl.float32), tl.zeros((), tl.float32)
    if own_k is not None:
        score = own_score(query, own_k + at * K, place, time, reach, scale, K, BLOCK_K)
        total = one_row(own_v + at * V, V, BLOCK_V)
        if SOFTMAX:
            top, mass = score * LOG2E, mass + 1.0
        else:
            total *= score * sigmoid(score, FAST)
    for w0 in range(0, list_width, N):
        w = w0 + tl.arange(0, N)
        listed = tl.load(rows + n * list_width + w, mask=w < list_width, other=-1)
        gates = tl.load(gate + n * list_width + w, mask=w < list_width, other=0.0).to(tl.float32)
        there = listed >= 0
        if SOFTMAX:
            there = there & (gates > 0)
        keys = gathered_rows(k + head * k_head, listed, there, k_token, K, BLOCK_K)
        values = gathered_rows(v + head * v_head, listed, there, v_token, V, BLOCK_V)
        places = list_places(n, listed, q_at, place, reach)
        buckets = list_buckets(n, listed, there, q_time, k_time, time, cell_base, cell_edge)
        scores = list_scores(query, keys, places, buckets, place, time, scale)
        if SOFTMAX:
            scores = tl.where(there, scores * LOG2E, -float("inf"))
            new_top = tl.maximum(top, tl.max(scores))
            base = tl.where(new_top == -float("inf"), 0.0, new_top)
            weights = tl.where(there, gates, 0.0) * tl.exp2(scores - base)
            shrink = tl.exp2(top - base)
            mass = mass * shrink + tl.sum(weights)
            total = total * shrink
            top = new_top
        else:
            weights = tl.where(there, gates * scores * sigmoid(scores, FAST), 0.0)
        total += tl.sum(weights[:, None] * values, 0)
    if SOFTMAX:
        mass_or_one = tl.where(mass > 0, mass, 1.0)
        total = total / mass_or_one
        tl.store(lse + at, tl.where(mass > 0, top + tl.log2(mass_or_one), float("inf")))
    else:
        total *= share
    dims = tl.arange(0, BLOCK_V)
    tl.store(out + at * V + dims, total.to(out.dtype.element_ty), mask=dims < V)


@triton.jit
def listed_backward(q, k, v, own_k, own_v, rows, gate, do, lse, delta, dq, dk, dv, own_dk, own_dv, gate_grad,
                    list_width, q_token, q_head, k_token, k_head, v_token, v_head, q_at, q_time, k_time, place, time,
                    place_grad, time_grad, copies, place_size, time_size, reach, cell_base, cell_edge, scale, share,
                    num_heads, SOFTMAX: tl.constexpr, FAST: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
                    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, N: tl.constexpr):  # fmt: skip
    """Every gradient. ``dk`` and ``dv`` (float32) and the tables' parts are added to; ``gate_grad [Q, H, W]`` is each
    head's. Grid as in ``listed_forward``."""
    at = tl.program_id(0).to(tl.int64)
    n, head = at // num_heads, at % num_heads
    place_grad += (at % copies) * place_size
    time_grad += (at % copies) * time_size
    query = one_row(q + n * q_token + head * q_head, K, BLOCK_K)
    up_V = one_row(do + at * V, V, BLOCK_V) * share
    total = tl.zeros([BLOCK_K], tl.float32)
    wide, deep = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_V)
    mass = None
    shift = None
    if SOFTMAX:
        mass, shift = tl.load(lse + at), tl.load(delta + at)
    if own_k is not None:
        score = own_score(query, own_k + at * K, place, time, reach, scale, K, BLOCK_K)
        own_up = tl.sum(up_V * one_row(own_v + at * V, V, BLOCK_V))
        if SOFTMAX:
            own_weight = tl.exp2(score * LOG2E - mass)
            own_grad = own_weight * (own_up - shift)
        else:
            own_weight, own_slope = silu_and_slope(score, FAST)
            own_grad = own_up * own_slope
        if place is not None:
            tl.atomic_add(place_grad + reach, own_grad, sem="relaxed")
        if time is not None:
            tl.atomic_add(time_grad, own_grad, sem="relaxed")
        total = own_grad * one_row(own_k + at * K, K, BLOCK_K)
        tl.store(own_dk + at * K + wide, (own_grad * scale * query).to(own_dk.dtype.element_ty), mask=wide < K)
        tl.store(own_dv + at * V + deep, (own_weight * up_V).to(own_dv.dtype.element_ty), mask=deep < V)
    for w0 in range(0, list_width, N):
        w = w0 + tl.arange(0, N)
        listed = tl.load(rows + n * list_width + w, mask=w < list_width, other=-1)
        gates = tl.load(gate + n * list_width + w, mask=w < list_width, other=0.0).to(tl.float32)
        there = listed >= 0
        if SOFTMAX:
            there = there & (gates > 0)
        keys = gathered_rows(k + head * k_head, listed, there, k_token, K, BLOCK_K)
        values = gathered_rows(v + head * v_head, listed, there, v_token, V, BLOCK_V)
        places = list_places(n, listed, q_at, place, reach)
        buckets = list_buckets(n, listed, there, q_time, k_time, time, cell_base, cell_edge)
        scores = list_scores(query, keys, places, buckets, place, time, scale)
        up = tl.sum(values * up_V[None, :], 1)
        if SOFTMAX:
            weights = tl.exp2(tl.where(there, scores * LOG2E - mass, -float("inf")))
            to_gate = weights * (up - shift)
            grads = tl.where(there, gates, 0.0) * to_gate
        else:
            weights, slopes = silu_and_slope(scores, FAST)
            to_gate = tl.where(there, up * weights, 0.0)
            grads = tl.where(there, up * gates * slopes, 0.0)
        weights = tl.where(there, gates * weights, 0.0)
        tl.store(gate_grad + at * list_width + w, to_gate, mask=w < list_width)
        if place is not None:
            tl.atomic_add(place_grad + places, grads, mask=there, sem="relaxed")
        if time is not None:
            tl.atomic_add(time_grad + buckets, grads, mask=there, sem="relaxed")
        total += tl.sum(grads[:, None] * keys, 0)
        add_rows(dk + head * K, (grads * scale)[:, None] * query[None, :], listed, there, num_heads * K, K, BLOCK_K)
        add_rows(dv + head * V, weights[:, None] * up_V[None, :], listed, there, num_heads * V, V, BLOCK_V)
    tl.store(dq + at * K + wide, (total * scale).to(dq.dtype.element_ty), mask=wide < K)
