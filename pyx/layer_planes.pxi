# Planes that see one plane each: depthwise layers, Y and the gradient of X
#
# The formula and the lattices are those of layer_correlate.pxi, with a single channel m of the
# result a group. There is nothing to share among channels, so a tile is VECTORS vectors that follow
# one another in the panel, across the ends of rows: a tap is one broadcast and VECTORS
# multiplications with what lies in the panel, and overhead is shared by many. The sums go to a
# buffer, in which rows keep the pitch of the panel, and from there to the result; those of two
# lattices of a stride of 2 are zipped on the way.
#
# An item of work is a few planes of the result. Of each, `band` rows are made at a time, so that
# panel and buffer stay in L1.


cdef struct Lattice:
    Walk rows, columns
    Panel panel
    Py_ssize_t taps
    Py_ssize_t *x_offset
    Py_ssize_t *w_offset


cdef struct Planes:
    const Job *job
    Lattice *lattices  # [rows][columns]
    Py_ssize_t pitch  # of the buffer, the largest of all panels
    Py_ssize_t buffer, bytes  # elements of one buffer; of one thread


cdef inline void plane_tile(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias, int fours
) noexcept nogil:
    """So many times four vectors, on top of what is in the sums or of the bias."""
    cdef vec acc[VECTORS]
    cdef vec tap
    cdef const real *seen
    cdef Py_ssize_t k
    cdef int i, j  # gcc 12 unrolls no loop of 24
    for i in range(fours):
        for j in range(4):
            acc[4 * i + j] = peek(sums + (4 * i + j) * LANES) if add else splat(bias)
    for k in range(lattice.taps):
        tap = splat(w[lattice.w_offset[k]])
        seen = x + lattice.x_offset[k]
        for i in range(fours):
            for j in range(4):
                acc[4 * i + j] = acc[4 * i + j] + tap * peek(seen + (4 * i + j) * LANES)
    for i in range(fours):
        for j in range(4):
            store(sums + (4 * i + j) * LANES, acc[4 * i + j])


ctypedef void (*PlaneTile)(
    real *, const real *, const real *, const Lattice *, bint, real
) noexcept nogil


cdef void plane_tile_4(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, 1)

cdef void plane_tile_8(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, 2)

cdef void plane_tile_12(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, 3)

cdef void plane_tile_16(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, min(4, VECTORS // 4))

cdef void plane_tile_20(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, min(5, VECTORS // 4))

cdef void plane_tile_24(
    real *sums, const real *x, const real *w, const Lattice *lattice, bint add, real bias
) noexcept nogil:
    plane_tile(sums, x, w, lattice, add, bias, min(6, VECTORS // 4))


cdef PlaneTile PLANE_TILE_OF[6]
PLANE_TILE_OF[:] = [
    plane_tile_4, plane_tile_8, plane_tile_12, plane_tile_16, plane_tile_20, plane_tile_24
]


cdef void pack_plane(
    const Job *job, const Lattice *lattice, const real *plane, Py_ssize_t u, Py_ssize_t height,
    real *panel
) noexcept nogil:
    """What `height` rows of a lattice see, from its row u on."""
    cdef const Panel *p = &lattice.panel
    cdef Py_ssize_t f, g, i, k, row
    cdef Py_ssize_t end = (job.height - 1) * job.s_row + (job.width - 1) * job.s_column + 1
    cdef real *to
    for f in range(p.rows.remainders):
        for g in range(p.columns.remainders):
            to = panel + (f * p.columns.remainders + g) * p.plane
            for i in range(height + p.rows.high - p.rows.low):
                row = (u + p.rows.low + i) * lattice.rows.stride + p.rows.remainder[f]
                row = source(row, job.height, job.mode)
                if row < 0:
                    memset(to, 0, p.pitch * sizeof(real))
                else:
                    pack_row(
                        to, plane + row * job.s_row, job.s_column, &p.runs[g],
                        end - row * job.s_row,
                    )
                to += p.pitch
            for k in range(p.columns.high - p.columns.low):  # shared with the last row
                to[k] = 0


cdef struct Ahead:
    # What comes next is fetched into the caches while tiles are made: memory would wait otherwise.
    const real *seen
    const real *out
    Py_ssize_t seen_count, out_count  # elements
    Py_ssize_t vectors  # that are made meanwhile


cdef inline void fetch_part(const Ahead *a, Py_ssize_t vector, Py_ssize_t count) noexcept nogil:
    """The part of what comes next that belongs to `count` vectors from one on."""
    cdef Py_ssize_t i, line = 64 // sizeof(real)
    cdef Py_ssize_t first = vector * a.seen_count // a.vectors // line
    cdef Py_ssize_t last = (vector + count) * a.seen_count // a.vectors // line
    for i in range(first, last):
        fetch(a.seen + i * line)
    first = vector * a.out_count // a.vectors // line
    last = (vector + count) * a.out_count // a.vectors // line
    for i in range(first, last):
        fetch_to_write(a.out + i * line)


cdef void sum_plane(
    const Planes *planes, const Lattice *lattice, const real *plane, const real *w,
    Py_ssize_t u, Py_ssize_t height, real *panel, real *sums, real bias, const Ahead *ahead
) noexcept nogil:
    """`height` rows of a lattice into its buffer: all channels of the source."""
    cdef const Job *job = planes.job
    cdef Py_ssize_t r, tile, v, width = lattice.columns.count, pitch = lattice.panel.pitch
    cdef Py_ssize_t vectors = parts_in(height * pitch - (pitch - width), LANES)
    cdef Py_ssize_t size = parts_in(parts_in(vectors, parts_in(vectors, VECTORS)), 4) * 4
    for r in range(max(job.r, <Py_ssize_t> 1)):
        if job.r > 0 and lattice.taps > 0:
            pack_plane(job, lattice, plane + r * job.s_r, u, height, panel)
        for tile in range(parts_in(vectors, size)):
            v = tile * size
            fetch_part(ahead, v + r * vectors, size)
            PLANE_TILE_OF[(min(size, vectors - v) - 1) // 4](
                sums + v * LANES, panel + v * LANES, w + r * job.w_r, lattice, r > 0, bias
            )


cdef inline void copy_run(
    real *to, const real *run, Py_ssize_t count, Py_ssize_t room
) noexcept nogil:
    """Copy a row; where it is short, into the room behind it too, which is written later."""
    cdef Py_ssize_t k
    if count >= LANES:
        for k in range(count // LANES):
            store(to + k * LANES, peek(run + k * LANES))
        store(to + count - LANES, peek(run + count - LANES))
    elif room >= LANES:
        store(to, peek(run))
    else:
        for k in range(count):
            to[k] = run[k]


cdef void zip_run(real *to, const real *even, const real *odd, Py_ssize_t count) noexcept nogil:
    """to[2 * k] = even[k], to[2 * k + 1] = odd[k], `count` elements of `to`."""
    cdef Py_ssize_t k, whole = count // (2 * LANES)
    for k in range(whole):
        store(to + 2 * k * LANES, zip_low(peek(even + k * LANES), peek(odd + k * LANES)))
        store(to + (2 * k + 1) * LANES, zip_high(peek(even + k * LANES), peek(odd + k * LANES)))
    for k in range(2 * whole * LANES, count):
        to[k] = odd[k // 2] if k % 2 else even[k // 2]


cdef void deliver_rows(
    const Planes *planes, const Lattice *lattices, real *out, Py_ssize_t u, Py_ssize_t height,
    const real *sums
) noexcept nogil:
    """Rows of all lattices of columns from their buffers into the result."""
    cdef const Job *job = planes.job
    cdef Py_ssize_t i, j, k, step = lattices[0].columns.step, row
    cdef Py_ssize_t width = lattices[0].columns.count
    cdef bint dense = step == 1 and lattices[0].rows.step == 1 and job.o_row == width
    cdef Py_ssize_t end = job.rows[0].count * width
    for i in range(height):
        row = lattices[0].rows.first + (u + i) * lattices[0].rows.step
        if job.o_column == 1 and step == 1:
            copy_run(
                out + row * job.o_row, sums + i * lattices[0].panel.pitch, width,
                end - row * width if dense else width,
            )
        elif job.o_column == 1 and step == 2 and LANES > 1 and job.column_walks == 2:
            zip_run(
                out + row * job.o_row, sums + i * lattices[0].panel.pitch,
                sums + planes.buffer + i * lattices[1].panel.pitch,
                width + lattices[1].columns.count,
            )
        else:
            for j in range(job.column_walks):
                for k in range(lattices[j].columns.count):
                    out[row * job.o_row + (j + k * step) * job.o_column] = (
                        sums[j * planes.buffer + i * lattices[j].panel.pitch + k]
                    )


cdef void make_plane(const Planes *planes, Py_ssize_t item, char *memory) noexcept nogil:
    """One plane of the result: item counts channels, then images."""
    cdef const Job *job = planes.job
    cdef Py_ssize_t channel = item % (job.groups * job.m), n = item // (job.groups * job.m)
    cdef Py_ssize_t group = channel // job.m, i, j, u, height
    cdef real *sums = <real *> memory
    cdef real *panel = sums + job.column_walks * planes.buffer
    cdef const real *plane = job.source + n * job.s_n + group * job.r * job.s_r
    cdef const real *w = job.w + group * job.w_g + channel % job.m * job.w_m
    cdef const Lattice *lattices
    cdef Ahead ahead
    cdef real bias = 0
    ahead.seen = plane + job.height * job.s_row
    ahead.seen_count = job.height * job.width
    ahead.out = job.out + n * job.o_n + channel * job.o_m
    ahead.out_count = job.rows[0].count * job.columns[0].count * job.row_walks * job.column_walks
    ahead.vectors = parts_in(ahead.out_count, LANES) * max(job.r, <Py_ssize_t> 1)
    if job.bias != NULL:
        bias = job.bias[channel * job.bias_step]
    for i in range(job.row_walks):
        lattices = planes.lattices + i * job.column_walks
        for u in range(parts_in(lattices.rows.count, job.band)):
            u = u * job.band
            height = min(job.band, lattices.rows.count - u)
            for j in range(job.column_walks):
                sum_plane(
                    planes, &lattices[j], plane, w, u, height, panel, sums + j * planes.buffer,
                    bias, &ahead,
                )
            deliver_rows(
                planes, lattices, job.out + n * job.o_n + channel * job.o_m, u, height, sums
            )


cdef void lay_lattices(Planes *planes, Py_ssize_t *tables) noexcept nogil:
    """Panels and taps of all lattices; what one thread needs for the largest."""
    cdef const Job *job = planes.job
    cdef Lattice *l
    cdef Block b
    cdef Tile t
    cdef Py_ssize_t i, most = 0
    planes.buffer = 0
    b.v = 0
    b.u = 0
    b.height = job.band
    b.seen = NULL
    for i in range(job.row_walks * job.column_walks):
        l = planes.lattices + i
        l.rows = job.rows[i // job.column_walks]
        l.columns = job.columns[i % job.column_walks]
        l.taps = l.rows.taps * l.columns.taps
        l.x_offset = tables
        l.w_offset = tables + l.taps
        tables += 2 * l.taps
        b.rows = l.rows
        b.columns = l.columns
        b.width = l.columns.count
        b.x_offset = l.x_offset
        b.w_offset = l.w_offset
        choose_pitch(job, &b)
        l.panel.pitch = b.pitch
        if l.taps > 0:
            lay_panel(job, &b, &l.panel, 0, 0)
            tap_offsets(job, &b, &l.panel, 0, 0, 0, &t)
            most = max(most, l.panel.channel + l.panel.columns.high - l.panel.columns.low)
        planes.buffer = max(planes.buffer, job.band * b.pitch)
    planes.buffer = aligned(planes.buffer + VECTORS * LANES)
    planes.bytes = aligned(
        sizeof(real) * (job.column_walks * planes.buffer + most + 2 * VECTORS * LANES)
    )


cdef int correlate_planes(Job *job, const Layer *p) noexcept nogil:
    cdef Planes planes
    cdef Py_ssize_t count = job.row_walks * job.column_walks, item, i
    cdef Py_ssize_t taps = p.rows.taps * p.columns.taps
    cdef Py_ssize_t items = job.images * job.groups * job.m, parts = min(items, 4 * p.threads)
    cdef char *scratch
    cdef char *memory = <char *> malloc(count * sizeof(Lattice) + 2 * taps * sizeof(Py_ssize_t))
    if memory == NULL:
        return -1
    planes.job = job
    planes.lattices = <Lattice *> memory
    lay_lattices(&planes, <Py_ssize_t *> (planes.lattices + count))
    scratch = <char *> malloc(p.threads * planes.bytes + 64)
    if scratch == NULL:
        free(memory)
        return -1
    if p.threads == 1:
        for item in range(items):
            make_plane(&planes, item, align(scratch))
    else:
        for i in prange(parts, num_threads=<int> p.threads, schedule="dynamic"):
            make_planes(
                &planes, i * items // parts, (i + 1) * items // parts,
                align(scratch) + threadid() * planes.bytes,
            )
    free(scratch)
    free(memory)
    return 0


cdef void make_planes(
    const Planes *planes, Py_ssize_t first, Py_ssize_t last, char *memory
) noexcept nogil:
    cdef Py_ssize_t item
    for item in range(first, last):
        make_plane(planes, item, memory)
