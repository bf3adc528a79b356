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


LAYERS = {
    "layer": Problem((2, 7, 5, 9), (8, 7, 3, 3)),
    "stride": Problem((2, 3, 7, 9), (7, 3, 3, 2), ((2, 1), (0, 3)), stride=(2, 3)),
    "one tap": Problem((2, 7, 4, 5), (7, 7, 1, 1)),
    "one tap, padding": Problem((1, 7, 4, 5), (7, 7, 1, 1), 2, stride=2),
    "tiny planes": Problem((3, 5, 3, 3), (33, 5, 3, 3)),
    "tiny planes, channels": Problem((3, 33, 3, 2), (5, 33, 3, 3), "full"),
    "groups": Problem((2, 6, 6, 7), (9, 2, 3, 4), "full", groups=3),
    "dilation": Problem((1, 3, 7, 9), (7, 3, 3, 2), "same_lower", dilation=(3, 2)),
    "larger filter": Problem((1, 2, 4, 3), (3, 2, 7, 6)),
    "depthwise": Problem((2, 17, 5, 6), (17, 1, 3, 3), "full", groups=17),
    "depthwise, stride": Problem((2, 17, 5, 6), (17, 1, 3, 3), "full", stride=2, groups=17),
    "depthwise, any": Problem((1, 3, 9, 40), (3, 1, 2, 5), "full", groups=3, stride=2),
    "depthwise, 5 x 5": Problem((1, 2, 9, 37), (2, 1, 5, 5), 2, groups=2, stride=2),
    "depthwise, few": Problem((1, 3, 9, 10), (3, 1, 3, 3), "full", groups=3),
    "depthwise, two filters": Problem((1, 9, 5, 6), (18, 1, 3, 3), "full", groups=9),
    "plane": Problem((9, 8), (3, 2), "full", stride=2, dilation=(1, 3)),
}


@pytest.mark.parametrize("operand", ["x", "w", "dy"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", LAYERS)
def test_one_place_of_a_layer(small_in_parallel, level, name, operand, value):
    """Corners and the middle of the first, a middle and the last channel."""
    problem = LAYERS[name]
    for n, place in enumerate([0.0, 0.3, 0.5, 0.999]):
        arrays = small_integers(problem).astype("f8")
        array = getattr(arrays, operand)
        array.ravel()[int(place * array.size)] = value
        check(arrays, problem, "f4" if n % 2 else "f8", num_threads=1 + n % 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_many_places_of_a_layer(small_in_parallel, level, name, dtype, mode):
    problem = LAYERS[name]._replace(mode=mode)
    rng = np.random.default_rng(5)
    values = [np.nan, np.inf, -np.inf, *range(-3, 4)]
    for share in (0.01, 0.1):

        def numbers(shape, share=share):
            special = rng.random(shape) < share
            return np.where(special, rng.choice(values, shape), rng.integers(-3, 4, shape))

        check(draw(problem, numbers), problem, dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_many_places_in_blocks(small_in_parallel, blocks, name):
    problem = LAYERS[name]
    rng = np.random.default_rng(6)
    values = [np.nan, np.inf, -np.inf, *range(-3, 4)]

    def numbers(shape):
        special = rng.random(shape) < 0.03
        return np.where(special, rng.choice(values, shape), rng.integers(-3, 4, shape))

    for num_threads in (1, 3):
        check(draw(problem, numbers), problem, "f4", num_threads=num_threads)


@pytest.mark.parametrize("name", LAYERS)
def test_an_infinite_layer_makes_no_nan_at_the_border(level, name):
    """Nor do zeros between the elements of dY, which a stride would put there."""
    problem = LAYERS[name]
    infinite = draw(problem, np.ones).astype("f4")
    infinite.w[...] = np.inf
    finite = compute(draw(problem, np.ones).astype("f4"), problem)
    y, dx, _, _ = compute(infinite, problem)
    assert not np.isnan(y).any()
    np.testing.assert_array_equal(dx == np.inf, finite.dx > 0)
    np.testing.assert_array_equal(dx == 0, finite.dx == 0)


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


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_overflow_of_a_layer_is_infinite(level, name, dtype):
    """And silent; the finite ones are no concern here."""
    problem = LAYERS[name]._replace(padding="same")
    large = draw(problem, lambda shape: np.full(shape, np.finfo(dtype).max)).astype(dtype)
    ones = compute(draw(problem, np.ones), problem)
    with np.errstate(all="raise"):
        got = compute(large, problem)
    for ours, theirs in zip(got[:3], ones[:3], strict=True):
        np.testing.assert_array_equal(np.isposinf(ours), theirs > (ours is got.y))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_bias_of_a_layer(level, dtype, value):
    """Of one filter, and of no other."""
    for problem in LAYERS.values():
        if len(problem.x) == 4:
            arrays = small_integers(problem).astype("f8")
            arrays.b[1] = value
            check(arrays, problem, dtype)


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
