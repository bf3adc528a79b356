"""What a call computes, as sizes: every check of shapes and settings ends in a `Problem`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Padding: TypeAlias = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

ALGORITHMS = ("auto", "direct", "fft", "separable")
FLOAT_ALGORITHMS = ("fft", "separable")
PADDINGS = ("same", "same_lower", "valid", "full")
# Names of the types that can be computed with; `dtype.name` is slower than a small convolution.
TYPE_NAMES = {char: np.dtype(char).name for char in "bBhHiIlLqQefd"}
# In the order of the enum in pyx/kernels.pxd.
PADDING_MODES = {"zeros": 0, "constant": 0, "edge": 1, "reflect": 2, "symmetric": 3, "wrap": 4}


class Problem(NamedTuple):
    """One plane and one filter: sizes, padding on four sides, padding mode and result type.

    A NamedTuple and not a dataclass: it is hashed in every call, to find its plan.
    """

    height: int
    width: int
    a: int
    b: int
    top: int
    bottom: int
    left: int
    right: int
    mode: str
    dtype: str
    algorithm: str = "auto"  # what was asked for

    @property
    def x_shape(self) -> tuple[int, int]:
        """Rows and columns of X."""
        return self.height, self.width

    @property
    def w_shape(self) -> tuple[int, int]:
        """Rows and columns of W."""
        return self.a, self.b

    @property
    def y_shape(self) -> tuple[int, int]:
        """Output rows and columns; 0 where the plane has no elements and the filter no room."""
        return (
            max(self.top + self.height + self.bottom - self.a + 1, 0),
            max(self.left + self.width + self.right - self.b + 1, 0),
        )

    @property
    def flops(self) -> int:
        """Multiplications and additions of Y, of dX or of dW, those with padding included."""
        rows, columns = self.y_shape
        return 2 * rows * columns * self.a * self.b

    @property
    def bytes(self) -> int:
        """Compulsory traffic: X, W and Y once each."""
        rows, columns = self.y_shape
        elements = self.height * self.width + self.a * self.b + rows * columns
        return elements * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        """The name that tests and reports use: h256w256a3b3p1,1,1,1 and what is unusual."""
        name = f"h{self.height}w{self.width}a{self.a}b{self.b}"
        name += f"p{self.top},{self.bottom},{self.left},{self.right}"
        if self.mode != "zeros":
            name += f"-{self.mode}"
        if self.dtype != "float32":
            name += f"-{self.dtype}"
        return name if self.algorithm == "auto" else f"{name}-{self.algorithm}"


def make_problem(
    x: tuple[str, Shape],
    w: tuple[str, Shape],
    dtype: np.dtype[Any],
    padding: Padding,
    padding_mode: str,
    algorithm: str,
) -> Problem:
    """Check shapes, each given with the name of its argument, and settings."""
    _choose("algorithm", algorithm, ALGORITHMS)
    if algorithm in FLOAT_ALGORITHMS and dtype.kind != "f":
        raise ValueError(f"algorithm is {algorithm!r}, which has no exact integers such as {dtype}")
    _choose("padding_mode", padding_mode, PADDING_MODES)
    shapes = f"{x[0]} {x[1]}, {w[0]} {w[1]}"
    for name, shape, letters in ((*x, "(H, W)"), (*w, "(a, b)")):
        if len(shape) != 2:
            raise ValueError(
                f"{name} has {len(shape)} dimensions, expected 2: {letters} ({shapes})"
            )
    if 0 in w[1]:
        raise ValueError(f"{w[0]} has no taps, expected at least one ({shapes})")
    mode = "zeros" if padding_mode == "constant" else padding_mode
    if 0 in x[1] and mode != "zeros":
        raise ValueError(
            f"padding_mode {padding_mode!r} has nothing to take from {x[0]} ({shapes})"
        )
    rows, columns = parse_padding(padding, w[1])
    for size, taps, (before, after), what in (
        (x[1][0], w[1][0], rows, "rows"),
        (x[1][1], w[1][1], columns, "columns"),
    ):
        if 0 not in x[1] and before + size + after < taps:
            raise ValueError(
                f"{w[0]} has {taps} {what}, more than the {before + size + after} {what} of {x[0]} "
                f"with its padding ({shapes})"
            )
    (height, width), (a, b) = x[1], w[1]
    name = TYPE_NAMES[dtype.char]
    return Problem(height, width, a, b, *rows, *columns, mode, name, algorithm)


def parse_padding(padding: Any, taps: Shape) -> list[tuple[int, int]]:
    """Padding before and after, of rows and of columns."""
    if isinstance(padding, str):
        _choose("padding", padding, PADDINGS)
        return [_named_padding(padding, size - 1) for size in taps]
    if is_int(padding):
        padding = (padding, padding)
    if not is_sequence(padding):
        raise TypeError(f"padding is {padding!r}, expected a name, an int, (ph, pw) or two pairs")
    if len(padding) == 4:
        raise ValueError(
            f"padding is {padding!r}, which ONNX and PyTorch read differently: "
            "expected ((top, bottom), (left, right))"
        )
    numbers = [is_int(side) for side in padding]
    sides = [
        (side, side) if number else side for side, number in zip(padding, numbers, strict=True)
    ]
    if (
        len(sides) != 2
        or numbers[0] != numbers[1]
        or not all(is_sequence(side) and len(side) == 2 for side in sides)
    ):
        raise ValueError(
            f"padding is {padding!r}, expected (ph, pw) or ((top, bottom), (left, right))"
        )
    if not all(is_int(amount) for side in sides for amount in side):
        raise TypeError(f"padding is {padding!r}, expected ints")
    if any(amount < 0 for side in sides for amount in side):
        raise ValueError(f"padding is {padding!r}, expected nothing negative")
    return [(int(before), int(after)) for before, after in sides]


def _named_padding(name: str, total: int) -> tuple[int, int]:
    """Padding before and after for a filter of total + 1 rows (or columns)."""
    if name == "valid":
        return 0, 0
    if name == "full":
        return total, total
    half = total // 2
    return (half, total - half) if name == "same" else (total - half, half)


def parse_shape(name: str, shape: Sequence[int]) -> Shape:
    """A shape that came as an argument."""
    if not is_sequence(shape) or not all(is_int(size) for size in shape):
        raise TypeError(f"{name} is {shape!r}, expected a tuple of ints")
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} is {shape!r}, expected nothing negative")
    if any(size > sys.maxsize for size in shape):
        raise ValueError(f"{name} is {shape!r}, more than an array can have")
    return tuple(int(size) for size in shape)


def check_dy(dy: Array, problem: Problem) -> None:
    """Refuse a gradient that does not have the shape of y."""
    if dy.shape != problem.y_shape:
        raise ValueError(
            f"dy has shape {dy.shape}, expected {problem.y_shape} "
            f"(x {problem.x_shape}, w {problem.w_shape})"
        )


def is_int(value: object) -> bool:
    """Whether a value counts as an int."""
    return isinstance(value, (int, np.integer))


def is_sequence(value: object) -> bool:
    """Whether a value counts as a tuple."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _choose(name: str, value: object, choices: Sequence[str] | dict[str, int]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
