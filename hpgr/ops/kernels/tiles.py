"""What every kernel needs of a tile of queries and keys: its row, loads, bias, visibility and weights.

Tiles come either way round: facts of queries and keys are given already broadcast, ``[M, 1]`` and ``[1, N]`` or ``[1, M]``
and ``[N, 1]``. Facts that are absent are None and cost nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# Tiles that span more time buckets than this add their gradient pair by pair.
MOST_SUMS = tl.constexpr(4)


@triton.jit
def row_of_block(offsets, num_rows, block, SIZE: tl.constexpr):
    """The jagged row that owns ``block``. Row ``b`` owns the blocks from ``offsets[b] // SIZE + b`` on: enough for its
    length, and known without a table or a look at the lengths from outside."""
    low = tl.zeros((), tl.int32)
    high = low + num_rows
    while high - low > 1:
        middle = (low + high) // 2
        before = tl.load(offsets + middle) // SIZE + middle <= block
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle)
    return low


@triton.jit
def load_rows(base, rows, num_rows, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """``[rows, BLOCK]``, zeros outside of rows and width."""
    dims = tl.arange(0, BLOCK)
    there = (rows < num_rows)[:, None]
    if WIDTH != BLOCK:
        there = there & (dims < WIDTH)[None, :]
    return tl.load(base + rows[:, None] * stride + dims[None, :], mask=there, other=0.0)


@triton.jit
def store_rows(base, values, rows, num_rows, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """The opposite of ``load_rows``, in the dtype of ``base``."""
    dims = tl.arange(0, BLOCK)
    there = (rows < num_rows)[:, None]
    if WIDTH != BLOCK:
        there = there & (dims < WIDTH)[None, :]
    tl.store(base + rows[:, None] * stride + dims[None, :], values.to(base.dtype.element_ty), mask=there)


@triton.jit
def load_facts(base, start, rows, num_rows):
    """A fact of each row; of the last one for rows outside, so that the least and the largest stay what they are."""
    if base is None:
        facts = None
    else:
        facts = tl.load(base + start + tl.minimum(rows, num_rows - 1))
    return facts


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """``a @ b``, summed in float32. The interpreter keeps bfloat16 as bits and cannot multiply them."""
    if PRECISION == "interpreter":
        result = tl.dot(a.to(tl.float32), b.to(tl.float32))
    else:
        result = tl.dot(a, b, input_precision=PRECISION)
    return result


@triton.jit
def time_bucket(delta, cell_base, cell_edge):
    """``hstu_bucket`` of milliseconds, exactly; see ``cells``."""
    far = tl.abs(delta)
    cell = tl.maximum((far.to(tl.float32).to(tl.int32, bitcast=True) >> 20) - (127 << 3), 0)
    return tl.load(cell_base + cell) + (far >= tl.load(cell_edge + cell)).to(tl.int32)


@triton.jit
def bucket_range(query_time, key_time, cell_base, cell_edge):
    """The lowest and the highest bucket of a tile."""
    query_low, query_high = tl.min(query_time), tl.max(query_time)
    key_low, key_high = tl.min(key_time), tl.max(key_time)
    least = tl.maximum(tl.maximum(query_low - key_high, key_low - query_high), 0)
    most = tl.maximum(query_high - key_low, key_high - query_low)
    return time_bucket(least, cell_base, cell_edge), time_bucket(most, cell_base, cell_edge)


@triton.jit
def place_range(query_at, first_key, reach, NUM_KEYS: tl.constexpr):
    """The lowest and the highest row of the place table that a tile reads."""
    low = tl.maximum(tl.minimum(first_key - tl.max(query_at), reach), -reach) + reach
    high = tl.maximum(tl.minimum(first_key + NUM_KEYS - 1 - tl.min(query_at), reach), -reach) + reach
    return low.to(tl.int32), high.to(tl.int32)


@triton.jit
def place_row(query_at, key, reach):
    """Rows of the place table, pair by pair."""
    return (tl.maximum(tl.minimum(key - query_at, reach), -reach) + reach).to(tl.int32)


@triton.jit
def with_bias(scores, query_at, key, query_time, key_time, first_key, place, time, reach, cell_base, cell_edge,
              NUM_KEYS: tl.constexpr):  # fmt: skip
    """``scores`` with the bias of each pair. Far from the diagonal a tile has one place and mostly one bucket: one look-up."""
    if place is not None:
        low, high = place_range(query_at, first_key, reach, NUM_KEYS)
        if low == high:
            scores += tl.load(place + low).to(tl.float32)
        else:
            scores += tl.load(place + place_row(query_at, key, reach)).to(tl.float32)
    if time is not None:
        low, high = bucket_range(query_time, key_time, cell_base, cell_edge)
        if low == high:
            scores += tl.load(time + low).to(tl.float32)
        else:
            bucket = time_bucket(query_time - key_time, cell_base, cell_edge)
            scores += tl.load(time + bucket).to(tl.float32)
    return scores


@triton.jit
def add_bias_grad(grad, query_at, key, query_time, key_time, first_key, place, time, place_grad, time_grad, reach,
                  cell_base, cell_edge, NUM_KEYS: tl.constexpr):  # fmt: skip
    """Adds the gradient of a tile's scores (0 where hidden) to this program's share of the tables."""
    if place is not None:
        low, high = place_range(query_at, first_key, reach, NUM_KEYS)
        if low == high:
            tl.atomic_add(place_grad + low, tl.sum(grad), sem="relaxed")
        else:
            tl.atomic_add(place_grad + place_row(query_at, key, reach), grad, mask=grad != 0, sem="relaxed")
    if time is not None:
        low, high = bucket_range(query_time, key_time, cell_base, cell_edge)
        if high - low < MOST_SUMS:
            bucket = time_bucket(query_time - key_time, cell_base, cell_edge)
            for one in range(low, high + 1):
                tl.atomic_add(time_grad + one, tl.sum(tl.where(bucket == one, grad, 0.0)), sem="relaxed")
        else:
            bucket = time_bucket(query_time - key_time, cell_base, cell_edge)
            tl.atomic_add(time_grad + bucket, grad, mask=grad != 0, sem="relaxed")


@triton.jit
def visible(query, key, num_keys, query_group, key_group, query_when, key_when, window, CAUSAL: tl.constexpr,
            SAME: tl.constexpr):  # fmt: skip
    """``MaskRule.visible`` of a tile; ``SAME``: queries are the keys, so a query sees itself whatever its time."""
    seen = key < num_keys
    if CAUSAL:
        seen = seen & (key <= query)
    if window is not None:
        seen = seen & (tl.abs(query - key) < window)
    if query_group is not None:
        seen = seen & (query_group == key_group)
    if query_when is not None:
        earlier = key_when < query_when
        if SAME:
            earlier = earlier | (query == key)
        seen = seen & earlier
    return seen


@triton.jit
def may_see(first_query, first_key, query_group, key_group, query_when, key_when, NUM_QUERIES: tl.constexpr,
            NUM_KEYS: tl.constexpr, SAME: tl.constexpr):  # fmt: skip
    """Can any pair of the tile pass the rules of group and time? Judged by the ranges of the two sides."""
    may = first_query >= 0
    if query_group is not None:
        may = may & (tl.min(query_group) <= tl.max(key_group)) & (tl.min(key_group) <= tl.max(query_group))
    if query_when is not None:
        earlier = tl.min(key_when) < tl.max(query_when)
        if SAME:
            earlier = earlier | ((first_query < first_key + NUM_KEYS) & (first_key < first_query + NUM_QUERIES))
        may = may & earlier
    return may


@triton.jit
def sigmoid(scores, FAST: tl.constexpr):
    """``FAST``: one instruction of the special unit, absolute error below 2^-12, which 16-bit weights do not show."""
    if FAST:
        tanh = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [0.5 * scores], dtype=tl.float32, is_pure=True, pack=1
        )
        result = 0.5 * tanh + 0.5
    else:
        result = 1.0 / (1.0 + tl.exp(-scores))
    return result


@triton.jit
def silu_and_slope(scores, FAST: tl.constexpr):
    """``silu`` and its derivative."""
    share = sigmoid(scores, FAST)
    value = scores * share
    return value, share + value * (1.0 - share)
