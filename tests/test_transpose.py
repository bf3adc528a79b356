"""conv_transpose2d is what the oracle says, NaN and infinities too, and the adjoint of conv2d."""

import numpy as np
import pytest
from helpers import DTYPES, Guarded

import conv2d
from conv2d import conv_transpose2d, reference

CASES = [  # x, w, settings
    ((2, 3), (2, 2), {}),
    ((5, 40), (3, 4), {"stride": 2, "output_padding": 1}),
    ((7, 9), (3, 3), {"padding": 1}),
    ((3, 5, 6), (3, 4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 6, 5, 7), (6, 3, 3, 2), {"groups": 2, "stride": (3, 2), "output_padding": (2, 0)}),
    ((2, 6, 5, 7), (6, 1, 3, 3), {"groups": 6, "padding": ((1, 0), (2, 1))}),
    ((2, 20, 4, 4), (20, 17, 4, 4), {"stride": 2, "padding": 1}),
    ((2, 4, 3, 3), (4, 5, 3, 3), {"dilation": 3, "stride": 2, "output_padding": 2}),
    ((1, 33, 7, 7), (33, 40, 1, 1), {}),
    ((2, 4, 5, 5), (4, 3, 1, 1), {"stride": 3, "output_padding": (0, 2)}),
    ((2, 4, 3, 4), (4, 3, 2, 2), {"stride": 4}),
    ((1, 2, 4, 5), (2, 3, 9, 8), {"padding": (4, 3)}),
    ((2, 3, 1, 1), (3, 4, 7, 7), {}),
    ((2, 8, 9, 10), (8, 1, 5, 5), {"groups": 8, "stride": 2, "padding": 2, "output_padding": 1}),
    ((1, 9, 30, 31), (9, 1, 3, 3), {"groups": 9, "padding": 1}),
    ((6, 5), (66, 2), {"dilation": 2}),
]


def operands(x_shape, w_shape, groups=1, **_):
    """Small integers: x, w and a bias for each channel of y."""
    rng = np.random.default_rng(len(x_shape) + 10 * w_shape[0])
    channels = (w_shape[1] * groups,) if len(x_shape) > 2 else (1,)
    return [rng.integers(-4, 5, shape) for shape in (x_shape, w_shape, channels)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("x_shape", "w_shape", "settings"), CASES)
def test_oracle(small_in_parallel, level, x_shape, w_shape, settings, dtype):
    whole = operands(x_shape, w_shape, **settings)
    expected = reference.conv_transpose2d(*whole, **settings).astype(dtype)
    bare = reference.conv_transpose2d(*whole[:2], **settings).astype(dtype)
    x, w, b = (array.astype(dtype) for array in whole)
    for num_threads in (1, 2, 3):
        own = {**settings, "num_threads": num_threads}
        np.testing.assert_array_equal(conv_transpose2d(x, w, **own), bare, strict=True)
        for step in (1, -2):
            guarded = Guarded(expected.shape, dtype, step)
            assert conv_transpose2d(x, w, b, out=guarded.array, **own) is guarded.array
            np.testing.assert_array_equal(guarded.take(), expected, strict=True)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize(("x_shape", "w_shape", "settings"), CASES)
def test_adjoint_of_conv2d(level, x_shape, w_shape, settings, dtype):
    """<Z, transposed(X)> = <conv(Z), X> = <dW, W>, in small integers; and it is the gradient."""
    settings = {name: value for name, value in settings.items() if name != "output_padding"}
    x, w, b = (array.astype(dtype) for array in operands(x_shape, w_shape, **settings))
    y = conv_transpose2d(x, w, **settings)
    z = np.random.default_rng(0).integers(-4, 5, y.shape).astype(dtype)
    conv = {"padding": 0, **settings}
    forward = conv2d.conv2d(z, w, **conv)
    assert forward.shape == x.shape
    dw = conv2d.conv2d_weight(z, w.shape, x, **conv)
    assert (z * y).sum() == (forward * x).sum() == (dw * w).sum()
    np.testing.assert_array_equal(y, conv2d.conv2d_input(y.shape, w, x, **conv))
    assert (
        conv_transpose2d(x, w, b, **settings).tobytes()
        == (y + (b if x.ndim == 2 else b[:, None, None])).tobytes()
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(("x_shape", "w_shape", "settings"), CASES)
def test_non_finite(level, x_shape, w_shape, settings, which, value):
    """Only where a term or the bias has it."""
    whole = [array.astype("f8") for array in operands(x_shape, w_shape, **settings)]
    for place in (0, -1, whole[which].size // 2):
        arrays = [array.copy() for array in whole]
        arrays[which].flat[place] = value
        with np.errstate(invalid="ignore"):
            expected = reference.conv_transpose2d(*arrays, **settings)
        for dtype in ("f4", "f8"):
            got = conv_transpose2d(*(array.astype(dtype) for array in arrays), **settings)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i2"])
def test_empty(level, dtype):
    for x_shape, w_shape, y_shape in (
        ((0, 4, 5, 6), (4, 3, 3, 2), (0, 3, 7, 7)),
        ((2, 0, 5, 6), (0, 3, 3, 2), (2, 3, 7, 7)),
        ((2, 4, 5, 6), (4, 0, 3, 2), (2, 0, 7, 7)),
    ):
        b = np.arange(w_shape[1], dtype=dtype)
        y = conv_transpose2d(np.ones(x_shape, dtype), np.ones(w_shape, dtype), b)
        expected = np.zeros(y_shape, dtype) + b[:, None, None]
        np.testing.assert_array_equal(y, expected, strict=True)


def test_out_may_overlap(level):
    memory = np.arange(16.0).reshape(1, 1, 4, 4)
    expected = conv_transpose2d(memory.copy(), np.ones((1, 1, 3, 3)), padding=1)
    assert conv_transpose2d(memory, np.ones((1, 1, 3, 3)), padding=1, out=memory) is memory
    np.testing.assert_array_equal(memory, expected)
