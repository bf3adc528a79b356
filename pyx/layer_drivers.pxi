# The calls: which side of a layer is what in the formulas, what items its work is cut into, and who
# works on them. One call makes one result; those of one layer can be worked on together.

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


cdef Py_ssize_t seen_by_all(
    const Walk *walks, Py_ssize_t count, Py_ssize_t taps, Py_ssize_t block
) noexcept nogil:
    """Rows (or columns) that a block of outputs of all lattices sees."""
    cdef Py_ssize_t at[ALL_TAPS]
    cdef Py_ssize_t tap[ALL_TAPS]
    cdef Walk all_taps
    join_walks(&all_taps, walks, count, taps, at, tap)
    return span(&all_taps, 1, taps, block, True)


cdef Py_ssize_t measure(Job *job) noexcept nogil:
    """Memory of one thread."""
    cdef Py_ssize_t wide = span(job.columns, job.column_walks, job.tap_columns, job.strip, False)
    cdef Py_ssize_t rows = span(job.rows, job.row_walks, job.tap_rows, job.band, True)
    cdef Py_ssize_t columns = span(job.columns, job.column_walks, job.tap_columns, job.strip, True)
    cdef Py_ssize_t taps = max(job.tap_rows * job.tap_columns, <Py_ssize_t> TABLE)
    cdef Py_ssize_t i, reductions = 0
    job.shared = share_a_panel(job)
    if job.shared:
        rows = max(rows, seen_by_all(job.rows, job.row_walks, job.tap_rows, job.band))
        columns = max(
            columns, seen_by_all(job.columns, job.column_walks, job.tap_columns, job.strip)
        )
        wide = max(wide, columns)
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
    job.sum_elements = MR * job.vectors * LANES if job.shared else 0
    if reductions > 1:
        job.sum_elements = parts_in(parts_in(job.m, MR), job.parts) * MR * job.vectors * LANES
    return aligned(
        2 * (job.vectors + taps) * sizeof(Py_ssize_t) + 64
        + sizeof(real) * (MR * (NV + 1) * LANES + job.panel_elements + job.sum_elements + LANES)
    )


ctypedef void (*Make)(const Call *, Py_ssize_t, char *) noexcept nogil


cdef struct Call:
    Layer p
    Job job
    Lanes lanes
    Columns columns
    WeightColumns weight_columns
    bint back  # the gradient of X
    const Call *beside  # dX, whose planes the items of dW make in passing
    const Call *summed  # the gradient of the bias, whose sums they make in passing
    char *memory  # of all threads: walks, masks, sums
    char *sums
    int not_finite
    Make make  # an item, in the memory of a thread
    Py_ssize_t items
    Py_ssize_t bytes  # of that memory


# ---------------------------------------------------------------- Y and the gradient of X


cdef void item_of_positions(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    correlate_item(&c.job, item, memory)


cdef void item_of_filters(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    filters_item(&c.job, item, memory)


cdef void item_of_dots(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    dots_item(&c.job, item, memory)


cdef void item_of_lanes(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    make_pixels(&c.lanes, item, memory)


cdef void item_of_columns(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    cdef Py_ssize_t planes = c.job.images * c.job.groups * c.job.m, parts = c.job.parts
    cdef Py_ssize_t of_planes = c.items // parts
    cdef Pointed pointed
    pointed.at = NULL
    walk_planes(
        &c.columns, &c.job, item // parts * planes // of_planes,
        (item // parts + 1) * planes // of_planes, item % parts, parts, &pointed, memory,
    )


cdef Py_ssize_t items_of_planes(Py_ssize_t planes, Py_ssize_t elements) noexcept nogil:
    """Items that are worth taking one by one, of planes of so many elements."""
    return parts_in(planes, max(min(8192 // max(elements, 1), planes), <Py_ssize_t> 1))


cdef void fill_plane(const Layer *p, Py_ssize_t plane) noexcept nogil:
    """X of one image and channel, as far as no tap sees it: the bias."""
    cdef Py_ssize_t channels = p.groups * p.c, channel = plane % channels, i, j, vectors = 0
    cdef real *x = <real *> p.x + plane // channels * p.x_n + channel * p.x_c
    cdef real bias = 0
    if p.bias != NULL:
        bias = (<const real *> p.bias)[channel * p.bias_step]
    if p.x_col == 1:
        vectors = p.columns.size // LANES
    for i in range(p.rows.size):
        for j in range(vectors):
            store(x + j * LANES, splat(bias))
        for j in range(vectors * LANES, p.columns.size):
            x[j * p.x_col] = bias
        x += p.x_row


cdef void keep_seen(
    Axis *axis, const void **x, Py_ssize_t *x_step, const void **y, Py_ssize_t y_step
) noexcept nogil:
    """Of an axis with one tap keep what it sees, and of X what sees it, one beside the other."""
    cdef Py_ssize_t first = first_inside(axis, 0)
    x[0] = <const real *> x[0] + (first * axis.stride - axis.before) * x_step[0]
    y[0] = <const real *> y[0] + first * y_step
    x_step[0] *= axis.stride
    axis.outputs = last_inside(axis, 0) - first
    axis.size = axis.outputs
    axis.stride = 1
    axis.before = 0


cdef void leave_out_gaps(Layer *p) noexcept nogil:
    """Where strides leave gaps between what one tap sees of X, fill them; and see them no more."""
    cdef Py_ssize_t plane
    if (
        p.rows.taps * p.columns.taps != 1 or p.rows.stride * p.columns.stride == 1
        or first_inside(&p.rows, 0) >= last_inside(&p.rows, 0)
        or first_inside(&p.columns, 0) >= last_inside(&p.columns, 0)
    ):
        return
    for plane in prange(p.n * p.groups * p.c, num_threads=<int> p.threads, schedule="static"):
        fill_plane(p, plane)
    keep_seen(&p.rows, &p.x, &p.x_row, &p.y, p.y_row)
    keep_seen(&p.columns, &p.x, &p.x_col, &p.y, p.y_col)


cdef int begin_correlation(Call *c, const Layer *layer, bint back) noexcept nogil:
    """Lay out Y, or the gradient of X."""
    cdef Job *job = &c.job
    cdef Layer *p = &c.p
    cdef size_t walks, masks = 0
    cdef Py_ssize_t lattices
    cdef bint down = layer.lanes_of == COLUMNS or layer.lanes_of == ANY_COLUMNS
    c.p = layer[0]
    if back and not down and p.lanes_of != PLANES:
        leave_out_gaps(p)
    lattices = (p.rows.stride + p.columns.stride) if back else 2
    c.back = back
    describe(job, p, back)
    if down:
        job.band = p.band
        lay_columns(&c.columns, job, p, back)
        masks = c.columns.strips * c.columns.strip_masks * LANES * sizeof(real)
        lattices = 0
    walks = lattices * sizeof(Walk) + 2 * (p.rows.taps + p.columns.taps) * sizeof(Py_ssize_t)
    c.memory = <char *> malloc(walks + masks + 64)
    if c.memory == NULL:
        return -1
    if down:
        c.columns.masks = <real *> align(c.memory)
        lay_masks(&c.columns)
        c.make = item_of_columns
        c.bytes = c.columns.bytes
        job.parts = p.parts
        c.items = p.parts * items_of_planes(
            job.images * job.groups * job.m, c.columns.rows * c.columns.columns
        )
        return 0
    job.rows = <Walk *> c.memory
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
    if p.lanes_of == CHANNELS:
        measure_dots(job, &c.items, &c.bytes)
        c.make = item_of_dots
    elif p.lanes_of == PLANES:
        lay_lanes(&c.lanes, job, p)
        c.make = item_of_lanes
        c.bytes = c.lanes.bytes
        c.items = job.images * c.lanes.blocks * job.bands
    elif p.lanes_of == FILTERS or p.lanes_of == UNPADDED_FILTERS:
        job.unpadded = p.lanes_of == UNPADDED_FILTERS
        measure_filters(job, p, &c.items, &c.bytes)
        c.make = item_of_filters
    else:
        c.make = item_of_positions
        c.bytes = measure(job)
        c.items = job.images * job.groups * job.bands * job.strips * job.parts
    return 0


cdef void describe(Job *job, const Layer *p, bint back) noexcept nogil:
    """The formula of layer_correlate.pxi for Y, or for the gradient of X."""
    job.w = <const real *> p.w
    job.w_g = p.k * p.w_k
    job.w_row = p.w_row
    job.w_column = p.w_col
    job.bias = <const real *> p.bias
    job.bias_step = p.bias_step
    job.images = p.n
    job.groups = p.groups
    if back:
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
        job.w_m = p.w_c
        job.w_r = p.w_k
        job.r = p.k
        job.m = p.c
        job.mode = ZEROS
    else:
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
        job.w_m = p.w_k
        job.w_r = p.w_c
        job.r = p.c
        job.m = p.k
        job.mode = p.mode
    job.far = p.n * p.groups * job.r * job.height * job.width * <Py_ssize_t> sizeof(real) >= FAR


cdef void end_correlation(const Call *c) noexcept nogil:
    exactly(&c.p, c.back)


# ---------------------------------------------------------------- the gradient of W


cdef void item_of_weights(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    weight_item(&c.p, item, memory)


cdef void item_of_weight_positions(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    positions_item(&c.p, item, memory)


cdef void item_of_weight_lanes(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    weight_pixels_item(&c.p, item, <total *> c.sums, memory)


cdef void item_of_weight_columns(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    cdef Py_ssize_t units = weight_units(&c.p), i
    cdef Pending pending
    pending.x = pending.y = pending.walked.at = NULL
    for i in range(item * units // c.items, (item + 1) * units // c.items):
        weight_columns_item(c, i, &pending, memory)


cdef void make_beside(
    const Call *c, Py_ssize_t first, Py_ssize_t last, Pending *pending, char *memory
) noexcept nogil:
    """Planes of dX, and sums of planes of Y, where these lie in the cache; they count channels."""
    if c.beside != NULL:
        walk_planes(
            &c.beside.columns, &c.beside.job, first, last, 0, 1, &pending.walked,
            memory + c.weight_columns.bytes,
        )
    if c.summed != NULL:
        sum_planes(&c.summed.p, first, last, <total *> c.summed.sums)


cdef int begin_weight(Call *c, const Layer *layer) noexcept nogil:
    """Lay out the gradient of W."""
    cdef Layer *p = &c.p
    cdef size_t masks = 0, sums = 0, bytes
    c.p = layer[0]
    c.beside = c.summed = NULL
    c.not_finite = False
    p.band = min(p.band, p.rows.outputs)
    p.strip = min(p.strip, p.columns.outputs)
    p.tap_rows = min(p.tap_rows, p.rows.taps)
    p.tap_columns = min(p.tap_columns, p.columns.taps)
    if p.lanes_of == PLANES:
        lay_weight_lanes(p, &c.items, &sums, &bytes)
        c.make = item_of_weight_lanes
    elif p.lanes_of == COLUMNS:
        lay_weight_columns(&c.weight_columns, p)
        masks = aligned(c.weight_columns.vectors * (SIDE + 1) * LANES * sizeof(real))
        sums = aligned(p.bands * p.groups * p.k * p.c * SIDE * SIDE * sizeof(total))
        bytes = c.weight_columns.bytes
        c.items = items_of_planes(
            weight_units(p), 2 * p.rows.outputs * p.columns.outputs * parts_in(p.n, p.bands)
        )
        c.make = item_of_weight_columns
    else:
        if p.bands > 1:
            sums = aligned(
                p.bands * p.groups * p.k * p.c * p.rows.taps * p.columns.taps * sizeof(real)
            )
        c.items = p.bands * p.groups * p.parts
        if p.lanes_of == POSITIONS:
            bytes = positions_bytes(p)
            c.make = item_of_weight_positions
        else:
            bytes = weight_bytes(p)
            c.items *= parts_in(p.rows.taps, p.tap_rows) * parts_in(p.columns.taps, p.tap_columns)
            c.items *= parts_in(p.c, p.depth)
            c.make = item_of_weights
    c.bytes = bytes
    c.memory = <char *> malloc(sums + masks + 64)
    if c.memory == NULL:
        return -1
    c.sums = align(c.memory)
    p.partial = c.sums
    p.not_finite = &c.not_finite
    if p.lanes_of == COLUMNS:
        c.weight_columns.masks = <real *> (c.sums + sums)
        lay_weight_masks(&c.weight_columns, p)
    return 0


cdef void end_weight(const Call *c) noexcept nogil:
    """W from all sums."""
    cdef const Layer *p = &c.p
    cdef Py_ssize_t i, size = p.groups * p.k * p.c * p.rows.taps * p.columns.taps
    cdef int threads = <int> p.threads
    if p.lanes_of == PLANES:
        for i in prange(p.groups * p.k, num_threads=threads, schedule="static"):
            weight_of_lane(p, i, <const total *> c.sums)
    elif p.lanes_of == COLUMNS:
        for i in prange(p.groups * p.k, num_threads=threads, schedule="static"):
            weight_of_columns(p, i, <const total *> c.sums)
    else:
        if p.bands > 1:
            for i in prange(p.threads, num_threads=threads, schedule="static"):
                add_bands(p, i * size // p.threads, (i + 1) * size // p.threads, size)
        if c.not_finite:
            exact_weights(p)


# ---------------------------------------------------------------- the gradient of the bias


cdef void item_of_bias(const Call *c, Py_ssize_t item, char *memory) noexcept nogil:
    cdef Py_ssize_t sums = plane_sums(&c.p)
    sum_planes(
        &c.p, item * sums // c.items, (item + 1) * sums // c.items, <total *> c.sums
    )


cdef int begin_bias(Call *c, const Layer *p) noexcept nogil:
    c.p = p[0]
    c.make = item_of_bias
    c.items = items_of_planes(
        plane_sums(p), images_of_sum(p) * p.rows.outputs * p.columns.outputs
    )
    c.bytes = 0
    c.memory = <char *> malloc(plane_sums(p) * sizeof(total) + 1)
    c.sums = c.memory
    return 0 if c.memory != NULL else -1


# ---------------------------------------------------------------- all of them


cdef enum:
    LARGE = 1024  # elements of planes of Y that are read once; small ones are faster many at once
    NEAR = 1 << 18  # bytes of Y that stay in L2 from one call to the next
    RUNS = 64


cdef struct Turn:
    # Items of a call that are made one after the other: neighbours share lines of memory.
    int call
    Py_ssize_t first, last


cdef Py_ssize_t runs_of(const Call *c, Py_ssize_t threads) noexcept nogil:
    """Runs that the items of a call are made in."""
    cdef const Layer *p = &c.p
    cdef Py_ssize_t size = p.n * p.groups * p.k * p.rows.outputs * p.columns.outputs
    if threads == 1 and size * <Py_ssize_t> sizeof(real) < NEAR:
        return min(c.items, <Py_ssize_t> 1)
    return min(c.items, max(<Py_ssize_t> RUNS, 8 * threads))


cdef void lay_turns(
    const Call *calls, int count, const Py_ssize_t *runs, Turn *turns, Py_ssize_t count_of_turns
) noexcept nogil:
    """The runs of all calls, as much of each as of the others: they read the same Y."""
    cdef Py_ssize_t done[PARTS]
    cdef Py_ssize_t turn
    cdef int i, next
    for i in range(count):
        done[i] = 0
    for turn in range(count_of_turns):
        next = -1
        for i in range(count):
            if done[i] < runs[i] and (next < 0 or done[i] * runs[next] < done[next] * runs[i]):
                next = i
        turns[turn].call = next
        turns[turn].first = done[next] * calls[next].items // runs[next]
        done[next] += 1
        turns[turn].last = done[next] * calls[next].items // runs[next]


cdef void take_turn(const Call *calls, const Turn *turn, char *memory) noexcept nogil:
    cdef Py_ssize_t item
    for item in range(turn.first, turn.last):
        calls[turn.call].make(&calls[turn.call], item, memory)


cdef int run(const Call *calls, int count) noexcept nogil:
    """Make all items of a few calls, shared among the threads of the one that has most."""
    cdef Py_ssize_t turn, count_of_turns = 0, bytes = 0, threads = 1
    cdef Py_ssize_t runs[PARTS]
    cdef Turn *turns
    cdef char *memory
    cdef int i
    for i in range(count):
        bytes = max(bytes, calls[i].bytes)
        threads = max(threads, calls[i].p.threads)
    threads = max(min(threads, ROOM // max(bytes, <Py_ssize_t> 1)), <Py_ssize_t> 1)
    for i in range(count):
        runs[i] = runs_of(&calls[i], threads)
        count_of_turns += runs[i]
    memory = <char *> malloc(threads * bytes + 64 + count_of_turns * sizeof(Turn))
    if memory == NULL:
        return -1
    turns = <Turn *> (align(memory) + threads * bytes)
    lay_turns(calls, count, runs, turns, count_of_turns)
    if threads == 1:
        for turn in range(count_of_turns):
            take_turn(calls, &turns[turn], align(memory))
    else:
        for turn in prange(
            count_of_turns, num_threads=<int> threads, schedule="dynamic", chunksize=1
        ):
            take_turn(calls, &turns[turn], align(memory) + threadid() * bytes)
    free(memory)
    return 0


cdef int forward(const Layer *p) noexcept nogil:
    cdef Call c
    cdef int failed = begin_correlation(&c, p, False)
    if not failed:
        failed = run(&c, 1)
        if not failed:
            end_correlation(&c)
        free(c.memory)
    return failed


cdef int backward(const Layer *x, const Layer *w, const Layer *b) noexcept nogil:
    """The gradients of X, of W and of the bias; those that are NULL are not wanted."""
    cdef Call calls[PARTS]
    cdef Call *of_x = NULL
    cdef Call *of_w = NULL
    cdef Call *of_b = NULL
    cdef int count = 0, failed = 0, i
    if x != NULL:
        of_x = &calls[count]
        failed = begin_correlation(of_x, x, True)
        count += not failed
    if w != NULL and not failed:
        of_w = &calls[count]
        failed = begin_weight(of_w, w)
        count += not failed
    if b != NULL and not failed:
        of_b = &calls[count]
        failed = begin_bias(of_b, b)
        count += not failed
    if not failed:
        meet_in_passing(of_x, of_w, of_b)
        failed = run(calls, count)
    if not failed:
        if of_x != NULL:
            end_correlation(of_x)
        if of_w != NULL:
            end_weight(of_w)
        if of_b != NULL:
            bias_of_sums(&of_b.p, <const total *> of_b.sums)
    for i in range(count):
        free(calls[i].memory)
    return failed


cdef void meet_in_passing(Call *of_x, Call *of_w, Call *of_b) noexcept nogil:
    """Let large planes of Y that dW reads one by one be read once, for the others too."""
    if (
        of_w == NULL or of_w.p.lanes_of != COLUMNS
        or of_w.p.rows.outputs * of_w.p.columns.outputs < LARGE
    ):
        return
    if of_x != NULL and of_x.p.lanes_of == COLUMNS and of_x.p.parts == 1:
        of_w.beside = of_x
        of_w.bytes += of_x.bytes
        of_x.items = 0
    if of_b != NULL and images_of_sum(&of_b.p) == 1:
        of_w.summed = of_b
        of_b.items = 0
