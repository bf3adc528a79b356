"""A plane with a side of 0 gives an empty result, or zeros, not an error."""

import numpy as np
import pytest
from helpers import Problem, run_python

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
]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i2", "i8"])
@pytest.mark.parametrize(("problem", "shape"), CASES)
def test_forward(level, problem, shape, dtype):
    x, w = np.ones(problem.x, dtype), np.ones(problem.w, dtype)
    for bias in (None, 7):
        for num_threads in (1, 3):
            y = conv2d.conv2d(x, w, bias, padding=problem.padding, num_threads=num_threads)
            np.testing.assert_array_equal(y, np.full(shape, bias or 0, dtype), strict=True)
    if problem.padding == "same":
        np.testing.assert_array_equal(conv2d.conv2d(x, w), np.zeros(shape, dtype), strict=True)


GRADIENTS = """
import numpy as np
import conv2d
x, w, dy = np.ones({x}, "{dtype}"), np.ones({w}, "{dtype}"), np.ones({dy}, "{dtype}")
for num_threads in (1, 3, None):
    settings = dict(padding={padding!r}, num_threads=num_threads)
    dx, dw, db = conv2d.conv2d_backward(dy, x, w, **settings)
    assert dx.shape == x.shape and dx.dtype == x.dtype
    assert dw.shape == w.shape and not dw.any() and dw.dtype == x.dtype
    assert db == dy.size and db.dtype == x.dtype
    assert conv2d.conv2d_input(x.shape, w, dy, **settings).shape == x.shape
    assert not conv2d.conv2d_weight(x, w.shape, dy, **settings).any()
"""


@pytest.mark.parametrize("dtype", ["f4", "i8"])
@pytest.mark.parametrize(("problem", "shape"), CASES)
def test_gradients(problem, shape, dtype):
    """In a process of its own, as a division by zero would end it."""
    program = GRADIENTS.format(
        x=problem.x, w=problem.w, dy=shape, dtype=dtype, padding=problem.padding
    )
    run_python(program)
