"""The result does not depend on threads, and threads are as many as they may be."""

import os
import threading
import time

import numpy as np
import pytest
from helpers import MODES, UNSANITIZED, Problem, compute, draw, lay, run_python, same_bits

import conv2d

CPUS = conv2d.threads.CPUS
LARGE = [Problem((301, 700), (3, 3)), Problem((203, 150), (11, 8)), Problem((1500, 40), (4, 5))]


def normal(problem, dtype="f4"):
    return draw(problem, np.random.default_rng(1).standard_normal).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4", "i8"])
@pytest.mark.parametrize("mode", MODES)
def test_same_bits_for_every_thread_count(level, dtype, mode):
    for problem in LARGE:
        problem = problem._replace(mode=mode)
        arrays = normal(problem, dtype)
        alone = compute(arrays, problem, num_threads=1)
        for num_threads in (2, 3, 5):
            same_bits(compute(arrays, problem, num_threads=num_threads), alone)


LAYERS = {
    "layer": Problem((2, 48, 28, 28), (64, 48, 3, 3)),
    "large planes": Problem((1, 16, 90, 100), (20, 16, 3, 3)),
    "one image": Problem((70, 28, 28), (130, 70, 3, 3)),
    "one tap": Problem((2, 200, 14, 14), (128, 200, 1, 1)),
    "one tap, stride": Problem((1, 100, 28, 28), (200, 100, 1, 1), stride=2),
    "stride": Problem((1, 48, 55, 57), (64, 48, 3, 3), stride=2),
    "tiny planes": Problem((8, 256, 7, 7), (96, 256, 3, 3)),
    "depthwise": Problem((4, 130, 20, 20), (130, 1, 3, 3), groups=130),
    "depthwise, stride": Problem((4, 130, 41, 40), (130, 1, 3, 3), stride=2, groups=130),
    "depthwise, 5 x 5": Problem((4, 130, 41, 40), (130, 1, 5, 5), 2, stride=2, groups=130),
    "depthwise, large planes": Problem((2, 20, 90, 90), (20, 1, 5, 5), groups=20),
    "groups": Problem((2, 96, 28, 28), (96, 8, 3, 3), groups=12),
    "dilation": Problem((1, 40, 40, 40), (40, 40, 3, 3), dilation=4),
    "few channels": Problem((2, 3, 100, 100), (32, 3, 7, 7), stride=2),
    "few filters": Problem((1, 64, 60, 60), (2, 64, 3, 3)),
    "large filter": Problem((1, 4, 60, 70), (5, 4, 31, 33)),
    "plane": Problem((500, 600), (5, 5), stride=2),
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("name", LAYERS)
def test_same_bits_of_layers(level, name, dtype):
    problem = LAYERS[name]
    arrays = normal(problem, dtype)
    alone = compute(arrays, problem, num_threads=1)
    for num_threads in (2, 3, 5):
        same_bits(compute(arrays, problem, num_threads=num_threads), alone)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("name", ["layer", "stride", "depthwise"])
def test_same_bits_of_layers_with_modes(name, mode):
    problem = LAYERS[name]._replace(mode=mode)
    arrays = normal(problem)
    alone = compute(arrays, problem, num_threads=1)
    same_bits(compute(arrays, problem, num_threads=3), alone)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_is_the_single_calls(level, name):
    problem = LAYERS[name]
    x, w, _, dy = arrays = normal(problem)
    same_bits(
        conv2d.conv2d_backward(dy, x, w, **problem.settings, num_threads=2),
        compute(arrays, problem, num_threads=1)[1:],
    )


def test_same_bits_by_default(level):
    """The fast road too."""
    for problem in LARGE:
        arrays = normal(problem)
        x, w, _, dy = arrays
        alone = compute(arrays._replace(b=None), problem, num_threads=1)
        results = (
            conv2d.conv2d(x, w),
            conv2d.conv2d_input(x.shape, w, dy),
            conv2d.conv2d_weight(x, w.shape, dy),
        )
        same_bits(results, alone[:3])


@pytest.mark.parametrize(
    "layout", ["transposed", "sliced", "negative", "offset", "read-only", "swapped", "unaligned"]
)
def test_same_bits_for_every_layout(level, layout):
    problem = LARGE[0]
    x, w, _, dy = arrays = normal(problem)
    laid = arrays._replace(x=lay(x, layout), w=lay(w, layout), dy=lay(dy, layout))
    same_bits(compute(laid, problem), compute(arrays, problem))


# The GIL, and several Python threads


def ticks_during(call):
    """Another thread goes on ticking in the middle of a long call."""
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.002):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    call()
    took = time.perf_counter() - begin
    stop.set()
    thread.join()
    assert took > 0.02
    assert any(begin + took / 4 < at < begin + took * 3 / 4 for at in ticks)


@UNSANITIZED
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_gil_is_released(name, num_threads):
    x, w = np.ones((1200, 1200)), np.ones((64, 64))
    arguments = {"conv2d": (x, w), "conv2d_input": (x.shape, w, x)}.get(name, (x, w.shape, x))
    settings = {"num_threads": num_threads, "algorithm": "direct"}  # others are done too soon
    ticks_during(lambda: getattr(conv2d, name)(*arguments, **settings))


@pytest.mark.parametrize("problem", [LARGE[0], LAYERS["layer"], LAYERS["depthwise, stride"]])
def test_calls_from_several_python_threads(problem):
    arrays = normal(problem)
    expected, results = compute(arrays, problem), [None] * 6

    def work(n):
        for _ in range(3):
            results[n] = compute(arrays, problem, num_threads=1 + n % 3)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        same_bits(result, expected)


@UNSANITIZED
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("w", [(400, 400, 3, 3), (400, 1, 63, 63)])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_gil_is_released_by_layers(name, num_threads, w):
    x, w = np.ones((1, 400, 60, 60)), np.ones(w)
    arguments = {"conv2d": (x, w), "conv2d_input": (x.shape, w, x)}.get(name, (x, w.shape, x))
    groups = 400 // w.shape[1]
    ticks_during(lambda: getattr(conv2d, name)(*arguments, num_threads=num_threads, groups=groups))


COUNT_THREADS = """
import os, threading, time
import numpy as np
import conv2d
x, w, lock, go_on = np.ones((600, 600)), np.ones((9, 9)), threading.Lock(), threading.Event()
layer, filters = np.ones((2, 64, 28, 28)), np.ones((64, 64, 3, 3))
planes, taps = np.ones((2, 64, 60, 60)), np.ones((64, 1, 3, 3))

def call():
    conv2d.conv2d(x, w, num_threads=3)
    conv2d.conv2d_weight(x, w.shape, x, num_threads=3)
    conv2d.conv2d_backward(layer, layer, filters, num_threads=3)
    for stride in (1, 2):
        conv2d.conv2d(planes, taps, groups=64, stride=stride, num_threads=3)

def work():
    if AT_ONCE:
        call()
    else:
        with lock:
            call()
    done.append(1)
    go_on.wait()

before, done = len(os.listdir("/proc/self/task")), []
call()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
while len(done) < 6:
    time.sleep(0.01)
print(len(os.listdir("/proc/self/task")) - before - 6)
go_on.set()
"""


@UNSANITIZED
@pytest.mark.parametrize("at_once", [True, False])
def test_python_threads_do_not_multiply_threads(at_once):
    """The pool of two more threads serves all of them, whether they call at once or in turn."""
    assert int(run_python(f"AT_ONCE = {at_once}\n{COUNT_THREADS}")) <= 2


# How many


def test_set_and_get():
    before = conv2d.get_num_threads()
    try:
        for n in (1, 2, 7, np.int64(3)):
            conv2d.set_num_threads(n)
            assert conv2d.get_num_threads() == n
            assert conv2d.info()["threads"] == n
    finally:
        conv2d._door.limit_threads(CPUS, 0)
    assert conv2d.get_num_threads() == before


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError)])
def test_wrong_counts(n, error):
    x = np.ones((3, 3))
    before = conv2d.get_num_threads()
    with pytest.raises(error, match=f"^n is {n}"):
        conv2d.set_num_threads(n)
    assert conv2d.get_num_threads() == before
    for call in (
        lambda: conv2d.conv2d(x, x, num_threads=n),
        lambda: conv2d.conv2d_input((3, 3), x, x, num_threads=n),
        lambda: conv2d.conv2d_weight(x, (3, 3), x, num_threads=n),
        lambda: conv2d.conv2d_backward(x, x, x, num_threads=n),
        lambda: conv2d.conv2d_backward(x, x, x, need="db", num_threads=n),
        lambda: conv2d.conv2d_backward(x, x, x, need=(), num_threads=n),
    ):
        with pytest.raises(error, match=f"^num_threads is {n}.*at least 1"):
            call()


GET = "import conv2d; print(conv2d.get_num_threads())"


@pytest.mark.parametrize("n", [1, 2, 64])
def test_omp_num_threads(n):
    assert int(run_python(GET, OMP_NUM_THREADS=str(n))) == min(n, CPUS)


def test_affinity_mask():
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + GET
    assert int(run_python(program)) == 1


def test_threadpoolctl():
    pytest.importorskip("threadpoolctl")
    program = """
import conv2d
from threadpoolctl import threadpool_limits
before = conv2d.get_num_threads()
with threadpool_limits(1):
    print(conv2d.get_num_threads())
    conv2d.set_num_threads(4)
    print(conv2d.get_num_threads())
print(conv2d.get_num_threads())
"""
    assert run_python(program).split() == ["1", "1", "4"]


def cgroup(tmp_path, lines, files):
    """The quota of a process in control groups that are made up."""
    (tmp_path / "own").write_text("".join(f"{line}\n" for line in lines))
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return conv2d.threads._cgroup_quota(tmp_path / "root", tmp_path / "own")


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, np.inf),
        ({"a/b/cpu.max": "max 100000"}, np.inf),
        ({"a/b/cpu.max": "150000 100000"}, 1.5),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ({"cpu.max": "200000 100000"}, 2),
        ({"other/cpu.max": "200000 100000"}, np.inf),
    ],
)
def test_cgroup_version_2(tmp_path, files, quota):
    assert cgroup(tmp_path, ["0::/a/b"], files) == quota


@pytest.mark.parametrize(
    ("folder", "microseconds", "quota"),
    [("a/b", "250000", 2.5), ("a", "100000", 1), ("", "300000", 3), ("a/b", "-1", np.inf)],
)
def test_cgroup_version_1(tmp_path, folder, microseconds, quota):
    lines = ["7:memory:/a/b", "3:cpu,cpuacct:/a/b", "2:cpuset:/", "1:name=systemd:/a"]
    files = {
        f"cpu,cpuacct/{folder}/cpu.cfs_quota_us": microseconds,
        f"cpu,cpuacct/{folder}/cpu.cfs_period_us": "100000",
        "memory/a/b/cpu.cfs_quota_us": "1000",
        "memory/a/b/cpu.cfs_period_us": "100000",
    }
    assert cgroup(tmp_path, lines, files) == quota


def test_no_cgroups(tmp_path):
    assert conv2d.threads._cgroup_quota(tmp_path / "root", tmp_path / "own") == np.inf


@pytest.mark.parametrize(
    ("mask", "quota", "cpus"), [(8, np.inf, 8), (8, 2.5, 2), (2, 5, 2), (1, 5, 1), (8, 0.2, 1)]
)
def test_least_of_mask_and_quota(monkeypatch, mask, quota, cpus):
    monkeypatch.setattr(conv2d.threads, "_cgroup_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(mask)))
    assert conv2d.threads._cpus() == cpus
