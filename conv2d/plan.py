"""How a problem is worked on: algorithm, threads and blocking, from sizes alone."""

from __future__ import annotations

import os
from functools import lru_cache
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


def _l2_cache() -> int:
    """Bytes of L2 of one core, from the system where it tells."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 1 << 20
    except (AttributeError, OSError, ValueError):
        return 1 << 20


L2_CACHE = _l2_cache()


class Plan(NamedTuple):
    """What the kernels are told beside the sizes."""

    algorithm: str
    band: int  # rows of Y at a time; for dW, rows of one partial sum
    strip: int  # columns of Y at a time
    threads: int


@lru_cache(maxsize=4096)
def make_plan(problem: Problem, direction: str, threads: int) -> Plan:
    """The plan for Y ("forward"), dX ("input") or dW ("weight"); its blocking ignores `threads`."""
    rows, columns = problem.x_shape if direction == "input" else problem.y_shape
    if rows <= SMALL_ROWS and 2 * rows * columns * problem.a * problem.b < SMALL_FLOPS:
        return Plan("direct", max(rows, 1), max(columns, 1), 1)
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
    return Plan("direct", band, max(strip // 64, 4) * 64, min(threads, MAX_THREADS))


def plan_same(
    height: int, width: int, a: int, b: int, dtype: str, direction: str, threads: int
) -> Plan:
    """The plan of a plane with 'same' padding, for the fast road."""
    before, after = (a - 1) // 2, a // 2
    left, right = (b - 1) // 2, b // 2
    problem = Problem(height, width, a, b, before, after, left, right, "zeros", dtype)
    return make_plan(problem, direction, threads)
