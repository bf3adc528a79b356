# Y from X and W, and the gradient of X from Y and W
#
# Out[m, u, v] = bias[m] +
#     sum over r and taps of Source[r, u * s + row(tap), v * s + column(tap)] * W[m, r, tap]
#
# Both are this. For Y the source is X and r counts its channels. For the gradient of X the source
# is Y, r counts its channels, and X falls into stride x stride lattices of elements that see the
# same taps: each is made by itself, so no zero is multiplied.
#
# A tile is MR channels m x NV vectors of outputs in registers. A step of it, one r and one tap,
# takes NV loads from the panel and MR elements of W, which is read where it lies. A vector lies in
# one row and is stored right into the result, or runs across the ends of rows in the panel, where
# that wastes fewer lanes. The sum goes over blocks of taps, then blocks of `depth` channels, each
# from fresh accumulators, then r, then taps; it is the same for every element, wherever it lies.
#
# An item of work is a block of rows and columns of one image and group, and a part of the channels
# m; lattices are made one after the other. The panel stays in L2; what is summed up so far lies
# beside it.

cdef enum:
    TABLE = 64  # at least, entries of a table of taps
    SCATTER = 12  # steps of a tile that a vector costs which cannot be stored as it is


cdef struct Job:
    const real *source
    Py_ssize_t s_n, s_r, s_row, s_column, height, width
    bint far  # the source does not stay in the caches
    real *out
    Py_ssize_t o_n, o_m, o_row, o_column
    const real *w
    Py_ssize_t w_g, w_m, w_r, w_row, w_column
    const real *bias
    Py_ssize_t bias_step, images, groups, r, m
    int mode
    Walk *rows
    Walk *columns
    Py_ssize_t row_walks, column_walks, bands, strips
    Py_ssize_t band, strip, depth, tap_rows, tap_columns, parts
    bint shared  # all lattices are made from one panel
    Py_ssize_t panel_elements, vectors, sum_elements  # of one thread
    # Of layer_filters.pxi: vectors of a block, images for which it is transposed once, whether
    # padding is left out, and whether pixels are made along rows of W.
    Py_ssize_t wide, at_once
    bint unpadded, along


cdef struct Block:
    # What one item works on, and the memory of its thread.
    const real *source  # of the image and group
    real *out
    const real *w
    const real *bias
    Py_ssize_t m, m_end  # channels of the result
    Walk rows, columns
    Py_ssize_t u, v, height, width  # outputs: first row and column, rows, columns
    bint flat, direct  # vectors run across rows; they are stored right into the result
    bint between  # or between the columns of a lattice that is in the sums
    Py_ssize_t vectors
    Py_ssize_t pitch  # of outputs in the panel
    const real *seen  # of the source, where no panel is needed
    real *panel
    real *sums  # [m][vectors][LANES]
    real *buffer  # of a tile
    real *bias_rows  # [of a tile][LANES]
    Py_ssize_t *offset  # of each vector in the panel
    Py_ssize_t *target  # and in the result
    Py_ssize_t *x_offset  # of each tap in the panel
    Py_ssize_t *w_offset


cdef void lay_panel(
    const Job *job, const Block *b, Panel *p, Py_ssize_t k, Py_ssize_t q
) noexcept nogil:
    """The panel of a block of taps, which begins at row tap k and column tap q."""
    cdef Py_ssize_t g
    reach(&p.rows, &b.rows, k, min(k + job.tap_rows, b.rows.taps))
    reach(&p.columns, &b.columns, q, min(q + job.tap_columns, b.columns.taps))
    p.height = b.height + p.rows.high - p.rows.low
    p.pitch = b.pitch
    for g in range(p.columns.remainders):
        lay_run(
            &p.runs[g], (b.v + p.columns.low) * b.columns.stride + p.columns.remainder[g],
            b.columns.stride, p.pitch, job.width, job.mode,
        )
    p.plane = p.height * p.pitch
    p.channel = p.rows.remainders * p.columns.remainders * p.plane


cdef const real *in_place(const Job *job, const Block *b) noexcept nogil:
    """Where in the source the one tap of a block sees whole vectors, or NULL where it does not."""
    cdef Py_ssize_t row, column
    if (
        b.rows.taps != 1 or b.columns.taps != 1 or b.rows.stride != 1 or b.columns.stride != 1
        or job.s_column != 1 or job.s_row < b.width
        or (b.width if b.width != job.s_row else b.width * b.height) < LANES
    ):
        return NULL
    row = b.u + b.rows.at[0]
    column = b.v + b.columns.at[0]
    if row < 0 or row + b.height > job.height or column < 0 or column + b.width > job.width:
        return NULL
    return b.source + row * job.s_row + column


cdef void choose_pitch(const Job *job, Block *b) noexcept nogil:
    """From row to row of a panel: what all blocks of taps see, less the zeros that rows share."""
    cdef Py_ssize_t q = 0, width
    cdef Reach r
    b.pitch = b.width
    b.seen = in_place(job, b)
    if b.seen != NULL:
        b.pitch = job.s_row
    while q < b.columns.taps:
        reach(&r, &b.columns, q, min(q + job.tap_columns, b.columns.taps))
        width = b.width + r.high - r.low
        if job.mode == ZEROS:
            width -= min(
                r.high - r.low, shared_zeros(&r, &b.columns, b.v, width, job.width)
            )
        b.pitch = max(b.pitch, width)
        q += job.tap_columns


cdef void pack_panel(
    const Job *job, const Block *b, const Panel *p, Py_ssize_t first, Py_ssize_t channels
) noexcept nogil:
    cdef Py_ssize_t r = 0, k
    cdef real *to = b.panel
    cdef const real *planes = b.source + first * job.s_r
    while job.s_r == 1 and channels - r >= LANES > 1:  # channels last, as many as lanes
        pack_planes(job, b, p, to, planes, LANES)
        to += LANES * p.channel
        planes += LANES
        r += LANES
    for r in range(r, channels):
        pack_planes(job, b, p, to, planes, 1)
        to += p.channel
        planes += job.s_r
    for k in range(p.columns.high - p.columns.low + LANES):  # met by the last vectors
        to[k] = 0


cdef void pack_planes(
    const Job *job, const Block *b, const Panel *p, real *to, const real *planes,
    Py_ssize_t channels
) noexcept nogil:
    """The planes of a panel of one channel, or of LANES channels that follow one another."""
    cdef Py_ssize_t f, g, i, k, row, ahead = job.s_r if job.s_column == 1 else 0
    for f in range(p.rows.remainders):
        for g in range(p.columns.remainders):
            for i in range(p.height):
                row = (b.u + p.rows.low + i) * b.rows.stride + p.rows.remainder[f]
                row = source(row, job.height, job.mode)
                if row < 0:
                    for k in range(channels):
                        memset(to + k * p.channel, 0, p.pitch * sizeof(real))
                elif channels == 1:
                    pack_row(to, planes + row * job.s_row, job.s_column, &p.runs[g], 0, ahead)
                else:
                    pack_pixels(
                        to, p.channel, planes + row * job.s_row, job.s_column, &p.runs[g]
                    )
                to += p.pitch


cdef inline void go_on(
    Py_ssize_t *offset, Py_ssize_t taps, Py_ssize_t channels, Py_ssize_t step
) noexcept nogil:
    """The table of the taps of one channel, for as many."""
    cdef Py_ssize_t i
    for i in range(taps, channels * taps):
        offset[i] = offset[i - taps] + step


cdef inline Py_ssize_t channels_at_once(Py_ssize_t taps, Py_ssize_t channels) noexcept nogil:
    """Those that a table has room for."""
    return max(min(TABLE // max(taps, <Py_ssize_t> 1), channels), <Py_ssize_t> 1)


cdef void repeat_taps(
    const Job *job, Tile *t, Py_ssize_t *x_offset, Py_ssize_t *w_offset, Py_ssize_t channels,
    Py_ssize_t channel
) noexcept nogil:
    """Let a tile use a table, which has the taps of one channel, for as many."""
    go_on(x_offset, t.table, channels, channel)
    go_on(w_offset, t.table, channels, job.w_r)
    t.table *= channels
    t.x_step = channels * channel
    t.w_step = channels * job.w_r
    t.ahead = t.w_step if job.w_m < job.w_r else 0
    t.x_offset = x_offset
    t.w_offset = w_offset


cdef void tap_offsets(
    const Job *job, const Block *b, const Panel *p, Py_ssize_t k, Py_ssize_t q, Py_ssize_t room,
    Tile *t
) noexcept nogil:
    """The table of the taps of a block, for one channel and then for as many as there is room."""
    cdef Py_ssize_t i, j, f = 0, g = 0, row, column
    cdef Py_ssize_t channel = p.channel if b.seen == NULL else job.s_r
    t.table = 0
    for i in range(k, min(k + job.tap_rows, b.rows.taps)):
        row = place(&p.rows, &b.rows, i, &f)
        for j in range(q, min(q + job.tap_columns, b.columns.taps)):
            column = place(&p.columns, &b.columns, j, &g)
            b.x_offset[t.table] = (f * p.columns.remainders + g) * p.plane + row * p.pitch + column
            b.w_offset[t.table] = b.rows.tap[i] * job.w_row + b.columns.tap[j] * job.w_column
            t.table += 1
    repeat_taps(job, t, b.x_offset, b.w_offset, max(room // t.table, <Py_ssize_t> 1), channel)


cdef void place_vectors(const Job *job, Block *b) noexcept nogil:
    """Where the vectors of a block lie among the outputs; those of a row overlap at its end."""
    cdef Py_ssize_t a_row = parts_in(b.width, LANES), i, u, v, down, right, target, last
    cdef Py_ssize_t count = b.height * b.pitch - (b.pitch - b.width)
    cdef Py_ssize_t steps = job.r * b.rows.taps * b.columns.taps
    cdef bint unit = job.o_column * b.columns.step == 1
    cdef bint rows_direct = unit and b.width >= LANES
    cdef bint flat_direct = (
        unit and count >= LANES and b.pitch == b.width
        and (job.o_row * b.rows.step == b.width or b.height == 1)
    )
    b.flat = parts_in(count, LANES) * (steps + (1 if flat_direct else SCATTER)) < (
        b.height * a_row * (steps + (1 if rows_direct else SCATTER))
    )
    if b.seen != NULL:  # a vector must not leave the source
        b.flat = b.pitch == b.width
    b.direct = flat_direct if b.flat else rows_direct
    b.between = False
    b.vectors = parts_in(count, LANES) if b.flat else b.height * a_row
    down = b.rows.step * job.o_row
    right = b.columns.step * job.o_column
    target = (b.rows.first + b.u * b.rows.step) * job.o_row
    target += (b.columns.first + b.v * b.columns.step) * job.o_column
    last = max((count if b.flat else b.width) - LANES, <Py_ssize_t> 0)
    u = v = 0
    for i in range(b.vectors):
        if b.flat:
            v += min(i * LANES, last) - u * b.pitch - v
            while v >= b.pitch:
                v -= b.pitch
                u += 1
        elif i > 0:
            u += v == last
            v = 0 if v == last else min(v + LANES, last)
        b.offset[i] = u * b.pitch + v
        b.target[i] = target + u * down + v * right


cdef void scatter(
    const Job *job, const Block *b, Py_ssize_t vector, const real *buffer, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t rows
) noexcept nogil:
    """One vector of a tile of `rows` channels from m on, where it does not fit the result."""
    cdef Py_ssize_t u = b.offset[vector] // b.pitch, v = b.offset[vector] % b.pitch
    cdef Py_ssize_t lane = 0, last, i, k, step = job.o_column * b.columns.step
    cdef real *to
    while lane < LANES and u < b.height:
        last = min(lane + max(b.width - v, <Py_ssize_t> 0), <Py_ssize_t> LANES)
        if last > lane:
            to = b.out + (b.rows.first + (b.u + u) * b.rows.step) * job.o_row
            to += (b.columns.first + (b.v + v) * b.columns.step) * job.o_column + m * job.o_m
            for i in range(rows):
                if step == 1:
                    store_some(to, peek(buffer + i * pitch + lane), <int> (last - lane))
                elif step == 2:
                    store_apart(to, peek(buffer + i * pitch + lane), <int> (last - lane))
                else:
                    for k in range(lane, last):
                        to[(k - lane) * step] = buffer[i * pitch + k]
                to += job.o_m
        lane += b.pitch - v
        v = 0
        u += 1
        if not b.flat:
            break


cdef void scatter_pairs(
    const Job *job, const Block *b, Py_ssize_t vector, const real *buffer, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t rows
) noexcept nogil:
    """The same at stride 2, between the columns of the lattice before, which are in the sums."""
    cdef Py_ssize_t u = b.offset[vector] // b.pitch, v = b.offset[vector] % b.pitch
    cdef Py_ssize_t lane = 0, last, i, column, count, next = b.vectors * LANES
    cdef const real *sums = b.sums + (m - b.m) * next + vector * LANES
    cdef real *to
    cdef vec first, second
    while lane < LANES and u < b.height:
        last = min(lane + max(b.width - v, <Py_ssize_t> 0), <Py_ssize_t> LANES)
        if last > lane:
            column = 2 * (b.v + v)
            count = min(2 * (last - lane), job.columns[0].count + job.columns[1].count - column)
            to = b.out + (b.rows.first + (b.u + u) * b.rows.step) * job.o_row + column
            to += m * job.o_m
            for i in range(rows):
                first = peek(sums + i * next + lane)
                second = peek(buffer + i * pitch + lane)
                store_some(to, zip_low(first, second), <int> min(count, <Py_ssize_t> LANES))
                if count > LANES:
                    store_some(to + LANES, zip_high(first, second), <int> (count - LANES))
                to += job.o_m
        lane += b.pitch - v
        v = 0
        u += 1
        if not b.flat:
            break


cdef inline void run_tile(
    const Job *job, const Block *b, Tile *t, Py_ssize_t m, int mr,
    Py_ssize_t vector, int nv, bint first, bint last
) noexcept nogil:
    """One tile of one block of the reduction, from where its sums are to where they go."""
    cdef Py_ssize_t pitch = b.vectors * LANES
    cdef real *sums = b.sums + (m - b.m) * pitch + vector * LANES
    cdef int v
    for v in range(nv):
        t.start[v] = b.bias_rows if first else sums + v * LANES
        t.end[v] = sums + v * LANES
        if last:
            t.end[v] = b.buffer + v * LANES
            if b.direct:
                t.end[v] = b.out + m * job.o_m + b.target[vector + v]
    TILE_OF[nv - 1][mr - 1](t)
    if last and not b.direct:
        for v in range(nv):
            if b.between:
                scatter_pairs(job, b, vector + v, b.buffer + v * LANES, NV * LANES, m, mr)
            else:
                scatter(job, b, vector + v, b.buffer + v * LANES, NV * LANES, m, mr)


cdef void run_tiles(
    const Job *job, const Block *b, Tile *t, const real *panel, bint first, bint last
) noexcept nogil:
    """All tiles of a block, over one block of the reduction."""
    cdef Py_ssize_t tiles = parts_in(b.vectors, NV), panels = parts_in(b.m_end - b.m, MR)
    cdef Py_ssize_t i, k, m, vector, v
    cdef int mr, nv
    t.first = first
    t.start_row = LANES if first else b.vectors * LANES
    t.end_row = b.vectors * LANES
    if last:
        t.end_row = job.o_m if b.direct else NV * LANES
    for i in range(panels):
        m = b.m + i * (b.m_end - b.m) // panels
        mr = <int> (b.m + (i + 1) * (b.m_end - b.m) // panels - m)
        t.w = t.w_block + m * job.w_m
        if first:
            for v in range(mr):
                store(
                    b.bias_rows + v * LANES,
                    splat(b.bias[(m + v) * job.bias_step] if b.bias != NULL else 0),
                )
        for k in range(tiles):
            vector = k * b.vectors // tiles
            nv = <int> ((k + 1) * b.vectors // tiles - vector)
            for v in range(nv):
                t.x[v] = panel + b.offset[vector + v]
            run_tile(job, b, t, m, mr, vector, nv, first, last)


cdef void reduce_block(const Job *job, Block *b) noexcept nogil:
    """All blocks of taps and channels, one after the other, into the outputs of a block."""
    cdef Py_ssize_t block, k, q, i, r, channels, taps
    cdef Py_ssize_t parts = max(parts_in(job.r, job.depth), <Py_ssize_t> 1)
    cdef Py_ssize_t across = parts_in(b.columns.taps, job.tap_columns)
    cdef Py_ssize_t blocks = parts_in(b.rows.taps, job.tap_rows) * across
    cdef Py_ssize_t most = parts_in(job.r, parts)  # channels at a time
    cdef const real *seen
    cdef Panel panel
    cdef Tile t
    t.once = 1
    t.w_m = job.w_m
    for block in range(blocks):
        k = block // across * job.tap_rows
        q = block % across * job.tap_columns
        lay_panel(job, b, &panel, k, q)
        taps = (
            min(job.tap_rows, b.rows.taps - k) * min(job.tap_columns, b.columns.taps - q)
        )
        tap_offsets(job, b, &panel, k, q, min(most * taps, <Py_ssize_t> TABLE), &t)
        for i in range(parts):
            r = i * job.r // parts
            channels = (i + 1) * job.r // parts - r
            t.steps = channels * taps
            t.w_block = b.w + r * job.w_r
            seen = b.panel
            if b.seen != NULL:
                seen = b.seen + r * job.s_r
            else:
                pack_panel(job, b, &panel, r, channels)
            run_tiles(
                job, b, &t, seen, block == 0 and i == 0, block == blocks - 1 and i == parts - 1
            )
    if blocks == 0:  # a lattice that no tap sees
        t.w_block = b.w
        t.steps = 0
        run_tiles(job, b, &t, b.panel, True, True)


cdef inline Py_ssize_t taps_of(const Walk *walks, Py_ssize_t count) noexcept nogil:
    """Of all lattices of an axis: up to the last one that any of them has."""
    cdef Py_ssize_t i, k, taps = 0
    for i in range(count):
        for k in range(walks[i].taps):
            taps = max(taps, walks[i].tap[k] + 1)
    return taps


cdef bint share_a_panel(const Job *job) noexcept nogil:
    """Whether all lattices are made from one panel: all their taps and channels at once."""
    cdef Py_ssize_t rows = taps_of(job.rows, job.row_walks)
    cdef Py_ssize_t columns = taps_of(job.columns, job.column_walks)
    return (
        job.row_walks * job.column_walks > 1 and 1 < rows * columns <= TABLE
        and rows <= min(job.tap_rows, <Py_ssize_t> ALL_TAPS)
        and columns <= min(job.tap_columns, <Py_ssize_t> ALL_TAPS) and job.r <= job.depth
    )


cdef void choose_from_all(
    const Job *job, const Block *b, Py_ssize_t all_columns, Py_ssize_t channel, Tile *t,
    Py_ssize_t *x_offset, Py_ssize_t *w_offset
) noexcept nogil:
    """The table of the taps of a lattice, for as many channels as there is room."""
    cdef Py_ssize_t i, j, tap
    t.table = 0
    for i in range(b.rows.taps):
        for j in range(b.columns.taps):
            tap = b.rows.tap[i] * all_columns + b.columns.tap[j]
            x_offset[t.table] = b.x_offset[tap]
            w_offset[t.table] = b.w_offset[tap]
            t.table += 1
    t.steps = job.r * t.table
    repeat_taps(job, t, x_offset, w_offset, channels_at_once(t.table, job.r), channel)


cdef inline bint are_pairs(const Job *job) noexcept nogil:
    """Whether two lattices have every second column of a row each."""
    return job.column_walks == job.columns[0].step == 2 and job.o_column == 1


cdef void make_lattices(const Job *job, Block *b) noexcept nogil:
    """All lattices of a block, from one panel; those that share rows are stored together."""
    cdef Py_ssize_t all_columns, i, k, part, panels = 1, m = b.m, m_end = b.m_end, width
    cdef bint pairs = are_pairs(job)
    cdef Py_ssize_t row_at[ALL_TAPS]
    cdef Py_ssize_t column_at[ALL_TAPS]
    cdef Py_ssize_t tap[ALL_TAPS]
    cdef Py_ssize_t x_offset[TABLE]
    cdef Py_ssize_t w_offset[TABLE]
    cdef Panel panel
    cdef Tile t
    join_walks(&b.rows, job.rows, job.row_walks, job.tap_rows, row_at, tap)
    join_walks(&b.columns, job.columns, job.column_walks, job.tap_columns, column_at, tap)
    b.height = min(job.band, job.rows[0].count - b.u)
    b.width = width = min(job.strip, job.columns[0].count - b.v)
    all_columns = b.columns.taps
    choose_pitch(job, b)
    lay_panel(job, b, &panel, 0, 0)
    tap_offsets(job, b, &panel, 0, 0, 0, &t)
    pack_panel(job, b, &panel, 0, job.r)
    t.once = 1
    t.w_m = job.w_m
    t.w_block = b.w
    if pairs:  # so few channels at a time that the sums of a lattice stay near
        panels = parts_in(m_end - m, MR)
    for i in range(job.row_walks):
        b.rows = job.rows[i]
        b.height = min(job.band, b.rows.count - b.u)
        for part in range(panels if b.height > 0 else 0):
            b.m = m + part * (m_end - m) // panels
            b.m_end = m + (part + 1) * (m_end - m) // panels
            for k in range(job.column_walks):
                b.columns = job.columns[k]
                b.width = width if pairs else min(job.strip, b.columns.count - b.v)
                if b.width <= 0:
                    continue
                choose_from_all(job, b, all_columns, panel.channel, &t, x_offset, w_offset)
                if not pairs or part == k == 0:
                    place_vectors(job, b)
                if pairs:
                    b.direct = False
                    b.between = True
                run_tiles(job, b, &t, b.panel, True, not pairs or k == 1)


cdef void correlate_item(const Job *job, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: part of the channels, then columns, rows, group, image; of all lattices.

    What lies in the same lines of memory is so made by one thread.
    """
    cdef Block b
    cdef Py_ssize_t part = item % job.parts, panels = parts_in(job.m, MR), group, lattice
    item //= job.parts
    b.v = item % job.strips * job.strip
    item //= job.strips
    b.u = item % job.bands * job.band
    item //= job.bands
    group = item % job.groups
    item //= job.groups
    b.m = min(part * panels // job.parts * MR, job.m)
    b.m_end = min((part + 1) * panels // job.parts * MR, job.m)
    b.source = job.source + item * job.s_n + group * job.r * job.s_r
    b.out = job.out + item * job.o_n + group * job.m * job.o_m
    b.w = job.w + group * job.w_g
    b.bias = job.bias
    if b.bias != NULL:
        b.bias += group * job.m * job.bias_step
    b.offset = <Py_ssize_t *> memory
    b.target = b.offset + job.vectors
    b.x_offset = b.target + job.vectors
    b.w_offset = b.x_offset + max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE)
    b.buffer = <real *> align(
        <char *> (b.w_offset + max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE))
    )
    b.bias_rows = b.buffer + MR * NV * LANES
    b.panel = b.bias_rows + MR * LANES
    b.sums = b.panel + job.panel_elements
    if job.shared:
        make_lattices(job, &b)
        return
    for lattice in range(job.row_walks * job.column_walks):
        b.rows = job.rows[lattice // job.column_walks]
        b.columns = job.columns[lattice % job.column_walks]
        b.height = min(job.band, b.rows.count - b.u)
        b.width = min(job.strip, b.columns.count - b.v)
        if b.width > 0 and b.height > 0:
            choose_pitch(job, &b)
            place_vectors(job, &b)
            reduce_block(job, &b)
