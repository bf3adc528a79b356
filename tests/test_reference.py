"""The oracle is right: by hand, against np.pad, SciPy and torch, and as its own adjoint.

Nothing here needs the compiled library.
"""

import doctest
import itertools

import numpy as np
import pytest

from conv2d import reference
from conv2d.reference import (
    conv2d,
    conv2d_backward,
    conv2d_input,
    conv2d_weight,
    conv_transpose2d,
    dot,
    dot_grad_w,
    dot_grad_x,
)

MODES = ("zeros", "edge", "reflect", "symmetric", "wrap")
PADDINGS = ("same", "same_lower", "valid", "full", 1, (2, 0), ((0, 3), (1, 2)))
SEEDS = range(60)


def small_ints(rng, shape, dtype=np.int64):
    return rng.integers(-9, 10, shape).astype(dtype)


def random_problem(seed):
    """Small integers x and w and settings that fit them: (x, w, settings)."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    taps = tuple(rng.integers(1, 5, 2).tolist())
    dilation = tuple(rng.integers(1, 4, 2).tolist())
    reach = [d * (n - 1) + 1 for d, n in zip(dilation, taps, strict=True)]
    sides = tuple((rng.integers(0, 5, 2) + reach).tolist())
    settings = {
        "stride": tuple(rng.integers(1, 4, 2).tolist()),
        "dilation": dilation,
        "padding": PADDINGS[rng.integers(len(PADDINGS))],
        "padding_mode": MODES[rng.integers(len(MODES))],
    }
    rank = int(rng.integers(2, 5))
    if rank == 2:
        return small_ints(rng, sides), small_ints(rng, taps), settings
    channels, filters = rng.integers(1, 3, 2).tolist()
    x_shape = (2, groups * channels, *sides)[4 - rank :]
    w_shape = (groups * filters, channels, *taps)
    return small_ints(rng, x_shape), small_ints(rng, w_shape), {**settings, "groups": groups}


def pads_of(x, w, padding, stride, dilation):
    """Padding in numbers, as the docstring of conv2d defines it."""
    if not isinstance(padding, str):
        pair = (padding, padding) if isinstance(padding, int) else padding
        return [(p, p) if isinstance(p, int) else p for p in pair]
    pads = []
    for size, taps, s, d in zip(x.shape[-2:], w.shape[-2:], stride, dilation, strict=True):
        reach = d * (taps - 1)
        total = max((int(np.ceil(size / s)) - 1) * s + reach + 1 - size, 0)
        half = int(np.floor(total / 2))
        pads.append(
            {
                "valid": (0, 0),
                "full": (reach, reach),
                "same": (half, total - half),
                "same_lower": (total - half, half),
            }[padding]
        )
    return pads


def by_padding(x, w, stride, padding, dilation, padding_mode, groups=1):
    """`conv2d` another way: np.pad, strided slices, einsum."""
    x4 = x.reshape((1,) * (4 - x.ndim) + x.shape)
    w4 = w.reshape((1,) * (4 - w.ndim) + w.shape)
    mode = "constant" if padding_mode == "zeros" else padding_mode
    padded = np.pad(x4, [(0, 0), (0, 0), *pads_of(x, w, padding, stride, dilation)], mode=mode)
    taps, (s, t), (d, e) = w4.shape[2:], stride, dilation
    rows, cols = (
        (padded.shape[2 + n] - dilation[n] * (taps[n] - 1) - 1) // stride[n] + 1 for n in (0, 1)
    )
    y = np.zeros((x4.shape[0], w4.shape[0], rows, cols), np.result_type(x, w))
    for xs, ws, ys in zip(
        np.split(padded, groups, 1), np.split(w4, groups, 0), np.split(y, groups, 1), strict=True
    ):
        for p, q in np.ndindex(*taps):
            seen = xs[:, :, p * d :: s, q * e :: t][:, :, :rows, :cols]
            ys += np.einsum("nchw,kc->nkhw", seen, ws[:, :, p, q])
    return y.reshape(y.shape[4 - x.ndim :])


# By hand


def test_doctests():
    failed, tried = doctest.testmod(reference)
    assert failed == 0
    assert tried == 8


def test_plane_by_hand():
    x = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    w = [[1, 0, 0], [0, 0, 0], [0, 10, 100]]
    assert conv2d(x, w).tolist() == [[540, 650, 60], [870, 981, 92], [0, 4, 5]]
    assert conv2d(x, w, padding="valid").tolist() == [[981]]
    assert conv2d(x, w, 1000, stride=2).tolist() == [[1540, 1060], [1000, 1005]]
    assert conv2d(x, [[1, 10]], padding="same").tolist() == [[21, 32, 3], [54, 65, 6], [87, 98, 9]]
    assert conv2d(x, [[1, 10]], padding="same_lower").tolist()[0] == [10, 21, 32]
    assert conv2d(x, [[1, 10]], padding="full").tolist()[0] == [10, 21, 32, 3]
    assert conv2d(x, [[1, 10]], dilation=2, padding="valid").tolist() == [[31], [64], [97]]
    assert conv2d(x, [[1, 10]], padding=((0, 0), (2, 0))).tolist()[0] == [0, 10, 21, 32]


def test_layer_by_hand():
    x = np.arange(1, 5).reshape(1, 4, 1, 1)
    w = np.array([[10, 1], [20, 2], [30, 3], [40, 4]]).reshape(4, 2, 1, 1)
    y = conv2d(x, w, np.array([0, 100, 200, 300]), groups=2)
    assert y.shape == (1, 4, 1, 1)
    assert y.ravel().tolist() == [12, 124, 30 * 3 + 3 * 4 + 200, 40 * 3 + 4 * 4 + 300]


def test_gradients_by_hand():
    x, w, dy = [[1, 2, 3]], [[1, 10]], [[1, 2]]
    assert conv2d_input((1, 3), w, dy, padding="valid").tolist() == [[1, 12, 20]]
    assert conv2d_weight(x, (1, 2), dy, padding="valid").tolist() == [[5, 8]]
    dx = conv2d_input((1, 2), [[1, 10, 100]], [[1, 2]], padding_mode="edge")
    assert dx.tolist() == [[11 + 2, 100 + 20 + 200]]


def test_transpose_by_hand():
    x, w = [[1, 2]], [[1, 10, 100]]
    assert conv_transpose2d(x, w).tolist() == [[1, 12, 120, 200]]
    assert conv_transpose2d(x, w, padding=(0, 1)).tolist() == [[12, 120]]
    assert conv_transpose2d(x, w, 5, padding=((0, 0), (1, 0))).tolist() == [[17, 125, 205]]
    stretched = conv_transpose2d(x, w, stride=2, output_padding=(1, 1))
    assert stretched.tolist() == [[1, 10, 102, 20, 200, 0], [0] * 6]
    assert conv_transpose2d(x, [[1, 10]], dilation=(1, 3)).tolist() == [[1, 2, 0, 10, 20]]


# Types


@pytest.mark.parametrize("dtype", "bhilqBHILQ")
def test_integers_wrap_once(dtype):
    info = np.iinfo(dtype)
    x, w = np.full((2, 2), info.max, dtype), np.full((2, 2), 3, dtype)
    y = conv2d(x, w, padding="valid")
    assert y.dtype == np.dtype(dtype)
    assert (int(y[0, 0]) - 12 * int(info.max)) % 2 ** (8 * info.bits // 8) == 0
    with np.errstate(over="ignore"):
        assert y[0, 0] == (x * w).sum(dtype=dtype)


@pytest.mark.parametrize(
    ("x", "w", "b", "result"),
    [
        ("i1", "i1", None, "i1"),
        ("i1", "u1", None, "i2"),
        ("i1", "i1", "i4", "i4"),
        (">i4", ">i4", None, "i4"),
        ("i8", "u8", None, "f8"),
        ("i1", "f2", None, "f8"),
        ("f4", "f4", None, "f8"),
        ("f2", "f2", "f4", "f8"),
        ("i1", "i1", "f4", "f8"),
    ],
)
def test_result_types(x, w, b, result):
    arrays = np.ones((3, 3), x), np.ones((2, 2), w)
    y = conv2d(*arrays, None if b is None else np.ones(1, b))
    assert y.dtype == np.dtype(result)
    assert y.dtype.isnative
    grads = conv2d_backward(y.astype(w), *arrays)
    assert grads.db.dtype.isnative
    assert grads.db.dtype == (np.dtype(w).newbyteorder("=") if w[-2] in "iu" else np.float64)
    assert grads.dx.dtype.kind == np.dtype(w).kind


def test_python_scalar_bias_takes_the_type_of_the_arrays():
    x = np.ones((2, 2), np.int8)
    assert conv2d(x, x, 3).dtype == np.int8
    assert conv2d(x, x, np.int16(3)).dtype == np.int16
    assert conv2d(x, x, 0.5).dtype == np.float64
    with pytest.raises(ValueError, match=r"^b is 300, .*int8"):
        conv2d(x, x, 300)


def test_float32_is_not_rounded():
    x = np.array([[0.1]], np.float32)
    assert conv2d(x, x)[0, 0] == float(x[0, 0]) * float(x[0, 0])


def test_dlpack_and_strides():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **settings):
            return self.array.__dlpack__(**settings)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    x = np.arange(24).reshape(4, 6)
    assert np.array_equal(conv2d(Foreign(x), [[1, 2]]), conv2d(x, [[1, 2]]))
    assert np.array_equal(conv2d(x[::-2, ::2].T, [[1, 2]]), conv2d(x[::-2, ::2].T.copy(), [[1, 2]]))


# The forward direction


@pytest.mark.parametrize("mode", [*MODES, "constant"])
def test_padding_is_np_pad(mode):
    for height, width in itertools.product(range(1, 7), (1, 3, 6)):
        x = np.arange(1, 1 + height * width).reshape(height, width)
        for top in (0, 1, 5, 13, 20):
            pads = (top, 20 - top), (top // 2, top % 7)
            y = conv2d(x, [[1]], padding=pads, padding_mode=mode)
            assert np.array_equal(y, np.pad(x, pads, mode="constant" if mode == "zeros" else mode))


@pytest.mark.parametrize("seed", SEEDS)
def test_forward_is_slices_of_a_padded_array(seed):
    x, w, settings = random_problem(seed)
    assert np.array_equal(conv2d(x, w, **settings), by_padding(x, w, **settings))


@pytest.mark.parametrize("padding", ["same", "same_lower", "valid", "full"])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_named_padding_is_the_padding_in_numbers(padding, stride):
    for size, taps, dilation in itertools.product((1, 4, 7), (1, 2, 3, 4), (1, 2)):
        x, w = np.ones((9, size)), np.ones((2, taps))
        if padding == "valid" and dilation * (taps - 1) + 1 > size:
            continue
        pads = tuple(pads_of(x, w, padding, (stride, stride), (dilation, dilation)))
        y = conv2d(x, w, padding=padding, stride=stride, dilation=dilation)
        assert np.array_equal(y, conv2d(x, w, padding=pads, stride=stride, dilation=dilation))
        if padding.startswith("same"):
            assert y.shape == (-(-9 // stride), -(-size // stride))


@pytest.mark.parametrize(
    ("ours", "theirs", "mode", "boundary"),
    [
        ("valid", "valid", "zeros", "fill"),
        ("full", "full", "zeros", "fill"),
        ("same", "same", "zeros", "fill"),
        ("full", "full", "wrap", "wrap"),
        ("full", "full", "symmetric", "symm"),
    ],
)
@pytest.mark.parametrize("taps", [(1, 1), (3, 3), (2, 4), (5, 2)])
def test_scipy(ours, theirs, mode, boundary, taps):
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((6, 7)), rng.standard_normal(taps)
    expected = signal.correlate2d(x, w, theirs, boundary)
    y = conv2d(x, w, padding=ours, padding_mode=mode)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-13)


# The gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_adjoints(seed):
    x, w, settings = random_problem(seed)
    y = conv2d(x, w, **settings)
    dy = small_ints(np.random.default_rng(seed + 1000), y.shape)
    dx, dw, db = conv2d_backward(dy, x, w, **settings)
    assert (dy * y).sum() == (dx * x).sum() == (dw * w).sum()
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    assert np.array_equal(db, dy.sum(axis=(-1, -2) if x.ndim < 4 else (0, -1, -2)))
    assert np.array_equal(dx, conv2d_input(x.shape, w, dy, **settings))
    assert np.array_equal(dw, conv2d_weight(x, w.shape, dy, **settings))


@pytest.mark.parametrize("seed", range(10))
def test_gradients_are_the_matrix_transposed(seed):
    """Every entry of dX and dW: the derivative of a (bi)linear map is its value on unit vectors."""
    x, w, settings = random_problem(seed)
    dy = small_ints(np.random.default_rng(seed), conv2d(x, w, **settings).shape)
    dx, dw, _ = conv2d_backward(dy, x, w, **settings)
    for gradient, array, other in ((dx, x, w), (dw, w, x)):
        for place in itertools.islice(np.ndindex(array.shape), 12):
            unit = np.zeros_like(array)
            unit[place] = 1
            pair = (unit, other) if array is x else (other, unit)
            assert gradient[place] == (dy * conv2d(*pair, **settings)).sum()


@pytest.mark.parametrize(
    "need", [(), "dx", ("dw",), ["db", "dx"], ("dx", "dw", "db")], ids=lambda need: str(need)
)
def test_need(need):
    x, w = np.arange(12).reshape(3, 4), np.arange(4).reshape(2, 2)
    everything = conv2d_backward(x, x, w)
    some = conv2d_backward(x, x, w, need=need)
    for name, whole, part in zip(everything._fields, everything, some, strict=True):
        if name in need:
            assert np.array_equal(part, whole)
        else:
            assert part is None


# The transposed convolution


def random_transpose(seed):
    """Small integers x and w for `conv_transpose2d`, and settings."""
    rng = np.random.default_rng(seed)
    stride, dilation = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(2))
    limits = [max(pair) for pair in zip(stride, dilation, strict=True)]
    settings = {
        "stride": stride,
        "dilation": dilation,
        "output_padding": tuple(int(rng.integers(0, limit)) for limit in limits),
        "padding": tuple(rng.integers(0, 3, 2).tolist()),
        "groups": int(rng.integers(1, 4)),
    }
    c_in, c_out = (settings["groups"] * rng.integers(1, 3, 2)).tolist()
    x = small_ints(rng, (2, c_in, *rng.integers(3, 6, 2)))
    w = small_ints(rng, (c_in, c_out // settings["groups"], *rng.integers(3, 5, 2)))
    return x, w, small_ints(rng, c_out), settings


@pytest.mark.parametrize("seed", SEEDS)
def test_transpose_is_the_gradient_in_x(seed):
    x, w, b, settings = random_transpose(seed)
    extra = settings.pop("output_padding")
    y = conv_transpose2d(x, w, b, output_padding=extra, **settings)
    back = conv2d(np.zeros_like(y), w, **settings)
    assert back.shape >= x.shape  # longer where output_padding >= stride
    grown = np.pad(x, [(0, n - m) for n, m in zip(back.shape, x.shape, strict=True)])
    assert np.array_equal(y - b[:, None, None], conv2d_input(y.shape, w, grown, **settings))
    assert np.array_equal(y[1], conv_transpose2d(x[1], w, b, output_padding=extra, **settings))


@pytest.mark.parametrize("seed", SEEDS)
def test_transpose_size(seed):
    x, w, b, settings = random_transpose(seed)
    y = conv_transpose2d(x, w, b, **settings)
    for n in (0, 1):
        s, d, p, more = (
            settings[k][n] for k in ("stride", "dilation", "padding", "output_padding")
        )
        assert (
            y.shape[2 + n] == (x.shape[2 + n] - 1) * s - 2 * p + d * (w.shape[2 + n] - 1) + more + 1
        )


# torch


@pytest.mark.parametrize("seed", SEEDS)
def test_torch(seed):
    torch = pytest.importorskip("torch")
    x, w, settings = random_problem(seed)
    pads = pads_of(x, w, settings["padding"], settings["stride"], settings["dilation"])
    pads = [(side, side) for side, _ in pads]  # torch knows symmetric padding only
    settings |= {"padding": tuple(pads), "padding_mode": "zeros"}
    if x.ndim == 2:
        x, w = x[None], w[None, None]
    b = small_ints(np.random.default_rng(seed), len(w))
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, w, b)]
    named = {name: settings[name] for name in ("stride", "dilation") if name in settings}
    theirs = torch.nn.functional.conv2d(
        *tensors, padding=[p for p, _ in pads], groups=settings.get("groups", 1), **named
    )
    y = conv2d(x, w, b, **settings)
    assert np.array_equal(y, theirs.detach().numpy())
    dy = small_ints(np.random.default_rng(seed + 1), y.shape)
    theirs.backward(torch.tensor(dy, dtype=torch.float64))
    for ours, tensor in zip(conv2d_backward(dy, x, w, **settings), tensors, strict=True):
        assert np.array_equal(ours, tensor.grad.numpy())


@pytest.mark.parametrize("seed", SEEDS)
def test_torch_transpose(seed):
    torch = pytest.importorskip("torch")
    x, w, b, settings = random_transpose(seed)
    tensors = [torch.tensor(a, dtype=torch.float64) for a in (x, w, b)]
    theirs = torch.nn.functional.conv_transpose2d(*tensors, **settings)
    assert np.array_equal(conv_transpose2d(x, w, b, **settings), theirs.numpy())


# NaN, infinity, overflow


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_padding_is_left_out(value):
    x, dy = np.ones((3, 3)), np.ones((3, 3))
    w = np.zeros((3, 3))
    w[0, 1] = value
    y = conv2d(x, w)
    assert np.array_equal(y[0], [0, 0, 0])
    assert np.array_equal(y[1:], np.full((2, 3), value), equal_nan=True)
    dx = conv2d_input((3, 3), w, dy)
    assert np.array_equal(dx[2], [0, 0, 0])
    assert np.array_equal(dx[:2], np.full((2, 3), value), equal_nan=True)
    dy[0, 0] = value
    dw = conv2d_weight(x, (3, 3), dy)
    touched = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], bool)
    assert np.isfinite(dw[~touched]).all()
    assert np.array_equal(dw[touched], np.full(4, value), equal_nan=True)


def test_non_finite_stays_in_its_window():
    x = np.zeros((5, 5))
    x[0, 0] = np.nan
    y = conv2d(x, np.zeros((3, 3)))
    assert np.argwhere(np.isnan(y)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert np.isnan(conv2d([[np.inf, -np.inf]], [[1.0, 1.0]], padding="valid")).all()


def test_overflow_does_not_raise():
    huge = np.full((1, 2), 1e308)
    assert conv2d(huge, [[1.0, 1.0]], padding="valid") == np.inf
    assert conv2d(huge, huge, padding="valid") == np.inf
    assert np.isnan(conv2d(huge, [[1e10, -1e10]], padding="valid"))


# Empty cases


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "padding", "y_shape"),
    [
        ((0, 2, 5, 5), (3, 2, 3, 3), "same", (0, 3, 5, 5)),
        ((0, 2, 5, 5), (3, 2, 3, 3), "valid", (0, 3, 3, 3)),
        ((1, 2, 0, 5), (3, 2, 3, 3), "same", (1, 3, 0, 5)),
        ((2, 0, 5), (3, 2, 3, 3), "valid", (3, 0, 3)),
        ((0, 5), (3, 3), "same_lower", (0, 5)),
        ((0, 5), (3, 3), 1, (0, 5)),
        ((0, 5), (3, 3), "full", (2, 7)),
        ((0, 0), (3, 3), 0, (0, 0)),
        ((0, 1), (3, 3), "valid", (0, 0)),
        ((2, 0, 4, 4), (3, 0, 3, 3), "same", (2, 3, 4, 4)),
        ((2, 2, 4, 4), (0, 2, 3, 3), "same", (2, 0, 4, 4)),
    ],
)
def test_empty(x_shape, w_shape, padding, y_shape):
    x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
    y = conv2d(x, w, padding=padding)
    assert y.shape == y_shape
    assert not y.any()
    dx, dw, db = conv2d_backward(np.ones(y_shape), x, w, padding=padding)
    assert (dx.shape, dw.shape) == (x_shape, w_shape)
    assert not dx.any()
    assert not dw.any()
    assert np.array_equal(db, np.full(np.shape(db), np.prod(y_shape) / max(1, np.size(db))))


def test_empty_sums_leave_the_bias():
    assert conv2d(np.ones((0, 3)), [[1.0], [1.0]], 7, padding="full").tolist() == [[7, 7, 7]]
    assert conv2d(np.ones((0, 2, 2)), np.ones((1, 0, 1, 1)), [7]).tolist() == [[[7, 7], [7, 7]]]
    assert conv_transpose2d(np.ones((0, 2)), np.ones((3, 1)), 7).tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "y_shape"),
    [
        ((0, 2, 3, 3), (2, 4, 2, 2), (0, 4, 4, 4)),
        ((1, 2, 0, 3), (2, 4, 1, 2), (1, 4, 0, 4)),
        ((1, 0, 3, 3), (0, 4, 2, 2), (1, 4, 4, 4)),
    ],
)
def test_empty_transpose(x_shape, w_shape, y_shape):
    y = conv_transpose2d(np.ones(x_shape), np.ones(w_shape))
    assert y.shape == y_shape
    assert not y.any()


# out


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "f8"])
def test_out_is_cast_and_returned(dtype):
    x, w = np.arange(12.0).reshape(3, 4) / 7, np.array([[1.0, 2.0]])
    buffer = np.full((3, 8), np.nan, dtype)
    out = buffer[:, ::2]
    assert conv2d(x, w, out=out) is out
    assert np.array_equal(out, conv2d(x, w).astype(dtype))
    assert np.isnan(buffer[:, 1::2]).all()


def test_out_may_overlap_the_inputs():
    x = np.arange(12.0).reshape(3, 4)
    expected = conv2d(x, [[1.0, 2.0, 3.0]])
    assert np.array_equal(conv2d(x, [[1.0, 2.0, 3.0]], out=x), expected)


def test_out_of_backward():
    x, w = np.arange(12.0).reshape(3, 4), np.ones((2, 2))
    dx, db = np.empty((3, 4)), np.empty(())
    grads = conv2d_backward(x, x, w, out=(dx, None, db))
    assert grads.dx is dx
    assert grads.db is db
    assert np.array_equal(grads.dw, conv2d_weight(x, (2, 2), x))
    before = dx.copy()
    with pytest.raises(ValueError, match=r"^out has shape \(5,\)"):
        conv2d_backward(2 * x, x, w, out=(dx, np.empty(5), None))
    assert np.array_equal(dx, before)


# Errors

X, W = np.ones((8, 4, 6, 6)), np.ones((6, 4, 3, 3))
PLANE, TAPS = np.ones((6, 6)), np.ones((3, 3))
FORWARD_ERRORS = [
    (X[None], W, {}, ValueError, r"^x must be .*\(1, 8, 4, 6, 6\)"),
    (X[0, 0, 0], W, {}, ValueError, r"^x must be "),
    (PLANE, W, {}, ValueError, r"^w must be .*x \(6, 6\), w \(6, 4, 3, 3\)"),
    (X, TAPS, {}, ValueError, r"^w must be "),
    (PLANE, TAPS[:0], {}, ValueError, r"^w has no taps .*w \(0, 3\)"),
    (X, W[:, :3], {}, ValueError, r"^w has 3 input channels a group, but x has 4 channels in 1 "),
    (X, W, {"groups": 2}, ValueError, r"4 channels in 2 groups \(x \(8, 4, 6, 6\), w \(6, 4, 3"),
    (X, W[:, :1], {"groups": 4}, ValueError, r"^groups is 4.* 6 .*x \(8, 4, 6, 6\)"),
    (X, W, {"groups": 0}, ValueError, r"^groups must be .*at least 1"),
    (X, W, {"groups": 1.0}, TypeError, r"^groups must be "),
    (PLANE, TAPS, {"groups": 3}, ValueError, r"groups"),
    (PLANE, TAPS, {"stride": 0}, ValueError, r"^stride must be .*at least 1, got 0"),
    (PLANE, TAPS, {"stride": (1, -1)}, ValueError, r"^stride must be "),
    (PLANE, TAPS, {"stride": (1, 1, 1)}, ValueError, r"^stride must be "),
    (PLANE, TAPS, {"stride": 1.0}, TypeError, r"^stride must be "),
    (PLANE, TAPS, {"stride": "2"}, TypeError, r"^stride must be "),
    (PLANE, TAPS, {"dilation": 0}, ValueError, r"^dilation must be "),
    (PLANE, TAPS, {"dilation": (1, 1.5)}, TypeError, r"^dilation must be "),
    (PLANE, TAPS, {"padding": "circular"}, ValueError, r"^padding must be .*'circular'"),
    (PLANE, TAPS, {"padding": -1}, ValueError, r"^padding must be .*-1"),
    (PLANE, TAPS, {"padding": ((0, 0), (0, -1))}, ValueError, r"^padding must be "),
    (PLANE, TAPS, {"padding": (1, 2, 3, 4)}, ValueError, r"^padding .*ONNX and torch"),
    (PLANE, TAPS, {"padding": (1, (2, 3))}, ValueError, r"^padding must be "),
    (PLANE, TAPS, {"padding": (1, 2, 3)}, ValueError, r"^padding must be "),
    (PLANE, TAPS, {"padding": 1.5}, TypeError, r"^padding must be "),
    (PLANE, TAPS, {"padding": None}, TypeError, r"^padding must be "),
    (PLANE, TAPS, {"padding_mode": "circular"}, ValueError, r"^padding_mode must be .*'circular'"),
    (PLANE, TAPS, {"padding_mode": None}, TypeError, r"^padding_mode must be "),
    (PLANE[:0], TAPS, {"padding_mode": "edge"}, ValueError, r"^padding_mode .*x \(0, 6\)"),
    (PLANE, TAPS, {"algorithm": "magic"}, ValueError, r"^algorithm must be .*'magic'"),
    (PLANE, TAPS, {"algorithm": 1}, TypeError, r"^algorithm must be "),
    (PLANE, TAPS, {"num_threads": 0}, ValueError, r"^num_threads must be "),
    (PLANE, TAPS, {"num_threads": 1.0}, TypeError, r"^num_threads must be "),
    (PLANE, np.ones((7, 1)), {"padding": "valid"}, ValueError, r"^w .*x \(6, 6\), w \(7, 1\)"),
    (PLANE, TAPS, {"padding": 0, "dilation": 3}, ValueError, r"^w .*x \(6, 6\), w \(3, 3\)"),
    (PLANE, TAPS, {"b": [1.0, 2.0]}, ValueError, r"^b has shape \(2,\).*x \(6, 6\), w \(3, 3\)"),
    (X, W, {"b": 1.0}, ValueError, r"^b has shape \(\), expected \(6,\)"),
    (PLANE, TAPS, {"b": 1j}, TypeError, r"^b has dtype complex"),
    (PLANE, TAPS, {"out": np.ones((5, 6))}, ValueError, r"^out has shape \(5, 6\).*\(6, 6\)"),
    (PLANE, TAPS, {"out": np.ones((6, 6), int)}, TypeError, r"^out has dtype int64"),
    (PLANE, TAPS, {"out": PLANE.tolist()}, TypeError, r"^out must be "),
    (PLANE, TAPS, {"out": np.broadcast_to(1.0, (6, 6))}, ValueError, r"^out is read-only"),
]


@pytest.mark.parametrize(("x", "w", "settings", "error", "message"), FORWARD_ERRORS)
def test_errors(x, w, settings, error, message):
    with pytest.raises(error, match=message):
        conv2d(x, w, **settings)


@pytest.mark.parametrize("dtype", ["?", "c8", "c16", "g", "O", "U3", "S3", "M8[s]", "m8[s]"])
@pytest.mark.parametrize("name", ["x", "w", "b", "dy"])
def test_refused_types(dtype, name):
    arrays = {"x": np.ones((2, 2)), "w": np.ones((2, 2)), "b": np.ones(1), "dy": np.ones((2, 2))}
    arrays[name] = np.zeros(arrays[name].shape, dtype)
    x, w, b, dy = arrays.values()
    with pytest.raises(TypeError, match=rf"^{name} has dtype "):
        (conv2d_input((2, 2), w, dy) if name == "dy" else conv2d(x, w, b))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: conv2d_input((6, 6), TAPS, np.ones((5, 6))), ValueError, r"^dy has .*\(6, 6\)"),
        (
            lambda: conv2d_weight(X, W.shape, X),
            ValueError,
            r"^dy has .*weight_shape \(6, 4, 3, 3\)",
        ),
        (lambda: conv2d_backward(X, X, W), ValueError, r"^dy has shape \(8, 4, 6, 6\)"),
        (lambda: conv2d_input((6, -6), TAPS, PLANE), ValueError, r"^input_shape must be "),
        (lambda: conv2d_input((6, 6.0), TAPS, PLANE), TypeError, r"^input_shape must be "),
        (lambda: conv2d_input(6, TAPS, PLANE), TypeError, r"^input_shape must be "),
        (lambda: conv2d_input((6,), TAPS, PLANE), ValueError, r"^input_shape must be "),
        (lambda: conv2d_weight(PLANE, (0, 3), PLANE), ValueError, r"^weight_shape has no taps"),
        (lambda: conv2d_weight(PLANE, "33", PLANE), TypeError, r"^weight_shape must be "),
        (lambda: conv2d_weight(X, (6, 3, 3, 3), X), ValueError, r"^weight_shape has 3 input"),
        (lambda: conv2d_backward(PLANE, PLANE, TAPS, need="dz"), ValueError, r"^need must be "),
        (lambda: conv2d_backward(PLANE, PLANE, TAPS, need=("dx", 1)), TypeError, r"^need must be "),
        (lambda: conv2d_backward(PLANE, PLANE, TAPS, need=None), TypeError, r"^need must be "),
        (lambda: conv2d_backward(PLANE, PLANE, TAPS, out=PLANE), TypeError, r"^out must be "),
        (lambda: conv2d_backward(PLANE, PLANE, TAPS, out=(PLANE,)), ValueError, r"^out must have"),
        (lambda: conv_transpose2d(X, W), ValueError, r"^w has 6 input channels, but x has 4"),
        (lambda: conv_transpose2d(X, W[:4], groups=3), ValueError, r"^groups is 3"),
        (lambda: conv_transpose2d(PLANE, TAPS, padding="same"), TypeError, r"^padding must be "),
        (lambda: conv_transpose2d(PLANE, TAPS, padding=5), ValueError, r"^padding .*\(6, 6\)"),
        (lambda: conv_transpose2d(PLANE, TAPS, output_padding=1), ValueError, r"^output_padding 1"),
        (lambda: conv_transpose2d(PLANE, TAPS, output_padding=-1), ValueError, r"^output_padding"),
        (lambda: conv_transpose2d(PLANE, TAPS, [1.0, 2.0]), ValueError, r"^b has shape \(2,\)"),
        (lambda: dot(PLANE[0], TAPS), ValueError, r"^x must have two dimensions, got .*\(6,\)"),
        (lambda: dot(PLANE, W), ValueError, r"^w must have two dimensions"),
        (lambda: dot(PLANE, TAPS, 1), TypeError, r"^shift must be "),
        (lambda: dot(PLANE, TAPS, (1, 2, 3)), ValueError, r"^shift must be "),
        (lambda: dot(PLANE > 0, TAPS), TypeError, r"^x has dtype bool"),
        (lambda: dot_grad_w(PLANE, (3,)), ValueError, r"^w_shape must have two dimensions"),
        (lambda: dot_grad_w(PLANE, (3, -3)), ValueError, r"^w_shape must be "),
        (lambda: dot_grad_x((3,), TAPS), ValueError, r"^x_shape must have two dimensions"),
        (lambda: dot_grad_x((3, 3), TAPS[0]), ValueError, r"^w must have two dimensions"),
    ],
)
def test_more_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_transpose_may_be_cut_to_nothing():
    assert conv_transpose2d(PLANE, TAPS, padding=4).shape == (0, 0)


# The small kernel


def laid_on(x, shape, down, right):
    """What a window of this shape sees of x when moved down and right; zeros around x."""
    reach = 20
    padded = np.pad(x, reach)
    rows, cols = slice(reach + down, None), slice(reach + right, None)
    return padded[rows, cols][: shape[0], : shape[1]]


@pytest.mark.parametrize("sizes", [((4, 5), (2, 3)), ((2, 3), (4, 5)), ((3, 1), (1, 3))])
@pytest.mark.parametrize("shift", list(itertools.product((-6, -2, 0, 1, 3), (-5, -1, 0, 2))))
def test_dot(sizes, shift):
    rng = np.random.default_rng(0)
    x, w = (small_ints(rng, size, np.int16) for size in sizes)
    alpha, beta = shift
    under = laid_on(x, w.shape, alpha, beta)
    y = dot(x, w, shift)
    assert y.dtype == np.int16
    assert y == (under * w).sum()
    dw, dx = dot_grad_w(x, w.shape, shift), dot_grad_x(x.shape, w, shift)
    assert dw.dtype == dx.dtype == np.int16
    assert np.array_equal(dw, under)
    assert np.array_equal(dx, laid_on(w, x.shape, -alpha, -beta))
    assert y == (dw * w).sum() == (dx * x).sum()


def test_dot_types_and_edges():
    assert isinstance(dot(np.ones((2, 2), np.float32), np.ones((2, 2), np.int8)), np.float64)
    assert dot(np.full((1, 2), 127, np.int8), np.ones((1, 2), np.int8)) == np.int8(-2)
    assert dot(np.ones((1, 1)), [[np.inf, 1.0]], (0, -1)) == 1
    assert dot(np.ones((0, 2)), np.ones((2, 0))) == 0
    assert dot_grad_w(np.ones((2, 2), np.float32), (0, 3)).shape == (0, 3)
    assert dot_grad_x((2, 2), np.ones((1, 1), np.float32)).dtype == np.float64


def test_conv2d_is_dot_at_every_place():
    rng = np.random.default_rng(5)
    x, w = small_ints(rng, (5, 4)), small_ints(rng, (3, 2))
    expected = [[dot(x, w, (i - 1, j)) for j in range(4)] for i in range(5)]
    assert np.array_equal(conv2d(x, w), expected)
