"""How fast Y, dX and dW are beside SciPy and pure Python, and how exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

import conv2d
from conv2d import reference

Array = NDArray[np.floating]
Call = Callable[[], Array]

PASSES = {"Y": "forward pass", "dX": "gradient in X", "dW": "gradient in W"}
SIDES = (3, 7, 15)  # of the filters
CROP = 64  # rows and columns for pure Python


class Timing(NamedTuple):
    """One call on the whole picture."""

    of: str  # Y, dX or dW
    side: int
    who: str
    seconds: float
    flops: int
    error: float  # max |difference from float64| / max |float64|

    @property
    def rate(self) -> float:
        """GFLOP/s, of the sums in the formulas however the result was found."""
        return self.flops / self.seconds / 1e9


def implementations(x: Array, w: Array, dy: Array) -> dict[str, dict[str, Call]]:
    """Who computes Y, dX and dW, and how; the table of the page quotes these expressions."""
    flip, shape = w[::-1, ::-1], w.shape
    padded = partial(np.pad, x, shape[0] // 2)
    calls = {
        "SciPy, direct": {
            "Y": lambda: ndimage.correlate(x, w, mode="constant"),
            "dX": lambda: ndimage.convolve(dy, w, mode="constant"),
            "dW": lambda: signal.correlate(padded(), dy, mode="valid", method="direct"),
        },
        "SciPy, FFT": {
            "Y": lambda: signal.fftconvolve(x, flip, mode="same"),
            "dX": lambda: signal.fftconvolve(dy, w, mode="same"),
            "dW": lambda: signal.correlate(padded(), dy, mode="valid", method="fft"),
        },
    }
    for n in sorted({1, conv2d.get_num_threads()}):
        calls[f"conv2d, {n} thread{'s' * (n > 1)}"] = {
            "Y": partial(conv2d.conv2d, x, w, num_threads=n),
            "dX": partial(conv2d.conv2d_input, x.shape, w, dy, num_threads=n),
            "dW": partial(conv2d.conv2d_weight, x, shape, dy, num_threads=n),
        }
    return calls


def count() -> int:
    """How many timings there are."""
    return len(SIDES) * len(PASSES) * (3 + len({1, conv2d.get_num_threads()}))


def python_calls(x: Array, w: Array, dy: Array) -> dict[str, Call]:
    """The same in pure Python."""
    return {
        "Y": partial(reference.conv2d, x, w),
        "dX": partial(reference.conv2d_input, x.shape, w, dy),
        "dW": partial(reference.conv2d_weight, x, w.shape, dy),
    }


def exact(x: Array, w: Array, dy: Array) -> dict[str, Array]:
    """Y, dX and dW in float64, by SciPy."""
    x, w, dy = (v.astype(np.float64) for v in (x, w, dy))
    padded = np.pad(x, w.shape[0] // 2)
    return {
        "Y": ndimage.correlate(x, w, mode="constant"),
        "dX": ndimage.convolve(dy, w, mode="constant"),
        "dW": signal.correlate(padded, dy, mode="valid", method="fft"),
    }


def flops(shape: tuple[int, ...], side: int) -> int:
    """Multiplications and additions of Y, dX or dW; terms in the zero padding do not count."""
    margin = side // 2
    rows, cols = (n * side - margin * (margin + 1) for n in shape)
    return 2 * rows * cols


def measure(call: Call, budget: float) -> tuple[float, Array]:
    """Median of the seconds of 3 to 50 runs, which last about `budget` seconds, and the result."""
    runs: list[float] = []
    while len(runs) < 3 or (sum(runs) < budget and len(runs) < 50):
        start = time.perf_counter()
        result = call()
        runs.append(time.perf_counter() - start)
    return median(runs), result


def relative_error(result: Array, truth: Array) -> float:
    """The largest difference as a part of the largest true value."""
    return float(np.abs(result - truth).max() / np.abs(truth).max())


def timings(x: Array, rng: np.random.Generator, budget: float, crop: int) -> Iterator[Timing]:
    """Every pass, filter and implementation, on the picture and a random filter and gradient."""
    dy = rng.standard_normal(x.shape, np.float32)
    part, dy_part = x[:crop, :crop], dy[:crop, :crop]
    for side in SIDES:
        w = rng.standard_normal((side, side), np.float32)
        work, work_part = flops(x.shape, side), flops(part.shape, side)
        truth, truth_part = exact(x, w, dy), exact(part, w, dy_part)
        for of, call in python_calls(part, w, dy_part).items():
            seconds, result = measure(call, budget)
            error = relative_error(result, truth_part[of])
            yield Timing(of, side, "pure Python", seconds * work / work_part, work, error)
        for who, calls in implementations(x, w, dy).items():
            for of, call in calls.items():
                seconds, result = measure(call, budget)
                yield Timing(of, side, who, seconds, work, relative_error(result, truth[of]))
