"""Y and dX of an image are bit for bit the same alone and in a batch, and of an image of rank 3."""

import numpy as np
import pytest
from helpers import MODES, Arrays, Problem, compute, draw, same_bits, small_integers

import conv2d

LAYERS = {
    "3x3": Problem((9, 20, 9, 11), (13, 20, 3, 3)),
    "stride": Problem((5, 20, 9, 11), (13, 20, 3, 3), stride=2),
    "one tap": Problem((5, 70, 6, 7), (13, 70, 1, 1)),
    "one tap, stride": Problem((5, 30, 7, 7), (33, 30, 1, 1), stride=2),
    "tiny planes": Problem((17, 40, 3, 3), (48, 40, 3, 3)),
    "tiny planes, stride": Problem((17, 40, 7, 7), (48, 40, 3, 3), stride=2),
    "many channels": Problem((5, 300, 7, 7), (64, 300, 3, 3)),
    "depthwise": Problem((5, 17, 9, 9), (17, 1, 3, 3), groups=17),
    "depthwise, stride": Problem((5, 17, 9, 9), (17, 1, 3, 3), stride=2, groups=17),
    "depthwise, any": Problem((5, 3, 9, 40), (3, 1, 2, 5), groups=3, stride=2),
    "depthwise, 5 x 5, stride": Problem((5, 3, 9, 40), (3, 1, 5, 5), 2, groups=3, stride=2),
    "depthwise, large planes": Problem((3, 9, 60, 50), (9, 1, 5, 5), groups=9),
    "groups": Problem((5, 12, 9, 10), (18, 4, 3, 3), groups=3),
    "dilation": Problem((3, 8, 20, 21), (7, 8, 3, 3), dilation=3),
    "whole images": Problem((17, 40, 3, 4), (70, 40, 3, 4), padding=0),
    "images of one pixel": Problem((17, 600, 1, 1), (40, 600, 1, 1)),
    "images of one pixel, many": Problem((37, 1300, 1, 1), (55, 1300, 1, 1)),
    "images of one pixel, many filters": Problem((5, 40, 1, 1), (1300, 40, 1, 1)),
    "images of one pixel, many channels": Problem((4, 4200, 1, 1), (9, 4200, 1, 1)),
    "large": Problem((3, 16, 60, 70), (16, 16, 3, 3)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("name", LAYERS)
def test_alone_and_in_a_batch(level, name, dtype, mode):
    problem = LAYERS[name]._replace(mode=mode)
    x, w, b, dy = draw(problem, np.random.default_rng(1).standard_normal).astype(dtype)
    y = conv2d.conv2d(x, w, b, **problem.settings)
    dx = conv2d.conv2d_input(x.shape, w, dy, **problem.settings)
    for n in range(len(x)):
        one = slice(n, n + 1)
        alone = (
            conv2d.conv2d(x[one], w, b, **problem.settings),
            conv2d.conv2d_input(x[one].shape, w, dy[one], **problem.settings),
        )
        same_bits(alone, (y[one], dx[one]))
        image = (
            conv2d.conv2d(x[n], w, b, **problem.settings),
            conv2d.conv2d_input(x[n].shape, w, dy[n], **problem.settings),
        )
        same_bits(image, (y[n], dx[n]))


@pytest.mark.parametrize("name", LAYERS)
def test_dw_and_db_of_rank_3(level, name):
    problem = LAYERS[name]
    x, w, _, dy = draw(problem, np.random.default_rng(2).standard_normal).astype("f4")
    _, dw, db = conv2d.conv2d_backward(dy[:1], x[:1], w, **problem.settings)
    same_bits(conv2d.conv2d_backward(dy[0], x[0], w, **problem.settings)[1:], (dw, db))


@pytest.mark.parametrize("name", LAYERS)
def test_transposed(level, name):
    problem = LAYERS[name]
    x, w, b, dy = draw(problem, np.random.default_rng(3).standard_normal).astype("f4")
    b = np.resize(b, problem.w[1] * problem.groups)
    settings = {"stride": problem.stride, "dilation": problem.dilation, "groups": problem.groups}
    y = conv2d.conv_transpose2d(dy, w, b, **settings)
    for n in range(len(x)):
        one = conv2d.conv_transpose2d(dy[n : n + 1], w, b, **settings)
        same_bits((one,), (y[n : n + 1],))
        same_bits((conv2d.conv_transpose2d(dy[n], w, b, **settings),), (y[n],))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_batch_are_sums_over_its_images(level, name, dtype):
    """Of small integers, exactly."""
    problem = LAYERS[name]
    x, w, _, dy = small_integers(problem).astype(dtype)
    whole = conv2d.conv2d_backward(dy, x, w, **problem.settings)
    parts = [conv2d.conv2d_backward(dy[n], x[n], w, **problem.settings) for n in range(len(x))]
    np.testing.assert_array_equal(whole.dw, sum(part.dw for part in parts))
    np.testing.assert_array_equal(whole.db, sum(part.db for part in parts))
    np.testing.assert_array_equal(whole.dx, np.stack([part.dx for part in parts]))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
@pytest.mark.parametrize("name", LAYERS)
def test_groups_are_layers_of_their_own(level, name, dtype):
    """Two groups of the same layer beside each other, and those that it has, one by one."""
    problem = LAYERS[name]
    arrays = small_integers(problem).astype(dtype)
    x, w, b, dy = arrays
    both = Arrays(
        np.concatenate([x, x[:, ::-1]], 1),
        np.concatenate([w, 2 * w]),
        np.concatenate([b, b]),
        np.concatenate([dy, dy[..., ::-1]], 1),
    )
    twice = problem._replace(groups=2 * problem.groups)
    halves = arrays, arrays._replace(x=x[:, ::-1], w=2 * w, dy=dy[..., ::-1])
    one, two = (compute(half, problem) for half in halves)
    together = compute(both, twice)
    for result, axis in (("y", 1), ("dx", 1), ("dw", 0), ("db", 0)):
        parts = [getattr(one, result), getattr(two, result)]
        np.testing.assert_array_equal(getattr(together, result), np.concatenate(parts, axis))
