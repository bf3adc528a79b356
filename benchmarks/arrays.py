"""Inputs of a problem, the result in float64, and how far a peer's result is from it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .problems import BACKWARD, Problem

Array = NDArray[Any]


@dataclass(frozen=True)
class Arrays:
    """X, W and dY, always of rank 4."""

    x: Array
    w: Array
    dy: Array

    def channels_last(self) -> Arrays:
        """The same, but with the channels of X and of dY next to each other in memory."""
        x, dy = (
            np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            for array in (self.x, self.dy)
        )
        return Arrays(x, self.w, dy)

    def planes(self) -> tuple[Array, Array, Array]:
        """X, W and dY of a problem of one plane, as matrices."""
        return self.x[0, 0], self.w[0, 0], self.dy[0, 0]


def make_arrays(problem: Problem, dtype: str) -> Arrays:
    """Standard normal inputs, the same in every process."""
    random = np.random.default_rng(2)
    shapes = problem.x_shape, problem.w_shape, problem.y_shape
    return Arrays(*(random.standard_normal(shape).astype(dtype) for shape in shapes))


def expected(problem: Problem, direction: str, arrays: Arrays) -> Array:
    """The result in float64, from one matrix product a tap and group; dX, dW and db in a row."""
    if direction == BACKWARD:
        db = arrays.dy.sum(axis=(0, 2, 3), dtype=np.float64)
        parts = expected(problem, "input", arrays), expected(problem, "weight", arrays), db
        return np.concatenate([part.ravel() for part in parts])
    x, w, dy = (array.astype(np.float64) for array in (arrays.x, arrays.w, arrays.dy))
    top, bottom, left, right = problem.pad
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    result = {
        "forward": np.zeros(problem.y_shape),
        "input": np.zeros_like(x),
        "weight": np.zeros(problem.w_shape),
    }[direction]
    rows, columns = problem.y_shape[2:]
    for tap in np.ndindex(problem.a, problem.b):
        window = _window(problem, tap, (rows, columns))
        for inputs, outputs in _groups(problem):
            _add_tap(result, direction, (x, w, dy), (inputs, outputs), window, tap)
    if direction == "input":
        return result[:, :, top : top + problem.h, left : left + problem.w]
    return result


def _window(problem: Problem, tap: tuple[int, int], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Where in the padded X the outputs find what they multiply with a tap."""
    starts = (problem.dilation * t for t in tap)
    down, right = (
        slice(start, start + problem.stride * (count - 1) + 1, problem.stride)
        for start, count in zip(starts, size, strict=True)
    )
    return down, right


def _groups(problem: Problem) -> list[tuple[slice, slice]]:
    """Input and output channels of each group."""
    c, k = problem.c // problem.groups, problem.k // problem.groups
    return [(slice(g * c, g * c + c), slice(g * k, g * k + k)) for g in range(problem.groups)]


def _add_tap(
    result: Array,
    direction: str,
    operands: tuple[Array, Array, Array],
    group: tuple[slice, slice],
    window: tuple[slice, slice],
    tap: tuple[int, int],
) -> None:
    """Add the products with one tap of the filters of one group."""
    x, w, dy = operands
    inputs, outputs = group
    taps = w[outputs, :, tap[0], tap[1]]
    patch = x[:, inputs, window[0], window[1]]
    if direction == "forward":
        result[:, outputs] += np.einsum("kc,nchw->nkhw", taps, patch, optimize=taps.size > 1)
    elif direction == "input":
        result[:, inputs, window[0], window[1]] += np.einsum(
            "kc,nkhw->nchw", taps, dy[:, outputs], optimize=taps.size > 1
        )
    else:
        result[outputs, :, tap[0], tap[1]] = np.einsum(
            "nkhw,nchw->kc", dy[:, outputs], patch, optimize=True
        )


@dataclass(frozen=True)
class Error:
    """Distance from the result in float64, over the root mean square of that result."""

    rms: float
    largest: float


def error(result: Any, wanted: Array) -> Error:
    """How far a result is from the one in float64. ValueError where the shapes differ.

    Of several results, those that lie in a row in `wanted`, the worst.
    """
    if isinstance(result, tuple):
        parts = [np.asarray(part) for part in result]
        if sum(part.size for part in parts) != wanted.size:
            raise ValueError(f"results of shapes {[p.shape for p in parts]}, not {wanted.size}")
        ends = np.cumsum([part.size for part in parts])
        found = [error(p, wanted[end - p.size : end]) for p, end in zip(parts, ends, strict=True)]
        return Error(*(float(np.max(each)) for each in zip(*map(astuple, found), strict=True)))
    result = np.asarray(result, dtype=np.float64)
    if result.size != wanted.size:
        raise ValueError(f"result of shape {result.shape}, expected {wanted.shape}")
    difference = np.abs(result.reshape(wanted.shape) - wanted)
    scale = float(np.sqrt(np.mean(wanted**2))) or 1.0
    return Error(float(np.sqrt(np.mean(difference**2))) / scale, float(difference.max()) / scale)


def tolerance(problem: Problem, direction: str, dtype: str) -> float:
    """The largest error that rounding explains: it grows as the root of the number of terms.

    Generous to sequential sums in the element type; arithmetic in bfloat16 is far beyond it.
    """
    return 64.0 * float(np.finfo(dtype).eps) * float(np.sqrt(problem.terms(direction)))
