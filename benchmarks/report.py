"""The report: a page of HTML that needs nothing else, and in Markdown without the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import plots, results, summary
from .analysis import LIMITS, Comparison, compare
from .summary import SYMBOLS
from .totals import RIVALS, totals

ENOUGH = 4  # sizes that make a curve


def write(source: Path, page: Path, against: Path | None = None) -> None:
    """Write the page, and the Markdown beside it."""
    values = context(results.read(source), results.read(against) if against else None)
    page.parent.mkdir(parents=True, exist_ok=True)
    for name, path in (("report.html", page), ("report.md", page.with_suffix(".md"))):
        path.write_text(_environment().get_template(name).render(values))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": lambda value: "-" if value is None else f"{value:.3g}",
        "percent": lambda value: "-" if value is None else f"{100 * value:.0f} %",
        "ratio": lambda r: "-" if r is None else f"{r.median:.2f} [{r.low:.2f}, {r.high:.2f}]",
        "error": lambda value: "-" if value is None else f"{value:.1e}",
        "time": _time,
        "setting": summary.setting_text,
        "where": summary.where,
    }
    return environment


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    unit, scale = next(
        (u, s) for u, s in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * s >= 1 or u == "µs"
    )
    return f"{seconds * scale:.3g} {unit}"


def context(result: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """All that the templates show."""
    comparisons = compare(result)
    labels = [e.label for c in comparisons for e in (c.ours, *c.others)]
    palette = plots.Palette(list(dict.fromkeys(sorted(labels))))
    return {
        "result": result,
        "sentences": summary.sentences(result, comparisons),
        "warnings": summary.warnings(result, comparisons),
        "losses": summary.losses(comparisons),
        "totals": totals(result, comparisons),
        "rivals": ", ".join(RIVALS),
        "settings": [
            _setting(setting, group, palette)
            for setting, group in _groups(comparisons, lambda c: c.setting)
        ],
        "scaling": [
            (direction, rows, plots.scaling(rows))
            for direction, rows in _groups(summary.scaling(comparisons), lambda row: row[0])
        ],
        "against": old and _side_by_side(comparisons, compare(old)),
        "old": old,
        "symbols": SYMBOLS,
        "calm": summary.CALM,
        "limits": LIMITS,
    }


def _groups(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items with the same key together, in the order in which keys first come."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def _setting(
    setting: tuple[str, int, str], comparisons: list[Comparison], palette: plots.Palette
) -> dict[str, Any]:
    """Tables and figures of one type, thread count and state of the caches."""
    directions = []
    for direction in SYMBOLS:
        group = [c for c in comparisons if c.direction == direction]
        if group:
            directions.append(
                {
                    "direction": direction,
                    "comparisons": group,
                    "figures": [
                        ("Time of the best peer over ours", plots.bars(group)),
                        ("Roofline", plots.roofline(group, palette)),
                        *_curves(group, palette),
                        ("Error beside speed", plots.accuracy(group, palette)),
                    ],
                }
            )
    return {"setting": setting, "directions": directions}


def _curves(group: list[Comparison], palette: plots.Palette) -> list[tuple[str, str]]:
    """Speed over plane size for each filter, and over filter size for each plane."""
    planes = [c for c in group if c.problem.plane]
    squares = [c for c in planes if c.problem.h == c.problem.w and c.problem.a == c.problem.b]
    found = []
    for (a, b), same in _groups(squares, lambda c: c.problem.w_shape[2:]):
        if len(same) >= ENOUGH:
            figure = plots.over(same, lambda c: c.problem.w, "side of the plane", palette)
            found.append((f"Speed over plane size, {a}x{b}", figure))
    filters = [c for c in planes if c.problem.a == c.problem.b]
    for (h, w), same in _groups(filters, lambda c: c.problem.x_shape[2:]):
        if len(same) >= ENOUGH:
            figure = plots.over(same, lambda c: c.problem.a, "side of the filter", palette)
            found.append((f"Speed over filter size, {h}x{w}", figure))
    return found


def _side_by_side(new: list[Comparison], old: list[Comparison]) -> list[dict[str, Any]]:
    """Rows that both results have, those that became slower first.

    The machine may have been faster or slower as a whole: what counts is the change of the share of
    the limit, or, where no limit was measured, of the speed over the best peer that both have.
    """
    before = {c.key: c for c in old}
    rows = []
    for now in new:
        then = before.get(now.key)
        if then and now.ours.gflops and then.ours.gflops:
            change = _change(now, then)
            rows.append({"now": now, "then": then, "change": change})
    return sorted(rows, key=lambda row: row["change"] or 0.0)


def _change(now: Comparison, then: Comparison) -> float | None:
    if now.share and then.share:
        return now.share / then.share
    peers = {entry.label: entry.ratio for entry in then.others if entry.ratio}
    for entry in now.others:
        if entry.ratio and entry.label in peers:
            return entry.ratio.median / peers[entry.label].median
    return None
