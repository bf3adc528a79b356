"""Kernels read and write nothing outside the arrays: beside them lie pages that none may touch."""

import sys

import pytest
from helpers import BUILT, UNSANITIZED, run_python

PROGRAM = """
import ctypes
import mmap
import numpy as np
import conv2d

libc = ctypes.CDLL(None, use_errno=True)

def beside(array, end):
    '''A copy that begins, or ends, at a page that kills who touches it.'''
    room = -(-max(array.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + mmap.PAGESIZE + room):
        assert libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
    offset = mmap.PAGESIZE + (room - array.nbytes if end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy

conv2d.dispatch.connect({level!r})
for x, w, settings in {problems!r}:
    for dtype in ("f4", "f8"):
        x_array, w_array = np.ones(x, dtype), np.ones(w, dtype)
        expected = conv2d.conv2d(x_array, w_array, **settings)
        for end in (False, True):
            a, b, dy, y, dx, dw = (
                beside(array, end)
                for array in (x_array, w_array, expected, expected, x_array, w_array)
            )
            for threads in (1, 3):
                conv2d.conv2d(a, b, out=y, num_threads=threads, **settings)
                conv2d.conv2d_input(a.shape, b, dy, out=dx, num_threads=threads, **settings)
                conv2d.conv2d_weight(a, b.shape, dy, out=dw, num_threads=threads, **settings)
                grads = conv2d.conv2d_backward(dy, a, b, num_threads=threads, **settings)
                assert np.array_equal(y, expected)
                assert np.array_equal(dx, grads.dx)
                assert np.array_equal(dw, grads.dw)
print("untouched")
"""
PLANES = [
    ((h, n), (a, b), {}) for h, n in [(5, 7), (9, 40), (70, 200)] for a, b in [(3, 3), (4, 7)]
]
DEPTHWISE = [
    ((2, 5, h, n), (5, 1, 3, 3), {"groups": 5, "stride": s, "padding": p})
    for h, n in [(1, 1), (7, 7), (6, 15), (5, 16), (9, 33), (3, 70)]
    for s, p in [(1, 1), (2, 1), (2, "same")]
]
LARGE = [
    ((2, 3, h, n), (3, 1, k, k), {"groups": 3, "padding": p})
    for h, n in [(80, 8), (38, 17), (25, 31), (20, 33), (12, 60)]
    for k, p in [(5, "same"), (5, "valid"), (7, "same")]
] + [
    ((2, 3, h, n), (3, 1, 5, 5), {"groups": 3, "stride": 2, "padding": p})
    for h, n in [(12, 60), (33, 35), (7, 18)]
    for p in [2, ((1, 2), (1, 2))]
]
LAYERS = [
    ((2, 3, 9, 20), (6, 3, 3, 3), {}),
    ((2, 3, 9, 20), (6, 3, 3, 3), {"stride": 2}),
    ((1, 40, 7, 7), (70, 40, 3, 3), {}),
    ((1, 40, 8, 9), (70, 40, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 40, 7, 7), (33, 40, 1, 1), {}),
    ((2, 17, 7, 9), (17, 1, 5, 5), {"groups": 17}),
    ((2, 3, 30, 31), (3, 1, 5, 5), {"groups": 3}),
]


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by mprotect")
@pytest.mark.parametrize("level", BUILT)
@pytest.mark.parametrize(
    "problems", [PLANES, DEPTHWISE, LARGE, LAYERS], ids=["planes", "3x3", "5x5", "layers"]
)
@UNSANITIZED
def test_pages_beside(level, problems):
    assert run_python(PROGRAM.format(level=level, problems=problems)).strip() == "untouched"
