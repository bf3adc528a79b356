"""What is compared: one module a library, each with `PEERS`; found by listing this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

from benchmarks.arrays import Arrays
from benchmarks.problems import Problem

Run = Callable[[], Any]


@dataclass(frozen=True)
class Peer:
    """One way to do it. `prepare` gives a function whose result `numpy.asarray` takes.

    What a user would do once (convert arrays, compile a graph, build a plan) belongs in `prepare`,
    what each call needs in what it returns. The library is imported in `prepare`, not before.
    """

    name: str
    module: str
    distribution: str
    can: Callable[[Problem, str, str], bool]
    prepare: Callable[[Problem, str, str, Arrays, int], Run]
    unit: str = ""  # of a limit of the machine, what its run returns an amount of: flop or byte

    @property
    def present(self) -> bool:
        """Whether it is installed."""
        try:
            return util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # what it is part of
            return False

    @property
    def version(self) -> str:
        """Version of the distribution."""
        if self.module == "conv2d":
            return str(importlib.import_module("conv2d._version").__version__)
        return metadata.version(self.distribution)


def modules() -> list[str]:
    """Modules of this folder."""
    return [f"{__name__}.{info.name}" for info in pkgutil.iter_modules(__path__)]


def load(module: str) -> dict[str, Peer]:
    """The peers of one module by name."""
    return {peer.name: peer for peer in importlib.import_module(module).PEERS}


def floats(dtype: str) -> bool:
    """Whether it is one of the two types that nearly every library computes in."""
    return dtype in ("float32", "float64")
