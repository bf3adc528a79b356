"""One page of HTML that holds everything: pictures, charts, numbers and words."""

from __future__ import annotations

import platform
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import conv2d

from .speed import PASSES, SIDES, Timing
from .tasks import NOISE, Filtered, Layer, Learnt, Plane, Restored

MAGNIFIED = 10  # how much stronger the colours of a difference are
SNAPSHOTS = (1, 10, 50, 200)  # steps after which the filter is shown
THEMES = {"light": ("#24292f", "#d5dbe1"), "dark": ("#e6edf3", "#39424d")}  # text, grid
COLOURS = ("#8b949e", "#e3a008", "#d9733a", "#2f81f7", "#1fa99a")
SETTINGS = {"font.size": 11, "svg.hashsalt": "conv2d", "axes.spines.top": False}
SETTINGS |= {"axes.spines.right": False, "axes.axisbelow": True}


class Results(NamedTuple):
    """All that the page tells."""

    picture: Plane
    view: tuple[slice, slice]  # the part that is shown after each known filter
    known: list[Filtered]
    learnt: Learnt
    restored: Restored
    layer: Layer
    timings: list[Timing]
    seconds: float


class Cell(NamedTuple):
    """One tap of a filter as it is drawn."""

    text: str
    colour: str


class Chart(NamedTuple):
    """A chart for light and for dark pages."""

    light: str
    dark: str


def uri(content: bytes, kind: str) -> str:
    """The content itself as an address."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def encode(pixels: NDArray[np.uint8], kind: str = "png") -> str:
    """Pixels as the address of an image."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, optimize=True)
    return uri(file.getvalue(), kind)


def grey(x: Plane, black: float = 0, white: float = 1, kind: str = "png") -> str:
    """A plane in greys."""
    return encode(np.uint8(255 * np.clip((x - black) / (white - black), 0, 1) + 0.5), kind)


def tints(w: Plane, scale: float | None = None) -> NDArray[np.uint8]:
    """Colours of the taps: black to yellow, or where some are negative blue, white, red."""
    scale = scale or float(np.abs(w).max())
    signed = w.min() < 0
    colours = mpl.colormaps["RdBu_r" if signed else "inferno"]
    return colours((w / scale + 1) / 2 if signed else w / scale, bytes=True)[..., :3]


def filter_image(w: Plane, scale: float | None = None) -> str:
    """One pixel for each tap."""
    return encode(tints(w, scale))


def filter_cells(w: Plane) -> list[list[Cell]]:
    """A number for each tap, on a pale colour."""
    colours = mpl.colormaps["RdBu_r"](w / np.abs(w).max() / 3.2 + 0.5)
    return [
        [Cell(f"{tap:g}".replace("-", "\N{MINUS SIGN}"), to_hex(rgb)) for tap, rgb in row]
        for row in (zip(*rows, strict=True) for rows in zip(w, colours, strict=True))
    ]


def chart(draw: Callable[[Axes], None], size: tuple[float, float]) -> Chart:
    """An SVG in the colours of each theme."""
    pages = []
    for text, grid in THEMES.values():
        colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color"), text)
        colours |= {"ytick.color": text, "axes.edgecolor": text, "grid.color": grid}
        with mpl.rc_context(SETTINGS | colours):
            figure = Figure(size, layout="constrained")
            draw(figure.subplots())
            file = BytesIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pages.append(uri(file.getvalue(), "svg+xml"))
    return Chart(*pages)


def loss_chart(losses: list[float]) -> Chart:
    """How the misfit falls to the noise."""

    def draw(axes: Axes) -> None:
        axes.plot(range(1, len(losses) + 1), losses, color=COLOURS[3], linewidth=2)
        axes.axhline(NOISE, color=COLOURS[1], linestyle="--")
        axes.annotate(
            "the noise: no filter does better",
            (0, NOISE),
            (4, 5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
        )
        axes.set(xlabel="step", ylabel="misfit (root mean square)", yscale="log", xscale="log")
        axes.set_xlim(1, len(losses))
        axes.grid(visible=True)

    return chart(draw, (5.6, 3.6))


def speed_chart(timings: list[Timing], limits: tuple[float, float]) -> Chart:
    """GFLOP/s of one pass."""

    def draw(axes: Axes) -> None:
        names = list(dict.fromkeys(timing.who for timing in timings))
        width = 0.84 / len(names)
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            rates = [timing.rate for timing in timings if timing.who == name]
            left = np.arange(len(rates)) + (place - (len(names) - 1) / 2) * width
            axes.bar(left, rates, width * 0.92, color=colour)
        axes.set_xticks(range(len(SIDES)), [rf"{side} $\times$ {side}" for side in SIDES])
        axes.set(ylabel="GFLOP/s", yscale="log", ylim=limits)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=True, axis="y")

    return chart(draw, (4.2, 3.3))


def speed_tables(timings: list[Timing]) -> list[dict[str, object]]:
    """For Y, dX and dW the chart, and a row for each implementation."""
    rates = [timing.rate for timing in timings]
    limits = min(rates) / 2, max(rates) * 1.5
    tables = []
    for of, meaning in PASSES.items():
        own = [timing for timing in timings if timing.of == of]
        rows: dict[str, list[Timing]] = {}
        for timing in own:
            rows.setdefault(timing.who, []).append(timing)
        tables.append(
            {"of": of, "meaning": meaning, "rows": rows, "chart": speed_chart(own, limits)}
        )
    return tables


def gains(timings: list[Timing]) -> tuple[float, float]:
    """Least and largest gain of one thread over the faster of SciPy's two ways."""
    found = []
    for timing in timings:
        if timing.who == "conv2d, 1 thread":
            rivals = [
                other.seconds
                for other in timings
                if other.who.startswith("SciPy") and other[:2] == timing[:2]
            ]
            found.append(min(rivals) / timing.seconds)
    return min(found), max(found)


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    info = conv2d.info()
    names = ("numpy", "scipy", "scikit-image", "matplotlib")
    return {
        "Processor": cpu,
        "System": f"{platform.system()} {platform.machine()}",
        "conv2d": f"{info['version']}, kernels for level {info['chosen']}",
        "Threads": str(info["threads"]),
        "Python": platform.python_version(),
        "Libraries": ", ".join(f"{name} {version(name)}" for name in names),
        "Date": f"{datetime.now(timezone.utc):%d %B %Y, %H:%M} UTC",
    }


def known_cards(results: Results) -> list[dict[str, object]]:
    """For each known filter its drawing, what it made, and words."""
    return [
        {
            "name": item.name,
            "caption": item.caption,
            "picture": grey(item.picture[results.view], item.black, item.white),
            "filters": [
                {
                    "shape": w.shape,
                    "cells": filter_cells(w) if len(w) == 3 else None,
                    "image": filter_image(w),
                }
                for w in item.filters
            ],
        }
        for item in results.known
    ]


def learning(learnt: Learnt) -> dict[str, object]:
    """The pictures of the second section."""
    rows, cols = (slice(n * 28 // 100, n * 28 // 100 + 220) for n in learnt.before.shape)
    peak = float(learnt.true.max())
    steps = [step for step in (*SNAPSHOTS, len(learnt.history)) if step <= len(learnt.history)]
    history = [(step, np.maximum(learnt.history[step - 1], 0)) for step in dict.fromkeys(steps)]
    return {
        "before": grey(learnt.before[rows, cols]),
        "after": grey(learnt.after[rows, cols]),
        "history": [(step, filter_image(w, peak)) for step, w in history],
        "true": filter_image(learnt.true, peak),
        "difference": filter_image(learnt.found - learnt.true, peak / MAGNIFIED),
        "magnified": MAGNIFIED,
        "chart": loss_chart(learnt.losses),
        "error": learnt.error,
        "steps": len(learnt.history),
        "loss": learnt.losses[-1],
    }


def restoring(restored: Restored) -> dict[str, object]:
    """The pictures of the third section."""
    rows, cols = restored.true.shape
    part = (
        slice(rows * 54 // 100, rows * 54 // 100 + 180),
        slice(cols * 3 // 10, cols * 3 // 10 + 180),
    )
    pictures = {"blurred": restored.blurred, "restored": restored.restored, "true": restored.true}
    return {
        "pictures": {name: grey(picture[part]) for name, picture in pictures.items()},
        "psnr": restored.psnr,
        "steps": len(restored.losses),
    }


def layered(layer: Layer) -> dict[str, object]:
    """The pictures of the fourth section; grey is zero, white and black what few pixels exceed."""
    limit = float(np.quantile(np.abs(layer.pictures), 0.995))
    pictures = [grey(picture, -limit, limit) for picture in layer.pictures]
    return {
        "maps": list(zip(pictures, map(filter_image, layer.filters[:, 0]), strict=True)),
        "side": layer.filters.shape[-1],
        "shape": layer.pictures.shape,
        "stride": layer.stride,
    }


def render(results: Results) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows, cols = results.picture.shape
    top, left = (part.start for part in results.view)
    tall, wide = (part.stop - part.start for part in results.view)
    box = [100 * top / rows, 100 * left / cols, 100 * tall / rows, 100 * wide / cols]
    return environment.get_template("template.html").render(
        picture=grey(results.picture, kind="jpeg"),
        shape=results.picture.shape,
        box=[f"{part:.2f}%" for part in box],
        known=known_cards(results),
        learning=learning(results.learnt),
        restoring=restoring(results.restored),
        layer=layered(results.layer),
        tables=speed_tables(results.timings),
        gains=gains(results.timings),
        best=max(timing.rate for timing in results.timings),
        legend=list(zip(dict.fromkeys(t.who for t in results.timings), COLOURS, strict=False)),
        sides=SIDES,
        noise=NOISE,
        machine=machine(),
        seconds=results.seconds,
    )
