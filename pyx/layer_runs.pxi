# Depthwise layers with channels in the lanes: runs of columns of a row of Y or of dX in registers
#
# Each pixel is loaded once for all taps and columns of a run that meet there. So a run takes
# columns that lie as far apart as makes them meet: of a stride of 1, as far as the taps. The sum
# goes over blocks of columns of taps, then rows of taps, then from left to right as the picture
# lies.

cdef enum:
    LONGEST = 7  # columns of a run
    MOST_TAPS = 7  # of a row of W, in a block


cdef struct Pixels:
    # A run of columns of a row u of a lattice, through a block of columns of taps.
    int once  # see Tile
    real *out
    Py_ssize_t out_step
    const real *seen  # where its first column sees the first tap, in the first row of the picture
    Py_ssize_t unit, step  # to what it sees through the next tap; to where the next column does
    const Picture *picture
    const Walk *rows
    Py_ssize_t row_taps, u, across  # rows of taps; taps in a row of W
    const real *w  # [tap][lane], from the first tap of the block on
    Py_ssize_t w_step  # to the next one
    const real *bias  # [lane]; NULL where the sums go on


cdef inline void slide(
    vec *acc, const vec *tap, const real *seen, Py_ssize_t unit, int j, int n, int taps, int stride
) noexcept nogil:
    """The j-th pixel that a run of n columns sees, into all sums that it is part of."""
    cdef vec x
    cdef int q
    if j >= (n - 1) * stride + taps:
        return
    x = load(seen + j * unit)
    for q in range(taps):
        if j >= q and (j - q) % stride == 0 and (j - q) // stride < n:
            acc[(j - q) // stride] = add_product(acc[(j - q) // stride], tap[q], x)


cdef inline void slide_along(
    vec *acc, const vec *tap, const real *seen, Py_ssize_t unit, int n, int taps, int stride
) noexcept nogil:
    """All pixels of a row that a run sees; gcc 12 unrolls no loop as long as this."""
    slide(acc, tap, seen, unit, 0, n, taps, stride)
    slide(acc, tap, seen, unit, 1, n, taps, stride)
    slide(acc, tap, seen, unit, 2, n, taps, stride)
    slide(acc, tap, seen, unit, 3, n, taps, stride)
    slide(acc, tap, seen, unit, 4, n, taps, stride)
    slide(acc, tap, seen, unit, 5, n, taps, stride)
    slide(acc, tap, seen, unit, 6, n, taps, stride)
    slide(acc, tap, seen, unit, 7, n, taps, stride)
    slide(acc, tap, seen, unit, 8, n, taps, stride)
    slide(acc, tap, seen, unit, 9, n, taps, stride)
    slide(acc, tap, seen, unit, 10, n, taps, stride)
    slide(acc, tap, seen, unit, 11, n, taps, stride)
    slide(acc, tap, seen, unit, 12, n, taps, stride)
    slide(acc, tap, seen, unit, 13, n, taps, stride)
    slide(acc, tap, seen, unit, 14, n, taps, stride)
    slide(acc, tap, seen, unit, 15, n, taps, stride)
    slide(acc, tap, seen, unit, 16, n, taps, stride)
    slide(acc, tap, seen, unit, 17, n, taps, stride)
    slide(acc, tap, seen, unit, 18, n, taps, stride)


cdef inline void run_of_columns(const Pixels *t, int n, int taps, int stride) noexcept nogil:
    cdef vec acc[LONGEST]
    cdef vec tap[MOST_TAPS]
    cdef const real *seen
    cdef const real *w
    cdef Py_ssize_t k, row, step = t.step
    cdef int i, q, _once
    for _once in range(t.once):
        for i in range(n):
            acc[i] = load(t.out + i * t.out_step) if t.bias == NULL else load(t.bias)
        for k in range(t.row_taps):
            row = t.u * t.rows.stride + t.rows.at[k] - t.picture.first
            if row < 0 or row >= t.picture.rows:
                continue
            seen = t.seen + row * t.picture.pitch * LANES
            w = t.w + t.rows.tap[k] * t.across * LANES
            for q in range(taps):
                tap[q] = load(w + q * t.w_step)
            if taps > 1:
                slide_along(acc, tap, seen, t.unit, n, taps, stride)
            else:
                for i in range(n):
                    acc[i] = acc[i] + tap[0] * peek(seen + i * step)
        for i in range(n):
            store(t.out + i * t.out_step, acc[i])


ctypedef void (*RunOfColumns)(const Pixels *) noexcept nogil

cdef void run_1_of_1(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 1, 1)

cdef void run_2_of_1(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 1, 1)

cdef void run_4_of_1(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 1, 1)

cdef void run_7_of_1(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 1, 1)

cdef void run_1_of_2(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 2, 1)

cdef void run_2_of_2(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 2, 1)

cdef void run_4_of_2(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 2, 1)

cdef void run_7_of_2(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 2, 1)

cdef void run_1_of_3(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 3, 1)

cdef void run_2_of_3(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 3, 1)

cdef void run_4_of_3(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 3, 1)

cdef void run_7_of_3(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 3, 1)

cdef void run_1_of_5(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 5, 1)

cdef void run_2_of_5(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 5, 1)

cdef void run_4_of_5(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 5, 1)

cdef void run_7_of_5(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 5, 1)

cdef void run_1_of_7(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 7, 1)

cdef void run_2_of_7(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 7, 1)

cdef void run_4_of_7(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 7, 1)

cdef void run_7_of_7(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 7, 1)

cdef void run_1_of_2_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 2, 2)

cdef void run_2_of_2_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 2, 2)

cdef void run_4_of_2_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 2, 2)

cdef void run_7_of_2_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 2, 2)

cdef void run_1_of_3_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 3, 2)

cdef void run_2_of_3_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 3, 2)

cdef void run_4_of_3_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 3, 2)

cdef void run_7_of_3_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 3, 2)

cdef void run_1_of_5_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 5, 2)

cdef void run_2_of_5_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 5, 2)

cdef void run_4_of_5_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 5, 2)

cdef void run_7_of_5_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 5, 2)

cdef void run_1_of_7_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1, 7, 2)

cdef void run_2_of_7_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2, 7, 2)

cdef void run_4_of_7_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4, 7, 2)

cdef void run_7_of_7_apart(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7, 7, 2)


# By units from column to column, taps of the block and columns of the run. One tap does for all.
cdef int[5] TAPS_OF_BLOCK = [1, 2, 3, 5, 7]
cdef int[4] COLUMNS_OF_RUN = [1, 2, 4, 7]
cdef RunOfColumns RUN_OF[2][5][4]
RUN_OF[0][0][:] = [
    run_1_of_1, run_2_of_1, run_4_of_1, run_7_of_1
]
RUN_OF[0][1][:] = [
    run_1_of_2, run_2_of_2, run_4_of_2, run_7_of_2
]
RUN_OF[0][2][:] = [
    run_1_of_3, run_2_of_3, run_4_of_3, run_7_of_3
]
RUN_OF[0][3][:] = [
    run_1_of_5, run_2_of_5, run_4_of_5, run_7_of_5
]
RUN_OF[0][4][:] = [
    run_1_of_7, run_2_of_7, run_4_of_7, run_7_of_7
]
RUN_OF[1][0][:] = [
    run_1_of_1, run_2_of_1, run_4_of_1, run_7_of_1
]
RUN_OF[1][1][:] = [
    run_1_of_2_apart, run_2_of_2_apart, run_4_of_2_apart, run_7_of_2_apart
]
RUN_OF[1][2][:] = [
    run_1_of_3_apart, run_2_of_3_apart, run_4_of_3_apart, run_7_of_3_apart
]
RUN_OF[1][3][:] = [
    run_1_of_5_apart, run_2_of_5_apart, run_4_of_5_apart, run_7_of_5_apart
]
RUN_OF[1][4][:] = [
    run_1_of_7_apart, run_2_of_7_apart, run_4_of_7_apart, run_7_of_7_apart
]


cdef void sum_columns(Pixels *t, Py_ssize_t count, int block, bint apart) noexcept nogil:
    """Through one block of columns of taps."""
    cdef int run
    while count > 0:
        run = 3
        while COLUMNS_OF_RUN[run] > count or (run == 3 and count == 8):  # 8 is 4 and 4
            run -= 1
        RUN_OF[apart][block][run](t)
        t.out += COLUMNS_OF_RUN[run] * t.out_step
        t.seen += COLUMNS_OF_RUN[run] * t.step
        count -= COLUMNS_OF_RUN[run]


cdef Py_ssize_t divisor(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """The greatest of both."""
    return a if b == 0 else divisor(b, a % b)


cdef void sum_row(
    Pixels *t, const Walk *columns, const real *picture, const real *w, const real *bias,
    real *out
) noexcept nogil:
    """A row of one lattice, through all taps."""
    cdef Py_ssize_t q = 0, first = 0, unit = 1, apart = columns.stride, common
    cdef Py_ssize_t classes, i
    cdef int block
    t.row_taps = t.rows.taps if columns.taps > 0 else 0
    if columns.taps > 1:
        unit = columns.at[1] - columns.at[0]
        t.w_step = (columns.tap[1] - columns.tap[0]) * LANES
        if unit < 0:  # from left to right
            unit = -unit
            t.w_step = -t.w_step
            first = columns.taps - 1
    common = divisor(unit, apart)
    classes = unit // common
    apart //= common
    t.unit = unit * LANES
    t.out_step = classes * columns.step * LANES
    t.step = classes * columns.stride * LANES
    t.bias = bias
    while q == 0 or q < columns.taps:
        block = 4 if apart <= 2 else 0
        while block > 0 and TAPS_OF_BLOCK[block] > columns.taps - q:
            block -= 1
        for i in range(min(classes, columns.count)):
            t.out = out + i * columns.step * LANES
            t.seen = picture + i * columns.stride * LANES
            if columns.taps > 0:
                t.w = w + columns.tap[first] * LANES + q * t.w_step
                t.seen += (columns.at[first] + q * unit) * LANES
            sum_columns(t, parts_in(columns.count - i, classes), block, apart == 2)
        t.bias = NULL
        q += TAPS_OF_BLOCK[block]
