"""Options of `pytest benchmarks/`, and the same number of threads for every library."""

from __future__ import annotations

import os

import pytest

from benchmarks.machine import cpus, pin, thread_settings
from benchmarks.problems import select


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conv2d")
    group.addoption(
        "--problem", nargs="+", default=["short"], help="problems by hand, or shape lists"
    )
    group.addoption("--dtype", nargs="+", default=["float32"])
    group.addoption("--threads", type=int, default=len(cpus()), help="default: all")


def pytest_configure(config: pytest.Config) -> None:
    threads = config.getoption("--threads")
    os.environ.update(thread_settings(threads))
    pin(threads)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "problem" in metafunc.fixturenames:
        problems = select(metafunc.config.getoption("--problem"))
        metafunc.parametrize("problem", [str(each) for each in problems], scope="module")
        metafunc.parametrize("dtype", metafunc.config.getoption("--dtype"), scope="module")
