"""The oracle: nested loops in pure Python, on problems that end within seconds."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import DIRECTIONS, Problem

MOST_FLOPS = 4_000_000


def can(problem: Problem, direction: str, dtype: str) -> bool:
    brief = problem.flops <= MOST_FLOPS
    return problem.plane and brief and floats(dtype) and direction in DIRECTIONS


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    from conv2d import reference

    x, w, dy = arrays.planes()
    top, bottom, left, right = problem.pad
    padding = ((top, bottom), (left, right))
    return {
        "forward": lambda: reference.conv2d(x, w, padding=padding),
        "input": lambda: reference.conv2d_input(x.shape, w, dy, padding=padding),
        "weight": lambda: reference.conv2d_weight(x, w.shape, dy, padding=padding),
    }[direction]


PEERS = (Peer("pure Python", "conv2d", "conv2d", can, prepare),)
