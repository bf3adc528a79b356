# Y from X and W
#
# Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]
#
# A tile is MR rows x NV vectors of Y in registers. Each vector of X is loaded once for each filter
# column q and used for every tile row that its row meets. In a strip of columns the MR + a - 1
# rows of X stay in L2. The sum goes over p, then q, in groups of filter rows (a sequential
# sum over a large filter loses digits), the same for every element, wherever it lies in a tile.
# The columns whose window leaves X are read from a padded copy, in pairs of a left and a right
# vector. Rows of zeros are skipped. Each thread writes rows of its own.

cdef enum:
    GROUP = 16  # filter rows whose products are summed before they join the others
    PADDED = 64  # columns of Y on either side that one padded copy serves


cdef struct Strip:
    const real **rows  # of X: rows[r] meets W[r - t] in tile row t
    const real *w  # packed, a taps a column
    Py_ssize_t a, b
    real *y
    Py_ssize_t y_pitch
    Py_ssize_t x_step, y_step  # from a left to a right vector, in `tiles_apart`
    int live  # rows of the tile that are rows of Y
    real bias


cdef inline void meet(
    vec *acc, const real **rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t r, Py_ssize_t j, int nv, Py_ssize_t x_step, int first, int last
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
    w += r
    for q in range(b):
        for v in range(nv):
            x[v] = load(row + v * x_step)
        for t in range(MR):
            if first <= t < last:
                tap = splat(w[-t])
                for v in range(nv):
                    acc[t * NV + v] = acc[t * NV + v] + tap * x[v]
        row += 1
        w += w_pitch


cdef inline void meet_few(
    vec *acc, const real **rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t j, int nv, Py_ssize_t x_step, int a
) noexcept nogil:
    """All rows of X that a filter of a < MR rows meets.

    Written out, as gcc 12 keeps acc in memory where the rows are a loop.
    """
    meet(acc, rows, w, w_pitch, b, 0, j, nv, x_step, 0, 1)
    meet(acc, rows, w, w_pitch, b, 1, j, nv, x_step, max(2 - a, 0), 2)
    meet(acc, rows, w, w_pitch, b, 2, j, nv, x_step, max(3 - a, 0), 3)
    meet(acc, rows, w, w_pitch, b, 3, j, nv, x_step, max(4 - a, 0), 4)
    meet(acc, rows, w, w_pitch, b, 4, j, nv, x_step, max(5 - a, 0), 5)
    meet(acc, rows, w, w_pitch, b, 5, j, nv, x_step, max(6 - a, 0), 6)
    if a > 1:
        meet(acc, rows, w, w_pitch, b, 6, j, nv, x_step, 7 - a, 6)
    if a > 2:
        meet(acc, rows, w, w_pitch, b, 7, j, nv, x_step, 8 - a, 6)
    if a > 3:
        meet(acc, rows, w, w_pitch, b, 8, j, nv, x_step, 9 - a, 6)
    if a > 4:
        meet(acc, rows, w, w_pitch, b, 9, j, nv, x_step, 10 - a, 6)


cdef inline void meet_many(
    vec *acc, const real **rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t j, int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """All rows of X that a filter of a >= MR rows meets."""
    cdef Py_ssize_t r
    meet(acc, rows, w, w_pitch, b, 0, j, nv, x_step, 0, 1)
    meet(acc, rows, w, w_pitch, b, 1, j, nv, x_step, 0, 2)
    meet(acc, rows, w, w_pitch, b, 2, j, nv, x_step, 0, 3)
    meet(acc, rows, w, w_pitch, b, 3, j, nv, x_step, 0, 4)
    meet(acc, rows, w, w_pitch, b, 4, j, nv, x_step, 0, 5)
    for r in range(5, a):
        meet(acc, rows, w, w_pitch, b, r, j, nv, x_step, 0, 6)
    meet(acc, rows, w, w_pitch, b, a, j, nv, x_step, 1, 6)
    meet(acc, rows, w, w_pitch, b, a + 1, j, nv, x_step, 2, 6)
    meet(acc, rows, w, w_pitch, b, a + 2, j, nv, x_step, 3, 6)
    meet(acc, rows, w, w_pitch, b, a + 3, j, nv, x_step, 4, 6)
    meet(acc, rows, w, w_pitch, b, a + 4, j, nv, x_step, 5, 6)


cdef inline void meet_all(
    vec *acc, const real **rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t j, int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """All rows of X that a filter of a rows meets."""
    if a == 1:
        meet_few(acc, rows, w, w_pitch, b, j, nv, x_step, 1)
    elif a == 2:
        meet_few(acc, rows, w, w_pitch, b, j, nv, x_step, 2)
    elif a == 3:
        meet_few(acc, rows, w, w_pitch, b, j, nv, x_step, 3)
    elif a == 4:
        meet_few(acc, rows, w, w_pitch, b, j, nv, x_step, 4)
    elif a == 5:
        meet_few(acc, rows, w, w_pitch, b, j, nv, x_step, 5)
    else:
        meet_many(acc, rows, w, w_pitch, b, j, nv, x_step, a)


cdef inline void meet_groups(
    vec *acc, const real **rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t j, int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """The same for a > GROUP, in groups of rows that are summed apart, then together."""
    cdef vec sums[MR * NV]
    cdef Py_ssize_t group, groups = parts_in(a, GROUP), first, last
    cdef int t
    for t in range(MR * NV):
        sums[t] = splat(0)
    for group in range(groups):
        first = group * a // groups
        last = (group + 1) * a // groups
        meet_many(acc, rows + first, w + first, w_pitch, b, j, nv, x_step, last - first)
        for t in range(MR * NV):
            sums[t] = sums[t] + acc[t]
            acc[t] = splat(0)
    for t in range(MR * NV):
        acc[t] = sums[t]


cdef inline Py_ssize_t tiles(
    const Strip *s, Py_ssize_t j, Py_ssize_t end, int nv,
    Py_ssize_t step, Py_ssize_t x_step, Py_ssize_t y_step, bint tall
) noexcept nogil:
    """Tiles of nv vectors from column j on, each `step` columns; returns the first column left.

    Their vectors are x_step and y_step apart; what is constant here saves address registers.
    """
    cdef vec acc[MR * NV]
    cdef int t, v
    while j + step <= end:
        for t in range(MR):
            for v in range(NV):
                acc[t * NV + v] = splat(s.bias)
        if tall:
            meet_groups(acc, s.rows, s.w, s.a, s.b, j, nv, x_step, s.a)
        else:
            meet_all(acc, s.rows, s.w, s.a, s.b, j, nv, x_step, s.a)
        for t in range(MR):
            if t < s.live:
                for v in range(nv):
                    store(s.y + t * s.y_pitch + j + v * y_step, acc[t * NV + v])
        j += step
    return j


ctypedef Py_ssize_t (*Tiles)(const Strip *, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef Py_ssize_t tiles_1(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 1, LANES, LANES, LANES, False)

cdef Py_ssize_t tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, 2 * LANES, LANES, LANES, False)

cdef Py_ssize_t tiles_3(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(3, NV), 3 * LANES, LANES, LANES, False)

cdef Py_ssize_t tiles_4(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(4, NV), 4 * LANES, LANES, LANES, False)

cdef Py_ssize_t tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, LANES, s.x_step, s.y_step, False)

cdef Py_ssize_t tall_tiles_1(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 1, LANES, LANES, LANES, True)

cdef Py_ssize_t tall_tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, 2 * LANES, LANES, LANES, True)

cdef Py_ssize_t tall_tiles_3(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(3, NV), 3 * LANES, LANES, LANES, True)

cdef Py_ssize_t tall_tiles_4(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(4, NV), 4 * LANES, LANES, LANES, True)

cdef Py_ssize_t tall_tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, LANES, s.x_step, s.y_step, True)


# By whether the filter has more than GROUP rows, and by vectors; at 0 a left and a right one.
cdef Tiles TILES[2][5]
TILES[0][:] = [tiles_apart, tiles_1, tiles_2, tiles_3, tiles_4]
TILES[1][:] = [tall_tiles_apart, tall_tiles_1, tall_tiles_2, tall_tiles_3, tall_tiles_4]


cdef void interior(
    const Plane *p, Strip *s, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """Rows of tiles over columns whose windows lie inside X; width is 0 or at least LANES."""
    cdef const real **x_rows = s.rows
    cdef real *y = s.y
    cdef Py_ssize_t strip, begin, end, tile, i, j, vectors
    cdef Tiles *of_vectors = TILES[s.a > GROUP]
    for strip in range(parts_in(width, p.strip)):
        begin = strip * p.strip
        end = min(begin + p.strip, width)
        for tile in range(parts_in(rows, MR)):
            i = tile * MR
            s.rows = x_rows + i
            s.y = y + i * s.y_pitch
            s.live = min(rows - i, <Py_ssize_t> MR)
            j = of_vectors[NV](s, begin, end)
            vectors = (end - j + LANES - 1) // LANES
            if vectors * LANES > end:  # no room to overlap what is on the left
                j = of_vectors[vectors - 1](s, j, end)
                vectors = 1
            if j < end:
                of_vectors[vectors](s, end - vectors * LANES, end)


cdef struct Layout:
    # How one call of `correlate` cuts the columns, and what one thread needs for it.
    Py_ssize_t width  # of Y, at least one vector
    Py_ssize_t edge  # vectors on either side that are read from a padded copy
    Py_ssize_t half, rows  # of the padded copy: columns a side, rows
    Py_ssize_t bytes


cdef Layout lay_out(const Plane *p) noexcept nogil:
    cdef Layout cut
    cdef Py_ssize_t outside = max(p.left, 0)
    cut.width = max(p.ow, <Py_ssize_t> LANES)
    outside = max(outside, cut.width - (p.n + p.left - p.b + 1))
    cut.edge = vectors_in(outside)
    if 2 * cut.edge * LANES + LANES > cut.width:
        cut.edge = vectors_in((cut.width + 1) // 2)
    cut.half = vectors_in(min(cut.edge * LANES, <Py_ssize_t> PADDED) + p.b - 1) * LANES + LANES
    cut.rows = (p.band + MR + p.a + 7) // 8 * 8  # keeps what follows the pointers aligned
    cut.bytes = aligned(
        2 * cut.rows * sizeof(void *)
        + sizeof(real) * (cut.rows * 2 * cut.half + LANES + p.band * LANES + p.a * p.b)
    )
    return cut


cdef void edges(
    const Plane *p, const Layout *cut, Strip *s, Py_ssize_t rows,
    const real **padded_rows, real *padded
) noexcept nogil:
    """Rows of tiles of a left and a right vector, over the columns whose windows leave X."""
    cdef const real **x_rows = s.rows
    cdef real *y = s.y
    cdef Py_ssize_t tile, i, columns, begin = 0, right = cut.width - cut.edge * LANES
    s.x_step = cut.half
    s.y_step = right
    while begin < cut.edge * LANES:
        columns = min(cut.edge * LANES - begin, <Py_ssize_t> PADDED)
        copy_padded(
            padded + cut.half, 2 * cut.half, padded_rows, x_rows, rows + p.a - 1,
            p.n, right + begin - p.left, columns + p.b - 1, p.mode,
        )
        copy_padded(
            padded, 2 * cut.half, padded_rows, x_rows, rows + p.a - 1,
            p.n, begin - p.left, columns + p.b - 1, p.mode,
        )
        for tile in range(parts_in(rows, MR)):
            i = tile * MR
            s.rows = padded_rows + i
            s.y = y + i * s.y_pitch + begin
            s.live = min(rows - i, <Py_ssize_t> MR)
            TILES[s.a > GROUP][0](s, 0, columns)
        begin += PADDED


cdef void correlate_rows(
    const Plane *p, const Layout *cut, Py_ssize_t first, Py_ssize_t last, char *scratch
) noexcept nogil:
    """Rows first to last of Y, a band at a time."""
    cdef const real **x_rows = <const real **> scratch
    cdef const real **padded_rows = x_rows + cut.rows
    cdef real *padded = <real *> (padded_rows + cut.rows)
    cdef real *narrow = padded + cut.rows * 2 * cut.half + LANES
    cdef real *w = narrow + p.band * LANES
    cdef real *y
    cdef Py_ssize_t band, i, j, k, q, rows, met
    cdef Strip s
    for k in range(p.a):
        for q in range(p.b):
            w[q * p.a + k] = (<const real *> p.w)[k * p.w_row + q * p.w_col]
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
        if cut.edge > 0:
            edges(p, cut, &s, rows, padded_rows, padded)
        for k in range(met):
            if x_rows[k] != NULL:
                x_rows[k] += cut.edge * LANES - p.left
        s.rows = x_rows
        s.y = (narrow if p.ow < LANES else y) + cut.edge * LANES
        interior(p, &s, rows, max(cut.width - 2 * cut.edge * LANES, 0))
        if p.ow < LANES:
            for k in range(rows):
                for j in range(p.ow):
                    y[k * p.y_pitch + j] = narrow[k * LANES + j]


cdef void correlate_rows_exactly(const Plane *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The same with what lies in padding left out of the sums, for filters that are not finite."""
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


cdef void correlate_share(
    const Plane *p, const Layout *cut, Py_ssize_t thread, char *scratch, bint exactly
) noexcept nogil:
    """The rows of Y that one thread writes: whole tiles."""
    cdef Py_ssize_t count = parts_in(p.oh, MR)
    cdef Py_ssize_t first = thread * count // p.threads * MR
    cdef Py_ssize_t last = min((thread + 1) * count // p.threads * MR, p.oh)
    if exactly:
        correlate_rows_exactly(p, first, last)
    else:
        correlate_rows(p, cut, first, last, scratch + thread * cut.bytes)


cdef int correlate(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Layout cut
    cdef Py_ssize_t thread
    cdef char *memory
    cdef bint exactly = p.mode == ZEROS and not is_finite(
        <const real *> p.w, p.a, p.b, p.w_row, p.w_col
    )
    p.band = parts_in(min(p.band, p.oh), MR) * MR
    p.strip = vectors_in(p.strip) * LANES
    cut = lay_out(&p)
    memory = <char *> malloc(p.threads * cut.bytes + 64)
    if memory == NULL:
        return -1
    if p.threads == 1:
        correlate_share(&p, &cut, 0, align(memory), exactly)
    else:
        for thread in prange(p.threads, num_threads=<int> p.threads, schedule="static"):
            correlate_share(&p, &cut, thread, align(memory), exactly)
    free(memory)
    return 0
