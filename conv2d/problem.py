"""What a call computes, as sizes: every check of shapes and settings ends in a `Problem`."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

ALGORITHMS = ("auto", "direct", "fft", "separable")
PLANE_ALGORITHMS = ("fft", "separable")
PADDINGS = ("same", "same_lower", "valid", "full")
# Names of the types that can be computed with; `dtype.name` is slower than a small convolution.
TYPE_NAMES = {char: np.dtype(char).name for char in "bBhHiIlLqQefd"}
# In the order of the enum in pyx/kernels.pxd.
PADDING_MODES = {"zeros": 0, "constant": 0, "edge": 1, "reflect": 2, "symmetric": 3, "wrap": 4}


class Settings(NamedTuple):
    """Sizes, padding on four sides, padding mode, strides, dilations, groups, and result type."""

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
    rank: int = 2  # of x and y: a plane, an image or a batch
    images: int = 1
    channels: int = 1
    filters: int = 1
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    algorithm: str = "auto"  # what was asked for


class Problem(Settings):
    """What follows from settings is worked out once, problems being known from call to call."""

    @cached_property
    def plans(self) -> dict[Hashable, Any]:
        """Where the planner keeps what it has decided (`plan.kept`)."""
        return {}

    @cached_property
    def plane(self) -> bool:
        """Whether the kernels of planes serve it: one plane, no strides, no dilation."""
        return self.rank == 2 and self.stride == self.dilation == (1, 1)

    @cached_property
    def x4(self) -> Shape:
        """The shape of X as of a batch."""
        return self.images, self.channels, self.height, self.width

    @cached_property
    def w4(self) -> Shape:
        """The shape of W as of a batch."""
        return self.filters, self.channels // self.groups, self.a, self.b

    @cached_property
    def one_tap(self) -> bool:
        """Whether each filter has one tap a channel."""
        return self.a == self.b == 1

    @cached_property
    def reach(self) -> tuple[int, int]:
        """How many rows and columns lie between the first tap and the last."""
        return self.dilation[0] * (self.a - 1), self.dilation[1] * (self.b - 1)

    @cached_property
    def y4(self) -> Shape:
        """The shape of Y as of a batch; 0 where X has no elements and the filter no room."""
        rows = self.top + self.height + self.bottom - self.reach[0] - 1
        columns = self.left + self.width + self.right - self.reach[1] - 1
        return (
            self.images,
            self.filters,
            max(rows // self.stride[0] + 1, 0),
            max(columns // self.stride[1] + 1, 0),
        )

    @cached_property
    def x_shape(self) -> Shape:
        """The shape of X."""
        return self.x4[-self.rank :]

    @cached_property
    def w_shape(self) -> Shape:
        """The shape of W."""
        return self.w4[2:] if self.rank == 2 else self.w4

    @cached_property
    def y_shape(self) -> Shape:
        """The shape of Y."""
        return self.y4[-self.rank :]

    @cached_property
    def b_shape(self) -> Shape:
        """The shape of db."""
        return () if self.rank == 2 else (self.filters,)

    @cached_property
    def turned(self) -> Problem | None:
        """Of one column of X and of taps: the same as rows, for which kernels are made."""
        if self.width != 1 or self.b != 1 or self.left or self.right or self.height == 1:
            return None
        return self._replace(
            height=1,
            width=self.height,
            a=1,
            b=self.a,
            top=0,
            bottom=0,
            left=self.top,
            right=self.bottom,
            stride=self.stride[::-1],
            dilation=self.dilation[::-1],
        )

    @cached_property
    def flops(self) -> int:
        """Multiplications and additions of Y, of dX or of dW, those with padding included."""
        return 2 * math.prod(self.y4) * (self.channels // self.groups) * self.a * self.b

    @cached_property
    def bytes(self) -> int:
        """Compulsory traffic: X, W and Y once each."""
        elements = math.prod(self.x4) + math.prod(self.w4) + math.prod(self.y4)
        return elements * np.dtype(self.dtype).itemsize

    def of_type(self, dtype: np.dtype[Any]) -> Problem:
        """The same with results of another type."""
        name = TYPE_NAMES[dtype.char]
        return self if name == self.dtype else self._replace(dtype=name)

    def __str__(self) -> str:
        """The name that tests and reports use, with what is unusual.

        A plane is h256w256a3b3p1,1,1,1, a layer n1c64h56w56k64a3b3s1,1p1,1,1,1d1,1g1.
        """
        name = f"h{self.height}w{self.width}"
        if not self.plane:
            name = f"n{self.images}c{self.channels}{name}k{self.filters}"
        name += f"a{self.a}b{self.b}"
        if not self.plane:
            name += f"s{self.stride[0]},{self.stride[1]}"
        name += f"p{self.top},{self.bottom},{self.left},{self.right}"
        if not self.plane:
            name += f"d{self.dilation[0]},{self.dilation[1]}g{self.groups}"
        if self.mode != "zeros":
            name += f"-{self.mode}"
        if self.dtype != "float32":
            name += f"-{self.dtype}"
        return name if self.algorithm == "auto" else f"{name}-{self.algorithm}"


_known: dict[Hashable, Problem] = {}  # what was asked for before


def find_problem(
    x: tuple[str, Shape], w: tuple[str, Shape], dtype: np.dtype[Any], *settings: Any
) -> Problem:
    """As `make_problem`, which takes longer than a small call, from what was made before.

    The settings are known by their text, as values of other types can be equal.
    """
    key = x, w, dtype.char, repr(settings)
    problem = _known.get(key)
    if problem is None:
        problem = make_problem(x, w, dtype, *settings)
        if len(_known) >= 4096:
            _known.clear()
        _known[key] = problem
    return problem


def forget() -> None:
    """Forget all problems, and with them their plans."""
    _known.clear()


def make_problem(
    x: tuple[str, Shape],
    w: tuple[str, Shape],
    dtype: np.dtype[Any],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    padding_mode: str,
    algorithm: str,
) -> Problem:
    """Check shapes, each given with the name of its argument, and settings."""
    _choose("algorithm", algorithm, ALGORITHMS)
    _choose("padding_mode", padding_mode, PADDING_MODES)
    steps, spacing = parse_pair("stride", stride, 1), parse_pair("dilation", dilation, 1)
    shapes = f"{x[0]} {x[1]}, {w[0]} {w[1]}"
    x4, w4 = _check_shapes(x, w, groups, shapes)
    groups = int(groups)  # a narrow one of NumPy would overflow
    if w4[1] * groups != x4[1]:
        raise ValueError(
            f"{w[0]} has {w4[1]} input channels a group, but {x[0]} has {x4[1]} channels "
            f"in {groups} groups ({shapes})"
        )
    mode = "zeros" if padding_mode == "constant" else padding_mode
    if 0 in x4[2:] and mode != "zeros":
        raise ValueError(
            f"padding_mode {padding_mode!r} has nothing to take from {x[0]} ({shapes})"
        )
    spans = [d * (taps - 1) + 1 for d, taps in zip(spacing, w4[2:], strict=True)]
    rows, columns = parse_padding(padding, spans, x4[2:], steps)
    for size, taps, span, (before, after), what in (
        (x4[2], w4[2], spans[0], rows, "rows"),
        (x4[3], w4[3], spans[1], columns, "columns"),
    ):
        if 0 not in x4[2:] and before + size + after < span:
            dilated = "" if span == taps else f", {span} with its dilation"
            raise ValueError(
                f"{w[0]} has {taps} {what}{dilated}, more than the {before + size + after} {what} "
                f"of {x[0]} with its padding ({shapes})"
            )
    problem = _problem(x4, w4, (rows, columns), mode, dtype, len(x[1]), groups, steps, spacing)
    return _with_algorithm(problem, algorithm)


def make_transposed(
    x: Shape,
    w: Shape,
    dtype: np.dtype[Any],
    stride: Pair,
    padding: Padding,
    extra: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> Problem:
    """The problem whose dX from dY is what `conv_transpose2d` makes of its x: Y has its shape."""
    _choose("algorithm", algorithm, ALGORITHMS)
    steps, spacing = parse_pair("stride", stride, 1), parse_pair("dilation", dilation, 1)
    more = parse_pair("output_padding", extra, 0)
    if isinstance(padding, str):
        raise TypeError(f"padding is {padding!r}, expected numbers")
    shapes = f"x {x}, w {w}"
    x4, w4 = _check_shapes(("x", x), ("w", w), groups, shapes)
    groups = int(groups)
    if w4[0] != x4[1]:
        raise ValueError(f"w has {w4[0]} input channels, but x has {x4[1]} ({shapes})")
    spans = [d * (taps - 1) + 1 for d, taps in zip(spacing, w4[2:], strict=True)]
    sides = parse_padding(padding, spans, x4[2:], steps)
    sizes = []
    for size, span, s, d, side, m in zip(x4[2:], spans, steps, spacing, sides, more, strict=True):
        if m >= max(s, d):
            raise ValueError(
                f"output_padding is {extra!r}, expected less than stride {s} or dilation {d}"
            )
        length = (size - 1) * s - sum(side) + span + m
        if length < 0 and 0 not in x4[2:]:
            raise ValueError(f"padding is {padding!r}, more than the result has ({shapes})")
        sizes.append(max(length, 0))
    # What output_padding adds is seen by no tap: it counts as padding that is cut off less.
    rows, columns = ((before, after - m) for (before, after), m in zip(sides, more, strict=True))
    shape = x4[0], w4[1] * groups, sizes[0], sizes[1]
    problem = _problem(shape, w4, (rows, columns), "zeros", dtype, len(x), groups, steps, spacing)
    return _with_algorithm(problem, algorithm)


def _with_algorithm(problem: Problem, algorithm: str) -> Problem:
    """The problem to be solved as asked for, if it can be."""
    if algorithm in PLANE_ALGORITHMS:
        if not problem.plane:
            raise ValueError(
                f"algorithm is {algorithm!r}, which is for one plane without stride or dilation, "
                f"but this is a layer: x {problem.x_shape}, w {problem.w_shape}, "
                f"stride {problem.stride}, dilation {problem.dilation}"
            )
        if np.dtype(problem.dtype).kind != "f":
            raise ValueError(
                f"algorithm is {algorithm!r}, which has no exact integers such as {problem.dtype}"
            )
    return problem._replace(algorithm=algorithm)


def _problem(
    x: Shape,
    w: Shape,
    padding: Sequence[tuple[int, int]],
    mode: str,
    dtype: np.dtype[Any],
    rank: int,
    groups: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Problem:
    """From shapes as of a batch."""
    return Problem(
        height=x[2],
        width=x[3],
        a=w[2],
        b=w[3],
        top=padding[0][0],
        bottom=padding[0][1],
        left=padding[1][0],
        right=padding[1][1],
        mode=mode,
        dtype=TYPE_NAMES[dtype.char],
        rank=rank,
        images=x[0],
        channels=x[1],
        filters=w[0],
        groups=groups,
        stride=stride,
        dilation=dilation,
    )


def _check_shapes(
    x: tuple[str, Shape], w: tuple[str, Shape], groups: int, shapes: str
) -> tuple[Shape, Shape]:
    """Both shapes as of a batch."""
    if len(x[1]) not in (2, 3, 4):
        raise ValueError(
            f"{x[0]} has {len(x[1])} dimensions, expected (H, W), (C, H, W) or (N, C, H, W) "
            f"({shapes})"
        )
    rank, letters = (2, "(a, b)") if len(x[1]) == 2 else (4, "(K, C/groups, a, b)")
    if len(w[1]) != rank:
        raise ValueError(
            f"{w[0]} has {len(w[1])} dimensions, expected {rank}: {letters} ({shapes})"
        )
    if 0 in w[1][-2:]:
        raise ValueError(f"{w[0]} has no taps, expected at least one ({shapes})")
    if not is_int(groups):
        raise TypeError(f"groups is {groups!r}, expected an int of at least 1")
    if groups < 1:
        raise ValueError(f"groups is {groups!r}, expected at least 1")
    x4, w4 = ((1,) * (4 - len(shape)) + shape for shape in (x[1], w[1]))
    if w4[0] % groups:
        raise ValueError(
            f"groups is {groups}, which does not divide the {w4[0]} of {w[0]} ({shapes})"
        )
    return x4, w4


def parse_pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """An int or a pair of ints."""
    pair = (value, value) if is_int(value) else value
    if not is_sequence(pair) or not all(is_int(number) for number in pair):
        raise TypeError(f"{name} is {value!r}, expected an int or a pair of ints")
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(f"{name} is {value!r}, expected an int or a pair, at least {least}")
    return int(pair[0]), int(pair[1])


def parse_padding(
    padding: Any, spans: Sequence[int], sizes: Shape, stride: tuple[int, int]
) -> list[tuple[int, int]]:
    """Padding before and after, of rows and of columns, for a filter that spans so many."""
    if isinstance(padding, str):
        _choose("padding", padding, PADDINGS)
        return [_named_padding(padding, *axis) for axis in zip(spans, sizes, stride, strict=True)]
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


def _named_padding(name: str, span: int, size: int, stride: int) -> tuple[int, int]:
    """Padding before and after for a filter that spans so many rows (or columns) of `size`."""
    if name == "valid":
        return 0, 0
    if name == "full":
        return span - 1, span - 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
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
