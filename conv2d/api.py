"""The public functions: arrays in, results out; what is unusual about a call is sorted out here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _door, planar
from .arrays import Result, apart, check_out, operand, readable
from .plan import make_plan
from .problem import TYPE_NAMES, Array, Padding, Problem, check_dy, make_problem, parse_shape
from .threads import check_threads, get_num_threads


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
    padding: Padding = "same",
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Cross-correlation, no filter flip: the convolution of machine learning, of one plane.

    `y[i, j] = b + sum over p, q of x[i - top + p, j - left + q] * w[p, q]`

    Parameters
    ----------
    x : array_like, shape (H, W)
        The plane: integers, float16, float32 or float64, in any layout.
    w : array_like, shape (a, b)
        The filter, of any size.
    b : array_like, scalar or shape (1,), optional
        The bias.
    padding : str, int or tuple
        "same" (y has the shape of x; of an even filter's padding the smaller half comes before),
        "same_lower" (the larger half before), "valid" (none), "full" (a - 1 rows and b - 1 columns
        on each side), an int, (rows, columns) or ((top, bottom), (left, right)).
    padding_mode : str
        "zeros" or "constant", "edge", "reflect", "symmetric", "wrap", as in `numpy.pad`. A term
        whose x lies in padding of zeros is left out of the sum: an infinite w makes no NaN there.
    algorithm : str
        "auto" (the fastest that is accurate; errors stay local), "direct" (the sum as it stands),
        "fft" (tiles are transformed in float64; for large filters of float32) or "separable" (two
        passes, for filters that are a column times a row but for rounding).
    out : ndarray, optional
        Gets the result, cast as "same_kind", and is returned. It may overlap the inputs.
    num_threads : int, optional
        Threads of this call; `get_num_threads()` by default. The result is the same for any.

    Returns
    -------
    y : ndarray, shape (top + H + bottom - a + 1, left + W + right - b + 1)
        Of type `numpy.result_type(x, w, b)`. Integers are exact and wrap; float16 is computed in
        float32 and rounded once.

    Raises
    ------
    ValueError
        for shapes and values that do not fit, such as a filter larger than the padded plane, or one
        that is not separable where `algorithm` says so
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
    """
    if b is None and _plain(padding, padding_mode, algorithm, out, num_threads):
        y: Array | None = _door.forward_same(x, w)
        if y is not None:
            return y
    x, w = operand("x", x), operand("w", w)
    bias = None if b is None else _bias(b)
    dtype = np.result_type(x, w) if b is None else np.result_type(x, w, _weak(b, bias))
    problem = make_problem(("x", x.shape), ("w", w.shape), dtype, padding, padding_mode, algorithm)
    if out is not None:
        check_out(out, problem.y_shape, dtype)
    plan = make_plan(problem, "forward", _threads(num_threads))
    x, w = readable(apart(x, out), dtype), readable(apart(w, out), dtype, strided=True)
    if bias is not None:
        bias = readable(_as_bias(bias, dtype), dtype).copy()
    result = Result(problem.y_shape, dtype, out)
    planar.forward(problem, x, w, bias, plan, result)
    return result.array


def conv2d_input(
    input_shape: Sequence[int],
    w: ArrayLike,
    dy: ArrayLike,
    *,
    padding: Padding = "same",
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `conv2d` in x: the adjoint, of one plane.

    `dx[i - top + p, j - left + q] += dy[i, j] * w[p, q]` for all i, j, p, q, through the padding.

    Parameters
    ----------
    input_shape : tuple of int, (H, W)
        The shape of x.
    w : array_like, shape (a, b)
        The filter.
    dy : array_like, the shape of y
        The gradient in y.
    padding, padding_mode, algorithm, out, num_threads
        As in `conv2d`.

    Returns
    -------
    dx : ndarray, shape (H, W)
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
    """
    if _plain(padding, padding_mode, algorithm, out, num_threads):
        dx: Array | None = _door.input_same(input_shape, w, dy)
        if dx is not None:
            return dx
    w, dy = operand("w", w), operand("dy", dy)
    x_shape = "input_shape", parse_shape("input_shape", input_shape)
    problem = make_problem(
        x_shape, ("w", w.shape), np.result_type(dy, w), padding, padding_mode, algorithm
    )
    return _input_gradient(problem, w, dy, out, num_threads)


def conv2d_weight(
    x: ArrayLike,
    weight_shape: Sequence[int],
    dy: ArrayLike,
    *,
    padding: Padding = "same",
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `conv2d` in w: the dot products of dy with the shifted x, of one plane.

    `dw[p, q] = sum over i, j of dy[i, j] * x[i - top + p, j - left + q]`

    Parameters
    ----------
    x : array_like, shape (H, W)
        The plane.
    weight_shape : tuple of int, (a, b)
        The shape of w.
    dy : array_like, the shape of y
        The gradient in y.
    padding, padding_mode, algorithm, out, num_threads
        As in `conv2d`.

    Returns
    -------
    dw : ndarray, shape (a, b)
        Of type `numpy.result_type(x, dy)`. Sums of float32 are added up in float64.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`; also where dy does not have the shape of y.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d_weight([[1, 2, 3]], (1, 2), [[1, 10]], padding="valid")
    array([[21, 32]])
    """
    if _plain(padding, padding_mode, algorithm, out, num_threads):
        dw: Array | None = _door.weight_same(x, weight_shape, dy)
        if dw is not None:
            return dw
    x, dy = operand("x", x), operand("dy", dy)
    w_shape = "weight_shape", parse_shape("weight_shape", weight_shape)
    problem = make_problem(
        ("x", x.shape), w_shape, np.result_type(x, dy), padding, padding_mode, algorithm
    )
    return _weight_gradient(problem, x, dy, out, num_threads)


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    need: str | Sequence[str] = ("dx", "dw", "db"),
    padding: Padding = "same",
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    num_threads: int | None = None,
) -> Gradients:
    """Gradients of `conv2d` in x, w and b at once, of one plane.

    Bit for bit what `conv2d_input` and `conv2d_weight` give, and `db = sum over i, j of dy[i, j]`.

    Parameters
    ----------
    dy : array_like, the shape of y
        The gradient in y.
    x : array_like, shape (H, W)
        The plane.
    w : array_like, shape (a, b)
        The filter.
    need : str or sequence of str
        Which of "dx", "dw" and "db" to compute.
    out : tuple of three ndarrays or None, optional
        Get dx, dw and db (shape ()) and are returned.
    padding, padding_mode, algorithm, num_threads
        As in `conv2d`.

    Returns
    -------
    Gradients
        A named tuple (dx, dw, db), None for what was not needed: dx of `numpy.result_type(dy, w)`,
        dw of `numpy.result_type(x, dy)`, db of dy's type and 0-dimensional.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in `conv2d`; also where dy does not have the shape of y.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.conv2d_backward([[1, 10]], [[1, 2, 3]], [[1, 10]], padding="valid", need="dw")
    Gradients(dx=None, dw=array([[21, 32]]), db=None)
    """
    dy, x, w = operand("dy", dy), operand("x", x), operand("w", w)
    needed = _parse_need(need)
    types = np.result_type(dy, w), np.result_type(x, dy), dy.dtype.newbyteorder("=")
    problem = make_problem(
        ("x", x.shape), ("w", w.shape), types[0], padding, padding_mode, algorithm
    )
    check_dy(dy, problem)
    _threads(num_threads)
    outs = _parse_outs(out, needed)
    for name, array, shape, dtype in zip(
        Gradients._fields, outs, (x.shape, w.shape, ()), types, strict=True
    ):
        if array is not None:
            check_out(array, shape, dtype, f"out of {name}")
    for array in outs:  # none of the results may change an input of the next
        dy, x, w = apart(dy, array), apart(x, array), apart(w, array)
    dx = dw = db = None
    if "dx" in needed:
        dx = _input_gradient(problem, w, dy, outs[0], num_threads)
    if "dw" in needed:
        dw = _weight_gradient(
            problem._replace(dtype=TYPE_NAMES[types[1].char]), x, dy, outs[1], num_threads
        )
    if "db" in needed:
        db = _bias_gradient(problem, dy, outs[2], num_threads)
    return Gradients(dx, dw, db)


def _input_gradient(
    problem: Problem, w: Array, dy: Array, out: Array | None, num_threads: int | None
) -> Array:
    dtype = np.dtype(problem.dtype)
    check_dy(dy, problem)
    if out is not None:
        check_out(out, problem.x_shape, dtype)
    plan = make_plan(problem, "input", _threads(num_threads))
    w, dy = readable(apart(w, out), dtype, strided=True), readable(apart(dy, out), dtype)
    result = Result(problem.x_shape, dtype, out)
    planar.input_gradient(problem, w, dy, plan, result)
    return result.array


def _weight_gradient(
    problem: Problem, x: Array, dy: Array, out: Array | None, num_threads: int | None
) -> Array:
    dtype = np.dtype(problem.dtype)
    check_dy(dy, problem)
    if out is not None:
        check_out(out, problem.w_shape, dtype)
    plan = make_plan(problem, "weight", _threads(num_threads))
    x, dy = readable(apart(x, out), dtype), readable(apart(dy, out), dtype)
    result = Result(problem.w_shape, dtype, out)
    planar.weight_gradient(problem, x, dy, plan, result)
    return result.array


def _bias_gradient(
    problem: Problem, dy: Array, out: Array | None, num_threads: int | None
) -> Array:
    plan = make_plan(
        problem._replace(dtype=TYPE_NAMES[dy.dtype.char]), "weight", _threads(num_threads)
    )
    db = planar.bias_gradient(readable(dy, dy.dtype), plan, dy.dtype)
    if out is None:
        return db
    out[...] = db
    return out


def _plain(
    padding: Padding, padding_mode: str, algorithm: str, out: object, num_threads: int | None
) -> bool:
    """Whether nothing but the arrays was given."""
    return (
        type(padding) is str
        and padding == "same"
        and padding_mode == "zeros"
        and algorithm == "auto"
        and out is None
        and num_threads is None
    )


def _threads(num_threads: int | None) -> int:
    """Threads of a call."""
    if num_threads is None:
        return get_num_threads()
    return check_threads("num_threads", num_threads)


def _bias(b: ArrayLike) -> Array:
    """The bias of one plane, shape (1, 1)."""
    bias = operand("b", b)
    if bias.shape not in ((), (1,)):
        raise ValueError(f"b has shape {bias.shape}, expected a scalar or (1,) for one plane")
    return bias.reshape(1, 1)


def _weak(b: ArrayLike, bias: Array | None) -> Any:
    """What b says of the result's type: a Python number says its kind alone, as in NumPy."""
    return b if type(b) in (int, float) else bias


def _as_bias(bias: Array, dtype: np.dtype[Any]) -> Array:
    """The bias in the result's type."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= int(bias[0, 0]) <= limits.max:
            raise ValueError(f"b is {bias[0, 0]}, too large for {dtype}, the type of x and w")
    return bias


def _parse_need(need: str | Sequence[str]) -> tuple[str, ...]:
    """The gradients asked for."""
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
