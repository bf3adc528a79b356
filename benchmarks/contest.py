"""The contest: one process a peer, taking turns in random order; ratios hold despite noise."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from . import arrays
from .peers import Peer, load
from .problems import parse
from .process import Died, Process
from .results import Log

PATIENCE = 120.0  # seconds that an answer may take
# Calls longer than TURN, and FAR times that of the fastest, make a peer take part in every second
# or third round only; calls longer than SLOW are told, but get no turns.
FAR, TURN, SLOW = 3.0, 0.01, 1.0


@dataclass(frozen=True)
class Match:
    """What is compared: everything that the contestants have in common."""

    problem: str
    direction: str
    dtype: str
    threads: int
    cache: str

    def __str__(self) -> str:
        """The name in logs and on the progress bar."""
        plural = "" if self.threads == 1 else "s"
        setting = f"{self.dtype} {self.threads} thread{plural} {self.cache}"
        return f"{self.problem} {self.direction} {setting}"


@dataclass(frozen=True)
class Contestant:
    """A peer under the name that the report gives it; ours takes part twice."""

    label: str
    module: str
    name: str

    @property
    def peer(self) -> Peer:
        """The adapter."""
        return load(self.module)[self.name]


@dataclass(frozen=True)
class Settings:
    """How long to measure."""

    rounds: int = 30
    least: float = 0.002  # seconds of a turn
    minutes: float | None = None


Tell = Callable[[str, int], None]  # the match under way, and how many rounds are over


def play(
    matches: list[Match], contestants: list[Contestant], settings: Settings, log: Log, tell: Tell
) -> None:
    """Play what the log does not have yet. Matches of one thread count share their processes."""
    deadline = monotonic() + 60 * settings.minutes if settings.minutes else float("inf")
    left_out = []
    for threads in dict.fromkeys(match.threads for match in matches):
        with _processes(contestants, threads) as processes:
            for match in (match for match in matches if match.threads == threads):
                missing = settings.rounds - log.rounds(str(match))
                tell(str(match), settings.rounds - missing)
                if missing and monotonic() > deadline:
                    left_out.append(str(match))
                elif missing:
                    with tempfile.TemporaryDirectory() as folder:
                        _Game(match, processes, settings, log, tell).play(Path(folder), missing)
    log.finish(left_out)


@contextmanager
def _processes(contestants: list[Contestant], threads: int) -> Iterator[dict[Contestant, Process]]:
    processes = {each: Process(each.module, each.name, threads) for each in contestants}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.end()


class _Game:
    """One match: everybody prepares and is checked, then the rounds."""

    def __init__(
        self,
        match: Match,
        processes: dict[Contestant, Process],
        settings: Settings,
        log: Log,
        tell: Tell,
    ) -> None:
        """Nothing starts yet."""
        self.match, self.processes, self.settings = match, processes, settings
        self.log, self.tell = log, tell
        self.every: dict[Contestant, int] = {}  # in which rounds those take part who are timed

    def play(self, folder: Path, rounds: int) -> None:
        """Prepare, and play so many more rounds."""
        rows = self._prepare(folder)
        first = self.log.start(str(self.match), asdict(self.match), rows)
        for number in range(first, first + rounds):
            self.log.round(str(self.match), self._round(number))
            self.tell(str(self.match), 1)

    def _prepare(self, folder: Path) -> dict[str, dict[str, Any]]:
        problem = parse(self.match.problem)
        inputs = arrays.make_arrays(problem, self.match.dtype)
        expected = folder / "expected.npy"
        np.save(expected, arrays.expected(problem, self.match.direction, inputs))
        del inputs
        rows = {}
        for contestant, process in self.processes.items():
            if not contestant.peer.can(problem, self.match.direction, self.match.dtype):
                continue
            try:
                row = process.ask(
                    PATIENCE,
                    do="prepare",
                    problem=self.match.problem,
                    direction=self.match.direction,
                    dtype=self.match.dtype,
                    expected=str(expected),
                )
            except Died as death:
                row = {"status": "died", "note": str(death)}
            rows[contestant.label] = row
        self._choose_rounds(rows)
        return rows

    def _choose_rounds(self, rows: dict[str, dict[str, Any]]) -> None:
        """Who is far slower than the fastest has fewer turns, or none."""
        ready = {label: row for label, row in rows.items() if row["status"] == "ok"}
        calls = [row["call"] for row in ready.values() if "work" not in row]
        far = FAR * min(calls, default=0.0)
        for contestant in self.processes:
            row = ready.get(contestant.label)
            if row and row["call"] > max(SLOW, far):
                row["status"] = "slow"
            elif row:
                self.every[contestant] = min(max(round(row["call"] / max(TURN, far)), 1), 3)

    def _round(self, number: int) -> dict[str, float]:
        """One turn each, in random order."""
        order = [each for each, every in self.every.items() if number % every == 0]
        random.shuffle(order)
        seconds = {}
        for contestant in order:
            try:
                answer = self.processes[contestant].ask(
                    PATIENCE, do="time", least=self.settings.least, cache=self.match.cache
                )
                if "seconds" not in answer:
                    raise Died(answer["note"])
                seconds[contestant.label] = answer["seconds"]
            except Died as death:
                del self.every[contestant]
                self.log.death(str(self.match), contestant.label, str(death))
        return seconds
