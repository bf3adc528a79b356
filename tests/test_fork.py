"""After os.fork() a child works where the parent has used threads; it never hangs."""

import pytest
from helpers import UNSANITIZED, run_python

SETUP = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import conv2d
rng = np.random.default_rng(0)
x, w = rng.standard_normal((400, 500)), rng.standard_normal((7, 7))
layer, filters = rng.standard_normal((2, 64, 28, 28)), rng.standard_normal((64, 64, 3, 3))

def call():
    y = conv2d.conv2d(x, w, num_threads=2)
    return y, conv2d.conv2d_input(x.shape, w, y, num_threads=2), conv2d.conv2d_weight(
        x, w.shape, y, num_threads=2), conv2d.conv2d_backward(y, x, w, num_threads=2).db, *(
        conv2d.conv2d_backward(layer, layer, filters, num_threads=2)), conv2d.conv2d(
        layer, filters[:, :1], groups=64, stride=2, num_threads=2)

def is_right(results):
    return all(a.tobytes() == b.tobytes() for a, b in zip(results, expected))

def in_child():
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # ends a child that hangs
        tasks = len(os.listdir("/proc/self/task"))
        right = is_right(call())
        os._exit(0 if right and (not serial or len(os.listdir("/proc/self/task")) == tasks) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
AFTER_USE = """
serial, expected = True, call()
print([in_child() for _ in range(3)], is_right(call()))
"""
GRANDCHILD = """
serial, expected = True, call()
pid = os.fork()
if pid == 0:
    signal.alarm(40)
    os._exit(in_child() or (not is_right(call())))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
BEFORE_USE = """
serial, expected = False, [np.copy(a) for a in (
    conv2d.conv2d(x, w, num_threads=1),)]
y = expected[0]
expected += [conv2d.conv2d_input(x.shape, w, y, num_threads=1), conv2d.conv2d_weight(
    x, w.shape, y, num_threads=1), conv2d.conv2d_backward(y, x, w, num_threads=1).db]
expected += conv2d.conv2d_backward(layer, layer, filters, num_threads=1)
print(in_child(), is_right(call()))
"""
DURING_A_CALL = """
serial, expected, stop = True, call(), threading.Event()
def work():
    while not stop.is_set():
        call()
thread = threading.Thread(target=work)
thread.start()
codes = []
for n in range(8):
    time.sleep(0.01 + 0.003 * n)
    codes.append(in_child())
stop.set()
thread.join()
print(codes, is_right(call()))
"""
POOL = """
expected = call()
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = [pool.apply_async(call) for _ in range(4)]
    print([is_right(result.get(timeout=30)) for result in results])
"""


@UNSANITIZED
@pytest.mark.parametrize(
    ("program", "printed"),
    [
        pytest.param(AFTER_USE, "[0, 0, 0] True", id="after use"),
        pytest.param(GRANDCHILD, "0", id="grandchild"),
        pytest.param(BEFORE_USE, "0 True", id="before use"),
        pytest.param(DURING_A_CALL, "[0, 0, 0, 0, 0, 0, 0, 0] True", id="during a call"),
        pytest.param(POOL, "[True, True, True, True]", id="multiprocessing"),
    ],
)
def test_fork(program, printed):
    assert run_python(SETUP + program, OMP_WAIT_POLICY="passive") == printed
