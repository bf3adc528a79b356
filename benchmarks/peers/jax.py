"""JAX: compiled once for the shapes; gradients by its own transposition."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import BACKWARD, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return floats(dtype)


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    x, w, dy = (jax.numpy.asarray(array) for array in (arrays.x, arrays.w, arrays.dy))
    top, bottom, left, right = problem.pad

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            w,
            window_strides=[problem.stride] * 2,
            padding=[(top, bottom), (left, right)],
            rhs_dilation=[problem.dilation] * 2,
            feature_group_count=problem.groups,
        )

    def to_x(dy: jax.Array, w: jax.Array) -> jax.Array:
        return jax.linear_transpose(lambda x: conv(x, w), x)(dy)[0]

    def to_w(dy: jax.Array, x: jax.Array) -> jax.Array:
        return jax.linear_transpose(lambda w: conv(x, w), w)(dy)[0]

    def backward(dy: jax.Array, x: jax.Array, w: jax.Array) -> tuple[jax.Array, ...]:
        return to_x(dy, w), to_w(dy, x), dy.sum((0, 2, 3))

    function, operands = {
        "forward": (conv, (x, w)),
        "input": (to_x, (dy, w)),
        "weight": (to_w, (dy, x)),
        BACKWARD: (backward, (dy, x, w)),
    }[direction]
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*operands))


PEERS = (Peer("JAX", "jax", "jax", can, prepare),)
