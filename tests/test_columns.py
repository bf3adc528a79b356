"""One column, or one row, of pixels: signals, and images of one pixel."""

import numpy as np
import pytest
from helpers import (
    Arrays,
    Problem,
    compute,
    compute_guarded,
    exact_answer,
    lay,
    same,
    same_bits,
    small_integers,
)

import conv2d
from conv2d import reference

COLUMNS = [
    Problem((700, 1), (9, 1)),
    Problem((300, 1), (70, 1), "full"),
    Problem((50, 1), (4, 1), "same_lower", "reflect"),
    Problem((40, 1), (3, 1), ((5, 0), (0, 0)), "wrap", stride=(2, 3)),
    Problem((3, 40, 1), (5, 3, 3, 1), stride=2),
    Problem((2, 6, 90, 1), (9, 2, 5, 1), (2, 0), dilation=(3, 2), groups=3),
    Problem((2, 8, 90, 1), (8, 1, 3, 1), groups=8),
    Problem((40, 20, 1, 1), (33, 20, 1, 1)),
    Problem((3, 80, 1, 1), (33, 80, 1, 1)),
    Problem((5, 20, 4, 1), (33, 20, 4, 1), "valid"),
]
ROWS = [
    Problem((1, length), (1, taps), padding)
    for length in (130, 500, 1031, 5000)
    for taps in (1, 4, 9, 31)
    for padding in ("same", "valid", "full")
]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "i4", "i8"])
@pytest.mark.parametrize("problem", COLUMNS, ids=str)
def test_columns(level, problem, dtype):
    arrays = small_integers(problem).astype(dtype)
    expected = exact_answer(problem).astype(dtype)
    for _ in range(2):  # the second call is one that is kept
        same(compute(arrays, problem, num_threads=2), expected)
    same(compute_guarded(arrays, problem), expected)
    strided = [array if array.ndim == 0 else lay(array, "sliced") for array in arrays]
    same(compute(Arrays(*strided), problem), expected)


@pytest.mark.parametrize("problem", COLUMNS, ids=str)
def test_a_column_is_a_row(level, problem):
    """Bit for bit, where nothing but the names of the axes differs."""
    if problem.padding not in ("same", "valid") or problem.mode != "zeros":
        pytest.skip("padding that is told for rows and columns")
    stride, dilation = (
        value if isinstance(value, int) else value[::-1]
        for value in (problem.stride, problem.dilation)
    )
    turned = problem._replace(
        x=(*problem.x[:-2], 1, problem.x[-2]),
        w=(*problem.w[:-2], 1, problem.w[-2]),
        stride=stride,
        dilation=dilation,
    )
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(a.shape).astype("f4") for a in small_integers(problem)]
    swapped = [array.mT if array.ndim > 1 else array for array in arrays]
    found = compute(Arrays(*arrays), problem)
    of_rows = compute(Arrays(*swapped), turned)
    same_bits([array.mT for array in found[:3]], of_rows[:3])


def test_transposed_column(level):
    x, w = np.arange(30.0).reshape(1, 2, 15, 1), np.arange(24.0).reshape(2, 3, 4, 1)
    settings = {"stride": 2, "padding": (1, 0)}
    for _ in range(2):
        np.testing.assert_array_equal(
            conv2d.conv_transpose2d(x, w, np.ones(3), **settings),
            reference.conv_transpose2d(x, w, np.ones(3), **settings),
        )


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4"])
@pytest.mark.parametrize("problem", ROWS, ids=str)
def test_rows(level, problem, dtype):
    arrays = small_integers(problem).astype(dtype)
    same(compute(arrays, problem), exact_answer(problem).astype(dtype))
