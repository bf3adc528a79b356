# Depthwise layers with channels in the lanes: Y, the gradients of X and of W, any stride
#
# The formulas are those of layer_correlate.pxi and layer_weight.pxi, with one channel a group on
# the side of the result. A picture is LANES planes side by side, [row][column][channel], transposed
# in squares on the way in, with padding. So a tap of any stride and dilation is an aligned vector,
# small planes fill all lanes, and W is a vector a tap. A tile of Y is a run of columns of a row in
# registers (layer_runs.pxi); a tile of dW is a run of taps (layer_lanes_weight.pxi). Results are
# transposed back.
#
# An item of work is a band of rows of LANES planes of the result; its pictures stay in L2.

cdef struct Lanes:
    # What the items of one call share.
    const Job *job
    Py_ssize_t before, pitch  # of the pictures
    Py_ssize_t low, high  # rows that all lattices see of row u: u * stride + low..high
    Py_ssize_t width, height  # of the planes of the result
    Py_ssize_t blocks, across, taps
    Py_ssize_t pixels, sums, bytes  # vectors of a picture and of its results; of one thread


cdef void reach_of_walks(
    const Walk *walks, Py_ssize_t count, Py_ssize_t *low, Py_ssize_t *high
) noexcept nogil:
    """The least and the largest `at` of all taps."""
    cdef Py_ssize_t i, k
    low[0] = 0
    high[0] = 0
    for i in range(count):
        for k in range(walks[i].taps):
            low[0] = min(low[0], walks[i].at[k])
            high[0] = max(high[0], walks[i].at[k])


cdef void lay_lanes(Lanes *l, const Job *job, const Layer *p) noexcept nogil:
    cdef Py_ssize_t low, high, i
    l.job = job
    reach_of_walks(job.rows, job.row_walks, &l.low, &l.high)
    reach_of_walks(job.columns, job.column_walks, &low, &high)
    l.before = -low
    l.pitch = l.before + max(
        job.width, (job.columns[0].count - 1) * job.columns[0].stride + high + 1
    )
    l.width = 0
    l.height = 0
    for i in range(job.column_walks):
        l.width += job.columns[i].count
    for i in range(job.row_walks):
        l.height += job.rows[i].count
    l.blocks = parts_in(job.groups * job.m, LANES)
    l.across = p.columns.taps
    l.taps = p.rows.taps * p.columns.taps
    l.pixels = ((job.band - 1) * job.rows[0].stride + l.high - l.low + 1) * l.pitch
    l.sums = job.band * job.rows[0].step * l.width
    l.bytes = aligned((l.pixels + l.sums + l.taps + 1 + LANES) * LANES * sizeof(real))


cdef void show_source(
    const Lanes *l, Picture *p, Py_ssize_t n, Py_ssize_t channel, Py_ssize_t r, Py_ssize_t u,
    Py_ssize_t rows
) noexcept nogil:
    """What `rows` rows of all lattices see, from row u on: for each lane its source plane r."""
    cdef const Job *job = l.job
    cdef Py_ssize_t i, k, last
    for i in range(LANES):
        k = min(channel + i, job.groups * job.m - 1) // job.m
        p.planes[i] = job.source + n * job.s_n + (k * job.r + r) * job.s_r
    p.row = job.s_row
    p.column = job.s_column
    p.height = job.height
    p.width = job.width
    p.mode = job.mode
    p.before = l.before
    p.pitch = l.pitch
    p.first = u * job.rows[0].stride + l.low
    last = (u + rows - 1) * job.rows[0].stride + l.high
    if job.mode == ZEROS:
        p.first = max(p.first, <Py_ssize_t> 0)
        last = min(last, job.height - 1)
    p.rows = max(last - p.first + 1, <Py_ssize_t> 0)
    show(p)


cdef void sum_pixels(
    const Lanes *l, const Picture *p, Py_ssize_t u, Py_ssize_t rows, const real *w,
    const real *bias, real *sums
) noexcept nogil:
    """Rows u.. of all lattices, into the rows and columns of the result that they are."""
    cdef const Job *job = l.job
    cdef const Walk *columns
    cdef Pixels t
    cdef Py_ssize_t i, j, k
    t.once = 1
    t.picture = p
    t.across = l.across
    for i in range(job.row_walks):
        t.rows = &job.rows[i]
        for t.u in range(u, min(u + rows, t.rows.count)):
            k = (t.rows.first + (t.u - u) * t.rows.step) * l.width
            for j in range(job.column_walks):
                columns = &job.columns[j]
                sum_row(
                    &t, columns, p.pixels + l.before * LANES, w, bias,
                    sums + (k + columns.first) * LANES,
                )


cdef void deliver_square(
    real *to, Py_ssize_t plane, Py_ssize_t column, const real *sums, Py_ssize_t lanes,
    Py_ssize_t channels
) noexcept nogil:
    """LANES pixels of a row, `column` apart, of up to LANES channels."""
    cdef vec a[LANES]
    cdef real square[LANES * LANES]
    cdef Py_ssize_t k
    cdef int i, j
    for i in range(LANES):
        a[i] = load(sums + i * lanes)
    turn_square(a)
    if 1 <= column <= 2 and channels == LANES:
        for i in range(LANES):
            if column == 1:
                store(to + i * plane, a[i])
            else:
                store_apart(to + i * plane, a[i], LANES)
        return
    for i in range(LANES):
        store(square + i * LANES, a[i])
    for k in range(channels):
        if column == 1:
            store(to + k * plane, peek(square + k * LANES))
        elif column == 2:
            store_apart(to + k * plane, peek(square + k * LANES), LANES)
        else:
            for j in range(LANES):
                to[k * plane + j * column] = square[k * LANES + j]


cdef void deliver_pixels(
    real *to, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t column, const real *sums,
    Py_ssize_t lanes, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t channels
) noexcept nogil:
    """[row][column][lane] into planes; the lanes are whole vectors."""
    cdef Py_ssize_t i, j, c
    if column == 1 and row == width:  # as one row
        width *= rows
        rows = 1
    for i in range(rows):
        if LANES == 1 or width < LANES:
            for j in range(width):
                transpose(to + j * column, plane, sums + j * lanes, lanes, 1, 1, channels)
        else:
            c = 0
            while c < channels:
                j = 0
                while j < width:  # the last squares overlap those before
                    j = min(j, width - LANES)
                    deliver_square(
                        to + j * column + c * plane, plane, column, sums + j * lanes + c, lanes,
                        min(channels - c, <Py_ssize_t> LANES),
                    )
                    j += LANES
                c += LANES
        to += row
        sums += width * lanes


cdef void show_filters(const Lanes *l, Py_ssize_t channel, Py_ssize_t r, real *to) noexcept nogil:
    """W of each lane, [tap][lane]."""
    cdef const Job *job = l.job
    cdef const real *w
    cdef Py_ssize_t lane, k, q, m
    cdef bint dense = job.m == 1 and job.w_column == 1 and job.w_row == l.across
    if dense and channel + LANES <= job.groups:
        transpose(
            to, LANES, job.w + channel * job.w_g + r * job.w_r, job.w_g, 1, LANES, l.taps
        )
        return
    for lane in range(LANES):
        m = min(channel + lane, job.groups * job.m - 1)
        w = job.w + m // job.m * job.w_g + m % job.m * job.w_m + r * job.w_r
        for k in range(l.taps // l.across):
            for q in range(l.across):
                to[(k * l.across + q) * LANES + lane] = w[k * job.w_row + q * job.w_column]


cdef void make_pixels(const Lanes *l, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: channels, rows, image."""
    cdef const Job *job = l.job
    cdef Picture p
    cdef Py_ssize_t channel = item % l.blocks * LANES, u, n, rows, r, k, lane, m, below
    cdef real *sums = <real *> memory
    cdef real *w = sums + l.sums * LANES
    cdef real *bias = w + l.taps * LANES
    item //= l.blocks
    u = item % job.bands * job.band
    n = item // job.bands
    rows = min(job.band, job.rows[0].count - u)
    p.square = bias + LANES
    p.pixels = p.square + LANES * LANES
    for lane in range(LANES):
        m = min(channel + lane, job.groups * job.m - 1)
        bias[lane] = 0 if job.bias == NULL else job.bias[m * job.bias_step]
    for r in range(max(job.r, <Py_ssize_t> 1)):
        if job.r > 0:
            show_filters(l, channel, r, w)
            show_source(l, &p, n, channel, r, u, rows)
        else:
            p.rows = 0
            p.first = 0
        sum_pixels(l, &p, u, rows, w, bias if r == 0 else NULL, sums)
    k = u * job.rows[0].step
    below = min((u + rows) * job.rows[0].step, l.height)
    deliver_pixels(
        job.out + n * job.o_n + channel * job.o_m + k * job.o_row, job.o_m, job.o_row,
        job.o_column, sums, LANES, below - k, l.width,
        min(job.groups * job.m - channel, <Py_ssize_t> LANES),
    )
