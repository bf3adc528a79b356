"""Rounding errors: no more than those of a plain sum, and they stay where they arise."""

import numpy as np
import pytest

import conv2d


def rms(values):
    return np.sqrt(np.mean(np.square(values, dtype="f8")))


def plain_sum(x, w):
    """Y with 'valid' padding, each element added up in the order p, q in its own type."""
    rows, columns = (n - t + 1 for n, t in zip(x.shape, w.shape, strict=True))
    y = np.zeros((rows, columns), x.dtype)
    for p, q in np.ndindex(w.shape):
        y += x[p : p + rows, q : q + columns] * w[p, q]
    return y


@pytest.mark.parametrize("w_shape", [(3, 3), (9, 9), (1, 31), (31, 31), (64, 64), (130, 40)])
def test_no_worse_than_twice_a_plain_sum(level, w_shape):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((180, 160), np.float32)
    w = rng.standard_normal(w_shape, np.float32)
    exact = plain_sum(x.astype("f8"), w.astype("f8"))
    theirs = rms(plain_sum(x, w) - exact)
    y = conv2d.conv2d(x, w, padding="valid")
    assert rms(y - exact) <= 2 * theirs
    dx = conv2d.conv2d_input(
        (180 - w_shape[0] + 1, 160 - w_shape[1] + 1), w[::-1, ::-1], x, padding="full"
    )
    assert rms(dx - exact) <= 2 * theirs


def test_dw_of_positive_numbers(level):
    """4 million terms, which a plain float32 sum would get wrong in the third digit."""
    rng = np.random.default_rng(1)
    x, dy = rng.random((2048, 2048), np.float32), rng.random((2048, 2048), np.float32)
    dw = conv2d.conv2d_weight(x, (3, 3), dy)
    wide = np.pad(x.astype("f8"), 1)
    for p, q in np.ndindex(3, 3):
        exact = np.vdot(wide[p : p + 2048, q : q + 2048], dy)
        assert abs(dw[p, q] / exact - 1) < 2e-7


def test_db_of_positive_numbers(level):
    dy = np.random.default_rng(2).random((2048, 2048), np.float32)
    db = conv2d.conv2d_backward(dy, dy, dy[:1, :1], need="db").db
    assert abs(db / dy.sum(dtype="f8") - 1) < 1e-7


@pytest.mark.parametrize(("dtype", "tolerance"), [("f4", 1e-5), ("f8", 1e-13)])
@pytest.mark.parametrize("size", [3, 5, 9, 31])
def test_errors_stay_local(level, dtype, tolerance, size):
    """An output whose window, grown by 8, holds nothing of a region 10^6 times brighter."""
    rng = np.random.default_rng(3)
    x = rng.random((200, 210)).astype(dtype)
    x[60:100, 80:120] *= 1e6
    w = rng.random((size, size)).astype(dtype)
    y = conv2d.conv2d(x, w, padding="valid")
    exact = plain_sum(x.astype("f8"), w.astype("f8"))
    reach = 8 + size
    dark = np.ones(y.shape, bool)
    dark[max(60 - reach, 0) : 100 + 8, max(80 - reach, 0) : 120 + 8] = False
    assert dark.any()
    assert (abs(y - exact)[dark] <= tolerance * exact[dark]).all()
