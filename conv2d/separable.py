"""Y from a filter that is a column times a row: one pass down the columns, one along the rows."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Correlation, Result
from .plan import SEPARABLE_CHUNK
from .problem import Array


def factors(w: Array) -> tuple[Array, Array] | None:
    """A column (a, 1) and a row (1, b) whose product is W but for rounding; None if there are none.

    Each tap may be wrong by 4 units of rounding, for each of the numbers that it comes from is.
    """
    p, q = divmod(int(abs(w).argmax()), w.shape[1])
    peak = float(w[p, q])
    limits = np.finfo(w.dtype)
    if not math.isfinite(peak) or abs(peak) < limits.tiny:
        return None
    # Nearly all other filters are told by a tap of another row and column.
    i, j = 0 if p else -1, 0 if q else -1
    tap = float(w[i, j])
    if abs(tap - float(w[i, q]) * (float(w[p, j]) / peak)) > 4 * float(limits.eps) * abs(tap):
        return None
    wide = w.astype(np.float64)
    column, row = wide[:, q : q + 1], wide[p : p + 1] / peak
    if (abs(wide - column * row) > 4 * limits.eps * abs(wide)).any():
        return None
    return column.astype(w.dtype), row.astype(w.dtype)


def correlate(
    x: Array,
    w: Array,
    parts: tuple[Array, Array],
    b: Array | None,
    top: int,
    left: int,
    result: Result,
    direct: Correlation,
) -> None:
    """X with the column and the row in `parts`; blocks that come out not finite by `direct`."""
    column, row = parts
    height, width = result.array.shape
    rows = max(SEPARABLE_CHUNK // max(x.shape[1], width), 6)
    for i in range(0, height, rows):
        end = min(i + rows, height)
        between = Result((end - i, x.shape[1]), w.dtype, None, beside=x)
        direct(x, column, None, top - i, 0, between)
        out = None if result.direct is None else result.direct[i:end]
        block = Result((end - i, width), w.dtype, out)
        direct(between.array, row, b, 0, left, block)
        if not np.isfinite(block.array).all():
            direct(x, w, b, top - i, left, block)
        if out is None:
            result.write((slice(i, end), slice(0, width)), block.array)
