"""Layers and their gradients agree with PyTorch in float64, where it is installed."""

import numpy as np
import pytest
from helpers import Problem, draw, pair, same

import conv2d

torch = pytest.importorskip("torch")
SEEDS = range(150)
TORCH_MODES = {"zeros": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def random_problem(seed):
    """Layers of up to some thousand elements, padded in numbers, as PyTorch has no other names."""
    rng = np.random.default_rng(seed)

    def pick(low, high):
        return tuple(rng.integers(low, high, 2).tolist())

    w, stride, dilation = pick(1, 5), pick(1, 4), pick(1, 4)
    sides = tuple(d * (n - 1) + 1 + k for d, n, k in zip(dilation, w, pick(0, 20), strict=True))
    mode = str(rng.choice(list(TORCH_MODES)))
    padding = tuple(pick(0, min(side, 5)) for side in sides)
    groups = int(rng.choice([1, 1, 2, 3, 7]))
    channels, filters = int(rng.integers(1, 9)), int(rng.choice([1, 2, 6, 7, 40]))
    if rng.random() < 0.2:
        channels, groups, filters = 1, int(rng.integers(2, 40)), int(rng.integers(1, 3))
    x = int(rng.integers(1, 4)), groups * channels, *sides
    return Problem(x, (groups * filters, channels, *w), padding, mode, stride, dilation, groups)


def small_integers(shape):
    return np.random.default_rng(shape).integers(-5, 6, shape).astype("f8")


def by_torch(arrays, problem):
    """Y, dX, dW and db, the padding made by torch.nn.functional.pad."""
    x, w, b, dy = (torch.from_numpy(array) for array in arrays)
    for array in (x, w, b):
        array.requires_grad_()
    (top, bottom), (left, right) = problem.padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom), mode=TORCH_MODES[problem.mode])
    settings = problem.stride, 0, problem.dilation, problem.groups
    y = torch.nn.functional.conv2d(padded, w, b, *settings)
    y.backward(dy)
    return [array.detach().numpy() for array in (y, x.grad, w.grad, b.grad)]


@pytest.mark.parametrize("seed", SEEDS)
def test_layers(level, seed):
    """Small integers, which float64 holds exactly, so in all types."""
    problem = random_problem(seed)
    arrays = draw(problem, small_integers)
    expected = by_torch(arrays, problem)
    for dtype in ("f8", "f4", "i8"):
        x, w, b, dy = arrays.astype(dtype)
        y = conv2d.conv2d(x, w, b, **problem.settings)
        gradients = conv2d.conv2d_backward(dy, x, w, **problem.settings)
        same((y, *gradients), [array.astype(dtype) for array in expected])


@pytest.mark.parametrize("seed", SEEDS)
def test_transposed(level, seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed)
    stride, dilation = pair(problem.stride), pair(problem.dilation)
    x = problem.x[0], problem.w[0], *rng.integers(1, 12, 2).tolist()
    shapes = x, problem.w, (problem.w[1] * problem.groups,)
    x, w, b = (small_integers(shape) for shape in shapes)
    settings = {
        "stride": stride,
        "dilation": dilation,
        "groups": problem.groups,
        "padding": tuple(
            int(rng.integers(0, (d * (taps - 1)) // 2 + 1))
            for d, taps in zip(dilation, problem.w[2:], strict=True)
        ),
        "output_padding": tuple(
            int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)
        ),
    }
    expected = torch.nn.functional.conv_transpose2d(
        *map(torch.from_numpy, (x, w, b)), **settings
    ).numpy()
    for dtype in ("f8", "f4", "i8"):
        ours = conv2d.conv_transpose2d(*(a.astype(dtype) for a in (x, w, b)), **settings)
        same((ours,), (expected.astype(dtype),))


LISTS = {
    "resnet": Problem((2, 64, 56, 56), (64, 64, 3, 3)),
    "resnet, stride": Problem((1, 128, 28, 28), (256, 128, 1, 1), stride=2),
    "resnet, first": Problem((1, 3, 112, 112), (64, 3, 7, 7), stride=2),
    "resnet, last": Problem((2, 512, 7, 7), (512, 512, 3, 3)),
    "mobilenet": Problem((1, 96, 56, 56), (96, 1, 3, 3), groups=96),
    "mobilenet, stride": Problem((2, 96, 56, 56), (96, 1, 3, 3), stride=2, groups=96),
    "mobilenet, last": Problem((2, 480, 7, 7), (480, 1, 3, 3), groups=480),
    "resnext": Problem((2, 128, 28, 28), (128, 4, 3, 3), groups=32),
    "dilated": Problem((1, 48, 33, 33), (64, 48, 3, 3), dilation=6),
    "digits": Problem((64, 16, 8, 8), (32, 16, 3, 3)),
    "wide": Problem((1, 3, 40, 1100), (8, 3, 5, 5)),
    "dense": Problem((32, 256, 1, 1), (100, 256, 1, 1)),
}


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_layers_of_networks(level, name, num_threads):
    """Sizes that are cut into blocks, and that threads share."""
    named = LISTS[name]
    before = [
        conv2d.problem._named_padding("same", d * (taps - 1) + 1, size, s)
        for d, taps, size, s in zip(
            pair(named.dilation), named.w[2:], named.x[2:], pair(named.stride), strict=True
        )
    ]
    problem = named._replace(padding=tuple(before))
    arrays = draw(problem, small_integers)
    x, w, b, dy = arrays.astype("f4")
    settings = {**named.settings, "num_threads": num_threads}
    y = conv2d.conv2d(x, w, b, **settings)
    gradients = conv2d.conv2d_backward(dy, x, w, **settings)
    same((y, *gradients), [array.astype("f4") for array in by_torch(arrays, problem)])
