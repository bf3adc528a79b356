"""How a problem is worked on: algorithm, threads and blocking, from sizes alone."""

from __future__ import annotations

import os
from functools import lru_cache
from math import log2
from typing import NamedTuple

import numpy as np

from . import _door
from .problem import Problem

# Smaller problems are worked on in one piece by one thread, the rows bounding the workspace. In a
# tight loop two threads win from 0.5 MFLOP on; after a pause, when they have to be woken, from
# about 8. This lies between (measured with filters from 3x3 to 15x15).
SMALL_FLOPS = 2_000_000
SMALL_ROWS = 1024
# More threads than this would take more than the promised workspace (about 0.4 MiB each).
MAX_THREADS = 64
WORKSPACE = 32 * 2**20  # bytes, the most that a call takes beyond its arrays
# Elements of a block where a result cannot be written in place.
CHUNK = 1 << 17
# Rows or columns of the largest block of W that a kernel takes in one call.
MAX_FILTER = _door.LARGEST_FILTER
# Rows or columns that a tile of X may have, and of W's blocks.
FFT_TILES = (32, 64, 96, 128, 192, 256)
FFT_FILTER = 128
FFT_WORKSPACE = 24 * 2**20  # bytes of the tiles of all threads
# Elements of what the first pass of a separable filter gives to the second, and columns at most: a
# row of tiles has to fit the workspace.
SEPARABLE_CHUNK = 1 << 18
SEPARABLE_COLUMNS = 1 << 18
# From so many flops on, a look at W takes less than a tenth of the time; each tap of the two passes
# costs so many flops of a direct sum (measured with filters of 9 to 31 a side).
SEPARABLE_FLOPS = 3e7
SEPARABLE_COST = 7
# What a pair of tiles costs in flops of a direct sum: for each element and binary digit of their
# number, for each row as much as so many, and the more for each doubling beyond 128 x 128, which
# leave L2 (fitted to filters of 9 to 63 a side with tiles of 32 to 256, 1 and 2 threads).
FFT_FLOPS = 36
FFT_ROW = 200
FFT_LARGE = 0.15
FLOATS = ("float16", "float32", "float64")


def _l2_cache() -> int:
    """Bytes of L2 of one core, from the system where it tells."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 1 << 20
    except (AttributeError, OSError, ValueError):
        return 1 << 20


L2_CACHE = _l2_cache()


class Plan(NamedTuple):
    """What the kernels are told beside the sizes."""

    algorithm: str  # or two: the first if the filter allows it
    band: int  # rows of Y at a time; for dW, rows of one partial sum
    strip: int  # columns of Y at a time
    threads: int


@lru_cache(maxsize=4096)
def make_plan(problem: Problem, direction: str, threads: int) -> Plan:
    """The plan for Y ("forward"), dX ("input") or dW ("weight"); its blocking ignores `threads`."""
    rows, columns = problem.x_shape if direction == "input" else problem.y_shape
    algorithm = choose_algorithm(problem, direction, rows, columns)
    if rows <= SMALL_ROWS and 2 * rows * columns * problem.a * problem.b < SMALL_FLOPS:
        return Plan(algorithm, max(rows, 1), max(columns, 1), 1)
    itemsize = max(np.dtype(problem.dtype).itemsize, 4)
    if direction == "weight":
        # At most 64 partial sums of dW, of 16 rows at least; both planes of a block in half a MiB,
        # whatever the caches are: the order of the sums must follow from the sizes alone.
        band = max(-(-rows // 256) * 4, 16)
        strip = (1 << 20) // (4 * band * itemsize)
    else:
        # The rows of X that a row of tiles reads, and the tiles, in half of L2.
        band = 48
        strip = L2_CACHE // (2 * (min(problem.a, MAX_FILTER) + 11) * itemsize)
    return Plan(algorithm, band, max(strip // 64, 4) * 64, min(threads, MAX_THREADS))


def choose_algorithm(problem: Problem, direction: str, rows: int, columns: int) -> str:
    """What was asked for, or the fastest that keeps the promises on accuracy."""
    a, b = problem.w_shape
    if direction == "weight":
        return "direct"
    if problem.algorithm != "auto":
        return problem.algorithm
    folded = direction == "input" and problem.mode != "zeros"  # in many small pieces
    if problem.dtype not in FLOATS or rows * columns == 0 or folded:
        return "direct"
    algorithm, cost = "direct", 2.0 * rows * columns * a * b
    worth_a_look = cost >= SEPARABLE_FLOPS
    # Float64 keeps what is bright apart from what is dark in data of float32, not of float64.
    if problem.dtype != "float64":
        taps = min(a, FFT_FILTER), min(b, FFT_FILTER)
        tiled = _cost(rows, columns, *taps, *fft_tile(rows, columns, *taps))
        if tiled < cost:
            algorithm, cost = "fft", tiled
    if worth_a_look and SEPARABLE_COST * rows * columns * (a + b) < cost:
        return f"separable or {algorithm}"
    return algorithm


@lru_cache(maxsize=4096)
def fft_tile(rows: int, columns: int, a: int, b: int) -> tuple[int, int]:
    """The rows and columns of the tiles of X that cost least."""
    return min(_tiles(a, b), key=lambda tile: _cost(rows, columns, a, b, *tile))


def _tiles(a: int, b: int) -> list[tuple[int, int]]:
    return [(high, wide) for high in FFT_TILES if high > a for wide in FFT_TILES if wide > b]


def _cost(rows: int, columns: int, a: int, b: int, high: int, wide: int) -> float:
    """Flops of a direct sum that take as long as the pairs of tiles, and the spectrum of W."""
    tiles = -(-rows // (high - a + 1)) * -(-columns // (wide - b + 1))
    area = high * wide
    large = 1 + FFT_LARGE * max(log2(area / 128**2), 0)
    return (tiles // 2 + 1) * FFT_FLOPS * large * (area * log2(area) + FFT_ROW * high)


def plan_same(
    height: int, width: int, a: int, b: int, dtype: str, direction: str, threads: int
) -> Plan:
    """The plan of a plane with 'same' padding, for the fast road."""
    before, after = (a - 1) // 2, a // 2
    left, right = (b - 1) // 2, b // 2
    problem = Problem(height, width, a, b, before, after, left, right, "zeros", dtype)
    return make_plan(problem, direction, threads)
