"""Problems, their inputs and results, and the adapters of all peers that are installed."""

import numpy as np
import pytest

from benchmarks import arrays, peers, problems
from benchmarks.problems import parse
from conv2d import reference

TEXTS = [
    "28x30_3x5",
    "9x8_4x2",
    "n1c1h9w8k1a3b3s1p1,0,2,1d1g1",
    "n2c4h7w8k6a3b2s2p1d1g2",
    "n1c3h9w9k2a3b3s1p2d2g1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_reads_back(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [("28", "expected one like"), ("n1c3h9w9k2a3b3s1p0d1g2", "groups"), ("9x9_0x3", "at least 1")],
)
def test_bad_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_flops_and_bytes():
    problem = parse("256x256_3x3")
    assert problem.flops == 2 * 256 * 256 * 9
    assert problem.bytes("float32") == 4 * (2 * 256 * 256 + 9)
    layer = parse("n2c4h8w8k6a3b3s2p1d1g2")
    assert layer.y_shape == (2, 6, 4, 4)
    assert layer.flops == 2 * (2 * 6 * 4 * 4) * (2 * 9)
    assert layer.work("backward") == 2 * layer.flops
    elements = [2 * 4 * 8 * 8, 6 * 2 * 9, 2 * 6 * 4 * 4]
    assert layer.bytes("float64", "backward") == 8 * (2 * sum(elements) - elements[2] + 6)
    assert layer.terms("backward") == max(layer.terms("input"), layer.terms("weight"))


@pytest.mark.parametrize("name", problems.lists())
def test_lists_can_be_read(name):
    for problem in problems.read_list(name).values():
        assert parse(str(problem)) == problem


@pytest.mark.parametrize("text", TEXTS[:3])
@pytest.mark.parametrize("direction", problems.DIRECTIONS)
def test_expected_result_is_that_of_the_reference(text, direction):
    problem = parse(text)
    inputs = arrays.make_arrays(problem, "float64")
    x, w, dy = inputs.planes()
    top, bottom, left, right = problem.pad
    padding = ((top, bottom), (left, right))
    wanted = {
        "forward": lambda: reference.conv2d(x, w, padding=padding),
        "input": lambda: reference.conv2d_input(x.shape, w, dy, padding=padding),
        "weight": lambda: reference.conv2d_weight(x, w.shape, dy, padding=padding),
    }[direction]()
    found = arrays.expected(problem, direction, inputs)[0, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", TEXTS[3:])
def test_expected_gradients_are_adjoint(text):
    problem = parse(text)
    inputs = arrays.make_arrays(problem, "float64")
    y, dx, dw = (arrays.expected(problem, d, inputs) for d in problems.DIRECTIONS)
    wanted = np.vdot(inputs.dy, y)
    assert np.vdot(dx, inputs.x) == pytest.approx(wanted)
    assert np.vdot(dw, inputs.w) == pytest.approx(wanted)


def test_error_of_nan_is_beyond_any_tolerance():
    wanted = np.ones((1, 1, 2, 2))
    found = arrays.error(np.array([[1.0, np.nan], [1.0, 1.0]]), wanted)
    assert not found.largest <= 1e9
    with pytest.raises(ValueError, match="shape"):
        arrays.error(np.ones(3), wanted)


def test_error_of_several_results_is_the_worst():
    parts = np.ones((2, 2)), np.array([1.0, 1.5]), np.ones(3)
    found = arrays.error(parts, np.ones(9))
    assert found == arrays.error(parts[1], np.ones(2))
    assert found.largest == 0.5
    with pytest.raises(ValueError, match="shapes"):
        arrays.error(parts[:2], np.ones(9))


def test_channels_last_are_the_same_numbers():
    inputs = arrays.make_arrays(parse(TEXTS[3]), "float32")
    last = inputs.channels_last()
    for name in ("x", "dy"):
        one, other = getattr(inputs, name), getattr(last, name)
        np.testing.assert_array_equal(one, other)
        assert other.strides[1] == 4


QUICK = ("benchmarks.peers.ours", "benchmarks.peers.reference", "benchmarks.peers.numpy")
SCIPY = ("benchmarks.peers.scipy_ndimage", "benchmarks.peers.scipy_signal")


@pytest.mark.parametrize("direction", [*problems.DIRECTIONS, problems.BACKWARD])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", TEXTS)
def test_adapters_compute_what_is_expected(text, dtype, direction):
    problem = parse(text)
    inputs = arrays.make_arrays(problem, dtype)
    wanted = arrays.expected(problem, direction, inputs)
    for module in (*QUICK, *SCIPY):
        for peer in peers.load(module).values():
            if peer.present and peer.can(problem, direction, dtype):
                run = peer.prepare(problem, direction, dtype, inputs, 1)
                found = arrays.error(run(), wanted)
                assert found.largest <= arrays.tolerance(problem, direction, dtype), peer.name


def test_ours_takes_part_in_everything():
    ours = peers.load("benchmarks.peers.ours")
    for name in problems.lists():
        for problem in problems.read_list(name).values():
            for direction in (*problems.DIRECTIONS, problems.BACKWARD):
                able = [
                    each for each, peer in ours.items() if peer.can(problem, direction, "float32")
                ]
                assert able[0] == "conv2d"
                assert ("conv2d channels_last" in able) != problem.plane
                assert ("conv2d one by one" in able) == (direction == problems.BACKWARD)
