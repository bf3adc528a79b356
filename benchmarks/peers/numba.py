"""numba: the loop nest one would write first, rows (for dW, taps) in parallel."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import DIRECTIONS, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return problem.plane and floats(dtype) and direction in DIRECTIONS


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import numba
    import numpy as np

    numba.set_num_threads(threads)

    @numba.njit(parallel=True, fastmath=True)
    def correlate(x, w, top, left, rows, columns):  # type: ignore[no-untyped-def]
        y = np.zeros((rows, columns), x.dtype)
        for i in numba.prange(rows):
            for p in range(max(0, top - i), min(w.shape[0], x.shape[0] + top - i)):
                for q in range(w.shape[1]):
                    for j in range(max(0, left - q), min(columns, x.shape[1] + left - q)):
                        y[i, j] += x[i - top + p, j - left + q] * w[p, q]
        return y

    @numba.njit(parallel=True, fastmath=True)
    def weight(x, dy, top, left, a, b):  # type: ignore[no-untyped-def]
        dw = np.zeros((a, b), x.dtype)
        for tap in numba.prange(a * b):
            p, q = tap // b - top, tap % b - left
            total = x.dtype.type(0)
            for i in range(max(0, -p), min(dy.shape[0], x.shape[0] - p)):
                for j in range(max(0, -q), min(dy.shape[1], x.shape[1] - q)):
                    total += dy[i, j] * x[i + p, j + q]
            dw[p + top, q + left] = total
        return dw

    x, w, dy = arrays.planes()
    (top, _, left, _), (a, b) = problem.pad, w.shape
    return {
        "forward": lambda: correlate(x, w, top, left, *dy.shape),
        "input": lambda: correlate(dy, w[::-1, ::-1], a - 1 - top, b - 1 - left, *x.shape),
        "weight": lambda: weight(x, dy, top, left, a, b),
    }[direction]


PEERS = (Peer("numba", "numba", "numba", can, prepare),)
