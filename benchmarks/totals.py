"""Each shape list and direction as one row: against the best of the libraries that do layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import stats
from .analysis import Comparison, Entry
from .problems import lists, read_list

RIVALS = ("PyTorch NCHW", "PyTorch channels_last", "ONNX Runtime")


@dataclass(frozen=True)
class Duel:
    """One match against the best of the rivals."""

    comparison: Comparison
    rival: Entry
    ratio: float  # its time over ours
    verdict: str


@dataclass(frozen=True)
class Total:
    """All duels of one list, direction and setting, the worst first."""

    name: str
    direction: str
    setting: tuple[str, int, str]
    duels: list[Duel]

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return float(np.exp(np.mean(np.log([duel.ratio for duel in self.duels]))))

    @property
    def lost(self) -> int:
        """How many duels."""
        return sum(duel.verdict == "loss" for duel in self.duels)

    @property
    def error(self) -> float | None:
        """The largest rms error of ours, over the rms of the result."""
        return max((d.comparison.ours.error or 0.0 for d in self.duels), default=None)

    @property
    def their_error(self) -> float | None:
        """The largest rms error of the rivals that are compared with."""
        return max((d.rival.error or 0.0 for d in self.duels), default=None)


def by_list(
    result: dict[str, Any], comparisons: list[Comparison]
) -> Iterator[tuple[str, list[Comparison]]]:
    """The comparisons of each list that was asked for; the rest, given by hand, together."""
    rest = list(comparisons)
    for name in result["settings"].get("lists", []):
        if name in lists():
            problems = set(read_list(name).values())
            yield name, [c for c in comparisons if c.problem in problems]
            rest = [c for c in rest if c.problem not in problems]
    if rest:
        yield "Problems by hand", rest


def totals(result: dict[str, Any], comparisons: list[Comparison]) -> list[Total]:
    """A row for each list, direction and setting in which there was a rival."""
    found = []
    for name, group in by_list(result, comparisons):
        for direction, setting in dict.fromkeys((c.direction, c.setting) for c in group):
            chosen = [c for c in group if (c.direction, c.setting) == (direction, setting)]
            duels = sorted((d for d in map(duel, chosen) if d), key=lambda d: d.ratio)
            if duels:
                found.append(Total(name, direction, setting, duels))
    return found


def duel(comparison: Comparison) -> Duel | None:
    """A match against the best of the rivals; None without them, or without ours."""
    ratios = {e.label: e.ratio for e in comparison.others if e.label in RIVALS and e.ratio}
    if not ratios or not comparison.ours.median:
        return None
    label = min(ratios, key=lambda each: ratios[each].median)
    rival = next(e for e in comparison.others if e.label == label)
    result = stats.verdict(ratios[label], comparison.noise)
    return Duel(comparison, rival, ratios[label].median, result)
