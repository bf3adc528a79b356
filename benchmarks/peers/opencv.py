"""OpenCV's filter2D, with the flipped filter for dX; dW is beyond it."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    possible = problem.plane and problem.same and direction in ("forward", "input")
    return possible and floats(dtype)


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import cv2
    import numpy as np

    cv2.setNumThreads(threads)
    source, taps, dy = arrays.planes()
    top, _, left, _ = problem.pad
    anchor = (left, top)  # the tap that lies on the output, column first
    if direction == "input":
        source, taps = dy, np.ascontiguousarray(taps[::-1, ::-1])
        anchor = (problem.b - 1 - left, problem.a - 1 - top)
    return lambda: cv2.filter2D(source, -1, taps, anchor=anchor, borderType=cv2.BORDER_CONSTANT)


PEERS = (Peer("OpenCV", "cv2", "opencv-python-headless", can, prepare),)
