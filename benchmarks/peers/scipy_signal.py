"""scipy.signal: direct, by FFT and by overlap-add."""

from __future__ import annotations

from functools import partial

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import DIRECTIONS, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    odd = problem.a % 2 == problem.b % 2 == 1
    fits = problem.h >= problem.a and problem.w >= problem.b
    possible = problem.plane and problem.same and odd and fits
    return possible and floats(dtype) and direction in DIRECTIONS


def prepare(
    function: str, problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int
) -> Run:
    import numpy as np
    from scipy import signal

    convolve = getattr(signal, function)
    x, w, dy = arrays.planes()
    top, bottom, left, right = problem.pad
    pad = (top, bottom), (left, right)
    return {
        "forward": lambda: convolve(x, w[::-1, ::-1], mode="same"),
        "input": lambda: convolve(dy, w, mode="same"),
        "weight": lambda: convolve(np.pad(x, pad), dy[::-1, ::-1], mode="valid"),
    }[direction]


PEERS = tuple(
    Peer(f"scipy.signal {name}", "scipy.signal", "scipy", can, partial(prepare, function))
    for name, function in (
        ("direct", "convolve2d"),
        ("FFT", "fftconvolve"),
        ("overlap-add", "oaconvolve"),
    )
)
