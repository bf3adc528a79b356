"""Y by fast Fourier transforms of tiles, into any result, from filters of any size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import _door
from .arrays import Correlation, Result
from .plan import CHUNK, FFT_FILTER, FFT_WORKSPACE, fft_tile
from .problem import Array


def correlate(
    x: Array,
    w: Array,
    b: Array | None,
    top: int,
    left: int,
    mode: int,
    threads: int,
    result: Result,
    direct: Correlation,
) -> None:
    """X with W, of any size, which is finite; tiles that are not finite by `direct`."""

    def transform(x: Array, w: Array, b: Array | None, top: int, left: int, result: Result) -> None:
        _transform(x, w, b, top, left, mode, threads, result, direct)

    if max(w.shape) <= FFT_FILTER:
        transform(x, w, b, top, left, result)
        return
    for i, j in result.blocks():
        total = np.zeros((i.stop - i.start, j.stop - j.start), x.dtype)
        for p in range(0, w.shape[0], FFT_FILTER):
            for q in range(0, w.shape[1], FFT_FILTER):
                part = Result(total.shape, x.dtype, None)
                taps = w[p : p + FFT_FILTER, q : q + FFT_FILTER]
                bias = b if p == q == 0 else None
                transform(x, taps, bias, top - i.start - p, left - j.start - q, part)
                with np.errstate(all="ignore"):
                    total += part.array
        result.write(i, j, total)


def _transform(
    x: Array,
    w: Array,
    b: Array | None,
    top: int,
    left: int,
    mode: int,
    threads: int,
    result: Result,
    direct: Correlation,
) -> None:
    shape, size = result.array.shape, w.shape
    tile = fft_tile(*shape, *size)
    places = list(_places(shape, (tile[0] - size[0] + 1, tile[1] - size[1] + 1)))
    taps = np.ascontiguousarray(w, np.float64)
    # A complex state of float64, and copies of two tiles, with what keeps their rows apart.
    state = (tile[0] + 8) * (tile[1] + 16) * (16 + 2 * x.itemsize)
    threads = min(threads, FFT_WORKSPACE // state)
    area = (tile[0] - size[0] + 1) * (tile[1] - size[1] + 1)
    # In pairs that are the same wherever the results go.
    step = len(places) if result.direct is not None else max(CHUNK // area // 2, 1) * 2
    for first in range(0, len(places), step):
        some = places[first : first + step]
        flags = np.zeros(len(some), np.uint8)
        y = result.direct
        if y is None:
            y = np.empty((len(some), area), x.dtype)
        _door.fft(x, taps, y, b, top, left, mode, threads, shape, tile, first, flags)
        for number, (i, j) in enumerate(some):
            if flags[number]:
                part = Result((i.stop - i.start, j.stop - j.start), x.dtype, None)
                direct(x, w, b, top - i.start, left - j.start, part)
                result.write(i, j, part.array)
            elif result.direct is None:
                block = y[number].reshape(-1, tile[1] - size[1] + 1)
                result.write(i, j, block[: i.stop - i.start, : j.stop - j.start])


def _places(shape: tuple[int, int], tile: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the results of each tile."""
    for i in range(0, shape[0], tile[0]):
        for j in range(0, shape[1], tile[1]):
            yield slice(i, min(i + tile[0], shape[0])), slice(j, min(j + tile[1], shape[1]))
