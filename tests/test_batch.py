"""Y and dX of an image are bit for bit the same alone and in a batch, and of an image of rank 3."""

import numpy as np
import pytest
from helpers import MODES, Problem, draw, same_bits

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
    "depthwise, large planes": Problem((3, 9, 60, 50), (9, 1, 5, 5), groups=9),
    "groups": Problem((5, 12, 9, 10), (18, 4, 3, 3), groups=3),
    "dilation": Problem((3, 8, 20, 21), (7, 8, 3, 3), dilation=3),
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
