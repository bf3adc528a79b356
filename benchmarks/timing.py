"""Timing of one peer's calls, with warm or cold caches. It runs in the peer's process."""

from __future__ import annotations

import os
from time import perf_counter

import numpy as np

from .machine import caches, cpus
from .peers import Run

# Times `least`: after a pause a core needs some 4 ms until wide vectors and caches have their full
# speed (seen as 1.4, 1.1, 1.0, 0.8, 0.65, 0.65 ms of equal calls).
WARM_UP = 5
LONG = 20  # times `least`: so long a call is its own warm-up
COLD_CALLS = 20  # at most so many a turn: sweeping the caches takes far longer than most calls


def warm(run: Run, least: float) -> float:
    """Seconds a call, of as many calls as take `least` seconds, after a longer warm-up."""
    spent, batches, calls = 0.0, 0, 1
    while spent < WARM_UP * least or batches < 3:
        seconds = _seconds(run, calls)
        if seconds >= LONG * least and calls == 1:
            return seconds
        spent, batches = spent + seconds, batches + 1
        calls = max(int(np.ceil(least * calls / seconds)), 1)
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
