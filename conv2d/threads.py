"""How many threads a call uses."""

from __future__ import annotations

import os

from . import _cpu, _door
from .problem import is_int


def _cgroup_quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float:
    """CPUs that the control groups of this process allow, of version 2 and 1; inf without."""
    quota = float("inf")
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = os.path.join(root, controllers)
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1):
            quota = min(quota, _folder_quota(os.path.join(base, *names[:depth])))
    return quota


def _folder_quota(folder: str) -> float:
    """What one control group allows."""
    words = _read(os.path.join(folder, "cpu.max")).split()
    if not words:
        names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
        words = [_read(os.path.join(folder, name)).strip() for name in names]
    try:
        quota, period = float(words[0]), float(words[1])
    except ValueError:  # no such control group; or "max", no limit
        return float("inf")
    return quota / period if quota > 0 else float("inf")


def _read(path: str) -> str:
    """A small file of the system, empty where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _cpus() -> int:
    """The least of the affinity mask and the cgroup CPU quota, at least 1."""
    try:
        mask = len(os.sched_getaffinity(0))
    except AttributeError:
        mask = os.cpu_count() or 1
    return max(int(min(mask, _cgroup_quota())), 1)


def set_num_threads(n: int) -> None:
    """Set how many threads a call uses where `num_threads` does not say otherwise.

    Parameters
    ----------
    n : at least 1. Fewer are used within a threadpoolctl limit.

    Raises
    ------
    ValueError, TypeError
        if n is not an int of at least 1

    Examples
    --------
    >>> import conv2d
    >>> conv2d.set_num_threads(1)
    >>> conv2d.get_num_threads()
    1
    """
    _door.limit_threads(CPUS, check_threads("n", n))


def get_num_threads() -> int:
    """Return how many threads a call uses.

    What `set_num_threads` chose; before that, the least of OMP_NUM_THREADS, the affinity mask and
    the cgroup CPU quota (the last two as they were at import). Less within a threadpoolctl limit.
    """
    return int(_door.default_threads())


def check_threads(name: str, n: int) -> int:
    """A number of threads as it came in an argument."""
    if not is_int(n):
        raise TypeError(f"{name} is {n!r}, expected an int of at least 1")
    if n < 1:
        raise ValueError(f"{name} is {n!r}, expected at least 1")
    return min(int(n), 1 << 16)


CPUS = _cpus() if _cpu.OPENMP else 1
_door.limit_threads(CPUS, 0)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_door.after_fork)
