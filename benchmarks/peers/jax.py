"""JAX: compiled once for the shapes; gradients by its own transposition."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import Problem


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

    function, operands = {
        "forward": (conv, (x, w)),
        "input": (lambda dy, w: jax.linear_transpose(lambda x: conv(x, w), x)(dy)[0], (dy, w)),
        "weight": (lambda dy, x: jax.linear_transpose(lambda w: conv(x, w), w)(dy)[0], (dy, x)),
    }[direction]
    compiled = jax.jit(function)
    return lambda: compiled(*operands).block_until_ready()


PEERS = (Peer("JAX", "jax", "jax", can, prepare),)
