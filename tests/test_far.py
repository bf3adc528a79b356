"""Planes that leave the caches, or nearly: rows are written past them, wherever lines begin."""

import numpy as np
import pytest

import conv2d

PLANES = [(1357, 1361), (1360, 1376), (1030, 2049), (95, 20500), (19003, 101)]
FILTERS = [(3, 3), (5, 4), (7, 7), (1, 9), (9, 1), (2, 47), (11, 3)]
MARGIN = 40  # elements around `out`


def sums_of_shifted(x, w):
    """Y with 'same' padding, of whole numbers, from one copy of X for each tap."""
    top, before = (w.shape[0] - 1) // 2, (w.shape[1] - 1) // 2
    padded = np.pad(x, ((top, w.shape[0] // 2), (before, w.shape[1] // 2)))
    y = np.zeros(x.shape, w.dtype)
    for p, q in np.argwhere(w):
        y += w[p, q] * padded[p : p + x.shape[0], q : q + x.shape[1]]
    return y


def draw(shape, taps, dtype):
    """A plane of small numbers, a filter with few taps that are not zero, and Y."""
    rng = np.random.default_rng(sum(shape) + sum(taps))
    x, w = rng.integers(-9, 10, shape).astype(dtype), np.zeros(taps, dtype)
    w.flat[rng.choice(w.size, min(w.size, 9), replace=False)] = np.arange(1, min(w.size, 9) + 1)
    return x, w, sums_of_shifted(x, w)


def make_out(shape, dtype, pitch, offset, reverse):
    """A plane of rows that are a pitch apart, from an element on, and all that surrounds it."""
    memory = np.full(shape[0] * pitch + offset + 2 * MARGIN, np.nan, dtype)
    plane = memory[MARGIN + offset :][: shape[0] * pitch].reshape(shape[0], pitch)[:, : shape[1]]
    return memory, plane[::-1] if reverse else plane


@pytest.mark.parametrize("shape", PLANES, ids=str)
@pytest.mark.parametrize("taps", FILTERS, ids=str)
def test_new_results(level, shape, taps):
    x, w, y = draw(shape, taps, "f4")
    assert y.nbytes >= 7 << 20
    for threads in (1, 3):
        np.testing.assert_array_equal(conv2d.conv2d(x, w, num_threads=threads), y)
    inside = conv2d.conv2d(x, w, padding=0)  # nothing is read from copies but what is narrow
    top, left = (taps[0] - 1) // 2, (taps[1] - 1) // 2
    np.testing.assert_array_equal(inside, y[top:, left:][: inside.shape[0], : inside.shape[1]])
    if taps[0] % 2 and taps[1] % 2:
        np.testing.assert_array_equal(conv2d.conv2d_input(shape, w[::-1, ::-1], x), y)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("offset", range(0, 17, 3))
@pytest.mark.parametrize("more", [0, 1, 16, 37])
@pytest.mark.parametrize("reverse", [False, True])
def test_results_anywhere(level, dtype, offset, more, reverse):
    """Nothing between the rows of `out`, or around them, is written."""
    shape = (997, 1003) if dtype == "f8" else (1357, 1361)
    x, w, y = draw(shape, (3, 3), dtype)
    memory, out = make_out(shape, dtype, shape[1] + more, offset, reverse)
    conv2d.conv2d(x, w, out=out, num_threads=1 + offset % 3)
    np.testing.assert_array_equal(out, y)
    out[...] = np.nan
    assert np.isnan(memory).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures(level, threads):
    """Rows that are converted, a chunk at a time."""
    for shape in ((1367, 1370), (301, 6203)):
        picture = np.random.default_rng(0).integers(0, 200, shape).astype("u1")
        w = np.arange(9, dtype="f4").reshape(3, 3) - 3
        y = conv2d.conv2d(picture, w, num_threads=threads)
        np.testing.assert_array_equal(y, sums_of_shifted(picture.astype("f4"), w))


@pytest.mark.parametrize("width", [1000, 1021, 1024, 1030])
def test_out_makes_no_difference(level, width):
    """Rows a page apart are made in another way into an `out`; the bits are the same."""
    rng = np.random.default_rng(width)
    x, w = (rng.standard_normal(shape).astype("f4") for shape in ((300, width), (3, 3)))
    for call in (
        lambda out: conv2d.conv2d(x, w, out=out),
        lambda out: conv2d.conv2d_input(x.shape, w, x, out=out),
    ):
        out = np.empty_like(x)
        call(out)
        assert call(None).tobytes() == out.tobytes()
