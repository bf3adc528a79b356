"""What the tests share: problems and their answers, layouts, guarded results, other processes."""

import os
import subprocess
import sys
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import conv2d
from conv2d import reference

ROOT = Path(__file__).parent.parent
BUILT = [level for level in conv2d.dispatch.built_levels() if level in conv2d._cpu.supported()]
MODES = ("zeros", "edge", "reflect", "symmetric", "wrap")
PADDINGS = ("same", "same_lower", "valid", "full", 0, 1, (2, 0), (0, 3), ((0, 3), (1, 2)))
WIDE_PADDINGS = ((7, 9), ((0, 11), (13, 0)), ((31, 2), (5, 40)))  # than the filter, than the plane
DTYPES = ("f4", "f8", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
NAMES = ("y", "dx", "dw", "db")
UNSANITIZED = pytest.mark.skipif(
    os.environ.get("CONV2D_DEBUG") == "1", reason="measures what the sanitizers change"
)


class Problem(NamedTuple):
    """Shapes and settings of a plane, an image or a batch."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    padding: Any = "same"
    mode: str = "zeros"
    stride: Any = 1
    dilation: Any = 1
    groups: int = 1

    @property
    def settings(self):
        """Arguments by name."""
        return {
            "padding": self.padding,
            "padding_mode": self.mode,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
        }


class Arrays(NamedTuple):
    """Operands of a problem."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    dy: np.ndarray

    def astype(self, dtype):
        """All in one type."""
        return Arrays(*(array.astype(dtype) for array in self))


class Answers(NamedTuple):
    """Results of a problem."""

    y: np.ndarray
    dx: np.ndarray
    dw: np.ndarray
    db: np.ndarray

    def astype(self, dtype):
        """All in one type."""
        with np.errstate(over="ignore"):
            return Answers(*(array.astype(dtype) for array in self))


def pair(value):
    """An int or two of them, as two."""
    return (value, value) if isinstance(value, int) else value


def y_shape(problem):
    """The shape of y, from the formulas of the interface."""
    named, sides = isinstance(problem.padding, str), []
    for axis, (n, taps) in enumerate(zip(problem.x[-2:], problem.w[-2:], strict=True)):
        s, reach = pair(problem.stride)[axis], pair(problem.dilation)[axis] * (taps - 1)
        if named and problem.padding.startswith("same"):
            sides.append(-(-n // s))
            continue
        side = 0 if named else pair(problem.padding)[axis]
        total = 2 * side if isinstance(side, int) else sum(side)
        total = 2 * reach if problem.padding == "full" else total
        sides.append(max((n + total - reach - 1) // s + 1, 0))
    filters = () if len(problem.x) == 2 else problem.w[:1]
    return (*problem.x[:-3], *filters, *sides)


def draw(problem, numbers):
    """Operands whose elements are `numbers(shape)`."""
    bias = () if len(problem.x) == 2 else problem.w[:1]
    return Arrays(*(numbers(shape) for shape in (problem.x, problem.w, bias, y_shape(problem))))


@cache
def small_integers(problem):
    """Operands whose results every type of 32 bits holds exactly."""
    rng = np.random.default_rng(zlib.crc32(repr(problem).encode()))
    return draw(problem, lambda shape: np.asarray(rng.integers(-4, 5, shape)))


def answer(arrays, problem):
    """What the oracle says."""
    x, w, b, dy = arrays
    y = reference.conv2d(x, w, b, **problem.settings)
    return Answers(y, *reference.conv2d_backward(dy, x, w, **problem.settings))


@cache
def exact_answer(problem):
    """What the oracle says of `small_integers`, in int64."""
    return answer(small_integers(problem), problem)


@cache
def terms(problem):
    """How many terms each element of each result adds up."""
    ones = draw(problem, lambda shape: np.ones(shape, np.int64))
    return answer(ones, problem)


def compute(arrays, problem, **settings):
    """What the library says, without `out`."""
    x, w, b, dy = arrays
    settings = {**problem.settings, **settings}
    return Answers(
        conv2d.conv2d(x, w, b, **settings),
        conv2d.conv2d_input(x.shape, w, dy, **settings),
        conv2d.conv2d_weight(x, w.shape, dy, **settings),
        conv2d.conv2d_backward(dy, x, w, need="db", **settings).db,
    )


def compute_guarded(arrays, problem, **settings):
    """What the library writes into the middle of larger arrays of NaN, and nowhere else."""
    x, w, b, dy = arrays
    settings = {**problem.settings, **settings}
    dtype = np.result_type(x, w, b)
    y, dx, dw, db = (Guarded(array.shape, dtype) for array in (dy, x, w, b))
    conv2d.conv2d(x, w, b, out=y.array, **settings)
    conv2d.conv2d_input(x.shape, w, dy, out=dx.array, **settings)
    conv2d.conv2d_weight(x, w.shape, dy, out=dw.array, **settings)
    outs = None, None, db.array
    conv2d.conv2d_backward(dy, x, w, need="db", out=outs, **settings)
    return Answers(*(guarded.take() for guarded in (y, dx, dw, db)))


class Guarded:
    """An array of NaN, or of a marker for integers, in the middle of a larger one."""

    def __init__(self, shape, dtype, step=1):
        dtype = np.dtype(dtype)
        self.marker = np.nan if dtype.kind == "f" else 0x55
        margins = (40, 40) if len(shape) <= 2 else (1, 1, 4, 40)
        margins = margins[len(margins) - len(shape) :]
        lengths = [2 * m + size * abs(step) for m, size in zip(margins, shape, strict=True)] or [1]
        self.buffer = np.full(lengths, self.marker, dtype)
        inner = [slice(m, length - m) for m, length in zip(margins, lengths, strict=False)]
        self.array = self.buffer[tuple(inner)] if shape else self.buffer.reshape(())
        if step != 1:
            self.array = self.array[(slice(None, None, step),) * len(shape)]
        self.before = self.buffer.tobytes()

    def take(self):
        """What was written into the array, once it is sure that nothing was written beside it."""
        result = self.array.copy()
        self.array[...] = self.marker
        assert self.buffer.tobytes() == self.before, "written outside the array"
        return result

    def untouched(self):
        """Whether nothing at all was written."""
        return self.buffer.tobytes() == self.before


def same(got, expected):
    """Fail unless shapes, types and values are the same, NaN too."""
    for name, ours, theirs in zip(NAMES, got, expected, strict=False):
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=True)


def same_bits(got, expected):
    """Fail unless the results are bit for bit the same."""
    for name, ours, theirs in zip(NAMES, got, expected, strict=False):
        assert ours.dtype == theirs.dtype, name
        assert ours.shape == theirs.shape, name
        assert ours.tobytes() == theirs.tobytes(), name


LAYOUTS = (
    "C",
    "transposed",
    "channels last",
    "sliced",
    "negative",
    "flipped",
    "offset",
    "read-only",
    "swapped",
    "unaligned",
    "mapped",
    "dlpack",
    "list",
)


class OnlyDLPack:
    """An array of another library, which NumPy knows nothing of."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **settings):
        """As the protocol asks."""
        return self.array.__dlpack__(**settings)

    def __dlpack_device__(self):
        """As the protocol asks."""
        return self.array.__dlpack_device__()


STEPS = {
    "sliced": (2, 1, 2, 3),
    "negative": (-1, -2, -1, -2),
    "flipped": (1, 1, -1, 1),
    "offset": (1, 1, 1, 1),
}


def lay(array, layout):
    """The same array laid out otherwise."""
    if layout == "transposed":
        return np.asfortranarray(array)
    if layout == "channels last" and array.ndim > 2:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -3, -1)), -1, -3)
    if layout in STEPS:
        steps = STEPS[layout][4 - array.ndim :]
        sizes = [size * abs(step) for size, step in zip(array.shape, steps, strict=True)]
        large = np.full([size + 5 for size in sizes], 99).astype(array.dtype)
        view = large[tuple(slice(3, 3 + size) for size in sizes)]
        view = view[tuple(slice(None, None, step) for step in steps)]
        view[...] = array
        return view
    if layout == "read-only":
        view = array.copy()
        view.flags.writeable = False
        return view
    if layout == "swapped":
        return array.astype(array.dtype.newbyteorder())
    if layout == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
        view = raw.view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if layout == "mapped" and array.size:
        with tempfile.TemporaryFile() as file:
            view = np.memmap(file, array.dtype, "w+", shape=array.shape)
        view[...] = array
        return view
    if layout == "dlpack":
        return OnlyDLPack(array)
    if layout == "list" and array.size and array.dtype in (np.float64, np.int64):
        return array.tolist()
    return array.copy()


def run_python(program, timeout=60, **environment):
    """What a new interpreter prints when it runs the program."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr or f"exit code {done.returncode}"
    return done.stdout.strip()
