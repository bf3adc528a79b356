"""The gradients are the adjoints of the convolution, exactly, whatever the size."""

import numpy as np
import pytest
from helpers import MODES, Problem, draw, small_integers

import conv2d

LARGE = [
    Problem((200, 301), (9, 9)),
    Problem((301, 200), (4, 12), "full"),
    Problem((1100, 70), (7, 2), "valid"),
    Problem((90, 640), (5, 6), ((0, 3), (9, 2))),
    Problem((3, 20, 28, 30), (33, 20, 3, 3)),
    Problem((1, 70, 31, 29), (40, 35, 3, 4), ((1, 2), (0, 5)), stride=(2, 3), groups=2),
    Problem((2, 130, 14, 14), (65, 130, 1, 1), stride=2),
    Problem((9, 40, 7, 7), (50, 40, 3, 3), "full"),
    Problem((2, 100, 28, 28), (100, 1, 3, 3), stride=2, groups=100),
    Problem((2, 20, 40, 41), (20, 1, 5, 5), groups=20),
    Problem((1, 12, 40, 41), (10, 12, 3, 3), dilation=(5, 3)),
    Problem((100, 90), (5, 6), stride=2, dilation=3),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
def test_inner_products(level, dtype, mode):
    """<dY, conv(X)> = <dX, X> = <dW, W>, in integers that every type here holds exactly."""
    for problem in LARGE:
        problem = problem._replace(mode=mode)
        x, w, _, dy = small_integers(problem).astype(dtype)
        y = conv2d.conv2d(x, w, **problem.settings)
        dx, dw, _ = conv2d.conv2d_backward(dy, x, w, **problem.settings)
        wide = np.float64 if dtype[0] == "f" else np.int64
        products = [(a * b.astype(wide)).sum() for a, b in ((dy, y), (dx, x), (dw, w))]
        assert products[0] == products[1] == products[2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["same", "same_lower", "full", ((1, 4), (7, 0))])
@pytest.mark.parametrize("w_shape", [(3, 2), (2, 5)])
def test_jacobian(padding, mode, w_shape):
    """Its columns have at most a * b elements, counted with repetition; transposed it gives dX."""
    x_shape = 5, 6
    w = np.arange(1, 1 + w_shape[0] * w_shape[1]).reshape(w_shape)
    settings = {"padding": padding, "padding_mode": mode}
    columns = [
        conv2d.conv2d(unit.reshape(x_shape), w, **settings) for unit in np.eye(30, dtype=np.int64)
    ]
    if mode == "zeros":
        assert max(np.count_nonzero(column) for column in columns) <= w.size
    dy = np.random.default_rng(0).integers(-9, 10, columns[0].shape)
    dx = conv2d.conv2d_input(x_shape, w, dy, **settings)
    assert dx.ravel().tolist() == [int((column * dy).sum()) for column in columns]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("w_shape", [(3, 3), (5, 9), (2, 4), (4, 1)])
def test_dx_is_dy_with_the_filter_reversed(level, dtype, w_shape):
    """With 'same' padding; the padding before is a - 1 - top rows and b - 1 - left columns."""
    arrays = small_integers(Problem((30, 50), w_shape)).astype(dtype)
    before = [size - 1 - (size - 1) // 2 for size in w_shape]
    pads = [(first, size - 1 - first) for first, size in zip(before, w_shape, strict=True)]
    dx = conv2d.conv2d_input((30, 50), arrays.w, arrays.dy)
    reversed_w = arrays.w[::-1, ::-1]
    np.testing.assert_array_equal(dx, conv2d.conv2d(arrays.dy, reversed_w, padding=tuple(pads)))


@pytest.mark.parametrize("mode", MODES)
def test_linearity(level, mode):
    problem = Problem((33, 41), (5, 4), ((2, 3), (6, 1)), mode)
    rng = np.random.default_rng(0)
    one, two = (
        draw(problem, lambda shape: np.asarray(rng.integers(-9, 10, shape, np.int32)))
        for _ in range(2)
    )

    def conv(x, w):
        return conv2d.conv2d(x, w, **problem.settings)

    mixed = conv(2 * one.x - 3 * two.x, one.w)
    np.testing.assert_array_equal(mixed, 2 * conv(one.x, one.w) - 3 * conv(two.x, one.w))
    mixed = conv(one.x, 2 * one.w - 3 * two.w)
    np.testing.assert_array_equal(mixed, 2 * conv(one.x, one.w) - 3 * conv(one.x, two.w))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
@pytest.mark.parametrize("problem", [problem for problem in LARGE if len(problem.x) == 4])
def test_transposed_is_the_adjoint(level, dtype, problem):
    """And so it is conv2d_input, of the shape that its sizes give, bit for bit."""
    settings = {name: problem.settings[name] for name in ("stride", "dilation", "groups")}
    dy, w = (a.astype(dtype) for a in (small_integers(problem).dy, small_integers(problem).w))
    y = conv2d.conv_transpose2d(dy, w, **settings)
    dx = conv2d.conv2d_input(y.shape, w, dy, padding="valid", **settings)
    assert y.tobytes() == dx.tobytes()
    x = small_integers(problem._replace(x=y.shape, padding="valid")).x.astype(dtype)
    forward = conv2d.conv2d(x, w, padding="valid", **settings)
    wide = np.float64 if dtype[0] == "f" else np.int64
    assert (forward * dy.astype(wide)).sum() == (x * y.astype(wide)).sum()
