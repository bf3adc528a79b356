"""conv2d_backward is bit for bit what the single calls give, and computes what is needed alone."""

import numpy as np
import pytest
from helpers import MODES, Problem, draw, lay, same_bits

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
        db_alone = conv2d.conv2d_backward(dy, x, w, need="db", **settings).db
        same_bits((db,), (db_alone,))
        assert db.shape == ()
        assert db.dtype == dy.dtype


LAYERS = {
    "walks down columns": Problem((3, 5, 9, 23), (5, 1, 3, 3), groups=5),
    "narrow planes": Problem((2, 5, 9, 7), (5, 1, 3, 3), groups=5),
    "walks down large planes": Problem((3, 3, 50, 30), (3, 1, 3, 3), groups=3),
    "walks down few planes": Problem((2, 1, 130, 40), (1, 1, 3, 3)),
    "stride": Problem((3, 4, 12, 40), (4, 1, 3, 3), 1, stride=2, groups=4),
    "two filters a channel": Problem((2, 3, 70, 8), (6, 1, 3, 3), groups=3),
    "planes": Problem((2, 3, 30, 31), (3, 1, 5, 4), groups=3),
    "channels in the lanes": Problem((2, 17, 9, 8), (17, 1, 2, 3), stride=2, groups=17),
    "positions": Problem((3, 4, 9, 20), (7, 4, 3, 3)),
    "filters": Problem((3, 40, 7, 7), (64, 40, 3, 3)),
    "one tap": Problem((2, 20, 9, 12), (33, 20, 1, 1)),
    "groups": Problem((2, 6, 9, 12), (8, 3, 2, 3), stride=(2, 1), dilation=(1, 2), groups=2),
    "reflected": Problem((2, 3, 9, 12), (4, 3, 3, 3), mode="reflect"),
    "one image": Problem((3, 9, 12), (4, 3, 3, 3)),
    "a plane with stride": Problem((9, 12), (3, 3), stride=2),
    "no images": Problem((0, 3, 9, 12), (4, 3, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4"])
@pytest.mark.parametrize("layout", ["C", "channels last", "flipped"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_layers(small_in_parallel, level, name, dtype, layout, num_threads):
    """Whatever the kernels make together, and into results of any strides."""
    problem = LAYERS[name]
    arrays = normal(problem, dtype)
    x, w, dy = (lay(array, layout) for array in (arrays.x, arrays.w, arrays.dy))
    settings = {**problem.settings, "num_threads": num_threads}
    dx, dw = np.empty_like(arrays.x), np.empty_like(arrays.w)
    conv2d.conv2d_input(x.shape, w, dy, out=dx, **settings)
    conv2d.conv2d_weight(x, w.shape, dy, out=dw, **settings)
    db = conv2d.conv2d_backward(dy, x, w, need="db", **settings).db
    same_bits(conv2d.conv2d_backward(dy, x, w, **settings), (dx, dw, db))
    out = lay(np.zeros_like(arrays.x), layout), None, None
    same_bits(conv2d.conv2d_backward(dy, x, w, out=out, **settings), (dx, dw, db))


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4", "u1"])
@pytest.mark.parametrize("shape", [(1, 1), (67, 131), (3, 5000), (4097, 1), (3, 5, 70, 61)])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_db_is_the_sum_of_dy(small_in_parallel, level, dtype, shape, num_threads):
    """Of planes and of batches: small integers, whose sums are exact, each once, in any layout."""
    rng = np.random.default_rng(3)
    dy = rng.integers(0, 3, shape).astype(dtype)
    axes = None if dy.ndim == 2 else (0, 2, 3)
    expected = dy.sum(axis=axes, dtype=dtype)
    w = np.ones((3, 1) if dy.ndim == 2 else (dy.shape[1], 1, 3, 3), dtype)
    x = dy if dy.ndim == 2 else np.ones((len(dy), 1, *dy.shape[2:]), dtype)
    for layout in ("C", "flipped", "wide"):
        if layout == "wide":
            laid = np.zeros((*dy.shape[:-1], dy.shape[-1] + 5), dtype)[..., :-5]
            laid[...] = dy
        else:
            laid = lay(dy, layout)
        for need in ("db", ("dw", "db"), ("dx", "dw", "db")):
            db = conv2d.conv2d_backward(laid, x, w, need=need, num_threads=num_threads).db
            np.testing.assert_array_equal(db, expected)


def test_db_of_very_many_images():
    """More planes than there are sums of planes."""
    dy = np.ones((2**19 + 7, 3, 1, 1), np.float32)
    dy[-1, 2] = 5
    db = conv2d.conv2d_backward(dy, dy, np.ones((3, 3, 1, 1), np.float32), need="db").db
    np.testing.assert_array_equal(db, [2**19 + 7, 2**19 + 7, 2**19 + 11])


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
