"""What results say: each match as speeds, ratios to ours, errors and shares of the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import limits, stats
from .problems import Problem, parse
from .stats import Ratio

OURS, AGAIN = "conv2d", "conv2d again"  # what is ours in other ways is shown, but is no rival
CALM = 0.8  # of the fastest multiply-adds of the run, to take a round as undisturbed
LIMITS = (limits.FMA, limits.COPY, limits.STREAM, limits.FRESH)


@dataclass(frozen=True)
class Entry:
    """One contestant in one match."""

    label: str
    status: str
    note: str
    error: float | None
    median: float | None
    minimum: float | None
    gflops: float | None
    ratio: Ratio | None  # its time over ours

    @property
    def ours(self) -> bool:
        """Whether it is this library, used in another way."""
        return self.label.startswith(OURS)


@dataclass(frozen=True)
class Comparison:
    """One match: ours, the others from the fastest on, those without a rank at the end."""

    problem: Problem
    direction: str
    dtype: str
    threads: int
    cache: str
    ours: Entry
    others: list[Entry]
    noise: Ratio | None  # ours against ours
    share: float | None  # our speed over the limit, median of rounds
    calm: (
        float | None
    )  # of the rounds, those in which the multiply-adds had nearly their best speed
    rates: dict[str, float]  # flop/s and bytes/s of the limits

    @property
    def best(self) -> Entry | None:
        """The fastest peer with a right result."""
        return next((other for other in self.others if other.ratio and not other.ours), None)

    @property
    def verdict(self) -> str:
        """`win`, `tie` or `loss` to the best peer; `alone` without one, `none` without ours."""
        if self.ours.median is None:
            return "none"
        if self.best is None or self.best.ratio is None:
            return "alone"
        return stats.verdict(self.best.ratio, self.noise)

    @property
    def intensity(self) -> float:
        """Flops a byte of compulsory traffic."""
        traffic = self.problem.bytes(self.dtype, self.direction)
        return self.problem.work(self.direction) / traffic

    @property
    def setting(self) -> tuple[str, int, str]:
        """What stays the same within one table or plot."""
        return self.dtype, self.threads, self.cache

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What identifies it in another result."""
        return str(self.problem), self.direction, *self.setting


def compare(result: dict[str, Any]) -> list[Comparison]:
    """Every match of a result."""
    ratio = stats.paired_ratio if result["kind"] == "contest" else stats.unpaired_ratio
    peaks: dict[tuple[str, int], float] = {}
    for match in result["matches"]:
        setting = match["dtype"], match["threads"]
        peaks[setting] = max([peaks.get(setting, 0.0), *_rates(match, limits.FMA)])
    return [
        _comparison(match, ratio, peaks[match["dtype"], match["threads"]])
        for match in result["matches"]
    ]


def _rates(match: dict[str, Any], limit: str) -> list[float]:
    """Flops or bytes a second of a limit, by rounds; 0 where it was not measured."""
    row = match["rows"].get(limit, {"seconds": [None] * match["rounds"]})
    return [row["work"] / seconds if seconds else 0.0 for seconds in row["seconds"]]


def _comparison(match: dict[str, Any], ratio: Any, peak: float) -> Comparison:
    problem, rows = parse(match["problem"]), match["rows"]
    flops = problem.work(match["direction"])
    calm = [rate > CALM * peak for rate in _rates(match, limits.FMA)] if peak else []
    missing = {"status": "absent", "seconds": [None] * match["rounds"]}
    ours = rows.get(OURS, missing)
    entries = [
        _entry(label, row, flops, ratio(row["seconds"], ours["seconds"]))
        for label, row in rows.items()
        if label not in (OURS, AGAIN, *LIMITS)
    ]
    again = rows.get(AGAIN, missing)
    return Comparison(
        problem,
        match["direction"],
        match["dtype"],
        match["threads"],
        match["cache"],
        _entry(OURS, ours, flops, None),
        sorted(entries, key=lambda e: e.ratio.median if e.ratio else float("inf")),
        ratio(again["seconds"], ours["seconds"]),
        _share(problem, match, ours["seconds"], calm),
        float(np.mean(calm)) if calm else None,
        {
            name: rows[name]["work"] / time
            for name in LIMITS
            if name in rows and (time := stats.median(rows[name]["seconds"]))
        },
    )


def _entry(label: str, row: dict[str, Any], flops: int, ratio: Ratio | None) -> Entry:
    time = stats.median(row["seconds"])
    if row["status"] != "ok":  # not ranked, whatever it did before
        ratio = time = None
    return Entry(
        label,
        row["status"],
        _note(row),
        row.get("rms_error"),
        time,
        stats.minimum(row["seconds"]) if time else None,
        flops / time / 1e9 if time else None,
        ratio,
    )


def _note(row: dict[str, Any]) -> str:
    if row["status"] == "wrong":
        return f"wrong: off by up to {row['largest_error']:.1e} of the result's rms"
    if row["status"] == "slow":
        return f"{row['call']:.1f} s a call: not timed further"
    return str(row.get("note", ""))


def _share(
    problem: Problem, match: dict[str, Any], ours: stats.Times, calm: list[bool]
) -> float | None:
    """The least time that the limits of a round allow, over ours; the median of calm rounds."""
    if not any(calm):
        return None
    rates = (_rates(match, name) for name in (limits.FMA, limits.COPY, limits.STREAM))
    flops = problem.work(match["direction"])
    traffic = problem.bytes(match["dtype"], match["direction"])
    shares = [
        max(flops / multiply_add, traffic / max(copy, stream)) / time
        for multiply_add, copy, stream, time, quiet in zip(*rates, ours, calm, strict=True)
        if quiet and time and max(copy, stream)
    ]
    return float(np.median(shares)) if shares else None
