"""The instruction level is the best that runs, or a lower one on demand; info() tells."""

import os
import subprocess
import sys

import pytest
from helpers import BUILT, ROOT, run_python

import conv2d

ASK = "import conv2d; print(conv2d.info()['chosen'])"


def test_the_best_level_is_chosen():
    assert run_python(ASK, CONV2D_LEVEL="") == BUILT[0]


@pytest.mark.parametrize("level", BUILT)
def test_lowered(level):
    program = ASK + "; import sys; print(*(n for n in sys.modules if '_planar_' in n))"
    chosen, *modules = run_python(program, CONV2D_LEVEL=level).split()
    assert chosen == level
    assert all(module.endswith(f"_{level}") for module in modules)


@pytest.mark.parametrize("level", ["v9", "avx2", "V3"])
def test_refused(level):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CONV2D_LEVEL": level},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"ImportError: CONV2D_LEVEL is '{level}', but usable here are" in done.stderr
    assert all(built in done.stderr for built in BUILT)


def test_refused_where_the_cpu_lacks_it(monkeypatch):
    monkeypatch.setattr(conv2d._cpu, "supported", lambda: ["v2", "generic"])
    monkeypatch.setattr(conv2d.dispatch, "built_levels", lambda: ("v4", "v3", "v2", "generic"))
    monkeypatch.delenv("CONV2D_LEVEL", raising=False)
    assert conv2d.dispatch.choose_level() == "v2"
    for level, usable in (("generic", True), ("v3", False)):
        monkeypatch.setenv("CONV2D_LEVEL", level)
        if usable:
            assert conv2d.dispatch.choose_level() == level
        else:
            with pytest.raises(ImportError, match=r"CONV2D_LEVEL is 'v3', but usable here are v2"):
                conv2d.dispatch.choose_level()
    monkeypatch.setattr(conv2d.dispatch, "built_levels", lambda: ("v4",))
    monkeypatch.delenv("CONV2D_LEVEL")
    with pytest.raises(ImportError, match="no kernels for this CPU"):
        conv2d.dispatch.choose_level()


def test_supported_levels_are_those_of_the_cpu():
    """As /proc/cpuinfo has it."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line.split() for line in file if line.startswith("flags"))
    except (OSError, StopIteration):
        pytest.skip("no flags in /proc/cpuinfo")
    asks = {"v4": "avx512vl", "v3": "avx2", "v2": "sse4_2"}
    expected = [level for level, flag in asks.items() if flag in flags]
    if "v4" in BUILT or "v3" in BUILT or "v2" in BUILT:
        assert [*expected, "generic"] == list(conv2d._cpu.supported())


def test_info():
    info = conv2d.info()
    assert info["version"] == conv2d.__version__
    assert set(info["built"]) <= {"v4", "v3", "v2", "generic"}
    assert "generic" in info["built"]
    assert info["chosen"] in info["built"]
    assert info["chosen"] in info["supported"]
    assert info["openmp"] is bool(conv2d._cpu.OPENMP)
    assert info["threads"] == conv2d.get_num_threads() >= 1
    assert 0 < info["workspace"] <= 32 * 2**20


def test_without_openmp(monkeypatch):
    """It is reported."""
    monkeypatch.setattr(conv2d._cpu, "OPENMP", 0)
    assert conv2d.info()["openmp"] is False


def test_public_names():
    for name in conv2d.__all__:
        assert hasattr(conv2d, name)
    public = {"conv2d", "conv2d_input", "conv2d_weight", "conv2d_backward", "info", "kernel"}
    assert public | {"set_num_threads", "get_num_threads", "reference"} <= set(conv2d.__all__)
