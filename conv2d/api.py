"""The public functions: arrays in, results out; what is unusual about a call is sorted out here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _door, layer, planar
from .arrays import Result, apart, check_out, operand, readable
from .plan import make_plan, walks_plane
from .problem import (
    Array,
    Padding,
    Pair,
    Problem,
    check_dy,
    find_problem,
    make_transposed,
    parse_shape,
)
from .threads import check_threads, get_num_threads

ONE, SAME, ZEROS, AUTO = 1, "same", "zeros", "auto"  # the settings of a plain call
ALL = "dx", "dw", "db"  # gradients that are needed, most often


class Gradients(NamedTuple):
    """What `conv2d_backward` returns; None for what was not asked for."""

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
    """Cross-correlation, no filter flip: the convolution of machine learning, of planes and layers.

    `y[n, k, i, j] = b[k] + sum over c, p, q of
    x[n, c, i*s - top + p*d, j*s - left + q*d] * w[k, c, p, q]`, with stride s and dilation d. Of
    several groups, c counts the channels of the group that k belongs to. A plane has neither n, k
    nor c.

    Parameters
    ----------
    x : array_like, shape (H, W), (C, H, W) or (N, C, H, W)
        A plane, an image or a batch: integers, float16, float32 or float64, in any layout.
    w : array_like, shape (a, b) for a plane, (K, C/groups, a, b) otherwise
        The filters, of any size.
    b : array_like, shape (K,); for a plane a scalar or (1,), optional
        The bias.
    stride : int or pair, at least 1
        Rows and columns of x from one output to the next.
    padding : str, int or tuple
        "same" (y has ceil(H/stride) rows and ceil(W/stride) columns; of an odd total of padding the
        smaller half comes before), "same_lower" (the larger half before), "valid" (none), "full"
        (dilation*(a - 1) rows and dilation*(b - 1) columns on each side), an int, (rows, columns)
        or ((top, bottom), (left, right)). Nothing negative.
    dilation : int or pair, at least 1
        Rows and columns of x from one tap of a filter to the next.
    groups : int, at least 1
        Into how many equal parts channels and filters are divided, each filter seeing the channels
        of its own part alone; C of them is a depthwise convolution.
    padding_mode : str
        "zeros" or "constant", "edge", "reflect", "symmetric", "wrap", as in `numpy.pad`. A term
        whose x lies in padding of zeros is left out of the sum: an infinite w makes no NaN there.
    algorithm : str
        "auto" (the fastest that is accurate; errors stay local), "direct" (the sum as it stands),
        "fft" (tiles are transformed in float64; for large filters of float32) or "separable" (two
        passes, for filters that are a column times a row but for rounding). The last two are for
        floats and for planes without stride and dilation; dw is always the direct sum.
    out : ndarray, optional
        Gets the result, cast as "same_kind", and is returned. It may overlap the inputs.
    num_threads : int, optional
        Threads of this call; `get_num_threads()` by default. The result is the same for any.

    Returns
    -------
    y : ndarray, of the rank of x, with K channels
        It has `(top + H + bottom - dilation*(a - 1) - 1) // stride + 1` rows, columns likewise; the
        type is `numpy.result_type(x, w, b)`. Integers are exact and wrap; float16 is computed in
        float32 and rounded once.

    Raises
    ------
    ValueError
        for shapes and values that do not fit, such as a filter larger than the padded plane,
        channels of x that are not those of w times groups, or a filter that is not separable where
        `algorithm` says so
    TypeError
        for types: bool, complex, longdouble, object and strings are not computed with
    MemoryError
        where the result or the workspace (at most 32 MiB) cannot be had

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d([[1, 2, 3], [4, 5, 6]], [[1, 10]], padding="valid")
    array([[21, 32],
           [54, 65]])

    A layer, of two images with three channels, 8 filters and every second pixel:

    >>> import numpy as np
    >>> x, w = np.ones((2, 3, 32, 32), np.float32), np.ones((8, 3, 3, 3), np.float32)
    >>> y = conv2d.conv2d(x, w, np.arange(8, dtype=np.float32), stride=2)
    >>> y.shape, y[0, :, 5, 5]
    ((2, 8, 16, 16), array([27., 28., 29., 30., 31., 32., 33., 34.], dtype=float32))
    """
    if b is None and _plain(stride, padding, dilation, groups, padding_mode, algorithm, out):
        y: Array | None = _door.forward_same(x, w, num_threads)
        if y is not None:
            return y
    settings = stride, padding, dilation, groups, padding_mode, algorithm
    call = "conv2d", (x, w, b), settings, num_threads
    known = _door.again(call, None if out is None else (out,))
    if known is not None:
        return known[0]
    x, w = operand("x", x), operand("w", w)
    dtype, bias = _type_with_bias(x, w, b)
    problem = find_problem(("x", x.shape), ("w", w.shape), dtype, *settings)
    if out is not None:
        check_out(out, problem.y_shape, dtype)
    if bias is not None:
        bias = apart(_as_bias(bias, problem.filters, problem, dtype), out)
    threads = _threads(num_threads)
    result, made = _correlate(problem, "forward", x, w, bias, out, threads)
    _door.keep(call, made, (result,))
    return result


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
    """Gradient of `conv2d` in x: the adjoint.

    `dx[n, c, i*s - top + p*d, j*s - left + q*d] += dy[n, k, i, j] * w[k, c, p, q]` for all n, k, c,
    i, j, p, q, through the padding: what lands in a copied edge joins the pixel it was copied from.

    Parameters
    ----------
    input_shape : tuple of int, (H, W), (C, H, W) or (N, C, H, W)
        The shape of x.
    w : array_like, shape (a, b) for a plane, (K, C/groups, a, b) otherwise
        The filters.
    dy : array_like, the shape of y
        The gradient in y.
    stride, padding, dilation, groups, padding_mode, algorithm, out, num_threads
        As in `conv2d`.

    Returns
    -------
    dx : ndarray, of the shape of x
        Of type `numpy.result_type(dy, w)`.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`; also where dy does not have the shape of y.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d_input((1, 3), [[1, 10]], [[1, 2]], padding="valid")
    array([[ 1, 12, 20]])

    A layer with stride; pixels that no filter sees get zero:

    >>> w, dy = [[[[1, 10]]]], [[[[1, 2]]]]
    >>> conv2d.conv2d_input((1, 1, 1, 5), w, dy, stride=2, padding="valid")
    array([[[[ 1, 10,  2, 20,  0]]]])
    """
    if _plain(stride, padding, dilation, groups, padding_mode, algorithm, out):
        dx: Array | None = _door.input_same(input_shape, w, dy, num_threads)
        if dx is not None:
            return dx
    settings = stride, padding, dilation, groups, padding_mode, algorithm
    call = "conv2d_input", (dy, w), (input_shape, *settings), num_threads
    known = _door.again(call, None if out is None else (out,))
    if known is not None:
        return known[0]
    w, dy = operand("w", w), operand("dy", dy)
    x_shape = "input_shape", parse_shape("input_shape", input_shape)
    problem = find_problem(x_shape, ("w", w.shape), np.result_type(dy, w), *settings)
    result, made = _input_gradient(problem, w, dy, out, num_threads)
    _door.keep(call, made, (result,))
    return result


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
    """Gradient of `conv2d` in w: the dot products of dy with the shifted x.

    `dw[k, c, p, q] = sum over n, i, j of
    dy[n, k, i, j] * x[n, c, i*s - top + p*d, j*s - left + q*d]`

    Parameters
    ----------
    x : array_like, shape (H, W), (C, H, W) or (N, C, H, W)
        A plane, an image or a batch.
    weight_shape : tuple of int, (a, b) for a plane, (K, C/groups, a, b) otherwise
        The shape of w.
    dy : array_like, the shape of y
        The gradient in y.
    stride, padding, dilation, groups, padding_mode, algorithm, out, num_threads
        As in `conv2d`.

    Returns
    -------
    dw : ndarray, of the shape of w
        Of type `numpy.result_type(x, dy)`. Of a plane, sums of float32 are added up in float64.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`; also where dy does not have the shape of y.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d_weight([[1, 2, 3]], (1, 2), [[1, 10]], padding="valid")
    array([[21, 32]])

    A layer: the images of a batch are summed up.

    >>> x, dy = [[[[1, 2, 3]]], [[[4, 5, 6]]]], [[[[1, 10]]], [[[0, 100]]]]
    >>> conv2d.conv2d_weight(x, (1, 1, 1, 2), dy, padding="valid")
    array([[[[521, 632]]]])
    """
    if _plain(stride, padding, dilation, groups, padding_mode, algorithm, out):
        dw: Array | None = _door.weight_same(x, weight_shape, dy, num_threads)
        if dw is not None:
            return dw
    settings = stride, padding, dilation, groups, padding_mode, algorithm
    call = "conv2d_weight", (x, dy), (weight_shape, *settings), num_threads
    known = _door.again(call, None if out is None else (out,))
    if known is not None:
        return known[0]
    x, dy = operand("x", x), operand("dy", dy)
    w_shape = "weight_shape", parse_shape("weight_shape", weight_shape)
    problem = find_problem(("x", x.shape), w_shape, np.result_type(x, dy), *settings)
    result, made = _weight_gradient(problem, x, dy, out, num_threads)
    _door.keep(call, made, (result,))
    return result


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    need: str | Sequence[str] = ALL,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    num_threads: int | None = None,
) -> Gradients:
    """Gradients of `conv2d` in x, w and b at once: what a layer needs on the way back.

    Bit for bit what `conv2d_input` and `conv2d_weight` give, and
    `db[k] = sum over n, i, j of dy[n, k, i, j]`.

    Parameters
    ----------
    dy : array_like, the shape of y
        The gradient in y.
    x : array_like, shape (H, W), (C, H, W) or (N, C, H, W)
        A plane, an image or a batch.
    w : array_like, shape (a, b) for a plane, (K, C/groups, a, b) otherwise
        The filters.
    need : str or sequence of str
        Which of "dx", "dw" and "db" to compute.
    out : tuple of three ndarrays or None, optional
        Get dx, dw and db and are returned.
    stride, padding, dilation, groups, padding_mode, algorithm, num_threads
        As in `conv2d`.

    Returns
    -------
    Gradients
        A named tuple (dx, dw, db), None for what was not needed: dx of `numpy.result_type(dy, w)`,
        dw of `numpy.result_type(x, dy)`, db of dy's type and of shape (K,), of a plane ().

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`; also where dy does not have the shape of y.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d_backward([[1, 10]], [[1, 2, 3]], [[1, 10]], padding="valid", need="dw")
    Gradients(dx=None, dw=array([[21, 32]]), db=None)

    A layer: the shapes are those of x, w and b.

    >>> import numpy as np
    >>> x, w = np.ones((2, 4, 9, 9), np.float32), np.ones((6, 2, 3, 3), np.float32)
    >>> dy = np.ones_like(conv2d.conv2d(x, w, stride=2, groups=2))
    >>> [g.shape for g in conv2d.conv2d_backward(dy, x, w, stride=2, groups=2)]
    [(2, 4, 9, 9), (6, 2, 3, 3), (6,)]
    """
    needed = _parse_need(need)
    if _plain(stride, padding, dilation, groups, padding_mode, algorithm, out):
        plain = _door.gradients_same(dy, x, w, needed, num_threads)
        if plain is not None:
            return Gradients(*plain)
    settings = stride, padding, dilation, groups, padding_mode, algorithm
    call = "conv2d_backward", (dy, x, w), (needed, *settings), num_threads
    known = _door.again(call, out)
    if known is not None:
        return Gradients(*known)
    dy, x, w = operand("dy", dy), operand("x", x), operand("w", w)
    types = np.result_type(dy, w), np.result_type(x, dy), dy.dtype.newbyteorder("=")
    problem = find_problem(("x", x.shape), ("w", w.shape), types[0], *settings)
    check_dy(dy, problem)
    _threads(num_threads)  # checked before anything is written
    outs = _parse_outs(out, needed)
    for name, array, shape, dtype in zip(
        Gradients._fields, outs, (x.shape, w.shape, problem.b_shape), types, strict=True
    ):
        if array is not None:
            check_out(array, shape, dtype, f"out of {name}")
    for array in outs:  # none of the results may change an input of the next
        dy, x, w = apart(dy, array), apart(x, array), apart(w, array)
    if types[0] == types[1] == types[2]:  # what must be converted is converted once
        plane = problem.plane
        dy, x, w = (readable(a, types[0], True, narrow=plane, plane=plane) for a in (dy, x, w))
        if not problem.plane:
            gradients, made = _layer_gradients(problem, x, w, dy, needed, outs, num_threads)
            _door.keep(call, made, tuple(gradients))
            return gradients
    dx = dw = db = None
    parts: list[planar.Made] = []
    if "dx" in needed:
        dx, part = _input_gradient(problem, w, dy, outs[0], num_threads)
        parts.append(part)
    if "dw" in needed:
        of_type, total = problem.of_type(types[1]), None
        if "db" in needed and problem.plane and types[1] == types[2]:  # dY is read for it anyway
            total = Result((), types[2], outs[2], plane=True)
            db = total.array
        dw, part = _weight_gradient(of_type, x, dy, outs[1], num_threads, total)
        parts.append(part)
    if "db" in needed and db is None:
        db, part = _bias_gradient(problem.of_type(types[2]), dy, outs[2], num_threads)
        parts.append(part)
    gradients = Gradients(dx, dw, db)
    _door.keep(call, _door.together(parts), tuple(gradients))
    return gradients


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
    """Transposed convolution as PyTorch defines it: the gradient of `conv2d` in x, as a layer.

    `y[n, k, i*s - top + p*d, j*s - left + q*d] += x[n, c, i, j] * w[c, k, p, q]` on top of `b[k]`.
    Its own gradients are the other functions: in x `conv2d(dy, w)`, in w
    `conv2d_weight(dy, w.shape, x)`.

    Parameters
    ----------
    x : array_like, shape (H, W), (C_in, H, W) or (N, C_in, H, W)
        Integers, float16, float32 or float64, in any layout.
    w : array_like, shape (a, b) for one plane, (C_in, C_out/groups, a, b) otherwise
        The filters.
    b : array_like, shape (C_out,); for one plane a scalar or (1,), optional
        The bias.
    stride, dilation : int or pair, at least 1
        Steps of y for one of x, and between taps.
    padding : int, (rows, columns) or ((top, bottom), (left, right))
        What is cut off the full result; never a name.
    output_padding : int or pair, less than stride or dilation
        Rows below and columns on the right that are added to the result.
    groups, algorithm, out, num_threads
        As in `conv2d`.

    Returns
    -------
    y : ndarray, of the rank of x
        Rows are `(H - 1)*s - top - bottom + d*(a - 1) + output_padding + 1`, columns likewise; of
        type `numpy.result_type(x, w, b)`.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv_transpose2d([[1, 2]], [[1, 10]], stride=2)
    array([[ 1, 10,  2, 20]])

    A layer that doubles rows and columns:

    >>> import numpy as np
    >>> x, w = np.ones((2, 8, 16, 16), np.float32), np.ones((8, 3, 4, 4), np.float32)
    >>> conv2d.conv_transpose2d(x, w, stride=2, padding=1).shape
    (2, 3, 32, 32)
    """
    settings = stride, padding, output_padding, dilation, groups, algorithm
    call = "conv_transpose2d", (x, w, b), settings, num_threads
    known = _door.again(call, None if out is None else (out,))
    if known is not None:
        return known[0]
    x, w = operand("x", x), operand("w", w)
    dtype, bias = _type_with_bias(x, w, b)
    problem = make_transposed(x.shape, w.shape, dtype, *settings)
    if bias is not None:
        bias = apart(_as_bias(bias, problem.channels, problem, dtype), out)
    result, made = _deliver_input(problem, w, x, bias, out, num_threads)
    _door.keep(call, made, (result,))
    return result


def _is_planar(problem: Problem, direction: str, source: Array) -> bool:
    """Whether the kernels of planes serve a call, which convert what comes in a narrower type."""
    if not problem.plane:
        return False
    dtype = np.dtype(problem.dtype)
    converted = dtype.itemsize < 4 or source.dtype.char != dtype.char
    return converted or not walks_plane(problem, direction)


def _layer_gradients(
    problem: Problem,
    x: Array,
    w: Array,
    dy: Array,
    needed: tuple[str, ...],
    outs: Sequence[Array | None],
    num_threads: int | None,
) -> tuple[Gradients, planar.Made]:
    """The gradients of a layer from arrays as kernels read them, apart from all results."""
    dtype = np.dtype(problem.dtype)
    shapes = problem.x_shape, problem.w_shape, problem.b_shape
    if problem.turned is not None:
        new = [
            np.empty(shape, dtype) if out is None and name in needed else out
            for name, shape, out in zip(Gradients._fields, shapes, outs, strict=True)
        ]
        turned = [out if out is None or out.ndim < 2 else out.mT for out in new]
        _, made = _layer_gradients(problem.turned, x.mT, w.mT, dy.mT, needed, turned, num_threads)
        return Gradients(*new), made
    results = [
        Result(shape, dtype, out, strided=True) if name in needed else None
        for name, shape, out in zip(Gradients._fields, shapes, outs, strict=True)
    ]
    made = layer.gradients(problem, x, w, dy, _threads(num_threads), *results)
    return Gradients(*(None if result is None else result.array for result in results)), made


def _correlate(
    problem: Problem,
    direction: str,
    source: Array,
    w: Array,
    bias: Array | None,
    out: Array | None,
    threads: int,
) -> tuple[Array, planar.Made]:
    """Y from X ("forward") or X from dY ("input"), on top of a bias or of None; the call made."""
    dtype, back = np.dtype(problem.dtype), direction == "input"
    shape = problem.x_shape if back else problem.y_shape
    if problem.turned is not None:
        out = np.empty(shape, dtype) if out is None else out
        _, made = _correlate(problem.turned, direction, source.mT, w.mT, bias, out.mT, threads)
        return out, made
    plane = _is_planar(problem, direction, source)
    source = readable(apart(source, out), dtype, not plane, narrow=plane, plane=plane)
    w = readable(apart(w, out), dtype, strided=True, narrow=plane, plane=plane)
    result = Result(shape, dtype, out, not plane, plane, beside=source)
    if plane:
        plan = make_plan(problem, direction, threads)
        of_plane = planar.input_gradient if back else planar.forward
        made = of_plane(problem, source, w, bias, plan, result)
    else:
        of_layer = layer.input_gradient if back else layer.forward
        made = of_layer(problem, source, w, bias, threads, result)
    return result.array, made


def _input_gradient(
    problem: Problem, w: Array, dy: Array, out: Array | None, num_threads: int | None
) -> tuple[Array, planar.Made]:
    check_dy(dy, problem)
    return _deliver_input(problem, w, dy, None, out, num_threads)


def _deliver_input(
    problem: Problem,
    w: Array,
    dy: Array,
    bias: Array | None,
    out: Array | None,
    num_threads: int | None,
) -> tuple[Array, planar.Made]:
    """What a checked dY gives to X, on top of a bias or of None, and the call that made it."""
    if out is not None:
        check_out(out, problem.x_shape, np.dtype(problem.dtype))
    return _correlate(problem, "input", dy, w, bias, out, _threads(num_threads))


def _weight_gradient(
    problem: Problem,
    x: Array,
    dy: Array,
    out: Array | None,
    num_threads: int | None,
    total: Result | None = None,
) -> tuple[Array, planar.Made]:
    """dW, of a plane with db into `total` or None, and the call that made it."""
    dtype, plane = np.dtype(problem.dtype), problem.plane
    check_dy(dy, problem)
    if out is not None:
        check_out(out, problem.w_shape, dtype)
    threads = _threads(num_threads)
    if problem.turned is not None:
        out = np.empty(problem.w_shape, dtype) if out is None else out
        _, made = _weight_gradient(problem.turned, x.mT, dy.mT, out.mT, threads, total)
        return out, made
    x = readable(apart(x, out), dtype, not plane, narrow=plane, plane=plane)
    dy = readable(apart(dy, out), dtype, not plane, plane=plane)
    result = Result(problem.w_shape, dtype, out, not plane, plane)
    if plane:
        plan = make_plan(problem, "weight", threads)
        made = planar.weight_gradient(problem, x, dy, plan, result, total)
    else:
        made = layer.weight_gradient(problem, x, dy, threads, result)
    return result.array, made


def _bias_gradient(
    problem: Problem, dy: Array, out: Array | None, num_threads: int | None
) -> tuple[Array, planar.Made]:
    dtype = np.dtype(problem.dtype)
    threads = _threads(num_threads)
    dy = readable(dy, dtype, not problem.plane, plane=problem.plane)
    result = Result(problem.b_shape, dtype, out, plane=problem.plane)
    if problem.plane:
        made = planar.bias_gradient(dy, make_plan(problem, "weight", threads).threads, result)
    else:
        made = layer.bias_gradient(problem, dy, threads, result)
    return result.array, made


def _plain(
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    padding_mode: str,
    algorithm: str,
    out: object,
) -> bool:
    """Whether nothing but the arrays, and maybe a number of threads, was given.

    By identity, which is what a call of a microsecond has time for: other ways of saying the same
    take the general road.
    """
    return (
        out is None
        and stride is ONE
        and padding is SAME
        and dilation is ONE
        and groups is ONE
        and padding_mode is ZEROS
        and algorithm is AUTO
    )


def _threads(num_threads: int | None) -> int:
    """Threads of a call."""
    if num_threads is None:
        return get_num_threads()
    return check_threads("num_threads", num_threads)


def _type_with_bias(x: Array, w: Array, b: ArrayLike | None) -> tuple[np.dtype[Any], Array | None]:
    """The result's type, and b as an array. A Python number says its kind alone, as in NumPy."""
    if b is None:
        return np.result_type(x, w), None
    bias = operand("b", b)
    return np.result_type(x, w, b if type(b) in (int, float) else bias), bias


def _as_bias(bias: Array, filters: int, problem: Problem, dtype: np.dtype[Any]) -> Array:
    """The bias, one element a filter, as kernels read it."""
    if bias.shape != (filters,) and (problem.rank > 2 or bias.shape != ()):
        expected = "a scalar or (1,) for one plane" if problem.rank == 2 else f"({filters},)"
        raise ValueError(f"b has shape {bias.shape}, expected {expected}")
    if dtype.kind in "iu" and bias.size:
        limits = np.iinfo(dtype)
        if not limits.min <= int(bias.min()) <= int(bias.max()) <= limits.max:
            raise ValueError(f"b is {bias}, too large for {dtype}, the type of x and w")
    return readable(bias.reshape(filters), dtype, strided=True, plane=problem.plane)


def _parse_need(need: str | Sequence[str]) -> tuple[str, ...]:
    """The gradients asked for."""
    if need is ALL:
        return ALL
    names = (need,) if isinstance(need, str) else need
    if not isinstance(names, (tuple, list)):
        raise TypeError(f"need is {need!r}, expected a name or several of dx, dw, db")
    for name in names:
        if name not in Gradients._fields:
            raise ValueError(f"need is {need!r}, expected a name or several of dx, dw, db")
    return tuple(names)


def _parse_outs(out: object, needed: tuple[str, ...]) -> list[Array | None]:
    """An array or None for each gradient; those not needed are left alone."""
    if out is None:
        return [None, None, None]
    if not isinstance(out, tuple):
        raise TypeError(f"out is a {type(out).__name__}, expected a tuple of three arrays or None")
    if len(out) != 3:
        raise ValueError(f"out has {len(out)} entries, expected three, for dx, dw and db")
    return [
        array if name in needed else None
        for name, array in zip(Gradients._fields, out, strict=True)
    ]
