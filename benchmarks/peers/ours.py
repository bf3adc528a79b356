"""This library: planes."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return problem.plane and floats(dtype)


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import conv2d

    conv2d.set_num_threads(threads)
    x, w, dy = arrays.planes()
    top, bottom, left, right = problem.pad
    options = {} if problem.same else {"padding": ((top, bottom), (left, right))}
    return {
        "forward": lambda: conv2d.conv2d(x, w, **options),
        "input": lambda: conv2d.conv2d_input(x.shape, w, dy, **options),
        "weight": lambda: conv2d.conv2d_weight(x, w.shape, dy, **options),
    }[direction]


PEERS = (Peer("conv2d", "conv2d", "conv2d", can, prepare),)
