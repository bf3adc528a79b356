"""conv2d_backward is bit for bit what the single calls give, and computes what is needed alone."""

import numpy as np
import pytest
from helpers import MODES, Problem, draw, same_bits

import conv2d


def normal(problem, dtype):
    return draw(problem, np.random.default_rng(5).standard_normal).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["same", "valid", ((1, 4), (7, 0))])
@pytest.mark.parametrize("num_threads", [None, 1, 3])
def test_single_calls(level, dtype, mode, padding, num_threads):
    for x, w in (((9, 20), (3, 4)), ((300, 310), (7, 8))):
        problem = Problem(x, w, padding, mode)
        x, w, _, dy = normal(problem, dtype)
        settings = {**problem.settings, "num_threads": num_threads}
        dx, dw, db = conv2d.conv2d_backward(dy, x, w, **settings)
        dx_alone = conv2d.conv2d_input(x.shape, w, dy, **settings)
        same_bits((dx, dw), (dx_alone, conv2d.conv2d_weight(x, w.shape, dy, **settings)))
        assert db.shape == ()
        assert db.dtype == dy.dtype


NEEDS = [
    (),
    "dx",
    "dw",
    "db",
    ("dx",),
    ["dw", "db"],
    ("db", "dx"),
    ("dx", "dw", "db"),
    ("dw", "dw"),
]


@pytest.mark.parametrize("need", NEEDS, ids=str)
def test_need(need):
    x, w, _, dy = normal(Problem((20, 30), (4, 3)), "f4")
    everything = conv2d.conv2d_backward(dy, x, w)
    some = conv2d.conv2d_backward(dy, x, w, need=need)
    assert isinstance(some, conv2d.Gradients)
    for name, whole, part in zip(some._fields, everything, some, strict=True):
        if name in ([need] if isinstance(need, str) else need):
            same_bits((part,), (whole,))
        else:
            assert part is None


def test_fields():
    assert conv2d.Gradients._fields == ("dx", "dw", "db")


@pytest.mark.parametrize(
    ("x", "w", "dy"), [("f4", "f8", "f2"), ("i1", "f4", "i2"), ("u1", "i1", "u4")]
)
def test_types(x, w, dy):
    arrays = np.ones((9, 9), x), np.ones((3, 3), w), np.ones((9, 9), dy)
    dx, dw, db = conv2d.conv2d_backward(arrays[2], arrays[0], arrays[1])
    assert dx.dtype == np.result_type(dy, w)
    assert dw.dtype == np.result_type(x, dy)
    assert db.dtype == dy
    assert db == 81


@pytest.mark.parametrize("count", [1, 2])
def test_out_of_some(count):
    x, w, _, dy = normal(Problem((20, 30), (4, 3)), "f4")
    everything = conv2d.conv2d_backward(dy, x, w)
    out = [np.full_like(result, np.nan) for result in everything[:count]] + [None] * (3 - count)
    grads = conv2d.conv2d_backward(dy, x, w, out=tuple(out))
    same_bits(grads, everything)
    assert all(grad is given for grad, given in zip(grads, out, strict=True) if given is not None)
