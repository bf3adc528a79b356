"""How a problem is worked on: algorithm, threads and blocking, from sizes alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from . import _cpu, _door
from .problem import Problem

# Smaller problems are worked on in one piece by one thread, the rows bounding the workspace. In a
# tight loop two threads win from 0.5 MFLOP on; after a pause, when they have to be woken, from
# about 8. This lies between (measured with filters from 3x3 to 15x15).
SMALL_FLOPS = 2_000_000
SMALL_ROWS = 1024
# Of layers also those that move fewer bytes: of depthwise ones it is these that take the time (two
# threads win from 20 us on, and after a pause no less).
SMALL_BYTES = 1 << 18
# More threads than this would take more than the promised workspace (about 0.4 MiB each).
MAX_THREADS = 64
WORKSPACE = 32 * 2**20  # bytes, the most that a call takes beyond its arrays
# Elements of a block where a result cannot be written in place.
CHUNK = 1 << 17
# Rows or columns of the largest block of W that a kernel takes in one call.
MAX_FILTER = _door.LARGEST_FILTER
# Rows or columns that a tile of X may have, and of W's blocks.
FFT_TILES = (32, 64, 96, 128, 192, 256)
FFT_FILTER = 128
FFT_WORKSPACE = 24 * 2**20  # bytes of the tiles of all threads
# Elements of what the first pass of a separable filter gives to the second, and columns at most: a
# row of tiles has to fit the workspace.
SEPARABLE_CHUNK = 1 << 18
SEPARABLE_COLUMNS = 1 << 18
# From so many flops on, a look at W takes less than a tenth of the time; each tap of the two passes
# costs so many flops of a direct sum (measured with filters of 9 to 31 a side).
SEPARABLE_FLOPS = 3e7
SEPARABLE_COST = 7
# What a pair of tiles costs in flops of a direct sum: for each element and binary digit of their
# number, for each row as much as so many, and the more for each doubling beyond 128 x 128, which
# leave L2 (fitted to filters of 9 to 63 a side with tiles of 32 to 256, 1 and 2 threads).
FFT_FLOPS = 36
FFT_ROW = 200
FFT_LARGE = 0.15
FLOATS = ("float16", "float32", "float64")
L2_CACHE = _cpu.L2_CACHE or 1 << 20  # bytes of one core


class Plan(NamedTuple):
    """What the kernels are told beside the sizes."""

    algorithm: str  # or two: the first if the filter allows it; "columns": kernels of layers
    band: int  # rows of Y at a time; for dW, rows of one partial sum
    strip: int  # columns of Y at a time
    threads: int


Planner = TypeVar("Planner", bound=Callable[..., Any])


def kept(make: Planner) -> Planner:
    """Let each problem keep what a planner made of it: problems come back in call after call."""

    @wraps(make)
    def get(problem: Problem, *args: Any) -> Any:
        key = make, args
        made = problem.plans.get(key)
        if made is None:
            made = problem.plans[key] = make(problem, *args)
        return made

    return cast("Planner", get)


@kept
def make_plan(problem: Problem, direction: str, threads: int, placed: bool = False) -> Plan:
    """The plan for Y ("forward"), dX ("input") or dW ("weight"); its blocking ignores `threads`."""
    if walks_plane(problem, direction, placed):
        walk = _plan_columns(problem, direction, threads)
        return Plan("columns", walk.band, problem.width, walk.threads)
    rows, columns = problem.x_shape if direction == "input" else problem.y_shape
    algorithm = choose_algorithm(problem, direction, rows, columns)
    if rows <= SMALL_ROWS and 2 * rows * columns * problem.a * problem.b < SMALL_FLOPS:
        return Plan(algorithm, max(rows, 1), max(columns, 1), 1)
    itemsize = max(np.dtype(problem.dtype).itemsize, 4)
    if direction == "weight":
        # 8 to 64 partial sums of dW, of 16 rows at least; both planes of a block in half a MiB,
        # whatever the caches are: the order of the sums must follow from the sizes alone.
        band = max(-(-rows // 256) * 4, min(-(-rows // 32) * 4, 32), 16)
        strip = (1 << 20) // (4 * band * itemsize)
    else:
        # The rows of X that a row of tiles reads, and the tiles, in half of L2.
        band = 48
        strip = L2_CACHE // (2 * (min(problem.a, MAX_FILTER) + 11) * itemsize)
    return Plan(algorithm, band, max(strip // 64, 4) * 64, min(threads, MAX_THREADS))


def choose_algorithm(problem: Problem, direction: str, rows: int, columns: int) -> str:
    """What was asked for, or the fastest that keeps the promises on accuracy."""
    a, b = problem.w_shape
    if direction == "weight":
        return "direct"
    if problem.algorithm != "auto":
        return problem.algorithm
    folded = direction == "input" and problem.mode != "zeros"  # in many small pieces
    if problem.dtype not in FLOATS or rows * columns == 0 or folded:
        return "direct"
    algorithm, cost = "direct", 2.0 * rows * columns * a * b
    worth_a_look = cost >= SEPARABLE_FLOPS
    # Float64 keeps what is bright apart from what is dark in data of float32, not of float64.
    if problem.dtype != "float64":
        taps = min(a, FFT_FILTER), min(b, FFT_FILTER)
        tiled = _cost(rows, columns, *taps, *fft_tile(rows, columns, *taps))
        if tiled < cost:
            algorithm, cost = "fft", tiled
    if worth_a_look and SEPARABLE_COST * rows * columns * (a + b) < cost:
        return f"separable or {algorithm}"
    return algorithm


@lru_cache(maxsize=4096)
def fft_tile(rows: int, columns: int, a: int, b: int) -> tuple[int, int]:
    """The rows and columns of the tiles of X that cost least."""
    return min(_tiles(a, b), key=lambda tile: _cost(rows, columns, a, b, *tile))


def _tiles(a: int, b: int) -> list[tuple[int, int]]:
    return [(high, wide) for high in FFT_TILES if high > a for wide in FFT_TILES if wide > b]


def _cost(rows: int, columns: int, a: int, b: int, high: int, wide: int) -> float:
    """Flops of a direct sum that take as long as the pairs of tiles, and the spectrum of W."""
    tiles = -(-rows // (high - a + 1)) * -(-columns // (wide - b + 1))
    area = high * wide
    large = 1 + FFT_LARGE * max(math.log2(area / 128**2), 0)
    return (tiles // 2 + 1) * FFT_FLOPS * large * (area * math.log2(area) + FFT_ROW * high)


@lru_cache(maxsize=4096)
def plan_same(
    height: int, width: int, a: int, b: int, dtype: str, direction: str, threads: int
) -> Plan:
    """The plan of a plane with 'same' padding and a new result, for the fast road."""
    before, after = (a - 1) // 2, a // 2
    left, right = (b - 1) // 2, b // 2
    problem = Problem(height, width, a, b, before, after, left, right, "zeros", dtype)
    return make_plan(problem, direction, threads, True)


# In the order of the enum in pyx/kernels.pxd.
POSITIONS, PLANES, FILTERS, UNPADDED_FILTERS, COLUMNS, ANY_COLUMNS, CHANNELS = range(7)


class LayerPlan(NamedTuple):
    """What the kernels of layers are told beside the sizes; see pyx/kernels.pxd."""

    lanes_of: int  # what lies in the lanes: POSITIONS, PLANES, FILTERS, ...
    band: int  # rows of outputs at a time
    strip: int  # columns of outputs at a time
    depth: int  # channels that are summed up at a time
    tap_rows: int
    tap_columns: int  # taps at a time
    parts: int  # of the channels of the result, for the threads to share
    bands: int  # of the sums of dW
    threads: int


# Taps along an axis that are summed up at a time, and how far apart the first and the last may lie.
TAPS, REACH = 16, 128
# Products in one sum of float32 before it joins the others; it keeps the error down.
DEPTH = 1152
STRIP = 512
TILE = 64  # positions of the widest tile
ITEMS = 8  # parts of dW that threads can work on, where there is enough to do
PAIRS = 48  # of a channel and a tap, the least of an item of dW that is made smaller for others
FILTER_STEPS = 1152  # of a block of W whose filters lie in the lanes
PANEL_OF_FILTERS = 2**20  # elements of the panel that goes with them, and its outputs
OUTPUTS_OF_FILTERS = 2048
TALLEST = 12  # outputs of a tile with filters in the lanes
# What costs as many multiplications: a tile more, and a plane with positions in the lanes.
OF_A_TILE = 100
OF_A_PLANE = 1000
OF_A_SHARED_PLANE = 150  # dX at stride 2 (fitted to 610 layers; the choice loses 2 to 5 %)
SMALL_PLANE = 576  # elements of planes whose channels lie in the lanes at stride 1
FEW = 8  # channels that fill no vector
CHANNELS_OF_A_TAP = 12  # at least, where dW meets taps one by one
PAIRS_OF_POSITIONS = 128  # of a channel and a tap, at most, where dW has positions in the lanes
POSITIONS_MET = 500  # at least
POSITIONS_AT_ONCE = 4096  # bytes of them
SUMS_OF_POSITIONS = 2**12  # vectors of them
FULL_TILE = 10  # vectors of sums that wait for nothing but multiplications
FILTERS_AT_ONCE = 128  # of a block of dW
TRANSPOSED = 2**14  # elements of Y that are transposed at a time for dW
MANY_CHANNELS = 256  # of filters that see one pixel, for sums along rows of W
COLUMN_ROWS = 64
COLUMNS_WIDTH = 1024  # of planes that are walked down column by column
WALKED_WIDTH = 1536  # of one plane by itself
WALKED_BYTES = 2**20  # of one plane, whatever the caches are
PAGE, NEAR_PAGE = 4096, 64  # bytes
# Bytes of their rows at stride 1, where there are several planes: walks from row to row beyond that
# are not foreseen where planes come from far away. Of 7 x 7 filters fewer, for which few registers
# are slow (measured at 24 x 24 to 1000 x 1000).
COLUMNS_BYTES = 1024
FILLED = 64  # bytes of a vector: rows of no more are faster otherwise, of 5 x 5 at stride 2
WIDEST = 512  # columns of X of a depthwise layer whose channels lie in the lanes
PICTURE = 2048  # vectors of a picture of a depthwise layer
PANEL = 384 * 2**10  # bytes of the source at a time: with W and results in a common L2


@kept
def walks_columns(problem: Problem, direction: str) -> bool:
    """Whether filters see few planes, in reach of the kernels that walk down columns.

    Those are 3 x 3 filters, and for Y and dX those of 5 x 5, and at stride 1 of 7 x 7.
    """
    stride, left, columns = problem.stride[0], problem.left, problem.y4[3]
    side = problem.a
    right = (columns - 1) * stride + side - left - problem.width  # columns of padding that are seen
    groups = max(problem.groups, 1)
    channels, filters = problem.channels // groups, problem.filters // groups
    dense = stride == 1 and direction != "weight"
    # From this size on no faster with channels in the lanes (found at 6 x 6 to 24 x 24, of 17, 96
    # and 100 channels).
    small = SMALL_PLANE * _lanes_filled(max(problem.filters, 1)) ** 3
    large = problem.height * problem.width > small and dense
    itemsize = np.dtype(problem.dtype).itemsize
    row = problem.width * itemsize * (4 if side == 7 else 1)
    near = problem.plane or not dense or row <= COLUMNS_BYTES
    made = (problem.width if direction == "input" else columns) * max(itemsize, 4)
    strided = side == 5 and stride == 2 and direction != "weight" and problem.dtype in FLOATS
    fits = (
        side == problem.b
        and (side == 3 or (side in (5, 7) and large) or (strided and made > FILLED))
        and near
        and problem.dilation == (1, 1)
        and problem.stride in ((1, 1), (2, 2))
        and problem.mode == "zeros"
        and left <= side // 2
        and right <= side // 2
        and 0 < problem.width <= (WALKED_WIDTH if problem.plane else COLUMNS_WIDTH)
        and columns > 0
    )
    if direction == "weight":
        few = channels <= (3 if stride == 1 else 1)
        filled = filters >= 16 and columns < 24  # more lanes of filters than of columns
        return fits and few and not filled and not meets_positions(problem)
    if direction == "forward":
        return fits and channels == 1 and filters <= 2
    reached = left == right == side // 2
    covered = reached
    if stride == 2:
        covered = problem.width <= 2 * columns if left > 0 else side == 3
    return fits and channels == filters == 1 and covered


def walked_bytes(level: str) -> int:
    """Bytes of a plane up to which filters of 3 x 3 walk down its columns, at an instruction level.

    Larger planes are faster in rows of tiles: those that leave the caches (as far as FAR in
    common.pxi says), if the widest vectors walk and the first cache holds what 64 rows of a few of
    them meet, 36 KiB. Found at 50 x 50 to 1400 x 1400; the bits of Y are the same.
    """
    if level != "v4":
        return 200 * 2**10
    return 7 * 2**20 if _cpu.L1_CACHE >= 48 * 2**10 else WALKED_BYTES


@kept
def walks_plane(problem: Problem, direction: str, placed: bool = False) -> bool:
    """Whether Y or dX of one plane is made as of a layer: 3 x 3 filters, in reach of caches.

    Where rows lie a page apart, or nearly, stores hold up all loads below them if the result begins
    at a bad place: if it is not known to be `placed` well, only small planes are walked down then.
    """
    row = problem.width * max(np.dtype(problem.dtype).itemsize, 4)
    most = _door.walked_bytes()
    if not placed and row > PAGE // 2 and (row + NEAR_PAGE) % PAGE <= 2 * NEAR_PAGE:
        most = min(most, WALKED_BYTES)
    return (
        problem.plane
        and direction != "weight"
        and problem.algorithm in ("auto", "direct")
        and problem.height * row <= most
        and problem.a == 3
        and walks_columns(problem, direction)
    )


def _plan_columns(problem: Problem, direction: str, threads: int) -> LayerPlan:
    """The plan for walks down the columns."""
    rows = problem.x4[2] if direction == "input" else problem.y4[2]
    band, bands = COLUMN_ROWS, 1
    if direction == "weight":
        # Few rows at a time are what prefetching follows where planes come from far away.
        plane = rows * problem.y4[3] * np.dtype(problem.dtype).itemsize
        band = min(band, 8 if plane > 2**20 else 16 if plane > 2**17 else 32)
    band = _share(rows, band)
    if direction == "weight":
        pairs = problem.channels * problem.filters // problem.groups
        bands = max(min(-(-ITEMS // max(pairs, 1)), problem.images * -(-rows // band)), 1)
    threads = 1 if _is_small(problem) else min(threads, MAX_THREADS)
    planes = problem.images * (problem.channels if direction == "input" else problem.filters)
    parts = -(-rows // band) if planes < 4 * threads else 1  # of the rows of a plane
    lanes_of = COLUMNS if walks_columns(problem, direction) else ANY_COLUMNS
    return LayerPlan(lanes_of, band, problem.width, 1, problem.a, problem.b, parts, bands, threads)


@kept
def is_depthwise(problem: Problem, direction: str) -> bool:
    """Whether the kernels of planes serve a layer: each plane made of one, by a filter in reach.

    Small planes are faster with channels in the lanes (found by both at 14 x 14 to 112 x 112).
    """
    small = SMALL_PLANE * 4 if direction == "weight" else SMALL_PLANE
    return (
        not walks_columns(problem, direction)
        and problem.channels == problem.groups > 0
        and problem.filters <= 2 * problem.groups
        and (direction != "input" or problem.filters == problem.groups)
        and problem.stride == problem.dilation == (1, 1)
        and max(problem.a, problem.b) <= MAX_FILTER
        and (problem.height * problem.width > small or problem.filters < 8)
    )


@kept
def walks_any_columns(problem: Problem, direction: str) -> bool:
    """Whether Y or dX of a depthwise layer walks down columns with filters of any size.

    Rather than with channels in the lanes: both are counted in operations on vectors for a plane.
    Here what beginning a plane costs, and loads, shared by four rows of sums, twice as many and a
    shuffle at stride 2; there the transposes of pixels into lanes and back (fitted to filters from
    2 x 2 to 7 x 7 on planes of 13 x 13 to 112 x 112; the choice loses 2 % in the mean).
    """
    groups, (rows, columns) = max(problem.groups, 1), problem.y4[2:]
    back, stride = direction == "input", problem.stride[0]
    down, right = problem.reach
    fits = (
        direction != "weight"
        and not problem.plane
        and problem.channels == groups
        and problem.filters <= (groups if back else 2 * groups)
        and problem.mode == "zeros"
        and problem.stride in ((1, 1), (2, 2))
        and (not back or stride == 1 or problem.dilation == (1, 1))
        and problem.a * problem.b <= 64
        and max(down, right) <= 128
        and max(problem.left, problem.right) <= right
        and 0 < problem.width <= COLUMNS_WIDTH
        and min(rows, columns) > 0
        and not walks_columns(problem, direction)
        and not is_depthwise(problem, direction)
    )
    if not fits or problem.filters > groups or not _has_small_pictures(problem, columns):
        return fits
    a, b = problem.a, problem.b
    lanes = 16 * _lanes_filled(groups)
    if back and stride == 2:
        pairs = problem.height * -(-problem.width // 32)
        walked = 500 + pairs * (b * (a + 4) / 4 + 0.65 * a * b + 8)
        return walked < problem.height * problem.width / lanes * (20 + 0.3 * a * b)
    shared = a > stride and problem.dilation[0] == 1
    loads = b * ((3 * stride + a) / 4 if shared else a) * (2 if stride == 1 else 4.5)
    walked = 500 + rows * -(-columns // 16) * (loads + a * b)
    return walked < rows * columns / lanes * (10 * (stride**2 + 1) + 1.2 * a * b)


@kept
def meets_in_pairs(problem: Problem) -> bool:
    """Whether dW is made plane by plane: so few channels leave most lanes of vectors empty.

    Found with both at 1 to 96 channels and filters, 14 x 14 to 512 x 512. Arrays whose rows are not
    contiguous are copied: those that are too large for that take the other road in any layout.
    """
    fewer, more = sorted((problem.channels, problem.filters))
    return (
        not walks_columns(problem, "weight")
        and not meets_positions(problem)
        and problem.groups == 1
        and problem.stride == problem.dilation == (1, 1)
        and max(problem.a, problem.b) <= MAX_FILTER
        and more <= FEW
        and (fewer <= 3 or problem.a * problem.b > 1)
        and problem.width >= 24
        and problem.bytes <= WORKSPACE // 2
    )


@kept
def suits_exchange(problem: Problem) -> bool:
    """Whether dW is made with channels in the lanes, not filters: these would leave more empty.

    Of several groups if each has one filter: in memory those are channels, one after the other.
    """
    down, right = problem.reach
    groups = max(problem.groups, 1)
    channels, filters = problem.channels // groups, problem.filters // groups
    return (
        not walks_columns(problem, "weight")
        and not meets_positions(problem)
        and (groups == 1 or (filters == 1 and channels > 1))
        and problem.stride == (1, 1)
        and problem.mode == "zeros"
        and max(problem.top, problem.bottom) <= down
        and max(problem.left, problem.right) <= right
        and _lanes_filled(channels) > 1.25 * _lanes_filled(filters)
    )


@kept
def transposes_fewer(problem: Problem) -> bool:
    """Whether dW of a product of matrices has filters in the lanes, not the more channels.

    Fewer rows are transposed then, but so are those of W (found with both at 3 to 2048 channels, 2
    to 512 filters and 7 x 7 to 256 x 256, 1 to 32 images).
    """
    channels, filters = problem.channels, problem.filters
    return (
        16 < filters <= min(channels - 1, FILTERS_AT_ONCE)
        and problem.images * problem.y4[2] * problem.y4[3] >= 2 * filters
        and _lanes_filled(filters) >= _lanes_filled(channels)
    )


def _lanes_filled(count: int) -> float:
    """The share of the lanes of whole vectors."""
    return count / (-(-count // 16) * 16)


@kept
def plan_of_planes(problem: Problem, direction: str, threads: int) -> tuple[Plan, int]:
    """The plan of each plane of a depthwise layer, and the threads for all of them."""
    plane = problem._replace(rank=2, images=1, channels=1, filters=1, groups=1, algorithm="direct")
    threads = 1 if _is_small(problem) else min(threads, MAX_THREADS)
    return make_plan(plane, direction, 1), threads


def _is_small(problem: Problem) -> bool:
    """Whether one thread makes a layer as fast as several."""
    small = problem.plane or problem.bytes < SMALL_BYTES
    return problem.flops < SMALL_FLOPS and small


@kept
def is_pointwise(problem: Problem) -> bool:
    """Whether each output sees one pixel, its own: planes are then as good as one long row."""
    return (
        problem.one_tap
        and problem.stride == (1, 1)
        and problem.top == problem.bottom == problem.left == problem.right == 0
    )


@kept
def make_layer_plan(problem: Problem, direction: str, threads: int) -> LayerPlan:
    """The plan for Y, dX or dW of a layer; what decides the order of sums ignores `threads`."""
    if walks_columns(problem, direction) or walks_any_columns(problem, direction):
        return _plan_columns(problem, direction, threads)
    if direction == "weight":
        return _plan_weight(problem, threads)
    itemsize = max(np.dtype(problem.dtype).itemsize, 4)
    channels, filters = problem.channels // problem.groups, problem.filters // problem.groups
    back = direction == "input"
    strides = (1, 1) if back else problem.stride
    taps = [
        max(min(count, TAPS, REACH * s // d + 1), 1)
        for count, s, d in zip((problem.a, problem.b), strides, problem.dilation, strict=True)
    ]
    planes, reach = [], []
    for count, s, d in zip(taps, strides, problem.dilation, strict=True):
        planes.append(min(s, count))
        reach.append((count - 1) * d // s + 1)
    rows, columns = (
        [-(-size // s) for size, s in zip(problem.x4[2:], problem.stride, strict=True)]
        if back
        else problem.y4[2:]
    )
    reduced, made = (filters, channels) if back else (channels, filters)
    rows, columns = max(rows, 1), max(columns, 1)
    if _is_small(problem):
        threads = 1
    if made == 1 and reduced <= 2 and _suits_lanes(problem, direction, columns):
        return _plan_lanes(problem, rows, columns, 1, threads)
    if back and problem.one_tap and problem.stride != (1, 1):  # what it sees, without the gaps
        seen = problem._replace(
            height=problem.y4[2],
            width=problem.y4[3],
            stride=(1, 1),
            dilation=(1, 1),
            top=0,
            bottom=0,
            left=0,
            right=0,
        )
        return in_rows(make_layer_plan(seen, direction, threads), seen.width)
    if taps == [problem.a, problem.b]:
        band = _rows_of_filters(problem, rows, columns, made, back)
        if band > 0:
            # The order of sums does not depend on it: many threads get fewer rows each.
            row = _panel_row(problem, columns, back) + _outputs_row(problem, columns, back) * 64
            room = WORKSPACE // 2 // (min(threads, 16) * itemsize)
            band = _share(rows, max(min(band, room // row - problem.a), 1))
            depth = _share(reduced, max(FILTER_STEPS // (taps[0] * taps[1]), 1))
            lanes_of = UNPADDED_FILTERS if leaves_out_padding(problem, direction) else FILTERS
            return LayerPlan(
                lanes_of, band, columns, depth, taps[0], taps[1], 1, 1, min(threads, 16)
            )
    depth = max(min(reduced, -(-DEPTH // (taps[0] * taps[1]))), 1)
    if is_pointwise(problem):
        rows, columns = 1, rows * columns
    strip = min(columns, STRIP)

    def row_bytes() -> int:
        return depth * planes[0] * planes[1] * (strip + reach[1]) * itemsize

    while row_bytes() * (1 + reach[0]) > PANEL and strip > 64:
        strip = -(-strip // 2)
    while row_bytes() * (1 + reach[0]) > PANEL and depth > 1:
        depth = -(-depth // 2)
    band = max(min(PANEL // row_bytes() - reach[0], rows, -(-1024 // strip)), 1)
    band = _share(rows, band)
    if is_pointwise(problem):  # read in place: whole tiles
        room = max(min(PANEL // (depth * itemsize), 2 * STRIP) // TILE, 1) * TILE
        strip = -(-_share(columns, room) // TILE) * TILE
    items = problem.images * problem.groups * -(-rows // band) * -(-columns // strip)
    # Sums that wait for the next channels, in a MiB of their own.
    parts = -(-made * band * strip * itemsize // 2**20) if depth < reduced else 1
    while parts < -(-made // 6) and not _is_even(items * parts, threads):
        parts += 1
    scratch = PANEL + 2**21
    threads = max(min(threads, WORKSPACE // scratch), 1)
    return LayerPlan(POSITIONS, band, strip, depth, taps[0], taps[1], parts, 1, threads)


def in_rows(plan: LayerPlan, columns: int) -> LayerPlan:
    """A plan for planes as one long row, of `is_pointwise`, for planes with rows of so many."""
    if plan.lanes_of != POSITIONS:
        return plan
    columns = max(columns, 1)
    return plan._replace(band=max(plan.strip // columns, 1), strip=min(plan.strip, columns))


@kept
def plan_of_pixels(problem: Problem, direction: str, threads: int) -> LayerPlan:
    """The plan for Y or dX of filters of one tap that see one column of pixels, filters in lanes.

    The order of sums does not depend on how many pixels there are, which are images.
    """
    reduced = problem.filters if direction == "input" else problem.channels
    threads = 1 if _is_small(problem) else min(threads, 16)
    if direction == "forward" and reduced >= MANY_CHANNELS:
        return LayerPlan(CHANNELS, problem.height, 1, reduced, 1, 1, 1, 1, threads)
    most = min(PANEL_OF_FILTERS // reduced, OUTPUTS_OF_FILTERS)
    band = _share(problem.height, max(most, 1))
    return LayerPlan(FILTERS, band, 1, _share(reduced, FILTER_STEPS), 1, 1, 1, 1, threads)


def _panel_row(problem: Problem, columns: int, back: bool) -> int:
    """Elements that a row of outputs adds to the panel when filters lie in the lanes."""
    lattices = 1 if back else problem.stride[0] * problem.stride[1]
    reduced = (problem.filters if back else problem.channels) // problem.groups
    return max(reduced * (columns + problem.b) * lattices, 1)


def _outputs_row(problem: Problem, columns: int, back: bool) -> int:
    """Outputs of a row of all lattices."""
    return columns * math.prod(problem.stride) if back else columns


def _rows_of_filters(problem: Problem, rows: int, columns: int, made: int, back: bool) -> int:
    """How many rows at a time are best made with filters in the lanes; 0 where positions are.

    Both are counted in multiplications of vectors: those of the products, and what as many cost
    that are done beside them, for each output or for each row of a tile (fitted to 13,411 layers,
    of which the choice loses 1.4 % in the mean). That several images share filters must not count:
    an image has the same bits alone and in a batch.
    """
    reduced = (problem.filters if back else problem.channels) // problem.groups
    lattices = problem.stride[0] * problem.stride[1]
    steps = reduced * problem.a * problem.b / (lattices if back else 1)
    row = _panel_row(problem, columns, back)
    outputs = _outputs_row(problem, columns, back)
    band = min(PANEL_OF_FILTERS // row - problem.a, OUTPUTS_OF_FILTERS // outputs, rows)
    if band < 1:
        return 0
    direct = not back or problem.stride[1] == 1
    across = -(-(rows * columns + (rows - 1) * (problem.b > 1)) // 16)  # vectors
    along = rows * -(-columns // 16)
    # Positions see the source sorted by remainders, filters see it as it lies.
    sorted_rows = 0 if back or lattices == 1 else reduced * rows * lattices
    of_a_row = 20 + (1.5 * columns if problem.stride[1] > 2 else 0)
    few = {1: 1.6, 2: 1.2}.get(min(across, along), 1) * steps  # vectors fill no tile
    # Of lattices that share a panel those beside each other are stored as one.
    shared = back and problem.stride[1] == 2 and reduced * problem.a * problem.b <= DEPTH
    scattered = 16 if shared else 25
    as_positions = (
        (OF_A_SHARED_PLANE if shared else OF_A_PLANE)
        + sorted_rows * of_a_row
        + (made + -(-made // 6))
        * min(
            across * (few + (0 if direct and problem.b == 1 else scattered)),
            along * (few + (0 if direct and columns >= 16 else scattered)),
        )
    )
    lanes = -(-made // 16)
    slow = 1 + 0.3 * (lanes % 2) / lanes  # tiles of one vector
    met = steps * _rows_seen(problem, back)
    if leaves_out_padding(problem, "input" if back else "forward"):
        pairs, seen, _ = _columns_met(problem, back)
        met *= seen / max(pairs, 1)
    as_filters = rows * columns * lanes * (slow * met + 20)
    return _share(rows, band) if as_filters < as_positions else 0


@kept
def leaves_out_padding(problem: Problem, direction: str) -> bool:
    """Whether filters in the lanes see columns of taps one by one, in place, without padding.

    Counted for a row of outputs in multiplications of tiles: of those with padding and of packing
    it, which blocks of filters share, against what as many more tiles cost (fitted to 8,280 layers
    of 2 x 2 to 112 x 112, of which the choice loses 1 % in the mean; never to choose it, 14 %).
    """
    back = direction == "input"
    if is_pointwise(problem) or not (back or problem.mode == "zeros"):
        return False
    reduced, made = problem.channels // problem.groups, problem.filters // problem.groups
    down = problem.stride[0]
    rows, packed = float(problem.a), float(down)
    if back:
        reduced, made, rows, packed = made, reduced, problem.a / down, 1 / down
    blocks, parts = -(-made // 32), -(-reduced * problem.a * problem.b // FILTER_STEPS)
    all_pairs, seen, more = _columns_met(problem, back)
    return reduced * (rows * (all_pairs - seen) + 20 * packed / blocks) > OF_A_TILE * more * parts


def _columns_met(problem: Problem, back: bool) -> tuple[int, int, int]:
    """Of a row of the result: pairs of a column and one of taps, those of them that see no padding,
    and the tiles that columns of taps take one by one, less those that they take together.
    """
    right, width, outputs = problem.stride[1], problem.width, problem.y4[3]
    places = [tap * problem.dilation[1] - problem.left for tap in range(problem.b)]
    lattices = [(outputs, problem.b)]
    if back:
        lattices = [
            (-(-(width - i) // right), sum((i - place) % right == 0 for place in places))
            for i in range(min(right, width))
        ]
    pairs, seen = sum(size * taps for size, taps in lattices), _pairs_seen(problem, 1)
    return pairs, seen, sum(max(taps - 1, 0) * -(-size // TALLEST) for size, taps in lattices)


def _rows_seen(problem: Problem, back: bool) -> float:
    """Of all rows of the result and of taps, how many see anything; the rest is padding."""
    if problem.mode != "zeros":
        return 1.0
    outputs = problem.height / problem.stride[0] if back else problem.y4[2]
    return _pairs_seen(problem, 0) / max(outputs * problem.a, 1)


def _pairs_seen(problem: Problem, axis: int) -> int:
    """Pairs of an output and a tap along an axis that see no padding."""
    stride, outputs, size = problem.stride[axis], problem.y4[2 + axis], problem.x4[2 + axis]
    before = (problem.top, problem.left)[axis]
    seen = 0
    for tap in range((problem.a, problem.b)[axis]):
        place = tap * problem.dilation[axis] - before
        first, last = -(-max(-place, 0) // stride), min(-(-(size - place) // stride), outputs)
        seen += max(last - first, 0)
    return seen


def _suits_lanes(problem: Problem, direction: str, columns: int) -> bool:
    """Whether planes in the lanes, of groups that see a channel or two, are faster than positions.

    They leave too many lanes empty where groups are few: found with both at 1 to 24 groups, strides
    1 to 4 (at 3 and 4 positions are slow, in dX from 2 on).
    """
    stride = problem.stride[1]
    least = {"forward": 0.6 if stride < 3 else 0.45, "input": 0.6 / stride, "weight": 0.2}
    filled = _lanes_filled(max(problem.groups, 1))
    return filled >= least[direction] and _has_small_pictures(problem, columns)


def _has_small_pictures(problem: Problem, columns: int) -> bool:
    """Whether what one row of outputs sees of a depthwise layer leaves room for all threads."""
    width = columns * problem.stride[1]
    rows = problem.a * problem.dilation[0] + problem.stride[0]
    seen = rows * (width + problem.b * problem.dilation[1])
    return width <= WIDEST and seen <= 4 * PICTURE


def _plan_lanes(problem: Problem, rows: int, columns: int, bands: int, threads: int) -> LayerPlan:
    """The plan for channels in the lanes: bands of rows whose pictures stay in L2."""
    vectors = columns * problem.stride[1] + problem.b * problem.dilation[1]
    beyond = problem.a * problem.dilation[0]
    band = _share(rows, max((PICTURE // vectors - beyond) // problem.stride[0], 1))
    bands = max(min(bands, problem.images * -(-rows // band)), 1)
    return LayerPlan(
        PLANES, band, columns, 1, problem.a, problem.b, 1, bands, max(min(threads, 16), 1)
    )


def _is_even(items: int, threads: int) -> bool:
    """Whether threads that take them one by one have several each, and all work to the end."""
    return items >= 2 * threads and items >= 0.9 * threads * -(-items // threads)


def _share(count: int, most: int) -> int:
    """What is taken at a time of a count, at most `most` and nearly the same each time."""
    count, most = max(count, 1), max(most, 1)
    return -(-count // -(-count // most))


def _plan_weight(problem: Problem, threads: int) -> LayerPlan:
    """The plan for dW: blocks of Y, channels and filters so that all that meets lies in L2."""
    itemsize = max(np.dtype(problem.dtype).itemsize, 4)
    groups = problem.groups
    channels, filters = max(problem.channels // groups, 1), max(problem.filters // groups, 1)
    rows, columns = (max(size, 1) for size in problem.y4[2:])
    taps = [
        max(min(count, TAPS, REACH // d + 1), 1)
        for count, d in zip((problem.a, problem.b), problem.dilation, strict=True)
    ]
    if _is_small(problem):
        threads = 1
    if meets_positions(problem):
        return _plan_positions(problem, channels, filters, threads)
    if channels == 1 and filters <= 2 and _suits_lanes(problem, "weight", columns):
        bands = -(-ITEMS // -(-filters * groups // 16))
        return _plan_lanes(problem, rows, columns, bands, threads)
    parts = -(-filters // FILTERS_AT_ONCE)
    lanes = _share(filters, FILTERS_AT_ONCE)
    at_once = max(TRANSPOSED // (-(-lanes // 16) * 16), 128)
    strip = _share(columns, at_once)
    band = _share(rows, -(-at_once // strip))
    width = strip * problem.stride[1] + taps[1] * problem.dilation[1]
    height = band * problem.stride[0] + taps[0] * problem.dilation[0]
    seen = 1 if problem.one_tap else width * height
    room = 2**18 // itemsize
    unpadded = _meets_taps_one_by_one(problem, channels, filters)
    if unpadded:
        most = room // (taps[1] * lanes * min(channels, CHANNELS_OF_A_TAP))
        taps[0] = max(min(taps[0], most), 1)
    depth = _share(channels, min(room // (taps[0] * taps[1] * max(lanes, 16)), room // seen))
    # Several threads have enough to do: by partial sums, whatever the threads, if these are few
    # against what they sum up; then by fewer channels at a time, for which Y is transposed again.
    taken = groups * parts * -(-problem.a // taps[0]) * -(-problem.b // taps[1])
    outputs = problem.images * rows * columns
    size = problem.filters * channels * problem.a * problem.b * itemsize
    bands = min(-(-ITEMS // (taken * -(-channels // depth))), problem.images * -(-rows // band))
    bands = max(min(bands, outputs // 1024, 2**21 // max(size, 1)), 1)
    taken *= bands
    threads = max(min(threads, (WORKSPACE - 2**22) // 2**20), 1)
    pairs = depth * taps[0] * taps[1]
    if threads > 1 and taken * -(-channels // depth) < ITEMS and pairs > PAIRS:
        least = CHANNELS_OF_A_TAP if unpadded else PAIRS // (taps[0] * taps[1])
        depth = min(depth, _share(channels, max(-(-channels // (ITEMS // taken or 1)), least)))
    lanes_of = UNPADDED_FILTERS if unpadded else FILTERS
    return LayerPlan(lanes_of, band, strip, depth, taps[0], taps[1], parts, bands, threads)


@kept
def meets_positions(problem: Problem) -> bool:
    """Whether dW of few channels has positions in the lanes: where filters would leave them empty.

    Few filters of 3 x 3 are faster down columns, full lanes of filters where many sums share what
    is transposed (found with all at 1 to 12 channels, 1 to 64 filters of 1 x 1 to 7 x 7, 24 x 24 to
    512 x 512).
    """
    groups = max(problem.groups, 1)
    channels, filters = problem.channels // groups, problem.filters // groups
    pairs, positions = channels * problem.a * problem.b, problem.y4[2] * problem.y4[3]
    if problem.dtype not in FLOATS or problem.stride != (1, 1):
        return False
    if pairs > PAIRS_OF_POSITIONS or positions < POSITIONS_MET:
        return False
    if filters < (4 if problem.a == problem.b == 3 else 3 if groups > 1 else 1):
        return False
    few, filled = (8, 0.6) if problem.one_tap else (27, 0.8)
    return pairs <= few or _lanes_filled(filters) < filled


def _plan_positions(problem: Problem, channels: int, filters: int, threads: int) -> LayerPlan:
    """The plan for positions in the lanes: blocks of some rows, or of a part of one."""
    rows, columns = problem.y4[2:]
    at_once = max(POSITIONS_AT_ONCE // max(np.dtype(problem.dtype).itemsize, 4), 1)
    strip = _share(columns, at_once)
    band = _share(rows, at_once // strip)
    sums = filters * channels * problem.a * problem.b
    parts = -(-filters // -(-filters // -(-sums // SUMS_OF_POSITIONS)))
    bands = min(-(-ITEMS // (parts * problem.groups)), problem.images * -(-rows // band))
    threads = 1 if _is_small(problem) else min(threads, 16)
    return LayerPlan(POSITIONS, band, strip, channels, problem.a, problem.b, parts, bands, threads)


def _meets_taps_one_by_one(problem: Problem, channels: int, filters: int) -> bool:
    """Whether dW has each tap meet those outputs that see X through it, where X lies.

    That needs no padding, but channels, of which each adds a row to a tile, for enough sums (found
    with both at 1 to 24 channels and 16 to 96 filters). Of eleven, one is left for a tile of one.
    """
    if problem.mode != "zeros" or problem.one_tap or channels < 4:
        return False
    rows = channels // -(-channels // 6)
    sums = rows * min(-(-filters // 16), 4)
    return sums >= FULL_TILE or (channels >= 8 and (channels != 11 or filters > 16))
