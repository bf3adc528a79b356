"""The small kernel: one dot product of shifted planes, and its gradients."""

import itertools
import sys

import numpy as np
import pytest
from helpers import DTYPES, LAYOUTS, lay

import conv2d
from conv2d import reference
from conv2d.kernel import dot, dot_grad_w, dot_grad_x

SIZES = [
    ((4, 5), (2, 3)),
    ((2, 3), (4, 5)),
    ((3, 1), (1, 3)),
    ((9, 200), (9, 200)),
    ((5, 70), (3, 66)),
]
SHIFTS = list(itertools.product((-6, -2, 0, 1, 3), (-5, -1, 0, 2, 61)))


def planes(sizes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, size).astype(dtype) for size in sizes]


def moved(plane, shape, down, right):
    """A window of `shape` of the plane in zeros, from row `down` and column `right` on."""
    padded = np.pad(plane, 300)
    return padded[300 + down :, 300 + right :][: shape[0], : shape[1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
def test_small_integers(level, sizes, dtype):
    x, w = planes(sizes, dtype)
    for shift in SHIFTS:
        y, dw, dx = dot(x, w, shift), dot_grad_w(x, w.shape, shift), dot_grad_x(x.shape, w, shift)
        assert isinstance(y, np.dtype(dtype).type)
        with np.errstate(over="ignore"):
            assert y == reference.dot(x, w, shift).astype(dtype)
        window, laid = moved(x, w.shape, *shift), moved(w, x.shape, -shift[0], -shift[1])
        np.testing.assert_array_equal(dw, window, strict=True)
        np.testing.assert_array_equal(dx, laid, strict=True)
        np.testing.assert_array_equal(dw, reference.dot_grad_w(x, w.shape, shift))
        np.testing.assert_array_equal(dx, reference.dot_grad_x(x.shape, w, shift))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normal_numbers(level, dtype):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((30, 90)).astype(dtype), rng.standard_normal((25, 80)).astype(dtype)
    for shift in ((0, 0), (2, -3), (-7, 40)):
        bound = 2 * np.finfo(dtype).eps * 2001 * abs(x).max() * abs(w).max()
        assert abs(dot(x, w, shift) - reference.dot(x, w, shift)) <= bound


def test_adjoint():
    x, w = planes(((7, 9), (4, 12)), "i8")
    for shift in SHIFTS:
        dw, dx = dot_grad_w(x, w.shape, shift), dot_grad_x(x.shape, w, shift)
        assert dot(x, w, shift) == (dw * w).sum() == (dx * x).sum()


def test_conv2d_is_dot_at_every_place(level):
    x, w = planes(((5, 20), (3, 4)), "f4")
    expected = [[dot(x, w, (i - 1, j - 1)) for j in range(20)] for i in range(5)]
    np.testing.assert_array_equal(conv2d.conv2d(x, w), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x, w = planes(((9, 40), (5, 37)), "f8")
    x2, w2 = lay(x, layout), lay(w, layout)
    assert dot(x2, w2, (1, -2)) == dot(x, w, (1, -2))
    np.testing.assert_array_equal(dot_grad_w(x2, (3, 50), (1, 2)), dot_grad_w(x, (3, 50), (1, 2)))
    np.testing.assert_array_equal(dot_grad_x((3, 50), w2, (1, 2)), dot_grad_x((3, 50), w, (1, 2)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_missing_is_left_out(level, dtype):
    x, w = np.ones((2, 30), dtype), np.ones((3, 40), dtype)
    w[2], w[:, 35] = np.inf, np.nan
    assert dot(x, w) == 60
    assert dot(x, w, (-1, 0)) == np.inf
    assert np.isnan(dot(x, w, (0, -6)))


def test_empty():
    assert dot(np.ones((0, 2)), np.ones((2, 2))) == 0
    assert dot(np.ones((2, 2), "i2"), np.ones((2, 0), "i2")) == 0
    assert dot_grad_w(np.ones((0, 3), "f4"), (2, 2)).tolist() == [[0, 0], [0, 0]]
    assert dot_grad_w(np.ones((2, 2)), (0, 3)).shape == (0, 3)
    assert dot_grad_x((3, 0), np.ones((2, 2))).shape == (3, 0)


FAR = [sys.maxsize, -sys.maxsize - 1, 2**62, -(2**62), 2**80, -(2**80)]


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("axis", [0, 1])
def test_far_shifts_see_nothing(far, axis):
    shift = (far, 0) if axis == 0 else (0, far)
    ones = np.ones((3, 3))
    assert dot(ones, ones, shift) == 0
    assert not dot_grad_w(ones, (3, 3), shift).any()
    assert not dot_grad_x((3, 3), ones, shift).any()


ONES = np.ones((3, 3))
ERRORS = [
    (lambda: dot(ONES[0], ONES), ValueError, r"^x .*\(3,\)"),
    (lambda: dot(ONES, ONES[None]), ValueError, r"^w .*\(1, 3, 3\)"),
    (lambda: dot(ONES > 0, ONES), TypeError, r"^x has dtype bool"),
    (lambda: dot(ONES, ONES * 1j), TypeError, r"^w has dtype complex128"),
    (lambda: dot(ONES, ONES, 1), TypeError, r"^shift .*1"),
    (lambda: dot(ONES, ONES, (1, 2, 3)), ValueError, r"^shift .*\(1, 2, 3\)"),
    (lambda: dot(ONES, ONES, (1, 2.0)), TypeError, r"^shift .*2\.0"),
    (lambda: dot_grad_w(ONES, (3,)), ValueError, r"^w_shape .*\(3,\)"),
    (lambda: dot_grad_w(ONES, (3, -3)), ValueError, r"^w_shape .*-3"),
    (lambda: dot_grad_w(ONES, 3), TypeError, r"^w_shape .*3"),
    (lambda: dot_grad_w(ONES[0], (3, 3)), ValueError, r"^x .*\(3,\)"),
    (lambda: dot_grad_x((3,), ONES), ValueError, r"^x_shape .*\(3,\)"),
    (lambda: dot_grad_x((3, 3.0), ONES), TypeError, r"^x_shape .*3\.0"),
    (lambda: dot_grad_x((3, 3), ONES[0]), ValueError, r"^w .*\(3,\)"),
    (lambda: dot_grad_x((3, 3), "abc"), TypeError, r"^w has dtype"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
