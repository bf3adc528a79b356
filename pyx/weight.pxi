# The gradient of W from X and Y
#
# dW[p, q] = sum over i, j of Y[i, j] * X[i - top + p, j - left + q]
#
# The accumulators are up to TAPS x TAPS taps of W, the lanes run along a row. A step takes up to RS
# rows of Y; each vector of X is loaded once for each filter column and met by all of these rows.
# After FLUSH vectors, or one step along a longer row, they are added up in `total` (float64 for
# float32).
# Where rows lie a multiple of a page apart, they meet in the same few lines of the first cache:
# steps are lower there, and for large filters all of X is read from copies.
# An item of work is a band of rows (fixed by the plan, never by the threads) for a few rows of W;
# it writes sums of its own, which are added in the order of the bands.
# Columns whose windows leave X, and those left over, are read from padded copies of X and Y.

cdef enum:
    FLUSH = 64
    ROWS = 64  # rows of Y at a time
    CHUNK = 128  # columns of a padded copy
    WORTH_A_COPY = 10  # columns of a filter


cdef struct Columns:
    # Y and X over a range of columns, as `taps` reads them
    const real **y_rows
    const real **x_rows
    Py_ssize_t steps, count  # steps of so many rows of Y; columns, a multiple of LANES
    Py_ssize_t q  # the first filter column


cdef inline void meet_y(
    vec *acc, const vec *y, const real **x_rows, Py_ssize_t j, int r, int pt, int qt, int rs
) noexcept nogil:
    """Row r of X with the rs rows of Y, for all taps."""
    cdef int q, t
    cdef vec x
    if r < rs + pt - 1:
        for q in range(qt):
            x = load(x_rows[r] + j + q)
            for t in range(rs):
                if 0 <= r - t < pt:
                    acc[(r - t) * qt + q] = add_product(acc[(r - t) * qt + q], y[t], x)


cdef inline void taps(const Columns *c, total *sums, int pt, int qt, int rs) noexcept nogil:
    """Add pt x qt taps over a range of columns, rs rows of Y a step, to sums[pt][qt][LANES]."""
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
            x_rows = c.x_rows + k * rs
            y_rows = c.y_rows + k * rs
            for v in range(c.count // LANES):
                j = v * LANES
                for t in range(rs):
                    y[t] = load(y_rows[t] + j)
                meet_y(acc, y, x_rows, j + c.q, 0, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 1, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 2, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 3, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 4, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 5, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 6, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 7, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 8, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 9, pt, qt, rs)
                meet_y(acc, y, x_rows, j + c.q, 10, pt, qt, rs)
        for t in range(pt * qt):
            store(flat + t * LANES, acc[t])
        for j in range(pt * qt * LANES):
            sums[j] += flat[j]
        step = last


ctypedef void (*Taps)(const Columns *, total *) noexcept nogil

# A function for each size: in one large function gcc 12 spills.

cdef void taps_1x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 1, RS)

cdef void taps_1x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 2, RS)

cdef void taps_1x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 3, RS)

cdef void taps_1x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 4, RS)

cdef void taps_1x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 1, 5, RS)

cdef void taps_2x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 1, RS)

cdef void taps_2x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 2, RS)

cdef void taps_2x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 3, RS)

cdef void taps_2x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 4, RS)

cdef void taps_2x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 2, 5, RS)

cdef void taps_3x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 1, RS)

cdef void taps_3x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 2, RS)

cdef void taps_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, RS)

cdef void taps_3x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 4, RS)

cdef void taps_3x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 5, RS)

cdef void taps_4x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 1, RS)

cdef void taps_4x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 2, RS)

cdef void taps_4x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 3, RS)

cdef void taps_4x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 4, RS)

cdef void taps_4x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 5, RS)

cdef void taps_5x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 1, RS // 2)

cdef void taps_5x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 2, RS // 2)

cdef void taps_5x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 3, RS // 2)

cdef void taps_5x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 4, RS // 2)

cdef void taps_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, RS // 2)

cdef void low_taps_3x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 1, 3)

cdef void low_taps_3x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 2, 3)

cdef void low_taps_3x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 3, 3)

cdef void low_taps_3x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 4, 3)

cdef void low_taps_3x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 3, 5, 3)

cdef void low_taps_4x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 1, 3)

cdef void low_taps_4x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 2, 3)

cdef void low_taps_4x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 3, 3)

cdef void low_taps_4x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 4, 3)

cdef void low_taps_4x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 4, 5, 3)

cdef void low_taps_5x1(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 1, 2)

cdef void low_taps_5x2(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 2, 2)

cdef void low_taps_5x3(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 3, 2)

cdef void low_taps_5x4(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 4, 2)

cdef void low_taps_5x5(const Columns *c, total *sums) noexcept nogil:
    taps(c, sums, 5, 5, 2)


# By the taps, less 1; then the same with fewer rows of Y a step.
cdef Taps TAPS_OF[2][5][5]
TAPS_OF[0][0][:] = [taps_1x1, taps_1x2, taps_1x3, taps_1x4, taps_1x5]
TAPS_OF[0][1][:] = [taps_2x1, taps_2x2, taps_2x3, taps_2x4, taps_2x5]
TAPS_OF[0][2][:] = [taps_3x1, taps_3x2, taps_3x3, taps_3x4, taps_3x5]
TAPS_OF[0][3][:] = [taps_4x1, taps_4x2, taps_4x3, taps_4x4, taps_4x5]
TAPS_OF[0][4][:] = [taps_5x1, taps_5x2, taps_5x3, taps_5x4, taps_5x5]
TAPS_OF[1][0][:] = [taps_1x1, taps_1x2, taps_1x3, taps_1x4, taps_1x5]
TAPS_OF[1][1][:] = [taps_2x1, taps_2x2, taps_2x3, taps_2x4, taps_2x5]
TAPS_OF[1][2][:] = [low_taps_3x1, low_taps_3x2, low_taps_3x3, low_taps_3x4, low_taps_3x5]
TAPS_OF[1][3][:] = [low_taps_4x1, low_taps_4x2, low_taps_4x3, low_taps_4x4, low_taps_4x5]
TAPS_OF[1][4][:] = [low_taps_5x1, low_taps_5x2, low_taps_5x3, low_taps_5x4, low_taps_5x5]


cdef bint rows_collide(const Plane *p) noexcept nogil:
    """Whether rows of X lie about a multiple of a page apart, as far as its size tells."""
    cdef size_t pitch = p.n * sizeof(real) + 15
    return pitch > 4096 and pitch % 4096 < 31


cdef inline int rows_of_y(int pt, bint low) noexcept nogil:
    """Rows of Y a step, of the functions above."""
    if low and pt > 2:
        return 2 if pt > 4 else 3
    return RS // 2 if pt > 4 else RS


cdef struct WeightMemory:
    # What one thread needs for an item, and the row of zeros that all share.
    const real **y_rows
    const real **x_rows
    const real **y_table
    const real **x_table
    real *y_copy
    real *x_copy
    bint low  # whether to take fewer rows of Y a step
    bint copied  # whether all columns of X are read from copies
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
        TAPS_OF[memory.low][pt - 1][end - c.q - 1](&c, memory.sums + part * TAPS * TAPS * LANES)


cdef void weight_in_place(
    const Plane *p, const WeightMemory *memory, Py_ssize_t steps, int rs, int pt,
    Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t r, begin = first
    cdef const real *row
    while begin < last:
        for r in range(steps * rs):
            row = memory.y_rows[r]
            memory.y_table[r] = memory.zeros if row == NULL else row + begin
        for r in range(steps * rs + pt - 1):
            row = memory.x_rows[r]
            memory.x_table[r] = memory.zeros if row == NULL else row + begin - p.left
        weight_columns(p, memory, steps, pt, min(p.strip, last - begin))
        begin += p.strip


cdef void weight_from_copies(
    const Plane *p, const WeightMemory *memory, Py_ssize_t steps, int rs, int pt,
    Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t r, columns, begin = first
    cdef const real *row
    while begin < last:
        columns = vectors_in(min(last - begin, <Py_ssize_t> CHUNK)) * LANES
        for r in range(steps * rs):
            row = memory.y_rows[r]
            memory.y_table[r] = memory.zeros if row == NULL else row + begin
        if begin + columns > p.ow:
            copy_padded(
                memory.y_copy, pitch_of(columns), memory.y_table, memory.y_rows, steps * rs,
                last, begin, columns, ZEROS, end_of(p.y, p.oh, p.ow, p.y_pitch),
            )
        for r in range(steps * rs + pt - 1):
            memory.x_table[r] = memory.zeros
        copy_or_convert(
            p, memory.x_copy, pitch_of(columns + p.b - 1), memory.x_table, memory.x_rows,
            steps * rs + pt - 1, begin - p.left, columns + p.b - 1,
        )
        weight_columns(p, memory, steps, pt, columns)
        begin += CHUNK


cdef Py_ssize_t weight_of_one_row(
    const Plane *p, const WeightMemory *memory, int rs, Py_ssize_t left, Py_ssize_t right
) noexcept nogil:
    """A row of Y and of X as rs shorter ones, which are a step; returns the first column left."""
    cdef const real **x = memory.x_rows
    cdef const real **y = memory.y_rows
    cdef Py_ssize_t part = (right - left) // (rs * LANES) * LANES, r
    for r in range(1, rs):
        y[r] = y[0] + r * part
        x[r] = x[0]
        if x[0] != NULL:
            x[r] = x[r] + r * part
    weight_in_place(p, memory, 1, rs, 1, left, left + part)
    for r in range(1, rs):
        y[r] = NULL
        x[r] = NULL
    return left + rs * part


cdef void weight_rows(
    const Plane *p, const WeightMemory *memory, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t k, int pt
) noexcept nogil:
    """Add what a few rows of Y, from i on, give to the pt rows of dW from k on."""
    cdef int rs = rows_of_y(pt, memory.low)
    cdef Py_ssize_t steps = parts_in(rows, rs), first = 0, last = p.ow, left, right, r
    for r in range(steps * rs):
        memory.y_rows[r] = <const real *> p.y + (i + r) * p.y_pitch if r < rows else NULL
    point_at_rows(p, memory.x_rows, i - p.top + k, rows + pt - 1)
    for r in range(rows + pt - 1, steps * rs + pt - 1):
        memory.x_rows[r] = NULL
    if p.mode == ZEROS:  # columns that meet X at all
        first = max(p.left - p.b + 1, 0)
        last = max(min(p.n + p.left, p.ow), first)
    left = first + vectors_in(max(p.left - first, 0)) * LANES  # from here to right in place
    right = left + (min(p.n + p.left - p.b + 1, last) - left) // LANES * LANES
    if right > left and p.ow > CHUNK and not memory.copied:
        weight_from_copies(p, memory, steps, rs, pt, first, left)
        if rows == pt == 1:
            left = weight_of_one_row(p, memory, rs, left, right)
        weight_in_place(p, memory, steps, rs, pt, left, right)
        weight_from_copies(p, memory, steps, rs, pt, right, last)
    else:
        weight_from_copies(p, memory, steps, rs, pt, first, last)


cdef void weight_item(
    const Plane *p, Py_ssize_t item, total *sums, const WeightMemory *memory
) noexcept nogil:
    """A few rows of dW over one band; item counts bands, then parts of the filter's rows."""
    cdef Py_ssize_t parts = parts_in(p.a, TAPS), part = item % parts
    cdef Py_ssize_t i = item // parts * p.band, end = min(i + p.band, p.oh)
    cdef Py_ssize_t k = part * p.a // parts, q, t, lane, width
    cdef int pt = <int> ((part + 1) * p.a // parts - k)
    cdef total s
    memset(memory.sums, 0, parts_in(p.b, TAPS) * TAPS * TAPS * LANES * sizeof(total))
    while i < end:
        weight_rows(p, memory, i, min(end - i, <Py_ssize_t> ROWS), k, pt)
        i += ROWS
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
    cdef Py_ssize_t rows = table_rows(p), item
    cdef WeightMemory memory
    memory.y_rows = <const real **> scratch
    memory.x_rows = memory.y_rows + rows
    memory.y_table = memory.x_rows + rows
    memory.x_table = memory.y_table + rows
    memory.sums = <total *> (memory.x_table + rows)
    memory.y_copy = <real *> (memory.sums + parts_in(p.b, TAPS) * TAPS * TAPS * LANES)
    memory.x_copy = memory.y_copy + rows * pitch_of(CHUNK)
    memory.zeros = zeros
    memory.copied = p.x_kind != AS_IT_IS or rows_collide(p) and p.b >= WORTH_A_COPY
    memory.low = rows_collide(p) and not memory.copied
    for item in range(thread * items // p.threads, (thread + 1) * items // p.threads):
        weight_item(p, item, sums + item // parts * p.a * p.b, &memory)


cdef inline Py_ssize_t table_rows(const Plane *p) noexcept nogil:
    return (min(p.band, <Py_ssize_t> ROWS) + RS + TAPS + 7) // 8 * 8


cdef size_t weight_bytes(const Plane *p) noexcept nogil:
    """What one thread needs."""
    return aligned(
        table_rows(p) * (
            4 * sizeof(void *)
            + (pitch_of(CHUNK) + pitch_of(CHUNK + MAX_FILTER)) * sizeof(real)
        )
        + parts_in(p.b, TAPS) * TAPS * TAPS * LANES * sizeof(total)
        + LANES * sizeof(real)
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
            s += row_dot(x, y + j, count, 1)
        if p.mode != ZEROS:
            for j in range(p.ow):
                if not begin <= j < end:
                    x = piece_of(p, room, r, source(j - p.left + q, p.n, p.mode), 1)
                    s += x[0] * y[j]
    return s


cdef inline size_t zeros_bytes(const Plane *p) noexcept nogil:
    """A row of zeros, for what is not there."""
    return aligned(
        (max(min(p.strip, p.ow), <Py_ssize_t> CHUNK) + p.b + LANES) * sizeof(real)
    )


cdef void put_exactly(const Plane *p, Py_ssize_t k, Py_ssize_t q) noexcept nogil:
    (<real *> p.w)[k * p.w_row + q * p.w_col] = <real> weight_exactly(p, k, q)


cdef int weight(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Py_ssize_t thread, k, band, bands
    cdef size_t bytes, zeros_size, sums_bytes
    cdef char *memory
    cdef real *zeros
    cdef total *sums
    cdef char *scratch
    cdef total s
    p.band = parts_in(min(p.band, p.oh), RS) * RS
    p.strip = vectors_in(p.strip) * LANES
    bands = parts_in(p.oh, p.band)
    bytes = weight_bytes(&p)
    zeros_size = zeros_bytes(&p)
    sums_bytes = aligned(bands * p.a * p.b * sizeof(total))
    memory = <char *> malloc(64 + zeros_size + sums_bytes + p.threads * bytes)
    if memory == NULL:
        return -1
    zeros = <real *> align(memory)
    sums = <total *> (align(memory) + zeros_size)
    scratch = align(memory) + zeros_size + sums_bytes
    memset(zeros, 0, zeros_size)
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
            put_exactly(&p, k // p.b, k % p.b)
    return 0
