"""Shapes, paddings, modes, types, layouts, out and threads, all together, against the oracle."""

from functools import partial

import numpy as np
from helpers import DTYPES, LAYOUTS, MODES, Guarded, Problem, draw, lay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import conv2d
from conv2d import reference

SETTINGS = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SIDES = st.tuples(st.integers(0, 9), st.integers(0, 9))
PADDINGS = st.one_of(
    st.sampled_from(["same", "same_lower", "valid", "full"]),
    st.integers(0, 4),
    SIDES,
    st.tuples(SIDES, SIDES),
)


@st.composite
def problems(draw_from):
    """Planes of some vectors, larger than the filter where padding may not make up for it."""
    x = draw_from(st.integers(1, 20)), draw_from(st.integers(1, 80))
    w = draw_from(st.integers(1, 8)), draw_from(st.integers(1, 8))
    padding, mode = draw_from(PADDINGS), draw_from(st.sampled_from(MODES))
    if padding == "valid" or not isinstance(padding, str):
        x = tuple(map(max, x, w))
    return Problem(x, w, padding, mode)


@st.composite
def calls(draw_from):
    """A problem, its operands of several types and layouts, and how the results are wanted."""
    problem = draw_from(problems())
    rng = np.random.default_rng(draw_from(st.integers(0, 99)))
    arrays = []
    for array in draw(problem, lambda shape: np.asarray(rng.integers(-4, 5, shape))):
        dtype = draw_from(st.sampled_from(DTYPES))
        arrays.append((array % 5 if dtype[0] == "u" else array).astype(dtype))
    layouts = [draw_from(st.sampled_from(LAYOUTS)) for _ in range(4)]
    step = draw_from(st.sampled_from([None, 1, 2, -1, -2]))
    num_threads = draw_from(st.sampled_from([None, 1, 2, 3]))
    return problem, arrays, layouts, step, num_threads


def check(call, expected, dtype, step):
    """One result, in an `out` of this step or without."""
    if step is None:
        result = call()
    else:
        guarded = Guarded(expected.shape, dtype, step)
        assert call(out=guarded.array) is guarded.array
        result = guarded.take()
    assert result.dtype == dtype
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, expected.astype(dtype))


@SETTINGS
@given(call=calls())
def test_all_together(small_in_parallel, level, call):
    problem, (x, w, b, dy), layouts, step, num_threads = call
    b = b.reshape(1)
    laid_x, laid_w, laid_dy = map(lay, (x, w, dy), layouts)
    own = {**problem.settings, "num_threads": num_threads}
    singles = (
        (conv2d.conv2d, reference.conv2d, (laid_x, laid_w, b), (x, w, b)),
        (conv2d.conv2d_input, reference.conv2d_input, (x.shape, laid_w, laid_dy), (x.shape, w, dy)),
        (
            conv2d.conv2d_weight,
            reference.conv2d_weight,
            (laid_x, w.shape, laid_dy),
            (x, w.shape, dy),
        ),
    )
    for ours, theirs, laid, plain in singles:
        dtype = np.result_type(*(array for array in plain if isinstance(array, np.ndarray)))
        expected = theirs(*plain, **problem.settings)
        check(partial(ours, *laid, **own), expected, dtype, step)
    grads = conv2d.conv2d_backward(laid_dy, laid_x, laid_w, **own)
    wanted = reference.conv2d_backward(dy, x, w, **problem.settings)
    types = np.result_type(dy, w), np.result_type(x, dy), dy.dtype
    for grad, expected, dtype in zip(grads, wanted, types, strict=True):
        check(lambda grad=grad: grad, expected, dtype, None)
