"""Ratios of times with their intervals, and who has won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Times = Sequence[float | None]  # by rounds; None without a turn
RESAMPLES = 1000


@dataclass(frozen=True)
class Ratio:
    """A median and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def paired_ratio(theirs: Times, ours: Times) -> Ratio | None:
    """Median of their time over ours, each within a round; None without a common round."""
    pairs = [t / o for t, o in zip(theirs, ours, strict=True) if t is not None and o is not None]
    return _interval((np.array(pairs),)) if pairs else None


def unpaired_ratio(theirs: Times, ours: Times) -> Ratio | None:
    """Median of their times over the median of ours, where rounds have nothing in common."""
    samples = [np.array([time for time in times if time is not None]) for times in (theirs, ours)]
    return _interval(tuple(samples)) if all(sample.size for sample in samples) else None


def _interval(samples: tuple[np.ndarray, ...]) -> Ratio:
    median = float(_quotient(*samples))
    if min(sample.size for sample in samples) < 2 or all(np.ptp(s) == 0 for s in samples):
        return Ratio(median, median, median)
    found = stats.bootstrap(
        samples,
        _quotient,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Ratio(median, float(found.low), float(found.high))


def _quotient(a: np.ndarray, b: np.ndarray | None = None, axis: int = -1) -> np.ndarray:
    top = np.median(a, axis=axis)
    return top if b is None else top / np.median(b, axis=axis)


def verdict(ratio: Ratio, noise: Ratio | None) -> str:
    """`win` or `loss` where the interval is beyond 1 and beyond ours against ours; else `tie`."""
    spread = max(1.0, noise.high, 1 / noise.low) if noise else 1.0
    if ratio.low > spread:
        return "win"
    return "loss" if ratio.high < 1 / spread else "tie"


def median(times: Times) -> float | None:
    """Median of the turns that were had."""
    known = [time for time in times if time is not None]
    return float(np.median(known)) if known else None


def minimum(times: Times) -> float | None:
    """The shortest of the turns that were had."""
    return min((time for time in times if time is not None), default=None)
