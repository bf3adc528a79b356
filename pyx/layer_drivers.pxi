# Y and the gradient of X: which side of a layer is what in the formula of layer_correlate.pxi, and
# who works on which items

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
        if p.lanes_of == PLANES:
            failed = correlate_lanes(job, p)
        elif p.lanes_of == FILTERS:
            failed = correlate_filters(job, p)
        else:
            failed = correlate_columns(job, p, back)
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
