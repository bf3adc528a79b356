"""Layers through the kernels: Y, dX, dW and db of images and batches into any result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _door
from .arrays import Result
from .plan import (
    PANEL_OF_FILTERS,
    POSITIONS,
    WORKSPACE,
    in_rows,
    is_depthwise,
    is_pointwise,
    kept,
    make_layer_plan,
    meets_in_pairs,
    plan_of_pixels,
    plan_of_planes,
    suits_exchange,
    transposes_fewer,
)
from .planar import Made, fold, sources
from .problem import PADDING_MODES, Array, Problem

Slices = tuple[slice, ...]
Call = tuple[Any, ...]  # what `_door.layer` takes
ONE_TAP = 1, (1, 1), (1, 1), 0, 0, 0  # groups, strides, dilations, padding and its mode
PIECE = 1 << 21  # elements that are copied at a time where rows are not contiguous


def forward(
    problem: Problem, x: Array, w: Array, b: Array | None, threads: int, result: Result
) -> Made:
    """Y from X and W."""
    if result.array.size == 0:
        return None
    x, w, top, left = _batch(x), _batch(w), problem.top, problem.left
    if result.direct is not None:
        target = _batch(result.direct)
        return _correlate(problem, "forward", x, w, target, b, problem.groups, top, left, threads)
    for block in result.blocks():
        part = np.empty([s.stop - s.start for s in block], x.dtype)
        n, k, i, j = _slices(block)
        for filters, channels, groups in _within_groups(problem, k, "filters"):
            _correlate(
                problem,
                "forward",
                x[n, channels],
                w[filters],
                _batch(part)[:, filters.start - k.start : filters.stop - k.start],
                None if b is None else b[filters],
                groups,
                top - i.start * problem.stride[0],
                left - j.start * problem.stride[1],
                threads,
            )
        result.write(block, part)
    return None


def _correlate(
    problem: Problem,
    direction: str,
    x: Array,
    w: Array,
    y: Array,
    b: Array | None,
    groups: int,
    top: int,
    left: int,
    threads: int,
) -> Made:
    """Y from X and W ("forward"), or X from W and Y ("input"), of some images and channels."""
    mode = PADDING_MODES[problem.mode] if direction == "forward" else 0
    if not is_depthwise(problem, direction):
        if _is_gathered(problem, x, w, y, top, left):
            step = max(PIECE // 4 // x[0].size, 1)
            for n in range(0, len(x), step):
                some = slice(n, n + step)
                part = x[some].copy("C")
                _correlate(problem, direction, part, w, y[some], b, groups, top, left, threads)
                if direction == "input":
                    x[some] = part
            return None
        call = _call(problem, direction, x, w, y, b, (groups, top, left, mode), threads)
        if direction == "forward":
            return _door.layer(*call)
        return _door.layer_gradients(call, None, None)
    if direction == "input":  # dX is Y of the reversed filters
        w, top, left = w[:, :, ::-1, ::-1], problem.a - 1 - top, problem.b - 1 - left
        x, y = y, x
    planes, threads = plan_of_planes(problem, direction, threads)
    if _has_unit_rows(x) and _has_unit_rows(y):
        return _door.planes("forward", x, w, y, b, top, left, mode, planes, threads)
    for n in range(len(x)):
        for c, k in _pieces(x, y, 1):
            image = slice(n, n + 1)
            part, bias = np.empty(y[image, k].shape, y.dtype), None if b is None else b[k]
            seen = np.ascontiguousarray(x[image, c])
            _door.planes("forward", seen, w[k], part, bias, top, left, mode, planes, threads)
            y[image, k] = part
    return None


def _call(
    problem: Problem,
    direction: str,
    x: Array,
    w: Array,
    y: Array,
    b: Array | None,
    where: tuple[int, int, int, int],
    threads: int,
) -> Call:
    """What the kernels are called with for Y or dX; where: groups, top, left, padding mode."""
    if _is_seen_whole(problem, x, w, y, where[:3]):
        plan = plan_of_pixels(_images_as_pixels(problem), direction, threads)
        taps = w.reshape(len(w), -1, 1, 1)
        if direction == "input" and b is not None:  # of a channel: of each of its elements
            b = b.repeat(problem.a * problem.b)
        return _pixels_of(x), taps, _pixels_of(y), b, ONE_TAP, plan
    plan = make_layer_plan(problem, direction, threads)
    if plan.lanes_of == POSITIONS and is_pointwise(problem):
        if x.shape[2:] == y.shape[2:] and _is_one_row(x) and _is_one_row(y):
            x, y = (array.reshape(*array.shape[:2], 1, -1) for array in (x, y))
        else:
            plan = in_rows(plan, y.shape[3])
    groups, top, left, mode = where
    return x, w, y, b, (groups, problem.stride, problem.dilation, top, left, mode), plan


def _is_seen_whole(
    problem: Problem, x: Array, w: Array, y: Array, where: tuple[int, int, int]
) -> bool:
    """Whether each filter has a tap for each element of an image, which meet once.

    Images are then as good as the pixels of one image, whose channels are their elements; where
    these do not follow one another in memory, they are copied. Filters that are too large for that
    take the other road in any layout.
    """
    return (
        problem.groups == 1
        and x.shape[2:] == w.shape[2:] == (problem.a, problem.b)
        and y.shape[2:] == (1, 1)
        and where == (1, 0, 0)
        and x.size > 0
        and y.size > 0
        and (problem.one_tap or problem.dilation == (1, 1))
        and (problem.one_tap or math.prod(problem.w4) <= PIECE // 2)
        and max(math.prod(problem.w4[1:]), problem.filters) <= PANEL_OF_FILTERS
    )


@kept
def _images_as_pixels(problem: Problem) -> Problem:
    """The layer whose filters have one tap and see images as pixels."""
    return problem._replace(
        height=problem.images,
        width=1,
        a=1,
        b=1,
        images=1,
        channels=problem.channels * problem.a * problem.b,
        stride=(1, 1),
        dilation=(1, 1),
    )


def _pixels_of(array: Array) -> Array:
    """Images as the pixels of one image: a view of results, which are contiguous or one pixel."""
    one = array.shape[2:] == (1, 1)
    elements = array[:, :, 0, 0] if one else array.reshape(len(array), -1)
    return elements.T[None, :, :, None]


def _is_gathered(problem: Problem, x: Array, w: Array, y: Array, top: int, left: int) -> bool:
    """Whether images that are seen whole have elements that do not follow one another."""
    together = x.flags.c_contiguous or problem.one_tap
    return not together and _is_seen_whole(problem, x, w, y, (1, top, left))


def _is_one_row(array: Array) -> bool:
    """Whether the rows of each plane follow one another."""
    return array.size > 0 and array.strides[2] == array.shape[3] * array.strides[3]


def _pieces(x: Array, y: Array, images: int) -> Iterator[tuple[slice, slice]]:
    """Channels of X and those of Y, of a depthwise layer, that are copied at a time."""
    multiplier = y.shape[1] // x.shape[1]
    elements = x.shape[2] * x.shape[3] + multiplier * y.shape[2] * y.shape[3]
    step = max(PIECE // max(images * elements, 1), 1)
    for c in range(0, x.shape[1], step):
        yield slice(c, c + step), slice(c * multiplier, (c + step) * multiplier)


def _with_unit_rows(array: Array) -> Array:
    """The array, or a copy of it whose rows are contiguous."""
    return array if _has_unit_rows(array) else np.ascontiguousarray(array)


def _has_unit_rows(array: Array) -> bool:
    """Whether the elements of each row follow one another."""
    return array.strides[-1] == array.itemsize or array.shape[-1] == 1


def gradients(
    problem: Problem,
    x: Array,
    w: Array,
    dy: Array,
    threads: int,
    dx: Result | None,
    dw: Result | None,
    db: Result | None,
) -> Made:
    """dX, dW and db, those that are not None, in one call of the kernels where they can."""
    calls: list[Call | None] = [None, None, None]
    made: list[Made] = []
    if dx is not None:
        calls[0] = _input_call(problem, w, dy, threads, dx)
        if calls[0] is None:
            made.append(input_gradient(problem, dy, w, None, threads, dx))
    if dw is not None:
        calls[1] = _weight_call(problem, x, dy, threads, dw)
        if calls[1] is None:
            made.append(weight_gradient(problem, x, dy, threads, dw))
    if db is not None:
        calls[2] = _bias_call(problem, dy, threads, db)
    if any(calls):
        made.append(_door.layer_gradients(*calls))
    if db is not None and calls[2] is not None:
        _deliver_bias(calls[2], db)
    return _door.together(made)


def _input_call(problem: Problem, w: Array, dy: Array, threads: int, result: Result) -> Call | None:
    """What the kernels are called with for dX, or None where that is not one call."""
    if (
        result.direct is None
        or result.array.size == 0
        or problem.mode != "zeros"
        or is_depthwise(problem, "input")
    ):
        return None
    where = problem.groups, problem.top, problem.left, 0
    dx, w, dy = _batch(result.direct), _batch(w), _batch(dy)
    if _is_gathered(problem, dx, w, dy, problem.top, problem.left):
        return None
    return _call(problem, "input", dx, w, dy, None, where, threads)


def input_gradient(
    problem: Problem, dy: Array, w: Array, b: Array | None, threads: int, result: Result
) -> Made:
    """dX from dY and W, on top of a bias or of None."""
    if result.array.size == 0:
        return None
    w, dy = _batch(w), _batch(dy)
    if result.direct is not None and problem.mode == "zeros":
        target, top, left = _batch(result.direct), problem.top, problem.left
        return _correlate(problem, "input", target, w, dy, b, problem.groups, top, left, threads)
    for block in result.blocks():
        n, c, i, j = _slices(block)
        shape = n.stop - n.start, c.stop - c.start
        total = np.zeros((*shape, i.stop - i.start, j.stop - j.start), dy.dtype)
        if problem.mode == "zeros":
            _input_part(problem, total, w, dy[n], c, (i.start, j.start), b, threads)
        else:
            for r, to_rows in sources(problem.top, problem.height, problem.bottom, problem.mode, i):
                for s, to_columns in sources(
                    problem.left, problem.width, problem.right, problem.mode, j
                ):
                    part = np.empty((*shape, r.stop - r.start, s.stop - s.start), dy.dtype)
                    _input_part(problem, part, w, dy[n], c, (r.start, s.start), b, threads)
                    fold(part, to_rows, to_columns, total)
        result.write(block, total.reshape([s.stop - s.start for s in block]))
    return None


def _input_part(
    problem: Problem,
    part: Array,
    w: Array,
    dy: Array,
    c: slice,
    first: tuple[int, int],
    b: Array | None,
    threads: int,
) -> None:
    """dX of some channels and images, from element `first` on, as if X had no padding."""
    top, left = problem.top + first[0], problem.left + first[1]
    for channels, filters, groups in _within_groups(problem, c, "channels"):
        size = problem.channels // problem.groups
        taken = slice(channels.start % size, channels.start % size + channels.stop - channels.start)
        _correlate(
            problem,
            "input",
            part[:, channels.start - c.start : channels.stop - c.start],
            w[filters] if groups > 1 else w[filters, taken],
            dy[:, filters],
            None if b is None else b[channels],
            groups,
            top,
            left,
            threads,
        )


def _weight_call(
    problem: Problem, x: Array, dy: Array, threads: int, result: Result
) -> Call | None:
    """What the kernels are called with for dW, or None where that is not one call."""
    direct = result.direct
    if direct is None or not direct.flags.c_contiguous or x.size == 0 or dy.size == 0:
        return None
    if is_depthwise(problem, "weight") or meets_in_pairs(problem):
        return None
    x, dy, dw = _batch(x), _batch(dy), _batch(direct)
    if _is_matrix_product(problem) and x.shape[2:] != (1, 1) and not transposes_fewer(problem):
        return _call_of_pixels(problem, x, dy, threads, dw)
    return _call_of_taps(problem, x, dy, problem.groups, problem.top, problem.left, threads, dw)


def _call_of_taps(
    problem: Problem, x: Array, dy: Array, groups: int, top: int, left: int, threads: int, dw: Array
) -> Call:
    """What the kernels are called with for some channels, filters and taps of dW."""
    can_be_copied = problem.bytes <= WORKSPACE // 4 or problem.one_tap
    if can_be_copied and _is_seen_whole(problem, x, dw, dy, (groups, top, left)):
        taps = dw.reshape(len(dw), -1, 1, 1)
        pixels = _images_as_pixels(problem), _pixels_of(x), _pixels_of(dy)
        return _call_exchanged(*pixels, 1, 0, 0, threads, taps)
    if suits_exchange(problem):
        return _call_exchanged(problem, x, dy, groups, top, left, threads, dw)
    mode = PADDING_MODES[problem.mode]
    where = groups, problem.stride, problem.dilation, top, left, mode
    return x, dw, dy, None, where, make_layer_plan(problem, "weight", threads)


def weight_gradient(problem: Problem, x: Array, dy: Array, threads: int, result: Result) -> Made:
    """dW from X and dY."""
    if x.size == 0 or dy.size == 0:
        result.array[...] = 0
        return None
    call = _weight_call(problem, x, dy, threads, result)
    if call is not None:
        return _door.layer_gradients(None, call, None)
    x, dy = _batch(x), _batch(dy)
    if is_depthwise(problem, "weight") or meets_in_pairs(problem):
        return _weight_of_planes(problem, x, dy, threads, result)
    for block in result.blocks():
        part = np.empty([s.stop - s.start for s in block], result.kernel)
        k, c, p, q = _slices(block)
        top = problem.top - p.start * problem.dilation[0]
        left = problem.left - q.start * problem.dilation[1]
        for filters, channels, groups in _within_groups(problem, k, "filters"):
            if groups == 1:
                channels = slice(channels.start + c.start, channels.start + c.stop)
            to = _batch(part)[filters.start - k.start : filters.stop - k.start]
            call = _call_of_taps(
                problem, x[:, channels], dy[:, filters], groups, top, left, threads, to
            )
            _door.layer_gradients(None, call, None)
        result.write(block, part)
    return None


def _weight_of_planes(problem: Problem, x: Array, dy: Array, threads: int, result: Result) -> Made:
    """dW of a depthwise layer, or of one whose planes meet in pairs."""
    plan, threads = plan_of_planes(problem, "weight", threads)
    direct = result.direct
    dw = np.empty(problem.w4, x.dtype) if direct is None else _batch(direct)
    where = None, problem.top, problem.left, PADDING_MODES[problem.mode], plan, threads
    made = None
    if meets_in_pairs(problem):
        x, dy = _with_unit_rows(x), _with_unit_rows(dy)
        if problem.channels < problem.filters:
            for c in range(problem.channels):
                _door.planes("weight", x[:, c : c + 1], dw[:, c : c + 1], dy, *where)
        else:
            for k in range(problem.filters):  # one plane of dY for all of X
                one = np.broadcast_to(dy[:, k : k + 1], (*x.shape[:2], *dy.shape[2:]))
                _door.planes("weight", x, dw[k, :, None], one, *where)
    else:
        everything = [(slice(None), slice(None))]
        in_place = _has_unit_rows(x) and _has_unit_rows(dy)
        for channels, filters in everything if in_place else _pieces(x, dy, problem.images):
            seen, part = _with_unit_rows(x[:, channels]), _with_unit_rows(dy[:, filters])
            made = _door.planes("weight", seen, dw[filters], part, *where)
        made = made if in_place else None
    if direct is None:
        result.write((), dw.reshape(result.array.shape))
    return made


def _is_matrix_product(problem: Problem) -> bool:
    """Whether the filters have one tap, all channels meet, and no padding is seen."""
    rows, columns = problem.y4[2:]
    return (
        problem.one_tap
        and problem.groups == 1
        and problem.top == problem.left == 0
        and (rows - 1) * problem.stride[0] < problem.height
        and (columns - 1) * problem.stride[1] < problem.width
    )


def _call_of_pixels(problem: Problem, x: Array, dy: Array, threads: int, dw: Array) -> Call:
    """dW of filters of one tap: with X and dY in each other's place its rows need no transpose."""
    rows, columns = problem.y4[2:]
    down, right = problem.stride
    seen = x[:, :, : (rows - 1) * down + 1 : down, : (columns - 1) * right + 1 : right]
    return _call_exchanged(_seen_pixels(problem), seen, dy, 1, 0, 0, threads, dw)


@kept
def _seen_pixels(problem: Problem) -> Problem:
    """The same of what is seen of X."""
    rows, columns = problem.y4[2:]
    return problem._replace(
        height=rows, width=columns, bottom=0, right=0, stride=(1, 1), dilation=(1, 1)
    )


def _call_exchanged(
    problem: Problem, x: Array, dy: Array, groups: int, top: int, left: int, threads: int, dw: Array
) -> Call:
    """dW with X and dY in each other's place, as the dots of shifted X and dY in reverse."""
    (down, right), (a, b) = problem.dilation, dw.shape[2:]
    where = groups, (1, 1), problem.dilation, (a - 1) * down - top, (b - 1) * right - left, 0
    plan = make_layer_plan(_exchanged(problem), "weight", threads)
    exchanged = dw.swapaxes(0, 1) if groups == 1 else dw.reshape(-1, 1, a, b)
    return dy, exchanged[:, :, ::-1, ::-1], x, None, where, plan


@kept
def _exchanged(problem: Problem) -> Problem:
    """What X and dY are in each other's place."""
    down, right = problem.reach
    return problem._replace(
        height=problem.y4[2],
        width=problem.y4[3],
        channels=problem.filters,
        filters=problem.channels,
        top=down - problem.top,
        bottom=down - problem.bottom,
        left=right - problem.left,
        right=right - problem.right,
    )


def bias_gradient(problem: Problem, dy: Array, threads: int, result: Result) -> Made:
    """db from dY."""
    call = _bias_call(problem, dy, threads, result)
    made = _door.layer_gradients(None, None, call)
    _deliver_bias(call, result)
    return made


def _bias_call(problem: Problem, dy: Array, threads: int, result: Result) -> Call:
    """What the kernels are called with for db."""
    plan = make_layer_plan(problem, "weight", threads)
    total = result.direct
    if total is None or not total.flags.c_contiguous:
        total = np.empty(problem.b_shape, dy.dtype)
    total = total.reshape(problem.filters, 1, 1, 1)
    if dy.size == 0:
        total[...] = 0
    return _batch(dy), total, _batch(dy), None, ONE_TAP, plan


def _deliver_bias(call: Call, result: Result) -> None:
    if not np.may_share_memory(call[1], result.array):
        result.write((), call[1].reshape(result.array.shape))


def _batch(array: Array) -> Array:
    """The array as one of rank 4."""
    return array[(None,) * (4 - array.ndim)]


def _slices(block: Slices) -> Slices:
    """The slices of a block as of rank 4."""
    return (slice(0, 1),) * (4 - len(block)) + block


def _within_groups(problem: Problem, part: slice, side: str) -> Iterator[tuple[slice, slice, int]]:
    """Channels of the result, those of the source that they are made of, and groups: all or one."""
    sizes = {name: getattr(problem, name) // problem.groups for name in ("filters", "channels")}
    other = "channels" if side == "filters" else "filters"
    if part.stop - part.start == getattr(problem, side):
        yield part, slice(0, getattr(problem, other)), problem.groups
        return
    for group in range(part.start // sizes[side], -(-part.stop // sizes[side])):
        start = max(part.start, group * sizes[side])
        stop = min(part.stop, (group + 1) * sizes[side])
        yield slice(start, stop), slice(group * sizes[other], (group + 1) * sizes[other]), 1
