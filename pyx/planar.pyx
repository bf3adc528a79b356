"""One plane for one element type and one instruction level: Y, the gradient of W, sums, shifts.

Built once for each element type and level. Pointers, sizes and a plan come in (`kernels.pxd`);
nothing is decided here and Python is never seen.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kernels cimport EDGE, MAX_FILTER, REFLECT, SYMMETRIC, WRAP, ZEROS, Kernels, Plane


cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef double total
    ctypedef float vec
    enum:
        LANES, MR, NV, RS, TAPS
    vec load(const real *)
    void store(real *, vec)
    vec splat(real)


cdef inline Py_ssize_t parts_in(Py_ssize_t count, Py_ssize_t size) noexcept nogil:
    return (count + size - 1) // size


cdef inline Py_ssize_t vectors_in(Py_ssize_t columns) noexcept nogil:
    return parts_in(columns, LANES)


cdef inline size_t aligned(size_t count) noexcept nogil:
    return (count + 63) // 64 * 64


cdef inline char *align(char *memory) noexcept nogil:
    return <char *> aligned(<size_t> memory)


# ---------------------------------------------------------------- what stands outside X


cdef Py_ssize_t source(Py_ssize_t i, Py_ssize_t n, int mode) noexcept nogil:
    """Where in 0..n-1 the padding takes its element i from; -1 where it is a zero."""
    cdef Py_ssize_t period
    if 0 <= i < n:
        return i
    if mode == ZEROS:
        return -1
    if mode == EDGE:
        return 0 if i < 0 else n - 1
    period = n if mode == WRAP else 2 * n if mode == SYMMETRIC else max(2 * n - 2, 1)
    i %= period
    if i < 0:
        i += period
    if i < n:
        return i
    return 2 * n - 1 - i if mode == SYMMETRIC else 2 * n - 2 - i


cdef void copy_padded(
    real *to, Py_ssize_t pitch, const real **copies, const real **rows, Py_ssize_t row_count,
    Py_ssize_t n, Py_ssize_t first, Py_ssize_t count, int mode
) noexcept nogil:
    """copies[r] = a copy of rows[r] from column `first` on, padded; left alone where rows[r] is NULL.

    Zeros may go up to LANES - 1 elements past `count`, which the pitch or the next row has room for.
    """
    cdef Py_ssize_t low = min(max(-first, 0), count)  # in front of the row
    cdef Py_ssize_t high = max(min(n - first, count), low)  # behind it
    cdef Py_ssize_t r
    cdef const real *row
    for r in range(row_count):
        row = rows[r]
        if row == NULL:
            continue
        copies[r] = to + r * pitch
        copy_row(to + r * pitch, row, n, first, low, high, count, mode)


cdef inline void copy_row(
    real *to, const real *row, Py_ssize_t n, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high,
    Py_ssize_t count, int mode
) noexcept nogil:
    """Padding up to low and from high on; row[first + k] between."""
    cdef Py_ssize_t k
    if mode == ZEROS:
        for k in range(vectors_in(low)):
            store(to + k * LANES, splat(0))
        for k in range(vectors_in(count - high)):
            store(to + high + k * LANES, splat(0))
    else:
        for k in range(low):
            to[k] = row[source(first + k, n, mode)]
        for k in range(high, count):
            to[k] = row[source(first + k, n, mode)]
    if high - low < LANES:
        for k in range(low, high):
            to[k] = row[first + k]
        return
    for k in range((high - low) // LANES):
        store(to + low + k * LANES, load(row + first + low + k * LANES))
    store(to + high - LANES, load(row + first + high - LANES))


cdef void point_at_rows(
    const Plane *p, const real **rows, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """rows[r] = the row of X that stands at first + r, NULL where that is a row of zeros."""
    cdef Py_ssize_t r, i
    for r in range(count):
        i = source(first + r, p.m, p.mode)
        if i < 0:
            rows[r] = NULL
        else:
            rows[r] = <const real *> p.x + i * p.x_pitch


# ---------------------------------------------------------------- Y from X and W
#
# Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]
#
# A tile is MR rows x NV vectors of Y in registers. Each vector of X is loaded once for each filter
# column q and used for every tile row that its row meets. In a strip of columns the MR + a - 1 rows
# of X stay in L2. The sum goes over p, then q, in groups of BLOCK filter rows (a sequential sum over
# a large filter loses digits), the same for every element, wherever it lies in a tile.
# The columns whose window leaves X are read from a padded copy, in pairs of a left and a right vector.
# Rows of zeros are skipped. Each thread writes rows of its own.

cdef enum:
    BLOCK = 16  # filter rows a group
    PADDED = 64  # columns of Y on either side that one padded copy serves


cdef struct Strip:
    const real **rows  # of X: rows[r] meets W[r - t] in tile row t
    const real *w  # packed, b taps a row
    Py_ssize_t a, b
    real *y
    Py_ssize_t y_pitch
    Py_ssize_t x_step, y_step  # from one vector of a tile to the next
    int live  # rows of the tile that are rows of Y
    real bias


cdef inline void meet(
    vec *acc, const Strip *s, const real **rows, const real *w, Py_ssize_t r, Py_ssize_t j,
    int nv, int first, int last
) noexcept nogil:
    """Row r of X into the tile rows first <= t < last."""
    cdef Py_ssize_t q
    cdef int t, v
    cdef vec tap
    cdef vec x[NV]
    cdef const real *row = rows[r]
    if row == NULL:
        return
    row += j
    w += r * s.b
    for q in range(s.b):
        for v in range(nv):
            x[v] = load(row + q + v * s.x_step)
        for t in range(MR):
            if first <= t < last:
                tap = splat(w[q - t * s.b])
                for v in range(nv):
                    acc[t * NV + v] = acc[t * NV + v] + tap * x[v]


cdef inline void meet_few(
    vec *acc, const Strip *s, const real **rows, const real *w, Py_ssize_t j, int nv, int a
) noexcept nogil:
    """All rows of X that a filter of a < MR rows meets. Written out: gcc 12 would keep acc in memory."""
    meet(acc, s, rows, w, 0, j, nv, 0, 1)
    meet(acc, s, rows, w, 1, j, nv, max(2 - a, 0), 2)
    meet(acc, s, rows, w, 2, j, nv, max(3 - a, 0), 3)
    meet(acc, s, rows, w, 3, j, nv, max(4 - a, 0), 4)
    meet(acc, s, rows, w, 4, j, nv, max(5 - a, 0), 5)
    meet(acc, s, rows, w, 5, j, nv, max(6 - a, 0), 6)
    if a > 1:
        meet(acc, s, rows, w, 6, j, nv, 7 - a, 6)
    if a > 2:
        meet(acc, s, rows, w, 7, j, nv, 8 - a, 6)
    if a > 3:
        meet(acc, s, rows, w, 8, j, nv, 9 - a, 6)
    if a > 4:
        meet(acc, s, rows, w, 9, j, nv, 10 - a, 6)


cdef inline void meet_all(
    vec *acc, const Strip *s, const real **rows, const real *w, Py_ssize_t j, int nv, Py_ssize_t a
) noexcept nogil:
    """All rows of X that a filter of a rows meets."""
    cdef Py_ssize_t r
    if a == 1:
        meet_few(acc, s, rows, w, j, nv, 1)
    elif a == 2:
        meet_few(acc, s, rows, w, j, nv, 2)
    elif a == 3:
        meet_few(acc, s, rows, w, j, nv, 3)
    elif a == 4:
        meet_few(acc, s, rows, w, j, nv, 4)
    elif a == 5:
        meet_few(acc, s, rows, w, j, nv, 5)
    else:
        meet(acc, s, rows, w, 0, j, nv, 0, 1)
        meet(acc, s, rows, w, 1, j, nv, 0, 2)
        meet(acc, s, rows, w, 2, j, nv, 0, 3)
        meet(acc, s, rows, w, 3, j, nv, 0, 4)
        meet(acc, s, rows, w, 4, j, nv, 0, 5)
        for r in range(5, a):
            meet(acc, s, rows, w, r, j, nv, 0, 6)
        meet(acc, s, rows, w, a, j, nv, 1, 6)
        meet(acc, s, rows, w, a + 1, j, nv, 2, 6)
        meet(acc, s, rows, w, a + 2, j, nv, 3, 6)
        meet(acc, s, rows, w, a + 3, j, nv, 4, 6)
        meet(acc, s, rows, w, a + 4, j, nv, 5, 6)


cdef inline Py_ssize_t tiles(
    const Strip *s, Py_ssize_t j, Py_ssize_t end, int nv, Py_ssize_t step
) noexcept nogil:
    """Tiles of nv vectors from column j on, one each `step` columns; returns the first column left."""
    cdef vec acc[MR * NV]
    cdef vec sums[MR * NV]
    cdef Py_ssize_t p
    cdef int t, v
    while j + step <= end:
        p = 0
        while True:
            for t in range(MR):
                for v in range(nv):
                    acc[t * NV + v] = splat(s.bias if p == 0 else 0)
            meet_all(acc, s, s.rows + p, s.w + p * s.b, j, nv, min(s.a - p, <Py_ssize_t> BLOCK))
            if p > 0:
                for t in range(MR):
                    for v in range(nv):
                        acc[t * NV + v] = acc[t * NV + v] + sums[t * NV + v]
            p += BLOCK
            if p >= s.a:
                break
            for t in range(MR):
                for v in range(nv):
                    sums[t * NV + v] = acc[t * NV + v]
        for t in range(MR):
            if t < s.live:
                for v in range(nv):
                    store(s.y + t * s.y_pitch + j + v * s.y_step, acc[t * NV + v])
        j += step
    return j


ctypedef Py_ssize_t (*Tiles)(const Strip *, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef Py_ssize_t tiles_1(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 1, LANES)

cdef Py_ssize_t tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, 2 * LANES)

cdef Py_ssize_t tiles_3(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(3, NV), 3 * LANES)

cdef Py_ssize_t tiles_4(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(4, NV), 4 * LANES)

cdef Py_ssize_t tiles_left_and_right(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, LANES)

cdef Tiles TILES[5]
TILES[:] = [NULL, tiles_1, tiles_2, tiles_3, tiles_4]


cdef void interior(
    const Plane *p, Strip *s, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """Rows of tiles over columns whose windows lie inside X; width is 0 or at least LANES."""
    cdef const real **x_rows = s.rows
    cdef real *y = s.y
    cdef Py_ssize_t strip, begin, end, tile, i, j, vectors
    for strip in range(parts_in(width, p.strip)):
        begin = strip * p.strip
        end = min(begin + p.strip, width)
        for tile in range(parts_in(rows, MR)):
            i = tile * MR
            s.rows = x_rows + i
            s.y = y + i * s.y_pitch
            s.live = min(rows - i, <Py_ssize_t> MR)
            j = TILES[NV](s, begin, end)
            vectors = (end - j + LANES - 1) // LANES
            if vectors * LANES > end:  # no room to overlap what is on the left
                j = TILES[vectors - 1](s, j, end)
                vectors = 1
            if j < end:
                TILES[vectors](s, end - vectors * LANES, end)


cdef struct Layout:
    # How one call of `correlate` cuts the columns, and what one thread needs for it.
    Py_ssize_t width  # of Y, at least one vector
    Py_ssize_t edge  # vectors on either side that are read from a padded copy
    Py_ssize_t half, rows  # of the padded copy: columns a side, rows
    Py_ssize_t bytes


cdef Layout lay_out(const Plane *p) noexcept nogil:
    cdef Layout l
    cdef Py_ssize_t outside = max(p.left, 0)
    l.width = max(p.ow, <Py_ssize_t> LANES)
    outside = max(outside, l.width - (p.n + p.left - p.b + 1))
    l.edge = vectors_in(outside)
    if 2 * l.edge * LANES + LANES > l.width:
        l.edge = vectors_in((l.width + 1) // 2)
    l.half = vectors_in(min(l.edge * LANES, <Py_ssize_t> PADDED) + p.b - 1) * LANES + LANES
    l.rows = (p.band + MR + p.a + 7) // 8 * 8  # keeps what follows the pointers aligned
    l.bytes = aligned(
        2 * l.rows * sizeof(void *)
        + sizeof(real) * (l.rows * 2 * l.half + LANES + p.band * LANES + p.a * p.b)
    )
    return l


cdef void edges(
    const Plane *p, const Layout *l, Strip *s, Py_ssize_t rows, const real **padded_rows, real *padded
) noexcept nogil:
    """Rows of tiles, each of a left and a right vector, over the columns whose windows leave X."""
    cdef const real **x_rows = s.rows
    cdef real *y = s.y
    cdef Py_ssize_t tile, i, columns, begin = 0, right = l.width - l.edge * LANES
    s.x_step = l.half
    s.y_step = right
    while begin < l.edge * LANES:
        columns = min(l.edge * LANES - begin, <Py_ssize_t> PADDED)
        copy_padded(
            padded + l.half, 2 * l.half, padded_rows, x_rows, rows + p.a - 1,
            p.n, right + begin - p.left, columns + p.b - 1, p.mode,
        )
        copy_padded(
            padded, 2 * l.half, padded_rows, x_rows, rows + p.a - 1,
            p.n, begin - p.left, columns + p.b - 1, p.mode,
        )
        for tile in range(parts_in(rows, MR)):
            i = tile * MR
            s.rows = padded_rows + i
            s.y = y + i * s.y_pitch + begin
            s.live = min(rows - i, <Py_ssize_t> MR)
            tiles_left_and_right(s, 0, columns)
        begin += PADDED


cdef void correlate_rows(
    const Plane *p, const Layout *l, Py_ssize_t first, Py_ssize_t last, char *scratch
) noexcept nogil:
    """Rows first to last of Y, a band at a time."""
    cdef const real **x_rows = <const real **> scratch
    cdef const real **padded_rows = x_rows + l.rows
    cdef real *padded = <real *> (padded_rows + l.rows)
    cdef real *narrow = padded + l.rows * 2 * l.half + LANES
    cdef real *w = narrow + p.band * LANES
    cdef real *y
    cdef Py_ssize_t band, i, j, k, q, rows, met
    cdef Strip s
    for k in range(p.a):
        for q in range(p.b):
            w[k * p.b + q] = (<const real *> p.w)[k * p.w_row + q * p.w_col]
    s.w = w
    s.a = p.a
    s.b = p.b
    s.bias = 0 if p.bias == NULL else (<const real *> p.bias)[0]
    for band in range(parts_in(last - first, p.band)):
        i = first + band * p.band
        rows = min(p.band, last - i)
        met = rows + p.a - 1
        point_at_rows(p, x_rows, i - p.top, met)
        for k in range(met, met + MR):  # met by the rows of the last tile that are not there
            x_rows[k] = NULL
        for k in range(met + MR):
            padded_rows[k] = NULL
        y = <real *> p.y + i * p.y_pitch
        s.y = narrow if p.ow < LANES else y
        s.y_pitch = LANES if p.ow < LANES else p.y_pitch
        s.rows = x_rows
        if l.edge > 0:
            edges(p, l, &s, rows, padded_rows, padded)
        for k in range(met):
            if x_rows[k] != NULL:
                x_rows[k] += l.edge * LANES - p.left
        s.rows = x_rows
        s.x_step = s.y_step = LANES
        s.y = (narrow if p.ow < LANES else y) + l.edge * LANES
        interior(p, &s, rows, max(l.width - 2 * l.edge * LANES, 0))
        if p.ow < LANES:
            for k in range(rows):
                for j in range(p.ow):
                    y[k * p.y_pitch + j] = narrow[k * LANES + j]


cdef void correlate_rows_exactly(const Plane *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The same with what lies in the padding left out of the sums, for filters that are not finite."""
    cdef Py_ssize_t i, j, k, q, begin, end
    cdef const real *x
    cdef real *y
    cdef real tap
    for i in range(first, last):
        y = <real *> p.y + i * p.y_pitch
        for j in range(p.ow):
            y[j] = 0 if p.bias == NULL else (<const real *> p.bias)[0]
        for k in range(max(p.top - i, 0), min(p.m + p.top - i, p.a)):
            for q in range(p.b):
                tap = (<const real *> p.w)[k * p.w_row + q * p.w_col]
                begin = max(p.left - q, 0)
                end = min(p.n + p.left - q, p.ow)
                x = <const real *> p.x + (i - p.top + k) * p.x_pitch + q - p.left
                for j in range(begin, end):
                    y[j] += tap * x[j]


cdef bint is_finite(
    const real *w, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t row, Py_ssize_t column
) noexcept nogil:
    cdef Py_ssize_t p, q
    cdef real zero = 0
    for p in range(rows):
        for q in range(columns):
            if w[p * row + q * column] * zero != 0:
                return False
    return True


cdef void correlate_share(
    const Plane *p, const Layout *l, Py_ssize_t thread, char *scratch, bint exactly
) noexcept nogil:
    """The rows of Y that one thread writes: whole tiles."""
    cdef Py_ssize_t count = parts_in(p.oh, MR)
    cdef Py_ssize_t first = thread * count // p.threads * MR
    cdef Py_ssize_t last = min((thread + 1) * count // p.threads * MR, p.oh)
    if exactly:
        correlate_rows_exactly(p, first, last)
    else:
        correlate_rows(p, l, first, last, scratch + thread * l.bytes)


cdef int correlate(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Layout l
    cdef Py_ssize_t thread
    cdef char *memory
    cdef bint exactly = p.mode == ZEROS and not is_finite(
        <const real *> p.w, p.a, p.b, p.w_row, p.w_col
    )
    p.band = parts_in(min(p.band, p.oh), MR) * MR
    p.strip = vectors_in(p.strip) * LANES
    l = lay_out(&p)
    memory = <char *> malloc(p.threads * l.bytes + 64)
    if memory == NULL:
        return -1
    if p.threads == 1:
        correlate_share(&p, &l, 0, align(memory), exactly)
    else:
        for thread in prange(p.threads, num_threads=<int> p.threads, schedule="static"):
            correlate_share(&p, &l, thread, align(memory), exactly)
    free(memory)
    return 0


# ---------------------------------------------------------------- the gradient of W from X and Y
#
# dW[p, q] = sum over i, j of Y[i, j] * X[i - top + p, j - left + q]
#
# The accumulators are up to TAPS x TAPS taps of W, the lanes run along a row. A step takes RS rows of
# Y; each vector of X is loaded once for each filter column and met by all of these rows. After about
# FLUSH steps the accumulators are added up in `total` (float64 for float32).
# An item of work is a band of rows (fixed by the plan, never by the threads) for a few rows of W; it
# writes sums of its own, which are added in the order of the bands.
# Columns whose windows leave X, and those left over, are read from padded copies of X and Y.

cdef enum:
    FLUSH = 64
    CHUNK = 128  # columns of a padded copy


cdef struct Columns:
    # Y and X over a range of columns, as `taps` reads them
    const real **y_rows
    const real **x_rows
    Py_ssize_t steps, count  # steps of RS rows; columns, a multiple of LANES
    Py_ssize_t q  # the first filter column


cdef inline void meet_y(
    vec *acc, const vec *y, const real **x_rows, Py_ssize_t j, int r, int pt, int qt
) noexcept nogil:
    """Row r of X with the RS rows of Y, for all taps."""
    cdef int q, t
    cdef vec x
    if r < RS + pt - 1:
        for q in range(qt):
            x = load(x_rows[r] + j + q)
            for t in range(RS):
                if 0 <= r - t < pt:
                    acc[(r - t) * qt + q] = acc[(r - t) * qt + q] + y[t] * x


cdef inline void taps(const Columns *c, total *sums, int pt, int qt) noexcept nogil:
    """Add pt x qt taps over a range of columns to sums[pt][qt][LANES]."""
    cdef vec acc[TAPS * TAPS]
    cdef vec y[RS]
    cdef real flat[TAPS * TAPS * LANES]
    cdef Py_ssize_t step = 0, last, j, k, v, group
    cdef int t
    cdef const real **x_rows
    cdef const real **y_rows
    pt = min(pt, TAPS)  # both are compile-time constants; larger ones are never called
    qt = min(qt, TAPS)
    group = max(FLUSH * LANES // c.count, <Py_ssize_t> 1)
    while step < c.steps:
        last = min(step + group, c.steps)
        for t in range(pt * qt):
            acc[t] = splat(0)
        for k in range(step, last):
            x_rows = c.x_rows + k * RS
            y_rows = c.y_rows + k * RS
            for v in range(c.count // LANES):
                j = v * LANES
                for t in range(RS):
                    y[t] = load(y_rows[t] + j)
                meet_y(acc, y, x_rows, j + c.q, 0, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 1, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 2, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 3, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 4, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 5, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 6, pt, qt)
                meet_y(acc, y, x_rows, j + c.q, 7, pt, qt)
        for t in range(pt * qt):
            store(flat + t * LANES, acc[t])
        for j in range(pt * qt * LANES):
            sums[j] += flat[j]
        step = last


cdef inline void taps_of(const Columns *c, total *sums, int pt, int qt) noexcept nogil:
    if qt == 1:
        taps(c, sums, pt, 1)
    elif qt == 2:
        taps(c, sums, pt, 2)
    elif qt == 3 or TAPS == 3:
        taps(c, sums, pt, 3)
    elif qt == 4:
        taps(c, sums, pt, 4)
    else:
        taps(c, sums, pt, 5)


cdef void any_taps(const Columns *c, total *sums, int pt, int qt) noexcept nogil:
    """`taps` compiled for each of the TAPS x TAPS sizes."""
    if pt == 1:
        taps_of(c, sums, 1, qt)
    elif pt == 2:
        taps_of(c, sums, 2, qt)
    elif pt == 3 or TAPS == 3:
        taps_of(c, sums, 3, qt)
    elif pt == 4:
        taps_of(c, sums, 4, qt)
    else:
        taps_of(c, sums, 5, qt)


cdef struct WeightMemory:
    # What one thread needs for an item, and the row of zeros that all share.
    const real **y_rows
    const real **x_rows
    const real **y_table
    const real **x_table
    real *y_copy
    real *x_copy
    total *sums  # [part][TAPS * TAPS][LANES]
    const real *zeros


cdef void weight_columns(
    const Plane *p, const WeightMemory *memory, Py_ssize_t steps, int pt, Py_ssize_t columns
) noexcept nogil:
    """Each part of the filter's columns over the columns that the tables point at."""
    cdef Py_ssize_t part, parts = parts_in(p.b, TAPS), end
    cdef Columns c
    c.y_rows = memory.y_table
    c.x_rows = memory.x_table
    c.steps = steps
    c.count = columns
    for part in range(parts):
        c.q = part * p.b // parts
        end = (part + 1) * p.b // parts
        any_taps(&c, memory.sums + part * TAPS * TAPS * LANES, pt, <int> (end - c.q))


cdef void weight_in_place(
    const Plane *p, const WeightMemory *memory, Py_ssize_t steps, int pt, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t r, begin = first
    cdef const real *row
    while begin < last:
        for r in range(steps * RS):
            row = memory.y_rows[r]
            memory.y_table[r] = memory.zeros if row == NULL else row + begin
        for r in range(steps * RS + pt - 1):
            row = memory.x_rows[r]
            memory.x_table[r] = memory.zeros if row == NULL else row + begin - p.left
        weight_columns(p, memory, steps, pt, min(p.strip, last - begin))
        begin += p.strip


cdef void weight_from_copies(
    const Plane *p, const WeightMemory *memory, Py_ssize_t steps, int pt, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t r, columns, begin = first
    while begin < last:
        columns = vectors_in(min(last - begin, <Py_ssize_t> CHUNK)) * LANES
        for r in range(steps * RS):
            memory.y_table[r] = memory.zeros
        for r in range(steps * RS + pt - 1):
            memory.x_table[r] = memory.zeros
        copy_padded(
            memory.y_copy, CHUNK, memory.y_table, memory.y_rows, steps * RS,
            last, begin, columns, ZEROS,
        )
        copy_padded(
            memory.x_copy, CHUNK + MAX_FILTER, memory.x_table, memory.x_rows, steps * RS + pt - 1,
            p.n, begin - p.left, columns + p.b - 1, p.mode,
        )
        weight_columns(p, memory, steps, pt, columns)
        begin += CHUNK


cdef void weight_item(const Plane *p, Py_ssize_t item, total *sums, const WeightMemory *memory) noexcept nogil:
    """A few rows of dW over one band; item counts bands, then parts of the filter's rows."""
    cdef Py_ssize_t parts = parts_in(p.a, TAPS), part = item % parts, i = item // parts * p.band
    cdef Py_ssize_t rows = min(p.band, p.oh - i), steps = parts_in(rows, RS)
    cdef Py_ssize_t k = part * p.a // parts
    cdef int pt = <int> ((part + 1) * p.a // parts - k)
    cdef Py_ssize_t first = 0, last = p.ow, left, right, r, q, t, lane, width
    cdef total s
    memset(memory.sums, 0, parts_in(p.b, TAPS) * TAPS * TAPS * LANES * sizeof(total))
    for r in range(steps * RS):
        memory.y_rows[r] = <const real *> p.y + (i + r) * p.y_pitch if r < rows else NULL
    point_at_rows(p, memory.x_rows, i - p.top + k, rows + pt - 1)
    for r in range(rows + pt - 1, steps * RS + pt - 1):
        memory.x_rows[r] = NULL
    if p.mode == ZEROS:  # columns that meet X at all
        first = max(p.left - p.b + 1, 0)
        last = max(min(p.n + p.left, p.ow), first)
    left = first + vectors_in(max(p.left - first, 0)) * LANES  # from here to right in place
    right = left + (min(p.n + p.left - p.b + 1, last) - left) // LANES * LANES
    if right > left:
        weight_from_copies(p, memory, steps, pt, first, left)
        weight_in_place(p, memory, steps, pt, left, right)
        weight_from_copies(p, memory, steps, pt, right, last)
    else:
        weight_from_copies(p, memory, steps, pt, first, last)
    parts = parts_in(p.b, TAPS)
    for part in range(parts):
        q = part * p.b // parts
        width = (part + 1) * p.b // parts - q
        for t in range(pt * width):
            s = 0
            for lane in range(LANES):
                s += memory.sums[(part * TAPS * TAPS + t) * LANES + lane]
            sums[(k + t // width) * p.b + q + t % width] = s


cdef void weight_share(
    const Plane *p, Py_ssize_t thread, total *sums, char *scratch, const real *zeros
) noexcept nogil:
    """The items that one thread works on."""
    cdef Py_ssize_t parts = parts_in(p.a, TAPS), items = parts_in(p.oh, p.band) * parts
    cdef Py_ssize_t rows = weight_rows(p), item
    cdef WeightMemory memory
    memory.y_rows = <const real **> scratch
    memory.x_rows = memory.y_rows + rows
    memory.y_table = memory.x_rows + rows
    memory.x_table = memory.y_table + rows
    memory.sums = <total *> (memory.x_table + rows)
    memory.y_copy = <real *> (memory.sums + parts_in(p.b, TAPS) * TAPS * TAPS * LANES)
    memory.x_copy = memory.y_copy + rows * CHUNK
    memory.zeros = zeros
    for item in range(thread * items // p.threads, (thread + 1) * items // p.threads):
        weight_item(p, item, sums + item // parts * p.a * p.b, &memory)


cdef inline Py_ssize_t weight_rows(const Plane *p) noexcept nogil:
    return (p.band + RS + TAPS + 7) // 8 * 8


cdef size_t weight_bytes(const Plane *p) noexcept nogil:
    """What one thread needs."""
    return aligned(
        weight_rows(p) * (4 * sizeof(void *) + (2 * CHUNK + MAX_FILTER) * sizeof(real))
        + parts_in(p.b, TAPS) * TAPS * TAPS * LANES * sizeof(total)
        + LANES * sizeof(real)
    )


cdef total row_dot(const real *x, const real *y, Py_ssize_t count, int y_moves) noexcept nogil:
    """The sum of x[j] * y[j], or of x[j] times the first 4 * LANES of y where y does not move."""
    cdef vec acc[4]
    cdef real flat[4 * LANES]
    cdef Py_ssize_t end, j = 0
    cdef int t
    cdef total s = 0
    while j + 4 * LANES <= count:
        end = min(j + 4 * LANES * FLUSH, count)
        for t in range(4):
            acc[t] = splat(0)
        while j + 4 * LANES <= end:
            for t in range(4):
                acc[t] = acc[t] + load(x + j + t * LANES) * load(y + j * y_moves + t * LANES)
            j += 4 * LANES
        for t in range(4):
            store(flat + t * LANES, acc[t])
        for t in range(4 * LANES):
            s += flat[t]
    while j < count:
        s += x[j] * y[j * y_moves]
        j += 1
    return s


cdef void weight_exactly(const Plane *p, Py_ssize_t k, Py_ssize_t q) noexcept nogil:
    """One tap of dW with nothing but its own terms in the sum, for inputs that are not finite."""
    cdef Py_ssize_t i, j, r
    cdef Py_ssize_t begin = min(max(p.left - q, 0), p.ow)
    cdef Py_ssize_t end = max(min(p.n + p.left - q, p.ow), begin)
    cdef const real *x
    cdef const real *y
    cdef total s = 0
    for i in range(p.oh):
        r = source(i - p.top + k, p.m, p.mode)
        if r < 0:
            continue
        x = <const real *> p.x + r * p.x_pitch
        y = <const real *> p.y + i * p.y_pitch
        s += row_dot(x + begin - p.left + q, y + begin, end - begin, 1)
        if p.mode != ZEROS:
            for j in range(begin):
                s += x[source(j - p.left + q, p.n, p.mode)] * y[j]
            for j in range(end, p.ow):
                s += x[source(j - p.left + q, p.n, p.mode)] * y[j]
    (<real *> p.w)[k * p.w_row + q * p.w_col] = <real> s


cdef int weight(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Py_ssize_t thread, k, band, bands
    cdef size_t bytes, zeros_bytes, sums_bytes
    cdef char *memory
    cdef real *zeros
    cdef total *sums
    cdef char *scratch
    cdef total s
    p.band = parts_in(min(p.band, p.oh), RS) * RS
    p.strip = vectors_in(p.strip) * LANES
    bands = parts_in(p.oh, p.band)
    bytes = weight_bytes(&p)
    zeros_bytes = aligned((max(min(p.strip, p.ow), <Py_ssize_t> CHUNK) + p.b + LANES) * sizeof(real))
    sums_bytes = aligned(bands * p.a * p.b * sizeof(total))
    memory = <char *> malloc(64 + zeros_bytes + sums_bytes + p.threads * bytes)
    if memory == NULL:
        return -1
    zeros = <real *> align(memory)
    sums = <total *> (align(memory) + zeros_bytes)
    scratch = align(memory) + zeros_bytes + sums_bytes
    memset(zeros, 0, zeros_bytes)
    if p.threads == 1:
        weight_share(&p, 0, sums, scratch, zeros)
    else:
        for thread in prange(p.threads, num_threads=<int> p.threads, schedule="static"):
            weight_share(&p, thread, sums, scratch + thread * bytes, zeros)
    for k in range(p.a * p.b):
        s = 0
        for band in range(bands):
            s += sums[band * p.a * p.b + k]
        (<real *> p.w)[k // p.b * p.w_row + k % p.b * p.w_col] = <real> s
    free(memory)
    if not is_finite(<const real *> p.w, p.a, p.b, p.w_row, p.w_col):
        for k in prange(p.a * p.b, num_threads=<int> p.threads, schedule="static"):
            weight_exactly(&p, k // p.b, k % p.b)
    return 0


# ---------------------------------------------------------------- sums and shifts


cdef total band_sum(const Plane *p, Py_ssize_t band) noexcept nogil:
    """The sum of the rows of Y in one band."""
    cdef real ones[4 * LANES]
    cdef total s = 0
    cdef Py_ssize_t i
    for i in range(4 * LANES):
        ones[i] = 1
    for i in range(band * p.band, min((band + 1) * p.band, p.oh)):
        s += row_dot(<const real *> p.y + i * p.y_pitch, ones, p.ow, 0)
    return s


cdef int add_up(const Plane *p) noexcept nogil:
    cdef Py_ssize_t band, bands = parts_in(p.oh, p.band)
    cdef total *sums = <total *> malloc(bands * sizeof(total))
    cdef total s = 0
    if sums == NULL:
        return -1
    for band in prange(bands, num_threads=<int> p.threads, schedule="static"):
        sums[band] = band_sum(p, band)
    for band in range(bands):
        s = s + sums[band]
    (<real *> p.w)[0] = <real> s
    free(sums)
    return 0


cdef int dot(const Plane *p) noexcept nogil:
    cdef Py_ssize_t k
    cdef Py_ssize_t begin = min(max(p.left, 0), p.b), end = max(min(p.n + p.left, p.b), begin)
    cdef total s = 0
    for k in range(max(p.top, 0), min(p.m + p.top, p.a)):
        s += row_dot(
            <const real *> p.w + k * p.w_row + begin,
            <const real *> p.x + (k - p.top) * p.x_pitch + begin - p.left,
            end - begin,
            1,
        )
    (<real *> p.y)[0] = <real> s
    return 0


cdef int shift(const Plane *p) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef const real *x
    cdef real *y
    for i in range(p.oh):
        y = <real *> p.y + i * p.y_pitch
        x = <const real *> p.x + (i - p.top) * p.x_pitch
        for j in range(p.ow):
            if 0 <= i - p.top < p.m and 0 <= j - p.left < p.n:
                y[j] = x[j - p.left]
            else:
                y[j] = 0
    return 0


cdef Kernels KERNELS
KERNELS.correlate = correlate
KERNELS.weight = weight
KERNELS.add_up = add_up
KERNELS.dot = dot
KERNELS.shift = shift

kernels = PyCapsule_New(&KERNELS, "conv2d.kernels", NULL)
