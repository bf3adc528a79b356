"""Statistics of the benchmarks on made-up timings with a known answer."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks import stats
from benchmarks.analysis import AGAIN, OURS, compare
from benchmarks.limits import COPY, FMA
from benchmarks.stats import Ratio


def noisy(rounds=30):
    """A machine whose speed changes tenfold from round to round."""
    return 10.0 ** np.random.default_rng(1).uniform(-3, -2, rounds)


def test_pairing_removes_the_noise_of_the_machine():
    rounds = noisy()
    ratio = stats.paired_ratio(list(1.5 * rounds), list(rounds))
    assert ratio.low == pytest.approx(1.5)
    assert ratio.high == pytest.approx(1.5)


def test_interval_holds_the_truth_most_of_the_time():
    random = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        ours = random.lognormal(0, 0.1, 30)
        ratio = stats.paired_ratio(list(2.0 * random.lognormal(0, 0.1, 30)), list(ours))
        held += ratio.low <= 2.0 <= ratio.high
    assert held >= 85


def test_rounds_without_a_turn_are_left_out():
    ratio = stats.paired_ratio([None, 4.0, None, 4.0], [1.0, 2.0, None, 2.0])
    assert ratio == Ratio(2.0, 2.0, 2.0)
    assert stats.paired_ratio([None], [1.0]) is None
    assert stats.median([None, 1.0, 3.0, 2.0]) == 2.0
    assert stats.minimum([None, 1.0, 3.0]) == 1.0
    assert stats.median([None]) is stats.minimum([None]) is None


def test_unpaired_ratio_is_that_of_medians():
    ratio = stats.unpaired_ratio([3.0, 3.1, 2.9, 3.0], [1.0, 1.1, 0.9])
    assert ratio.median == pytest.approx(3.0)
    assert ratio.low <= 3.0 <= ratio.high


@pytest.mark.parametrize(
    ("ratio", "noise", "verdict"),
    [
        (Ratio(1.5, 1.4, 1.6), None, "win"),
        (Ratio(0.8, 0.7, 0.9), None, "loss"),
        (Ratio(1.0, 0.9, 1.1), None, "tie"),
        (Ratio(1.05, 1.04, 1.06), Ratio(1.0, 0.9, 1.02), "tie"),
        (Ratio(0.95, 0.94, 0.96), Ratio(1.0, 0.9, 1.02), "tie"),
        (Ratio(0.8, 0.7, 0.85), Ratio(1.0, 0.9, 1.02), "loss"),
    ],
)
def test_verdict_needs_more_than_the_noise_floor(ratio, noise, verdict):
    assert stats.verdict(ratio, noise) == verdict


def row(seconds, **more):
    return {"status": "ok", "rms_error": 1e-7, "seconds": list(seconds), **more}


def compared(rows, rounds):
    match = {
        "problem": "64x64_3x3",
        "direction": "forward",
        "dtype": "float32",
        "threads": 1,
        "cache": "warm",
        "rounds": rounds,
        "rows": rows,
    }
    (comparison,) = compare({"kind": "contest", "matches": [match]})
    return comparison


def test_share_of_the_limit_is_of_the_same_moment():
    rounds = 10.0 ** np.random.default_rng(1).uniform(-3, -2.95, 30)
    flops, traffic = 2 * 64 * 64 * 9, 4 * (2 * 64 * 64 + 9)
    rows = {
        OURS: row(2 * rounds),
        AGAIN: row(2 * rounds),
        "peer": row(5 * rounds),
        FMA: row(rounds, work=flops),  # in each round just what the problem needs
        COPY: row(rounds, work=2 * traffic),
    }
    comparison = compared(rows, len(rounds))
    assert comparison.share == pytest.approx(0.5)
    assert comparison.verdict == "win"
    assert comparison.best.ratio.median == pytest.approx(2.5)
    assert comparison.noise == Ratio(1.0, 1.0, 1.0)
    assert comparison.calm == 1
    assert comparison.ours.gflops == pytest.approx(flops / np.median(2 * rounds) / 1e9)


def test_rounds_of_a_busy_machine_are_seen_and_do_not_count_for_the_share():
    busy = np.array([1.0, 1.0, 1.0, 300.0])
    rows = {
        OURS: row([2.0] * 4),
        FMA: row(busy, work=2 * 64 * 64 * 9),
        COPY: row(busy, work=1e9),
    }
    comparison = compared(rows, 4)
    assert comparison.calm == 0.75
    assert comparison.share == pytest.approx(0.5)
