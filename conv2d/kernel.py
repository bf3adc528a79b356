"""The small kernel that convolution is built from: one dot product, and its gradients.

W lies on X with the top-left corners aligned, then moves down by alpha and right by beta. Whatever
is missing counts as zero, also where W is larger than X, and for negative shifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _door
from .arrays import Result, operand, readable
from .problem import Array, Shape, is_int, is_sequence, parse_shape

FAR = 1 << 60


def dot(x: ArrayLike, w: ArrayLike, shift: Sequence[int] = (0, 0)) -> Any:
    """Sum of products of X with the shifted W: `y = sum over p, q of X[p+alpha, q+beta] * W[p, q]`.

    Parameters
    ----------
    x : array_like, shape (H, W)
    w : array_like, shape (a, b)
    shift : (alpha, beta), ints of either sign

    Returns
    -------
    y : NumPy scalar of type `numpy.result_type(x, w)`

    Raises
    ------
    ValueError, TypeError
        where an argument is not a plane, or of a type that is not computed with

    Examples
    --------
    >>> from conv2d import kernel
    >>> int(kernel.dot([[1, 2], [3, 4]], [[1, 10]], shift=(1, -1)))
    30
    """
    x, w = _plane("x", x), _plane("w", w)
    alpha, beta = _parse_shift(shift)
    dtype = np.result_type(x, w)
    result = Result((1, 1), dtype, None)
    total = np.zeros((1, 1), readable(x[:0], dtype).dtype)
    if x.size and w.size:
        _door.dot(readable(x, dtype), readable(w, dtype), total, -alpha, -beta)
    result.write((), total)
    return result.array[0, 0]


def dot_grad_w(x: ArrayLike, w_shape: Sequence[int], shift: Sequence[int] = (0, 0)) -> Array:
    """Gradient of `dot` in w: `dy/dW[p, q] = X[p+alpha, q+beta]`.

    Parameters
    ----------
    x : array_like, shape (H, W)
    w_shape : (a, b)
    shift : (alpha, beta), ints of either sign

    Returns
    -------
    ndarray, shape (a, b), of x's type

    Examples
    --------
    >>> from conv2d import kernel
    >>> kernel.dot_grad_w([[1, 2], [3, 4]], (1, 3), shift=(1, -1))
    array([[0, 3, 4]])
    """
    alpha, beta = _parse_shift(shift)
    return _shifted(_plane("x", x), _plane_shape("w_shape", w_shape), -alpha, -beta)


def dot_grad_x(x_shape: Sequence[int], w: ArrayLike, shift: Sequence[int] = (0, 0)) -> Array:
    """Gradient of `dot` in x: `dy/dX[p, q] = W[p-alpha, q-beta]`.

    Parameters
    ----------
    x_shape : (H, W)
    w : array_like, shape (a, b)
    shift : (alpha, beta), ints of either sign

    Returns
    -------
    ndarray, shape (H, W), of w's type

    Examples
    --------
    >>> from conv2d import kernel
    >>> kernel.dot_grad_x((2, 3), [[1, 10]], shift=(1, 1))
    array([[ 0,  0,  0],
           [ 0,  1, 10]])
    """
    return _shifted(_plane("w", w), _plane_shape("x_shape", x_shape), *_parse_shift(shift))


def _shifted(plane: Array, shape: Shape, down: int, right: int) -> Array:
    """The plane moved down and to the right, zeros around it."""
    result = Result(shape, plane.dtype, None)
    source = readable(plane, plane.dtype)
    target = np.empty(shape, source.dtype) if result.direct is None else result.direct
    if target.size:
        _door.shift(source, target, down, right)
    if result.direct is None:
        result.write((), target)
    return result.array


def _plane(name: str, value: ArrayLike) -> Array:
    array = operand(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, expected two dimensions")
    return array


def _plane_shape(name: str, value: Sequence[int]) -> Shape:
    shape = parse_shape(name, value)
    if len(shape) != 2:
        raise ValueError(f"{name} is {shape}, expected two sizes")
    return shape


def _parse_shift(shift: Sequence[int]) -> tuple[int, int]:
    if not is_sequence(shift) or not all(is_int(move) for move in shift):
        raise TypeError(f"shift is {shift!r}, expected two ints")
    if len(shift) != 2:
        raise ValueError(f"shift is {shift!r}, expected two ints")
    # Farther than any plane is wide is as good as farther still.
    alpha, beta = (max(min(int(move), FAR), -FAR) for move in shift)
    return alpha, beta
