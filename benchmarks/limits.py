"""The limits of the machine as contestants: multiply-adds, and copies of as many bytes."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from .arrays import Arrays
from .peers import Peer, Run, floats
from .problems import Problem

FMA, COPY, STREAM, FRESH = "FMA peak", "copy", "copy, streaming", "copy, fresh destination"
STEPS = 10_000  # of 12 multiply-adds a vector: about 50 microseconds
SMALLEST = 1 << 20  # bytes that a call moves, so that it lasts longer than a call costs
ELEMENTS = {"float32": "f32", "float64": "f64"}


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return floats(dtype)


def _module(dtype: str) -> Any:
    """The widest vectors that this CPU has."""
    from conv2d import _cpu, dispatch

    usable = [level for level in _cpu.supported() if level in dispatch.built_levels()]
    return importlib.import_module(f"conv2d._limits_{ELEMENTS[dtype]}_{usable[0]}")


def multiply_add(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    module = _module(dtype)
    return lambda: module.fma(STEPS, threads)


def copy(
    kind: str, problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int
) -> Run:
    import numpy as np

    module = _module(dtype)
    item = np.dtype(dtype).itemsize
    block = 64 * threads
    traffic = problem.bytes(dtype, direction)
    count = -(-traffic // (2 * item * block)) * block
    source, spare = np.ones(count, dtype), np.zeros(count + 64, dtype)

    def aligned(memory: np.ndarray) -> np.ndarray:
        start = -memory.ctypes.data % 64 // item
        return memory[start : start + count]

    if kind == FRESH:
        return lambda: module.copy(aligned(np.empty(count + 64, dtype)), source, 1, False, threads)
    repeats = max(SMALLEST // traffic, 1)
    target = aligned(spare)
    return lambda: module.copy(target, source, repeats, kind == STREAM, threads)


_BUILT = "conv2d._limits_f32_generic"
PEERS = (
    Peer(FMA, _BUILT, "conv2d", can, multiply_add, "flop"),
    *(
        Peer(name, _BUILT, "conv2d", can, partial(copy, name), "byte")
        for name in (COPY, STREAM, FRESH)
    ),
)
