"""Fixtures: every instruction level of this CPU, and threads and bands on small planes too."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than CPUs, on small planes

import pytest
from helpers import BUILT

import conv2d


@pytest.fixture(params=BUILT)
def level(request):
    """Runs a test on each instruction level."""
    conv2d.dispatch.connect(request.param)
    yield request.param
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)


@pytest.fixture
def small_in_parallel(monkeypatch):
    """Small planes are cut into bands and shared among threads as large ones are."""
    for module in (conv2d.plan, conv2d.dispatch):
        monkeypatch.setattr(module, "SMALL_FLOPS", 0)
        monkeypatch.setattr(module, "SMALL_ROWS", 0)
    conv2d.plan.make_plan.cache_clear()
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)
    yield
    monkeypatch.undo()
    conv2d.plan.make_plan.cache_clear()
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)
