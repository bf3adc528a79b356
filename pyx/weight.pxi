# The gradient of W from X and Y
#
# dW[p, q] = sum over i, j of Y[i, j] * X[i - top + p, j - left + q]
#
# The accumulators are up to PRODUCTS taps of W (or TAPS x TAPS), the lanes run along a row. A step
# takes RS rows of Y; each vector of X is loaded once for each filter column and met by all of these
# rows. After FLUSH vectors, or one step along a longer row, they are added up in `total` (float64
# for float32). Where rows lie a multiple of a page apart, they meet in the same few lines of the
# first cache: steps are lower there, and fetch what is met next, which hardware does not foresee;
# for large filters all of X is read from copies.
# An item of work is a band of rows (fixed by the plan, never by the threads) for a few rows of W;
# it writes sums of its own, which are added in the order of the bands.
# Rows and columns whose windows leave X, and those left over, are read from padded copies; for the
# most common filters, columns with masks instead.

cdef enum:
    FLUSH = 64
    ROWS = 64  # rows of Y at a time
    CHUNK = 128  # columns of a padded copy
    WORTH_A_COPY = 36  # taps that an element of a copy meets, in tiles higher than a low step
    LOW = 3  # rows of Y a step where rows lie a multiple of a page apart
    LOW_TAP_ROWS = 5
    EDGES = 3  # vectors that masks are for: the first of a row and the last two


cdef struct Columns:
    # Y and X over a range of columns, as `taps` reads them: all rows lie alike
    const real *y
    const real *x  # from the first filter column on
    Py_ssize_t y_pitch, x_pitch
    Py_ssize_t steps, count  # steps of so many rows of Y; columns, a multiple of LANES
    bint far  # what is met next is fetched
    const real *masks  # of an edge: for each column of the filter where X is, then where Y is


cdef inline void meet_y(
    vec *acc, const vec *y, const real *row, int r, int pt, int qt, int rs, const real *masks,
    bint edge
) noexcept nogil:
    """Row r of X with the rs rows of Y, for all taps."""
    cdef int q, t
    cdef bint shuffled = FAST_PRODUCTS and pt == qt == 3 and not edge
    cdef vec x[TAPS]
    if r < rs + pt - 1:
        for q in range(qt):
            if edge:
                x[q] = only(load(row + q), peek(masks + q * LANES))
            elif shuffled and q == 1:
                x[2] = load(row + 2)
                x[1] = between(x[0], x[2])
            elif not shuffled or q == 0:
                x[q] = load(row + q)
            for t in range(rs):
                if 0 <= r - t < pt:
                    acc[(r - t) * qt + q] = add_product(acc[(r - t) * qt + q], y[t], x[q])


cdef inline void taps(
    const Columns *c, total *sums, int pt, int qt, int rs, bint edge
) noexcept nogil:
    """Add pt x qt taps over a range of columns, rs rows of Y a step, to sums[pt][qt][LANES]."""
    cdef vec acc[MOST_PRODUCTS]
    cdef vec y[RS]
    cdef real flat[MOST_PRODUCTS * LANES]
    cdef Py_ssize_t step = 0, last, j, v, group, y_pitch = c.y_pitch, x_pitch = c.x_pitch
    cdef int t
    cdef const real *row
    cdef const real *at_y = c.y
    cdef const real *at_x = c.x
    if pt > TAP_ROWS or qt > TAPS or pt * qt > MOST_PRODUCTS:  # constants; never called
        return
    group = max(FLUSH * LANES // c.count, <Py_ssize_t> 1)
    while step < c.steps:
        last = min(step + group, c.steps)
        for t in range(pt * qt):
            acc[t] = splat(0)
        while step < last:
            for v in range(c.count // LANES):
                row = at_y + v * LANES
                for t in range(rs):
                    y[t] = load(row)
                    if edge:
                        y[t] = only(y[t], peek(c.masks + qt * LANES))
                    row = after(row, y_pitch)
                row = at_x + v * LANES
                meet_y(acc, y, row, 0, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 1, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 2, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 3, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 4, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 5, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 6, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 7, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 8, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 9, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 10, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 11, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 12, pt, qt, rs, c.masks, edge)
                row = after(row, x_pitch)
                meet_y(acc, y, row, 13, pt, qt, rs, c.masks, edge)
                if c.far:  # of X what no step before this one has met
                    fetch_rows(at_y + v * LANES, y_pitch, rs)
                    fetch_rows(at_x + (pt - 1) * x_pitch + v * LANES, x_pitch, rs)
            at_y += rs * y_pitch
            at_x += rs * x_pitch
            step += 1
        for t in range(pt * qt):
            store(flat + t * LANES, acc[t])
        for j in range(pt * qt * LANES):
            sums[j] += flat[j]


ctypedef void (*Taps)(const Columns *, total *) noexcept nogil

# A function for each size: in one large function gcc 12 spills.

cdef void taps_1x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 1, RS, False)

cdef void taps_1x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 2, RS, False)

cdef void taps_1x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 3, RS, False)

cdef void taps_1x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 4, RS, False)

cdef void taps_1x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 5, RS, False)

cdef void taps_2x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 1, RS, False)

cdef void taps_2x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 2, RS, False)

cdef void taps_2x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 3, RS, False)

cdef void taps_2x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 4, RS, False)

cdef void taps_2x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 5, RS, False)

cdef void taps_3x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 1, RS, False)

cdef void taps_3x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 2, RS, False)

cdef void taps_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, RS, False)

cdef void taps_3x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 4, RS, False)

cdef void taps_3x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 5, RS, False)

cdef void taps_4x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 1, TALL_RS, False)

cdef void taps_4x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 2, TALL_RS, False)

cdef void taps_4x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 3, TALL_RS, False)

cdef void taps_4x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 4, TALL_RS, False)

cdef void taps_4x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 5, TALL_RS, False)

cdef void taps_5x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 1, TALL_RS, False)

cdef void taps_5x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 2, TALL_RS, False)

cdef void taps_5x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 3, TALL_RS, False)

cdef void taps_5x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 4, TALL_RS, False)

cdef void taps_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, RS // 2, False)

cdef void taps_6x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 6, 1, TALL_RS, False)

cdef void taps_6x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 6, 2, TALL_RS, False)

cdef void taps_6x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 6, 3, TALL_RS, False)

cdef void taps_7x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 7, 1, TALL_RS, False)

cdef void taps_7x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 7, 2, TALL_RS, False)

cdef void taps_7x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 7, 3, TALL_RS, False)

cdef void low_taps_3x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 1, LOW, False)

cdef void low_taps_3x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 2, LOW, False)

cdef void low_taps_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, LOW, False)

cdef void low_taps_3x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 4, LOW, False)

cdef void low_taps_3x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 5, LOW, False)

cdef void low_taps_4x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 1, LOW, False)

cdef void low_taps_4x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 2, LOW, False)

cdef void low_taps_4x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 3, LOW, False)

cdef void low_taps_4x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 4, LOW, False)

cdef void low_taps_4x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 5, LOW, False)

cdef void low_taps_5x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 1, LOW, False)

cdef void low_taps_5x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 2, LOW, False)

cdef void low_taps_5x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 3, LOW, False)

cdef void low_taps_5x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 4, LOW, False)

cdef void low_taps_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, LOW, False)

cdef void edge_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, RS, True)

cdef void edge_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, RS // 2, True)

cdef void low_edge_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, LOW, True)

cdef void low_edge_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, LOW, True)


# By the taps, less 1; then the same with fewer rows of Y a step.
cdef Taps TAPS_OF[2][7][5]
TAPS_OF[0][0][:] = [taps_1x1, taps_1x2, taps_1x3, taps_1x4, taps_1x5]
TAPS_OF[0][1][:] = [taps_2x1, taps_2x2, taps_2x3, taps_2x4, taps_2x5]
TAPS_OF[0][2][:] = [taps_3x1, taps_3x2, taps_3x3, taps_3x4, taps_3x5]
TAPS_OF[0][3][:] = [taps_4x1, taps_4x2, taps_4x3, taps_4x4, taps_4x5]
TAPS_OF[0][4][:] = [taps_5x1, taps_5x2, taps_5x3, taps_5x4, taps_5x5]
TAPS_OF[0][5][:] = [taps_6x1, taps_6x2, taps_6x3, NULL, NULL]
TAPS_OF[0][6][:] = [taps_7x1, taps_7x2, taps_7x3, NULL, NULL]
TAPS_OF[1][0][:] = [taps_1x1, taps_1x2, taps_1x3, taps_1x4, taps_1x5]
TAPS_OF[1][1][:] = [taps_2x1, taps_2x2, taps_2x3, taps_2x4, taps_2x5]
TAPS_OF[1][2][:] = [low_taps_3x1, low_taps_3x2, low_taps_3x3, low_taps_3x4, low_taps_3x5]
TAPS_OF[1][3][:] = [low_taps_4x1, low_taps_4x2, low_taps_4x3, low_taps_4x4, low_taps_4x5]
TAPS_OF[1][4][:] = [low_taps_5x1, low_taps_5x2, low_taps_5x3, low_taps_5x4, low_taps_5x5]

# The same of columns at an edge, by the side of a square filter.
cdef Taps EDGE_OF[2][TAPS + 1]
EDGE_OF[0][3] = edge_3x3
EDGE_OF[1][3] = low_edge_3x3
if TAPS == 5:
    EDGE_OF[0][5] = edge_5x5
    EDGE_OF[1][5] = low_edge_5x5


cdef bint rows_collide(const Plane *p) noexcept nogil:
    """Whether rows of X lie about a multiple of a page apart, as far as its size tells."""
    cdef size_t pitch = p.n * sizeof(real) + 15
    return pitch > 4096 and pitch % 4096 < 31


cdef inline bint is_copied(const Plane *p) noexcept nogil:
    """Whether all columns of X are read from copies."""
    cdef Py_ssize_t rows = min(p.a, <Py_ssize_t> TAP_ROWS)
    cdef bint worth = rows > LOW and rows * p.b >= WORTH_A_COPY
    return p.x_kind != AS_IT_IS or rows_collide(p) and worth


cdef inline bint is_low(const Plane *p) noexcept nogil:
    """Whether to take fewer rows of Y a step."""
    return rows_collide(p) and not is_copied(p)


cdef inline Py_ssize_t parts_of_rows(const Plane *p) noexcept nogil:
    """How many parts the rows of the filter are taken in."""
    return parts_in(p.a, min(TAP_ROWS, <int> LOW_TAP_ROWS) if is_low(p) else TAP_ROWS)


cdef inline Py_ssize_t columns_at_once(const Plane *p, int pt) noexcept nogil:
    """Columns of the filter that are taken at a time with pt rows, at most."""
    return TAPS if is_square(p, pt) else min(TAPS, PRODUCTS // pt)


cdef inline bint is_square(const Plane *p, int pt) noexcept nogil:
    """Whether the largest tile makes all columns at once."""
    return pt == TAPS == p.b


cdef inline int rows_of_y(const Plane *p, int pt, bint low) noexcept nogil:
    """Rows of Y a step, of the functions above."""
    if low and pt > 2:
        return LOW
    if TAPS == 5 and is_square(p, pt):
        return RS // 2
    return TALL_RS if pt > 3 else RS


cdef inline Py_ssize_t whole_band(const Plane *p) noexcept nogil:
    """The rows of a band: as the plan says, but whole steps of each part of the filter's rows."""
    cdef Py_ssize_t parts = parts_of_rows(p)
    cdef bint low = is_low(p)
    cdef Py_ssize_t rows = rows_of_y(p, <int> (p.a // parts), low)
    cdef Py_ssize_t most = rows_of_y(p, <int> parts_in(p.a, parts), low)
    if most != rows:
        rows *= most
    return parts_in(min(p.band, p.oh), rows) * rows


cdef struct WeightMemory:
    # What one thread needs for an item.
    const real **y_rows
    const real **x_rows
    const real **copies
    real *y_copy
    real *x_copy
    bint low, copied, far
    bint edges
    real *masks  # [edge][TAPS + 1][LANES], or NULL where edges are read from copies
    total *sums  # [part of the columns][MOST_PRODUCTS][LANES]


cdef void weight_columns(
    const Plane *p, const WeightMemory *memory, Columns *c, int pt
) noexcept nogil:
    """Each part of the filter's columns; X from the first of all on."""
    cdef Py_ssize_t part, parts = parts_in(p.b, columns_at_once(p, pt)), q, end
    cdef const real *x = c.x
    for part in range(parts):
        q = part * p.b // parts
        end = (part + 1) * p.b // parts
        c.x = x + q
        c.far = memory.far and part == 0
        TAPS_OF[memory.low][pt - 1][end - q - 1](c, memory.sums + part * MOST_PRODUCTS * LANES)


cdef inline Py_ssize_t first_of(const Plane *p) noexcept nogil:
    """The first column of Y that meets X at all."""
    return max(p.left - p.b + 1, 0) if p.mode == ZEROS else 0


cdef inline Py_ssize_t last_of(const Plane *p) noexcept nogil:
    """Where those columns end."""
    return max(min(p.n + p.left, p.ow), first_of(p)) if p.mode == ZEROS else p.ow


cdef inline void find_middle(const Plane *p, Py_ssize_t *left, Py_ssize_t *right) noexcept nogil:
    """Where whole vectors of columns of Y that see nothing but X begin, and where they end."""
    cdef Py_ssize_t first = first_of(p)
    left[0] = first + vectors_in(max(p.left - first, 0)) * LANES
    right[0] = left[0] + (min(p.n + p.left - p.b + 1, last_of(p)) - left[0]) // LANES * LANES


cdef inline bint has_edges(const Plane *p) noexcept nogil:
    """Whether columns at the edges are taken by themselves: those of filters that are made at once.

    The sizes say so, as the order of sums follows from it.
    """
    return (
        p.a == p.b and p.b <= TAPS and EDGE_OF[0][p.b] != NULL and p.mode == ZEROS
        and p.left < p.b and p.ow <= p.n + p.left and p.n >= 6 * LANES
    )


cdef inline bint has_room(const Plane *p) noexcept nogil:
    """Whether what lies beyond the ends of a row belongs to those before and behind it."""
    return max(p.x_pitch, -p.x_pitch) >= p.n and max(p.y_pitch, -p.y_pitch) >= p.ow


cdef inline Py_ssize_t edge_at(Py_ssize_t edge, Py_ssize_t right) noexcept nogil:
    """The first column of an edge: of the first vector of a row, or of one of the last two."""
    return right + (edge - 1) * LANES if edge > 0 else 0


cdef void lay_edges(const Plane *p, real *masks) noexcept nogil:
    """Masks of all edges."""
    cdef Py_ssize_t edge, q, k, j, left, right
    find_middle(p, &left, &right)
    for edge in range(EDGES):
        for q in range(p.b + 1):
            for k in range(LANES):
                j = edge_at(edge, right) + k
                masks[(edge * (TAPS + 1) + q) * LANES + k] = flag(
                    j < p.ow if q == p.b else 0 <= j - p.left + q < p.n
                )


cdef void weight_at_edge(
    const Plane *p, const WeightMemory *memory, const Columns *middle, Py_ssize_t begin,
    Py_ssize_t edge
) noexcept nogil:
    """A vector of columns of Y at an edge, `begin` columns from those of the middle."""
    cdef Columns c = middle[0]
    c.y += begin
    c.x += begin
    c.count = LANES
    c.far = False
    c.masks = memory.masks + edge * (TAPS + 1) * LANES
    EDGE_OF[memory.low][p.b](&c, memory.sums)


cdef void weight_in_place(
    const Plane *p, const WeightMemory *memory, Columns *c, int pt, Py_ssize_t columns
) noexcept nogil:
    """Columns of Y and X where they lie."""
    cdef Py_ssize_t begin = 0
    cdef const real *y = c.y
    cdef const real *x = c.x
    while begin < columns:
        c.y = y + begin
        c.x = x + begin
        c.count = min(p.strip, columns - begin)
        weight_columns(p, memory, c, pt)
        begin += p.strip


cdef void clear_rows(
    real *copy, Py_ssize_t pitch, const real **rows, Py_ssize_t count
) noexcept nogil:
    """Zeros in the copies of rows that are not there."""
    cdef Py_ssize_t r
    for r in range(count):
        if rows[r] == NULL:
            memset(copy + r * pitch, 0, pitch * sizeof(real))


cdef void weight_from_copies(
    const Plane *p, const WeightMemory *memory, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t k,
    int pt, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Columns first to last of rows of Y, from i on, with a copy of X, and of Y where it ends."""
    cdef Py_ssize_t r, columns, begin = first
    cdef int rs = rows_of_y(p, pt, memory.low)
    cdef Columns c
    if first >= last:
        return
    c.steps = parts_in(rows, rs)
    for r in range(c.steps * rs):
        memory.y_rows[r] = <const real *> p.y + (i + r) * p.y_pitch if r < rows else NULL
    point_at_rows(p, memory.x_rows, i - p.top + k, rows + pt - 1)
    for r in range(rows + pt - 1, c.steps * rs + pt - 1):
        memory.x_rows[r] = NULL
    while begin < last:
        columns = vectors_in(min(last - begin, <Py_ssize_t> CHUNK)) * LANES
        c.count = columns
        c.y = memory.y_rows[0] + begin
        c.y_pitch = p.y_pitch
        if begin + columns > p.ow or rows < c.steps * rs:
            c.y = memory.y_copy
            c.y_pitch = pitch_of(columns)
            copy_padded(
                memory.y_copy, c.y_pitch, memory.copies, memory.y_rows, c.steps * rs,
                last, begin, columns, ZEROS, end_of(p.y, p.oh, p.ow, p.y_pitch),
            )
            clear_rows(memory.y_copy, c.y_pitch, memory.y_rows, c.steps * rs)
        c.x = memory.x_copy
        c.x_pitch = pitch_of(columns + p.b - 1)
        copy_or_convert(
            p, memory.x_copy, c.x_pitch, memory.copies, memory.x_rows, c.steps * rs + pt - 1,
            begin - p.left, columns + p.b - 1,
        )
        clear_rows(memory.x_copy, c.x_pitch, memory.x_rows, c.steps * rs + pt - 1)
        weight_columns(p, memory, &c, pt)
        begin += CHUNK


cdef void weight_of_edges(
    const Plane *p, const WeightMemory *memory, const Columns *middle, Py_ssize_t i,
    Py_ssize_t rows, Py_ssize_t k, int pt, Py_ssize_t left, Py_ssize_t right
) noexcept nogil:
    """Vectors of columns before `left` and from `right` on; in the same order wherever rows lie."""
    cdef Py_ssize_t edge, begin, end, last = last_of(p)
    for edge in range(EDGES):
        begin = edge_at(edge, right)
        end = min(begin + LANES, last if edge > 0 else left)
        if begin < end and memory.masks == NULL:
            weight_from_copies(p, memory, i, rows, k, pt, begin, end)
        elif begin < end:
            weight_at_edge(p, memory, middle, begin - left, edge)


cdef Py_ssize_t weight_of_one_row(
    const Plane *p, const WeightMemory *memory, Columns *c, Py_ssize_t columns
) noexcept nogil:
    """A row of Y and of X as several shorter ones, which are a step; returns what it took."""
    cdef int rs = rows_of_y(p, 1, memory.low)
    c.y_pitch = columns // (rs * LANES) * LANES
    c.x_pitch = c.y_pitch
    c.steps = 1
    weight_in_place(p, memory, c, 1, c.y_pitch)
    return rs * c.y_pitch


cdef Py_ssize_t weight_rows(
    const Plane *p, const WeightMemory *memory, Py_ssize_t i, Py_ssize_t end, Py_ssize_t k, int pt
) noexcept nogil:
    """Add what some rows of Y, from i on, give to the pt rows of dW from k on; returns how many."""
    cdef int rs = rows_of_y(p, pt, memory.low)
    cdef Py_ssize_t first = first_of(p), last = last_of(p), left, right
    cdef Py_ssize_t rows = min(end - i, <Py_ssize_t> ROWS // rs * rs)  # whole steps
    cdef Py_ssize_t low = p.top - k, high = p.m + p.top - k - pt + 1  # rows that see X alone
    cdef bint edges = memory.edges, copied = memory.copied or p.ow <= CHUNK and not edges
    cdef Columns c
    find_middle(p, &left, &right)
    if edges:  # there are rows before and behind
        low += 1
        high = min(high, p.oh) - 1
    copied = copied or right < left + (0 if edges else LANES)
    if not copied:
        if i < low:
            rows = min(rows, parts_in(low - i, rs) * rs)
            copied = True
        elif rows == pt == 1 and i < high:
            pass
        elif i + rs <= min(high, end):
            rows = min(rows, (min(high, end) - i) // rs * rs)
        else:
            copied = True
    if copied:
        weight_from_copies(p, memory, i, rows, k, pt, first, last)
        return rows
    c.y = <const real *> p.y + i * p.y_pitch + left
    c.x = <const real *> p.x + (i - p.top + k) * p.x_pitch + left - p.left
    c.y_pitch = p.y_pitch
    c.x_pitch = p.x_pitch
    c.steps = rows // rs
    if edges:
        weight_of_edges(p, memory, &c, i, rows, k, pt, left, right)
        weight_in_place(p, memory, &c, pt, right - left)
        return rows
    weight_from_copies(p, memory, i, rows, k, pt, first, left)
    if rows < rs:
        left += weight_of_one_row(p, memory, &c, right - left)
        right = left
    else:
        weight_in_place(p, memory, &c, pt, right - left)
    weight_from_copies(p, memory, i, rows, k, pt, right, last)
    return rows


cdef void weight_item(
    const Plane *p, Py_ssize_t item, total *sums, const WeightMemory *memory
) noexcept nogil:
    """A few rows of dW over one band; item counts bands, then parts of the filter's rows."""
    cdef Py_ssize_t parts = parts_of_rows(p), part = item % parts
    cdef Py_ssize_t i = item // parts * p.band, end = min(i + p.band, p.oh)
    cdef Py_ssize_t k = part * p.a // parts, q, t, lane, width
    cdef int pt = <int> ((part + 1) * p.a // parts - k)
    cdef total s
    parts = parts_in(p.b, columns_at_once(p, pt))
    memset(memory.sums, 0, parts * MOST_PRODUCTS * LANES * sizeof(total))
    while i < end:
        i += weight_rows(p, memory, i, end, k, pt)
    for part in range(parts):
        q = part * p.b // parts
        width = (part + 1) * p.b // parts - q
        for t in range(pt * width):
            s = 0
            for lane in range(LANES):
                s += memory.sums[(part * MOST_PRODUCTS + t) * LANES + lane]
            sums[(k + t // width) * p.b + q + t % width] = s


cdef void weight_share(
    const Plane *p, Py_ssize_t thread, total *sums, total *sums_of_y, char *scratch
) noexcept nogil:
    """The items that one thread works on; with the sums of runs of Y, unless that is NULL."""
    cdef Py_ssize_t parts = parts_of_rows(p), items = parts_in(p.oh, p.band) * parts
    cdef Py_ssize_t rows = table_rows(p), item, band
    cdef WeightMemory memory
    memory.y_rows = <const real **> scratch
    memory.x_rows = memory.y_rows + rows
    memory.copies = memory.x_rows + rows
    memory.sums = <total *> (memory.copies + rows)
    memory.y_copy = <real *> (memory.sums + column_parts(p) * MOST_PRODUCTS * LANES)
    memory.x_copy = memory.y_copy + rows * pitch_of(CHUNK)
    memory.edges = has_edges(p)
    memory.masks = NULL
    if memory.edges and has_room(p):
        memory.masks = <real *> (memory.x_copy + rows * pitch_of(CHUNK + MAX_FILTER))
        lay_edges(p, memory.masks)
    memory.copied = is_copied(p)
    memory.low = is_low(p)
    memory.far = memory.low or is_far(p)
    for item in range(thread * items // p.threads, (thread + 1) * items // p.threads):
        weight_item(p, item, sums + item // parts * p.a * p.b, &memory)
        if sums_of_y != NULL and item % parts == 0:  # of those that begin in this band
            band = item // parts * p.band
            sum_runs(
                p, parts_in(band * p.ow, SUMMED),
                parts_in(min(band + p.band, p.oh) * p.ow, SUMMED), sums_of_y,
            )


cdef inline Py_ssize_t column_parts(const Plane *p) noexcept nogil:
    """Parts that the columns of the filter are taken in, at most."""
    return parts_in(p.b, min(TAPS, PRODUCTS // TAP_ROWS))


cdef inline Py_ssize_t table_rows(const Plane *p) noexcept nogil:
    return (min(p.band, <Py_ssize_t> ROWS) + RS + TAP_ROWS + 7) // 8 * 8


cdef size_t weight_bytes(const Plane *p) noexcept nogil:
    """What one thread needs."""
    return aligned(
        table_rows(p) * (
            3 * sizeof(void *)
            + (pitch_of(CHUNK) + pitch_of(CHUNK + MAX_FILTER)) * sizeof(real)
        )
        + column_parts(p) * MOST_PRODUCTS * LANES * sizeof(total)
        + (EDGES * (TAPS + 1) + 1) * LANES * sizeof(real)
    )


cdef total weight_exactly(const Plane *p, Py_ssize_t k, Py_ssize_t q) noexcept nogil:
    """One tap of dW with nothing but its own terms in the sum, for inputs that are not finite."""
    cdef Py_ssize_t i, j, r, part, count
    cdef Py_ssize_t begin = min(max(p.left - q, 0), p.ow)
    cdef Py_ssize_t end = max(min(p.n + p.left - q, p.ow), begin)
    cdef const real *x
    cdef const real *y
    cdef real room[FEW]
    cdef total s = 0
    for i in range(p.oh):
        r = source(i - p.top + k, p.m, p.mode)
        if r < 0:
            continue
        y = <const real *> p.y + i * p.y_pitch
        for part in range(parts_in(end - begin, FEW)):
            j = begin + part * FEW
            count = min(end - j, <Py_ssize_t> FEW)
            x = piece_of(p, room, r, j - p.left + q, count)
            s += row_dot(x, y + j, count)
        if p.mode != ZEROS:
            for j in range(p.ow):
                if not begin <= j < end:
                    x = piece_of(p, room, r, source(j - p.left + q, p.n, p.mode), 1)
                    s += x[0] * y[j]
    return s


cdef void put_exactly(const Plane *p, Py_ssize_t k, Py_ssize_t q) noexcept nogil:
    (<real *> p.w)[k * p.w_row + q * p.w_col] = <real> weight_exactly(p, k, q)


cdef int weight(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Py_ssize_t thread, k, band, bands
    cdef size_t bytes, sums_bytes
    cdef char *memory
    cdef total *sums
    cdef total *sums_of_y = NULL
    cdef char *scratch
    cdef total s
    p.band = whole_band(&p)
    p.strip = vectors_in(p.strip) * LANES
    bands = parts_in(p.oh, p.band)
    bytes = weight_bytes(&p)
    sums_bytes = aligned((bands * p.a * p.b + runs_in(&p)) * sizeof(total))
    memory = <char *> malloc(64 + sums_bytes + p.threads * bytes)
    if memory == NULL:
        return -1
    sums = <total *> align(memory)
    scratch = align(memory) + sums_bytes
    if p.bias != NULL:
        sums_of_y = sums + bands * p.a * p.b
    if p.threads == 1:
        weight_share(&p, 0, sums, sums_of_y, scratch)
    else:
        for thread in prange(p.threads, num_threads=<int> p.threads, schedule="static"):
            weight_share(&p, thread, sums, sums_of_y, scratch + thread * bytes)
    for k in range(p.a * p.b):
        s = 0
        for band in range(bands):
            s += sums[band * p.a * p.b + k]
        (<real *> p.w)[k // p.b * p.w_row + k % p.b * p.w_col] = <real> s
    if p.bias != NULL:
        put_sum(&p, sums_of_y, <real *> p.bias)
    free(memory)
    if not is_finite(<const real *> p.w, p.a, p.b, p.w_row, p.w_col):
        for k in prange(p.a * p.b, num_threads=<int> p.threads, schedule="static"):
            put_exactly(&p, k // p.b, k % p.b)
    return 0
