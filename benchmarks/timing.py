"""Timing of one peer's calls, with warm or cold caches. It runs in the peer's process."""

from __future__ import annotations

import os
from time import perf_counter

import numpy as np

from .machine import caches, cpus
from .peers import Run

COLD_CALLS = 20  # at most so many a turn: sweeping the caches takes far longer than most calls


def warm(run: Run, least: float) -> float:
    """Seconds a call, of as many calls as take `least` seconds; half as many go before, untimed.

    A call of ten times `least` or more is its own warm-up.
    """
    calls, seconds = 1, _seconds(run, 1)
    if seconds >= 10 * least:
        return seconds
    while seconds < least / 2:
        calls = max(2 * calls, int(0.6 * least / max(seconds / calls, 1e-9)))
        seconds = _seconds(run, calls)
    calls = max(int(np.ceil(calls * least / seconds)), 1)
    return _seconds(run, calls) / calls


def _seconds(run: Run, calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        run()
    return perf_counter() - start


def cold(run: Run, least: float) -> float:
    """Median seconds of single calls, each after the caches were filled with something else."""
    sweep = Sweep()
    times: list[float] = []
    while sum(times) < least and len(times) < COLD_CALLS:
        sweep()
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return float(np.median(times))


class Sweep:
    """Fills the caches of every core that may be used."""

    def __init__(self) -> None:
        """Twice as large as the caches."""
        sizes = caches() or {"L3": 32 << 20}
        self.shared = np.zeros(2 * max(sizes.values()), np.uint8)
        self.private = self.shared[: 2 * sizes.get("L2", 1 << 20)]

    def __call__(self) -> None:
        """Write over everything from one core, then over their private caches from the others."""
        self.shared += 1
        usable = cpus()
        if len(usable) > 1 and hasattr(os, "sched_setaffinity"):
            for cpu in usable:
                os.sched_setaffinity(0, [cpu])
                self.private += 1
            os.sched_setaffinity(0, usable)
