"""The speed table of the README, made from a stored result and never typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import results
from .analysis import Comparison, compare
from .problems import DIRECTIONS
from .summary import SYMBOLS

BEGIN, END = "<!-- speed table -->", "<!-- /speed table -->"


def renew(readme: Path, source: Path) -> None:
    """Put the table of a result between the markers."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no {BEGIN} ... {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{table(results.read(source), source.name)}{END}{after}")


def table(result: dict[str, Any], name: str) -> str:
    """Markdown: a row a problem, float32 with warm caches and all threads that were measured."""
    comparisons = compare(result)
    threads = max(c.threads for c in comparisons)
    chosen = [c for c in comparisons if c.setting == ("float32", threads, "warm")]
    cells = {(str(c.problem), c.direction): _cell(c) for c in chosen}
    lines = [
        "| float32 | " + " | ".join(SYMBOLS[direction] for direction in DIRECTIONS) + " |",
        "|---|" + "--:|" * len(DIRECTIONS),
    ]
    for problem in dict.fromkeys(str(c.problem) for c in chosen):
        row = [cells.get((problem, direction), "-") for direction in DIRECTIONS]
        lines.append(f"| {problem} | {' | '.join(row)} |")
    plural = "" if threads == 1 else "s"
    versions = [
        f"{peer} {fact['version']}" for peer, fact in result["peers"].items() if fact["present"]
    ]
    return (
        "\n".join(lines)
        + "\n\nGFLOP/s, and how many times as fast as the fastest peer; below 1 we lose. "
        + f"{result['machine']['cpu']}, {threads} thread{plural}, {result['date'][:10]}; "
        + f"{', '.join(versions)}. Errors, limits and all peers: `python -m benchmarks report "
        + f"benchmarks/results/{name}`; to measure again: `{result['command']}`.\n"
    )


def _cell(comparison: Comparison) -> str:
    speed, best = comparison.ours.gflops, comparison.best
    if speed is None:
        return comparison.ours.status
    if best is None or best.ratio is None:
        return f"{speed:.3g}"
    return f"{speed:.3g} ({best.ratio.median:.2g}x {best.label})"
