"""Right at any width, and nothing beside the result is written."""

import functools

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import conv2d

WIDTHS = [*range(1, 50), *range(62, 67), *range(126, 131), *range(158, 163), 255, 256, 257, 1025]
FILTERS = [(1, 1), (3, 3), (5, 5), (2, 4), (1, 19), (20, 3)]


def expected(x, w):
    """Y with 'same' padding, in integers."""
    before = [(size - 1) // 2 for size in w.shape]
    padded = np.pad(x, [(b, size - 1 - b) for b, size in zip(before, w.shape, strict=True)])
    return np.einsum("ijpq,pq->ij", sliding_window_view(padded, w.shape), w)


def surrounded(shape, dtype, gap):
    """A memory full of 77 and a plane inside it, whose rows lie `gap` elements apart."""
    height, width = shape
    memory = np.full(64 + height * (width + gap) + 64, 77, dtype)
    rows = memory[64:-64].reshape(height, width + gap)
    return memory, rows[:, :width]


@pytest.mark.parametrize("w_shape", FILTERS)
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u4"])
def test_y_and_what_surrounds_it(level, w_shape, gap, dtype):
    rng = np.random.default_rng(8)
    w = rng.integers(-3, 4, w_shape)
    for width in WIDTHS:
        height = int(rng.integers(1, 20))
        x = rng.integers(-3, 4, (height, width))
        y = expected(x, w).astype(dtype)
        _, source = surrounded(x.shape, dtype, gap)
        source[...] = x.astype(dtype)
        memory, out = surrounded(x.shape, dtype, gap)
        conv2d.conv2d(source, w.astype(dtype), out=out, num_threads=1 + width % 3)
        np.testing.assert_array_equal(out, y)
        assert (memory == 77).sum() == memory.size - out.size + (y == 77).sum()
        np.testing.assert_array_equal(conv2d.conv2d(x.astype(dtype), w.astype(dtype)), y)


PAGES = [509, 510, 512, 514, 515, 1020, 1021, 1023, 1024, 1027, 1028, 2048]  # and beside them


@pytest.mark.parametrize("w_shape", [*FILTERS, (4, 9), (5, 10), (12, 13)])
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dw(level, w_shape, gap, dtype):
    """Also where all rows lie a multiple of a page apart, which has steps of its own."""
    rng = np.random.default_rng(9)
    for width in WIDTHS + PAGES:
        x, dy = rng.integers(-3, 4, (2, int(rng.integers(1, 20)), width))
        before = [(size - 1) // 2 for size in w_shape]
        padded = np.pad(x, [(b, size - 1 - b) for b, size in zip(before, w_shape, strict=True)])
        dw = np.einsum("pqij,ij->pq", sliding_window_view(padded, x.shape), dy)
        _, source = surrounded(x.shape, dtype, gap)
        source[...] = x
        _, gradient = surrounded(x.shape, dtype, gap)
        gradient[...] = dy
        np.testing.assert_array_equal(conv2d.conv2d_weight(source, w_shape, gradient), dw)


@functools.cache
def tall_planes(side, width):
    """X and dY, so high that a band of rows is taken in several pieces, and dW."""
    x, dy = np.random.default_rng(10).integers(-3, 4, (2, 4133, width)).astype("f8")
    padded = np.pad(x, side // 2)
    dw = [
        np.vdot(padded[p : p + x.shape[0], q : q + width], dy)
        for p in range(side)
        for q in range(side)
    ]
    return x, dy, np.array(dw).reshape(side, side)


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("width", [512, 1000, 1024])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dw_of_tall_planes(level, side, width, dtype):
    x, dy, dw = tall_planes(side, width)
    found = conv2d.conv2d_weight(x.astype(dtype), dw.shape, dy.astype(dtype))
    np.testing.assert_array_equal(found, dw)


def test_large_results_lie_apart_from_their_source():
    """Aligned to a cache line and half a page away, where stores do not hold up loads."""
    x, w = np.ones((200, 300), np.float32), np.ones((3, 3), np.float32)
    for y in (conv2d.conv2d(x, w), conv2d.conv2d_input(x.shape, w, x)):
        assert y.ctypes.data % 64 == 0
        assert abs((y.ctypes.data - x.ctypes.data) % 4096 - 2048) <= 64
        assert y.flags.c_contiguous
        assert y.flags.writeable
