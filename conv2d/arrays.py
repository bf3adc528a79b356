"""Arrays at the door: inputs in the form that kernels read, results in the form asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .plan import CHUNK
from .problem import TYPE_NAMES, Array, Shape


def operand(name: str, value: object) -> Array:
    """An argument as an array of a type that can be computed with."""
    if (
        isinstance(value, np.ndarray)
        or hasattr(value, "__array__")
        or not hasattr(value, "__dlpack__")
    ):
        array = np.asarray(value)
    else:
        array = np.from_dlpack(value)
    if array.dtype.char not in TYPE_NAMES:
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected integers, float16, float32 or float64"
        )
    return array


FLOAT32, FLOAT64, UINT32, UINT64 = map(np.dtype, ("f4", "f8", "u4", "u8"))


def kernel_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What a result type is computed in: integers modulo 2^32 or 2^64, float16 in float32."""
    if dtype.kind == "f":
        return FLOAT64 if dtype.itemsize == 8 else FLOAT32
    return UINT64 if dtype.itemsize == 8 else UINT32


def readable(array: Array, dtype: np.dtype[Any], strided: bool = False) -> Array:
    """The plane in the type that kernels compute `dtype` in; a copy only where it must be.

    Rows have to be contiguous, unless `strided`.
    """
    kernel = kernel_type(dtype)
    if array.dtype != kernel:
        array = array.astype(dtype.newbyteorder("="), copy=False)
        same_size = array.dtype.itemsize == kernel.itemsize
        array = array.view(kernel) if same_size else array.astype(kernel)
    return array if _is_direct(array, strided) else np.array(array, order="C")


def _is_direct(plane: Array, strided: bool = False) -> bool:
    """Whether a kernel can address the plane where it is."""
    flags = plane.flags
    if not flags.aligned or flags.c_contiguous:
        return flags.aligned
    size = plane.itemsize
    return all(stride % size == 0 for stride in plane.strides) and (
        strided or plane.strides[1] == size or plane.shape[1] <= 1
    )


def check_out(out: object, shape: Shape, dtype: np.dtype[Any], name: str = "out") -> None:
    """Refuse an `out` that cannot take the result, before anything is computed."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is a {type(out).__name__}, expected an array")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, expected {shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{name} has dtype {out.dtype}, to which {dtype} cannot be cast")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")


def apart(array: Array, out: Array | None) -> Array:
    """The array, or a copy of it where writing `out` could change it."""
    return array.copy() if out is not None and np.may_share_memory(array, out) else array


class Result:
    """Where a result of type `dtype` goes: kernels write into it directly, or a block at a time.

    `array` is the result, `direct` the same as kernels write it, None where they cannot.
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> None:
        self.dtype = dtype.newbyteorder("=")
        self.array = np.empty(shape, self.dtype) if out is None else out
        kernel = kernel_type(self.dtype)
        same = self.array.dtype == self.dtype and self.dtype.itemsize == kernel.itemsize
        self.direct = self.array.view(kernel) if same and _is_direct(self.array) else None

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of blocks of at most CHUNK elements."""
        height, width = self.array.shape
        columns = min(width, CHUNK)
        rows = CHUNK // max(columns, 1)
        for i in range(0, height, rows):
            for j in range(0, width, columns):
                yield slice(i, min(i + rows, height)), slice(j, min(j + columns, width))

    def write(self, rows: slice, columns: slice, block: Array) -> None:
        """Put a block that a kernel has computed where it belongs, rounded or wrapped once."""
        typed = block.view(self.dtype) if block.itemsize == self.dtype.itemsize else block
        with np.errstate(all="ignore"):  # kernels do not warn of overflow, nor does this
            self.array[rows, columns] = typed.astype(self.dtype, copy=False)


# What computes a result from x, w, b, top and left.
Correlation = Callable[[Array, Array, "Array | None", int, int, Result], None]
