"""Train a small network on handwritten digits with conv2d and NumPy: `python examples/digits.py`.

The 1,797 digits of 8x8 pixels come with scikit-learn, which does nothing else here. Read it from
top to bottom: the data, one layer, the network, the loss, the training.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from conv2d import conv2d, conv2d_backward

Array = NDArray[np.float32]

# ---------------------------------------------------------------------------------------- the data


def load(held_out: int = 360) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    """Images (N, 1, 8, 8) in 0...1 and labels 0...9, shuffled; the last ones are held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order]
    return x[:-held_out], x[-held_out:], labels[:-held_out], labels[-held_out:]


# --------------------------------------------------------------------------------------- one layer


@dataclass
class Convolution:
    """A convolution that remembers its input, and moves along its gradients by Adam's rule.

    A layer needs three things from a library: y from x, and, when dy comes back from the layers
    after it, dw and db for itself and dx for the layer before it.
    """

    w: Array  # (filters, channels, rows, columns)
    options: dict[str, object] = field(default_factory=dict)  # stride, padding, ...

    def __post_init__(self) -> None:
        """The bias, and Adam's running averages of each gradient and of its square."""
        self.b = np.zeros(len(self.w), self.w.dtype)
        self.steps = 0
        self.averages = [(np.zeros_like(p), np.zeros_like(p)) for p in (self.w, self.b)]

    def forward(self, x: Array) -> Array:
        """Y from X."""
        self.x = x
        return conv2d(x, self.w, self.b, **self.options)

    def backward(self, dy: Array, need: tuple[str, ...] = ("dx", "dw", "db")) -> Array | None:
        """The gradients from that of Y: those of W and b are kept, that of X goes on."""
        dx, self.dw, self.db = conv2d_backward(dy, self.x, self.w, need=need, **self.options)
        return dx

    def step(self, rate: float) -> None:
        """One step of Adam (Kingma and Ba, 2015), with its usual settings 0.9, 0.999 and 1e-8."""
        self.steps += 1
        gradients = zip((self.w, self.b), (self.dw, self.db), self.averages, strict=True)
        for parameter, gradient, (mean, square) in gradients:
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            unbiased = np.sqrt(square / (1 - 0.999**self.steps)) + 1e-8
            parameter -= rate * mean / (1 - 0.9**self.steps) / unbiased


# ------------------------------------------------------------------------------------- the network


class Network:
    """Three convolutions with ReLU between them: 8x8 pixels, 8x8, 4x4, then one score a digit.

    The second steps by two pixels, instead of pooling. The third has filters as large as what it
    sees, and no padding: that is what other libraries call a fully connected layer.
    """

    def __init__(self, seed: int = 1) -> None:
        """Random filters."""
        random = np.random.default_rng(seed)

        def layer(filters: int, channels: int, side: int, **options: object) -> Convolution:
            scale = np.sqrt(2 / (channels * side * side))  # keeps the spread of values (He, 2015)
            w = scale * random.standard_normal((filters, channels, side, side))
            return Convolution(w.astype(np.float32), options)

        self.layers = [
            layer(16, 1, 3),
            layer(32, 16, 3, stride=2),
            layer(10, 32, 4, padding="valid"),
        ]

    def forward(self, x: Array) -> Array:
        """Scores (N, 10)."""
        *hidden, last = self.layers
        self.positive = []
        for layer in hidden:
            x = layer.forward(x)
            self.positive.append(x > 0)
            x = np.maximum(x, 0)
        return last.forward(x)[:, :, 0, 0]

    def backward(self, dy: Array) -> None:
        """The gradients of all layers, from that of the scores: the chain rule, from the end on."""
        first, *others = self.layers
        dy = dy[:, :, None, None]
        for layer, positive in zip(reversed(others), reversed(self.positive), strict=True):
            dy = layer.backward(dy) * positive
        first.backward(dy, need=("dw", "db"))  # the pixels need no gradient


# ---------------------------------------------------------------------------------------- the loss


def cross_entropy(scores: Array, labels: NDArray[np.intp]) -> tuple[float, Array]:
    """The mean of -log softmax(scores)[label], and its gradient in the scores."""
    scores = scores - scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    chances /= chances.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(chances[rows, labels]).mean()
    gradient = chances
    gradient[rows, labels] -= 1
    return float(loss), gradient / len(labels)


def accuracy(network: Network, x: Array, labels: NDArray[np.intp]) -> float:
    """The share of digits that are read rightly."""
    return float((network.forward(x).argmax(axis=1) == labels).mean())


# ------------------------------------------------------------------------------------ the training


def train(epochs: int, batch: int = 32) -> tuple[Network, float]:
    """Train from scratch, telling how it goes; also gives the accuracy on the held-out digits."""
    x, x_held, labels, labels_held = load()
    network, random = Network(), np.random.default_rng(2)
    start = perf_counter()
    for epoch in range(1, epochs + 1):
        rate, losses = 0.003 * (1 - (epoch - 1) / epochs), []
        for chosen in np.split(random.permutation(len(x)), range(batch, len(x), batch)):
            loss, gradient = cross_entropy(network.forward(x[chosen]), labels[chosen])
            losses.append(loss)
            network.backward(gradient)
            for layer in network.layers:
                layer.step(rate)
        right = accuracy(network, x_held, labels_held)
        print(
            f"epoch {epoch:2}: loss {np.mean(losses):.4f}, {right:.2%} of {len(x_held)} held-out "
            f"digits, {perf_counter() - start:.1f} s"
        )
    return network, right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    train(parser.parse_args().epochs)
