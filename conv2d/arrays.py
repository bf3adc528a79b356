"""Arrays at the door: inputs in the form that kernels read, results in the form asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from . import _door
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


FLOAT32, FLOAT64, UINT16, UINT32, UINT64 = map(np.dtype, ("f4", "f8", "u2", "u4", "u8"))


def kernel_type(dtype: np.dtype[Any], plane: bool = False) -> np.dtype[Any]:
    """What a result type is computed in: integers modulo a power of 2, float16 in float32."""
    if dtype.kind == "f":
        return FLOAT64 if dtype.itemsize == 8 else FLOAT32
    if plane and dtype.itemsize <= 2:
        return UINT16
    return UINT64 if dtype.itemsize == 8 else UINT32


# Types that the kernels of another type convert a band of rows at a time from.
CONVERTED = {
    "float32": "bBhHe",
    "float64": "bBhHiIef",
    "uint16": "bB",
    "uint32": "bBhH",
    "uint64": "bBhHiI",
}


def readable(
    array: Array,
    dtype: np.dtype[Any],
    strided: bool = False,
    narrow: bool = False,
    plane: bool = False,
) -> Array:
    """The array in the type that kernels compute `dtype` in; a copy only where it must be.

    It is a plane whose rows have to be contiguous, or `strided` of any rank. A `narrow` one stays
    of a type that kernels convert; `plane`: it is the kernels of one plane that read it.
    """
    if array.dtype is dtype and (dtype is FLOAT32 or dtype is FLOAT64):
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array  # as most are
    kernel = kernel_type(dtype, plane)
    if narrow and array.dtype.char in CONVERTED[kernel.name] and array.dtype.isnative:
        pass
    elif array.dtype != kernel:
        array = array.astype(dtype.newbyteorder("="), copy=False)
        same_size = array.dtype.itemsize == kernel.itemsize
        array = array.view(kernel) if same_size else array.astype(kernel)
    return array if _is_direct(array, strided) else np.array(array, order="C")


def _is_direct(plane: Array, strided: bool = False) -> bool:
    """Whether a kernel can address the array where it is: a plane, or `strided` of any rank."""
    flags = plane.flags
    if not flags.aligned or flags.c_contiguous:
        return flags.aligned
    size = plane.itemsize
    return all(stride % size == 0 for stride in plane.strides) and (
        strided or plane.strides[-1] == size or plane.shape[-1] <= 1
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


LARGEST = 2**48  # elements: more are left to np.empty to refuse


class Result:
    """Where a result of type `dtype` goes: kernels write into it directly, or a block at a time.

    `array` is the result, `direct` the same as kernels write it, in the type `kernel`; None where
    they cannot. `narrow` is what `_door.correlate` writes, which rounds or wraps, else `direct`.
    """

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        out: Array | None,
        strided: bool = False,
        plane: bool = False,
        beside: Array | None = None,
    ) -> None:
        """`strided`: kernels write to any strides; `plane`: it is those of one plane.

        A new plane is placed so that writing it is fast while `beside` is read.
        """
        self.dtype = dtype.newbyteorder("=")
        if out is not None:
            self.array = out
        elif beside is not None and len(shape) == 2 and shape[0] * shape[1] < LARGEST:
            self.array = _door.empty_beside(beside, *shape, self.dtype)
        else:
            self.array = np.empty(shape, self.dtype)
        self.kernel = kernel = kernel_type(self.dtype, plane)
        same = self.array.dtype == self.dtype and self.dtype.itemsize == kernel.itemsize
        self.direct = self.array.view(kernel) if same and _is_direct(self.array, strided) else None
        self.narrow = self.direct
        if plane and self.array.dtype == self.dtype and self.dtype.itemsize < kernel.itemsize:
            self.narrow = self.array if _is_direct(self.array) else None

    def blocks(self) -> Iterator[tuple[slice, ...]]:
        """Where blocks of at most CHUNK elements lie, a slice for each axis."""
        room, steps = CHUNK, []
        for size in reversed(self.array.shape):
            steps.append(max(min(size, room), 1))
            room //= steps[-1]
        cuts = [
            [slice(i, min(i + step, size)) for i in range(0, size, step)]
            for size, step in zip(self.array.shape, reversed(steps), strict=True)
        ]
        return product(*cuts)

    def write(self, where: tuple[slice, ...], block: Array) -> None:
        """Put a block that a kernel has computed where it belongs, rounded or wrapped once."""
        to = self.array[where]
        half = to.dtype == np.float16 and block.dtype == FLOAT32
        if half and block.ndim == to.ndim == 2 and _is_direct(to):
            _door.round_to_half(block, to)
            return
        typed = block.view(self.dtype) if block.itemsize == self.dtype.itemsize else block
        with np.errstate(all="ignore"):  # kernels do not warn of overflow, nor does this
            if to.dtype != self.dtype:
                typed = typed.astype(self.dtype, copy=False)
            self.array[where] = typed


# What computes a result from x, w, b, top and left.
Correlation = Callable[[Array, Array, "Array | None", int, int, Result], None]
