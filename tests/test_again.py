"""Calls of the same shapes and settings are made again from what the first one worked out."""

import numpy as np
import pytest

import conv2d
from conv2d import _door, reference

# What is called, the shapes of its arrays (None: no bias), and its other arguments.
CALLS = {
    "plane": ("conv2d", [(9, 40), (3, 5), None], {"padding": "valid"}),
    "plane with bias": ("conv2d", [(9, 40), (3, 3), (1,)], {"padding_mode": "reflect"}),
    "large plane": ("conv2d", [(130, 257), (3, 3), None], {"padding": 2}),
    "layer": ("conv2d", [(2, 6, 9, 11), (8, 3, 3, 3), (8,)], {"groups": 2, "stride": (2, 1)}),
    "image": ("conv2d", [(5, 8, 8), (7, 5, 1, 1), None], {}),
    "pixels": ("conv2d", [(1, 32, 1, 1), (8, 32, 1, 1), (8,)], {}),
    "whole images": ("conv2d", [(3, 5, 4, 6), (7, 5, 4, 6), (7,)], {"padding": "valid"}),
    "depthwise": ("conv2d", [(1, 4, 20, 20), (4, 1, 7, 3), (4,)], {"groups": 4}),
    "dx of a plane": ("conv2d_input", [(3, 5), (12, 30)], {"input_shape": (12, 30)}),
    "dx of a wide plane": (
        "conv2d_input", [(3, 5), (12, 30)], {"input_shape": (14, 34), "padding": "valid"}
    ),
    "dx of a layer": (
        "conv2d_input", [(8, 6, 3, 3), (2, 8, 5, 6)], {"input_shape": (2, 6, 9, 11), "stride": 2}
    ),
    "dw of a plane": (
        "conv2d_weight", [(12, 30), (10, 26)], {"weight_shape": (3, 5), "padding": "valid"}
    ),
    "dw of a layer": (
        "conv2d_weight", [(2, 6, 9, 11), (2, 8, 9, 11)], {"weight_shape": (8, 6, 3, 3)}
    ),
    "dw of few filters": (
        "conv2d_weight", [(2, 30, 9, 11), (2, 2, 9, 11)], {"weight_shape": (2, 30, 3, 3)}
    ),
    "dw of pixels": (
        "conv2d_weight", [(2, 30, 9, 11), (2, 20, 9, 11)], {"weight_shape": (20, 30, 1, 1)}
    ),
    "dw of a depthwise layer": (
        "conv2d_weight", [(2, 4, 9, 30), (2, 4, 9, 30)],
        {"weight_shape": (4, 1, 3, 3), "groups": 4},
    ),
    "transposed": ("conv_transpose2d", [(2, 6, 5, 5), (6, 4, 4, 4), (4,)], {"stride": 2}),
    "backward": ("conv2d_backward", [(2, 8, 9, 11), (2, 6, 9, 11), (8, 6, 3, 3)], {}),
    "backward of whole images": (
        "conv2d_backward", [(3, 7, 1, 1), (3, 5, 4, 6), (7, 5, 4, 6)], {"padding": 0}
    ),
    "backward without dx": (
        "conv2d_backward", [(2, 8, 5, 6), (2, 6, 9, 11), (8, 6, 3, 3)],
        {"stride": 2, "need": ("db", "dw")},
    ),
    "backward of a plane": (
        "conv2d_backward", [(10, 26), (12, 30), (3, 5)], {"padding": "valid"}
    ),
    "backward of a wrapped plane": (
        "conv2d_backward", [(12, 30), (12, 30), (3, 5)],
        {"padding_mode": "wrap", "need": ("dw", "db")},
    ),
    "backward of a column": (
        "conv2d_backward", [(30, 1), (30, 1), (5, 1)], {"padding": (2, 0), "need": ("dw", "db")}
    ),
    "backward of a depthwise layer": (
        "conv2d_backward", [(2, 3, 30, 31), (2, 3, 30, 31), (3, 1, 5, 4)], {"groups": 3}
    ),
    "backward of a strided plane": (
        "conv2d_backward", [(5, 6), (9, 11), (3, 3)], {"stride": 2}
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten():
    """Each test begins as if nothing had been called."""
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)


def make(shapes, seed, dtype="float32"):
    """Small integers: sums are exact in any order."""
    rng = np.random.default_rng(seed)
    return [None if s is None else rng.integers(-4, 5, s).astype(dtype) for s in shapes]


def call(module, name, arrays, settings):
    """Call a function of a module; shapes come first or second among its arguments."""
    settings = dict(settings)
    function = getattr(module, name)
    if "input_shape" in settings:
        return (function(settings.pop("input_shape"), *arrays, **settings),)
    if "weight_shape" in settings:
        return (function(arrays[0], settings.pop("weight_shape"), arrays[1], **settings),)
    made = function(*arrays, **settings)
    return tuple(made) if name == "conv2d_backward" else (made,)


def same(found, expected, dtype="float32"):
    """Whether results are arrays of a type, and equal."""
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert type(a) is np.ndarray
            assert a.dtype == dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_is_right_with_other_arrays(name, threads, dtype, level):
    function, shapes, settings = CALLS[name]
    for seed in range(3):
        arrays = make(shapes, seed, dtype)
        before = [None if a is None else a.copy() for a in arrays]
        found = call(conv2d, function, arrays, {**settings, "num_threads": threads})
        same(found, call(reference, function, before, settings), dtype)
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", CALLS)
def test_is_kept(name, monkeypatch):
    """From the second call on nothing is worked out: these are not on the general road."""
    function, shapes, settings = CALLS[name]
    settings = {**settings, "num_threads": 1}
    expected = call(conv2d, function, make(shapes, 0), settings)
    for where in ("find_problem", "make_transposed", "operand"):
        if where != "operand" or function != "conv2d_backward":
            monkeypatch.delattr(conv2d.api, where)
    same(call(conv2d, function, make(shapes, 0), settings), expected)


# Of the source, of w and of the result: what kernels of planes read and write as it is.
TYPES = ["u1 f4 f4", "i2 f4 f4", "f2 f2 f2", "f4 f2 f4", "f2 f8 f8", "u1 u1 u1", "i1 i4 i4"]


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("name", ["plane", "large plane", "dx of a wide plane"])
def test_planes_of_narrow_types_are_kept(name, types, monkeypatch, level):
    function, shapes, settings = CALLS[name]
    one, other, dtype = types.split()
    order = [other, one] if name.startswith("dx") else [one, other]
    settings = {**settings, "num_threads": 1}
    for seed in range(2):
        arrays = [abs(a) for a in make(shapes[:2], seed)]
        expected = call(reference, function, arrays, settings)
        arrays = [a.astype(t) for a, t in zip(arrays, order, strict=True)]
        same(call(conv2d, function, arrays, settings), expected, dtype)
        monkeypatch.delattr(conv2d.api, "operand", raising=False)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4"])
def test_dw_of_narrow_pictures_is_kept(dtype, monkeypatch, level):
    for seed in range(2):
        x, dy = (abs(a) for a in make([(35, 300), (35, 300)], seed))
        found = conv2d.conv2d_weight(x.astype(dtype), (3, 7), dy, padding_mode="edge")
        same([found], [reference.conv2d_weight(x, (3, 7), dy, padding_mode="edge")])
        monkeypatch.delattr(conv2d.api, "operand", raising=False)


@pytest.mark.parametrize("dtype", ["u1", "f2"])
def test_what_is_not_finite_in_a_kept_call(dtype, level):
    """The filter, or dY, of a later call is not finite: only its own terms are."""
    x, w, dy = (abs(a) for a in make([(9, 300), (3, 5), (9, 300)], 0))
    narrow = x.astype(dtype)
    conv2d.conv2d(narrow, w)
    conv2d.conv2d_weight(narrow, (3, 5), dy)
    w[0, 1], w[2, 4], dy[0, 1], dy[5, 200] = np.inf, np.nan, np.nan, -np.inf
    same([conv2d.conv2d(narrow, w)], [reference.conv2d(x, w)])
    same([conv2d.conv2d_weight(narrow, (3, 5), dy)], [reference.conv2d_weight(x, (3, 5), dy)])


@pytest.mark.parametrize("name", CALLS)
def test_writes_to_out(name):
    function, shapes, settings = CALLS[name]
    expected = call(reference, function, make(shapes, 0), settings)
    for _ in range(3):
        out = tuple(None if e is None else np.full_like(e, 99, "float32") for e in expected)
        given = out if function == "conv2d_backward" else out[0]
        found = call(conv2d, function, make(shapes, 0), {**settings, "out": given})
        assert all(a is b for a, b in zip(found, out, strict=True))
        same(out, expected)


def test_results_are_new():
    x, w = make([(9, 40), (3, 5)], 0)
    first = conv2d.conv2d(x, w, padding=(1, 2))
    second = conv2d.conv2d(-x, w, padding=(1, 2))
    assert not np.may_share_memory(first, second)
    np.testing.assert_array_equal(first, -second)


def test_one_array_twice():
    """Where it stands for both in the first call it does not in the next."""
    x, dy = make([(12, 30), (12, 30)], 0)
    for pair in ((x, x), (x, dy), (dy, dy), (dy, x)):
        same(
            [conv2d.conv2d_weight(pair[0], (3, 3), pair[1], num_threads=1)],
            [reference.conv2d_weight(pair[0], (3, 3), pair[1])],
        )


def test_out_that_overlaps():
    w = make([(3, 3)], 1)[0]
    for _ in range(3):
        memory = make([(20, 40)], 0)[0]
        expected = reference.conv2d(memory[:18].copy(), w)
        found = conv2d.conv2d(memory[:18], w, num_threads=1, out=memory[1:19])
        np.testing.assert_array_equal(found, expected)


def test_settings_that_are_equal_but_of_another_type():
    x, w = make([(9, 40), (3, 5)], 0)
    for _ in range(2):
        conv2d.conv2d(x, w, padding=(1, 1), stride=1, num_threads=1)
    for wrong in ({"stride": 1.0}, {"padding": (1.0, 1)}, {"num_threads": 1.0}, {"groups": 1.0}):
        with pytest.raises((TypeError, ValueError)):
            conv2d.conv2d(x, w, **{"padding": (1, 1), "num_threads": 1, **wrong})


@pytest.mark.parametrize("wrong", [0, -1])
def test_numbers_of_threads_that_are_none(wrong):
    x, w = make([(9, 40), (3, 5)], 0)
    conv2d.conv2d(x, w, padding=1)
    with pytest.raises(ValueError, match="num_threads"):
        conv2d.conv2d(x, w, padding=1, num_threads=wrong)


def test_arrays_that_are_none():
    """They are refused as ever, also where calls are kept."""
    x, w = np.ones((1, 1, 5, 5), "f4"), np.ones((1, 1, 3, 3), "f4")
    conv2d.conv2d(x, w)
    conv2d.conv2d_input(x.shape, w, x)
    conv2d.conv2d_weight(x, w.shape, x)
    conv2d.conv2d_backward(x, x, w)
    conv2d.conv_transpose2d(x, w)
    assert _door.kept_count() > 0
    for name, call in [
        ("w", lambda: conv2d.conv2d(x, None)),
        ("x", lambda: conv2d.conv2d(None, w)),
        ("w", lambda: conv2d.conv2d_input(x.shape, None, x)),
        ("dy", lambda: conv2d.conv2d_weight(x, w.shape, None)),
        ("dy", lambda: conv2d.conv2d_backward(None, x, w)),
        ("w", lambda: conv2d.conv_transpose2d(x, None)),
    ]:
        with pytest.raises(TypeError, match=rf"^{name} has dtype"):
            call()


def test_out_that_does_not_fit():
    x, w = make([(9, 40), (3, 5)], 0)
    y = conv2d.conv2d(x, w, padding=1)
    for wrong, error in (
        (np.empty((9, 40), "f4"), "shape"),
        (np.empty(y.shape, "i4"), "dtype"),
        (np.empty(y.shape, "f4")[:, ::-1], None),
        (np.empty(y.shape, "f8"), None),
        ([[0.0]], "list"),
    ):
        if error is None:
            np.testing.assert_array_equal(conv2d.conv2d(x, w, padding=1, out=wrong), y)
        else:
            with pytest.raises((ValueError, TypeError), match=error):
                conv2d.conv2d(x, w, padding=1, out=wrong)
    locked = np.zeros_like(y)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        conv2d.conv2d(x, w, padding=1, out=locked)
    assert not locked.any()


def test_arrays_of_other_layouts_and_types():
    x, w = make([(2, 6, 9, 11), (4, 6, 3, 3)], 0)
    y = conv2d.conv2d(x, w)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    swapped = x.astype(">f4")
    for other in (last, swapped, x.astype("i2"), x.view(np.matrix) if x.ndim == 2 else x.tolist()):
        np.testing.assert_array_equal(conv2d.conv2d(other, w), y)
    assert conv2d.conv2d(x, w.astype("f8")).dtype == np.float64
    assert conv2d.conv2d(x, w, np.zeros(4, "f8")).dtype == np.float64


def test_algorithms_that_look_at_the_filter():
    """A filter that is no column times a row does not decide for one that is."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((700, 700)).astype("f4")
    any_filter = rng.standard_normal((21, 21)).astype("f4")
    product = np.outer(any_filter[0], any_filter[1])
    settings = {"num_threads": 1, "padding": "valid"}
    alone = conv2d.conv2d(x, product, **settings)
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)
    conv2d.conv2d(x, any_filter, **settings)
    np.testing.assert_array_equal(conv2d.conv2d(x, product, **settings), alone)


def test_no_more_than_some_are_kept():
    w = np.ones((1, 2), "f4")
    for n in range(2, 2 + 2 * _door.MOST_KEPT):
        conv2d.conv2d(np.ones((1, n), "f4"), w, padding="valid")
        assert _door.kept_count() <= _door.MOST_KEPT
    assert _door.kept_count() > 0
