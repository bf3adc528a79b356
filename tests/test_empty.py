"""A plane with a side of 0 gives an empty result, or zeros, not an error."""

import numpy as np
import pytest
from helpers import MODES, Problem, compute, draw, run_python, same

import conv2d

CASES = [
    (Problem((0, 5), (3, 3)), (0, 5)),
    (Problem((5, 0), (3, 3)), (5, 0)),
    (Problem((0, 0), (3, 3)), (0, 0)),
    (Problem((0, 5), (3, 3), "same_lower"), (0, 5)),
    (Problem((0, 5), (3, 3), "valid"), (0, 3)),
    (Problem((5, 0), (3, 3), "valid"), (3, 0)),
    (Problem((0, 1), (3, 3), "valid"), (0, 0)),
    (Problem((0, 5), (3, 3), 1), (0, 5)),
    (Problem((0, 5), (3, 3), "full"), (2, 7)),
    (Problem((5, 0), (3, 3), "full"), (7, 2)),
    (Problem((0, 0), (1, 1), 2), (4, 4)),
    (Problem((0, 5), (70, 2), "full"), (69, 6)),
    (Problem((0, 5), (70, 70), "same"), (0, 5)),
    (Problem((0, 5), (3, 3), stride=2), (0, 3)),
    (Problem((0, 3, 5, 6), (4, 3, 3, 3)), (0, 4, 5, 6)),
    (Problem((0, 3, 0, 6), (4, 3, 3, 3), stride=2), (0, 4, 0, 3)),
    (Problem((2, 3, 0, 6), (4, 3, 3, 3)), (2, 4, 0, 6)),
    (Problem((2, 3, 0, 6), (4, 3, 3, 3), 1), (2, 4, 0, 6)),
    (Problem((2, 3, 0, 6), (4, 3, 3, 3), "full", stride=(1, 2), dilation=2), (2, 4, 4, 5)),
    (Problem((3, 5, 0), (6, 1, 2, 2), 2, groups=3), (6, 8, 3)),
    (Problem((2, 8, 0, 0), (8, 1, 1, 1), 3, groups=8), (2, 8, 6, 6)),
    (Problem((2, 0, 5, 6), (4, 0, 3, 3)), (2, 4, 5, 6)),
    (Problem((2, 0, 5, 6), (40, 0, 3, 3), stride=3), (2, 40, 2, 2)),
    (Problem((2, 3, 5, 6), (0, 3, 3, 3)), (2, 0, 5, 6)),
    (Problem((2, 0, 5, 6), (0, 0, 3, 3), stride=2), (2, 0, 3, 3)),
    (Problem((2, 4, 5, 6), (0, 2, 1, 1), groups=2), (2, 0, 5, 6)),
    (Problem((0, 5, 6), (4, 0, 1, 1), groups=2), (4, 5, 6)),
]
MODED = [(problem, shape) for problem, shape in CASES if 0 not in problem.x[-2:]]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i2", "i8"])
@pytest.mark.parametrize(("problem", "shape"), CASES)
def test_forward(level, problem, shape, dtype):
    x, w, b, dy = draw(problem, np.ones).astype(dtype)
    assert dy.shape == shape
    for value in (0, 7):
        for num_threads in (1, 3):
            y = conv2d.conv2d(x, w, b * value, **problem.settings, num_threads=num_threads)
            np.testing.assert_array_equal(y, np.full(shape, value, dtype), strict=True)
    if problem == Problem(problem.x, problem.w):
        np.testing.assert_array_equal(conv2d.conv2d(x, w), np.zeros(shape, dtype), strict=True)


GRADIENTS = """
import numpy as np
import conv2d
x, w, dy = np.ones({x}, "{dtype}"), np.ones({w}, "{dtype}"), np.ones({dy}, "{dtype}")
for num_threads in (1, 3, None):
    settings = dict({settings}, num_threads=num_threads)
    dx, dw, db = conv2d.conv2d_backward(dy, x, w, **settings)
    assert dx.shape == x.shape and dx.dtype == x.dtype and not dx.any()
    assert dw.shape == w.shape and not dw.any() and dw.dtype == x.dtype
    assert db.tolist() == dy.sum((0, 2, 3) if dy.ndim > 3 else (-2, -1)).tolist()
    assert db.dtype == x.dtype
    assert conv2d.conv2d_input(x.shape, w, dy, **settings).tobytes() == dx.tobytes()
    assert not conv2d.conv2d_weight(x, w.shape, dy, **settings).any()
"""


@pytest.mark.parametrize("dtype", ["f4", "i8"])
@pytest.mark.parametrize(("problem", "shape"), CASES)
def test_gradients(problem, shape, dtype):
    """In a process of its own, as a division by zero would end it."""
    program = GRADIENTS.format(
        x=problem.x, w=problem.w, dy=shape, dtype=dtype, settings=problem.settings
    )
    run_python(program)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize(("problem", "shape"), MODED)
def test_modes(level, problem, shape, mode):
    """Nothing to add up: y is the bias."""
    arrays = draw(problem, np.ones).astype("f4")
    got = compute(arrays, problem._replace(mode=mode))
    same(got, compute(arrays, problem))
    assert (got.y == 1).all()


TRANSPOSED = [
    ((0, 3, 4, 5), (3, 2, 3, 3), {}, (0, 2, 6, 7)),
    ((2, 3, 0, 5), (3, 2, 3, 3), {}, (2, 2, 2, 7)),
    ((2, 0, 4, 5), (0, 2, 3, 3), {"stride": 2}, (2, 2, 9, 11)),
    ((2, 3, 4, 5), (3, 0, 3, 3), {"padding": 1}, (2, 0, 4, 5)),
    ((2, 3, 1, 1), (3, 2, 3, 3), {"padding": ((1, 2), (0, 0))}, (2, 2, 0, 3)),
    ((3, 1, 1), (3, 2, 1, 1), {"stride": 3, "output_padding": 2}, (2, 3, 3)),
]


@pytest.mark.parametrize(("x", "w", "settings", "shape"), TRANSPOSED)
def test_transposed(level, x, w, settings, shape):
    """Where no element of x reaches, y is the bias."""
    bias = np.full(w[1], 7, "f4")
    y = conv2d.conv_transpose2d(np.zeros(x, "f4"), np.ones(w, "f4"), bias, **settings)
    np.testing.assert_array_equal(y, np.full(shape, 7, "f4"), strict=True)
