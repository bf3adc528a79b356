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


def forget_plans():
    """Plans are made anew."""
    conv2d.problem.forget()
    conv2d.plan.plan_same.cache_clear()
    conv2d.dispatch.connect(conv2d.dispatch.LEVEL)


@pytest.fixture
def small_in_parallel(monkeypatch):
    """Small problems are cut into bands and shared among threads as large ones are."""
    for module in (conv2d.plan, conv2d.dispatch):
        monkeypatch.setattr(module, "SMALL_FLOPS", 0)
        monkeypatch.setattr(module, "SMALL_ROWS", 0)
    forget_plans()
    yield
    monkeypatch.undo()
    forget_plans()


# Constants of conv2d.plan that lead small layers where large ones go.
BLOCKS = {
    "small panels": {"PANEL": 3000, "STRIP": 20},
    "some channels and taps at a time": {"DEPTH": 5, "TAPS": 2, "FILTER_STEPS": 7},
    "sums along rows of W": {"MANY_CHANNELS": 1},
    "bands of lanes": {"PICTURE": 40, "ITEMS": 40},
    "all kernels of planes": {"SMALL_PLANE": 0, "SMALL_FLOPS": 0, "CHUNK": 50},
    "no kernels of planes": {"SMALL_PLANE": 10**9, "WIDEST": 0, "COLUMNS_WIDTH": 0},
    "no walks down columns": {"COLUMNS_WIDTH": 0},
    "filters in the lanes": {"OF_A_PLANE": 10**9, "OF_A_TILE": 10**9},
    "filters in the lanes without padding": {"OF_A_PLANE": 10**9, "OF_A_TILE": -1},
    "taps of dW one by one": {"FULL_TILE": 0, "CHANNELS_OF_A_TAP": 2**20, "TRANSPOSED": 0},
    "few positions at a time": {
        "POSITIONS_MET": 1,
        "POSITIONS_AT_ONCE": 90,
        "SUMS_OF_POSITIONS": 20,
    },
    "few rows at a time": {"COLUMN_ROWS": 3, "OUTPUTS_OF_FILTERS": 20},
}


@pytest.fixture(params=BLOCKS)
def blocks(request, monkeypatch):
    """Layers are cut into blocks in several ways."""
    for name, value in BLOCKS[request.param].items():
        monkeypatch.setattr(conv2d.plan, name, value)
    if "CHUNK" in BLOCKS[request.param]:
        monkeypatch.setattr(conv2d.arrays, "CHUNK", 50)
    forget_plans()
    yield request.param
    monkeypatch.undo()
    forget_plans()
