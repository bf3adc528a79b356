"""scipy.ndimage.correlate, and convolve for dX; dW is beyond it."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    fits = problem.plane and problem.same and problem.h >= problem.a and problem.w >= problem.b
    return fits and floats(dtype) and direction in ("forward", "input")


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    from scipy import ndimage

    x, w, dy = arrays.planes()
    # ndimage centres an even filter one further down and right than 'same' does.
    origin = tuple(-1 + size % 2 for size in w.shape)
    if direction == "forward":
        return lambda: ndimage.correlate(x, w, mode="constant", origin=origin)
    return lambda: ndimage.convolve(dy, w, mode="constant", origin=origin)


PEERS = (Peer("scipy.ndimage", "scipy.ndimage", "scipy", can, prepare),)
