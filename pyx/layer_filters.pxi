# Many filters: Y and the gradient of X with channels of the result in the lanes
#
# The formula and the lattices are those of layer_correlate.pxi, whose tiles serve here with their
# sides exchanged: the vectors are WIDTH x LANES channels of the result, from blocks of W transposed
# to [channel, tap][m], and what is broadcast are some outputs of a row of a lattice, from the
# source or, where there is padding, from a panel; a stride makes no difference to that. So no lane
# is lost to the ends of rows, nor to planes smaller than a vector; and taps that only see zeros of
# the padding, for all outputs of a tile, are left out. Two vectors meet so many outputs that W need
# not come from L2 as fast as it can.
#
# Or there is no panel, and no padding: each column of taps meets those outputs of a row that see
# something through it, in place.
#
# An item of work is some rows of all lattices of a few images of one group, and some of the blocks
# of m. They share the panels and use each transposed block for all lattices and images.

cdef enum:
    WIDTH = 2  # vectors of a block; NV where no more than these outputs lie side by side
    FEW_OUTPUTS = 4
    IMAGES = 8
    PANELS = 1 << 19  # bytes of the panels of all images of an item, where they are several
    FEW_PLANES = 16


cdef struct Filters:
    Block b  # its rows and columns are what outputs that lie side by side would see
    Panel panel
    Tile t
    Py_ssize_t row_at[ALL_TAPS]
    Py_ssize_t column_at[ALL_TAPS]
    Py_ssize_t tap[ALL_TAPS]  # 0, 1, ...
    Py_ssize_t height, width  # rows of the result in the item, and its columns
    Py_ssize_t u, count  # rows of a lattice in the item: the first, and how many there may be
    Py_ssize_t lanes, taps  # lanes: of m, whole vectors
    real *transposed
    Py_ssize_t next  # from filters to filters of the next channel
    Py_ssize_t channel, down, right  # from channel to channel, output to output of a lattice
    const Walk *rows  # the lattice that is made
    const Walk *columns
    Py_ssize_t k, k_end, q, q_end  # those of its taps that the tile steps through
    Py_ssize_t *across  # their offsets in the panel, and in the transposed filters
    Py_ssize_t *along


cdef void transpose_filters(
    const Job *job, const Filters *f, Py_ssize_t r, Py_ssize_t channels
) noexcept nogil:
    """W of some channels r and all taps, [r, tap][m]."""
    cdef const Block *b = &f.b
    cdef Py_ssize_t count = b.m_end - b.m, i, k, c
    cdef const real *w = b.w + b.m * job.w_m + r * job.w_r
    cdef const real *tap
    cdef real *to = f.transposed
    cdef bint dense = f.taps > 1 or job.w_m > 1  # tap by tap
    for k in range(f.taps):
        dense = dense and b.w_offset[k] == k
    if dense and job.w_r == f.taps:  # and channel by channel
        transpose(to, f.lanes, w, job.w_m, 1, count, channels * f.taps)
        return
    for c in range(channels):
        if dense:
            fetch_ahead(w + 2 * job.w_r, count * f.taps)
            transpose(to, f.lanes, w, job.w_m, 1, count, f.taps)
        else:
            for k in range(f.taps):
                tap = w + b.w_offset[k]
                if job.w_m == 1:
                    memcpy(to + k * f.lanes, tap, count * sizeof(real))
                else:
                    for i in range(count):
                        to[k * f.lanes + i] = tap[i * job.w_m]
        to += f.taps * f.lanes
        w += job.w_r


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
    const Job *job, Filters *f, Py_ssize_t u, Py_ssize_t u_last, Py_ssize_t q, Py_ssize_t q_end,
    Py_ssize_t channels
) noexcept nogil:
    """Let a tile step through some columns of taps, those that some rows of outputs see."""
    cdef const Block *b = &f.b
    cdef Tile *t = &f.t
    cdef Py_ssize_t k = 0, k_end = f.rows.taps, i, j, tap, folds, taps = 0
    if job.mode == ZEROS:
        taps_inside(f.rows, f.u + u, f.u + u_last, job.height, &k, &k_end)
    if f.k == k and f.k_end == k_end and f.q == q and f.q_end == q_end:
        return
    f.k = k
    f.k_end = k_end
    f.q = q
    f.q_end = q_end
    for i in range(k, k_end):
        for j in range(q, q_end):
            tap = f.rows.tap[i] * b.columns.taps + f.columns.tap[j]
            f.across[taps] = b.x_offset[tap]
            f.along[taps] = tap * f.lanes
            taps += 1
    folds = channels_at_once(taps, channels)
    go_on(f.across, taps, folds, f.channel)
    go_on(f.along, taps, folds, f.next)
    t.table = folds * taps
    t.steps = channels * taps
    t.w_step = folds * f.channel
    t.x_step = folds * f.next


cdef inline void make_outputs(
    Filters *f, const real *seen, const real *filters, Py_ssize_t count, Py_ssize_t images,
    Py_ssize_t image_step, real *sums
) noexcept nogil:
    """The same `count` outputs of some images, from what the first of them sees."""
    cdef Tile *t = &f.t
    cdef Py_ssize_t image
    cdef int nv = <int> (f.lanes // LANES), k
    for k in range(nv):
        t.x[k] = filters + k * LANES
    t.w = seen
    for image in range(images):
        for k in range(nv):
            t.end[k] = sums + k * LANES
            t.start[k] = f.b.buffer + k * LANES if t.first else t.end[k]
        TILE_OF[nv - 1][count - 1](t)
        t.w += image_step
        sums += f.height * f.width * f.lanes


cdef void make_columns(
    const Job *job, Filters *f, const real *seen, const real *filters, Py_ssize_t v,
    Py_ssize_t v_end, Py_ssize_t images, Py_ssize_t image_step, real *sums
) noexcept nogil:
    """Outputs v to v_end of a row, each column of taps with those that it does not see padding."""
    cdef const Walk *columns = f.columns
    cdef Py_ssize_t q, first, last, origin, tap
    for q in range(columns.taps):
        first = max(v, parts_in(-columns.at[q], columns.stride))
        last = min(v_end, parts_in(job.width - columns.at[q], columns.stride))
        if first < last:
            origin = columns.tap[0]  # whose offsets are in the table
            tap = columns.tap[q]
            make_outputs(
                f, seen + first * f.right + f.b.x_offset[tap] - f.b.x_offset[origin],
                filters + (tap - origin) * f.lanes, last - first, images, image_step,
                sums + first * f.t.end_row,
            )


cdef void make_lattice(
    const Job *job, Filters *f, const real *seen, const real *filters, Py_ssize_t images,
    Py_ssize_t image_step, real *sums, Py_ssize_t channels
) noexcept nogil:
    """The outputs of one lattice of some images, on top of what is there or of the bias."""
    cdef Tile *t = &f.t
    cdef Py_ssize_t rows = min(f.count, f.rows.count - f.u), width = f.columns.count, runs, u, i
    cdef Py_ssize_t v, v_end, last_u = 0, q = 0, q_end
    cdef bint as_one = (
        f.b.seen != NULL and not job.unpadded
        and f.down == width * f.right and f.rows.step * f.columns.step == 1
    )
    f.k = -1  # no taps yet
    if as_one:
        last_u = rows - 1
        width *= rows
        rows = 1
    runs = parts_in(width, tallest(<int> (f.lanes // LANES)))
    t.end_row = f.columns.step * f.lanes
    t.start_row = 0 if t.first else t.end_row
    sums += (f.rows.first * f.width + f.columns.first) * f.lanes
    for u in range(rows):
        for i in range(runs):
            v = i * width // runs
            v_end = (i + 1) * width // runs
            q_end = f.columns.taps
            if job.unpadded:
                choose_taps(job, f, u, u, 0, min(q_end, <Py_ssize_t> 1), channels)
                make_columns(job, f, seen, filters, v, v_end, images, image_step, sums)
                continue
            if job.mode == ZEROS and not as_one:
                taps_inside(f.columns, v, v_end - 1, job.width, &q, &q_end)
            choose_taps(job, f, u, u + last_u, q, q_end, channels)
            if as_one and job.far:
                t.ahead = (v_end - v) * f.right  # what the next tile sees
            make_outputs(
                f, seen + v * f.right, filters, v_end - v, images, image_step, sums + v * t.end_row
            )
        seen += f.down
        sums += f.rows.step * f.width * f.lanes


cdef void make_images(
    const Job *job, Filters *f, const real *seen, Py_ssize_t images, Py_ssize_t image_step
) noexcept nogil:
    """The outputs of some images, [row][column][m], a block of channels r at a time."""
    cdef Block *b = &f.b
    cdef Py_ssize_t parts = max(parts_in(job.r, job.depth), <Py_ssize_t> 1), i, r, channels
    cdef Py_ssize_t lattices = job.row_walks * job.column_walks, lattice
    cdef const real *w
    # Filters that one tile reads are read where they lie, if that is as a tile reads them.
    cdef bint in_place = (
        images * f.height * f.width <= tallest(<int> (f.lanes // LANES))
        and f.taps == job.w_m == 1 and b.m_end - b.m == f.lanes
    )
    for i in range(f.lanes):
        b.buffer[i] = 0
        if b.bias != NULL and b.m + i < b.m_end:
            b.buffer[i] = b.bias[(b.m + i) * job.bias_step]
    if job.unpadded:  # no column of taps meets all outputs
        for i in range(images * f.height * f.width):
            memcpy(b.sums + i * f.lanes, b.buffer, f.lanes * sizeof(real))
    for i in range(parts):
        r = i * job.r // parts
        channels = (i + 1) * job.r // parts - r
        w = f.transposed
        f.next = f.taps * f.lanes
        if in_place:
            w = b.w + b.m + r * job.w_r + b.w_offset[0]
            f.next = job.w_r
        else:
            transpose_filters(job, f, r, channels)
        f.t.first = i == 0 and not job.unpadded
        for lattice in range(lattices):
            f.rows = &job.rows[lattice // job.column_walks]
            f.columns = &job.columns[lattice % job.column_walks]
            make_lattice(job, f, seen + r * f.channel, w, images, image_step, b.sums, channels)


cdef Py_ssize_t outputs_of(const Walk *walks, Py_ssize_t count) noexcept nogil:
    """Of all lattices of an axis."""
    cdef Py_ssize_t i, outputs = 0
    for i in range(count):
        outputs += walks[i].count
    return outputs


cdef bint all_inside(
    const Walk *walk, Py_ssize_t first, Py_ssize_t count, Py_ssize_t size
) noexcept nogil:
    """Whether no tap sees padding from `count` outputs."""
    cdef Py_ssize_t k
    for k in range(walk.taps):
        if first + walk.at[k] < 0 or first + count - 1 + walk.at[k] >= size:
            return False
    return True


cdef bint reads_in_place(const Job *job, const Filters *f) noexcept nogil:
    """Whether the source is read where it lies: no padding is seen, and no line waited for twice.

    Rows of many channels that come from afar are not foreseen by hardware; to pack them, they are
    read one after the other.
    """
    cdef const Block *b = &f.b
    cdef Py_ssize_t bytes = job.r * job.height * job.width * sizeof(real)
    if job.unpadded:
        return True
    if f.taps > 1 and job.r > FEW_PLANES and bytes > PANELS:
        return False
    return (
        all_inside(&b.rows, b.u, b.height, job.height)
        and all_inside(&b.columns, b.v, b.width, job.width)
    )


cdef void lay_filters(const Job *job, Filters *f) noexcept nogil:
    """Where the source is read, and where each tap sees it."""
    cdef Block *b = &f.b
    cdef Tile *t = &f.t
    cdef Py_ssize_t i, j, k, row, column
    f.taps = b.rows.taps * b.columns.taps
    b.seen = NULL
    if reads_in_place(job, f):
        b.seen = job.source + b.u * job.s_row
        f.channel = job.s_r
        row = job.s_row
        column = job.s_column
        for i in range(b.rows.taps):
            for j in range(b.columns.taps):
                k = i * b.columns.taps + j
                b.x_offset[k] = b.rows.at[i] * row + b.columns.at[j] * column
                b.w_offset[k] = i * job.w_row + j * job.w_column
    else:
        b.source = job.source
        choose_pitch(job, b)
        lay_panel(job, b, &f.panel, 0, 0)
        tap_offsets(job, b, &f.panel, 0, 0, 0, t)
        f.channel = f.panel.channel
        row = b.pitch
        column = 1
    f.down = job.rows[0].stride * row
    f.right = job.columns[0].stride * column
    if b.width == 1:  # a column of outputs is as good as a row
        f.right = f.down
    t.once = 1
    t.ahead = 0
    # The sides are exchanged: w of the tile is the panel, and x the filters.
    t.w_m = f.right
    t.w_offset = f.across
    t.x_offset = f.along


cdef const real *show_images(
    const Job *job, Filters *f, Py_ssize_t n, Py_ssize_t images, Py_ssize_t group,
    Py_ssize_t *image_step
) noexcept nogil:
    """What the outputs see of some images, in place or in panels; and from image to image."""
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


cdef void filters_item(const Job *job, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: part of the blocks of m, rows, group, a few images."""
    cdef Filters f
    cdef Block *b = &f.b
    cdef const real *seen
    cdef Py_ssize_t part = item % job.parts, group, n, images, step, room = tables_of(job)
    cdef Py_ssize_t wide = job.wide * LANES, blocks = parts_in(job.m, wide), block, image, above
    item //= job.parts
    f.u = item % job.bands * job.band
    item //= job.bands
    group = item % job.groups
    n = item // job.groups * job.at_once
    images = min(job.images - n, job.at_once)
    join_walks(&b.rows, job.rows, job.row_walks, job.tap_rows, f.row_at, f.tap)
    join_walks(&b.columns, job.columns, job.column_walks, job.tap_columns, f.column_at, f.tap)
    f.count = min(job.band, job.rows[0].count - f.u)
    b.u = f.u * job.rows[0].stride
    b.v = 0
    b.width = b.columns.count
    b.height = (f.count - 1) * job.rows[0].stride + 1
    above = f.u * b.rows.step
    f.height = min(f.count * b.rows.step, outputs_of(job.rows, job.row_walks) - above)
    f.width = outputs_of(job.columns, job.column_walks)
    b.out = job.out + n * job.o_n + group * job.m * job.o_m + above * job.o_row
    b.w = job.w + group * job.w_g
    b.bias = job.bias
    if b.bias != NULL:
        b.bias += group * job.m * job.bias_step
    b.x_offset = <Py_ssize_t *> memory
    b.w_offset = b.x_offset + room
    f.across = b.w_offset + room
    f.along = f.across + room
    b.buffer = <real *> align(<char *> (f.along + room))
    b.sums = b.buffer + wide
    f.transposed = b.sums + job.at_once * job.vectors * LANES
    b.panel = f.transposed + wide * min(job.depth, job.r) * job.tap_rows * job.tap_columns
    lay_filters(job, &f)
    seen = show_images(job, &f, n, images, group, &step)
    if job.along and b.seen != NULL:
        go_along(
            job, &f, seen, part * blocks // job.parts * wide,
            min((part + 1) * blocks // job.parts * wide, job.m), b.panel,
        )
        return
    for block in range(part * blocks // job.parts, (part + 1) * blocks // job.parts):
        b.m = block * wide
        b.m_end = min(b.m + wide, job.m)
        f.lanes = parts_in(b.m_end - b.m, LANES) * LANES
        make_images(job, &f, seen, images, step)
        for image in range(images):
            deliver_pixels(
                b.out + image * job.o_n + b.m * job.o_m, job.o_m, job.o_row, job.o_column,
                b.sums + image * f.height * f.width * f.lanes, f.lanes, f.height, f.width,
                b.m_end - b.m,
            )


cdef inline bint is_even(Py_ssize_t items, Py_ssize_t threads) noexcept nogil:
    """Whether threads that take them one by one all work to the end, or nearly."""
    return 10 * items >= 9 * threads * parts_in(items, threads)


cdef inline Py_ssize_t tables_of(const Job *job) noexcept nogil:
    return max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE)


cdef Py_ssize_t share_filters(Job *job, Py_ssize_t threads) noexcept nogil:
    """Cut the work into items of which all threads have as much; returns how many.

    Parts of the channels pack the panel anew, fewer images and fewer rows transpose W anew.
    """
    cdef Py_ssize_t items, rows = job.rows[0].count, blocks = parts_in(job.m, job.wide * LANES)
    cdef Py_ssize_t shares = parts_in(job.images, job.at_once)
    cdef bint cut = False
    while True:
        job.at_once = parts_in(job.images, shares)
        items = shares * job.groups * job.bands
        for job.parts in range(1, blocks + 1):
            if threads == 1 or (
                is_even(items * job.parts, threads) and is_even(blocks, job.parts)
                and is_even(job.images, shares)
            ):
                return items * job.parts
        if shares < job.images:
            shares += 1
        elif not cut:
            cut = True
            job.band = parts_in(rows, min(parts_in(job.bands, threads) * threads, rows))
            job.bands = parts_in(rows, job.band)
        else:
            return items * blocks


cdef void measure_filters(
    Job *job, const Layer *p, Py_ssize_t *items, Py_ssize_t *bytes
) noexcept nogil:
    """The items of a call, and the memory of a thread."""
    cdef Py_ssize_t at_once, panel, image, beside
    cdef Walk rows, columns
    cdef Py_ssize_t row_at[ALL_TAPS]
    cdef Py_ssize_t column_at[ALL_TAPS]
    cdef Py_ssize_t tap[ALL_TAPS]
    join_walks(&rows, job.rows, job.row_walks, job.tap_rows, row_at, tap)
    join_walks(&columns, job.columns, job.column_walks, job.tap_columns, column_at, tap)
    beside = job.columns[0].count * (job.band if p.columns.taps == 1 else 1)
    job.wide = NV if beside <= FEW_OUTPUTS else WIDTH
    job.vectors = job.wide * job.band * rows.step * outputs_of(job.columns, job.column_walks)
    panel = (job.band - 1) * job.rows[0].stride + 1
    panel = job.r * span(&rows, 1, job.tap_rows, panel, True) * span(
        &columns, 1, job.tap_columns, columns.count, True
    )
    at_once = PANELS // max(panel * <Py_ssize_t> sizeof(real), <Py_ssize_t> 1)
    at_once = min(min(at_once, job.images), <Py_ssize_t> IMAGES)
    image = (panel + job.vectors * LANES) * sizeof(real)
    at_once = max(min(at_once, ROOM // 2 // (p.threads * image)), <Py_ssize_t> 1)
    bytes[0] = aligned(
        4 * tables_of(job) * sizeof(Py_ssize_t) + 64 + sizeof(real) * (
            LANES * (job.wide + at_once * job.vectors) + at_once * panel
            + job.wide * LANES * min(job.depth, job.r) * job.tap_rows * job.tap_columns
            + span(&columns, 1, job.tap_columns, columns.count, False) + 4 * LANES
        )
    )
    job.along = is_along(job)  # before threads share rows: the memory is measured for that
    if job.along:
        bytes[0] += 2 * PIXELS * PIECE * sizeof(real)
    job.at_once = at_once
    items[0] = share_filters(job, p.threads)
