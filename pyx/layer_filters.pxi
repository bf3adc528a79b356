# Many filters: Y and the gradient of X with channels of the result in the lanes
#
# The formula and the lattices are those of layer_correlate.pxi, whose tiles serve here with their
# sides exchanged: the vectors are NV x LANES channels of the result, from blocks of W transposed to
# [channel, tap][m], and what is broadcast are up to MR outputs of a row, from the panel or the
# source. So no lane is lost to the ends of rows, nor to planes smaller than a vector; and taps that
# only see zeros of the padding, for a row of outputs or for MR columns, are left out.
#
# An item of work is some rows of one lattice of a few images of one group, and some of the blocks
# of m, which share the panels and use each transposed block for all images.

cdef enum:
    IMAGES = 8
    PANELS = 1 << 19  # bytes of the panels of all images of an item, where they are several


cdef struct Filters:
    Block b
    Panel panel
    Tile t
    Py_ssize_t lanes, taps  # lanes: of m, whole vectors
    real *transposed
    Py_ssize_t channel  # of the panel, or of the source
    Py_ssize_t *across  # offsets of taps in the panel, and in the transposed filters
    Py_ssize_t *along
    Py_ssize_t k, k_end, q, q_end  # which taps those are


cdef void transpose_taps(
    real *to, const Filters *f, const real *w, Py_ssize_t w_m, Py_ssize_t count
) noexcept nogil:
    """[tap][m] of one channel, where the taps of a filter lie within a vector."""
    cdef vec a[LANES]
    cdef real square[LANES * LANES]
    cdef Py_ssize_t m = 0, k
    cdef int i
    while m < count:
        m = min(m, count - LANES)
        for i in range(LANES):
            a[i] = load(w + (m + i) * w_m)
        turn_square(a)
        for i in range(LANES):
            store(square + i * LANES, a[i])
        for k in range(f.taps):
            store(to + k * f.lanes + m, peek(square + f.b.w_offset[k] * LANES))
        m += LANES


cdef void transpose_filters(
    const Job *job, const Filters *f, Py_ssize_t r, Py_ssize_t channels
) noexcept nogil:
    """W of some channels r and all taps of the lattice, [r, tap][m]."""
    cdef const Block *b = &f.b
    cdef Py_ssize_t count = b.m_end - b.m, i, k, c
    cdef const real *w = b.w + b.m * job.w_m + r * job.w_r
    cdef const real *tap
    cdef real *to = f.transposed
    cdef bint follow = job.w_r == f.taps  # one another, channel by channel
    cdef bint whole = False
    cdef Py_ssize_t last = 0
    for k in range(f.taps):
        follow = follow and b.w_offset[k] == k
    if follow:
        transpose(to, f.lanes, w, job.w_m, 1, count, channels * f.taps)
        return
    for k in range(f.taps):
        last = max(last, b.w_offset[k])
    if 2 < f.taps and last < LANES <= count:
        # What is read behind the taps of one filter belongs to others, but for the very last.
        whole = min(min(job.w_m, job.w_r), min(job.w_row, job.w_column)) >= 0
    for c in range(channels):
        if whole and (
            c < channels - 1 or w + c * job.w_r + (count - 1) * job.w_m + LANES <= job.w_end
        ):
            transpose_taps(to, f, w + c * job.w_r, job.w_m, count)
            to += f.taps * f.lanes
            continue
        for k in range(f.taps):
            tap = w + c * job.w_r + b.w_offset[k]
            if job.w_m == 1:
                memcpy(to, tap, count * sizeof(real))
            else:
                for i in range(count):
                    to[i] = tap[i * job.w_m]
            to += f.lanes


cdef void taps_inside(
    const Walk *walk, Py_ssize_t first, Py_ssize_t last, Py_ssize_t size, Py_ssize_t *begin,
    Py_ssize_t *end
) noexcept nogil:
    """Which taps of an axis may see anything but zeros, from outputs first to last."""
    begin[0] = 0
    end[0] = walk.taps
    while begin[0] < end[0] and not sees(walk, begin[0], first, last, size):
        begin[0] += 1
    while begin[0] < end[0] and not sees(walk, end[0] - 1, first, last, size):
        end[0] -= 1


cdef inline bint sees(
    const Walk *walk, Py_ssize_t tap, Py_ssize_t first, Py_ssize_t last, Py_ssize_t size
) noexcept nogil:
    return last * walk.stride + walk.at[tap] >= 0 and first * walk.stride + walk.at[tap] < size


cdef void choose_taps(
    const Job *job, Filters *f, Py_ssize_t u, Py_ssize_t u_last, Py_ssize_t v, Py_ssize_t v_last
) noexcept nogil:
    """Let a tile step through the taps that some outputs see, for a few channels at a time."""
    cdef const Block *b = &f.b
    cdef Tile *t = &f.t
    cdef Py_ssize_t k = 0, k_end = b.rows.taps, q = 0, q_end = b.columns.taps
    cdef Py_ssize_t i, j, fold, folds, taps, to = 0
    if job.mode == ZEROS:
        taps_inside(&b.rows, b.u + u, b.u + u_last, job.height, &k, &k_end)
        taps_inside(&b.columns, v, v_last, job.width, &q, &q_end)
    if f.k == k and f.k_end == k_end and f.q == q and f.q_end == q_end:
        return
    f.k = k
    f.k_end = k_end
    f.q = q
    f.q_end = q_end
    for i in range(k, k_end):
        for j in range(q, q_end):
            f.across[to] = b.x_offset[i * b.columns.taps + j]
            f.along[to] = (i * b.columns.taps + j) * f.lanes
            to += 1
    taps = to
    folds = max(TABLE // max(taps, <Py_ssize_t> 1), <Py_ssize_t> 1)
    for fold in range(1, folds):
        for i in range(taps):
            f.across[to + i] = f.across[i] + fold * f.channel
            f.along[to + i] = f.along[i] + fold * f.taps * f.lanes
        to += taps
    t.table = to
    t.w_step = folds * f.channel
    t.x_step = folds * f.taps * f.lanes


cdef void make_outputs(
    const Job *job, Filters *f, const real *seen, real *sums, Py_ssize_t channels, bint first
) noexcept nogil:
    """All outputs of one image, [output][m], on top of what is there or of the bias."""
    cdef const Block *b = &f.b
    cdef Tile *t = &f.t
    cdef Py_ssize_t rows = b.height, width = b.width, runs, u, i, v, v_end
    cdef int nv = <int> (f.lanes // LANES), k
    if b.pitch == width and b.rows.taps * b.columns.taps == 1:  # all outputs as one row
        width *= rows
        rows = 1
    runs = parts_in(width, MR if nv > 1 else TALL)
    t.first = first
    t.start_row = 0 if first else f.lanes
    for k in range(nv):
        t.x[k] = f.transposed + k * LANES
    for u in range(rows):
        for i in range(runs):
            v = i * width // runs
            v_end = (i + 1) * width // runs
            if rows == b.height:
                choose_taps(job, f, u, u, v, v_end - 1)
            else:
                choose_taps(job, f, 0, b.height - 1, 0, b.width - 1)
            t.steps = channels * (f.k_end - f.k) * (f.q_end - f.q)
            t.w = seen + u * b.pitch + v
            for k in range(nv):
                t.end[k] = sums + (u * width + v) * f.lanes + k * LANES
                t.start[k] = b.buffer + k * LANES if first else t.end[k]
            TILE_OF[nv - 1][v_end - v - 1](t)


cdef void make_images(
    const Job *job, Filters *f, const real *seen, Py_ssize_t images, Py_ssize_t image_step
) noexcept nogil:
    """The outputs of some images, a block of channels r at a time."""
    cdef Block *b = &f.b
    cdef Py_ssize_t parts = max(parts_in(job.r, job.depth), <Py_ssize_t> 1), i, image, r, channels
    cdef Py_ssize_t outputs = b.width * b.height * f.lanes
    for i in range(f.lanes):
        b.buffer[i] = 0
        if b.bias != NULL and b.m + i < b.m_end:
            b.buffer[i] = b.bias[(b.m + i) * job.bias_step]
    for i in range(parts):
        r = i * job.r // parts
        channels = (i + 1) * job.r // parts - r
        transpose_filters(job, f, r, channels)
        for image in range(images):
            make_outputs(
                job, f, seen + image * image_step + r * f.channel, b.sums + image * outputs,
                channels, i == 0,
            )


cdef void lay_filters(const Job *job, Filters *f) noexcept nogil:
    """The panel of the lattice, and its taps as a tile steps through them."""
    cdef Block *b = &f.b
    cdef Tile *t = &f.t
    f.taps = b.rows.taps * b.columns.taps
    t.once = 1
    t.far = False
    t.w_m = 1
    b.source = job.source
    choose_pitch(job, b)
    lay_panel(job, b, &f.panel, 0, 0)
    tap_offsets(job, b, &f.panel, 0, 0, 0, t)
    f.channel = f.panel.channel if b.seen == NULL else job.s_r
    # The sides are exchanged: w of the tile is the panel, and x the filters.
    t.w_offset = f.across
    t.x_offset = f.along


cdef const real *show_images(
    const Job *job, Filters *f, Py_ssize_t n, Py_ssize_t images, Py_ssize_t group,
    Py_ssize_t *image_step
) noexcept nogil:
    """What the lattice sees of some images, in place or in panels; and from image to image."""
    cdef Block *b = &f.b
    cdef Py_ssize_t image
    cdef real *panels = b.panel
    image_step[0] = job.s_n
    if b.seen != NULL:
        return b.seen + n * job.s_n + group * job.r * job.s_r
    image_step[0] = job.r * f.panel.channel
    for image in range(images):
        b.source = job.source + (n + image) * job.s_n + group * job.r * job.s_r
        pack_panel(job, b, &f.panel, 0, job.r)
        b.panel += image_step[0]
    return panels


cdef void fill_outputs(const Job *job, const Block *b, Py_ssize_t images) noexcept nogil:
    """Outputs that no tap sees: the bias."""
    cdef Py_ssize_t image, m, i, j, column = job.o_column * b.columns.step
    cdef int count
    cdef real bias
    cdef real *to
    for image in range(images):
        for m in range(b.m, b.m_end):
            bias = 0 if b.bias == NULL else b.bias[m * job.bias_step]
            for i in range(b.height):
                to = b.out + image * job.o_n + m * job.o_m + b.columns.first * job.o_column
                to += (b.rows.first + (b.u + i) * b.rows.step) * job.o_row
                if column == 2:
                    for j in range(parts_in(b.width, LANES)):
                        count = <int> min(b.width - j * LANES, <Py_ssize_t> LANES)
                        store_apart(to + 2 * j * LANES, splat(bias), count)
                else:
                    for j in range(b.width):
                        to[j * column] = bias


cdef void make_filters(
    const Job *job, Filters *f, const real *seen, Py_ssize_t images, Py_ssize_t image_step
) noexcept nogil:
    """A block of m, for some images, from sums to the result."""
    cdef Block *b = &f.b
    cdef Py_ssize_t image
    f.lanes = parts_in(b.m_end - b.m, LANES) * LANES
    f.t.end_row = f.lanes
    f.k = -1  # no taps yet
    make_images(job, f, seen, images, image_step)
    for image in range(images):
        deliver_pixels(
            b.out + image * job.o_n + b.m * job.o_m
            + (b.rows.first + b.u * b.rows.step) * job.o_row + b.columns.first * job.o_column,
            job.o_m, job.o_row * b.rows.step, job.o_column * b.columns.step,
            b.sums + image * b.width * b.height * f.lanes, f.lanes, b.height, b.width,
            b.m_end - b.m,
        )


cdef void filters_item(const Job *job, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: lattice, part of the blocks of m, rows, group, a few images."""
    cdef Filters f
    cdef Block *b = &f.b
    cdef const real *seen
    cdef Py_ssize_t group, part, n, images, step, room = tables_of(job), block
    cdef Py_ssize_t blocks = parts_in(job.m, NV * LANES), first, last
    item = lattice_of(job, item, b)
    part = item % job.parts
    item //= job.parts
    b.u = item % job.bands * job.band
    item //= job.bands
    group = item % job.groups
    n = item // job.groups * job.at_once
    images = min(job.images - n, job.at_once)
    b.v = 0
    b.width = b.columns.count
    b.height = min(job.band, b.rows.count - b.u)
    if b.height <= 0:
        return
    b.out = job.out + n * job.o_n + group * job.m * job.o_m
    b.w = job.w + group * job.w_g
    b.bias = job.bias
    if b.bias != NULL:
        b.bias += group * job.m * job.bias_step
    first = part * blocks // job.parts
    last = (part + 1) * blocks // job.parts
    if b.rows.taps * b.columns.taps == 0:
        b.m = first * NV * LANES
        b.m_end = min(last * NV * LANES, job.m)
        fill_outputs(job, b, images)
        return
    b.x_offset = <Py_ssize_t *> memory
    b.w_offset = b.x_offset + room
    f.across = b.w_offset + room
    f.along = f.across + room
    b.buffer = <real *> align(<char *> (f.along + room))
    b.sums = b.buffer + NV * LANES
    f.transposed = b.sums + job.at_once * job.vectors * LANES
    b.panel = f.transposed + NV * LANES * min(job.depth, job.r) * job.tap_rows * job.tap_columns
    lay_filters(job, &f)
    seen = show_images(job, &f, n, images, group, &step)
    for block in range(first, last):
        b.m = block * NV * LANES
        b.m_end = min(b.m + NV * LANES, job.m)
        make_filters(job, &f, seen, images, step)


cdef inline bint is_even(Py_ssize_t items, Py_ssize_t threads) noexcept nogil:
    """Whether threads that take them one by one all work to the end, or nearly."""
    return 10 * items >= 9 * threads * parts_in(items, threads)


cdef inline Py_ssize_t tables_of(const Job *job) noexcept nogil:
    return max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE)


cdef void measure_filters(
    Job *job, const Layer *p, Py_ssize_t *items, Py_ssize_t *bytes
) noexcept nogil:
    """The items of a call, and the memory of a thread."""
    cdef Py_ssize_t at_once, panel, image
    job.strip = job.columns[0].count
    job.vectors = job.band * job.strip * NV
    panel = job.r * span(job.rows, job.row_walks, job.tap_rows, job.band, True) * span(
        job.columns, job.column_walks, job.tap_columns, job.strip, True
    )
    at_once = PANELS // max(panel * <Py_ssize_t> sizeof(real), <Py_ssize_t> 1)
    at_once = min(min(at_once, job.images), <Py_ssize_t> IMAGES)
    image = (panel + job.vectors * LANES) * sizeof(real)
    at_once = max(min(at_once, ROOM // 2 // (p.threads * image)), <Py_ssize_t> 1)
    bytes[0] = aligned(
        4 * tables_of(job) * sizeof(Py_ssize_t) + 64 + sizeof(real) * (
            LANES * (NV + at_once * job.vectors) + at_once * panel
            + NV * LANES * min(job.depth, job.r) * job.tap_rows * job.tap_columns
            + span(job.columns, job.column_walks, job.tap_columns, job.strip, False) + 4 * LANES
        )
    )
    items[0] = parts_in(job.images, at_once) * job.groups * job.bands
    # Each part packs the panel anew. Lattices differ, and those of one tap have but one to do.
    job.parts = 1
    while job.parts < parts_in(job.m, NV * LANES) and not is_even(items[0] * job.parts, p.threads):
        job.parts += 1
    items[0] *= job.row_walks * job.column_walks * job.parts
    job.at_once = at_once
