"""The speed tables of the README, made from stored results and never typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import results
from .analysis import Comparison, compare
from .problems import DIRECTIONS
from .summary import SYMBOLS
from .totals import RIVALS, totals

BEGIN, END = "<!-- speed table -->", "<!-- /speed table -->"


def renew(readme: Path, sources: Sequence[Path]) -> None:
    """Put the tables of results between the markers."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no {BEGIN} ... {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    tables = "\n".join(table(results.read(source), source.name) for source in sources)
    readme.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


def table(result: dict[str, Any], name: str) -> str:
    """Markdown, float32 with warm caches and all threads that were measured."""
    comparisons = compare(result)
    threads = max(c.threads for c in comparisons)
    chosen = [c for c in comparisons if c.setting == ("float32", threads, "warm")]
    parts = [_planes([c for c in chosen if c.problem.plane]), _layers(result, chosen)]
    plural = "" if threads == 1 else "s"
    versions = [
        f"{peer} {fact['version']}" for peer, fact in result["peers"].items() if fact["present"]
    ]
    return (
        "\n\n".join(part for part in parts if part)
        + f" {result['machine']['cpu']}, {threads} thread{plural}, {result['date'][:10]}; "
        + f"{', '.join(versions)}. Errors, limits and all peers: `python -m benchmarks report "
        + f"benchmarks/results/{name}`; to measure again: `{result['command']}`.\n"
    )


def _planes(comparisons: list[Comparison]) -> str:
    """A row a problem."""
    rows = _markdown("float32", {(str(c.problem), c.direction): _cell(c) for c in comparisons})
    return rows and (
        f"{rows}\n\nGFLOP/s, and how many times as fast as the fastest peer; below 1 we lose."
    )


def _layers(result: dict[str, Any], comparisons: list[Comparison]) -> str:
    """A row a list."""
    cells = {
        (f"{total.name} ({len(total.duels)})", total.direction): (
            f"{total.mean:.2f} ({total.duels[0].ratio:.2f})"
        )
        for total in totals(result, [c for c in comparisons if not c.problem.plane])
    }
    rows = _markdown("layers, float32", cells)
    return rows and (
        f"{rows}\n\nHow many times as fast as the best of {', '.join(RIVALS)}: the geometric mean "
        "over the layers of a list, and the worst of them; below 1 we lose."
    )


def _markdown(title: str, cells: dict[tuple[str, str], str]) -> str:
    """A row for each name, a column for each direction; nothing where there are no cells."""
    lines = [
        f"| {title} | " + " | ".join(SYMBOLS[direction] for direction in DIRECTIONS) + " |",
        "|---|" + "--:|" * len(DIRECTIONS),
    ]
    for name in dict.fromkeys(name for name, _ in cells):
        row = [cells.get((name, direction), "-") for direction in DIRECTIONS]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) if cells else ""


def _cell(comparison: Comparison) -> str:
    speed, best = comparison.ours.gflops, comparison.best
    if speed is None:
        return comparison.ours.status
    if best is None or best.ratio is None:
        return f"{speed:.3g}"
    return f"{speed:.3g} ({best.ratio.median:.2g}x {best.label})"
