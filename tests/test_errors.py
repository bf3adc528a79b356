"""Errors are ValueError for shapes and values, TypeError for types, and name what came."""

import numpy as np
import pytest
from helpers import MODES

import conv2d

X, W = np.ones((6, 8)), np.ones((3, 4))
BOTH = r"\(.*\(6, 8\).*\({}\)\)$"  # both shapes
FORWARD = [
    (X, W, {"padding": (1, 2, 3, 4)}, ValueError, r"^padding .*\(1, 2, 3, 4\).*ONNX.*\(\(top, bot"),
    (X, W, {"padding": [1, 2, 3, 4]}, ValueError, r"^padding .*\[1, 2, 3, 4\].*ONNX"),
    (X, W, {"padding": np.arange(4)}, ValueError, r"^padding .*ONNX"),
    (X, W, {"padding": "circular"}, ValueError, r"^padding .*'circular'.*same_lower"),
    (X, W, {"padding": -1}, ValueError, r"^padding .*-1.*negative"),
    (X, W, {"padding": (0, -1)}, ValueError, r"^padding .*\(0, -1\).*negative"),
    (X, W, {"padding": ((0, 0), (0, -1))}, ValueError, r"^padding .*-1.*negative"),
    (X, W, {"padding": (1, (2, 3))}, ValueError, r"^padding "),
    (X, W, {"padding": (1, 2, 3)}, ValueError, r"^padding .*\(1, 2, 3\)"),
    (X, W, {"padding": ()}, ValueError, r"^padding "),
    (X, W, {"padding": ((1, 2, 3), (1, 2))}, ValueError, r"^padding "),
    (X, W, {"padding": 1.5}, TypeError, r"^padding .*1\.5"),
    (X, W, {"padding": None}, TypeError, r"^padding .*None"),
    (X, W, {"padding": {}}, TypeError, r"^padding "),
    (X, W, {"padding_mode": "circular"}, ValueError, r"^padding_mode .*'circular'.*wrap"),
    (X, W, {"padding_mode": None}, TypeError, r"^padding_mode .*None"),
    (X, W, {"padding_mode": 1}, TypeError, r"^padding_mode "),
    (X, W, {"algorithm": "magic"}, ValueError, r"^algorithm .*'magic'.*direct"),
    (X, W, {"algorithm": None}, TypeError, r"^algorithm .*None"),
    (
        X,
        np.ones((7, 1)),
        {"padding": "valid"},
        ValueError,
        r"^w has 7.* 6 .*" + BOTH.format("7, 1"),
    ),
    (X, np.ones((1, 9)), {"padding": 0}, ValueError, r"^w has 9.* 8 .*" + BOTH.format("1, 9")),
    (X, np.ones((1, 9)), {"padding": (9, 0)}, ValueError, r"^w has 9.* 8 .*" + BOTH.format("1, 9")),
    (X, W[:0], {}, ValueError, r"^w has no taps.*" + BOTH.format("0, 4")),
    (X, W[:, :0], {}, ValueError, r"^w has no taps.*" + BOTH.format("3, 0")),
    (X[0], W, {}, ValueError, r"^x .*\(8,\).*\(3, 4\)"),
    (1.0, W, {}, ValueError, r"^x .*\(\).*\(3, 4\)"),
    (X, W[0], {}, ValueError, r"^w .*" + BOTH.format("4,")),
    (X, W[None, None], {}, ValueError, r"^w .*" + BOTH.format("1, 1, 3, 4")),
    (X[None, None, None], W, {}, ValueError, r"^x .*\(1, 1, 1, 6, 8\).*\(3, 4\)"),
    (X, W, {"b": [1.0, 2.0]}, ValueError, r"^b has shape \(2,\), expected .*\(1,\)"),
    (X, W, {"b": [[1.0]]}, ValueError, r"^b has shape \(1, 1\), expected .*\(1,\)"),
    (X, W, {"b": []}, ValueError, r"^b has shape \(0,\), expected .*\(1,\)"),
    (X, W, {"b": "1"}, TypeError, r"^b has dtype"),
    (X, W, {"b": True}, TypeError, r"^b has dtype bool"),
]


@pytest.mark.parametrize(("x", "w", "settings", "error", "message"), FORWARD)
def test_forward(x, w, settings, error, message):
    with pytest.raises(error, match=message):
        conv2d.conv2d(x, w, **settings)


SHARED = [case[2:] for case in FORWARD if case[0] is X and case[1] is W and "b" not in case[2]]


@pytest.mark.parametrize(("settings", "error", "message"), SHARED)
@pytest.mark.parametrize("name", ["conv2d_input", "conv2d_weight", "conv2d_backward"])
def test_gradients_share_the_settings(name, settings, error, message):
    arguments = {"conv2d_input": (X.shape, W, X), "conv2d_weight": (X, W.shape, X)}
    with pytest.raises(error, match=message):
        getattr(conv2d, name)(*arguments.get(name, (X, X, W)), **settings)


HUGE = 2**70
MORE = [
    (
        lambda: conv2d.conv2d_input((6, 8), W, X[:5]),
        ValueError,
        r"^dy .*\(5, 8\).*\(6, 8\).*\(3, 4",
    ),
    (lambda: conv2d.conv2d_weight(X, (3, 4), X[:5]), ValueError, r"^dy .*\(5, 8\).*\(6, 8\)"),
    (lambda: conv2d.conv2d_backward(X[:5], X, W), ValueError, r"^dy .*\(5, 8\).*\(6, 8\).*\(3, 4"),
    (lambda: conv2d.conv2d_backward(X[0], X, W), ValueError, r"^dy .*\(8,\).*\(6, 8\)"),
    (lambda: conv2d.conv2d_input((6, -8), W, X), ValueError, r"^input_shape .*\(6, -8\)"),
    (lambda: conv2d.conv2d_input((6, 8.0), W, X), TypeError, r"^input_shape .*8\.0"),
    (lambda: conv2d.conv2d_input(6, W, X), TypeError, r"^input_shape .*6"),
    (lambda: conv2d.conv2d_input("68", W, X), TypeError, r"^input_shape .*'68'"),
    (lambda: conv2d.conv2d_input(None, W, X), TypeError, r"^input_shape .*None"),
    (lambda: conv2d.conv2d_input((6,), W, X), ValueError, r"^input_shape .*\(6,\).*\(3, 4\)"),
    (lambda: conv2d.conv2d_input((6, 8, 1), W, X), ValueError, r"^w has 2 .*\(6, 8, 1\)"),
    (lambda: conv2d.conv2d_input((HUGE, 8), W, X), ValueError, rf"{HUGE}"),
    (
        lambda: conv2d.conv2d_weight(X, (0, 4), X),
        ValueError,
        r"^weight_shape has no taps.*\(0, 4\)",
    ),
    (lambda: conv2d.conv2d_weight(X, (3, -4), X), ValueError, r"^weight_shape .*\(3, -4\)"),
    (lambda: conv2d.conv2d_weight(X, (3, 4.0), X), TypeError, r"^weight_shape .*4\.0"),
    (lambda: conv2d.conv2d_weight(X, (3,), X), ValueError, r"^weight_shape .*\(3,\)"),
    (lambda: conv2d.conv2d_weight(X, (3, HUGE), X), ValueError, rf"{HUGE}"),
    (
        lambda: conv2d.conv2d_weight(X, (7, 1), X, padding=0),
        ValueError,
        r"^weight_shape has 7.* 6 ",
    ),
    (lambda: conv2d.conv2d_weight(X[0], (3, 4), X), ValueError, r"^x .*\(8,\)"),
    (lambda: conv2d.conv2d_backward(X, X, W, need="dz"), ValueError, r"^need .*'dz'.*dx, dw, db"),
    (lambda: conv2d.conv2d_backward(X, X, W, need=("dx", 1)), (ValueError, TypeError), r"^need "),
    (lambda: conv2d.conv2d_backward(X, X, W, need=None), TypeError, r"^need .*None"),
    (lambda: conv2d.conv2d_backward(X, X, W, out=X), TypeError, r"^out .*tuple"),
    (lambda: conv2d.conv2d_backward(X, X, W, out=[None] * 3), TypeError, r"^out .*tuple"),
    (lambda: conv2d.conv2d_backward(X, X, W, out=(X,)), ValueError, r"^out .*1.*three"),
]


@pytest.mark.parametrize(("call", "error", "message"), MORE)
def test_gradients(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Layers

BATCH, FILTERS = np.ones((2, 4, 6, 8)), np.ones((6, 2, 3, 3))
SHAPES = r"\(.*\({}\).*\({}\)\)$"
OF_BOTH = SHAPES.format("2, 4, 6, 8", "6, 2, 3, 3")
LAYERS = [
    ({}, ValueError, r"^w has 2 input channels a group, but x has 4 channels in 1 g.*" + OF_BOTH),
    ({"groups": 3}, ValueError, r"^w has 2 input.*4 channels in 3 groups.*" + OF_BOTH),
    ({"groups": 4}, ValueError, r"^groups is 4, which does not divide the 6 of w.*" + OF_BOTH),
    ({"groups": 0}, ValueError, r"^groups is 0, expected at least 1"),
    ({"groups": -2}, ValueError, r"^groups is -2, expected at least 1"),
    ({"groups": 2.0}, TypeError, r"^groups is 2\.0, expected an int"),
    ({"groups": None}, TypeError, r"^groups is None"),
    ({"groups": (2, 2)}, TypeError, r"^groups is \(2, 2\)"),
    ({"groups": 2, "padding": "valid", "dilation": 3}, ValueError, r"^w has 3 rows, 7 .* 6 rows"),
    ({"groups": 2, "padding": 0, "dilation": (1, 4)}, ValueError, r"^w has 3 columns, 9 .* 8 "),
    ({"groups": 2, "padding": (0, 1), "dilation": 3}, ValueError, r"^w has 3 rows, 7 .*" + OF_BOTH),
    ({"groups": 2, "padding": (1, 2, 3, 4)}, ValueError, r"^padding .*ONNX"),
    ({"groups": 2, "padding": -1}, ValueError, r"^padding .*negative"),
    *(
        case
        for name in ("stride", "dilation")
        for case in (
            ({"groups": 2, name: 0}, ValueError, rf"^{name} is 0, expected .* at least 1"),
            ({"groups": 2, name: (1, -1)}, ValueError, rf"^{name} is \(1, -1\), .* at least 1"),
            ({"groups": 2, name: (1, 1, 1)}, ValueError, rf"^{name} is \(1, 1, 1\), .*pair"),
            ({"groups": 2, name: ()}, ValueError, rf"^{name} is \(\), .*pair"),
            ({"groups": 2, name: 1.5}, TypeError, rf"^{name} is 1\.5, .*pair"),
            ({"groups": 2, name: (1, 1.0)}, TypeError, rf"^{name} is \(1, 1\.0\)"),
            ({"groups": 2, name: "2"}, TypeError, rf"^{name} is '2'"),
            ({"groups": 2, name: None}, TypeError, rf"^{name} is None"),
        )
    ),
]


@pytest.mark.parametrize(("settings", "error", "message"), LAYERS)
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_weight", "conv2d_backward"])
def test_layers(name, settings, error, message):
    """The same for all functions, whose arguments are named otherwise."""
    dy = np.ones((2, 6, 6, 8))
    arguments = {
        "conv2d": (BATCH, FILTERS),
        "conv2d_input": (BATCH.shape, FILTERS, dy),
        "conv2d_weight": (BATCH, FILTERS.shape, dy),
        "conv2d_backward": (dy, BATCH, FILTERS),
    }[name]
    if name == "conv2d_input":
        message = message.replace("x has", "input_shape has").replace("(x ", "(input_shape ")
    if name == "conv2d_weight":
        message = message.replace("^w has", "^weight_shape has").replace("of w", "of weight_shape")
    with pytest.raises(error, match=message):
        getattr(conv2d, name)(*arguments, **settings)


WRONG = [
    (lambda: conv2d.conv2d(BATCH, W), r"^w has 2 dimensions, expected 4.*\(2, 4, 6, 8\).*\(3, 4"),
    (lambda: conv2d.conv2d(BATCH[0], FILTERS[0]), r"^w has 3 dimensions.*\(4, 6, 8\).*\(2, 3, 3"),
    (lambda: conv2d.conv2d(X, FILTERS), r"^w has 4 dimensions, expected 2.*\(6, 8\).*\(6, 2, 3, 3"),
    (lambda: conv2d.conv2d(BATCH[None], FILTERS), r"^x has 5 dimensions.*\(N, C, H, W\)"),
    (lambda: conv2d.conv2d(BATCH, FILTERS[..., :0], groups=2), r"^w has no taps"),
    (lambda: conv2d.conv2d(X, W, groups=2), r"^groups is 2, which does not divide the 1 of w"),
    (
        lambda: conv2d.conv2d(BATCH, FILTERS, np.ones(5), groups=2),
        r"^b has shape \(5,\), expected \(6,\)",
    ),
    (lambda: conv2d.conv2d(BATCH, FILTERS, 1.0, groups=2), r"^b has shape \(\), expected \(6,\)"),
    (
        lambda: conv2d.conv2d(BATCH, FILTERS, np.ones((6, 1)), groups=2),
        r"^b has shape \(6, 1\), expected \(6,\)",
    ),
    (
        lambda: conv2d.conv2d_input(BATCH.shape, FILTERS, BATCH, groups=2),
        r"^dy has shape \(2, 4, 6, 8\), expected \(2, 6, 6, 8\) \(x .*w \(6, 2, 3, 3\)\)$",
    ),
    (
        lambda: conv2d.conv2d_weight(BATCH, FILTERS.shape, BATCH[0], groups=2),
        r"^dy has shape \(4, 6, 8\), expected \(2, 6, 6, 8\)",
    ),
    (
        lambda: conv2d.conv2d_backward(np.ones((2, 6, 6, 8)), BATCH, FILTERS, groups=2, stride=2),
        r"^dy has shape \(2, 6, 6, 8\), expected \(2, 6, 3, 4\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_shapes_of_layers(call, message):
    with pytest.raises(ValueError, match=message):
        call()


TO_TRANSPOSE = np.ones((6, 4, 3, 3))
TRANSPOSED = [
    ({"padding": "same"}, TypeError, r"^padding is 'same'"),
    ({"padding": (1, 2, 3, 4)}, ValueError, r"^padding .*ONNX"),
    ({"padding": -1}, ValueError, r"^padding .*negative"),
    ({"padding": 9}, ValueError, r"^padding is 9, more than the result has.*6, 4, 3, 3"),
    ({"output_padding": 1}, ValueError, r"^output_padding is 1, .* stride 1 or dilation 1"),
    ({"output_padding": (0, 2), "stride": 2}, ValueError, r"^output_padding is \(0, 2\)"),
    ({"output_padding": -1}, ValueError, r"^output_padding is -1"),
    ({"output_padding": 0.5}, TypeError, r"^output_padding is 0\.5"),
    ({"stride": 0}, ValueError, r"^stride is 0"),
    ({"groups": 4}, ValueError, r"^groups is 4, which does not divide the 6 of w"),
    ({"b": np.ones(6)}, ValueError, r"^b has shape \(6,\), expected \(4,\)"),
    ({"b": np.ones(4), "groups": 2}, ValueError, r"^b has shape \(4,\), expected \(8,\)"),
    ({"padding_mode": "wrap"}, TypeError, r"padding_mode"),
    ({"algorithm": "magic"}, ValueError, r"^algorithm"),
    ({"num_threads": 0}, ValueError, r"^num_threads is 0"),
]


@pytest.mark.parametrize(("settings", "error", "message"), TRANSPOSED)
def test_transposed(settings, error, message):
    out = np.full((2, 4, 8, 10), 7.0)
    with pytest.raises(error, match=message):
        conv2d.conv_transpose2d(np.ones((2, 6, 6, 8)), TO_TRANSPOSE, **settings, out=out)
    assert (out == 7).all()


def test_shapes_of_transposed():
    with pytest.raises(ValueError, match=r"^w has 6 input channels, but x has 4 .*\(2, 4, 6, 8\)"):
        conv2d.conv_transpose2d(BATCH, TO_TRANSPOSE)
    with pytest.raises(
        ValueError, match=r"^out has shape \(2, 4, 6, 8\), expected \(2, 4, 8, 10\)"
    ):
        conv2d.conv_transpose2d(np.ones((2, 6, 6, 8)), TO_TRANSPOSE, out=BATCH)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("shape", [(2, 4, 0, 8), (4, 6, 0), (0, 4, 0, 8)])
def test_an_empty_layer_has_nothing_to_repeat(shape, mode):
    with pytest.raises(ValueError, match=rf"^padding_mode '{mode}'"):
        conv2d.conv2d(np.ones(shape), FILTERS, groups=2, padding_mode=mode)


@pytest.mark.parametrize("pair", [np.int8(2), [2, 2], np.array([2, 2]), (np.int64(2), 2)])
def test_pairs_may_be_lists_arrays_and_numpy_ints(pair):
    for name in ("stride", "dilation"):
        np.testing.assert_array_equal(
            conv2d.conv2d(BATCH, FILTERS, groups=np.int32(2), **{name: pair}),
            conv2d.conv2d(BATCH, FILTERS, groups=2, **{name: 2}),
        )


@pytest.mark.parametrize("name", ["stride", "dilation"])
@pytest.mark.parametrize("value", [2**31, 2**40, 2**62, 2**63 - 1])
def test_steps_past_the_plane(name, value):
    """One output, or one tap of a filter, is left."""
    settings = {"groups": 2, "padding": 1 if name == "stride" else "same", name: value}
    try:
        y = conv2d.conv2d(BATCH, FILTERS, **settings)
    except (MemoryError, ValueError, OverflowError):
        return
    assert (y[0, 0].size == 1) if name == "stride" else (y == 2).all()


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("shape", [(0, 8), (6, 0), (0, 0)])
def test_an_empty_plane_has_nothing_to_repeat(shape, mode):
    with pytest.raises(ValueError, match=rf"^padding_mode '{mode}'.*\({shape[0]}, {shape[1]}\)"):
        conv2d.conv2d(np.ones(shape), W, padding_mode=mode)
    with pytest.raises(ValueError, match=rf"^padding_mode '{mode}'"):
        conv2d.conv2d_weight(np.ones(shape), (3, 4), np.ones(shape), padding_mode=mode)
    with pytest.raises(ValueError, match=rf"^padding_mode '{mode}'"):
        conv2d.conv2d_input(shape, W, np.ones(shape), padding_mode=mode)


@pytest.mark.parametrize("groups", [np.int8(2), np.uint8(2), np.int64(2)])
def test_groups_may_be_numpy_ints(groups):
    """Also narrower ones than the sizes that are counted with them."""
    x, w = np.ones((2, 400, 9, 20)), np.ones((6, 200, 3, 3))
    np.testing.assert_array_equal(conv2d.conv2d(x, w, groups=groups), conv2d.conv2d(x, w, groups=2))
    x, w = np.ones((2, 6, 9, 20)), np.ones((6, 200, 3, 3))
    np.testing.assert_array_equal(
        conv2d.conv_transpose2d(x, w, groups=groups), conv2d.conv_transpose2d(x, w, groups=2)
    )


@pytest.mark.parametrize("padding", [np.int8(1), (np.int64(1), 1), [1, 1], [[1, 1], (1, 1)]])
def test_padding_may_be_lists_and_numpy_ints(padding):
    np.testing.assert_array_equal(
        conv2d.conv2d(X, W, padding=padding), conv2d.conv2d(X, W, padding=1)
    )


@pytest.mark.parametrize("padding", [np.ones(2, int), np.ones((2, 2), int)])
def test_padding_may_be_an_array(padding):
    np.testing.assert_array_equal(
        conv2d.conv2d(X, W, padding=padding), conv2d.conv2d(X, W, padding=1)
    )


def test_shapes_may_be_lists_arrays_and_numpy_ints():
    dx, dw = conv2d.conv2d_input(X.shape, W, X), conv2d.conv2d_weight(X, W.shape, X)
    for kind in (list, np.array, lambda shape: tuple(map(np.int32, shape))):
        np.testing.assert_array_equal(conv2d.conv2d_input(kind(X.shape), W, X), dx)
        np.testing.assert_array_equal(conv2d.conv2d_weight(X, kind(W.shape), X), dw)


@pytest.mark.parametrize("padding", [2**40, 2**62, 2**70])
def test_results_that_no_memory_holds(padding):
    with pytest.raises((MemoryError, ValueError)):
        conv2d.conv2d(X, W, padding=padding)
