# Y from X and W
#
# Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]
#
# A tile is MR rows x NV vectors of Y in registers, and beside them one column of taps, of up to
# GROUP rows of the filter. Each vector of X is loaded once for each such column and used for every
# tile row that its row meets. In a strip of columns the MR + a - 1 rows of X stay in L2. The sum
# goes over groups of filter rows, which are summed apart (a sequential sum over a large filter
# loses digits), then q, then p (over p, then q of 3 x 3 taps, which all stay in registers), the
# same for every element, wherever it lies in a tile.
# Rows of zeros are skipped. `correlate_rows.pxi` has the rows of tiles, `correlate_streams.pxi`
# those that go past the caches.

cdef enum:
    SIDE = 3  # of a filter whose taps all stay in registers, where there are enough


cdef struct Slide:
    # Rows of Y of which the lines of the cache begin at any lane of a vector, and which go past it.
    vec before[MR]  # the last vectors, whose lines are not full
    bint first  # whether there are none
    bint whole  # whether vectors are lines


cdef struct Strip:
    const real **rows  # of X: rows[r] meets W[r - t] in tile row t
    Py_ssize_t x_pitch  # from row to row of them, if they lie alike
    bint alike
    const real *w  # packed, w_pitch taps a column, each SPREAD times
    Py_ssize_t w_pitch, a, b
    bint joins  # whether the sums join those in Y, of the rows of the filter before
    real *y
    Py_ssize_t y_pitch
    Py_ssize_t x_step, y_step  # from a left to a right vector, in `tiles_apart`
    int live  # rows of the tile that are rows of Y
    bint far  # whether X and Y leave the caches
    bint streams  # whether Y goes past them, of rows that lie alike
    Slide *slide  # of a tile that does, or NULL
    real bias


cdef struct Rows:
    # The rows of X that some rows of the filter meet, from one column on.
    const real **rows
    const real *first
    Py_ssize_t pitch, j


cdef inline void meet(
    vec *acc, const vec *tap, const real *row, int r, int nv, Py_ssize_t x_step, int a
) noexcept nogil:
    """Row r of X through a column of taps into the tile rows that it meets."""
    cdef int t, v
    cdef vec x[NV]
    for v in range(nv):
        x[v] = load(row + v * x_step)
    for t in range(MR):
        if 0 <= r - t < a:
            for v in range(nv):
                acc[t * NV + v] = acc[t * NV + v] + tap[r - t] * x[v]


cdef inline const real *meet_next(
    vec *acc, const vec *tap, const Rows *x, const real *row, int r, int nv, Py_ssize_t x_step,
    int a, bint alike
) noexcept nogil:
    """Row r, which lies at `row` if rows lie alike; returns where the next one does.

    Its pointer is counted then, not looked up: a load whose address has the lower digits of that of
    a recent store waits for it, and all that hangs on the pointer with it.
    """
    if r >= MR + a - 1:
        return row
    if alike:
        meet(acc, tap, row, r, nv, x_step, a)
        return after(row, x.pitch)
    if x.rows[r] != NULL:
        meet(acc, tap, x.rows[r] + x.j, r, nv, x_step, a)
    return row


cdef inline void meet_rows(
    vec *acc, Rows x, const real *w, Py_ssize_t w_pitch, Py_ssize_t b, int nv,
    Py_ssize_t x_step, int a, bint alike
) noexcept nogil:
    """All rows of X that `a` rows of the filter meet.

    Written out, as gcc 12 keeps acc in memory where the rows are a loop.
    """
    cdef vec tap[GROUP]
    cdef Py_ssize_t q
    cdef int k
    cdef const real *row
    for q in range(b):
        for k in range(a):
            tap[k] = hold(spread(w + k * SPREAD))
        row = x.first
        row = meet_next(acc, tap, &x, row, 0, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 1, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 2, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 3, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 4, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 5, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 6, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 7, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 8, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 9, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 10, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 11, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 12, nv, x_step, a, alike)
        row = meet_next(acc, tap, &x, row, 13, nv, x_step, a, alike)
        x.first += 1
        x.j += 1
        w += w_pitch * SPREAD


cdef inline void take_nine(vec *tap, const real *w) noexcept nogil:
    cdef int k
    for k in range(SIDE * SIDE):
        tap[k] = hold(spread(w + k * SPREAD))


cdef inline const real *meet_three(
    vec *acc, const vec *tap, const Rows *x, const real *row, int r, int nv, Py_ssize_t x_step,
    bint alike
) noexcept nogil:
    """As `meet_next`, through all columns of a filter of 3 x 3."""
    cdef int q
    if not alike:
        if x.rows[r] == NULL:
            return row
        row = x.rows[r] + x.j
    for q in range(SIDE):
        meet(acc, tap + q * SIDE, row + q, r, nv, x_step, SIDE)
    if alike:
        return after(row, x.pitch)
    return row


cdef inline void meet_nine(
    vec *acc, const vec *tap, const Rows *x, int nv, Py_ssize_t x_step, bint alike
) noexcept nogil:
    """All rows of X that a filter of 3 x 3 meets: row by row, which is faster for few taps."""
    cdef const real *row = x.first
    row = meet_three(acc, tap, x, row, 0, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 1, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 2, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 3, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 4, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 5, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 6, nv, x_step, alike)
    row = meet_three(acc, tap, x, row, 7, nv, x_step, alike)


cdef inline void meet_all(
    vec *acc, Rows x, const real *w, Py_ssize_t w_pitch, Py_ssize_t b, int nv,
    Py_ssize_t x_step, Py_ssize_t a, bint alike
) noexcept nogil:
    """The same for as many rows of the filter as there are."""
    cdef vec tap[SIDE * SIDE]
    if NV > 2 and a == b == SIDE:
        take_nine(tap, w)
        meet_nine(acc, tap, &x, nv, x_step, alike)
    elif a == 1:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, 1, alike)
    elif a == 2:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, 2, alike)
    elif a == 3:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, 3, alike)
    elif a == 4:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, 4, alike)
    elif a == 5:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, 5, alike)
    elif 6 <= GROUP and a == 6:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, min(6, GROUP), alike)
    elif 7 <= GROUP and a == 7:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, min(7, GROUP), alike)
    elif 8 <= GROUP and a == 8:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, min(8, GROUP), alike)
    elif 9 <= GROUP and a == 9:
        meet_rows(acc, x, w, w_pitch, b, nv, x_step, min(9, GROUP), alike)


cdef inline void join_tile(
    const real *y, vec *acc, int live, int nv, Py_ssize_t y_pitch, Py_ssize_t y_step
) noexcept nogil:
    """Add what is in Y: of all rows before any is stored, which may spoil what lies behind it."""
    cdef int t, v
    for t in range(MR):
        if t < live:
            for v in range(nv):
                acc[t * NV + v] = acc[t * NV + v] + load(y + v * y_step)
            y = after(y, y_pitch)


cdef inline void put_tile(
    real *y, const vec *acc, int live, int nv, Py_ssize_t y_pitch, Py_ssize_t y_step
) noexcept nogil:
    cdef int t, v
    for t in range(MR):
        if t < live:
            for v in range(nv):
                store(y + v * y_step, acc[t * NV + v])
            y = after(y, y_pitch)


cdef inline int before_line(const real *y) noexcept nogil:
    """How many elements there are before the next line of the cache, or part of it: 1 to LANES."""
    return <int> (LANES - <size_t> y // sizeof(real) % LANES)


cdef inline void put_lines(
    real *y, const vec *acc, Slide *slide, int nv, Py_ssize_t y_pitch
) noexcept nogil:
    """The lines that a tile fills, past the caches, and what is in front of the first."""
    cdef int t, v, begin
    cdef real *line
    cdef vec places
    if slide.whole or not SLIDES:
        for t in range(MR):
            for v in range(nv):
                stream(y + v * LANES, acc[t * NV + v])
            y = after(y, y_pitch)
        return
    for t in range(MR):
        begin = before_line(y)
        places = places_from(begin)
        line = y + begin - LANES
        if slide.first:
            store_some(y, acc[t * NV], begin)
        else:
            stream(line, part_of_two(slide.before[t], acc[t * NV], places))
        for v in range(1, nv):
            line += LANES
            stream(line, part_of_two(acc[t * NV + v - 1], acc[t * NV + v], places))
        slide.before[t] = acc[t * NV + nv - 1]
        y = after(y, y_pitch)
    slide.first = False


cdef inline void fetch_next(const Rows *x, Py_ssize_t a, int nv, Py_ssize_t step) noexcept nogil:
    """What tiles further on will meet of those rows of X that none has met above them."""
    cdef int v
    for v in range(nv):
        fetch_rows(x.first + (a - 1) * x.pitch + v * step, x.pitch, MR)


cdef inline Py_ssize_t tiles(
    const Strip *s, Py_ssize_t j, Py_ssize_t end, int nv,
    Py_ssize_t step, Py_ssize_t x_step, Py_ssize_t y_step, bint alike
) noexcept nogil:
    """Tiles of nv vectors from column j on, each `step` columns; returns the first column left.

    Their vectors are x_step and y_step apart; what is constant here saves address registers.
    """
    cdef vec acc[MR * NV]
    cdef vec bias = splat(0 if s.joins else s.bias)
    cdef int t, v
    cdef Rows rows
    cdef real *y = s.y
    cdef Py_ssize_t y_pitch = s.y_pitch
    rows.rows = s.rows
    rows.pitch = s.x_pitch
    rows.first = s.rows[0]
    if alike:
        rows.first += j
    rows.j = j
    while rows.j + step <= end:
        for t in range(MR):
            for v in range(NV):
                acc[t * NV + v] = bias
        meet_all(acc, rows, s.w, s.w_pitch, s.b, nv, x_step, s.a, alike)
        if alike and s.far:
            fetch_next(&rows, s.a, nv, LANES)
        if s.joins:
            join_tile(y + rows.j, acc, MR if alike else s.live, nv, y_pitch, y_step)
        if STREAMS and alike and y_step == LANES and s.slide != NULL:
            put_lines(y + rows.j, acc, s.slide, nv, y_pitch)
        else:
            put_tile(y + rows.j, acc, MR if alike else s.live, nv, y_pitch, y_step)
        rows.j += step
        if alike:
            rows.first += step
    return rows.j


cdef inline Py_ssize_t tiles_of_nine(
    const Strip *s, Py_ssize_t j, Py_ssize_t end, Py_ssize_t step, Py_ssize_t x_step,
    Py_ssize_t y_step
) noexcept nogil:
    """The same of two vectors for a filter of 3 x 3 and rows that lie alike."""
    cdef vec acc[MR * NV]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias = splat(s.bias)
    cdef int t, v
    cdef Rows rows
    cdef const real *first = s.rows[0]
    cdef real *y = s.y
    cdef Py_ssize_t y_pitch = s.y_pitch
    rows.pitch = s.x_pitch
    take_nine(tap, s.w)
    while j + step <= end:
        rows.first = first + j
        for t in range(MR):
            for v in range(NV):
                acc[t * NV + v] = bias
        meet_nine(acc, tap, &rows, 2, x_step, True)
        if s.far:
            fetch_next(&rows, SIDE, 2, x_step)
        if STREAMS and y_step == LANES and s.slide != NULL:
            put_lines(y + j, acc, s.slide, 2, y_pitch)
        else:
            put_tile(y + j, acc, MR, 2, y_pitch, y_step)
        j += step
    return j


ctypedef Py_ssize_t (*Tiles)(const Strip *, Py_ssize_t, Py_ssize_t) noexcept nogil

# By whether rows lie alike (and the filter is 3 x 3), and by vectors; at 0 a left and right one.
cdef Tiles TILES[3][4]

cdef Py_ssize_t odd_tiles_1(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 1, LANES, LANES, LANES, False)

cdef Py_ssize_t odd_tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, 2 * LANES, LANES, LANES, False)

cdef Py_ssize_t odd_tiles_3(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(3, NV), 3 * LANES, LANES, LANES, False)

cdef Py_ssize_t odd_tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, LANES, s.x_step, s.y_step, False)

cdef Py_ssize_t tiles_1(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 1, LANES, LANES, LANES, True)

cdef Py_ssize_t tiles_2(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, 2 * LANES, LANES, LANES, True)

cdef Py_ssize_t tiles_3(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, min(3, NV), 3 * LANES, LANES, LANES, True)

cdef Py_ssize_t tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles(s, j, end, 2, LANES, s.x_step, s.y_step, True)

cdef Py_ssize_t nine_tiles(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    j = tiles_of_nine(s, j, end, 2 * LANES, LANES, LANES)
    if j + LANES <= end:  # one vector is left: once more with the one before
        return TILES[2][3](s, j - LANES, end)
    return j

cdef Py_ssize_t nine_tiles_apart(const Strip *s, Py_ssize_t j, Py_ssize_t end) noexcept nogil:
    return tiles_of_nine(s, j, end, LANES, s.x_step, s.y_step)


TILES[0][:] = [odd_tiles_apart, odd_tiles_1, odd_tiles_2, odd_tiles_3]
TILES[1][:] = [tiles_apart, tiles_1, tiles_2, tiles_3]
TILES[2][:] = [nine_tiles_apart, tiles_1, tiles_2, nine_tiles]


cdef inline void set_rows(Strip *s, const real **rows, Py_ssize_t pitch) noexcept nogil:
    """The rows that a tile meets, most often `pitch` apart."""
    cdef Py_ssize_t r = 1
    s.rows = rows
    s.x_pitch = pitch
    s.alike = rows[0] != NULL
    while s.alike and r < MR + s.a - 1:
        s.alike = rows[r] == rows[r - 1] + pitch
        r += 1


cdef inline Py_ssize_t make_tiles(
    const Strip *s, Py_ssize_t vectors, Py_ssize_t j, Py_ssize_t end, bint whole=False
) noexcept nogil:
    """Tiles of so many vectors, one group of the filter's rows after the other.

    Each stores whole rows, one after the other, if that is asked for.
    """
    cdef Py_ssize_t group, groups = parts_in(s.a, GROUP), first, left = j
    cdef Strip some
    if groups == 1:
        if s.alike and s.a == s.b == SIDE and NV > 2 and not whole:
            return TILES[2][vectors](s, j, end)
        return TILES[s.alike][vectors](s, j, end)
    some = s[0]
    for group in range(groups):
        first = group * s.a // groups
        some.rows = s.rows + first
        some.w = s.w + first * SPREAD
        some.a = (group + 1) * s.a // groups - first
        some.joins = group > 0
        left = TILES[s.alike][vectors](&some, j, end)
    return left
