from collections.abc import Callable
from typing import Any

import numpy as np

from .plan import LayerPlan, Plan
from .problem import Array

LARGEST_FILTER: int
MOST_KEPT: int

class Call: ...

def connect(
    kernels: list[object],
    layers: list[object],
    fft: object,
    flops: float,
    rows: int,
    walked: int,
    plan: Callable[..., Plan],
) -> None: ...
def walked_bytes() -> int: ...
def after_fork() -> None: ...
def limit_threads(cpus: int, chosen: int) -> None: ...
def default_threads() -> int: ...
def correlate(
    x: Array,
    w: Array,
    y: Array,
    bias: Array | None,
    top: int,
    left: int,
    mode: int,
    plan: Plan,
    dtype: np.dtype[Any],
) -> Call: ...
def fft(
    x: Array,
    w: Array,
    y: Array,
    bias: Array | None,
    top: int,
    left: int,
    mode: int,
    threads: int,
    shape: tuple[int, int],
    tile: tuple[int, int],
    first: int,
    direct: Array,
) -> None: ...
def weight(
    x: Array,
    w: Array,
    y: Array,
    total: Array | None,
    top: int,
    left: int,
    mode: int,
    plan: Plan,
) -> Call: ...
def add_up(y: Array, total: Array, threads: int) -> Call: ...
def dot(x: Array, w: Array, y: Array, top: int, left: int) -> None: ...
def shift(x: Array, y: Array, top: int, left: int) -> None: ...
def round_to_half(x: Array, y: Array) -> None: ...
def empty_beside(x: Array, rows: int, columns: int, dtype: np.dtype[Any]) -> Array: ...
def forward_same(x: object, w: object, num_threads: object) -> Array | None: ...
def input_same(input_shape: object, w: object, dy: object, num_threads: object) -> Array | None: ...
def weight_same(
    x: object, weight_shape: object, dy: object, num_threads: object
) -> Array | None: ...
def gradients_same(
    dy: object, x: object, w: object, needed: tuple[str, ...], num_threads: object
) -> tuple[Array | None, Array | None, Array | None] | None: ...
def together(calls: list[Call | None]) -> Call | None: ...
def again(call: tuple[object, ...], out: object) -> list[Array] | None: ...
def keep(
    call: tuple[object, ...], made: Call | None, results: tuple[Array | None, ...]
) -> None: ...
def kept_count() -> int: ...
def layer(
    x: Array,
    w: Array,
    y: Array,
    bias: Array | None,
    problem: tuple[object, ...],
    plan: LayerPlan,
) -> Call: ...
def layer_gradients(
    dx: tuple[object, ...] | None, dw: tuple[object, ...] | None, db: tuple[object, ...] | None
) -> Call: ...
def planes(
    direction: str,
    x: Array,
    w: Array,
    y: Array,
    bias: Array | None,
    top: int,
    left: int,
    mode: int,
    plan: Plan,
    threads: int,
) -> Call: ...
