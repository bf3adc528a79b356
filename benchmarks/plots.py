"""The figures of the report, as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from . import limits
from .analysis import OURS, Comparison, Entry
from .summary import ratio

INK = "#010203"  # becomes the text colour of the page
STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick", "grid")},
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
}
VERDICTS = {"win": "#2e9e5b", "tie": "#b8941f", "loss": "#d64545"}
COLOURS = [
    *("#3b82c4", "#8e6bbf", "#3aa6a0", "#c77f2a", "#7a9a2b"),
    *("#c05a94", "#8a8a8a", "#5f7fe0", "#a86b4c", "#4fae6d"),
]
MARKERS = ["o", "s", "^", "v", "D", "P", "X", "*", "<", ">"]
_numbers = itertools.count()


def _svg(draw: Callable[[Axes], None], height: float = 3.6, width: float = 6.0) -> str:
    """What `draw` puts on axes. Names inside are made unique, as pages hold many figures."""
    with mpl.rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")
        draw(figure.subplots())
        page = io.StringIO()
        figure.savefig(page, format="svg", transparent=True, metadata={"Date": None})
    text = page.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    prefix = f"f{next(_numbers)}-"
    text = re.sub(r'(\bid="|href="#|url\(#)', lambda match: match[0] + prefix, text)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r'<svg role="img" \1', text, count=1)


class Palette:
    """A colour and a marker for each peer, the same in all figures; ours stands out."""

    def __init__(self, labels: list[str]) -> None:
        """In the order of the labels."""
        others = [label for label in labels if label != OURS]
        self.of = {
            label: (COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
            for i, label in enumerate(others)
        }
        self.of[OURS] = ("#e0452f", "o")

    def line(self, label: str) -> dict[str, object]:
        """Style of a peer's line."""
        colour, marker = self.of[label]
        ours = label == OURS
        size, width, level = (4, 2.2, 3) if ours else (3, 1, 2)
        look = {"color": colour, "marker": marker, "label": label}
        return {**look, "markersize": size, "linewidth": width, "zorder": level}

    def point(self, label: str) -> dict[str, object]:
        """Style of a peer's points."""
        return {**self.line(label), "linestyle": "none", "alpha": 0.85}


def entries_by_label(comparisons: list[Comparison]) -> dict[str, list[tuple[Comparison, Entry]]]:
    """What each contestant did, ours first."""
    found: dict[str, list[tuple[Comparison, Entry]]] = {OURS: []}
    for comparison in comparisons:
        for entry in (comparison.ours, *comparison.others):
            if entry.gflops:
                found.setdefault(entry.label, []).append((comparison, entry))
    return {label: pairs for label, pairs in found.items() if pairs}


def _decades(*sides: Axis) -> None:
    """Numbers at 1, 2 and 5 of each decade of logarithmic axes."""
    for side in sides:
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(lambda value, _: f"{value:g}")
        side.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)


def roofline(comparisons: list[Comparison], palette: Palette) -> str:
    """GFLOP/s over flops a byte, with the limits of the machine as lines."""

    def draw(axes: Axes) -> None:
        for label, pairs in entries_by_label(comparisons).items():
            x, y = [c.intensity for c, _ in pairs], [e.gflops for _, e in pairs]
            axes.loglog(x, y, **palette.point(label))
        _draw_limits(axes, comparisons)
        axes.set(xlabel="flops a byte of compulsory traffic", ylabel="GFLOP/s")
        _decades(axes.xaxis, axes.yaxis)
        axes.grid(True)
        _legend(axes)

    return _svg(draw)


def _draw_limits(axes: Axes, comparisons: list[Comparison]) -> None:
    def rate(name: str) -> float | None:
        known = [c.rates[name] for c in large if name in c.rates]
        return float(np.median(known)) / 1e9 if known else None

    # Where the traffic is largest, copies run at the speed of memory and not of a cache.
    most = max(c.problem.bytes(c.dtype) for c in comparisons)
    large = [c for c in comparisons if c.problem.bytes(c.dtype) == most]
    peak = rate(limits.FMA)
    if peak is None:
        return
    low, high = axes.get_xlim()
    x = np.geomspace(low, high)
    lines = ((limits.STREAM, "--"), (limits.FRESH, ":"))
    for name, style in lines:
        if speed := rate(name):
            least = np.minimum(peak, speed * x)
            text = f"{name.removeprefix('copy, ')} copy {speed:.0f} GB/s"
            axes.plot(x, least, style, color=INK, linewidth=1, label=text)
    axes.axhline(peak, color=INK, linewidth=1, label=f"multiply-adds {peak:.0f} GFLOP/s")


def bars(comparisons: list[Comparison]) -> str:
    """Time of the best peer over ours, a bar a problem; what is left of 1 is lost."""
    ranked = [c for c in comparisons if c.best and c.verdict in VERDICTS]

    def draw(axes: Axes) -> None:
        for row, c in enumerate(ranked):
            assert c.best is not None
            assert c.best.ratio is not None
            spread = [[c.best.ratio.median - c.best.ratio.low], [c.best.ratio.high - ratio(c)]]
            axes.barh(
                row,
                ratio(c) - 1,
                left=1,
                color=VERDICTS[c.verdict],
                xerr=np.maximum(spread, 0),
                error_kw={"ecolor": INK, "elinewidth": 0.8},
            )
            axes.annotate(
                f" {ratio(c):.2f} {c.best.label}",
                (max(c.best.ratio.high, 1), row),
                va="center",
                fontsize=7.5,
            )
        axes.set_yticks(range(len(ranked)), [str(c.problem) for c in ranked])
        for label, c in zip(axes.get_yticklabels(), ranked, strict=True):
            label.set_color(VERDICTS["loss"] if c.verdict == "loss" else INK)
        axes.set_xscale("log")
        axes.axvline(1, color=INK, linewidth=1)
        axes.margins(x=0.25)
        axes.invert_yaxis()
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if _within(t, axes.get_xlim())]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("time of the best peer over ours")

    return _svg(draw, height=0.8 + 0.22 * len(ranked)) if ranked else ""


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def over(
    comparisons: list[Comparison], size: Callable[[Comparison], float], name: str, palette: Palette
) -> str:
    """Speed over a size."""

    def draw(axes: Axes) -> None:
        for label, pairs in entries_by_label(comparisons).items():
            line = sorted((size(c), e.gflops) for c, e in pairs)
            axes.plot(*zip(*line, strict=True), **palette.line(label))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlabel=name, ylabel="GFLOP/s")
        axes.set_ylim(bottom=0)
        axes.grid(True)
        _legend(axes)

    return _svg(draw)


def accuracy(comparisons: list[Comparison], palette: Palette) -> str:
    """Speed over error; results that are exact but for their own rounding are left out."""

    def least(comparison: Comparison) -> float:
        return float(np.finfo(comparison.dtype).eps) / 100

    def draw(axes: Axes) -> None:
        for label, pairs in entries_by_label(comparisons).items():
            known = [(e.error, e.gflops) for c, e in pairs if e.error and e.error > least(c)]
            if known:
                axes.loglog(*zip(*known, strict=True), **palette.point(label))
        axes.set(xlabel="rms error over rms of the result, against float64", ylabel="GFLOP/s")
        axes.xaxis.set_minor_formatter(NullFormatter())
        _decades(axes.yaxis)
        axes.grid(True)
        _legend(axes)

    return _svg(draw)


def scaling(rows: list[tuple[str, str, int, float, int]]) -> str:
    """Speed-up by threads, a bar a peer."""

    def draw(axes: Axes) -> None:
        for place, (_, label, _, gain, _) in enumerate(rows):
            axes.barh(place, gain, color="#e0452f" if label == OURS else COLOURS[0])
        axes.set_yticks(range(len(rows)), [f"{label}, {threads}" for _, label, threads, *_ in rows])
        axes.axvline(1, color=INK, linewidth=1)
        axes.invert_yaxis()
        axes.set_xlabel("median speed-up over one thread")

    return _svg(draw, height=0.8 + 0.22 * len(rows))
