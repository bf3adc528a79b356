"""The whole interface in pure Python: nested loops straight from the formulas of the docstrings.

It is the oracle of every test and the baseline of every benchmark, so it stays dumb and shares no
code with the rest of the package. Floats are Python floats and come back as float64, unrounded;
integers are Python ints, exact, and wrap once, at the end, to the type that NumPy would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Named: TypeAlias = tuple[str, Shape]  # an argument's name and shape, for messages
Pair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int] | Sequence[Sequence[int]]

PADDING_MODES = ("zeros", "constant", "edge", "reflect", "symmetric", "wrap")
INTS, LISTS = (int, np.integer), (list, tuple, np.ndarray)


class Gradients(NamedTuple):
    """Gradients of `conv2d`; None where one was not asked for."""

    dx: Array | None
    dw: Array | None
    db: Array | None


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """2-D convolution in the sense of machine learning: cross-correlation, no filter flip.

    Y[n,k,i,j] = b[k] + sum_{c,p,q} X[n, c, i*s - pad_top + p*d, j*s - pad_left + q*d] * W[k,c,p,q]
    summed in the order c, p, q; a term whose X lies in zero padding is left out.

    Parameters
    ----------
    x : (H, W), (C, H, W) or (N, C, H, W), of integers, float16, float32 or float64
    w : (a, b) for one plane, (K, C/groups, a, b) otherwise
    b : (K,); for one plane a scalar or (1,)
    stride, dilation : int or pair, at least 1
    padding : "same", "same_lower", "valid", "full", int, (ph, pw) or ((top, bottom), (left, right))
    groups : groups of channels that do not see each other
    padding_mode : "zeros" or "constant", "edge", "reflect", "symmetric", "wrap", as in `np.pad`
    algorithm : "auto", "direct", "fft" or "separable", which are the same here
    out : array of the result's shape, gets the result (cast as same_kind) and is returned
    num_threads : at least 1, without effect here

    Returns
    -------
    y : of the rank of x; float64, or the integer type of `np.result_type(x, w, b)`

    Raises
    ------
    ValueError for shapes and values, TypeError for types

    Examples
    --------
    >>> conv2d([[1, 2, 3], [4, 5, 6]], [[1, 10]], padding="valid").tolist()
    [[21, 32], [54, 65]]
    """
    x, w = _operand("x", x), _operand("w", w)
    _check_settings(algorithm, num_threads, padding_mode)
    layer = _layer(("x", x.shape), ("w", w.shape), stride, padding, dilation, groups, padding_mode)
    dtype, bias = _bias(b, layer.w[0], layer.rank, x, w)
    x4, w4 = _numbers(x, layer.x, dtype), _numbers(w, layer.w, dtype)
    y = [[_full(layer.y[2:], bias[k]) for k in range(layer.y[1])] for n in range(layer.y[0])]
    for n, k, c, channel in layer.channels():
        for i, p, row in layer.rows:
            y_row, x_row, w_row = y[n][k][i], x4[n][channel][row], w4[k][c][p]
            for j, q, col in layer.cols:
                y_row[j] += x_row[col] * w_row[q]
    return _deliver(_array(y, layer.y[-layer.rank :], dtype), out)


def conv2d_input(
    input_shape: Sequence[int],
    w: ArrayLike,
    dy: ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient in x, the adjoint of `conv2d` in X: each term of Y gives `dY * W` to the X it read.

    `dX[n, c, i*s - pad_top + p*d, j*s - pad_left + q*d] += dY[n,k,i,j] * W[k,c,p,q]` for all
    n, k, c, i, p, j, q, through the padding mode. `dy` has the shape of y; the result has
    `input_shape` and is float64 or the integer type of `np.result_type(w, dy)`.

    Examples
    --------
    >>> conv2d_input((1, 3), [[1, 10]], [[1, 2]], padding="valid").tolist()
    [[1, 12, 20]]
    """
    w, dy, x_named = _operand("w", w), _operand("dy", dy), _shape("input_shape", input_shape)
    _check_settings(algorithm, num_threads, padding_mode)
    layer = _layer(x_named, ("w", w.shape), stride, padding, dilation, groups, padding_mode)
    _check_dy(dy.shape, layer)
    return _deliver(_sum_dx(layer, w, dy), out)


def conv2d_weight(
    x: ArrayLike,
    weight_shape: Sequence[int],
    dy: ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient in w, the adjoint of `conv2d` in W.

    `dW[k,c,p,q] = sum_{n,i,j} dY[n,k,i,j] * X[n, c, i*s - pad_top + p*d, j*s - pad_left + q*d]`
    `dy` has the shape of y; the result has `weight_shape` and is float64 or the integer type of
    `np.result_type(x, dy)`.

    Examples
    --------
    >>> conv2d_weight([[1, 2, 3]], (1, 2), [[1, 10]], padding="valid").tolist()
    [[21, 32]]
    """
    x, dy, w_named = _operand("x", x), _operand("dy", dy), _shape("weight_shape", weight_shape)
    _check_settings(algorithm, num_threads, padding_mode)
    layer = _layer(("x", x.shape), w_named, stride, padding, dilation, groups, padding_mode)
    _check_dy(dy.shape, layer)
    return _deliver(_sum_dw(layer, x, dy), out)


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    need: str | Sequence[str] = ("dx", "dw", "db"),
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    num_threads: int | None = None,
) -> Gradients:
    """The gradients in x, w and b that `need` names (one name or several); None for the others.

    dx as `conv2d_input`, dw as `conv2d_weight`, `db[k] = sum_{n,i,j} dY[n,k,i,j]` of shape
    (K,), or () for one plane, in dy's type. `out` is a tuple of three arrays or None.

    Examples
    --------
    >>> conv2d_backward([[1, 10]], [[1, 2, 3]], [[1, 10]], padding="valid", need=("dw", "db"))
    Gradients(dx=None, dw=array([[21, 32]]), db=array(11))
    """
    dy, x, w = _operand("dy", dy), _operand("x", x), _operand("w", w)
    _check_settings(algorithm, num_threads, padding_mode)
    layer = _layer(("x", x.shape), ("w", w.shape), stride, padding, dilation, groups, padding_mode)
    _check_dy(dy.shape, layer)
    names = (need,) if isinstance(need, str) else need
    if not isinstance(names, LISTS):
        raise TypeError(f"need must be a name or several, got {need!r}")
    for name in names:
        _choice("need", name, Gradients._fields)
    dx = _sum_dx(layer, w, dy) if "dx" in names else None
    dw = _sum_dw(layer, x, dy) if "dw" in names else None
    db = _sum_db(layer, dy) if "db" in names else None
    return _deliver_all(Gradients(dx, dw, db), out)


def conv_transpose2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Transposed convolution, in torch's meaning: the gradient of `conv2d` in x used as a layer.

    `Y[n, k, i*s - pad_top + p*d, j*s - pad_left + q*d] += X[n,c,i,j] * W[c,k,p,q]` on top of `b[k]`
    for all n, c, k, i, p, j, q that stay within Y, which has
    `(H - 1)*s - pad_top - pad_bottom + d*(a - 1) + output_padding + 1` rows.

    w is (a, b) for a plane, (C_in, C_out/groups, a, b) otherwise; b is (C_out,). `padding` is cut
    off the full result and is never a name; `output_padding`, an int or a pair, is added below and
    on the right, and is smaller than stride or dilation. The rest is as in `conv2d`.

    Examples
    --------
    >>> conv_transpose2d([[1, 2]], [[1, 10]], stride=2).tolist()
    [[1, 10, 2, 20]]
    """
    x, w = _operand("x", x), _operand("w", w)
    _check_settings(algorithm, num_threads, "zeros")
    layer = _transposed(x.shape, w.shape, stride, padding, output_padding, dilation, groups)
    dtype, bias = _bias(b, layer.x[1], layer.rank, x, w)
    y = [[_full(layer.x[2:], bias[k]) for k in range(layer.x[1])] for n in range(layer.x[0])]
    _add_dx(layer, _numbers(w, layer.w, dtype), _numbers(x, layer.y, dtype), y)
    return _deliver(_array(y, layer.x[-layer.rank :], dtype), out)


def dot(x: ArrayLike, w: ArrayLike, shift: Sequence[int] = (0, 0)) -> Any:
    """Sum of the products of w, laid on x and moved down and right by `shift`, with what it covers.

    `y = sum_{p,q} X[p+alpha, q+beta] * W[p,q]`, terms outside X left out. x is (H, W), w
    is (a, b) of any size; y is a NumPy scalar, float64 or of the integer type `result_type(x, w)`.

    Examples
    --------
    >>> int(dot([[1, 2], [3, 4]], [[1, 10]], shift=(1, -1)))
    30
    """
    x, w = _operand("x", x), _operand("w", w)
    alpha, beta = _ints("shift", shift, "a pair of ints", -math.inf, length=2)
    (height, width), (a, b) = _plane("x", x.shape), _plane("w", w.shape)
    dtype: np.dtype[Any] = np.result_type(x, w)
    x2, w2, y = _numbers(x, x.shape, dtype), _numbers(w, w.shape, dtype), _full((), 0)
    for p in range(a):
        for q in range(b):
            if 0 <= p + alpha < height and 0 <= q + beta < width:
                y += x2[p + alpha][q + beta] * w2[p][q]
    return _array(y, (), dtype)[()]


def dot_grad_w(x: ArrayLike, w_shape: Sequence[int], shift: Sequence[int] = (0, 0)) -> Array:
    """Gradient of `dot` in w: `dy/dW[p,q] = X[p+alpha, q+beta]`, or 0 outside X.

    Examples
    --------
    >>> dot_grad_w([[1, 2], [3, 4]], (1, 3), shift=(1, -1)).tolist()
    [[0, 3, 4]]
    """
    alpha, beta = _ints("shift", shift, "a pair of ints", -math.inf, length=2)
    return _window("x", _operand("x", x), _shape("w_shape", w_shape), alpha, beta)


def dot_grad_x(x_shape: Sequence[int], w: ArrayLike, shift: Sequence[int] = (0, 0)) -> Array:
    """Gradient of `dot` in x: `dy/dX[p,q] = W[p-alpha, q-beta]`, or 0 outside W.

    Examples
    --------
    >>> dot_grad_x((2, 3), [[1, 10]], shift=(1, 1)).tolist()
    [[0, 0, 0], [0, 1, 10]]
    """
    alpha, beta = _ints("shift", shift, "a pair of ints", -math.inf, length=2)
    return _window("w", _operand("w", w), _shape("x_shape", x_shape), -alpha, -beta)


# The sums of the gradients.


def _add_dx(layer: _Layer, w: Any, dy: Any, dx: Any) -> None:
    for n, k, c, channel in layer.channels():
        for i, p, row in layer.rows:
            dx_row, dy_row, w_row = dx[n][channel][row], dy[n][k][i], w[k][c][p]
            for j, q, col in layer.cols:
                dx_row[col] += dy_row[j] * w_row[q]


def _sum_dx(layer: _Layer, w: Array, dy: Array) -> Array:
    dtype: np.dtype[Any] = np.result_type(dy, w)
    dx = _full(layer.x, 0)
    _add_dx(layer, _numbers(w, layer.w, dtype), _numbers(dy, layer.y, dtype), dx)
    return _array(dx, layer.x[-layer.rank :], dtype)


def _sum_dw(layer: _Layer, x: Array, dy: Array) -> Array:
    dtype: np.dtype[Any] = np.result_type(x, dy)
    x4, dy4, dw = _numbers(x, layer.x, dtype), _numbers(dy, layer.y, dtype), _full(layer.w, 0)
    for n, k, c, channel in layer.channels():
        for i, p, row in layer.rows:
            dw_row, dy_row, x_row = dw[k][c][p], dy4[n][k][i], x4[n][channel][row]
            for j, q, col in layer.cols:
                dw_row[q] += dy_row[j] * x_row[col]
    return _array(dw, layer.w[2:] if layer.rank == 2 else layer.w, dtype)


def _sum_db(layer: _Layer, dy: Array) -> Array:
    db = _full(layer.y[1:2], 0)
    for image in _numbers(dy, layer.y, dy.dtype):
        for k, plane in enumerate(image):
            for row in plane:
                for value in row:
                    db[k] += value
    return _array(db, () if layer.rank == 2 else layer.y[1:2], dy.dtype)


def _window(name: str, source: Array, target: Named, down: int, right: int) -> Array:
    """`result[p,q] = source[p+down, q+right]`, or 0 outside the source."""
    (height, width), (rows, cols) = _plane(name, source.shape), _plane(*target)
    numbers, result = _numbers(source, source.shape, source.dtype), _full((rows, cols), 0)
    for p in range(rows):
        for q in range(cols):
            if 0 <= p + down < height and 0 <= q + right < width:
                result[p][q] = numbers[p + down][q + right]
    return _array(result, (rows, cols), source.dtype)


# Geometry: which element of X each tap of each output reads.


class _Layer(NamedTuple):
    """Shapes as of rank 4, and for each axis the triples (output, tap, input) that have a term."""

    x: Shape
    w: Shape
    y: Shape
    rows: list[tuple[int, int, int]]
    cols: list[tuple[int, int, int]]
    groups: int
    rank: int
    shapes: str

    def channels(self) -> Iterator[tuple[int, int, int, int]]:
        """Every image, filter, input channel as counted in the filter's group and as in x."""
        for n in range(self.x[0]):
            for k in range(self.w[0]):
                for c in range(self.w[1]):
                    yield n, k, c, k // (self.w[0] // self.groups) * self.w[1] + c


def _source(index: int, size: int, mode: str) -> int | None:
    """Where `np.pad` takes the element at `index` from; None where it is a zero of the padding."""
    if 0 <= index < size:
        return index
    if mode == "edge":
        return min(max(index, 0), size - 1)
    if mode == "wrap":
        return index % size
    if mode == "symmetric":
        step = index % (2 * size)
        return min(step, 2 * size - 1 - step)
    if mode == "reflect":  # a single element reflects to itself
        step = index % max(2 * size - 2, 1)
        return min(step, 2 * size - 2 - step)
    return None


def _triples(
    outputs: int, size: int, taps: int, stride: int, dilation: int, before: int, mode: str
) -> list[tuple[int, int, int]]:
    return [
        (i, p, source)
        for i in range(outputs)
        for p in range(taps)
        if (source := _source(i * stride - before + p * dilation, size, mode)) is not None
    ]


def _layer(
    x: Named, w: Named, stride: Pair, padding: Padding, dilation: Pair, groups: int, mode: str
) -> _Layer:
    """Geometry of `conv2d`."""
    x4, w4, shapes = _check_shapes(x, w, groups)
    if w4[1] * groups != x4[1]:
        raise ValueError(
            f"{w[0]} has {w4[1]} input channels a group, "
            f"but {x[0]} has {x4[1]} channels in {groups} groups ({shapes})"
        )
    empty = 0 in x4[2:]
    if empty and mode not in ("zeros", "constant"):
        raise ValueError(f"padding_mode {mode!r} finds nothing to repeat ({shapes})")
    y, axes = [], []
    settings = _pair("stride", stride, 1), _pair("dilation", dilation, 1), _sides(padding)
    for size, taps, s, d, side in zip(x4[2:], w4[2:], *settings, strict=True):
        span = d * (taps - 1) + 1
        before, after = _pad(side, size, span, s)
        padded = before + size + after
        if padded < span and not empty:
            have = f"{x[0]} has {padded} rows or columns with its padding"
            raise ValueError(f"{w[0]} spans {span} with its dilation, but {have} ({shapes})")
        y.append(max((padded - span) // s + 1, 0))
        axes.append(_triples(y[-1], size, taps, s, d, before, mode))
    return _Layer(x4, w4, (x4[0], w4[0], *y), axes[0], axes[1], groups, len(x[1]), shapes)


def _transposed(
    x: Shape, w: Shape, stride: Pair, padding: Padding, extra: Pair, dilation: Pair, groups: int
) -> _Layer:
    """Geometry of the `conv2d` that `conv_transpose2d` is the gradient of; its y is our x."""
    x4, w4, shapes = _check_shapes(("x", x), ("w", w), groups)
    if w4[0] != x4[1]:
        raise ValueError(f"w has {w4[0]} input channels, but x has {x4[1]} ({shapes})")
    if isinstance(padding, str):
        raise TypeError(f"padding must be given in numbers, got {padding!r}")
    y, axes = [], []
    settings = _pair("stride", stride, 1), _pair("dilation", dilation, 1), _sides(padding)
    extras = _pair("output_padding", extra, 0)
    for size, taps, s, d, side, more in zip(x4[2:], w4[2:], *settings, extras, strict=True):
        if more >= max(s, d):
            raise ValueError(f"output_padding {more} must be below stride {s} or dilation {d}")
        length = (size - 1) * s - sum(side) + d * (taps - 1) + more + 1
        if length < 0 and 0 not in x4[2:]:
            raise ValueError(f"padding {side} is more than the result has ({shapes})")
        y.append(max(length, 0))
        axes.append(_triples(size, y[-1], taps, s, d, side[0], "zeros"))
    y4 = (x4[0], w4[1] * groups, *y)
    return _Layer(y4, w4, x4, axes[0], axes[1], groups, len(x), shapes)


def _pad(side: Any, size: int, span: int, stride: int) -> Any:
    """Padding (before, after) from a name, or as it is given."""
    if side == "valid":
        return 0, 0
    if side == "full":
        return span - 1, span - 1
    if side in ("same", "same_lower"):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if side == "same" else (large, small)
    return side


# Arguments: each checked by its name, turned into plain numbers, and back into an array.


def _check_settings(algorithm: str, num_threads: int | None, padding_mode: str) -> None:
    _choice("algorithm", algorithm, ("auto", "direct", "fft", "separable"))
    _choice("padding_mode", padding_mode, PADDING_MODES)
    if num_threads is not None:
        _check_count("num_threads", num_threads)


def _check_shapes(x: Named, w: Named, groups: int) -> tuple[Shape, Shape, str]:
    """Both shapes as of rank 4, and as a text."""
    shapes = f"{x[0]} {x[1]}, {w[0]} {w[1]}"
    if len(x[1]) not in (2, 3, 4):
        raise ValueError(f"{x[0]} must be (H, W), (C, H, W) or (N, C, H, W) ({shapes})")
    if len(w[1]) != (2 if len(x[1]) == 2 else 4):
        expected = "(a, b) for one plane, of rank 4 otherwise"
        raise ValueError(f"{w[0]} must be {expected} ({shapes})")
    if 0 in w[1][-2:]:
        raise ValueError(f"{w[0]} has no taps ({shapes})")
    x4, w4 = ((1,) * (4 - len(shape)) + shape for shape in (x[1], w[1]))
    _check_count("groups", groups)
    if w4[0] % groups:
        raise ValueError(f"groups is {groups}, which does not divide {w4[0]} ({shapes})")
    return x4, w4, shapes


def _check_dy(shape: Shape, layer: _Layer) -> None:
    expected = layer.y[-layer.rank :]
    if shape != expected:
        raise ValueError(f"dy has shape {shape}, expected {expected} ({layer.shapes})")


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, INTS):
        raise TypeError(f"{name} must be an int, at least 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be an int, at least 1, got {value!r}")


def _ints(name: str, value: Any, expected: str, least: float, length: int | None = None) -> Shape:
    if not isinstance(value, LISTS) or not all(isinstance(v, INTS) for v in value):
        raise TypeError(f"{name} must be {expected}, got {value!r}")
    if length not in (None, len(value)) or min(value, default=least) < least:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return tuple(map(int, value))


def _pair(name: str, value: Any, least: int) -> Shape:
    expected = f"an int or a pair of ints, at least {least}"
    if not isinstance(value, INTS):
        return _ints(name, value, expected, least, length=2)
    if value < least:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return int(value), int(value)


def _shape(name: str, value: Any) -> Named:
    return name, _ints(name, value, "a tuple of ints, none negative", 0)


def _plane(name: str, shape: Shape) -> Shape:
    if len(shape) != 2:
        raise ValueError(f"{name} must have two dimensions, got shape {shape}")
    return shape


def _sides(padding: Any) -> list[Any]:
    """Padding of each axis: a name, or a pair (before, after)."""
    if isinstance(padding, str):
        _choice("padding", padding, ("same", "same_lower", "valid", "full"))
    sides = padding if isinstance(padding, LISTS) else [padding, padding]
    if len(sides) == 4:
        raise ValueError(
            f"padding {padding!r} is ambiguous, as ONNX and torch order four numbers differently: "
            "expected ((top, bottom), (left, right))"
        )
    if len(sides) != 2 or len({isinstance(side, INTS) for side in sides}) != 1:
        raise ValueError(f"padding must be a name, an int, (ph, pw) or two pairs, got {padding!r}")
    return [side if isinstance(side, str) else _pair("padding", side, 0) for side in sides]


def _operand(name: str, value: Any) -> Array:
    only_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    array: Array = np.from_dlpack(value) if only_dlpack else np.asarray(value)
    if array.dtype.kind not in "iu" and array.dtype.char not in "efd":
        expected = "integers, float16, float32 or float64"
        raise TypeError(f"{name} has dtype {array.dtype}, expected {expected}")
    return array


def _bias(b: Any, count: int, rank: int, x: Array, w: Array) -> tuple[np.dtype[Any], list[Any]]:
    """The result's dtype, and b as numbers of it."""
    if b is None:
        return np.result_type(x, w), [0] * count
    array = _operand("b", b)
    if array.shape not in ([(), (1,)] if rank == 2 else [(count,)]):
        expected = "() or (1,)" if rank == 2 else f"({count},)"
        got = f"(x {x.shape}, w {w.shape})"
        raise ValueError(f"b has shape {array.shape}, expected {expected} {got}")
    # A Python number takes the type of the arrays, as in NumPy (NEP 50), where it fits.
    dtype: np.dtype[Any] = np.result_type(x, w, b if type(b) in (int, float) else array.dtype)
    numbers = _numbers(array, (count,), dtype)
    if dtype.kind in "iu" and _wrap(numbers, dtype) != numbers:
        raise ValueError(f"b is {b}, too large for {dtype}, the type of x and w")
    return dtype, numbers


def _numbers(array: Array, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Nested lists of Python floats where `dtype` is a float type, of Python ints otherwise."""
    numbers = array.astype(np.float64) if dtype.kind == "f" else array
    return numbers.reshape(shape).tolist()


def _full(shape: Shape, value: Any) -> Any:
    return [_full(shape[1:], value) for _ in range(shape[0])] if shape else value


def _wrap(numbers: Any, dtype: np.dtype[Any]) -> Any:
    """Nested Python ints modulo 2^bits, in the range of `dtype`."""
    if isinstance(numbers, list):
        return [_wrap(number, dtype) for number in numbers]
    low = int(np.iinfo(dtype).min)
    return (numbers - low) % 2 ** (8 * dtype.itemsize) + low


def _array(numbers: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The result: float64, or wrapped to the integer type."""
    if dtype.kind == "f":
        return np.array(numbers, np.float64).reshape(shape)
    return np.array(_wrap(numbers, dtype), dtype.newbyteorder("=")).reshape(shape)


def _check_out(result: Array, out: Any) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, got {type(out)}")
    if out.shape != result.shape:
        raise ValueError(f"out has shape {out.shape}, expected {result.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError(f"out has dtype {out.dtype}, which {result.dtype} does not cast to")


def _deliver(result: Array, out: Array | None) -> Array:
    """The result itself, or `out` with the result in it."""
    if out is None:
        return result
    _check_out(result, out)
    np.copyto(out, result, casting="same_kind")
    return out


def _deliver_all(grads: Gradients, out: Any) -> Gradients:
    """As `_deliver`, with all checks before the first write."""
    if out is None:
        return grads
    if not isinstance(out, tuple):
        raise TypeError(f"out must be a tuple of three arrays or None, got {type(out)}")
    if len(out) != 3:
        raise ValueError(f"out must have three entries, for dx, dw and db, got {len(out)}")
    pairs = list(zip(grads, out, strict=True))
    for grad, target in pairs:
        if grad is not None and target is not None:
            _check_out(grad, target)
    return Gradients(*(None if grad is None else _deliver(grad, target) for grad, target in pairs))
