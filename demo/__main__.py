"""`python -m demo [--output PATH]`: computes, shows how far it is, and leaves a page of HTML."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from . import page, speed, tasks

SEED = 7
LEARN_STEPS, RESTORE_STEPS = 500, 100


def run(
    picture: tasks.Plane,
    view: tuple[slice, slice],
    progress: Progress,
    steps: tuple[int, int] = (LEARN_STEPS, RESTORE_STEPS),
    budget: float = 0.1,
    crop: int = speed.CROP,
) -> page.Results:
    """Learn the blur on the left half of the picture, undo it on the right; then the clock."""
    start = time.perf_counter()
    rng = np.random.default_rng(SEED)
    known = list(
        progress.track(
            tasks.known_filters(picture), total=len(tasks.DRAWN), description="Known filters"
        )
    )
    true = tasks.hook()
    shaken = tasks.blurred(picture, true, rng)
    half = picture.shape[1] // 2
    learning = progress.track(range(steps[0]), description="Learning a filter (dW)")
    learnt = tasks.learn_filter(
        *(np.ascontiguousarray(plane[:, :half]) for plane in (picture, shaken)), true, learning
    )
    restoring = progress.track(range(steps[1]), description="Undoing the blur (dX)")
    restored = tasks.restore(
        np.ascontiguousarray(shaken[:, half:]), learnt.found, picture[:, half:], restoring
    )
    layer = tasks.layer(picture)
    clock = speed.timings(picture, rng, budget, crop)
    timings = list(progress.track(clock, total=speed.count(), description="Speed"))
    seconds = time.perf_counter() - start
    return page.Results(picture, view, known, learnt, restored, layer, timings, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo and print where its page is."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo.html"), help="%(default)s")
    output = parser.parse_args(arguments).output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        picture, view = tasks.load_picture(), (slice(420, 660), slice(630, 870))
        results = run(picture, view, progress)
        output.write_text(page.render(results), encoding="utf-8")
    print(output)


if __name__ == "__main__":
    main()
