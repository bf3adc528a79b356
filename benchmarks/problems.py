"""The problems that are timed: sizes, names, flops and compulsory bytes; the shape lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPES = Path(__file__).parent / "shapes"
DIRECTIONS = ("forward", "input", "weight")
BACKWARD = "backward"  # dX, dW and db in one call
_PLANE = re.compile(r"(\d+)x(\d+)_(\d+)x(\d+)")
_LAYER = re.compile(
    r"n(\d+)c(\d+)h(\d+)w(\d+)k(\d+)a(\d+)b(\d+)s(\d+)p(\d+(?:,\d+,\d+,\d+)?)d(\d+)g(\d+)"
)


@dataclass(frozen=True)
class Problem:
    """Sizes of X (n, c, h, w) and W (k, c / groups, a, b); pad is (top, bottom, left, right)."""

    n: int
    c: int
    h: int
    w: int
    k: int
    a: int
    b: int
    stride: int
    pad: tuple[int, int, int, int]
    dilation: int
    groups: int

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """Shape of X and dX."""
        return self.n, self.c, self.h, self.w

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """Shape of W and dW."""
        return self.k, self.c // self.groups, self.a, self.b

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """Shape of Y and dY."""
        top, bottom, left, right = self.pad
        rows = self.h + top + bottom - self.dilation * (self.a - 1) - 1
        columns = self.w + left + right - self.dilation * (self.b - 1) - 1
        return self.n, self.k, rows // self.stride + 1, columns // self.stride + 1

    @property
    def plane(self) -> bool:
        """Whether it is one plane and one filter, stride 1, no dilation."""
        return self.n == self.c == self.k == self.groups == self.stride == self.dilation == 1

    @property
    def same(self) -> bool:
        """Whether it is padded so that the planes of Y are as large as those of X, at stride 1."""
        return self.stride == 1 and self.pad == same_padding(self.a, self.b, self.dilation)

    @property
    def symmetric(self) -> bool:
        """Whether opposite sides have the same padding."""
        top, bottom, left, right = self.pad
        return top == bottom and left == right

    @property
    def flops(self) -> int:
        """Multiplications and additions, those with padding too; the same in each direction."""
        n, k, rows, columns = self.y_shape
        return 2 * n * k * rows * columns * (self.c // self.groups) * self.a * self.b

    def work(self, direction: str) -> int:
        """Multiplications and additions of a call: two products where it makes dX and dW."""
        return 2 * self.flops if direction == BACKWARD else self.flops

    def terms(self, direction: str) -> int:
        """Products that are added up in one element of the result, at most."""
        if direction == BACKWARD:
            return max(self.terms("input"), self.terms("weight"))
        if direction == "weight":
            return self.n * self.y_shape[2] * self.y_shape[3]
        return self.a * self.b * (self.c if direction == "forward" else self.k) // self.groups

    def bytes(self, dtype: str, direction: str = "forward") -> int:
        """Compulsory traffic: X, W and Y once each; if BACKWARD, dX, dW and db beside them."""
        shapes = [self.x_shape, self.w_shape, self.y_shape]
        if direction == BACKWARD:
            shapes += [self.x_shape, self.w_shape, (self.k,)]
        elements = sum(int(np.prod(shape)) for shape in shapes)
        return elements * np.dtype(dtype).itemsize

    def __str__(self) -> str:
        """The shortest text that `parse` reads back."""
        if self.plane and self.same:
            return f"{self.h}x{self.w}_{self.a}x{self.b}"
        pad = self.pad[:1] if len(set(self.pad)) == 1 else self.pad
        return (
            f"n{self.n}c{self.c}h{self.h}w{self.w}k{self.k}a{self.a}b{self.b}"
            f"s{self.stride}p{','.join(map(str, pad))}d{self.dilation}g{self.groups}"
        )


def same_padding(a: int, b: int, dilation: int = 1) -> tuple[int, int, int, int]:
    """Padding that keeps the size at stride 1; the smaller half comes before."""
    rows, columns = dilation * (a - 1), dilation * (b - 1)
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def plane(h: int, w: int, a: int, b: int) -> Problem:
    """One plane with 'same' padding."""
    return Problem(1, 1, h, w, 1, a, b, 1, same_padding(a, b), 1, 1)


def parse(text: str) -> Problem:
    """Read `256x256_3x3` or `n1c64h56w56k64a3b3s1p1d1g1` (p1 or p1,2,1,2)."""
    if match := _PLANE.fullmatch(text):
        problem = plane(*map(int, match.groups()))
    elif match := _LAYER.fullmatch(text):
        n, c, h, w, k, a, b, stride, pad, dilation, groups = match.groups()
        sides = [int(side) for side in pad.split(",")]
        top, bottom, left, right = sides * 4 if len(sides) == 1 else sides
        sizes = [int(size) for size in (n, c, h, w, k, a, b, stride)]
        problem = Problem(*sizes, (top, bottom, left, right), int(dilation), int(groups))
    else:
        raise ValueError(
            f"problem {text!r}: expected one like 256x256_3x3 or n1c64h56w56k64a3b3s1p1d1g1"
        )
    if problem.groups < 1 or problem.c % problem.groups or problem.k % problem.groups:
        raise ValueError(f"problem {text!r}: groups must divide the channels")
    if min(problem.x_shape + problem.w_shape + (problem.stride, problem.dilation)) < 1:
        raise ValueError(f"problem {text!r}: sizes must be at least 1")
    if min(problem.y_shape) < 1:
        raise ValueError(f"problem {text!r}: the filter is larger than the padded plane")
    return problem


def lists() -> list[str]:
    """Names of the shape lists."""
    return sorted(path.stem for path in SHAPES.glob("*.tsv"))


def read_list(name: str) -> dict[str, Problem]:
    """Problems of a shape list by their names."""
    if name not in lists():
        raise ValueError(f"no shape list {name!r}, but {', '.join(lists())}")
    lines = (SHAPES / f"{name}.tsv").read_text().splitlines()
    columns = next(line for line in lines if line.startswith("# name"))[2:].split("\t")
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {row[0]: _from_row(dict(zip(columns, row, strict=True))) for row in rows}


def select(names: Iterable[str]) -> list[Problem]:
    """Problems by hand and whole shape lists, each problem once."""
    chosen = (read_list(name).values() if name in lists() else [parse(name)] for name in names)
    return list(dict.fromkeys(problem for problems in chosen for problem in problems))


def _from_row(row: dict[str, str]) -> Problem:
    size = {key: int(value) for key, value in row.items() if key != "name"}
    if "N" not in size:
        return plane(size["H"], size["W"], size["a"], size["b"])
    pad = (size["pad"],) * 4
    shape = (size["N"], size["C"], size["H"], size["W"], size["K"], size["a"], size["b"])
    return Problem(*shape, size["stride"], pad, size["dilation"], size["groups"])
