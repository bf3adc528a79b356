"""What the demo computes: known filters, one learnt with dW, a blur undone with dX, a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage
from scipy.signal import windows
from skimage import color, data
from skimage.metrics import peak_signal_noise_ratio

import conv2d

Plane = NDArray[np.float32]
Step = tuple[Plane, float]

NOISE = 0.002  # standard deviation; half a grey level of 255
SMOOTHNESS = 3e-4
SECOND_DIFFERENCES = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)
DRAWN = {  # the values drawn black and white, and what to look at
    "Identity": (0, 1, "A single 1: nothing changes. This is the original."),
    "Blur": (0, 1, "A mean that counts near pixels most: details melt."),
    "Sharpen": (0, 1, "Each pixel pushed away from its neighbours: details and noise grow."),
    "Sobel, across": (-2, 2, "Right minus left. Grey is no change."),
    "Sobel, down": (-2, 2, "Below minus above. Grey is no change."),
    "Edge strength": (0, 2, "The two taken together: outlines light up."),
    "Spots": (0, 0.04, "Laplacian of Gaussian: small spots stay, wide ones fade. Brightened."),
    "A shaken camera": (0, 1, "Every star takes the filter's shape. See section 2."),
}


class Filtered(NamedTuple):
    """A picture after a known filter, and the greys that are drawn black and white."""

    name: str
    filters: list[Plane]
    picture: Plane
    black: float
    white: float
    caption: str


class Layer(NamedTuple):
    """A picture through a bank of filters at once."""

    filters: Plane  # (8, 1, rows, columns)
    pictures: Plane  # (8, rows, columns)
    stride: int


class Learnt(NamedTuple):
    """A filter found from a picture before and after it."""

    true: Plane
    history: list[Plane]  # after each step
    losses: list[float]  # root mean square of conv(x, w) - y
    before: Plane
    after: Plane

    @property
    def found(self) -> Plane:
        """The filter after the last step."""
        return self.history[-1]

    @property
    def error(self) -> float:
        """Norm of the difference between the filter found and the true one, relative."""
        return float(np.linalg.norm(self.found - self.true) / np.linalg.norm(self.true))


class Restored(NamedTuple):
    """A picture whose blur was undone. The margins that the filter looks past are left out."""

    true: Plane
    blurred: Plane
    restored: Plane
    losses: list[float]  # root mean square of conv(x, w) - y

    @property
    def psnr(self) -> tuple[float, float]:
        """Decibels before and after."""
        before, after = (
            float(peak_signal_noise_ratio(self.true, picture, data_range=1))
            for picture in (self.blurred, self.restored)
        )
        return before, after


def load_picture() -> Plane:
    """The Hubble eXtreme Deep Field (NASA, public domain), which scikit-image carries; 0 to 1."""
    return color.rgb2gray(data.hubble_deep_field()).astype(np.float32)


def hook(size: int = 15) -> Plane:
    """Where a camera that moves along a hook leaves the light of one star."""
    stops = np.array([[2.2, 2.5], [4.5, 6], [8.2, 9], [11.5, 10.3], [12.3, 6.8], [10, 4.6]])
    path = interpolate.make_interp_spline(np.linspace(0, 1, len(stops)), stops * size / 15)
    rows, cols = path(np.linspace(0, 1, 4000)).T
    frame = [[-0.5, size - 0.5]] * 2
    w = ndimage.gaussian_filter(np.histogram2d(rows, cols, size, frame)[0], 0.6, mode="constant")
    return (w / w.sum()).astype(np.float32)


def blob_filter(size: int = 13, sigma: float = 2.0) -> Plane:
    """The Laplacian of Gaussian, turned so that bright spots come out bright."""
    point = np.zeros((size, size))
    point[size // 2, size // 2] = 1
    w = -ndimage.gaussian_laplace(point, sigma, mode="constant")
    return (w - w.mean()).astype(np.float32)


def filter_bank() -> dict[str, list[Plane]]:
    """Filters that everyone knows, by the names of DRAWN."""
    identity = np.zeros((3, 3), np.float32)
    identity[1, 1] = 1
    bell = windows.gaussian(9, 2.0)
    return {
        "Identity": [identity],
        "Blur": [(np.outer(bell, bell) / bell.sum() ** 2).astype(np.float32)],
        "Sharpen": [SHARPEN],
        "Sobel, across": [SOBEL],
        "Sobel, down": [SOBEL.T],
        "Edge strength": [SOBEL, SOBEL.T],
        "Spots": [blob_filter()],
        "A shaken camera": [hook()],
    }


def known_filters(x: Plane) -> Iterator[Filtered]:
    """The picture through each filter; of two filters, the length of what they give together."""
    for name, filters in filter_bank().items():
        results = [conv2d.conv2d(x, w) for w in filters]
        picture = results[0] if len(results) == 1 else np.hypot(*results)
        yield Filtered(name, filters, picture, *DRAWN[name])


def edges_and_lines(size: int = 13, sigma: float = 2.0) -> Plane:
    """Gaussian derivatives, the first and the second, in four directions: (8, 1, size, size)."""
    point = np.zeros((size, size))
    point[size // 2, size // 2] = 1
    across, down, bent, crossed, curved = (
        ndimage.gaussian_filter(point, sigma, order=order, mode="constant")
        for order in ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
    )
    angles = [(np.cos(angle), np.sin(angle)) for angle in np.pi / 4 * np.arange(4)]
    edges = [-(c * across + s * down) for c, s in angles]
    lines = [-(c * c * bent + 2 * c * s * crossed + s * s * curved) for c, s in angles]
    bank = np.stack([w - w.mean() for w in edges + lines])
    bank /= np.abs(bank).sum(axis=(1, 2), keepdims=True)
    return bank[:, None].astype(np.float32)


def layer(x: Plane, stride: int = 4) -> Layer:
    """The picture as an image of one channel, through all filters in one call."""
    filters = edges_and_lines()
    return Layer(filters, conv2d.conv2d(x[None], filters, stride=stride), stride)


def blurred(x: Plane, w: Plane, rng: np.random.Generator) -> Plane:
    """The picture through the filter, with the noise of a camera."""
    return conv2d.conv2d(x, w) + rng.normal(0, NOISE, x.shape).astype(np.float32)


def descend(
    start: Plane,
    slope: Callable[[Plane], tuple[float, Plane]],
    rate: float,
    allowed: Callable[[Plane], Plane] = lambda v: v,
) -> Iterator[Step]:
    """Nesterov's accelerated gradient descent; the speed is lost when a step goes uphill."""
    v = ahead = start
    t = 1.0
    while True:
        loss, gradient = slope(ahead)
        new = allowed(ahead - rate * gradient)
        if np.vdot(ahead - new, new - v) > 0:
            t = 1.0
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ahead = new + np.float32((t - 1) / t_new) * (new - v)
        v, t = new, t_new
        yield v, loss


def learn_filter(x: Plane, y: Plane, true: Plane, steps: Iterable[int]) -> Learnt:
    """Descend on `|conv(x, w) - y|^2 / 2` in w from zero, without the pixels that look outside."""
    rows, cols = (n // 2 for n in true.shape)
    target = np.ascontiguousarray(y[rows:-rows, cols:-cols])

    def slope(w: Plane) -> tuple[float, Plane]:
        residual = conv2d.conv2d(x, w, padding="valid") - target
        dw = conv2d.conv2d_weight(x, w.shape, residual, padding="valid")
        return float(np.sqrt(np.vdot(residual, residual) / residual.size)), dw

    path = descend(np.zeros_like(true), slope, 1 / largest_curvature(x, true.shape))
    history, losses = zip(*(step for _, step in zip(steps, path, strict=False)), strict=True)
    return Learnt(true, list(history), list(losses), x, y)


def largest_curvature(x: Plane, shape: tuple[int, ...]) -> float:
    """The largest eigenvalue of `w -> dW(conv(x, w))`, by power iteration."""
    w, size = np.ones(shape, np.float32), 1.0
    for _ in range(15):
        w = w / np.linalg.norm(w)
        w = conv2d.conv2d_weight(x, shape, conv2d.conv2d(x, w, padding="valid"), padding="valid")
        size = float(np.linalg.norm(w))
    return size


def restore(y: Plane, w: Plane, true: Plane, steps: Iterable[int]) -> Restored:
    """Descend on `|conv(x, w) - y|^2 / 2 + SMOOTHNESS / 2 |second differences|^2` in x >= 0."""
    rows, cols = (n // 2 for n in w.shape)
    inner = slice(rows, -rows), slice(cols, -cols)
    target = np.ascontiguousarray(y[inner])

    def slope(x: Plane) -> tuple[float, Plane]:
        residual = conv2d.conv2d(x, w, padding="valid") - target
        rough = conv2d.conv2d(x, SECOND_DIFFERENCES, padding="valid")
        dx = conv2d.conv2d_input(x.shape, w, residual, padding="valid")
        dx += SMOOTHNESS * conv2d.conv2d_input(x.shape, SECOND_DIFFERENCES, rough, padding="valid")
        return float(np.sqrt(np.vdot(residual, residual) / residual.size)), dx

    curvature = np.abs(w).sum() ** 2 + SMOOTHNESS * np.abs(SECOND_DIFFERENCES).sum() ** 2
    path = descend(y, slope, 1 / float(curvature), lambda x: np.maximum(x, 0))
    losses = []
    for _, step in zip(steps, path, strict=False):
        x, loss = step
        losses.append(loss)
    return Restored(true[inner], target, x[inner], losses)
