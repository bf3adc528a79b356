"""One plane through the kernels: Y, dX and dW into any result, from filters of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from . import _door, fft, separable
from .arrays import Result
from .plan import MAX_FILTER, SEPARABLE_COLUMNS, Plan
from .problem import PADDING_MODES, Array, Problem

# The calls of the kernels that were all there was to do, as one, else None.
Made: TypeAlias = "_door.Call | None"


def forward(
    problem: Problem, x: Array, w: Array, b: Array | None, plan: Plan, result: Result
) -> Made:
    """Y from X and W."""
    mode = PADDING_MODES[problem.mode]
    return _correlate(x, w, b, problem.top, problem.left, mode, plan, result)


def input_gradient(
    problem: Problem, dy: Array, w: Array, b: Array | None, plan: Plan, result: Result
) -> Made:
    """dX from dY and W: Y of the reversed filter, and what padding took from X given back to it.

    It is on top of a bias or of None; where padding gives back there is none.
    """
    flipped = w[::-1, ::-1]
    top, left = problem.a - 1 - problem.top, problem.b - 1 - problem.left
    if problem.mode == "zeros":
        return _correlate(dy, flipped, b, top, left, 0, plan, result)
    for i, j in result.blocks():
        total = np.zeros((i.stop - i.start, j.stop - j.start), result.kernel)
        for r, to_rows in sources(problem.top, problem.height, problem.bottom, problem.mode, i):
            for c, to_columns in sources(
                problem.left, problem.width, problem.right, problem.mode, j
            ):
                shape = r.stop - r.start, c.stop - c.start
                part = Result(shape, result.kernel, None, plane=True)
                _correlate(dy, flipped, None, top - r.start, left - c.start, 0, plan, part)
                fold(part.array, to_rows, to_columns, total)
        result.write((i, j), total)
    return None


def weight_gradient(
    problem: Problem,
    x: Array,
    dy: Array,
    plan: Plan,
    result: Result,
    total: Result | None = None,
) -> Made:
    """dW from X and dY, and db too where there is a place for it."""
    if x.size == 0 or dy.size == 0:
        result.array[...] = 0
        if total is not None:
            bias_gradient(dy, plan.threads, total)
        return None
    mode = PADDING_MODES[problem.mode]
    blocks = list(_filter_blocks(problem.a, problem.b))
    room = None if total is None else _room_for(total)
    for p, q in blocks:
        shape = p.stop - p.start, q.stop - q.start
        direct = result.direct
        block = np.empty(shape, result.kernel) if direct is None else direct[p, q]
        top, left = problem.top - p.start, problem.left - q.start
        also = room if p.start == q.start == 0 else None
        made = _door.weight(x, block, dy, also, top, left, mode, plan)
        if direct is None:
            result.write((p, q), block)
    if total is not None and room is not None and total.direct is None:
        total.write((), room)
    return made if len(blocks) == 1 else None


def bias_gradient(dy: Array, threads: int, result: Result) -> Made:
    """db, 0-dimensional, from dY."""
    if dy.size == 0:
        result.array[...] = 0
        return None
    room = _room_for(result)
    made = _door.add_up(dy, room.reshape(1, 1), threads)
    if result.direct is None:
        result.write((), room)
    return made


def _room_for(total: Result) -> Array:
    """Where kernels put a sum."""
    return np.empty((), total.kernel) if total.direct is None else total.direct


def _correlate(
    x: Array, w: Array, b: Array | None, top: int, left: int, mode: int, plan: Plan, result: Result
) -> Made:
    """X with W of any size, maybe of narrower types, by what the plan says and W allows."""
    if result.array.size == 0:
        return None
    first, _, other = plan.algorithm.partition(" or ")
    if first not in ("fft", "separable"):
        return _correlate_directly(x, w, b, top, left, mode, plan, result)
    w = w.astype(result.kernel, copy=False)

    def direct(x: Array, w: Array, b: Array | None, top: int, left: int, result: Result) -> None:
        _correlate_directly(x, w, b, top, left, mode, plan, result)

    if first == "separable" and max(x.shape[1], result.array.shape[1]) <= SEPARABLE_COLUMNS:
        parts = separable.factors(w)
        if parts is not None:
            separable.correlate(x, w, parts, b, top, left, result, direct)
            return None
        if not other:
            raise ValueError(
                f"algorithm is 'separable', but w {w.shape} is not a column times a row"
            )
    if "fft" in (first, other) and np.isfinite(w).all():
        if x.dtype != w.dtype:
            x = x.astype(w.dtype, order="C")
        fft.correlate(x, w, b, top, left, mode, plan.threads, result, direct)
    else:
        direct(x, w, b, top, left, result)
    return None


def _correlate_directly(
    x: Array, w: Array, b: Array | None, top: int, left: int, mode: int, plan: Plan, result: Result
) -> Made:
    """X with W of any size, maybe of narrower types, in blocks where need be."""
    taps, kernel = list(_filter_blocks(*w.shape)), result.kernel
    if result.narrow is not None and len(taps) == 1:
        return _door.correlate(x, w, result.narrow, b, top, left, mode, plan, kernel)
    for i, j in result.blocks():
        shape = i.stop - i.start, j.stop - j.start
        total = np.empty(shape, kernel)
        for p, q in taps:
            first = p.start == q.start == 0
            block = total if first else np.empty(shape, kernel)
            above, before = top - i.start - p.start, left - j.start - q.start
            bias = b if first else None
            _door.correlate(x, w[p, q], block, bias, above, before, mode, plan, kernel)
            if not first:
                with np.errstate(all="ignore"):
                    total += block
        result.write((i, j), total)
    return None


def _filter_blocks(a: int, b: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the blocks of W that a kernel takes at a time."""
    for p in range(0, a, MAX_FILTER):
        for q in range(0, b, MAX_FILTER):
            yield slice(p, min(p + MAX_FILTER, a)), slice(q, min(q + MAX_FILTER, b))


# Padded rows or columns that are folded at a time: with CHUNK it bounds the memory of a block.
RUN = 8

Moves: TypeAlias = list[tuple[slice, slice]]


def sources(
    before: int, size: int, after: int, mode: str, part: slice
) -> Iterator[tuple[slice, Moves]]:
    """Runs of a padded axis that take elements from `part` of the axis itself.

    Counted from the axis' first element, each with the moves (from the run, to the part) that give
    the run's gradients back.
    """
    yield part, [(slice(None), slice(None))]
    for begin, end in ((-before, 0), (size, size + after)):
        for first in range(begin, end, RUN):
            run = np.arange(first, min(first + RUN, end))
            places = _source(run, size, mode) - part.start
            inside = np.flatnonzero((places >= 0) & (places < part.stop - part.start))
            if inside.size:
                moves = [(slice(k, k + 1), slice(places[k], places[k] + 1)) for k in inside]
                yield slice(first, first + len(run)), moves


def _source(i: Array, size: int, mode: str) -> Array:
    """Where in an axis np.pad takes the elements at i from."""
    if mode == "edge":
        places = np.clip(i, 0, size - 1)
    elif mode == "wrap":
        places = i % size
    elif mode == "symmetric":
        places = i % (2 * size)
        places = np.minimum(places, 2 * size - 1 - places)
    else:  # "reflect"; a single element is its own reflection
        places = i % max(2 * size - 2, 1)
        places = np.minimum(places, 2 * size - 2 - places)
    return places


def fold(block: Array, rows: Moves, columns: Moves, total: Array) -> None:
    """Add the rows and columns of blocks, the last two axes, to where they belong."""
    narrow = np.zeros((*block.shape[:-1], total.shape[-1]), block.dtype)
    with np.errstate(all="ignore"):
        for source, target in columns:
            narrow[..., target] += block[..., source]
        for source, target in rows:
            total[..., target, :] += narrow[..., source, :]
