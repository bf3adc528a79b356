# One pixel, or two, of filters that see one: what layer_filters.pxi makes, along rows of W
#
# Where W has the channels of the result side by side, a block of a few vectors of them would go
# down all rows of W, a page or more further on with each. So a long piece of the result is made,
# by a few rows of W at a time, which memory delivers one after the other. Each sum takes the steps
# that a tile takes, in the same order.

cdef enum:
    PIXELS = 2  # at most
    ROWS_OF_W = 8  # at a time
    PIECE = 4096  # channels of the result at a time


cdef struct Along:
    int once  # see Tile
    const real *w
    Py_ssize_t w_r  # from row to row
    const real *x
    Py_ssize_t x_r, x_next  # from channel to channel, pixel to pixel
    Py_ssize_t count  # of channels of the result
    real *sums  # [pixel][PIECE]


cdef inline void along(const Along *t, int rows, int pixels) noexcept nogil:
    """Add the products of some rows of W."""
    cdef vec x[PIXELS * ROWS_OF_W]
    cdef vec acc[PIXELS]
    cdef vec w
    cdef const real *row[ROWS_OF_W]
    cdef Py_ssize_t j, vectors = t.count // LANES, left = t.count % LANES
    cdef int r, k, _once
    for _once in range(t.once):
        for r in range(rows):
            row[r] = t.w + r * t.w_r
            for k in range(pixels):
                x[k * ROWS_OF_W + r] = splat(t.x[k * t.x_next + r * t.x_r])
        for j in range(vectors + (left > 0)):
            for k in range(pixels):
                acc[k] = load(t.sums + k * PIECE + j * LANES)
            for r in range(rows):
                if j < vectors:
                    w = load(row[r] + j * LANES)
                else:
                    w = load_some(row[r] + j * LANES, <int> left)
                for k in range(pixels):
                    acc[k] = acc[k] + x[k * ROWS_OF_W + r] * w
            for k in range(pixels):
                store(t.sums + k * PIECE + j * LANES, acc[k])


ctypedef void (*AlongOf)(const Along *) noexcept nogil

cdef void along_1x1(const Along *t) noexcept nogil:
    along(t, 1, 1)

cdef void along_1x2(const Along *t) noexcept nogil:
    along(t, 1, 2)

cdef void along_8x1(const Along *t) noexcept nogil:
    along(t, ROWS_OF_W, 1)

cdef void along_8x2(const Along *t) noexcept nogil:
    along(t, ROWS_OF_W, 2)


# By whether there are ROWS_OF_W rows, or one, and by pixels.
cdef AlongOf ALONG_OF[2][PIXELS]
ALONG_OF[0][:] = [along_1x1, along_1x2]
ALONG_OF[1][:] = [along_8x1, along_8x2]


cdef void make_piece(
    const Job *job, const Filters *f, const real *seen, Py_ssize_t m, Py_ssize_t count,
    Py_ssize_t pixels, real *sums, real *part
) noexcept nogil:
    """Channels of the result from m on: a block of channels r at a time."""
    cdef Py_ssize_t blocks = max(parts_in(job.r, job.depth), <Py_ssize_t> 1), block, r, r_end, i, k
    cdef int rows
    cdef Along t
    t.once = 1
    t.w_r = job.w_r
    t.x_r = f.channel
    t.x_next = f.right
    t.count = count
    for i in range(count):
        for k in range(pixels):
            sums[k * PIECE + i] = 0 if f.b.bias == NULL else f.b.bias[(m + i) * job.bias_step]
    for block in range(blocks):
        r = block * job.r // blocks
        r_end = (block + 1) * job.r // blocks
        t.sums = part if block > 0 else sums
        if block > 0:
            memset(part, 0, pixels * PIECE * sizeof(real))
        while r < r_end:
            t.w = f.b.w + m + r * job.w_r
            t.x = seen + r * f.channel
            rows = ROWS_OF_W if r + ROWS_OF_W <= r_end else 1
            ALONG_OF[rows > 1][pixels - 1](&t)
            r += rows
        if block > 0:
            for k in range(pixels):
                for i in range(count):
                    sums[k * PIECE + i] = part[k * PIECE + i] + sums[k * PIECE + i]


cdef void go_along(
    const Job *job, const Filters *f, const real *seen, Py_ssize_t m, Py_ssize_t m_end,
    real *memory
) noexcept nogil:
    """Channels m to m_end of all pixels, of which there are few."""
    cdef Py_ssize_t pixels = f.height, count, k
    while m < m_end:
        count = min(m_end - m, <Py_ssize_t> PIECE)
        make_piece(job, f, seen, m, count, pixels, memory, memory + PIXELS * PIECE)
        for k in range(pixels):
            put_apart(
                f.b.out + k * job.o_row + m * job.o_m, job.o_m, memory + k * PIECE, count
            )
        m += count


cdef inline bint is_along(const Job *job) noexcept nogil:
    """Whether a call is of so few pixels, and W has the channels of the result side by side."""
    return (
        job.images == 1 and job.w_m == 1 and not job.unpadded
        and job.row_walks * job.column_walks == job.rows[0].taps == job.columns[0].taps == 1
        and job.columns[0].count == 1 and job.band <= PIXELS
    )
