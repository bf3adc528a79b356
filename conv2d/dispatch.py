"""Which kernel modules serve this process: of one instruction level, one for each element type."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec

from . import _cpu, _door
from ._version import __version__
from .plan import SMALL_FLOPS, SMALL_ROWS, WORKSPACE, plan_same, walked_bytes

# In the order of the enum in pyx/door.pyx; layers compute the last, u16, in u32.
ELEMENTS = ("f32", "f64", "u32", "u64", "u16")
LEVELS = ("v4", "v3", "v2", "generic")


def built_levels() -> tuple[str, ...]:
    """Levels that were built, best first."""
    return tuple(level for level in LEVELS if find_spec(f"{__package__}._planar_f32_{level}"))


def choose_level() -> str:
    """The best level that was built and that this CPU runs, or what CONV2D_LEVEL asks for."""
    built, supported = built_levels(), _cpu.supported()
    usable = [level for level in built if level in supported]
    wanted = os.environ.get("CONV2D_LEVEL", "")
    if wanted and wanted not in usable:
        raise ImportError(
            f"CONV2D_LEVEL is {wanted!r}, but usable here are {', '.join(usable)} "
            f"(built {', '.join(built)}; this CPU runs {', '.join(supported)})"
        )
    if not usable:
        raise ImportError(f"no kernels for this CPU: built are {built}, it runs {supported}")
    return wanted or usable[0]


def connect(level: str) -> None:
    """Give the door the kernels of a level."""
    planes, layers = (
        [
            importlib.import_module(f"{__package__}._{kind}_{element}_{level}").kernels
            for element in elements
        ]
        for kind, elements in (("planar", ELEMENTS), ("layer", ELEMENTS[:-1]))
    )
    fft = importlib.import_module(f"{__package__}._fft_{level}").kernel
    _door.connect(planes, layers, fft, SMALL_FLOPS, SMALL_ROWS, walked_bytes(level), plan_same)


LEVEL = choose_level()
connect(LEVEL)


def info() -> dict[str, object]:
    """What is built, what this CPU runs, and what is chosen.

    Returns
    -------
    dict
        version; the instruction levels `built`, `supported` by this CPU, and the one `chosen`;
        openmp: whether calls can use threads; threads: how many a call uses by default; workspace:
        the most bytes that a call takes beyond its arrays.

    Examples
    --------
    >>> import conv2d
    >>> conv2d.info()["workspace"] <= 32 * 2**20
    True
    """
    return {
        "version": __version__,
        "built": built_levels(),
        "supported": tuple(_cpu.supported()),
        "chosen": LEVEL,
        "openmp": bool(_cpu.OPENMP),
        "threads": _door.default_threads(),
        "workspace": WORKSPACE,
    }
