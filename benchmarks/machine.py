"""The machine: its description, caches and thread limits; size and import time of libraries."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import Requirement

CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def describe() -> dict[str, object]:
    """What a reader must know to judge or repeat the numbers."""
    return {
        "cpu": _cpu_name(),
        "cores": len(cpus()),
        "caches": ", ".join(f"{name} {size >> 10} KiB" for name, size in caches().items()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def cpus() -> list[int]:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def caches() -> dict[str, int]:
    """Bytes of the data caches that a core sees, by level."""
    sizes = {}
    for folder in sorted(CPU_CACHES.glob("index*")):
        if (folder / "type").read_text().strip() != "Instruction":
            size = (folder / "size").read_text().strip().removesuffix("K")
            sizes["L" + (folder / "level").read_text().strip()] = int(size) * 1024
    return sizes


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    name = found.get("model name", platform.machine())
    detail = f"family {found['cpu family']}, model {found['model']}" if "model" in found else ""
    return f"{name} ({detail})" if detail else name


def thread_settings(threads: int) -> dict[str, str]:
    """Environment that holds every library to so many threads; to be set before it is imported."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR", "BLIS")
    xla = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
    return {
        **{f"{name}_NUM_THREADS": str(threads) for name in names},
        "XLA_FLAGS": f"{xla} intra_op_parallelism_threads={threads}",
        "JAX_PLATFORMS": "cpu",
    }


def pin(threads: int) -> None:
    """Keep this process and what it starts on the first CPUs, as many as threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus()[:threads])


@cache
def import_seconds(module: str, times: int = 3) -> float:
    """The shortest time of `import module` in a fresh interpreter, caches warm."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    run = [sys.executable, "-c", code]
    return min(
        float(subprocess.run(run, capture_output=True, check=True, text=True).stdout)
        for _ in range(times)
    )


@cache
def installed_bytes(module: str, distribution: str) -> int:
    """Size on disk of a library and all that it requires, NumPy excepted."""
    try:
        names = _requirements(distribution, {"numpy"}) - {"numpy"} | {distribution}
        return sum(_size(files) for files in map(_files, names))
    except metadata.PackageNotFoundError:  # used from where it was built
        spec = util.find_spec(module)
        folders = spec.submodule_search_locations if spec else None
        return sum(_size(Path(folder).rglob("*")) for folder in folders or [])


def _files(distribution: str) -> list[Path]:
    return [Path(str(file.locate())) for file in metadata.files(distribution) or []]


def _size(files: Iterable[Path]) -> int:
    return sum(
        file.stat().st_size for file in files if file.is_file() and "__pycache__" not in file.parts
    )


def _requirements(distribution: str, seen: set[str]) -> set[str]:
    """All distributions that one needs, those in `seen` included."""
    for line in metadata.requires(distribution) or []:
        requirement = Requirement(line)
        name = requirement.name.lower()
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and name not in seen:
            try:
                seen = _requirements(name, seen | {name})
            except metadata.PackageNotFoundError:
                seen = seen - {name}
    return seen
