# Y from X and W
#
# Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]
#
# A tile is MR rows x NV vectors of Y in registers. Each vector of X is loaded once for each filter
# column q and used for every tile row that its row meets. In a strip of columns the MR + a - 1
# rows of X stay in L2. The sum goes over p, then q, in groups of filter rows (a sequential
# sum over a large filter loses digits), the same for every element, wherever it lies in a tile.
# Rows of zeros are skipped. A Y that leaves no room for X in caches goes past them where its rows
# lie alike in their cache lines. `correlate_rows.pxi` has the rows of tiles.

cdef enum:
    GROUP = 16  # filter rows whose products are summed before they join the others
    SIDE = 3  # of a filter whose taps stay in registers, where there are enough


cdef struct Strip:
    const real **rows  # of X: rows[r] meets W[r - t] in tile row t
    Py_ssize_t x_pitch  # from row to row of them, most often
    const real *w  # packed, a taps a column, each SPREAD times
    Py_ssize_t a, b
    real *y
    Py_ssize_t y_pitch
    Py_ssize_t x_step, y_step  # from a left to a right vector, in `tiles_apart`
    int live  # rows of the tile that are rows of Y
    bint streams  # whether aligned tiles go past the caches
    real bias


cdef struct Rows:
    # The rows of X that a tile meets, one after the other.
    const real **rows
    Py_ssize_t pitch, j
    const real *last  # the row before, from column j on


cdef inline const real *row_at(Rows *x, Py_ssize_t r) noexcept nogil:
    """Row r, the next one, from column j on; NOWHERE for a row of zeros."""
    x.last = follow(x.last, x.pitch, x.rows[r], x.j)
    return x.last


cdef inline void meet(
    vec *acc, Rows *rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    Py_ssize_t r, int nv, Py_ssize_t x_step, int first, int last
) noexcept nogil:
    """Row r of X into the tile rows first <= t < last."""
    cdef Py_ssize_t q
    cdef int t, v
    cdef vec tap
    cdef vec x[NV]
    cdef const real *row = row_at(rows, r)
    if row == NOWHERE:
        return
    w += r * SPREAD
    for q in range(b):
        for v in range(nv):
            x[v] = load(row + v * x_step)
        for t in range(MR):
            if first <= t < last:
                tap = spread(w - t * SPREAD)
                for v in range(nv):
                    acc[t * NV + v] = acc[t * NV + v] + tap * x[v]
        row += 1
        w += w_pitch * SPREAD


cdef inline void meet_few(
    vec *acc, Rows *rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    int nv, Py_ssize_t x_step, int a
) noexcept nogil:
    """All rows of X that a filter of a < MR rows meets.

    Written out, as gcc 12 keeps acc in memory where the rows are a loop.
    """
    meet(acc, rows, w, w_pitch, b, 0, nv, x_step, 0, 1)
    meet(acc, rows, w, w_pitch, b, 1, nv, x_step, max(2 - a, 0), 2)
    meet(acc, rows, w, w_pitch, b, 2, nv, x_step, max(3 - a, 0), 3)
    meet(acc, rows, w, w_pitch, b, 3, nv, x_step, max(4 - a, 0), 4)
    meet(acc, rows, w, w_pitch, b, 4, nv, x_step, max(5 - a, 0), 5)
    meet(acc, rows, w, w_pitch, b, 5, nv, x_step, max(6 - a, 0), 6)
    if a > 1:
        meet(acc, rows, w, w_pitch, b, 6, nv, x_step, 7 - a, 6)
    if a > 2:
        meet(acc, rows, w, w_pitch, b, 7, nv, x_step, 8 - a, 6)
    if a > 3:
        meet(acc, rows, w, w_pitch, b, 8, nv, x_step, 9 - a, 6)
    if a > 4:
        meet(acc, rows, w, w_pitch, b, 9, nv, x_step, 10 - a, 6)


cdef inline void meet_many(
    vec *acc, Rows *rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """All rows of X that a filter of a >= MR rows meets."""
    cdef Py_ssize_t r
    meet(acc, rows, w, w_pitch, b, 0, nv, x_step, 0, 1)
    meet(acc, rows, w, w_pitch, b, 1, nv, x_step, 0, 2)
    meet(acc, rows, w, w_pitch, b, 2, nv, x_step, 0, 3)
    meet(acc, rows, w, w_pitch, b, 3, nv, x_step, 0, 4)
    meet(acc, rows, w, w_pitch, b, 4, nv, x_step, 0, 5)
    for r in range(5, a):
        meet(acc, rows, w, w_pitch, b, r, nv, x_step, 0, 6)
    meet(acc, rows, w, w_pitch, b, a, nv, x_step, 1, 6)
    meet(acc, rows, w, w_pitch, b, a + 1, nv, x_step, 2, 6)
    meet(acc, rows, w, w_pitch, b, a + 2, nv, x_step, 3, 6)
    meet(acc, rows, w, w_pitch, b, a + 3, nv, x_step, 4, 6)
    meet(acc, rows, w, w_pitch, b, a + 4, nv, x_step, 5, 6)


cdef inline void meet_all(
    vec *acc, Rows *rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """All rows of X that a filter of a rows meets."""
    if a == 1:
        meet_few(acc, rows, w, w_pitch, b, nv, x_step, 1)
    elif a == 2:
        meet_few(acc, rows, w, w_pitch, b, nv, x_step, 2)
    elif a == 3:
        meet_few(acc, rows, w, w_pitch, b, nv, x_step, 3)
    elif a == 4:
        meet_few(acc, rows, w, w_pitch, b, nv, x_step, 4)
    elif a == 5:
        meet_few(acc, rows, w, w_pitch, b, nv, x_step, 5)
    else:
        meet_many(acc, rows, w, w_pitch, b, nv, x_step, a)


cdef inline void meet_groups(
    vec *acc, Rows *rows, const real *w, Py_ssize_t w_pitch, Py_ssize_t b,
    int nv, Py_ssize_t x_step, Py_ssize_t a
) noexcept nogil:
    """The same for a > GROUP, in groups of rows that are summed apart, then together."""
    cdef vec sums[MR * NV]
    cdef Py_ssize_t group, groups = parts_in(a, GROUP), first, last
    cdef int t
    cdef Rows some
    for t in range(MR * NV):
        sums[t] = splat(0)
    for group in range(groups):
        first = group * a // groups
        last = (group + 1) * a // groups
        some = rows[0]
        some.rows += first
        meet_many(acc, &some, w + first * SPREAD, w_pitch, b, nv, x_step, last - first)
        for t in range(MR * NV):
            sums[t] = sums[t] + acc[t]
            acc[t] = splat(0)
    for t in range(MR * NV):
        acc[t] = sums[t]


cdef inline void put_tile(
    real *y, const vec *acc, int live, int nv, int acc_row,
    Py_ssize_t y_pitch, Py_ssize_t y_step, bint streams
) noexcept nogil:
    cdef int t, v
    streams = streams and y_step == LANES and is_aligned(y)
    for t in range(MR):
        if t < live:
            for v in range(nv):
                if streams:
                    stream(y + v * y_step, acc[t * acc_row + v])
                else:
                    store(y + v * y_step, acc[t * acc_row + v])
            y = after(y, y_pitch)


cdef inline Py_ssize_t tiles(
    const Strip *s, Py_ssize_t j, Py_ssize_t end, int nv,
    Py_ssize_t step, Py_ssize_t x_step, Py_ssize_t y_step, bint tall
) noexcept nogil:
    """Tiles of nv vectors from column j on, each `step` columns; returns the first column left.

    Their vectors are x_step and y_step apart; what is constant here saves address registers.
    """
    cdef vec acc[MR * NV]
    cdef vec bias = splat(s.bias)
    cdef int t, v
    cdef Rows rows
    cdef const real *above = before_first(s.rows[0], s.x_pitch)
    cdef real *y = s.y
    cdef Py_ssize_t y_pitch = s.y_pitch
    rows.rows = s.rows
    rows.pitch = s.x_pitch
    while j + step <= end:
        for t in range(MR):
            for v in range(NV):
                acc[t * NV + v] = splat(s.bias) if tall or NV < 4 else bias
        rows.last = above + j
        rows.j = j
        if tall:
            meet_groups(acc, &rows, s.w, s.a, s.b, nv, x_step, s.a)
        else:
            meet_all(acc, &rows, s.w, s.a, s.b, nv, x_step, s.a)
        put_tile(y + j, acc, s.live, nv, NV, y_pitch, y_step, s.streams)
        j += step
    return j


cdef inline void meet_three(
    vec *acc, const vec *tap, const real *row, Py_ssize_t x_step, int r
) noexcept nogil:
    """Row r of X into the tile rows that meet it through a filter of SIDE rows and columns."""
    cdef int q, t, v
    cdef vec x[2]
    for q in range(SIDE):
        for v in range(2):
            x[v] = load(row + q + v * x_step)
        for t in range(MR):
            if 0 <= r - t < SIDE:
                for v in range(2):
                    acc[t * 2 + v] = acc[t * 2 + v] + tap[(r - t) * SIDE + q] * x[v]


cdef inline Py_ssize_t tiles_of_nine(
    const Strip *s, Py_ssize_t j, Py_ssize_t end,
    Py_ssize_t step, Py_ssize_t x_step, Py_ssize_t y_step
) noexcept nogil:
    """The same for 3 x 3 taps, which stay in registers, where `rows_lie_alike`."""
    cdef vec acc[MR * 2]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias = splat(s.bias)
    cdef int t, v
    cdef const real *first = s.rows[0]
    cdef const real *row
    cdef real *y = s.y
    cdef Py_ssize_t x_pitch = s.x_pitch, y_pitch = s.y_pitch
    for t in range(SIDE):
        for v in range(SIDE):
            tap[t * SIDE + v] = spread(s.w + (v * SIDE + t) * SPREAD)
    while j + step <= end:
        for t in range(MR * 2):
            acc[t] = bias
        row = first + j
        meet_three(acc, tap, row, x_step, 0)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 1)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 2)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 3)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 4)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 5)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 6)
        row = after(row, x_pitch)
        meet_three(acc, tap, row, x_step, 7)
        put_tile(y + j, acc, MR, 2, 2, y_pitch, y_step, s.streams)
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

cdef Py_ssize_t nine_tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles_of_nine(s, j, end, 2 * LANES, LANES, LANES)

cdef Py_ssize_t nine_tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles_of_nine(s, j, end, LANES, s.x_step, s.y_step)


# By kind of filter (of up to GROUP rows, of more, of 3 x 3) and by vectors; at 0 a left and right.
cdef Tiles TILES[3][5]
TILES[0][:] = [tiles_apart, tiles_1, tiles_2, tiles_3, tiles_4]
TILES[1][:] = [tall_tiles_apart, tall_tiles_1, tall_tiles_2, tall_tiles_3, tall_tiles_4]
TILES[2][:] = [nine_tiles_apart, tiles_1, nine_tiles_2, tiles_3, nine_tiles_2]


cdef inline bint rows_lie_alike(const Strip *s) noexcept nogil:
    """Whether all rows of a tile meet rows of X that are where the first and the pitch say."""
    cdef Py_ssize_t r
    for r in range(1, MR + SIDE - 1):
        if s.rows[r - 1] == NULL or s.rows[r] != s.rows[r - 1] + s.x_pitch:
            return False
    return True


cdef inline Tiles *tiles_for(const Strip *s) noexcept nogil:
    if s.a == s.b == SIDE and NV >= 4 and rows_lie_alike(s):
        return TILES[2]
    return TILES[s.a > GROUP]
