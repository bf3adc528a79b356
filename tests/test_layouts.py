"""Layers take and give any strides, those of axes of one element included, with the same bits."""

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    Problem,
    compute,
    draw,
    exact_answer,
    lay,
    same,
    same_bits,
    small_integers,
)
from numpy.lib.stride_tricks import as_strided

import conv2d

LAYERS = {
    "layer": Problem((2, 20, 9, 11), (13, 20, 3, 3)),
    "one tap": Problem((2, 20, 9, 11), (13, 20, 1, 1)),
    "one tap, stride": Problem((2, 7, 9, 11), (13, 7, 1, 1), stride=2),
    "tiny planes": Problem((9, 7, 3, 3), (40, 7, 3, 3)),
    "tiny planes, channels": Problem((9, 40, 3, 3), (7, 40, 3, 3)),
    "depthwise": Problem((2, 17, 7, 8), (17, 1, 3, 3), groups=17),
    "depthwise, stride": Problem((2, 17, 7, 8), (17, 1, 3, 3), stride=2, groups=17),
    "depthwise, large planes": Problem((1, 3, 30, 33), (3, 1, 3, 3), groups=3),
    "groups": Problem((2, 6, 7, 9), (9, 2, 3, 3), groups=3, dilation=2),
    "few channels": Problem((2, 3, 24, 27), (5, 3, 3, 3)),
    "few channels of groups": Problem((1, 4, 26, 25), (6, 2, 2, 3), groups=2, dilation=3),
    "whole images": Problem((9, 20, 3, 4), (40, 20, 3, 4), padding=0),
    "images of one pixel": Problem((9, 20, 1, 1), (40, 20, 1, 1)),
    "plane": Problem((20, 30), (3, 3), stride=2),
}


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("C", "list")])
@pytest.mark.parametrize("name", LAYERS)
def test_same_bits(level, name, layout):
    problem = LAYERS[name]
    arrays = draw(problem, np.random.default_rng(0).standard_normal).astype("f4")
    laid = [lay(array, layout) if array.ndim > 1 else array for array in arrays]
    x, w, b, dy = laid
    y = conv2d.conv2d(x, w, b, **problem.settings)
    dx = conv2d.conv2d_input(arrays.x.shape, w, dy, **problem.settings)
    dw = conv2d.conv2d_weight(x, arrays.w.shape, dy, **problem.settings)
    expected = compute(arrays, problem)
    same_bits((y, dx, dw), expected[:3])
    if layout in ("dlpack", "read-only"):
        return
    outs = [lay(np.full_like(result, np.nan), layout) for result in expected[:3]]
    conv2d.conv2d(x, w, b, out=outs[0], **problem.settings)
    conv2d.conv2d_input(arrays.x.shape, w, dy, out=outs[1], **problem.settings)
    conv2d.conv2d_weight(x, arrays.w.shape, dy, out=outs[2], **problem.settings)
    for out, result in zip(outs, expected, strict=False):
        np.testing.assert_array_equal(out, result)


ONES = [
    Problem((1, 5, 6, 7), (4, 5, 3, 3)),
    Problem((3, 1, 6, 7), (1, 1, 3, 2)),
    Problem((2, 5, 1, 7), (4, 5, 1, 3)),
    Problem((2, 5, 6, 1), (4, 5, 3, 1)),
    Problem((1, 5, 1, 1), (40, 5, 1, 1)),
    Problem((1, 40, 1, 1), (1, 40, 3, 3)),
    Problem((2, 8, 1, 6), (8, 1, 3, 3), groups=8),
    Problem((2, 8, 6, 1), (8, 1, 1, 3), stride=2, groups=8),
    Problem((1, 1, 30, 30), (1, 1, 3, 3)),
    Problem((1, 9), (1, 3), stride=2),
    Problem((9, 1), (3, 1), dilation=2),
]


def with_odd_strides(array, stride):
    """The same elements: nothing is ever a step away along an axis of one element."""
    strides = [
        stride if size == 1 else s for size, s in zip(array.shape, array.strides, strict=True)
    ]
    return as_strided(array, array.shape, strides)


@pytest.mark.parametrize("stride", [0, 1, -3, 12345, 2**40, -(2**60)])
@pytest.mark.parametrize("problem", ONES, ids=lambda problem: f"{problem.x}-{problem.w}")
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8"])
def test_strides_of_one_element(level, problem, stride, dtype):
    """NumPy calls such arrays contiguous, whatever these strides are."""
    arrays, expected = small_integers(problem).astype(dtype), exact_answer(problem).astype(dtype)
    odd = [with_odd_strides(array, stride) if array.ndim else array for array in arrays]
    same(compute(type(arrays)(*odd), problem), expected)
    outs = [with_odd_strides(np.zeros_like(result), stride) for result in expected[:3]]
    x, w, b, dy = odd
    conv2d.conv2d(x, w, b, out=outs[0], **problem.settings)
    conv2d.conv2d_input(x.shape, w, dy, out=outs[1], **problem.settings)
    conv2d.conv2d_weight(x, w.shape, dy, out=outs[2], **problem.settings)
    same(outs, expected[:3])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (2, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "plane"])
def test_zero_strides(level, name, axes):
    """Inputs that are broadcast."""
    problem = LAYERS[name]
    whole = small_integers(problem).astype("f4")
    first = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(4))
    repeated = [
        np.broadcast_to(array[first], array.shape) if array.ndim == 4 else array for array in whole
    ]
    copies = type(whole)(*map(np.ascontiguousarray, repeated))
    same(compute(type(whole)(*repeated), problem), compute(copies, problem))


@pytest.mark.parametrize("piece", [1, 900, 2700])
@pytest.mark.parametrize(
    "problem",
    [
        Problem((2, 5, 20, 30), (5, 1, 3, 3), groups=5),
        Problem((2, 5, 20, 30), (10, 1, 3, 4), "full", groups=5),
        Problem((5, 20, 30), (5, 1, 3, 3), 2, "wrap", groups=5),
    ],
    ids=str,
)
def test_rows_that_are_copied_some_at_a_time(monkeypatch, level, problem, piece):
    """Of a depthwise layer whose rows are not contiguous: by one, two or all of its channels."""
    monkeypatch.setattr(conv2d.layer, "PIECE", piece)
    arrays = small_integers(problem).astype("f4")
    laid = arrays._replace(x=lay(arrays.x, "channels last"), dy=lay(arrays.dy, "channels last"))
    expected = exact_answer(problem).astype("f4")
    same(compute(laid, problem), expected)
    outs = [lay(np.zeros_like(result), "channels last") for result in expected[:2]]
    conv2d.conv2d(laid.x, laid.w, laid.b, out=outs[0], **problem.settings)
    conv2d.conv2d_input(laid.x.shape, laid.w, laid.dy, out=outs[1], **problem.settings)
    same(outs, expected[:2])


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("step", [250, -250, 211, -211, 17, 1, -1, 0])
def test_rows_of_planes_lie_anywhere(level, step, side):
    """dW of rows that have gaps, go backwards, overlap or are all the same one."""
    numbers = np.random.default_rng(6).standard_normal((2, 40 * 250))[:, -39 * min(step, 0) :]
    x, dy = (as_strided(part, (40, 211), (8 * step, 8)) for part in numbers)
    expected = conv2d.conv2d_weight(x.copy(), (side, side), dy.copy())
    for pair in (x, dy), (x.copy(), dy), (x, dy.copy()):
        same_bits((conv2d.conv2d_weight(pair[0], (side, side), pair[1]),), (expected,))
