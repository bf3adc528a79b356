# Depthwise layers with channels in the lanes: Y, the gradients of X and of W, any stride
#
# The formulas are those of layer_correlate.pxi and layer_weight.pxi, with one channel a group on
# the side of the result. A picture is LANES planes side by side, [row][column][channel], transposed
# in squares on the way in, with padding. So a tap of any stride and dilation is an aligned vector,
# small planes fill all lanes, and W is a vector a tap. A tile of Y is up to RUN columns of a row in
# registers; a tile of dW is up to RUN taps, for which Y and X are met element by element. Results
# are transposed back.
#
# An item of work is a band of rows of LANES planes of the result; its pictures stay in L2.

cdef enum:
    RUN = 9


cdef struct Picture:
    const real *planes[LANES]
    real *square  # LANES x LANES, for a transpose
    Py_ssize_t row, column, height, width  # of the planes: steps and sizes
    int mode
    Py_ssize_t first, rows  # of the planes that the picture holds
    Py_ssize_t before, pitch  # padding on the left; vectors from row to row
    real *pixels


cdef inline void transpose_planes(
    real *to, const real *const *planes, Py_ssize_t pixel
) noexcept nogil:
    """LANES pixels of as many planes."""
    cdef vec a[LANES]
    cdef int i
    for i in range(LANES):
        a[i] = load(planes[i] + pixel)
    turn_square(a)
    for i in range(LANES):
        store(to + i * LANES, a[i])


cdef void show_pixels(
    const Picture *p, Py_ssize_t base, Py_ssize_t count, Py_ssize_t to
) noexcept nogil:
    """`count` pixels that follow one another from `base` on, from row `to` of the picture on."""
    cdef Py_ssize_t j = 0, i, row, column, size
    cdef real *to_pixel
    while j < count:
        size = min(count - j, <Py_ssize_t> LANES)
        if size < LANES and count >= LANES and p.column == 1:
            j = count - LANES  # overlaps the one before
            size = LANES
        row = j // p.width
        column = j % p.width
        to_pixel = p.pixels + ((to + row) * p.pitch + p.before + column) * LANES
        if size == LANES and p.column == 1:
            if column + size <= p.width:
                transpose_planes(to_pixel, p.planes, base + j)
                j += size
                continue
            transpose_planes(p.square, p.planes, base + j)
        else:
            for i in range(size * LANES):
                p.square[i] = p.planes[i % LANES][base + (j + i // LANES) * p.column]
        for i in range(size):
            store(to_pixel, peek(p.square + i * LANES))
            to_pixel += LANES
            column += 1
            if column == p.width:
                column = 0
                to_pixel += (p.pitch - p.width) * LANES
        j += size


cdef void pad_row(const Picture *p, Py_ssize_t i) noexcept nogil:
    """The columns of one row of a picture that lie in padding."""
    cdef real *row = p.pixels + i * p.pitch * LANES
    cdef Py_ssize_t j, from_
    for j in range(p.pitch):
        if p.before <= j < p.before + p.width:
            continue
        from_ = source(j - p.before, p.width, p.mode)
        store(
            row + j * LANES, splat(0) if from_ < 0 else peek(row + (p.before + from_) * LANES)
        )


cdef void show(const Picture *p) noexcept nogil:
    """Fill a picture."""
    cdef Py_ssize_t i = 0, row, count
    cdef bint dense = p.row == p.width and p.column == 1 and p.width < 2 * LANES
    while i < p.rows:
        row = source(p.first + i, p.height, p.mode)
        count = 1
        if row < 0:
            memset(p.pixels + i * p.pitch * LANES, 0, p.pitch * LANES * sizeof(real))
        else:
            if dense and 0 <= p.first + i < p.height:
                count = min(p.rows - i, p.height - row)
            show_pixels(p, row * p.row, count * p.width, i)
            for row in range(i, i + count):
                pad_row(p, row)
        i += count


cdef struct Pixels:
    # A run of columns of a row u of a lattice.
    int once  # see Tile
    real *out
    Py_ssize_t out_step
    const real *seen  # where its first column sees a tap at 0, in the first row of the picture
    Py_ssize_t step
    const Picture *picture
    const Walk *rows
    const Walk *columns
    Py_ssize_t u, across  # taps in a row of W
    const real *w  # [tap][lane]
    const real *bias  # [lane]; NULL where the sums go on


cdef inline void run_of_columns(const Pixels *t, int n) noexcept nogil:
    cdef vec acc[RUN]
    cdef vec tap
    cdef const real *seen
    cdef const real *w
    cdef Py_ssize_t k, q, row, step = t.step
    cdef int i, _once
    for _once in range(t.once):
        for i in range(n):
            acc[i] = load(t.out + i * t.out_step) if t.bias == NULL else load(t.bias)
        for k in range(t.rows.taps):
            row = t.u * t.rows.stride + t.rows.at[k] - t.picture.first
            if row < 0 or row >= t.picture.rows:
                continue
            w = t.w + t.rows.tap[k] * t.across * LANES
            for q in range(t.columns.taps):
                tap = load(w + t.columns.tap[q] * LANES)
                seen = t.seen + (row * t.picture.pitch + t.columns.at[q]) * LANES
                for i in range(n):
                    acc[i] = acc[i] + tap * peek(seen + i * step)
        for i in range(n):
            store(t.out + i * t.out_step, acc[i])


ctypedef void (*RunOfColumns)(const Pixels *) noexcept nogil

cdef void run_of_1(const Pixels *t) noexcept nogil:
    run_of_columns(t, 1)

cdef void run_of_2(const Pixels *t) noexcept nogil:
    run_of_columns(t, 2)

cdef void run_of_3(const Pixels *t) noexcept nogil:
    run_of_columns(t, 3)

cdef void run_of_4(const Pixels *t) noexcept nogil:
    run_of_columns(t, 4)

cdef void run_of_5(const Pixels *t) noexcept nogil:
    run_of_columns(t, 5)

cdef void run_of_6(const Pixels *t) noexcept nogil:
    run_of_columns(t, 6)

cdef void run_of_7(const Pixels *t) noexcept nogil:
    run_of_columns(t, 7)

cdef void run_of_8(const Pixels *t) noexcept nogil:
    run_of_columns(t, 8)

cdef void run_of_9(const Pixels *t) noexcept nogil:
    run_of_columns(t, 9)


cdef RunOfColumns RUN_OF[RUN]
RUN_OF[:] = [
    run_of_1, run_of_2, run_of_3, run_of_4, run_of_5, run_of_6, run_of_7, run_of_8, run_of_9
]


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
    cdef Pixels t
    cdef Py_ssize_t i, j, k, v, runs, first
    t.once = 1
    t.picture = p
    t.w = w
    t.across = l.across
    t.bias = bias
    for i in range(job.row_walks):
        t.rows = &job.rows[i]
        for t.u in range(u, min(u + rows, t.rows.count)):
            k = (t.rows.first + (t.u - u) * t.rows.step) * l.width
            for j in range(job.column_walks):
                t.columns = &job.columns[j]
                t.out_step = t.columns.step * LANES
                t.step = t.columns.stride * LANES
                runs = parts_in(t.columns.count, RUN)
                for v in range(runs):
                    first = v * t.columns.count // runs
                    t.out = sums + (k + t.columns.first + first * t.columns.step) * LANES
                    t.seen = p.pixels + (l.before + first * t.columns.stride) * LANES
                    RUN_OF[(v + 1) * t.columns.count // runs - first - 1](&t)


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
    if column == 1 and channels == LANES:
        for i in range(LANES):
            store(to + i * plane, a[i])
        return
    for i in range(LANES):
        store(square + i * LANES, a[i])
    for k in range(channels):
        if column == 1:
            store(to + k * plane, peek(square + k * LANES))
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


cdef inline void show_filter(const Lanes *l, const real *w, real *to) noexcept nogil:
    """One lane of W, [tap][lane]."""
    cdef Py_ssize_t k, q
    for k in range(l.taps // l.across):
        for q in range(l.across):
            to[0] = w[k * l.job.w_row + q * l.job.w_column]
            to += LANES


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
    for r in range(max(job.r, <Py_ssize_t> 1)):
        for lane in range(LANES):
            m = min(channel + lane, job.groups * job.m - 1)
            bias[lane] = 0 if job.bias == NULL else job.bias[m * job.bias_step]
            if job.r > 0:
                show_filter(
                    l, job.w + m // job.m * job.w_g + m % job.m * job.w_m + r * job.w_r, w + lane
                )
        if job.r > 0:
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
