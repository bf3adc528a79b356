"""Every peer on the same problems, as users of pytest-benchmark expect: groups, JSON, comparisons.

All peers share one process here; for comparisons that hold on a noisy machine there is the contest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from benchmarks.arrays import Array, Arrays, error, expected, make_arrays, tolerance
from benchmarks.peers import load, modules
from benchmarks.problems import BACKWARD, DIRECTIONS, Problem, parse

PEERS = {name: peer for module in modules() for name, peer in load(module).items()}


@lru_cache(maxsize=2)
def _arrays(problem: Problem, dtype: str) -> Arrays:
    return make_arrays(problem, dtype)


@lru_cache(maxsize=3)
def _expected(problem: Problem, direction: str, dtype: str) -> Array:
    return expected(problem, direction, _arrays(problem, dtype))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("direction", [*DIRECTIONS, BACKWARD])
def test_speed(
    benchmark: Any,
    pytestconfig: pytest.Config,
    problem: str,
    direction: str,
    dtype: str,
    name: str,
) -> None:
    sizes, peer = parse(problem), PEERS[name]
    if not peer.present:
        pytest.skip(f"{peer.name} is not installed")
    if not peer.can(sizes, direction, dtype):
        pytest.skip(f"{peer.name} cannot do {problem} {direction} {dtype}")
    threads = pytestconfig.getoption("--threads")
    run = peer.prepare(sizes, direction, dtype, _arrays(sizes, dtype), threads)
    found = error(run(), _expected(sizes, direction, dtype))
    assert found.largest <= tolerance(sizes, direction, dtype), "a wrong result"
    benchmark.group = f"{problem} {direction} {dtype}"
    benchmark.extra_info.update(
        problem=problem,
        direction=direction,
        dtype=dtype,
        threads=threads,
        peer=peer.name,
        version=peer.version,
        rms_error=found.rms,
        largest_error=found.largest,
    )
    benchmark(run)
    if benchmark.stats:  # not with --benchmark-disable
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["GFLOP/s"] = sizes.work(direction) / seconds / 1e9
