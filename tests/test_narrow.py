"""Planes of narrow types give bit for bit what a converted copy gives."""

import numpy as np
import pytest
from helpers import same_bits

import conv2d

PAIRS = [
    (x, w)
    for x in ("i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4")
    for w in ("f2", "f4", "f8", "i2", "u4", "i8")
    if np.result_type(x, w).itemsize > np.dtype(x).itemsize
]
SHAPES = [((13, 5), (3, 3)), ((50, 33), (5, 4)), ((7, 1100), (2, 7)), ((31, 20), (18, 3))]


def plane(shape, dtype):
    return np.random.default_rng(3).integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize(("x_type", "w_type"), PAIRS)
@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
@pytest.mark.parametrize("mode", ["zeros", "symmetric"])
def test_forward_and_input(level, x_type, w_type, x_shape, w_shape, mode):
    x, w = plane(x_shape, x_type), plane(w_shape, w_type)
    copy = x.astype(np.result_type(x, w))
    y = conv2d.conv2d(x, w, padding_mode=mode)
    dx = conv2d.conv2d_input(x_shape, w, x, padding_mode=mode)
    same_bits(
        (y, dx),
        (
            conv2d.conv2d(copy, w, padding_mode=mode),
            conv2d.conv2d_input(x_shape, w, copy, padding_mode=mode),
        ),
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("x_type", ["u1", "i2", "f2"])
def test_layouts_and_threads(x_type, threads):
    w = plane((3, 5), "f4")
    wide = plane((400, 700), x_type)
    swapped = wide.astype(wide.dtype.newbyteorder())
    for x in (wide, wide[::-1], wide[3:, 5:], wide[:, ::2], wide.T, swapped):
        y = conv2d.conv2d(x, w, num_threads=threads)
        same_bits((y,), (conv2d.conv2d(np.ascontiguousarray(x, "f4"), w),))


@pytest.mark.parametrize("x_type", ["u1", "f2"])
def test_filters_that_are_not_finite(x_type):
    x, w = plane((20, 30), x_type), plane((3, 3), "f4")
    w[0, 1], w[2, 2] = np.inf, np.nan
    same_bits((conv2d.conv2d(x, w),), (conv2d.conv2d(x.astype("f4"), w),))


def test_every_float16(level):
    """Each is read and written as NumPy does; -0 plus 0 is 0."""
    x = np.arange(1 << 16, dtype="u2").view("f2").reshape(256, 256)
    y = conv2d.conv2d(x, np.ones((1, 1), "f4"))
    np.testing.assert_array_equal(y, x.astype("f4"))
    np.testing.assert_array_equal(conv2d.conv2d(x, np.ones((1, 1), "f2")), x)


def test_rounding_to_float16(level):
    """Once, to the nearest, to even in the middle: on both sides of each middle of two float16."""
    with np.errstate(all="ignore"):
        low = np.arange(0x7C00, dtype="u2").view("f2").astype("f4")
        middle = (low + np.append(low[1:], np.float32(65536))) / 2
        exact = np.concatenate([np.nextafter(middle, 0), middle, np.nextafter(middle, np.inf)])
        exact = np.concatenate([exact, -exact]).reshape(6, -1)
        y = np.empty(exact.shape, "f2")
        conv2d.conv2d(exact, np.ones((1, 1), "f4"), out=y)
        np.testing.assert_array_equal(y, exact.astype("f2"))
