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
    Py_ssize_t apart  # from plane to plane, 0 where that differs
    real *square  # LANES x LANES, for a transpose
    Py_ssize_t row, column, height, width  # of the planes: steps and sizes
    int mode
    Py_ssize_t first, rows  # of the planes that the picture holds
    Py_ssize_t before, pitch  # padding on the left; vectors from row to row
    real *pixels


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
        if size == LANES and p.column == 1 and p.apart != 0:
            if column + size <= p.width:
                transpose_square(to_pixel, LANES, p.planes[0] + base + j, p.apart)
                j += size
                continue
            transpose_square(p.square, LANES, p.planes[0] + base + j, p.apart)
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
    p.apart = 0
    if job.m == 1 and channel + LANES <= job.groups:
        p.apart = job.r * job.s_r
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


cdef void deliver_pixels(
    real *to, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t column, const real *sums,
    Py_ssize_t lanes, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t channels
) noexcept nogil:
    """[row][column][lane] into planes."""
    cdef Py_ssize_t i, j
    if column == 1 and row == width:
        transpose(to, plane, sums, lanes, 1, rows * width, channels)
        return
    for i in range(rows):
        for j in range(width):
            transpose(
                to + i * row + j * column, plane, sums + (i * width + j) * lanes, lanes, 1, 1,
                channels,
            )


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


cdef int correlate_lanes(const Job *job, const Layer *p) noexcept nogil:
    cdef Lanes l
    cdef Py_ssize_t item, items
    cdef char *scratch
    lay_lanes(&l, job, p)
    scratch = <char *> malloc(p.threads * l.bytes + 64)
    if scratch == NULL:
        return -1
    items = job.images * l.blocks * job.bands
    if p.threads == 1:
        for item in range(items):
            make_pixels(&l, item, align(scratch))
    else:
        for item in prange(items, num_threads=<int> p.threads, schedule="dynamic"):
            make_pixels(&l, item, align(scratch) + threadid() * l.bytes)
    free(scratch)
    return 0


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
    p.apart = plane if multiplier == 1 and channel + LANES <= count else 0
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


cdef int weight_lanes(const Layer *p) noexcept nogil:
    cdef Py_ssize_t taps = p.rows.taps * p.columns.taps, filters = p.groups * p.k, item
    cdef Py_ssize_t items = parts_in(filters, LANES) * p.bands
    cdef size_t sums = aligned(items * taps * LANES * sizeof(total))
    cdef size_t bytes = aligned(sizeof(real) * LANES * (
        LANES + picture_height(p, p.band) * picture_width(p) + p.band * p.columns.outputs
    ))
    cdef char *memory = <char *> malloc(64 + sums + p.threads * bytes)
    if memory == NULL:
        return -1
    for item in prange(items, num_threads=<int> p.threads, schedule="dynamic"):
        weight_pixels_item(
            p, item, <total *> align(memory), align(memory) + sums + threadid() * bytes
        )
    for item in prange(filters, num_threads=<int> p.threads, schedule="static"):
        weight_of_lane(p, item, <const total *> align(memory))
    free(memory)
    return 0
