"""All arguments together, and types, layouts, out and threads, against the oracle."""

from functools import partial

import numpy as np
from helpers import DTYPES, LAYOUTS, MODES, Guarded, Problem, draw, lay, pair
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
SIDE = st.integers(1, 9)
SIDES = st.tuples(st.integers(0, 9), st.integers(0, 9))
PADDINGS = st.one_of(
    st.sampled_from(["same", "same_lower", "valid", "full"]),
    st.integers(0, 4),
    SIDES,
    st.tuples(SIDES, SIDES),
)


STEPS = st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4)))


@st.composite
def planes(draw_from):
    """Planes of some vectors, larger than the filter where padding may not make up for it."""
    x = draw_from(st.integers(1, 20)), draw_from(st.integers(1, 80))
    w = draw_from(st.integers(1, 8)), draw_from(st.integers(1, 8))
    padding, mode = draw_from(PADDINGS), draw_from(st.sampled_from(MODES))
    if padding == "valid" or not isinstance(padding, str):
        x = tuple(map(max, x, w))
    return Problem(x, w, padding, mode)


@st.composite
def layers(draw_from):
    """The same with strides, dilation, and mostly with images, channels and groups."""
    x = draw_from(st.integers(1, 9)), draw_from(st.integers(1, 20))
    w = draw_from(st.integers(1, 4)), draw_from(st.integers(1, 4))
    stride, dilation = draw_from(STEPS), draw_from(STEPS)
    padding, mode = draw_from(PADDINGS), draw_from(st.sampled_from(MODES))
    if padding == "valid" or not isinstance(padding, str):
        reach = [d * (taps - 1) + 1 for d, taps in zip(pair(dilation), w, strict=True)]
        x = tuple(map(max, x, reach))
    rank, groups = draw_from(st.integers(2, 4)), draw_from(st.integers(1, 5))
    channels, filters = draw_from(st.integers(1, 4)), draw_from(st.sampled_from([1, 2, 3, 8, 34]))
    if rank == 2:
        return Problem(x, w, padding, mode, stride, dilation)
    filters = min(filters, 34 // groups)
    x = draw_from(st.integers(1, 3)), channels * groups, *x
    w = filters * groups, channels, *w
    return Problem(x[4 - rank :], w, padding, mode, stride, dilation, groups)


@st.composite
def calls(draw_from, problems):
    """A problem, its operands of several types and layouts, and how the results are wanted."""
    problem = draw_from(problems)
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


def check_all(call):
    """Every function, and conv2d_backward, which has no `out` here."""
    problem, (x, w, b, dy), layouts, step, num_threads = call
    b = np.atleast_1d(b)
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


@SETTINGS
@given(call=calls(planes()))
def test_planes(small_in_parallel, level, call):
    check_all(call)


@SETTINGS
@given(call=calls(layers()))
def test_layers(small_in_parallel, level, call):
    check_all(call)


@settings(SETTINGS, max_examples=60)
@given(call=calls(layers()))
def test_layers_in_blocks(small_in_parallel, blocks, call):
    check_all(call)


@st.composite
def transposed(draw_from):
    """A layer whose gradient in x is wanted as a layer: x, w, b, and the settings."""
    groups, stride, dilation = draw_from(st.integers(1, 4)), draw_from(STEPS), draw_from(STEPS)
    a, b = draw_from(st.integers(1, 4)), draw_from(st.integers(1, 4))
    more, padding = [], []
    for s, d, taps in zip(pair(stride), pair(dilation), (a, b), strict=True):
        more.append(draw_from(st.integers(0, max(s, d) - 1)))
        most = d * (taps - 1) + 1
        before = draw_from(st.integers(0, most - 1))
        padding.append((before, draw_from(st.integers(0, most - 1 - before))))
    rank = draw_from(st.integers(2, 4))
    x = 2, groups * draw_from(st.integers(1, 4)), *draw_from(st.tuples(SIDE, SIDE))
    w = x[1], draw_from(st.sampled_from([1, 2, 7])), a, b
    if rank == 2:
        x, w, groups = x[2:], w[2:], 1
    options = {"stride": stride, "padding": tuple(padding), "output_padding": tuple(more)}
    shapes = x[-rank:], w, (w[1] * groups if rank > 2 else 1,)
    rng = np.random.default_rng(draw_from(st.integers(0, 99)))
    operands = []
    for shape in shapes:
        dtype = draw_from(st.sampled_from(DTYPES))
        low = 0 if dtype[0] == "u" else -4
        operands.append(rng.integers(low, 5, shape).astype(dtype))
    return operands, {**options, "dilation": dilation, "groups": groups}


@SETTINGS
@given(
    case=transposed(),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2),
    step=st.sampled_from([None, 1, 2, -1]),
    num_threads=st.sampled_from([1, 3]),
)
def test_transposed(small_in_parallel, level, case, layouts, step, num_threads):
    (x, w, b), options = case
    expected = reference.conv_transpose2d(x, w, b, **options)
    call = partial(
        conv2d.conv_transpose2d,
        *map(lay, (x, w), layouts),
        b,
        **options,
        num_threads=num_threads,
    )
    check(call, expected, np.result_type(x, w, b), step)
