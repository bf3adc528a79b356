# The gradient of W of depthwise layers with channels in the lanes
#
# A run of up to RUN taps is summed in registers while the pixels of two pictures (layer_lanes.pxi),
# Y and X with its padding, are met one by one; sums of a band of rows are added up in `total`.
# An item of work is LANES filters and a band of all rows of all images; bands are added in order.


cdef enum:
    RUN = 9


cdef struct Taps:
    # A run of taps of dW for all pixels of a band of rows of Y.
    int once  # see Tile
    const real *y
    const real *x[RUN]
    Py_ssize_t rows, columns, x_row, x_column
    total *sums  # [tap][lane]


cdef inline void run_of_taps(const Taps *t, int n) noexcept nogil:
    cdef vec acc[RUN]
    cdef vec y
    cdef const real *y_pixel
    cdef const real *row[RUN]
    cdef real flat[RUN * LANES]
    cdef Py_ssize_t u, v, step = t.x_column
    cdef int i, _once
    for _once in range(t.once):
        y_pixel = t.y
        for i in range(n):
            acc[i] = splat(0)
            row[i] = t.x[i]
        for u in range(t.rows):
            for v in range(t.columns):
                y = load(y_pixel)
                for i in range(n):
                    acc[i] = acc[i] + y * peek(row[i] + v * step)
                y_pixel += LANES
            for i in range(n):
                row[i] += t.x_row
        for i in range(n):
            store(flat + i * LANES, acc[i])
    for v in range(n * LANES):
        t.sums[v] += flat[v]


ctypedef void (*RunOfTaps)(const Taps *) noexcept nogil

cdef void taps_of_1(const Taps *t) noexcept nogil:
    run_of_taps(t, 1)

cdef void taps_of_2(const Taps *t) noexcept nogil:
    run_of_taps(t, 2)

cdef void taps_of_3(const Taps *t) noexcept nogil:
    run_of_taps(t, 3)

cdef void taps_of_4(const Taps *t) noexcept nogil:
    run_of_taps(t, 4)

cdef void taps_of_5(const Taps *t) noexcept nogil:
    run_of_taps(t, 5)

cdef void taps_of_6(const Taps *t) noexcept nogil:
    run_of_taps(t, 6)

cdef void taps_of_7(const Taps *t) noexcept nogil:
    run_of_taps(t, 7)

cdef void taps_of_8(const Taps *t) noexcept nogil:
    run_of_taps(t, 8)

cdef void taps_of_9(const Taps *t) noexcept nogil:
    run_of_taps(t, 9)


cdef RunOfTaps TAPS_OF[RUN]
TAPS_OF[:] = [
    taps_of_1, taps_of_2, taps_of_3, taps_of_4, taps_of_5, taps_of_6, taps_of_7, taps_of_8,
    taps_of_9,
]


cdef void show_side(
    Picture *p, const real *planes, Py_ssize_t plane, Py_ssize_t channel, Py_ssize_t count,
    Py_ssize_t multiplier
) noexcept nogil:
    """The planes that lanes from a channel on have on one side of dW."""
    cdef Py_ssize_t i
    for i in range(LANES):
        p.planes[i] = planes + min(channel + i, count - 1) // multiplier * plane
    show(p)


cdef void add_taps(
    const Layer *p, const Picture *x, const Picture *y, total *sums
) noexcept nogil:
    """All taps for the pixels of two pictures."""
    cdef Taps t
    cdef Py_ssize_t taps = p.rows.taps * p.columns.taps, runs = parts_in(taps, RUN), i, k, first
    t.once = 1
    t.rows = y.rows
    t.columns = y.width
    t.y = y.pixels
    t.x_row = p.rows.stride * x.pitch * LANES
    t.x_column = p.columns.stride * LANES
    for i in range(runs):
        first = i * taps // runs
        t.sums = sums + first * LANES
        for k in range(first, (i + 1) * taps // runs):
            t.x[k - first] = x.pixels + (
                k // p.columns.taps * p.rows.dilation * x.pitch
                + k % p.columns.taps * p.columns.dilation
            ) * LANES
        TAPS_OF[(i + 1) * taps // runs - first - 1](&t)


cdef void weight_pixels(
    const Layer *p, Py_ssize_t channel, Py_ssize_t first, Py_ssize_t last, total *sums,
    char *memory
) noexcept nogil:
    """The sums of LANES filters over bands of rows first to last, which count rows, then images."""
    cdef Picture x, y
    cdef Py_ssize_t band, n, u, bands = parts_in(p.rows.outputs, p.band), filters = p.groups * p.k
    x.row = p.x_row
    x.column = p.x_col
    x.height = p.rows.size
    x.width = p.columns.size
    x.mode = p.mode
    x.before = p.columns.before
    x.pitch = picture_width(p)
    x.square = <real *> memory
    x.pixels = x.square + LANES * LANES
    y.row = p.y_row
    y.column = p.y_col
    y.height = p.rows.outputs
    y.width = p.columns.outputs
    y.mode = ZEROS
    y.before = 0
    y.pitch = y.width
    y.square = x.square
    y.pixels = x.pixels + picture_height(p, p.band) * x.pitch * LANES
    memset(sums, 0, p.rows.taps * p.columns.taps * LANES * sizeof(total))
    for band in range(first, last):
        n = band // bands
        u = band % bands * p.band
        y.first = u
        y.rows = min(p.band, p.rows.outputs - u)
        x.first = u * p.rows.stride - p.rows.before
        x.rows = picture_height(p, y.rows)
        show_side(&x, <const real *> p.x + n * p.x_n, p.x_c, channel, filters, p.k)
        show_side(&y, <const real *> p.y + n * p.y_n, p.y_k, channel, filters, 1)
        add_taps(p, &x, &y, sums)


cdef inline Py_ssize_t picture_width(const Layer *p) noexcept nogil:
    """Columns of X, with padding, that all taps see."""
    return max(
        p.columns.before + p.columns.size,
        (p.columns.outputs - 1) * p.columns.stride + (p.columns.taps - 1) * p.columns.dilation + 1,
    )


cdef inline Py_ssize_t picture_height(const Layer *p, Py_ssize_t rows) noexcept nogil:
    return (rows - 1) * p.rows.stride + (p.rows.taps - 1) * p.rows.dilation + 1


cdef void weight_pixels_item(
    const Layer *p, Py_ssize_t item, total *sums, char *memory
) noexcept nogil:
    """Item: LANES filters, a band of all rows of all images."""
    cdef Py_ssize_t blocks = parts_in(p.groups * p.k, LANES), part = item // blocks
    cdef Py_ssize_t rows = parts_in(p.rows.outputs, p.band) * p.n
    weight_pixels(
        p, item % blocks * LANES, part * rows // p.bands, (part + 1) * rows // p.bands,
        sums + item * p.rows.taps * p.columns.taps * LANES, memory,
    )


cdef void weight_of_lane(const Layer *p, Py_ssize_t m, const total *sums) noexcept nogil:
    """One filter from the sums of all bands."""
    cdef Py_ssize_t k, q, band, taps = p.rows.taps * p.columns.taps
    cdef Py_ssize_t blocks = parts_in(p.groups * p.k, LANES)
    cdef real *w
    cdef total s
    sums += m // LANES * taps * LANES + m % LANES
    for k in range(p.rows.taps):
        for q in range(p.columns.taps):
            s = 0
            for band in range(p.bands):
                s += sums[(band * blocks * taps + k * p.columns.taps + q) * LANES]
            w = <real *> p.w + m * p.w_k + k * p.w_row + q * p.w_col
            w[0] = <real> s
            if not finite(w[0]):
                exact_weight(p, m, 0, k, q)


cdef void lay_weight_lanes(
    const Layer *p, Py_ssize_t *items, size_t *sums, size_t *bytes
) noexcept nogil:
    """The items of a call, the memory of all their sums, and that of a thread."""
    items[0] = parts_in(p.groups * p.k, LANES) * p.bands
    sums[0] = aligned(items[0] * p.rows.taps * p.columns.taps * LANES * sizeof(total))
    bytes[0] = aligned(sizeof(real) * LANES * (
        LANES + picture_height(p, p.band) * picture_width(p) + p.band * p.columns.outputs
    ))
