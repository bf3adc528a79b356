"""Each algorithm computes the same; those with fewer operations keep the promises on accuracy."""

import numpy as np
import pytest
from helpers import MODES, Arrays, Guarded, Problem, answer, small_integers
from test_accuracy import plain_sum, rms

import conv2d
from conv2d.plan import fft_tile, make_plan
from conv2d.problem import Problem as Sizes

NAMES = ("direct", "fft", "separable")
PROBLEMS = [
    Problem((1, 1), (1, 1)),
    Problem((9, 11), (3, 5)),
    Problem((40, 37), (4, 7), "full"),
    Problem((37, 70), (6, 2), ((0, 3), (1, 9))),
    Problem((20, 9), (12, 30), "full"),
    Problem((75, 34), (1, 33), "same_lower"),
    Problem((34, 3), (30, 1), "valid"),
    Problem((12, 13), (5, 4), ((7, 9), (11, 13))),
]
FILTERS = [(15, 15), (31, 31), (1, 63), (63, 8), (64, 64), (65, 3), (129, 40), (130, 131)]


def outer(shape, numbers):
    """A filter that is a column times a row."""
    return numbers((shape[0], 1)) * numbers((1, shape[1]))


def normal(shape, dtype="f4", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def exactly(x, w):
    return plain_sum(x.astype("f8"), w.astype("f8"))


def relative(got, exact):
    return abs(got - exact).max() / abs(exact).max()


def separable_integers(problem):
    rng = np.random.default_rng(1)
    arrays = small_integers(problem)
    return arrays._replace(w=outer(problem.w, lambda shape: rng.integers(1, 3, shape)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", NAMES)
def test_as_the_oracle(level, name, dtype, mode):
    """Both results; nothing is written beside them."""
    for problem in PROBLEMS:
        problem = problem._replace(mode=mode)
        arrays = separable_integers(problem)
        expected = answer(arrays, problem)
        x, w, b, dy = arrays.astype(dtype)
        y, dx = Guarded(dy.shape, dtype), Guarded(x.shape, dtype)
        settings = {**problem.settings, "algorithm": name}
        conv2d.conv2d(x, w, b, out=y.array, **settings)
        conv2d.conv2d_input(x.shape, w, dy, out=dx.array, **settings)
        for got, exact in ((y.take(), expected.y), (dx.take(), expected.dx)):
            np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", ["auto", "fft", "separable"])
@pytest.mark.parametrize("w_shape", FILTERS)
def test_no_worse_than_twice_a_plain_sum(level, name, w_shape):
    x = normal((230, 260))
    w = outer(w_shape, normal) if name == "separable" else normal(w_shape)
    exact, theirs = exactly(x, w), rms(plain_sum(x, w) - exactly(x, w))
    assert rms(conv2d.conv2d(x, w, padding="valid", algorithm=name) - exact) <= 2 * theirs
    shape = tuple(n - t + 1 for n, t in zip(x.shape, w_shape, strict=True))
    dx = conv2d.conv2d_input(shape, w[::-1, ::-1], x, padding="full", algorithm=name)
    assert rms(dx - exact) <= 2 * theirs


@pytest.mark.parametrize(
    ("name", "dtype"), [("auto", "f4"), ("auto", "f8"), ("fft", "f4"), ("separable", "f8")]
)
@pytest.mark.parametrize("size", [15, 31, 63])
def test_errors_stay_local(level, name, dtype, size):
    """An output whose window, grown by 8, holds nothing of a region 10^6 times brighter."""
    rng = np.random.default_rng(3)
    x = rng.random((400, 410)).astype(dtype)
    x[160:200, 180:220] *= 1e6
    filters = [outer((size, size), rng.random)]
    if name != "separable":
        filters.append(rng.random((size, size)))
    for w in filters:
        w = w.astype(dtype)
        y = conv2d.conv2d(x, w, padding="valid", algorithm=name)
        exact = exactly(x, w)
        dark = np.ones(y.shape, bool)
        dark[160 - 8 - size : 208, 180 - 8 - size : 228] = False
        tolerance = {"f4": 1e-5, "f8": 1e-13}[dtype]
        assert (abs(y - exact)[dark] <= tolerance * exact[dark]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["auto", "fft", "separable"])
def test_what_is_not_finite(level, name, dtype, value):
    """Where and as direct puts it; all else to rounding."""
    w = outer((21, 20), lambda shape: normal(shape, dtype)).astype(dtype)
    for places in ([(0, 0)], [(100, 120), (101, 125)], [(399, 0), (3, 299)]):
        x = normal((400, 300), dtype, 2)
        for place in places:
            x[place] = value
        got = conv2d.conv2d(x, w, algorithm=name)
        direct = conv2d.conv2d(x, w, algorithm="direct")
        finite = np.isfinite(direct)
        np.testing.assert_array_equal(got[~finite], direct[~finite])
        assert not finite.all()
        error = abs(got[finite] - direct[finite]).max()
        assert error <= 400 * np.finfo(dtype).eps * abs(direct[finite]).max()


@pytest.mark.parametrize("name", ["auto", "fft", "separable"])
def test_a_filter_that_is_not_finite(level, name):
    w = np.ones((21, 21), np.float32)
    w[3, 4] = np.inf
    x = abs(normal((300, 300)))
    if name == "separable":
        with pytest.raises(ValueError, match="'separable'"):
            conv2d.conv2d(x, w, algorithm=name)
    else:
        got = conv2d.conv2d(x, w, algorithm=name)
        np.testing.assert_array_equal(got, conv2d.conv2d(x, w, algorithm="direct"))


@pytest.mark.parametrize("name", ["fft", "separable"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_overflow_on_the_way_is_none(level, name, dtype):
    """Sums that are finite stay so, and those that are not come out as direct has them."""
    large = np.finfo(dtype).max / 4
    x = np.full((90, 90), large, dtype)
    w = np.full((16, 16), 1 / 256, dtype)
    got = conv2d.conv2d(x, w, padding="valid", algorithm=name)
    np.testing.assert_allclose(got, large, rtol=1e-5)
    w[...] = 1
    assert np.isposinf(conv2d.conv2d(x, w, algorithm=name)).all()


@pytest.mark.parametrize("name", ["fft", "separable"])
def test_subnormal_numbers(level, name):
    x, w = normal((80, 90)), outer((16, 16), normal)
    x *= np.float32(2.0**-134)
    y = conv2d.conv2d(x, w, algorithm=name)
    expected = conv2d.conv2d(x.astype("f8"), w.astype("f8"), algorithm="direct")
    assert abs(y - expected).max() <= 2.0**-149 * (2 if name == "fft" else 300)
    assert y.any()


@pytest.mark.parametrize("name", ["auto", "fft", "separable"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_same_bits(level, name, dtype):
    """For every thread count, and wherever the result goes."""
    x = normal((700, 310), dtype)
    w = outer((33, 35), lambda shape: np.random.default_rng(0).integers(1, 3, shape)).astype(dtype)
    for padding in ("same", ((3, 40), (50, 1))):
        alone = conv2d.conv2d(x, w, 1, padding=padding, algorithm=name, num_threads=1)
        for num_threads in (2, 3, 40):
            y = conv2d.conv2d(x, w, 1, padding=padding, algorithm=name, num_threads=num_threads)
            assert y.tobytes() == alone.tobytes()
        strided = np.zeros((2 * alone.shape[0], 3 * alone.shape[1]), dtype)[::2, 1::3]
        conv2d.conv2d(x, w, 1, padding=padding, algorithm=name, out=strided)
        assert strided.tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", ["auto", "fft", "separable"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f2"])
def test_narrow_planes(level, name, dtype):
    """Y is that of the plane in the type of the result."""
    x = np.random.default_rng(0).integers(0, 99, (700, 310)).astype(dtype)
    w = normal((33, 35)) if name == "fft" else outer((33, 35), normal)
    for plane in (x, x[::-1, :300], x.T):
        y = conv2d.conv2d(plane, w, algorithm=name)
        assert y.dtype == np.float32
        assert relative(y, conv2d.conv2d(plane.astype("f4"), w, algorithm="direct")) < 1e-4
        assert y.tobytes() == conv2d.conv2d(plane.astype("f4"), w, algorithm=name).tobytes()


def test_the_default_is_auto(level):
    """On the fast road too."""
    x = normal((400, 410))
    for w in (normal((31, 31)), outer((31, 31), normal), normal((66, 66))):
        y, dx = conv2d.conv2d(x, w), conv2d.conv2d_input(x.shape, w, x)
        assert y.tobytes() == conv2d.conv2d(x, w, out=np.empty_like(x)).tobytes()
        out = np.empty_like(x)
        assert dx.tobytes() == conv2d.conv2d_input(x.shape, w, x, out=out).tobytes()
        assert relative(y, conv2d.conv2d(x, w, algorithm="fft")) < 1e-5


@pytest.mark.parametrize("w_shape", [(19, 19), (31, 31), (7, 40)])
def test_what_auto_chooses(w_shape):
    """Nothing of it depends on threads."""
    for dtype, name in (("float32", "fft"), ("float64", "direct"), ("int32", "direct")):
        problem = Sizes(1024, 1024, *w_shape, 0, 0, 0, 0, "zeros", dtype)
        plans = {make_plan(problem, "forward", threads).algorithm for threads in (1, 2, 8)}
        assert plans == {name if dtype == "int32" else f"separable or {name}"}
        assert make_plan(problem, "weight", 1).algorithm == "direct"


def test_tiles_fit_the_filter():
    for a in (1, 2, 15, 31, 63, 64, 100, 128):
        for b in (1, 7, 64, 128):
            rows, columns = fft_tile(500, 700, a, b)
            assert rows > a
            assert columns > b


@pytest.mark.parametrize("name", ["fft", "separable"])
def test_no_integers(name):
    x = np.ones((5, 5), int)
    with pytest.raises(ValueError, match=f"^algorithm is '{name}'.*int64"):
        conv2d.conv2d(x, x, algorithm=name)


@pytest.mark.parametrize("name", ["fft", "separable"])
def test_no_layers(name):
    """Images, batches, strides and dilations; "auto" and "direct" serve them all."""
    x, w = np.ones((1, 1, 9, 9), np.float32), np.ones((1, 1, 3, 3), np.float32)
    plane, taps = x[0, 0], w[0, 0]
    for call in (
        lambda: conv2d.conv2d(x, w, algorithm=name),
        lambda: conv2d.conv2d(x[0], w, algorithm=name),
        lambda: conv2d.conv2d(plane, taps, stride=2, algorithm=name),
        lambda: conv2d.conv2d_input(plane.shape, taps, plane, dilation=2, algorithm=name),
        lambda: conv2d.conv2d_weight(x, w.shape, x, algorithm=name),
        lambda: conv2d.conv2d_backward(x, x, w, algorithm=name),
        lambda: conv2d.conv_transpose2d(x, w, algorithm=name),
    ):
        with pytest.raises(ValueError, match=f"^algorithm is '{name}', which is for one plane"):
            call()


@pytest.mark.parametrize("name", NAMES)
def test_transposed_planes(level, name):
    x, w = normal((60, 70)), outer((9, 8), normal)
    for b in (None, 3):
        got = conv2d.conv_transpose2d(x, w, b, padding=2, algorithm=name)
        layer = conv2d.conv_transpose2d(x[None], w[None, None], None, padding=2)[0]
        assert relative(got, layer + (b or 0)) < 1e-5
    assert (conv2d.conv_transpose2d(x[:0], w, 3, algorithm=name) == 3).all()


def test_not_separable():
    x, w = normal((30, 30)), normal((5, 4))
    out = np.full((30, 30), 7, np.float32)
    for filter in (w, np.zeros((70, 70), np.float32)):
        with pytest.raises(ValueError, match=r"^algorithm is 'separable', but w \("):
            conv2d.conv2d(x, filter, algorithm="separable", out=out)
        with pytest.raises(ValueError, match=r"^algorithm is 'separable', but w \("):
            conv2d.conv2d_input(x.shape, filter, x, algorithm="separable", out=out)
    assert (out == 7).all()


def test_gradients_by_name():
    """The filter's is always direct."""
    arrays = Arrays(
        normal((80, 90)), outer((9, 8), normal), np.float32(1), normal((80, 90), seed=5)
    )
    x, w, _, dy = arrays
    expected = conv2d.conv2d_backward(dy, x, w, algorithm="direct")
    for name in NAMES:
        got = conv2d.conv2d_backward(dy, x, w, algorithm=name)
        assert relative(got.dx, expected.dx) < 1e-5
        assert got.dw.tobytes() == expected.dw.tobytes()
        assert conv2d.conv2d_input(x.shape, w, dy, algorithm=name).tobytes() == got.dx.tobytes()


def test_empty(level):
    for name in NAMES:
        x = np.ones((0, 5), np.float32)
        y = conv2d.conv2d(x, np.ones((3, 3), np.float32), algorithm=name)
        assert y.shape == (0, 5)


def test_integers_are_exact(level):
    """Sums of small integers round to themselves, zeros too."""
    for problem in (*PROBLEMS, Problem((90, 200), (31, 20))):
        for values in (small_integers(problem), abs_integers(problem)):
            x, w, b, _ = values.astype("f4")
            settings = {**problem.settings, "algorithm": "fft"}
            y = conv2d.conv2d(x, w, b, **settings)
            direct = conv2d.conv2d(x, w, b, **{**settings, "algorithm": "direct"})
            np.testing.assert_array_equal(y, direct)


def abs_integers(problem):
    """Positive ones, most of them zeros."""
    arrays = small_integers(problem)
    return Arrays(*(np.maximum(array - 3, 0) for array in arrays))
