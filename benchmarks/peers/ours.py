"""This library: planes and layers, the latter also with channels last; gradients one by one."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import BACKWARD, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return floats(dtype)


def can_layer(problem: Problem, direction: str, dtype: str) -> bool:
    return not problem.plane and floats(dtype)


def can_backward(problem: Problem, direction: str, dtype: str) -> bool:
    return direction == BACKWARD and floats(dtype)


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import conv2d

    conv2d.set_num_threads(threads)
    x, w, dy = arrays.planes() if problem.plane else (arrays.x, arrays.w, arrays.dy)
    options = _options(problem)
    return {
        "forward": lambda: conv2d.conv2d(x, w, **options),
        "input": lambda: conv2d.conv2d_input(x.shape, w, dy, **options),
        "weight": lambda: conv2d.conv2d_weight(x, w.shape, dy, **options),
        BACKWARD: lambda: tuple(conv2d.conv2d_backward(dy, x, w, **options)),
    }[direction]


def _options(problem: Problem) -> dict[str, object]:
    """The keywords that a user would write: what is not the default."""
    top, bottom, left, right = problem.pad
    options = {
        "stride": problem.stride,
        "dilation": problem.dilation,
        "groups": problem.groups,
    }
    options = {name: value for name, value in options.items() if value != 1}
    return options if problem.same else {**options, "padding": ((top, bottom), (left, right))}


def prepare_channels_last(
    problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int
) -> Run:
    return prepare(problem, direction, dtype, arrays.channels_last(), threads)


def prepare_one_by_one(
    problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int
) -> Run:
    runs = [prepare(problem, each, dtype, arrays, threads) for each in ("input", "weight")]
    return lambda: (*(run() for run in runs), arrays.dy.sum(axis=(0, 2, 3)))


PEERS = tuple(
    Peer(name, "conv2d", "conv2d", possible, preparation)
    for name, possible, preparation in (
        ("conv2d", can, prepare),
        ("conv2d channels_last", can_layer, prepare_channels_last),
        ("conv2d one by one", can_backward, prepare_one_by_one),
    )
)
