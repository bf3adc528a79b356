"""A call takes at most 32 MiB beyond its inputs and results, however large they are."""

import pytest
from helpers import UNSANITIZED, run_python

MEASURE = """
import numpy as np
import conv2d

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) * 1024

def ones(*shape, dtype="f4"):
    return np.ones(shape, dtype)

def noise(*shape, dtype="f4"):
    return np.random.default_rng(0).random(shape, "f4").astype(dtype, copy=False)

small = ones(400, 400)
conv2d.conv2d(small, small[:9, :9], num_threads=2)
conv2d.conv2d(small, noise(31, 31), num_threads=2)
{arrays}
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forgets the peak
before = status("VmRSS")
result = {call}
made = sum(a.nbytes for a in [result] if out is None)
print(conv2d.info()["workspace"], status("VmHWM") - before - made - {copies})
"""
CASES = {
    "large": ("x, w, out = ones(3000, 3000), ones(9, 9), None", "conv2d.conv2d(x, w)", 0),
    "many threads": (
        "x, w, out = ones(3000, 3000), ones(63, 63), None",
        "conv2d.conv2d(x, w[:3], num_threads=64)",
        0,
    ),
    "uint8, 64 threads": (
        "x, w, out = ones(3000, 6000, dtype='u1'), ones(3, 3), ones(3000, 6000)",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "float16, 64 threads": (
        "x, w, out = (ones(*s, dtype='f2') for s in ((3000, 6000), (3, 3), (3000, 6000)))",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "dw of uint8, 64 threads": (
        "x, dy, out = ones(3000, 6000, dtype='u1'), ones(3000, 6000), ones(3, 3)",
        "conv2d.conv2d_weight(x, (3, 3), dy, out=out, num_threads=64)",
        0,
    ),
    "fft": (
        "x, w, out = noise(3000, 3000), noise(31, 31), ones(3000, 3000)",
        "conv2d.conv2d(x, w, out=out, algorithm='fft', num_threads=64)",
        0,
    ),
    "fft of much that is not finite": (
        "x, w, out = ones(20_000, 2000) * np.nan, noise(127, 31), ones(20_000, 2000)",
        "conv2d.conv2d(x[:9000], w, out=out[:9000], num_threads=64)",
        0,
    ),
    "fft of uint8, strided out": (
        "x, w, out = ones(3000, 3000, dtype='u1'), noise(31, 31), ones(3000, 6000)[:, ::2]",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        "4 * x.size",
    ),
    "fft of a giant filter": (
        "x, w, out = noise(900, 900), noise(300, 300), ones(900, 900)",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "separable": (
        "x, w, out = noise(3000, 3000), ones(31, 31), ones(3000, 3000)",
        "conv2d.conv2d(x, w, out=out, algorithm='separable', num_threads=64)",
        0,
    ),
    "separable, wide": (
        "x, w, out = ones(40, 250_000), ones(31, 31), ones(40, 250_000)",
        "conv2d.conv2d(x, w, out=out, algorithm='separable', num_threads=64)",
        0,
    ),
    "tall dw": (
        "x, out = ones(3_000_000, 4), ones(3, 3)",
        "conv2d.conv2d_weight(x, (3, 3), x, out=out, num_threads=2)",
        0,
    ),
    "tall y": (
        "x, w, out = ones(3_000_000, 4), ones(3, 3), ones(3_000_000, 4)",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        0,
    ),
    "wide y": (
        "x, w, out = ones(4, 3_000_000), ones(3, 3), ones(4, 3_000_000)",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        0,
    ),
    "wide dw": (
        "x, out = ones(4, 3_000_000), ones(3, 64)",
        "conv2d.conv2d_weight(x, (3, 64), x, out=out, num_threads=2)",
        0,
    ),
    "giant filter": (
        "x, w, out = ones(700, 700), ones(200, 200), ones(700, 700)",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        0,
    ),
    "giant filter, dw": (
        "x, out = ones(500, 500), ones(500, 500)",
        "conv2d.conv2d_weight(x, (500, 500), x, out=out, num_threads=2)",
        0,
    ),
    "dw with 64 threads": (
        "x, out = ones(5000, 500), ones(64, 64)",
        "conv2d.conv2d_weight(x, (64, 64), x, out=out, num_threads=64)",
        0,
    ),
    "float16": (
        "x, w, out = (ones(n, n, dtype='f2') for n in (3000, 3, 3000))",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "uint8": (
        "x, w, out = ones(5000, 5000, dtype='u1'), ones(3, 3), ones(5000, 5000)",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "float64 into float32": (
        "x, w, out = ones(3000, 3000, dtype='f8'), ones(3, 3, dtype='f8'), ones(3000, 3000)",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "strided out": (
        "x, w, out = ones(2000, 3000), ones(3, 3), ones(2000, 6000)[:, ::2]",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "wide dx with a mode": (
        "dy, w, out = ones(4, 300_000), ones(129, 3), ones(4, 300_000)",
        "conv2d.conv2d_input(dy.shape, w, dy, padding_mode='wrap', out=out)",
        0,
    ),
    "tall dx with a mode": (
        "dy, w, out = ones(300_000, 4), ones(3, 129), ones(300_000, 4)",
        "conv2d.conv2d_input(dy.shape, w, dy, padding_mode='symmetric', out=out)",
        0,
    ),
    "dx with a mode": (
        "dy, w, out = ones(2000, 2000), ones(9, 9), ones(2000, 2000)",
        "conv2d.conv2d_input(dy.shape, w, dy, padding_mode='reflect', out=out)",
        0,
    ),
    "layer": (
        "x, w, out = ones(2, 64, 224, 224), ones(64, 64, 3, 3), ones(2, 64, 224, 224)",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "layer, 64 threads": (
        "x, w, out = ones(8, 256, 28, 28), ones(256, 256, 3, 3), ones(8, 256, 28, 28)",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "layer, dx with 64 threads": (
        "x, w, out = ones(8, 256, 28, 28), ones(256, 256, 3, 3), ones(8, 256, 28, 28)",
        "conv2d.conv2d_input(x.shape, w, x, out=out, num_threads=64)",
        0,
    ),
    "layer, dw with 64 threads": (
        "x, out = ones(8, 256, 28, 28), ones(256, 256, 3, 3)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, num_threads=64)",
        0,
    ),
    "many channels": (
        "x, w, out = ones(1, 1024, 14, 14), ones(1024, 1024, 3, 3), ones(1, 1024, 14, 14)",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        0,
    ),
    "many channels, tiny planes": (
        "x, w, out = ones(40, 1024, 4, 4), ones(1024, 1024, 3, 3), ones(40, 1024, 4, 4)",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "many channels, dx": (
        "x, w, out = ones(1, 1024, 14, 14), ones(1024, 1024, 3, 3), ones(1, 1024, 14, 14)",
        "conv2d.conv2d_input(x.shape, w, x, out=out, num_threads=2)",
        0,
    ),
    "many channels, tiny planes, dx": (
        "x, w, out = ones(40, 1024, 4, 4), ones(1024, 1024, 3, 3), ones(40, 1024, 4, 4)",
        "conv2d.conv2d_input(x.shape, w, x, out=out, num_threads=64)",
        0,
    ),
    "many channels, dw": (
        "x, out = ones(1, 1024, 14, 14), ones(1024, 1024, 3, 3)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, num_threads=64)",
        0,
    ),
    "one tap, many channels, dw": (
        "x, out = ones(1, 2048, 7, 7), ones(2048, 2048, 1, 1)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, num_threads=64)",
        0,
    ),
    "channels last": (
        "x, w, out = (ones(*s).transpose(0, 3, 1, 2) for s in "
        "[(1, 300, 300, 96), (96, 3, 3, 96), (1, 300, 300, 96)])",
        "conv2d.conv2d(x, w, out=out, num_threads=2)",
        0,
    ),
    "channels last, depthwise": (
        "x, w, out = (ones(*s).transpose(0, 3, 1, 2) for s in "
        "[(2, 300, 300, 64), (64, 5, 5, 1), (2, 300, 300, 64)])",
        "conv2d.conv2d(x, w, groups=64, out=out, num_threads=2)",
        0,
    ),
    "channels last, depthwise, dx": (
        "x, w, out = (ones(*s).transpose(0, 3, 1, 2) for s in "
        "[(2, 300, 300, 64), (64, 5, 5, 1), (2, 300, 300, 64)])",
        "conv2d.conv2d_input(x.shape, w, x, groups=64, out=out, num_threads=2)",
        0,
    ),
    "channels last, dw": (
        "x, out = ones(1, 300, 300, 96).transpose(0, 3, 1, 2), ones(96, 96, 3, 3)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, num_threads=2)",
        0,
    ),
    "layer, giant filter": (
        "x, w, out = ones(1, 4, 300, 300), ones(4, 4, 130, 130), ones(1, 4, 300, 300)",
        "conv2d.conv2d(x, w, out=out, num_threads=64)",
        0,
    ),
    "layer, giant filter, dw": (
        "x, out = ones(1, 4, 300, 300), ones(4, 4, 130, 130)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, num_threads=64)",
        0,
    ),
    "huge dilation": (
        "x, w, out = ones(1, 8, 700, 700), ones(8, 8, 3, 3), ones(1, 8, 700, 700)",
        "conv2d.conv2d(x, w, out=out, dilation=300, num_threads=64)",
        0,
    ),
    "huge dilation, dx": (
        "x, w, out = ones(1, 8, 700, 700), ones(8, 8, 3, 3), ones(1, 8, 700, 700)",
        "conv2d.conv2d_input(x.shape, w, x, out=out, dilation=300, num_threads=64)",
        0,
    ),
    "huge dilation, dw": (
        "x, out = ones(1, 8, 700, 700), ones(8, 8, 3, 3)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, dilation=300, num_threads=64)",
        0,
    ),
    "huge stride": (
        "x, w, out = ones(1, 8, 2000, 2000), ones(8, 8, 3, 3), ones(1, 8, 3, 3)",
        "conv2d.conv2d(x, w, out=out, stride=900, num_threads=64)",
        0,
    ),
    "depthwise": (
        "x, w, out = ones(4, 96, 112, 112), ones(96, 1, 3, 3), ones(4, 96, 56, 56)",
        "conv2d.conv2d(x, w, out=out, stride=2, groups=96, num_threads=64)",
        0,
    ),
    "depthwise, any filter, wide padding": (
        "x, w, out = ones(1, 2, 30, 30), ones(2, 1, 3, 5), ones(1, 2, 16, 200_013)",
        "conv2d.conv2d(x, w, out=out, stride=2, padding=(2, 200_000), groups=2, num_threads=64)",
        0,
    ),
    "depthwise, any filter, far taps": (
        "x, w, out = ones(1, 64, 900, 1000), ones(64, 1, 3, 5), ones(1, 64, 900, 1000)",
        "conv2d.conv2d(x, w, out=out, dilation=(200, 200), groups=64, num_threads=64)",
        0,
    ),
    "depthwise, any filter, scattered": (
        "x, w = ones(1, 900, 1000, 4).transpose(0, 3, 1, 2), ones(4, 1, 3, 5)\n"
        "out = ones(1, 900, 1000, 4).transpose(0, 3, 1, 2)",
        "conv2d.conv2d(x, w, out=out, dilation=(30, 30), groups=4, num_threads=64)",
        0,
    ),
    "depthwise, dx": (
        "x, w, out = ones(4, 96, 56, 56), ones(96, 1, 3, 3), ones(4, 96, 112, 112)",
        "conv2d.conv2d_input(out.shape, w, x, out=out, stride=2, groups=96, num_threads=64)",
        0,
    ),
    "depthwise, dw": (
        "x, dy, out = ones(4, 96, 112, 112), ones(4, 96, 56, 56), ones(96, 1, 3, 3)",
        "conv2d.conv2d_weight(x, out.shape, dy, out=out, stride=2, groups=96, num_threads=64)",
        0,
    ),
    "depthwise, tall": (
        "x, w, out = ones(1, 16, 300_000, 2), ones(16, 1, 3, 3), ones(1, 16, 300_000, 2)",
        "conv2d.conv2d(x, w, out=out, groups=16, dilation=2, num_threads=64)",
        0,
    ),
    "depthwise, giant filter": (
        "x, w, out = ones(1, 16, 200, 200), ones(16, 1, 190, 190), ones(1, 16, 200, 200)",
        "conv2d.conv2d(x, w, out=out, groups=16, num_threads=64)",
        0,
    ),
    "depthwise, giant filter, dw": (
        "x, out = ones(1, 16, 200, 200), ones(16, 1, 190, 190)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, groups=16, num_threads=64)",
        0,
    ),
    "depthwise, channels last, dw": (
        "x, out = ones(1, 500, 600, 32).transpose(0, 3, 1, 2), ones(32, 1, 5, 5)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out, groups=32)",
        0,
    ),
    "pairs of planes, channels last, dw": (
        "x, out = ones(1, 1000, 600, 3).transpose(0, 3, 1, 2), ones(3, 3, 5, 5)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out)",
        0,
    ),
    "large pairs of planes, channels last, dw": (
        "x, out = ones(1, 3000, 2000, 3).transpose(0, 3, 1, 2), ones(3, 3, 5, 5)",
        "conv2d.conv2d_weight(x, out.shape, x, out=out)",
        0,
    ),
    "filters in the lanes, strided dx": (
        "out, w, dy = ones(4, 512, 56, 56), ones(512, 512, 3, 3), ones(4, 512, 28, 28)",
        "conv2d.conv2d_input(out.shape, w, dy, stride=2, padding=1, out=out, num_threads=64)",
        0,
    ),
    "filters in the lanes, patches": (
        "x, w, out = ones(8, 3, 448, 448), ones(384, 3, 16, 16), ones(8, 384, 28, 28)",
        "conv2d.conv2d(x, w, stride=16, padding=0, out=out, num_threads=64)",
        0,
    ),
    "layer, dx with a mode": (
        "x, w, out = ones(2, 64, 224, 224), ones(64, 64, 3, 3), ones(2, 64, 224, 224)",
        "conv2d.conv2d_input(x.shape, w, x, padding_mode='wrap', out=out)",
        0,
    ),
    "layer, float16 out": (
        "x, w, out = ones(1, 32, 224, 224), ones(32, 32, 3, 3), ones(1, 32, 224, 224, dtype='f2')",
        "conv2d.conv2d(x, w, out=out)",
        0,
    ),
    "layer, strided out of dw": (
        "x, out = ones(1, 512, 14, 14), ones(512, 512, 3, 6)[..., ::2]",
        "conv2d.conv2d_weight(x, out.shape, x, out=out)",
        0,
    ),
    "transposed": (
        "x, w, out = ones(1, 64, 112, 112), ones(64, 64, 4, 4), ones(1, 64, 224, 224)",
        "conv2d.conv_transpose2d(x, w, stride=2, padding=1, out=out, num_threads=64)",
        0,
    ),
    "layer, db": (
        "dy, out = ones(16, 64, 112, 112), ones(64)",
        "conv2d.conv2d_backward(dy, dy, ones(64, 64, 1, 1), need='db', "
        "out=(None, None, out), num_threads=64).db",
        0,
    ),
    "db": (
        "dy, out = ones(9_000_000, 1), np.zeros((), 'f4')",
        "conv2d.conv2d_backward(dy, dy, ones(1, 1), need='db', out=(None, None, out)).db",
        0,
    ),
}


@UNSANITIZED
@pytest.mark.parametrize("case", CASES)
def test_peak(case):
    arrays, call, copies = CASES[case]
    stated, peak = map(
        int, run_python(MEASURE.format(arrays=arrays, call=call, copies=copies)).split()
    )
    assert peak <= stated <= 32 * 2**20


BETWEEN_CALLS = """
import numpy as np
import conv2d

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

x, w = np.ones((300, 300)), np.ones((5, 5))

def calls(count):
    for n in range(count):
        dx, dw, db = conv2d.conv2d_backward(conv2d.conv2d(x, w), x, w, padding_mode="edge")
        try:
            conv2d.conv2d(x, w, out=dw)
        except ValueError:
            pass

calls(20)
before = resident()
calls(100)
print(resident() - before)
"""


@UNSANITIZED
def test_nothing_stays_behind():
    assert int(run_python(BETWEEN_CALLS)) < 200  # pages; one plane has 176
