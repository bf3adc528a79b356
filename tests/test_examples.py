"""The examples learn what they say, by the right gradients, and the same in each run."""

import importlib.util
import sys

import numpy as np
import pytest
from helpers import ROOT

import conv2d

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def digits():
    spec = importlib.util.spec_from_file_location("digits", ROOT / "examples" / "digits.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["digits"]


def test_digits_are_learnt(digits, capsys):
    _, right = digits.train(epochs=5)
    assert right >= 0.97
    assert capsys.readouterr().out.count("held-out digits") == 5


def test_same_network_in_each_run_and_for_any_threads(digits):
    def weights(threads):
        conv2d.set_num_threads(threads)
        network, _ = digits.train(epochs=1)
        return [p for layer in network.layers for p in (layer.w, layer.b)]

    try:
        for one, again, two in zip(weights(1), weights(1), weights(2), strict=True):
            np.testing.assert_array_equal(one, again)
            np.testing.assert_array_equal(one, two)
    finally:
        conv2d._door.limit_threads(conv2d.threads.CPUS, 0)


def test_gradients_are_those_of_the_loss(digits):
    x, _, labels, _ = digits.load()
    x, labels = x[:20].astype(np.float64), labels[:20]
    network, random, step = digits.Network(), np.random.default_rng(3), 1e-6
    for layer in network.layers:
        layer.w, layer.b = layer.w.astype(np.float64), random.normal(0, 0.1, len(layer.w))
    network.backward(digits.cross_entropy(network.forward(x), labels)[1])
    for layer in network.layers:
        for name in ("w", "b"):
            value, gradient = getattr(layer, name), getattr(layer, f"d{name}")
            direction = random.standard_normal(value.shape)
            losses = []
            for sign in (1, -1):
                setattr(layer, name, value + sign * step * direction)
                losses.append(digits.cross_entropy(network.forward(x), labels)[0])
            setattr(layer, name, value)
            slope = (losses[0] - losses[1]) / (2 * step)
            assert slope == pytest.approx(np.vdot(gradient, direction), rel=1e-4, abs=1e-6)
