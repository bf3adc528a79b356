"""What the comparisons come to: one sentence a list, the rows where we lose, the scaling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from .analysis import OURS, Comparison
from .totals import by_list

SYMBOLS = {"forward": "Y", "input": "dX", "weight": "dW", "backward": "dX dW db"}
CALM = 0.8  # of the rounds; with less, the machine was busy with something else


def sentences(result: dict[str, Any], comparisons: list[Comparison]) -> list[str]:
    """One a list that was asked for; the rest, given by hand, together."""
    return [_sentence(name, group) for name, group in by_list(result, comparisons)]


def _sentence(name: str, comparisons: list[Comparison]) -> str:
    ranked = [c for c in comparisons if c.best and c.best.ratio and c.ours.median]
    if not ranked:
        return f"{name}: nothing to compare."
    counts = Counter(c.verdict for c in ranked)
    wins = ", ".join(
        f"{symbol} {sum(c.verdict == 'win' for c in group)} of {len(group)}"
        for direction, symbol in SYMBOLS.items()
        if (group := [c for c in ranked if c.direction == direction])
    )
    ratios = [ratio(c) for c in ranked]
    text = (
        f"{name}: against the fastest peer of each row we win {counts['win']} of {len(ranked)} "
        f"({wins}), tie {counts['tie']} and lose {counts['loss']}; the median ratio is "
        f"{np.median(ratios):.2f}"
    )
    worst = min(ranked, key=ratio)
    best = max(ranked, key=ratio)
    return f"{text}, from {ratio(worst):.2f} ({where(worst)}) to {ratio(best):.2f} ({where(best)})."


def ratio(comparison: Comparison) -> float:
    """Time of the best peer over ours; infinite where there is none."""
    best = comparison.best
    return best.ratio.median if best and best.ratio else float("inf")


def where(comparison: Comparison) -> str:
    """A comparison in words."""
    best = f" against {comparison.best.label}" if comparison.best else ""
    symbol = SYMBOLS[comparison.direction]
    return f"{comparison.problem} {symbol}, {setting_text(comparison.setting)}{best}"


def setting_text(setting: tuple[str, int, str]) -> str:
    """A setting in words."""
    dtype, threads, cache = setting
    return f"{dtype}, {threads} thread{'' if threads == 1 else 's'}, {cache} cache"


def losses(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Rows that are not won, the worst first; ours without a right result before all."""
    bad = [c for c in comparisons if c.verdict in ("loss", "tie", "none")]
    return sorted(bad, key=lambda c: (c.verdict != "none", ratio(c)))


def warnings(result: dict[str, Any], comparisons: list[Comparison]) -> list[str]:
    """What a reader must know before trusting a row."""
    found = []
    busy = [c for c in comparisons if c.calm is not None and c.calm < CALM]
    if busy:
        found.append(
            f"The machine was busy with something else in {len(busy)} of {len(comparisons)} rows "
            "(marked ~): its multiply-add peak fell by more than a fifth in many of their rounds."
        )
    if result["left_out"]:
        found.append(f"There was no time for {len(result['left_out'])} comparisons.")
    if result["kind"] == "pytest-benchmark":
        found.append(
            "Timed by pytest-benchmark, all peers in one process and one after the other: "
            "ratios are not paired, and there is no noise floor and no limit."
        )
    for label in dict.fromkeys(e.label for c in comparisons for e in (c.ours, *c.others)):
        entries = [e for c in comparisons for e in (c.ours, *c.others) if e.label == label]
        for status, words in (("wrong", "a wrong result"), ("died", "a dead process")):
            if count := sum(entry.status == status for entry in entries):
                found.append(f"{label}: {words} in {count} of {len(entries)} rows, not ranked.")
    return found


def scaling(comparisons: list[Comparison]) -> list[tuple[str, str, int, float, int]]:
    """For each direction and peer: threads, median speed-up over one thread, how many rows."""
    times: dict[tuple[Any, ...], float] = {}
    for c in comparisons:
        for entry in (c.ours, *c.others):
            if entry.median:
                key = (c.problem, c.dtype, c.cache, c.direction, entry.label, c.threads)
                times[key] = entry.median
    gains: dict[tuple[str, str, int], list[float]] = {}
    for (*what, direction, label, threads), time in times.items():
        single = times.get((*what, direction, label, 1))
        if threads > 1 and single:
            gains.setdefault((direction, label, threads), []).append(single / time)
    rows = [(*key, float(np.median(values)), len(values)) for key, values in gains.items()]
    return sorted(rows, key=lambda row: (row[0], row[2], row[1] != OURS, -row[3]))
