"""Y by fast Fourier transforms of tiles, into any result, from filters of any size."""

from __future__ import annotations

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
        result.write((i, j), total)


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
    high, wide = tile[0] - size[0] + 1, tile[1] - size[1] + 1
    across = -(-shape[1] // wide)
    count = -(-shape[0] // high) * across
    taps = np.ascontiguousarray(w, np.float64)
    # A complex state of float64, and copies of two tiles, with what keeps their rows apart.
    state = (tile[0] + 8) * (tile[1] + 16) * (16 + 2 * x.itemsize)
    threads = min(threads, FFT_WORKSPACE // state)
    # In pairs that are the same wherever the results go.
    step = count if result.direct is not None else max(CHUNK // (high * wide) // 2, 1) * 2
    for first in range(0, count, step):
        flags = np.zeros(min(step, count - first), np.uint8)
        y = result.direct
        if y is None:
            y = np.empty((len(flags), high * wide), x.dtype)
        _door.fft(x, taps, y, b, top, left, mode, threads, shape, tile, first, flags)
        redone = np.flatnonzero(flags).tolist()
        for number in redone if result.direct is not None else range(len(flags)):
            i, j = (first + number) // across * high, (first + number) % across * wide
            rows, columns = min(high, shape[0] - i), min(wide, shape[1] - j)
            where = slice(i, i + rows), slice(j, j + columns)
            if flags[number]:
                part = Result((rows, columns), x.dtype, None)
                direct(x, w, b, top - i, left - j, part)
                result.write(where, part.array)
            else:
                result.write(where, y[number].reshape(high, wide)[:rows, :columns])
