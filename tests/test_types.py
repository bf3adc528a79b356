"""Results have NumPy's types, are rounded or wrapped once, and nothing else is computed with."""

import itertools

import numpy as np
import pytest
from helpers import (
    DTYPES,
    LAYOUTS,
    Arrays,
    OnlyDLPack,
    Problem,
    answer,
    compute,
    draw,
    exact_answer,
    lay,
    same,
    same_bits,
    small_integers,
)

import conv2d

PROBLEM = Problem((9, 21), (3, 2))


@pytest.mark.parametrize(("one", "other"), list(itertools.product(DTYPES, repeat=2)))
def test_pairs(one, other):
    """All values are small enough for every type: the results differ in type alone."""
    x, w, _, dy = (array % 3 for array in small_integers(PROBLEM))
    expected = compute(Arrays(x, w, np.int64(0), dy), PROBLEM)
    dtype = np.result_type(one, other)
    y = conv2d.conv2d(x.astype(one), w.astype(other))
    dx, dw, db = conv2d.conv2d_backward(dy.astype(other), x.astype(one), w.astype(one))
    assert (y.dtype, dx.dtype, dw.dtype, db.dtype) == (dtype, dtype, dtype, np.dtype(other))
    assert conv2d.conv2d_input(x.shape, w.astype(one), dy.astype(other)).dtype == dtype
    assert conv2d.conv2d_weight(x.astype(one), w.shape, dy.astype(other)).dtype == dtype
    same((y, dx, dw), expected.astype(dtype)[:3])
    same((db,), (expected.db.astype(other),))


@pytest.mark.parametrize(
    ("x", "b", "result"),
    [
        ("i1", 3, "i1"),
        ("i1", np.int8(3), "i1"),
        ("i1", np.int16(3), "i2"),
        ("i1", [3], "i8"),
        ("i4", 0.5, "f8"),
        ("f2", 0.5, "f2"),
        ("f4", 3, "f4"),
        ("f4", 0.5, "f4"),
        ("f4", np.float64(0.5), "f8"),
        ("f4", np.full(1, 0.5), "f8"),
        ("f2", np.int16(3), "f4"),
    ],
)
def test_bias_takes_part_in_the_type(x, b, result):
    plane, w = np.ones((3, 20), x), np.ones((1, 1), x)
    y = conv2d.conv2d(plane, w, b)
    assert y.dtype == result
    np.testing.assert_array_equal(y, np.full((3, 20), 1 + np.ravel(b)[0]))


@pytest.mark.parametrize("b", [300, -129])
def test_bias_that_does_not_fit(b):
    x = np.ones((2, 2), np.int8)
    with pytest.raises(ValueError, match=rf"^b is {b}.*int8"):
        conv2d.conv2d(x, x, b)


REFUSED = ("?", "c8", "c16", "g", "O", "U3", "S3", "M8[s]", "m8[s]")


@pytest.mark.parametrize("dtype", REFUSED)
@pytest.mark.parametrize("name", Arrays._fields)
def test_refused_types(name, dtype):
    wrong = small_integers(PROBLEM)._replace(**{name: np.zeros((9, 21), dtype)})
    if name == "b":
        wrong = wrong._replace(b=np.zeros(1, dtype))
    x, w, b, dy = wrong
    calls = [
        (lambda: conv2d.conv2d(x, w, b), "xwb"),
        (lambda: conv2d.conv2d_input(x.shape, w, dy), ("w", "dy")),
        (lambda: conv2d.conv2d_weight(x, w.shape, dy), ("x", "dy")),
        (lambda: conv2d.conv2d_backward(dy, x, w), ("x", "w", "dy")),
        (lambda: conv2d.kernel.dot(x, w), "xw"),
        (lambda: conv2d.kernel.dot_grad_w(x, (2, 2)), "x"),
        (lambda: conv2d.kernel.dot_grad_x((2, 2), w), "w"),
    ]
    for call, names in calls:
        if name in names:
            with pytest.raises(TypeError, match=rf"^{name} has dtype .*expected"):
                call()


@pytest.mark.parametrize("value", [None, "abc", object(), [[True]], [[1j]], {}])
def test_refused_objects(value):
    with pytest.raises(TypeError, match=r"^x has dtype"):
        conv2d.conv2d(value, np.ones((1, 1)))
    with pytest.raises(TypeError, match=r"^w has dtype"):
        conv2d.conv2d(np.ones((1, 1)), value)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype[0] in "iu"])
def test_integers_wrap(level, dtype):
    """Full-range numbers: modulo 2^bits, exactly."""
    problem = Problem((11, 37), (4, 3), "full")
    rng, limits = np.random.default_rng(2), np.iinfo(dtype)

    def numbers(shape):
        return np.asarray(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))

    arrays = draw(problem, numbers)
    same(compute(arrays, problem), answer(arrays, problem))
    extreme = draw(problem, lambda shape: np.full(shape, limits.min + 1, dtype))
    same(compute(extreme, problem), answer(extreme, problem))


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_float16_is_float32_rounded_once(level, mode):
    for x, w in (((40, 70), (5, 5)), ((30, 20), (4, 200))):
        problem = Problem(x, w, "same", mode)
        arrays = draw(problem, np.random.default_rng(3).standard_normal).astype("f2")
        same_bits(compute(arrays, problem), compute(arrays.astype("f4"), problem).astype("f2"))


def test_float16_sums_are_not_rounded_on_the_way(level):
    """2048 + 1 is 2048 in float16."""
    x = np.array([[2048, 1, 1, 1]], np.float16)
    ones = np.ones((1, 4), np.float16)
    assert conv2d.conv2d(x, ones, padding="valid").item() == 2052  # 2051, to even
    assert conv2d.conv2d(x[:, :2], ones[:, :2], 1, padding="valid").item() == 2050
    assert conv2d.conv2d_weight(x, (1, 1), ones).item() == 2052
    assert conv2d.conv2d_input((1, 1), ones, x, padding="full").item() == 2052
    assert conv2d.conv2d_backward(x, x, ones, need="db").db == 2052
    assert conv2d.kernel.dot(x, ones) == 2052


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i8"])
def test_anything_that_is_an_array(layout, dtype):
    x, w, b, dy = small_integers(PROBLEM).astype(dtype)
    expected = exact_answer(PROBLEM).astype(dtype)
    x2, w2, dy2 = (lay(array, layout) for array in (x, w, dy))
    y = conv2d.conv2d(x2, w2, b)
    dx, dw = conv2d.conv2d_input(x.shape, w2, dy2), conv2d.conv2d_weight(x2, w.shape, dy2)
    same((y, dx, dw), expected[:3])
    same(conv2d.conv2d_backward(dy2, x2, w2), expected[1:])
    for array, laid in ((x, x2), (w, w2), (dy, dy2)):
        if isinstance(laid, np.ndarray):
            np.testing.assert_array_equal(array, laid, err_msg="changed")


def test_subclasses_come_back_as_arrays():
    class Mine(np.ndarray):
        pass

    x = np.ones((3, 3)).view(Mine)
    assert type(conv2d.conv2d(x, x)) is np.ndarray
    assert type(conv2d.conv2d(OnlyDLPack(np.ones((3, 3))), x)) is np.ndarray
