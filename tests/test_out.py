"""`out` is as a ufunc's: of any layout, cast as same_kind, free to overlap, returned."""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    MODES,
    Guarded,
    Problem,
    answer,
    compute,
    exact_answer,
    lay,
    same,
    small_integers,
)

import conv2d

PROBLEM = Problem((30, 41), (5, 4))
CALLS = {
    "y": lambda a, out, **s: conv2d.conv2d(a.x, a.w, a.b, out=out, **s),
    "dx": lambda a, out, **s: conv2d.conv2d_input(PROBLEM.x, a.w, a.dy, out=out, **s),
    "dw": lambda a, out, **s: conv2d.conv2d_weight(a.x, PROBLEM.w, a.dy, out=out, **s),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("step", [1, 2, -1, -3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides(level, name, step, dtype):
    """Nothing between the elements, or around them, is written."""
    arrays, expected = small_integers(PROBLEM).astype(dtype), exact_answer(PROBLEM).astype(dtype)
    for mode in ("zeros", "wrap"):
        shape = getattr(expected, name).shape
        guarded = Guarded(shape, dtype, step)
        assert CALLS[name](arrays, guarded.array, padding_mode=mode) is guarded.array
        result = guarded.take()
        if mode == "zeros":
            same((result,), (getattr(expected, name),))
        flipped = Guarded(shape[::-1], dtype)
        CALLS[name](arrays, flipped.array.T, padding_mode=mode)
        np.testing.assert_array_equal(flipped.take().T, result)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("layout", ["swapped", "unaligned", "mapped"])
def test_layouts(name, layout):
    for dtype in ("f4", "i8"):
        arrays = small_integers(PROBLEM).astype(dtype)
        expected = getattr(exact_answer(PROBLEM), name)
        out = lay(np.zeros(expected.shape, dtype), layout)
        assert CALLS[name](arrays, out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("dtype", "target"), [(a, b) for a in DTYPES for b in DTYPES])
def test_types(name, dtype, target):
    arrays = small_integers(PROBLEM).astype(dtype)
    expected = getattr(exact_answer(PROBLEM), name).astype(dtype)
    guarded = Guarded(expected.shape, target)
    if np.can_cast(dtype, target, "same_kind"):
        with np.errstate(over="ignore"):
            assert CALLS[name](arrays, guarded.array) is guarded.array
            same((guarded.take(),), (expected.astype(target),))
    else:
        with pytest.raises(TypeError, match=rf"^out has dtype {np.dtype(target)}.*cast"):
            CALLS[name](arrays, guarded.array)
        assert guarded.untouched()


def test_float64_in_a_float32_out_is_rounded_once(level):
    x = np.random.default_rng(0).standard_normal((20, 30))
    out = np.empty((20, 30), np.float32)
    conv2d.conv2d(x, x[:3, :3], out=out)
    np.testing.assert_array_equal(out, conv2d.conv2d(x, x[:3, :3]).astype(np.float32))


# Overlaps


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8"])
@pytest.mark.parametrize("shift", [0, 1, 5, 41, 47, 90, -90, -43])
def test_overlap(level, dtype, mode, shift):
    """`out` in the memory of each input in turn, and moved a little."""
    problem = PROBLEM._replace(mode=mode)
    whole = small_integers(problem)
    if shift == 0:
        whole = whole._replace(w=whole.w[:, :1])
    expected = answer(whole, problem).astype(dtype)
    for name, operands in (("y", "xw"), ("dx", ("w", "dy")), ("dw", ("x", "dy"))):
        for operand in operands:
            memory = np.zeros(3000, dtype)
            arrays = whole.astype(dtype)
            shape, size = getattr(arrays, operand).shape, getattr(arrays, operand).size
            shared = memory[700 : 700 + size].reshape(shape)
            shared[...] = getattr(arrays, operand)
            arrays = arrays._replace(**{operand: shared})
            result = getattr(expected, name)
            out = memory[700 + shift :][: result.size].reshape(result.shape)
            x, w, b, dy = arrays
            if name == "y":
                conv2d.conv2d(x, w, b, padding_mode=mode, out=out, num_threads=2)
            elif name == "dx":
                conv2d.conv2d_input(x.shape, w, dy, padding_mode=mode, out=out, num_threads=2)
            else:
                conv2d.conv2d_weight(x, w.shape, dy, padding_mode=mode, out=out, num_threads=2)
            same((out,), (result,))


LAYERS = [
    Problem((2, 5, 6, 7), (5, 5, 3, 3)),
    Problem((2, 5, 6, 7), (5, 5, 1, 1)),
    Problem((2, 9, 6, 7), (9, 1, 3, 3), groups=9),
    Problem((2, 9, 6, 7), (9, 1, 3, 3), stride=2, groups=9),
    Problem((9, 40, 3, 3), (40, 40, 3, 2), "same_lower"),
    Problem((3, 30, 31), (3, 1, 3, 3), groups=3),
]


@pytest.mark.parametrize("dtype", ["f4", "f2", "i8"])
@pytest.mark.parametrize("problem", LAYERS)
@pytest.mark.parametrize("shift", [0, 1, 7, -43])
def test_overlap_of_layers(level, dtype, problem, shift):
    whole, expected = small_integers(problem), exact_answer(problem).astype(dtype)
    for name, operands in (("y", "xwb"), ("dx", ("w", "dy")), ("dw", ("x", "dy"))):
        for operand in operands:
            memory = np.zeros(12_000, dtype)
            arrays = whole.astype(dtype)
            mine = getattr(arrays, operand)
            shared = memory[100 : 100 + mine.size].reshape(mine.shape)
            shared[...] = mine
            x, w, b, dy = arrays._replace(**{operand: shared})
            result = getattr(expected, name)
            out = memory[100 + shift :][: result.size].reshape(result.shape)
            settings = {**problem.settings, "out": out, "num_threads": 2}
            if name == "y":
                conv2d.conv2d(x, w, b, **settings)
            elif name == "dx":
                conv2d.conv2d_input(x.shape, w, dy, **settings)
            else:
                conv2d.conv2d_weight(x, w.shape, dy, **settings)
            same((out,), (result,))


@pytest.mark.parametrize("target", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("problem", LAYERS)
def test_casts_of_layers(level, problem, dtype, target):
    arrays, expected = small_integers(problem).astype(dtype), exact_answer(problem).astype(dtype)
    outs = [Guarded(result.shape, target, -2) for result in expected[:3]]
    x, w, b, dy = arrays
    conv2d.conv2d(x, w, b, out=outs[0].array, **problem.settings)
    conv2d.conv2d_input(x.shape, w, dy, out=outs[1].array, **problem.settings)
    conv2d.conv2d_weight(x, w.shape, dy, out=outs[2].array, **problem.settings)
    for out, result in zip(outs, expected, strict=False):
        np.testing.assert_array_equal(out.take(), result.astype(target))


def test_failures_of_layers_leave_out_as_it_was():
    for problem in LAYERS:
        arrays, expected = small_integers(problem).astype("f8"), exact_answer(problem)
        x, w, b, dy = arrays
        outs = [Guarded(result.shape, "f8") for result in expected]
        calls = (
            lambda x=x, w=w, b=b, **s: conv2d.conv2d(x, w, b, **s),
            lambda x=x, w=w, dy=dy, **s: conv2d.conv2d_input(x.shape, w, dy, **s),
            lambda x=x, w=w, dy=dy, **s: conv2d.conv2d_weight(x, w.shape, dy, **s),
        )
        for bad in ({"stride": 0}, {"dilation": 0}, {"groups": 999}, {"num_threads": 0}):
            for call, out in zip(calls, outs, strict=False):
                with pytest.raises(ValueError, match=f"^{next(iter(bad))} "):
                    call(**{**problem.settings, **bad}, out=out.array)
                assert out.untouched()
        gradients = tuple(out.array for out in outs[1:])
        with pytest.raises(ValueError, match=r"^out of db has shape"):
            conv2d.conv2d_backward(
                dy, x, w, out=(*gradients[:2], gradients[2][:-1]), **problem.settings
            )
        assert all(out.untouched() for out in outs)


def test_backward_of_a_layer_overlaps(level):
    """dx over dy, dw over w, db over b's place in x."""
    problem = LAYERS[0]
    (x, w, _, dy), expected = small_integers(problem).astype("f4"), exact_answer(problem)
    grads = conv2d.conv2d_backward(dy, x, w, out=(dy, w, x[0, 0, 0, :5]), **problem.settings)
    same(grads, expected.astype("f4")[1:])


def test_overlap_with_the_bias(level):
    memory = np.arange(12.0).reshape(3, 4)
    x, w = np.ones((3, 4)), np.ones((1, 1))
    conv2d.conv2d(x, w, memory[1, 1:2], out=memory)
    np.testing.assert_array_equal(memory, np.full((3, 4), 6.0))


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_backward_overlaps(level, dtype):
    """dx over dy, dw over w, db within x: none of the results changes an input of the next."""
    arrays, expected = small_integers(PROBLEM).astype(dtype), exact_answer(PROBLEM).astype(dtype)
    x, w, _, dy = (array.copy() for array in arrays)
    outs = dy, w, x[3, 7:8].reshape(())
    grads = conv2d.conv2d_backward(dy, x, w, out=outs)
    for got, out in zip(grads, outs, strict=True):
        assert got is out
    same(grads, expected[1:])


def test_backward_out_over_another_input(level):
    arrays, expected = small_integers(PROBLEM).astype("f4"), exact_answer(PROBLEM).astype("f4")
    x, w, _, dy = (array.copy() for array in arrays)
    grads = conv2d.conv2d_backward(dy, x, w, out=(x, dy[2:7, 3:7], None))
    same(grads, expected[1:])


@pytest.mark.parametrize("need", ["dx", "dw", "db", ("dx", "db")])
def test_backward_leaves_alone_what_is_not_needed(need):
    arrays, expected = small_integers(PROBLEM).astype("f8"), exact_answer(PROBLEM).astype("f8")
    x, w, _, dy = arrays
    outs = [Guarded(result.shape, "f8") for result in expected[1:]]
    grads = conv2d.conv2d_backward(dy, x, w, need=need, out=tuple(out.array for out in outs))
    for name, out, grad in zip(("dx", "dw", "db"), outs, grads, strict=True):
        if name in need:
            assert grad is out.array
            same((out.take(),), (getattr(expected, name),))
        else:
            assert grad is None
            assert out.untouched()


# Refused, and left as it was

BAD = [
    (lambda out: out[:-1], ValueError, r"^{}has shape \(\d*,?.*\), expected \("),
    (lambda out: out[..., None], ValueError, r"^{}has shape .*expected"),
    (lambda out: np.zeros(out.shape, "i4"), TypeError, r"^{}has dtype int32"),
    (lambda out: out.tolist(), TypeError, r"^{}is a list"),
    (lambda out: lay(out, "read-only"), ValueError, r"^{}is read-only"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BAD)
@pytest.mark.parametrize("name", CALLS)
def test_refused(name, spoil, error, message):
    arrays = small_integers(PROBLEM).astype("f8")
    out = np.full(getattr(exact_answer(PROBLEM), name).shape, 7.0)
    with pytest.raises(error, match=message.format("out ")):
        CALLS[name](arrays, spoil(out))
    assert (out == 7).all()


@pytest.mark.parametrize(("spoil", "error", "message"), BAD)
@pytest.mark.parametrize("which", [0, 1])
def test_refused_by_backward(which, spoil, error, message):
    """Before any of the three is written."""
    x, w, _, dy = small_integers(PROBLEM).astype("f8")
    outs = [Guarded(result.shape, "f8") for result in exact_answer(PROBLEM)[1:]]
    given = [out.array for out in outs]
    given[which] = spoil(given[which])
    with pytest.raises(error, match=message.format("out .*")):
        conv2d.conv2d_backward(dy, x, w, out=tuple(given))
    assert all(out.untouched() for out in outs)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"padding": -1}, ValueError),
        ({"padding": (1, 2, 3, 4)}, ValueError),
        ({"padding": None}, TypeError),
        ({"padding": "valid"}, ValueError),
        ({"padding_mode": "circular"}, ValueError),
        ({"algorithm": "magic"}, ValueError),
        ({"num_threads": 0}, ValueError),
        ({"num_threads": 1.5}, TypeError),
    ],
)
def test_a_failed_call_leaves_out_as_it_was(settings, error):
    arrays = small_integers(PROBLEM).astype("f8")
    results = exact_answer(PROBLEM)
    for name, call in CALLS.items():
        guarded = Guarded(getattr(results, name).shape, "f8")
        with pytest.raises(error):
            call(arrays, guarded.array, **settings)
        assert guarded.untouched()
    outs = [Guarded(result.shape, "f8") for result in results[1:]]
    with pytest.raises(error):
        conv2d.conv2d_backward(
            arrays.dy, arrays.x, arrays.w, out=tuple(out.array for out in outs), **settings
        )
    assert all(out.untouched() for out in outs)


def test_the_result_is_new_without_out():
    arrays = small_integers(PROBLEM).astype("f4")
    one = compute(arrays, PROBLEM)
    for result in one:
        assert result.flags.owndata or result.base is not None
        assert not any(np.may_share_memory(result, array) for array in arrays)
        assert result.flags.writeable
