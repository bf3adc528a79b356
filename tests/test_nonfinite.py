"""NaN and infinity come out where the oracle puts them, and nowhere else."""

import numpy as np
import pytest
from helpers import MODES, NAMES, Problem, answer, compute, draw, small_integers

PROBLEMS = [
    Problem((7, 9), (3, 3)),
    Problem((5, 70), (2, 4), "full"),
    Problem((14, 21), (4, 3), "valid"),
    Problem((6, 5), (9, 8), ((5, 4), (3, 9))),
]
PLACES = [(0, 0), (0, -1), (-1, 0), (-1, -1), (0, 1), (1, 1), (2, 2), (-2, -1)]


def check(arrays, problem, dtype, **settings):
    """Equal, non-finite numbers too: the finite ones are small integers."""
    with np.errstate(invalid="ignore"):
        expected = answer(arrays, problem)
    got = compute(arrays.astype(dtype), problem, **settings)
    for name, ours, theirs in zip(NAMES, got, expected, strict=True):
        for which in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(which(ours), which(theirs), err_msg=name)
        finite = np.isfinite(theirs)
        np.testing.assert_array_equal(ours[finite], theirs[finite], err_msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["x", "w", "dy"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_place(level, name, value, mode):
    for problem in PROBLEMS:
        problem = problem._replace(mode=mode)
        for place in PLACES:
            arrays = small_integers(problem).astype("f8")
            array = getattr(arrays, name)
            array[tuple(p % n for p, n in zip(place, array.shape, strict=True))] = value
            check(arrays, problem, "f4" if sum(place) % 2 else "f8")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_many_places(small_in_parallel, level, dtype, num_threads, mode):
    rng = np.random.default_rng(3)
    values = [np.nan, np.inf, -np.inf, *range(-3, 4)]
    for x, w, share in (
        ((60, 40), (3, 3), 0.02),
        ((9, 300), (1, 5), 0.1),
        ((20, 9), (66, 3), 0.05),
    ):
        problem = Problem(x, w, "same", mode)

        def numbers(shape, share=share):
            special = rng.random(shape) < share
            return np.where(special, rng.choice(values, shape), rng.integers(-3, 4, shape))

        check(draw(problem, numbers), problem, dtype, num_threads=num_threads)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_bias(level, dtype, value):
    problem = Problem((5, 20), (3, 3))
    arrays = small_integers(problem).astype("f8")._replace(b=np.array(value))
    check(arrays, problem, dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_infinite_filter_makes_no_nan_at_the_border(level, dtype):
    """Zero padding is left out of the sums, in Y and in dX; what stays is positive."""
    for shape in ((3, 3), (4, 2), (70, 3)):
        problem = Problem((9, 40), shape, "full")
        infinite = draw(problem, np.ones).astype(dtype)
        infinite.w[...] = np.inf
        y, dx, _, _ = compute(infinite, problem)
        assert np.isposinf(y).all()
        assert np.isposinf(dx).all()


ROADS = [
    (Problem((6, 40), (1, 1)), "f4"),
    (Problem((6, 40), (1, 1)), "f8"),
    (Problem((6, 40), (1, 1)), "f2"),
    (Problem((9, 8), (66, 70), "full"), "f4"),
    (Problem((6, 40), (1, 1), 3, "wrap"), "f8"),
]


@pytest.mark.parametrize(("problem", "dtype"), ROADS)
def test_overflow_is_infinite(level, problem, dtype):
    """On every road alike, whatever NumPy is to do about floating-point errors."""
    arrays = draw(problem, lambda shape: np.full(shape, np.finfo(dtype).max)).astype(dtype)
    with np.errstate(all="raise"):
        for result in compute(arrays, problem):
            assert np.isposinf(result).all()


@pytest.mark.parametrize(("problem", "dtype"), ROADS)
def test_invalid_operations_are_silent(level, problem, dtype):
    arrays = draw(problem, np.ones).astype(dtype)
    for array in (arrays.x, arrays.dy):
        array[...] = np.inf
        array[:, array.shape[1] // 2 :] = -np.inf
    with np.errstate(all="raise"):
        assert np.isnan(compute(arrays, problem).db)
