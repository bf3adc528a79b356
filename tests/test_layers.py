"""Layers are what the oracle says: on every level, type, thread count, and way to cut them up."""

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

KERNEL_TYPES = ("f4", "f8", "i4", "i8")
LAYERS = {
    "one channel, one filter": Problem((2, 1, 9, 11), (1, 1, 3, 3)),
    "one image": Problem((5, 9, 11), (7, 5, 3, 2)),
    "one element": Problem((1, 1, 1, 1), (1, 1, 1, 1)),
    "no images": Problem((0, 3, 5, 6), (4, 3, 3, 3)),
    "one tap": Problem((2, 7, 6, 9), (13, 7, 1, 1)),
    "one tap, stride": Problem((2, 7, 7, 9), (13, 7, 1, 1), stride=2),
    "one tap, padding": Problem((2, 3, 6, 9), (5, 3, 1, 1), ((1, 2), (3, 0))),
    "one tap, many channels": Problem((1, 70, 3, 5), (65, 70, 1, 1)),
    "wide": Problem((1, 3, 4, 140), (7, 3, 3, 3)),
    "one column": Problem((2, 3, 40, 1), (7, 3, 3, 1)),
    "one row": Problem((2, 3, 1, 40), (7, 3, 1, 3)),
    "tiny planes": Problem((9, 4, 3, 2), (33, 4, 3, 3)),
    "tiny planes, stride": Problem((3, 3, 5, 5), (40, 3, 3, 3), stride=2),
    "tiny planes, channels": Problem((3, 40, 3, 3), (5, 40, 2, 3), "full"),
    "depthwise": Problem((2, 17, 6, 9), (17, 1, 3, 3), groups=17),
    "depthwise, stride": Problem((2, 9, 9, 8), (9, 1, 3, 2), stride=(2, 3), groups=9),
    "depthwise, dilation": Problem((1, 5, 9, 12), (5, 1, 3, 3), dilation=(2, 3), groups=5),
    "depthwise, large planes": Problem((1, 3, 26, 25), (3, 1, 5, 4), groups=3),
    "depthwise, two filters": Problem((2, 9, 7, 8), (18, 1, 3, 3), groups=9),
    "depthwise, three filters": Problem((1, 3, 7, 8), (9, 1, 3, 3), stride=2, groups=3),
    "depthwise, long filters": Problem((1, 18, 6, 21), (18, 1, 2, 9), groups=18),
    "depthwise, 5 x 6, stride": Problem((2, 17, 9, 20), (17, 1, 5, 6), stride=2, groups=17),
    "depthwise, 7 x 7, stride": Problem((1, 9, 15, 31), (9, 1, 7, 7), stride=(1, 2), groups=9),
    "depthwise, both alike": Problem(
        (1, 17, 12, 25), (17, 1, 3, 5), stride=2, dilation=(1, 4), groups=17
    ),
    "depthwise, both apart": Problem(
        (1, 9, 12, 40), (9, 1, 2, 5), stride=(1, 2), dilation=(2, 3), groups=9
    ),
    "walks": Problem((1, 3, 9, 37), (3, 1, 3, 3), groups=3),
    "walks, stride": Problem((1, 3, 10, 37), (3, 1, 3, 3), ((1, 1), (0, 1)), stride=2, groups=3),
    "walks, strips": Problem((1, 2, 5, 150), (2, 1, 3, 3), groups=2),
    "walks, strips, stride": Problem((1, 2, 6, 150), (2, 1, 3, 3), 1, stride=2, groups=2),
    "walks, narrow": Problem((2, 5, 9, 7), (5, 1, 3, 3), groups=5),
    "walks, narrow, stride": Problem((2, 5, 13, 15), (5, 1, 3, 3), 1, stride=2, groups=5),
    "walks, many images": Problem((60, 3, 6, 9), (3, 1, 3, 3), groups=3),
    "walks, narrow, many images": Problem((60, 3, 6, 7), (3, 1, 3, 3), groups=3),
    "walks, filters, many images": Problem((50, 1, 7, 9), (5, 1, 3, 3)),
    "two channels, one filter": Problem((2, 2, 9, 25), (1, 2, 3, 4)),
    "one filter a group": Problem((2, 20, 7, 9), (5, 4, 3, 2), dilation=(2, 1), groups=5),
    "walks, one column": Problem((2, 5, 9, 1), (5, 1, 3, 3), groups=5),
    "walks, no padding": Problem((2, 3, 9, 20), (3, 1, 3, 3), "valid", stride=2, groups=3),
    "walks, rows of padding": Problem((1, 3, 5, 20), (3, 1, 3, 3), ((4, 6), (1, 1)), groups=3),
    "walks, 5 x 5": Problem((2, 3, 20, 37), (6, 1, 5, 5), groups=3),
    "walks, 5 x 5, uneven": Problem((1, 3, 30, 33), (3, 1, 5, 5), ((1, 5), (2, 0)), groups=3),
    "walks, 5 x 5, no padding": Problem((1, 3, 18, 40), (3, 1, 5, 5), "valid", groups=3),
    "walks, 5 x 5, narrow": Problem((2, 3, 80, 8), (3, 1, 5, 5), groups=3),
    "walks, 5 x 5, strips": Problem((1, 2, 6, 150), (2, 1, 5, 5), groups=2),
    "walks, 5 x 5, stride": Problem((2, 3, 30, 37), (3, 1, 5, 5), 2, stride=2, groups=3),
    "walks, 5 x 5, stride, two": Problem((1, 3, 21, 50), (6, 1, 5, 5), 2, stride=2, groups=3),
    "walks, 5 x 5, stride, odd": Problem(
        (2, 3, 21, 36), (3, 1, 5, 5), ((0, 3), (1, 2)), stride=2, groups=3
    ),
    "walks, 5 x 5, stride, strips": Problem(
        (1, 2, 9, 150), (2, 1, 5, 5), ((6, 1), (2, 1)), stride=2, groups=2
    ),
    "walks, 5 x 5, stride, blocks": Problem((1, 2, 150, 40), (2, 1, 5, 5), 2, stride=2, groups=2),
    "walks, 5 x 5, stride, no padding": Problem(
        (2, 3, 13, 41), (3, 1, 5, 5), "valid", stride=2, groups=3
    ),
    "walks, 7 x 7": Problem((1, 4, 36, 17), (4, 1, 7, 7), groups=4),
    "walks, 7 x 7, low": Problem((2, 3, 4, 60), (3, 1, 7, 7), ((3, 7), (3, 3)), groups=3),
    "walks, 7 x 7, strips": Problem((1, 2, 13, 50), (2, 1, 7, 7), groups=2),
    "any filters": Problem((2, 3, 11, 37), (3, 1, 2, 4), groups=3, dilation=(2, 1)),
    "any filters, dilation": Problem((1, 3, 14, 40), (6, 1, 3, 2), 3, groups=3, dilation=(3, 5)),
    "any filters, stride": Problem((2, 3, 12, 50), (3, 1, 3, 5), 2, stride=2, groups=3),
    "any filters, a row": Problem((1, 2, 13, 70), (2, 1, 1, 7), (0, 3), stride=2, groups=2),
    "any filters, a column": Problem((1, 2, 40, 33), (2, 1, 6, 1), "valid", stride=2, groups=2),
    "any filters, strips": Problem((1, 2, 9, 150), (2, 1, 2, 2), "valid", stride=2, groups=2),
    "any filters, uneven": Problem(
        (1, 2, 9, 45), (2, 1, 4, 5), ((6, 1), (0, 4)), stride=2, groups=2
    ),
    "any filters, two, stride": Problem((1, 2, 9, 45), (4, 1, 5, 5), 2, stride=2, groups=2),
    "few channels": Problem((3, 2, 11, 37), (5, 2, 3, 3)),
    "few channels, stride": Problem((3, 3, 12, 40), (6, 3, 3, 3), 1, stride=2),
    "few channels, narrow": Problem((3, 2, 9, 6), (5, 2, 3, 3)),
    "few channels, groups": Problem((2, 4, 9, 20), (6, 2, 3, 3), groups=2),
    "pairs of channels": Problem((2, 10, 7, 8), (5, 2, 3, 3), groups=5),
    "few filters": Problem((2, 20, 9, 30), (3, 20, 3, 5)),
    "few filters, bands": Problem((5, 18, 20, 31), (1, 18, 3, 2)),
    "few filters, dilation": Problem(
        (1, 17, 9, 16), (2, 17, 3, 2), ((1, 4), (3, 0)), dilation=(2, 3)
    ),
    "pairs of planes": Problem((2, 3, 9, 26), (5, 3, 2, 3)),
    "pairs of planes, more channels": Problem((2, 5, 7, 33), (4, 5, 1, 4), ((1, 0), (5, 2))),
    "pairs of planes, one tap": Problem((3, 3, 4, 30), (2, 3, 1, 1)),
    "a pixel": Problem((1, 77, 1, 1), (43, 77, 1, 1)),
    "two pixels": Problem((2, 4100, 1, 1), (3, 4100, 1, 1)),
    "a column of pixels": Problem((1, 12, 5, 1), (40, 12, 1, 1)),
    "a pixel, two groups": Problem((1, 70, 1, 1), (20, 35, 1, 1), groups=2),
    "filters, no padding": Problem((2, 20, 9, 8), (33, 20, 5, 3), "valid"),
    "filters, much padding": Problem((2, 3, 5, 9), (34, 3, 3, 4), 9, dilation=(6, 4)),
    "filters, padding and stride": Problem((1, 20, 7, 8), (40, 20, 5, 4), (4, 5), stride=2),
    "groups": Problem((2, 6, 7, 10), (9, 2, 3, 4), groups=3),
    "groups, stride": Problem((1, 48, 6, 7), (24, 2, 3, 3), stride=2, groups=24),
    "stride": Problem((2, 3, 11, 12), (7, 3, 3, 3), stride=2),
    "stride of 3": Problem((1, 4, 13, 14), (6, 4, 2, 5), stride=(3, 1)),
    "stride, larger than the filter": Problem((2, 3, 11, 13), (4, 3, 2, 1), stride=(5, 4)),
    "stride, larger than the plane": Problem((2, 3, 4, 5), (4, 3, 3, 3), stride=9),
    "stride, larger than the plane, many taps": Problem(
        (1, 3, 2, 40), (4, 3, 23, 3), (30, 1), stride=(9, 2)
    ),
    "stride, larger than the plane, columns": Problem(
        (1, 3, 20, 2), (4, 3, 3, 40), (1, 45), stride=(2, 31)
    ),
    "dilation": Problem((1, 3, 12, 15), (7, 3, 3, 2), dilation=(2, 3)),
    "dilation and stride": Problem((1, 4, 13, 16), (5, 4, 3, 4), stride=(2, 3), dilation=(3, 2)),
    "dilation, larger than the plane": Problem((1, 3, 5, 6), (4, 3, 3, 2), (40, 40), dilation=30),
    "even filter": Problem((2, 3, 9, 10), (4, 3, 4, 2), "same_lower", stride=2),
    "filter, larger than the plane": Problem((2, 3, 4, 5), (4, 3, 9, 11)),
    "plane with a stride": Problem((13, 17), (3, 4), stride=(2, 3)),
    "plane with dilation": Problem((13, 40), (4, 3), "full", dilation=(3, 2)),
    "plane with both": Problem((30, 21), (5, 3), ((1, 4), (7, 0)), stride=2, dilation=3),
}


def check(problem, dtype, threads=(1,)):
    """Small integers: equal, whichever way the result is asked for."""
    arrays, expected = small_integers(problem).astype(dtype), exact_answer(problem).astype(dtype)
    for num_threads in threads:
        same(compute(arrays, problem, num_threads=num_threads), expected)
        same(compute_guarded(arrays, problem, num_threads=num_threads), expected)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", KERNEL_TYPES)
def test_levels_and_threads(small_in_parallel, level, name, dtype):
    check(LAYERS[name], dtype, threads=(1, 2, 3))


@pytest.mark.parametrize("name", LAYERS)
def test_blocks(small_in_parallel, blocks, level, name):
    check(LAYERS[name], "f4", threads=(1, 3))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in KERNEL_TYPES])
def test_converted_types(name, dtype):
    check(LAYERS[name], dtype, threads=(2,))


MODED = [
    Problem((2, 4, 5, 7), (6, 2, 3, 4), groups=2),
    Problem((1, 3, 8, 6), (4, 3, 2, 3), stride=(2, 3), dilation=(1, 2)),
    Problem((1, 8, 5, 6), (8, 1, 3, 3), groups=8),
    Problem((9, 8), (3, 2), dilation=2),
]


@pytest.mark.parametrize("mode", [*MODES, "constant"])
@pytest.mark.parametrize("padding", [p for p in PADDINGS + WIDE_PADDINGS if p != 0], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f2", "i8"])
def test_paddings_and_modes(level, dtype, padding, mode):
    for problem in MODED:
        check(problem._replace(padding=padding, mode=mode), dtype, threads=(2,))


@pytest.mark.parametrize("mode", MODES[1:])
def test_modes_in_blocks(small_in_parallel, blocks, mode):
    for problem in MODED:
        check(problem._replace(padding=((3, 0), (2, 9)), mode=mode), "f4", threads=(1, 3))


# Around what a kernel takes at a time


@pytest.mark.parametrize("channels", [1, 2, 5, 6, 7, 12, 13, 15, 16, 17, 31, 33, 63, 64, 65])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_channels_and_filters(level, dtype, channels):
    for other in (1, 6, 7):
        check(Problem((2, channels, 3, 5), (other, channels, 1, 2)), dtype)
        check(Problem((2, other, 3, 5), (channels, other, 2, 1)), dtype)
    check(Problem((2, channels, 4, 3), (channels, 1, 3, 3), groups=channels), dtype)
    check(Problem((1, channels, 7, 9), (channels, 1, 3, 3), stride=2, groups=channels), dtype)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_widths(level, dtype, stride):
    for width in (*range(1, 20), 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 66, 127, 128, 129):
        check(Problem((1, 2, 3, width), (7, 2, 2, 3), stride=(1, stride)), dtype)
        check(Problem((1, 3, 2, width), (3, 1, 1, 3), stride=(1, stride), groups=3), dtype)


@pytest.mark.parametrize("w", [(17, 3), (2, 18), (65, 2), (1, 66), (20, 20)])
@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_large_filters(level, dtype, w):
    """More taps than are summed at a time, and more than the kernels of planes take."""
    check(Problem((1, 2, 7, 8), (3, 2, *w)), dtype, threads=(1, 2))
    check(Problem((1, 2, 7, 28), (2, 1, *w), groups=2), dtype, threads=(1, 2))
    check(Problem((1, 2, 9, 8), (3, 2, *w), "full", stride=2), dtype, threads=(1, 2))


@pytest.mark.parametrize("dilation", [60, 70, 200])
def test_taps_far_apart(level, dilation):
    """Further than a panel reaches."""
    check(Problem((1, 2, 3, 150), (3, 2, 1, 3), stride=(1, 2), dilation=dilation), "f4")
    check(Problem((1, 2, 150, 2), (3, 2, 4, 1), dilation=(dilation, 1)), "f4")


# Rounding


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normal_numbers(small_in_parallel, level, name, dtype):
    """Within what rounding each product and each sum can do."""
    problem = LAYERS[name]
    arrays = draw(problem, np.random.default_rng(7).standard_normal).astype(dtype)
    largest = [float(abs(a).max(initial=0)) for a in arrays]
    expected, count = answer(arrays, problem), terms(problem)
    products = largest[0] * largest[1], largest[1] * largest[3], largest[0] * largest[3]
    got = compute(arrays, problem, num_threads=1)
    bias = largest[2], 0, 0, 0
    for result, ours, theirs, n, product, b in zip(
        NAMES, got, expected, count, (*products, largest[3]), bias, strict=True
    ):
        bound = 2 * np.finfo(dtype).eps * (n + 1) * max(product, b)
        assert (abs(ours - theirs) <= bound).all(), result
    same_bits(compute_guarded(arrays, problem, num_threads=3), got)
