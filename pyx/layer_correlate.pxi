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
# An item of work is a block of rows and columns of one lattice of one image and group, and a part
# of the channels m. Its panel stays in L2; what it has summed up so far lies beside it.

cdef enum:
    TABLE = 64  # at least, entries of a table of taps
    SCATTER = 12  # steps of a tile that a vector costs which cannot be stored as it is


cdef struct Job:
    const real *source
    Py_ssize_t s_n, s_r, s_row, s_column, height, width
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
    Py_ssize_t panel_elements, vectors, sum_elements, bytes  # of one thread


cdef struct Tile:
    int once  # 1: gcc 12 unrolls early, and so keeps in registers, only what lies within a loop
    const real *x[NV]
    const real *w_block  # of the first channel of the result
    const real *w
    Py_ssize_t w_m
    const Py_ssize_t *x_offset  # of the taps of a few channels, a table that is used again and
    const Py_ssize_t *w_offset  # again, moved on by as many channels
    Py_ssize_t table, x_step, w_step
    Py_ssize_t steps  # in all
    const real *start[NV]  # what the sums begin with
    Py_ssize_t start_row
    real *end[NV]
    Py_ssize_t end_row


cdef inline void tile(const Tile *t, int mr, int nv) noexcept nogil:
    """A tile of mr channels x nv vectors."""
    cdef vec acc[MR * NV]
    cdef vec x[NV]
    cdef vec tap
    cdef const real *row[NV]
    cdef const real *w
    cdef const real *v_w
    cdef Py_ssize_t left, k, offset, w_m = t.w_m
    cdef int i, v, _once
    for _once in range(t.once):
        for v in range(nv):
            row[v] = t.x[v]
            for i in range(mr):
                acc[i * NV + v] = load(t.start[v] + i * t.start_row)
        w = t.w
        left = t.steps
        while left > 0:
            for k in range(min(left, t.table)):
                offset = t.x_offset[k]
                v_w = w + t.w_offset[k]
                for v in range(nv):
                    x[v] = load(row[v] + offset)
                for i in range(mr):
                    tap = splat(v_w[i * w_m])
                    for v in range(nv):
                        acc[i * NV + v] = acc[i * NV + v] + tap * x[v]
            for v in range(nv):
                row[v] += t.x_step
            w += t.w_step
            left -= t.table
        for i in range(mr):
            for v in range(nv):
                store(t.end[v] + i * t.end_row, acc[i * NV + v])


ctypedef void (*TileOf)(const Tile *) noexcept nogil

# A function for each size: in one large function gcc 12 spills.

cdef void tile_1x1(const Tile *t) noexcept nogil:
    tile(t, 1, 1)

cdef void tile_2x1(const Tile *t) noexcept nogil:
    tile(t, 2, 1)

cdef void tile_3x1(const Tile *t) noexcept nogil:
    tile(t, 3, 1)

cdef void tile_4x1(const Tile *t) noexcept nogil:
    tile(t, 4, 1)

cdef void tile_5x1(const Tile *t) noexcept nogil:
    tile(t, 5, 1)

cdef void tile_6x1(const Tile *t) noexcept nogil:
    tile(t, 6, 1)

cdef void tile_1x2(const Tile *t) noexcept nogil:
    tile(t, 1, 2)

cdef void tile_2x2(const Tile *t) noexcept nogil:
    tile(t, 2, 2)

cdef void tile_3x2(const Tile *t) noexcept nogil:
    tile(t, 3, 2)

cdef void tile_4x2(const Tile *t) noexcept nogil:
    tile(t, 4, 2)

cdef void tile_5x2(const Tile *t) noexcept nogil:
    tile(t, 5, 2)

cdef void tile_6x2(const Tile *t) noexcept nogil:
    tile(t, 6, 2)

cdef void tile_1x3(const Tile *t) noexcept nogil:
    tile(t, 1, min(3, NV))

cdef void tile_2x3(const Tile *t) noexcept nogil:
    tile(t, 2, min(3, NV))

cdef void tile_3x3(const Tile *t) noexcept nogil:
    tile(t, 3, min(3, NV))

cdef void tile_4x3(const Tile *t) noexcept nogil:
    tile(t, 4, min(3, NV))

cdef void tile_5x3(const Tile *t) noexcept nogil:
    tile(t, 5, min(3, NV))

cdef void tile_6x3(const Tile *t) noexcept nogil:
    tile(t, 6, min(3, NV))

cdef void tile_1x4(const Tile *t) noexcept nogil:
    tile(t, 1, min(4, NV))

cdef void tile_2x4(const Tile *t) noexcept nogil:
    tile(t, 2, min(4, NV))

cdef void tile_3x4(const Tile *t) noexcept nogil:
    tile(t, 3, min(4, NV))

cdef void tile_4x4(const Tile *t) noexcept nogil:
    tile(t, 4, min(4, NV))

cdef void tile_5x4(const Tile *t) noexcept nogil:
    tile(t, 5, min(4, NV))

cdef void tile_6x4(const Tile *t) noexcept nogil:
    tile(t, 6, min(4, NV))


cdef TileOf TILE_OF[4][6]
TILE_OF[0][:] = [tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1]
TILE_OF[1][:] = [tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2]
TILE_OF[2][:] = [tile_1x3, tile_2x3, tile_3x3, tile_4x3, tile_5x3, tile_6x3]
TILE_OF[3][:] = [tile_1x4, tile_2x4, tile_3x4, tile_4x4, tile_5x4, tile_6x4]


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
    Py_ssize_t vectors
    Py_ssize_t pitch  # of outputs in the panel
    const real *seen  # of the source, where no panel is needed
    real *panel
    real *sums  # [m][vectors][LANES]
    real *buffer  # of a tile
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
        or job.s_column != 1 or (b.width if b.width != job.s_row else b.width * b.height) < LANES
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
    cdef Py_ssize_t f, g, i, k, row
    for f in range(p.rows.remainders):
        for g in range(p.columns.remainders):
            for i in range(p.height):
                row = (b.u + p.rows.low + i) * b.rows.stride + p.rows.remainder[f]
                row = source(row, job.height, job.mode)
                if row < 0:
                    for k in range(channels):
                        memset(to + k * p.channel, 0, p.pitch * sizeof(real))
                elif channels == 1:
                    pack_row(to, planes + row * job.s_row, job.s_column, &p.runs[g], 0)
                else:
                    pack_pixels(
                        to, p.channel, planes + row * job.s_row, job.s_column, &p.runs[g]
                    )
                to += p.pitch


cdef void tap_offsets(
    const Job *job, const Block *b, const Panel *p, Py_ssize_t k, Py_ssize_t q, Py_ssize_t room,
    Tile *t
) noexcept nogil:
    """The table of the taps of a block, for one channel and then for as many as there is room."""
    cdef Py_ssize_t i, j, f = 0, g = 0, row, column, taps
    cdef Py_ssize_t channel = p.channel if b.seen == NULL else job.s_r
    t.table = 0
    for i in range(k, min(k + job.tap_rows, b.rows.taps)):
        row = place(&p.rows, &b.rows, i, &f)
        for j in range(q, min(q + job.tap_columns, b.columns.taps)):
            column = place(&p.columns, &b.columns, j, &g)
            b.x_offset[t.table] = (f * p.columns.remainders + g) * p.plane + row * p.pitch + column
            b.w_offset[t.table] = b.rows.tap[i] * job.w_row + b.columns.tap[j] * job.w_column
            t.table += 1
    taps = t.table
    while t.table + taps <= room:
        for i in range(t.table, t.table + taps):
            b.x_offset[i] = b.x_offset[i - taps] + channel
            b.w_offset[i] = b.w_offset[i - taps] + job.w_r
        t.table += taps
    t.x_step = t.table // taps * channel
    t.w_step = t.table // taps * job.w_r
    t.x_offset = b.x_offset
    t.w_offset = b.w_offset


cdef void place_vectors(const Job *job, Block *b) noexcept nogil:
    """Where the vectors of a block lie among the outputs; those of a row overlap at its end."""
    cdef Py_ssize_t a_row = parts_in(b.width, LANES), i, u, v
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
    b.vectors = parts_in(count, LANES) if b.flat else b.height * a_row
    for i in range(b.vectors):
        if b.flat:
            b.offset[i] = min(i * LANES, max(count - LANES, <Py_ssize_t> 0))
            u = b.offset[i] // b.pitch
            v = b.offset[i] % b.pitch
        else:
            u = i // a_row
            v = min(i % a_row * LANES, max(b.width - LANES, <Py_ssize_t> 0))
            b.offset[i] = u * b.pitch + v
        u = b.rows.first + (b.u + u) * b.rows.step
        v = b.columns.first + (b.v + v) * b.columns.step
        b.target[i] = u * job.o_row + v * job.o_column


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
                if step == 1 and last - lane == LANES:
                    store(to, load(buffer + i * pitch))
                elif step == 1:
                    for k in range(lane, last):
                        to[k - lane] = buffer[i * pitch + k]
                else:
                    for k in range(lane, last):
                        to[(k - lane) * step] = buffer[i * pitch + k]
                to += job.o_m
        lane += b.pitch - v
        v = 0
        u += 1
        if not b.flat:
            break


cdef void run_tile(
    const Job *job, const Block *b, Tile *t, Py_ssize_t m, int mr,
    Py_ssize_t vector, int nv, bint first, bint last
) noexcept nogil:
    """One tile of one block of the reduction, from where its sums are to where they go."""
    cdef Py_ssize_t pitch = b.vectors * LANES
    cdef real *sums = b.sums + (m - b.m) * pitch + vector * LANES
    cdef int i, v
    t.w = t.w_block + m * job.w_m
    t.start_row = pitch
    t.end_row = pitch
    if first:
        t.start_row = NV * LANES
        for i in range(mr):
            for v in range(nv):
                store(
                    b.buffer + (i * NV + v) * LANES,
                    splat(b.bias[(m + i) * job.bias_step] if b.bias != NULL else 0),
                )
    if last:
        t.end_row = job.o_m if b.direct else NV * LANES
    for v in range(nv):
        t.start[v] = b.buffer + v * LANES if first else sums + v * LANES
        t.end[v] = sums + v * LANES
        if last:
            t.end[v] = b.buffer + v * LANES
            if b.direct:
                t.end[v] = b.out + m * job.o_m + b.target[vector + v]
    TILE_OF[nv - 1][mr - 1](t)
    if last and not b.direct:
        for v in range(nv):
            scatter(job, b, vector + v, b.buffer + v * LANES, NV * LANES, m, mr)


cdef void run_tiles(
    const Job *job, const Block *b, Tile *t, const real *panel, bint first, bint last
) noexcept nogil:
    """All tiles of a block, over one block of the reduction."""
    cdef Py_ssize_t tiles = parts_in(b.vectors, NV), panels = parts_in(b.m_end - b.m, MR)
    cdef Py_ssize_t i, k, m, vector, v
    cdef int mr, nv
    for i in range(panels):
        m = b.m + i * (b.m_end - b.m) // panels
        mr = <int> (b.m + (i + 1) * (b.m_end - b.m) // panels - m)
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
    cdef const real *seen
    cdef Panel panel
    cdef Tile t
    t.once = 1
    t.w_m = job.w_m
    for block in range(blocks):
        k = block // across * job.tap_rows
        q = block % across * job.tap_columns
        lay_panel(job, b, &panel, k, q)
        tap_offsets(job, b, &panel, k, q, TABLE, &t)
        taps = (
            min(job.tap_rows, b.rows.taps - k) * min(job.tap_columns, b.columns.taps - q)
        )
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


cdef void correlate_item(const Job *job, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: part of the channels, then lattice, columns, rows, group, image."""
    cdef Block b
    cdef Py_ssize_t part = item % job.parts, panels = parts_in(job.m, MR), group
    item //= job.parts
    b.columns = job.columns[item % job.column_walks]
    item //= job.column_walks
    b.rows = job.rows[item % job.row_walks]
    item //= job.row_walks
    b.v = item % job.strips * job.strip
    item //= job.strips
    b.u = item % job.bands * job.band
    item //= job.bands
    group = item % job.groups
    item //= job.groups
    b.width = min(job.strip, b.columns.count - b.v)
    b.height = min(job.band, b.rows.count - b.u)
    if b.width <= 0 or b.height <= 0:
        return
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
    b.panel = b.buffer + MR * NV * LANES
    b.sums = b.panel + job.panel_elements
    choose_pitch(job, &b)
    place_vectors(job, &b)
    reduce_block(job, &b)


cdef Py_ssize_t walk_axis(
    const Axis *axis, bint back, Walk *walks, Py_ssize_t *table
) noexcept nogil:
    """The lattices of one axis: of Y all in one; of X, seen from Y, one for each remainder."""
    cdef Py_ssize_t i, tap, place, lattices = min(axis.stride, axis.size) if back else 1
    for i in range(lattices):
        walks[i].first = i
        walks[i].step = axis.stride if back else 1
        walks[i].count = parts_in(axis.size - i, axis.stride) if back else axis.outputs
        walks[i].stride = 1 if back else axis.stride
        walks[i].taps = 0
        walks[i].at = table
        walks[i].tap = table + axis.taps
        for tap in range(axis.taps):
            place = tap * axis.dilation - axis.before
            if back:
                place = i - place
                if place % axis.stride != 0:
                    continue
                place //= axis.stride
            walks[i].at[walks[i].taps] = place
            walks[i].tap[walks[i].taps] = tap
            walks[i].taps += 1
        table += walks[i].taps  # its at; its tap lies as far behind the table of all
    return lattices


cdef Py_ssize_t span(
    const Walk *walks, Py_ssize_t count, Py_ssize_t taps, Py_ssize_t block, bint planes
) noexcept nogil:
    """At most: rows (or columns) that a block of outputs sees through a block of taps."""
    cdef Py_ssize_t i, k, most = 0
    cdef Reach r
    for i in range(count):
        for k in range(parts_in(walks[i].taps, taps)):
            reach(&r, &walks[i], k * taps, min((k + 1) * taps, walks[i].taps))
            most = max(most, (r.remainders if planes else 1) * (block + r.high - r.low))
    return most


cdef void measure(Job *job) noexcept nogil:
    """Memory of one thread."""
    cdef Py_ssize_t wide = span(job.columns, job.column_walks, job.tap_columns, job.strip, False)
    cdef Py_ssize_t rows = span(job.rows, job.row_walks, job.tap_rows, job.band, True)
    cdef Py_ssize_t columns = span(job.columns, job.column_walks, job.tap_columns, job.strip, True)
    cdef Py_ssize_t taps = max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE)
    cdef Py_ssize_t i, reductions = 0
    wide = max(wide, job.strip)
    job.vectors = max(
        job.band * parts_in(job.strip, LANES), parts_in(job.band * wide, LANES)
    )
    job.panel_elements = rows * columns * min(job.depth, job.r) + wide + 4 * LANES
    for i in range(job.row_walks):
        reductions = max(reductions, parts_in(job.rows[i].taps, job.tap_rows))
    for i in range(job.column_walks):
        reductions = max(reductions, parts_in(job.columns[i].taps, job.tap_columns))
    if job.r > job.depth:
        reductions = 2
    job.sum_elements = 0
    if reductions > 1:
        job.sum_elements = parts_in(parts_in(job.m, MR), job.parts) * MR * job.vectors * LANES
    job.bytes = aligned(
        2 * (job.vectors + taps) * sizeof(Py_ssize_t) + 64
        + sizeof(real) * (MR * NV * LANES + job.panel_elements + job.sum_elements + LANES)
    )


cdef int correlate(Job *job, const Layer *p, bint back) noexcept nogil:
    cdef Py_ssize_t lattices = (p.rows.stride + p.columns.stride) if back else 2
    cdef Py_ssize_t tables = 2 * (p.rows.taps + p.columns.taps)
    cdef Py_ssize_t item, items
    cdef int failed
    cdef char *scratch
    cdef char *memory = <char *> malloc(lattices * sizeof(Walk) + tables * sizeof(Py_ssize_t))
    if memory == NULL:
        return -1
    job.rows = <Walk *> memory
    job.columns = job.rows + (p.rows.stride if back else 1)
    job.row_walks = walk_axis(
        &p.rows, back, job.rows, <Py_ssize_t *> (job.rows + lattices)
    )
    job.column_walks = walk_axis(
        &p.columns, back, job.columns, <Py_ssize_t *> (job.rows + lattices) + 2 * p.rows.taps
    )
    job.band = min(p.band, job.rows[0].count)
    job.strip = min(p.strip, job.columns[0].count)
    job.bands = parts_in(job.rows[0].count, job.band)
    job.strips = parts_in(job.columns[0].count, job.strip)
    job.depth = p.depth
    job.tap_rows = min(p.tap_rows, p.rows.taps)
    job.tap_columns = min(p.tap_columns, p.columns.taps)
    job.parts = p.parts
    job.groups = p.groups
    job.images = p.n
    if p.lanes_of != POSITIONS:
        failed = (
            correlate_lanes(job, p) if p.lanes_of == PLANES else correlate_filters(job, p)
        )
        free(memory)
        return failed
    measure(job)
    scratch = <char *> malloc(p.threads * job.bytes + 64)
    if scratch == NULL:
        free(memory)
        return -1
    items = (
        job.images * job.groups * job.bands * job.strips * job.row_walks * job.column_walks
        * job.parts
    )
    if p.threads == 1:
        for item in range(items):
            correlate_item(job, item, align(scratch))
    else:
        for item in prange(items, num_threads=<int> p.threads, schedule="dynamic"):
            correlate_item(job, item, align(scratch) + threadid() * job.bytes)
    free(scratch)
    free(memory)
    return 0


cdef int forward(const Layer *p) noexcept nogil:
    cdef Job job
    job.source = <const real *> p.x
    job.s_n = p.x_n
    job.s_r = p.x_c
    job.s_row = p.x_row
    job.s_column = p.x_col
    job.height = p.rows.size
    job.width = p.columns.size
    job.out = <real *> p.y
    job.o_n = p.y_n
    job.o_m = p.y_k
    job.o_row = p.y_row
    job.o_column = p.y_col
    job.w = <const real *> p.w
    job.w_g = p.k * p.w_k
    job.w_m = p.w_k
    job.w_r = p.w_c
    job.w_row = p.w_row
    job.w_column = p.w_col
    job.bias = <const real *> p.bias
    job.bias_step = p.bias_step
    job.r = p.c
    job.m = p.k
    job.mode = p.mode
    if correlate(&job, p, False):
        return -1
    exactly(p, False)
    return 0


cdef int input_gradient(const Layer *p) noexcept nogil:
    cdef Job job
    job.source = <const real *> p.y
    job.s_n = p.y_n
    job.s_r = p.y_k
    job.s_row = p.y_row
    job.s_column = p.y_col
    job.height = p.rows.outputs
    job.width = p.columns.outputs
    job.out = <real *> p.x
    job.o_n = p.x_n
    job.o_m = p.x_c
    job.o_row = p.x_row
    job.o_column = p.x_col
    job.w = <const real *> p.w
    job.w_g = p.k * p.w_k
    job.w_m = p.w_c
    job.w_r = p.w_k
    job.w_row = p.w_row
    job.w_column = p.w_col
    job.bias = <const real *> p.bias
    job.bias_step = p.bias_step
    job.r = p.k
    job.m = p.c
    job.mode = ZEROS
    if correlate(&job, p, True):
        return -1
    exactly(p, True)
    return 0
