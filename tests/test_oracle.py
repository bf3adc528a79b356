"""Y, dX, dW and db are what the oracle says, on every level, type, thread count and padding."""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    MODES,
    NAMES,
    PADDINGS,
    WIDE_PADDINGS,
    Problem,
    answer,
    compute,
    compute_guarded,
    draw,
    exact_answer,
    same,
    same_bits,
    small_integers,
    terms,
)

import conv2d

KERNEL_TYPES = ("f4", "f8", "i4", "i8")
FILTERS = ((1, 1), (3, 3), (2, 5), (7, 1), (1, 9), (4, 4))
VECTORS = sorted({n * lanes + d for lanes in (2, 4, 8, 16) for n in (1, 4, 8) for d in (-1, 0, 1)})


def check(problem, dtype, threads=(1,)):
    """Small integers: equal, whichever way the result is asked for."""
    arrays, expected = small_integers(problem).astype(dtype), exact_answer(problem).astype(dtype)
    for num_threads in threads:
        same(compute(arrays, problem, num_threads=num_threads), expected)
        same(compute_guarded(arrays, problem, num_threads=num_threads), expected)


@pytest.mark.parametrize("mode", [*MODES, "constant"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_paddings_and_modes(level, dtype, mode):
    for padding in PADDINGS + WIDE_PADDINGS:
        check(Problem((13, 22), (5, 4), padding, mode), dtype)
        check(Problem((6, 35), (3, 3), padding, mode), dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", KERNEL_TYPES)
def test_threads_and_bands(small_in_parallel, level, dtype, mode):
    for padding in ("same", "full", ((31, 2), (5, 40))):
        check(Problem((59, 300), (3, 4), padding, mode), dtype, threads=(1, 2, 3))


@pytest.mark.parametrize("dtype", KERNEL_TYPES)
def test_fast_road(level, dtype):
    """Nothing but the arrays."""
    for x in ((5, 9), (31, 70), (200, 130)):
        for w in FILTERS:
            problem = Problem(x, w)
            a, expected = small_integers(problem).astype(dtype), exact_answer(problem).astype(dtype)
            y = conv2d.conv2d(a.x, a.w)
            dx = conv2d.conv2d_input(x, a.w, a.dy)
            dw = conv2d.conv2d_weight(a.x, w, a.dy)
            same((y + a.b, dx, dw), expected[:3])


@pytest.mark.parametrize("dtype", KERNEL_TYPES)
@pytest.mark.parametrize("padding", ["same", "valid", "full"])
def test_widths(level, dtype, padding):
    for width in [*range(1, 41), *VECTORS]:
        for w in FILTERS:
            if padding != "valid" or w[1] <= width:
                check(Problem((7, width), w, padding), dtype)


@pytest.mark.parametrize("dtype", KERNEL_TYPES)
@pytest.mark.parametrize("padding", ["same", "valid", "full"])
def test_heights(level, dtype, padding):
    for height in [*range(1, 20), 23, 24, 25, 47, 48, 49]:
        for w in FILTERS:
            if padding != "valid" or w[0] <= height:
                check(Problem((height, 11), w, padding), dtype)


@pytest.mark.parametrize("dtype", KERNEL_TYPES)
@pytest.mark.parametrize("padding", ["same", "same_lower", "valid", "full"])
def test_filter_sizes(level, dtype, padding):
    for size in range(1, 21):
        for w in ((size, size), (size, 3), (1, size), (size, 1)):
            check(Problem((21, 37), w, padding), dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("w", [(65, 3), (2, 66), (70, 67), (130, 1), (1, 129)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8"])
def test_giant_filters(level, dtype, w, mode):
    """Larger than the kernels take at once, and than the plane."""
    for x in ((9, 8), (20, 30)):
        check(Problem(x, w, "same", mode), dtype, threads=(2,))
    check(Problem((9, 8), w, ((w[0], 3), (1, w[1])), mode), dtype, threads=(2,))
    check(Problem((w[0] + 2, w[1] + 1), w, "valid", mode), dtype, threads=(2,))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_normal_numbers(small_in_parallel, level, dtype, mode, num_threads):
    """Within what rounding each product and each sum can do."""
    for x, w, padding in (
        ((31, 45), (5, 4), "same"),
        ((20, 90), (9, 11), "full"),
        ((3, 5), (2, 2), (9, 8)),
        ((18, 8), (70, 3), "same"),
    ):
        problem = Problem(x, w, padding, mode)
        rng = np.random.default_rng(7)
        arrays = draw(problem, rng.standard_normal).astype(dtype)
        largest = [float(abs(a).max()) for a in arrays]
        expected, count = answer(arrays, problem), terms(problem)
        products = largest[0] * largest[1], largest[1] * largest[3], largest[0] * largest[3]
        got = compute(arrays, problem, num_threads=num_threads)
        bias = largest[2], 0, 0, 0
        for name, ours, theirs, n, product, b in zip(
            NAMES, got, expected, count, (*products, largest[3]), bias, strict=True
        ):
            bound = 2 * np.finfo(dtype).eps * (n + 1) * max(product, b)
            assert (abs(ours - theirs) <= bound).all(), name
        same_bits(compute_guarded(arrays, problem, num_threads=num_threads), got)
