"""NumPy: einsum over sliding windows."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run
from benchmarks.problems import DIRECTIONS, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return problem.plane and direction in DIRECTIONS


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    x, w, dy = arrays.planes()
    top, bottom, left, right = problem.pad
    pad = (top, bottom), (left, right)
    back = [
        (size - 1 - before, size - 1 - after)
        for size, (before, after) in zip(w.shape, pad, strict=True)
    ]

    def correlate(source: np.ndarray, pad: object, taps: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(np.pad(source, pad), taps.shape)
        return np.einsum("ijpq,pq->ij", windows, taps)

    return {
        "forward": lambda: correlate(x, pad, w),
        "input": lambda: correlate(dy, back, w[::-1, ::-1]),
        "weight": lambda: correlate(x, pad, dy),
    }[direction]


PEERS = (Peer("NumPy einsum", "numpy", "numpy", can, prepare),)
