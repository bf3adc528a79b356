"""Sizes past 2^31 elements are right, and memory that cannot be had is a MemoryError."""

import mmap

import numpy as np
import pytest
from helpers import UNSANITIZED, run_python

import conv2d

PITCH = 1 << 30  # elements from row to row: row 3 begins past 2^31 elements and 2^33 bytes
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
PLANE = np.arange(6 * 70).reshape(6, 70) % 11 - 5
FILTER = np.arange(9).reshape(3, 3) - 3


def reserve(size):
    """Memory of so many bytes, which it takes where it is touched."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)


def far_rows(values, dtype):
    """The plane with rows 4 or 8 GiB apart; only what is touched takes memory."""
    rows, columns = values.shape
    size = ((rows - 1) * PITCH + columns) * np.dtype(dtype).itemsize
    memory = reserve(size)
    flat = np.frombuffer(memory, dtype)
    strides = PITCH * flat.itemsize, flat.itemsize
    plane = np.lib.stride_tricks.as_strided(flat, values.shape, strides)
    plane[...] = values
    return plane


@UNSANITIZED
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_rows_far_apart(level, dtype, mode):
    near_x, w = PLANE.astype(dtype), FILTER.astype(dtype)
    x, out = far_rows(near_x, dtype), far_rows(np.zeros_like(near_x), dtype)
    for name, arguments, near in (
        ("conv2d", (x, w), (near_x, w)),
        ("conv2d_input", (x.shape, w, x), (x.shape, w, near_x)),
    ):
        function = getattr(conv2d, name)
        expected = function(*near, padding_mode=mode)
        np.testing.assert_array_equal(function(*arguments, padding_mode=mode, out=out), expected)
    dw = conv2d.conv2d_weight(x, w.shape, out, padding_mode=mode)
    np.testing.assert_array_equal(
        dw, conv2d.conv2d_weight(near_x, w.shape, out.copy(), padding_mode=mode)
    )


@UNSANITIZED
def test_filter_far_apart():
    w = far_rows(FILTER.astype("f4"), "f4")
    x = PLANE.astype("f4")
    np.testing.assert_array_equal(conv2d.conv2d(x, w), conv2d.conv2d(x, FILTER.astype("f4")))
    out = far_rows(np.zeros((3, 3), "f4"), "f4")
    np.testing.assert_array_equal(
        conv2d.conv2d_weight(x, (3, 3), x, out=out), conv2d.conv2d_weight(x, (3, 3), x)
    )


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("columns", [2048, 2051])
@pytest.mark.parametrize("size", [3, 5, 17])
@pytest.mark.parametrize(
    ("picture", "dtype"), [("f4", "f4"), ("f8", "f8"), ("i4", "i4"), ("u1", "f4"), ("i2", "f4")]
)
def test_results_larger_than_caches(level, picture, dtype, size, columns, shift):
    """A large Y, wherever it lies in cache lines, has the bits of its parts; no more is written."""
    rng = np.random.default_rng(columns + size)
    x = rng.integers(-1000, 1000, (1100, columns)).astype(picture)
    w = rng.integers(-1000, 1000, (size, size)).astype(dtype)
    options = {"padding": ((0, 0), (size // 2, size // 2)), "algorithm": "direct"}
    memory = np.full(x.size + 2, 7, dtype)
    out = memory[shift : shift + (1101 - size) * columns].reshape(-1, columns)
    conv2d.conv2d(x, w, out=out, num_threads=2, **options)
    assert (memory[:shift] == 7).all()
    assert (memory[shift + out.size :] == 7).all()
    for i in range(0, len(out), 217):
        part = conv2d.conv2d(x[i : i + 217 + size - 1], w, num_threads=1, **options)
        np.testing.assert_array_equal(out[i : i + 217], part)


@UNSANITIZED
def test_many_elements():
    """More than 2^31 in each plane, which is one row again and again: exact in float64."""
    row = (np.arange(46_341) % 5 - 1).astype("f4")
    x = np.broadcast_to(row, (46_500, row.size))
    assert x.size > 1 << 31
    exact = row.astype("i8")
    dw = conv2d.conv2d_weight(x, (1, 3), x)
    expected = [
        len(x) * int((exact[:-1] * exact[1:]).sum()),
        len(x) * int((exact * exact).sum()),
        len(x) * int((exact[:-1] * exact[1:]).sum()),
    ]
    np.testing.assert_array_equal(dw[0], np.array(expected, "f4"))
    db = conv2d.conv2d_backward(x, x, np.ones((1, 1), "f4"), need="db").db
    assert db == np.float32(len(x) * int(exact.sum()))


@UNSANITIZED
def test_a_row_of_many_elements():
    """More than 2^31 columns, of which two are not zero."""
    size = (1 << 31) + 100
    memory = reserve(4 * size)
    row = np.frombuffer(memory, "f4")[None]
    row[0, -1], row[0, -3] = 3, 5
    assert conv2d.conv2d_weight(row, (1, 5), row).tolist() == [[15, 0, 34, 0, 15]]
    np.testing.assert_array_equal(conv2d.kernel.dot_grad_w(row, (1, 3), (0, size - 3)), [[5, 0, 3]])


@UNSANITIZED
def test_many_elements_of_a_batch():
    """More than 2^31, all from one image that is broadcast; the last are as the first."""
    image = (np.arange(64 * 66).reshape(64, 66) % 5 - 1).astype("f4")
    images = (1 << 31) // image.size + 2
    x = np.broadcast_to(image, (images, 1, *image.shape))
    assert x.size > 1 << 31
    w = np.arange(1.0, 5, dtype="f4").reshape(2, 1, 1, 2)
    settings = {"padding": "valid", "stride": (64, 65)}
    y = conv2d.conv2d(x, w, **settings)
    assert y.shape == (images, 2, 1, 1)
    assert (y == conv2d.conv2d(x[0], w, **settings)).all()
    dw = conv2d.conv2d_weight(x, w.shape, y, out=np.empty_like(w), **settings)
    one = conv2d.conv2d_weight(x[:1], w.shape, y[:1], **settings)
    np.testing.assert_allclose(dw, images * one, rtol=1e-5)


@UNSANITIZED
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 3])
def test_channels_far_apart(level, stride, groups):
    """Images, channels and rows that begin past 2^31 elements."""
    values = np.arange(2 * 3 * 4 * 9).reshape(2, 3, 4, 9) % 11 - 5
    w = (np.arange(3 * 3 // groups * 4).reshape(3, 3 // groups, 2, 2) % 7 - 3).astype("f4")
    settings = {"stride": stride, "groups": groups}
    apart = 3 * (1 << 30), 1 << 30, 1 << 27
    size = sum((n - 1) * step for n, step in zip(values.shape, apart, strict=False)) + 9
    x, out = (np.frombuffer(reserve(4 * size), "f4") for _ in range(2))
    x, out = (
        np.lib.stride_tricks.as_strided(a, values.shape, (*(4 * step for step in apart), 4))
        for a in (x, out)
    )
    x[...] = values
    near = values.astype("f4")
    y = conv2d.conv2d(near, w, **settings)
    part = out[..., : y.shape[2], : y.shape[3]]
    np.testing.assert_array_equal(conv2d.conv2d(x, w, out=part, **settings), y)
    dw = conv2d.conv2d_weight(x, w.shape, part, **settings)
    np.testing.assert_array_equal(dw, conv2d.conv2d_weight(near, w.shape, y, **settings))
    dx = conv2d.conv2d_input(near.shape, w, y, **settings)
    np.testing.assert_array_equal(conv2d.conv2d_input(near.shape, w, part, **settings), dx)
    np.testing.assert_array_equal(conv2d.conv2d_input(near.shape, w, y, out=out, **settings), dx)


NO_MEMORY = """
import resource
import numpy as np
import conv2d
x, w = np.ones((2000, 2000)), np.ones((3, 3))
y, dw = np.full_like(x, 7), np.full((64, 64), 7.0)
layer, filters = np.ones((4, 256, 56, 56)), np.ones((16, 256, 3, 3))
target = np.full((4, 16, 56, 56), 7.0)
small = np.ones((30, 30))
conv2d.conv2d(small, w), conv2d.conv2d_weight(small, w.shape, small)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, used))
calls = {
    "result": lambda: conv2d.conv2d(x, w),
    "dx": lambda: conv2d.conv2d_input(x.shape, w, x),
    "copy": lambda: conv2d.conv2d(x.T, w, out=y),
    "workspace": lambda: conv2d.conv2d_weight(x, (64, 64), x, out=dw, num_threads=1),
    "layer": lambda: conv2d.conv2d(layer, filters, out=target, num_threads=1),
    "layer's dx": lambda: conv2d.conv2d_input(layer.shape, filters, target, num_threads=1),
}
for name, call in calls.items():
    try:
        call()
        print(name, "got memory")
    except MemoryError:
        pass
assert y.min() == y.max() == dw.min() == dw.max() == target.min() == target.max() == 7
assert conv2d.conv2d(small, w)[5, 5] == 9
"""


@UNSANITIZED
def test_no_memory():
    """Also leaves `out` as it was, and the next call works."""
    assert not run_python(NO_MEMORY)
