"""The process of one peer: it prepares, is checked, and is timed when told so, line by line."""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any

import numpy as np

from . import timing
from .arrays import error, make_arrays, tolerance
from .machine import pin
from .peers import Peer, Run, load
from .problems import parse

COMPILATION = 10.0  # seconds; a first call that takes longer is slow, whatever else it does


class Worker:
    """Answers one request after the other; `run` is the call that was prepared last."""

    def __init__(self, peer: Peer, threads: int) -> None:
        """Nothing is imported yet."""
        self.peer, self.threads = peer, threads
        self.run: Run | None = None

    def prepare(self, problem: str, direction: str, dtype: str, expected: str) -> dict[str, Any]:
        """Get ready and be checked; says how long one call took."""
        sizes = parse(problem)
        arrays = make_arrays(sizes, dtype)
        run = self.peer.prepare(sizes, direction, dtype, arrays, self.threads)
        result, call = _timed(run)
        if call < COMPILATION:
            result, call = _timed(run)
        answer: dict[str, Any] = {"status": "ok", "call": call}
        self.run = run
        if self.peer.unit:
            return {**answer, "work": result}
        found = error(result, np.load(expected, mmap_mode="r"))
        answer |= {"rms_error": found.rms, "largest_error": found.largest}
        if not found.largest <= tolerance(sizes, direction, dtype):  # NaN is wrong too
            answer["status"] = "wrong"
        return answer

    def time(self, least: float, cache: str) -> dict[str, Any]:
        """Seconds a call."""
        assert self.run is not None
        measure = {"warm": timing.warm, "cold": timing.cold}[cache]
        return {"seconds": measure(self.run, least)}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks; what the library raises is an answer too."""
        try:
            return getattr(self, request.pop("do"))(**request)
        except Exception as problem:
            return {"status": "failed", "note": f"{type(problem).__name__}: {problem}"[:300]}


def _timed(run: Run) -> tuple[Any, float]:
    start = perf_counter()
    return run(), perf_counter() - start


def main() -> None:
    """`python -m benchmarks.worker MODULE NAME THREADS`: requests on stdin, answers on stdout."""
    module, name, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    pin(int(threads))
    worker = Worker(load(module)[name], int(threads))
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
