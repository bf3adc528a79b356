"""Subnormal numbers are computed, in every thread, and the CPU's control flags stay as they are."""

import ctypes
import inspect
import platform
import time

import numpy as np
import pytest
from helpers import UNSANITIZED, Problem, compute, draw, run_python

import conv2d

ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads MXCSR")


def control_flags():
    """The control bits of MXCSR: rounding, exception masks, flush-to-zero, subnormals-are-zero."""
    environment = (ctypes.c_uint32 * 64)()
    ctypes.CDLL("libm.so.6").fegetenv(environment)
    return environment[7] & 0xFFC0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_results(small_in_parallel, level, dtype, num_threads):
    """Subnormal inputs, and subnormal products of normal numbers: integers times a power of two."""
    tiny = np.finfo(dtype).smallest_subnormal
    problem = Problem((40, 50), (3, 2))
    rng = np.random.default_rng(0)
    whole = draw(problem, lambda shape: np.asarray(rng.integers(1, 9, shape)))
    whole = whole._replace(b=np.int64(0))
    expected = compute(whole, problem)
    x, w, b, dy = whole.astype(dtype)
    for of_x, of_w in ((tiny, dtype(1)), (dtype(1), tiny), (tiny * dtype(2**60), dtype(2**-60))):
        arrays = whole._replace(x=x * of_x, w=w * of_w, b=b, dy=dy)
        got = compute(arrays, problem, num_threads=num_threads)
        np.testing.assert_array_equal(got.y / tiny, expected.y)
        np.testing.assert_array_equal(got.dx / of_w, expected.dx)
        np.testing.assert_array_equal(got.dw / of_x, expected.dw)
    db = conv2d.conv2d_backward(dy * tiny, x, w, need="db", num_threads=num_threads).db
    assert db / tiny == expected.db


LAYERS = {
    "layer": Problem((2, 5, 9, 11), (7, 5, 3, 3)),
    "stride": Problem((2, 5, 9, 11), (7, 5, 3, 3), stride=2),
    "one tap": Problem((2, 20, 5, 7), (7, 20, 1, 1)),
    "tiny planes": Problem((9, 5, 3, 3), (40, 5, 3, 3)),
    "depthwise": Problem((2, 17, 9, 11), (17, 1, 3, 3), groups=17),
    "depthwise, stride": Problem((2, 17, 9, 11), (17, 1, 3, 3), stride=2, groups=17),
    "depthwise, large planes": Problem((1, 3, 30, 31), (3, 1, 3, 3), groups=3),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(small_in_parallel, level, name, dtype):
    """Each operand subnormal in turn; integers times a power of two."""
    tiny = np.finfo(dtype).smallest_subnormal
    problem = LAYERS[name]
    rng = np.random.default_rng(0)
    whole = draw(problem, lambda shape: np.asarray(rng.integers(1, 4, shape)))
    whole = whole._replace(b=0 * whole.b)
    expected = compute(whole, problem)
    x, w, b, dy = whole.astype(dtype)
    for num_threads in (1, 3):
        for of_x, of_w in ((tiny, dtype(1)), (dtype(1), tiny)):
            arrays = whole._replace(x=x * of_x, w=w * of_w, b=b, dy=dy)
            got = compute(arrays, problem, num_threads=num_threads)
            np.testing.assert_array_equal(got.y / tiny, expected.y)
            np.testing.assert_array_equal(got.dx / of_w, expected.dx)
            np.testing.assert_array_equal(got.dw / of_x, expected.dw)
        db = conv2d.conv2d_backward(
            dy * tiny, x, w, need="db", **problem.settings, num_threads=num_threads
        ).db
        np.testing.assert_array_equal(db / tiny, expected.db)


def fastest(call):
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


@UNSANITIZED
@ON_X86
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_weight"])
@pytest.mark.parametrize(
    ("x", "w", "groups"),
    [((1, 64, 28, 28), (64, 64, 3, 3), 1), ((1, 128, 28, 28), (128, 1, 3, 3), 128)],
)
def test_time(name, x, w, groups):
    """Within twice that of normal numbers."""
    x, w = np.ones(x, "f4"), np.ones(w, "f4")
    tiny = np.finfo("f4").smallest_subnormal

    def call(of_x):
        x2 = x * of_x
        arguments = {"conv2d": (x2, w), "conv2d_input": (x.shape, w, x2)}
        arguments = arguments.get(name, (x2, w.shape, x))
        return lambda: getattr(conv2d, name)(*arguments, groups=groups, num_threads=1)

    for _ in range(4):  # others use the machine too
        if fastest(call(tiny)) <= 2 * fastest(call(np.float32(1))):
            return
    pytest.fail("subnormal numbers take more than twice as long")


def test_float16(level):
    tiny = np.finfo(np.float16).smallest_subnormal
    x = np.arange(1, 41, dtype=np.float16).reshape(2, 20) * tiny
    np.testing.assert_array_equal(conv2d.conv2d(x, np.ones((1, 1), np.float16)), x)


@ON_X86
def test_calls_change_no_flags(level):
    before = control_flags()
    problem = Problem((300, 300), (9, 9))
    for num_threads in (1, 3):
        compute(draw(problem, np.ones), problem, num_threads=num_threads)
        assert control_flags() == before
        for layer in LAYERS.values():
            compute(draw(layer, np.ones), layer, num_threads=num_threads)
            assert control_flags() == before


@ON_X86
def test_import_changes_no_flags():
    program = """
import ctypes, numpy
before = control_flags()
import conv2d
assert control_flags() == before
assert (numpy.full(100, 1e-40, numpy.float32) * numpy.float32(0.5) > 0).all()
"""
    run_python(inspect.getsource(control_flags) + program)
