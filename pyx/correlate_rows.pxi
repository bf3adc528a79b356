# Rows of tiles of `correlate.pxi`, and who works on them
#
# The columns whose windows leave X are read from padded copies, in pairs of a left and a right
# vector: of a band of rows, long before they are read, so that they have left the store buffer. Of
# a narrow plane, and of one whose type is converted, all columns are read from copies of a band, a
# chunk at a time; a Y of a narrower type is made of a row of tiles at a time. Each thread writes
# rows of its own.

cdef enum:
    WHOLE = 160  # columns of Y of a plane up to which reading all of them from copies is faster
    BYTES_OF_X = 1 << 18  # of such a copy, for it to stay in L2


cdef inline Py_ssize_t last_vectors(Py_ssize_t vectors) noexcept nogil:
    """How many of so many vectors the last tile of a row takes: not one, which wastes loads."""
    cdef Py_ssize_t last = (vectors - 1) % NV + 1
    return 2 if last == 1 and vectors > NV > 2 else last


cdef inline void interior(const Strip *s, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """A row of tiles over columns of X whose windows lie inside X, at least a vector or none."""
    cdef Py_ssize_t vectors = vectors_in(end - begin), last = last_vectors(vectors), j
    if vectors == 0:
        return
    j = make_tiles(s, NV, begin, begin + (vectors - last) * LANES)
    vectors -= last + (j - begin) // LANES
    if vectors > 0:
        j = make_tiles(s, vectors, j, j + vectors * LANES)
    if end - last * LANES < begin:  # no room to overlap what is on the left
        if last > 1:
            j = make_tiles(s, last - 1, j, j + (last - 1) * LANES)
        last = 1
    make_tiles(s, last, end - last * LANES, end)


cdef struct Layout:
    # How one call of `correlate` cuts the columns, and what one thread needs for it.
    Py_ssize_t outside  # columns on either side whose windows leave X, at most
    Py_ssize_t edge  # vectors on either side that are read from a padded copy
    bint whole  # whether all columns are
    Py_ssize_t chunk  # columns of Y that a copy of whole rows serves; whole tiles
    Py_ssize_t half, pitch  # of the copy: columns a side, columns
    Py_ssize_t rows  # of X, in a band
    Py_ssize_t padded  # elements of their copies
    Py_ssize_t made  # columns of a row of tiles, if such are made
    Py_ssize_t bytes


cdef struct Memory:
    # Where one thread keeps what `Layout` counts.
    const real **rows
    const real **copies
    real *padded
    real *bounce  # MR x NV vectors
    real *kept  # of MR rows that go past the caches
    real *made  # a row of tiles, for a Y of a narrower type
    real *w


cdef Layout lay_out(Plane *p) noexcept nogil:
    cdef Layout cut
    cdef Py_ssize_t columns, fitting, tile = NV * LANES
    cut.outside = max(p.left, p.ow - (p.n + p.left - p.b + 1), <Py_ssize_t> 0)
    cut.edge = vectors_in(cut.outside)
    columns = cut.edge * LANES
    cut.whole = (
        p.x_kind != AS_IT_IS or p.y_kind != AS_IT_IS
        or columns > PADDED or columns > 0 and p.ow <= WHOLE or 2 * columns + LANES > p.ow
    )
    # Longer chunks leave less of a band, of at least two rows of tiles; Y likes long rows.
    fitting = BYTES_OF_X // ((2 * MR + p.a - 1) * <Py_ssize_t> sizeof(real))
    cut.chunk = max(fitting // tile, <Py_ssize_t> 1) * tile
    if cut.whole:
        columns = vectors_in(min(p.ow, cut.chunk)) * LANES + p.b - 1 + 2 * LANES
        cut.half = 0
    else:
        cut.half = vectors_in(columns + p.b - 1) * LANES + LANES
        columns = 2 * cut.half
    cut.pitch = pitch_of(columns)
    cut.made = 0
    if p.y_kind != AS_IT_IS:
        cut.made = pitch_of(vectors_in(min(p.ow, cut.chunk)) * LANES)
    fitting = BYTES_OF_X // (cut.pitch * <Py_ssize_t> sizeof(real)) - p.a + 1
    p.band = min(p.band, max(fitting // MR, <Py_ssize_t> 2) * MR)
    cut.rows = (p.band + MR + p.a + 7) // 8 * 8  # keeps what follows the pointers aligned
    cut.padded = (p.band + p.a - 1) * cut.pitch
    cut.bytes = aligned(
        2 * cut.rows * sizeof(void *)
        + sizeof(real) * (
            cut.padded + MR * (NV * LANES + STREAMED + cut.made) + LANES + p.a * p.b * SPREAD
        )
    )
    return cut


cdef Memory memory_at(const Layout *cut, char *scratch) noexcept nogil:
    cdef Memory memory
    memory.rows = <const real **> scratch
    memory.copies = memory.rows + cut.rows
    memory.padded = <real *> (memory.copies + cut.rows)
    memory.bounce = memory.padded + cut.padded + LANES
    memory.kept = memory.bounce + MR * NV * LANES
    memory.made = memory.kept + MR * STREAMED
    memory.w = memory.made + MR * cut.made
    return memory


cdef void copy_edges(
    const Plane *p, const Layout *cut, const Memory *memory, Py_ssize_t met
) noexcept nogil:
    """Padded copies of the columns on both sides, for a band that meets so many rows."""
    cdef Py_ssize_t r, columns = cut.edge * LANES
    cdef const real *end = end_of(p.x, p.m, p.n, p.x_pitch)
    for r in range(met + MR):
        memory.copies[r] = NULL
    copy_padded(
        memory.padded, cut.pitch, memory.copies, memory.rows, met,
        p.n, -p.left, columns + p.b - 1, p.mode, end,
    )
    copy_padded(
        memory.padded + cut.half, cut.pitch, memory.copies, memory.rows, met,
        p.n, p.ow - columns - p.left, columns + p.b - 1, p.mode, end,
    )
    for r in range(met):
        if memory.copies[r] != NULL:
            memory.copies[r] = memory.copies[r] - cut.half


cdef void band_in_place(
    const Plane *p, const Layout *cut, Strip *s, Py_ssize_t rows, const Memory *memory
) noexcept nogil:
    """A band of rows of Y from X where it lies, and the columns on both sides from copies.

    The tiles begin where vectors of the first row of Y are aligned, if these columns are there.
    """
    cdef real *y = s.y
    cdef Py_ssize_t strip, tile, i, begin, end, columns = cut.edge * LANES
    cdef Py_ssize_t width = p.ow if s.streams else p.strip
    cdef Py_ssize_t first = columns - <Py_ssize_t> (<size_t> (y + columns) // sizeof(real) % LANES)
    if first < cut.outside:
        first = columns
    s.x_step = cut.half
    s.y_step = p.ow - columns
    if columns > 0:
        copy_edges(p, cut, memory, rows + p.a - 1)
    for strip in range(max(parts_in(p.ow - columns - first, width), <Py_ssize_t> 1)):
        begin = first - p.left + strip * width
        end = min(begin + width, p.ow - columns - p.left)
        for tile in range(parts_in(rows, MR)):
            i = tile * MR
            s.live = min(rows - i, <Py_ssize_t> MR)
            set_rows(s, memory.rows + i, p.x_pitch)
            s.y = y + i * s.y_pitch + p.left
            if s.streams and s.alike:
                stream_tiles(
                    s, memory.copies + i, cut.pitch, -p.left, p.ow, columns, memory.kept
                )
                continue
            interior(s, begin, end)
            if strip == 0 and columns > 0:
                set_rows(s, memory.copies + i, cut.pitch)
                s.y = y + i * s.y_pitch
                make_tiles(s, 0, 0, columns)


cdef void last_tile(
    const Plane *p, Strip *s, Py_ssize_t j, Py_ssize_t columns, const real *y_end, real *bounce
) noexcept nogil:
    """The tile at the end of a row of tiles, which may store past the end of a row.

    What it spoils is stored later; where nothing may be spoilt, it is stored by way of `bounce`.
    """
    cdef Py_ssize_t vectors = vectors_in(columns), t, k
    cdef real *y = s.y
    cdef real *last = y + (s.live - 1) * s.y_pitch + j
    if columns == vectors * LANES:
        make_tiles(s, vectors, j, j + columns)
        return
    if s.y_pitch == p.ow and last + vectors * LANES <= y_end:
        make_tiles(s, vectors, j, j + vectors * LANES, True)
        return
    s.y = bounce - j
    s.y_pitch = NV * LANES
    make_tiles(s, vectors, j, j + vectors * LANES)
    s.y = y
    s.y_pitch = p.y_pitch
    for t in range(s.live):
        for k in range(columns):
            y[t * p.y_pitch + j + k] = bounce[t * NV * LANES + k]


cdef void band_from_copies(
    const Plane *p, const Layout *cut, Strip *s, Py_ssize_t i, Py_ssize_t rows,
    const Memory *memory, const real *y_end
) noexcept nogil:
    """A band of rows of Y, from i on, from padded copies; from right to left for `last_tile`."""
    cdef real *y = s.y
    cdef bint narrow = p.y_kind != AS_IT_IS
    cdef Py_ssize_t chunk, tile, begin, columns, whole, begin_last, low, j, k, met = rows + p.a - 1
    cdef real *to
    for k in range(met + MR):
        memory.copies[k] = NULL
    for chunk in range(parts_in(p.ow, cut.chunk) - 1, -1, -1):
        begin = chunk * cut.chunk
        columns = min(p.ow - begin, cut.chunk)
        low = max(p.left - begin, <Py_ssize_t> 0)  # in front of X, whose copy is aligned
        to = memory.padded + vectors_in(low) * LANES - low
        k = vectors_in(columns)
        whole = k * LANES if narrow else columns  # what is not Y may be written past the end
        begin_last = (k - last_vectors(k)) * LANES
        copy_or_convert(
            p, to, cut.pitch, memory.copies, memory.rows, met, begin - p.left, columns + p.b - 1
        )
        for tile in range(parts_in(rows, MR)):
            s.live = min(rows - tile * MR, <Py_ssize_t> MR)
            set_rows(s, memory.copies + tile * MR, cut.pitch)
            s.y = memory.made if narrow else y + tile * MR * s.y_pitch + begin
            if s.streams and s.alike and columns > NV * LANES:
                stream_tiles(s, NULL, 0, 0, columns, 0, memory.kept)
                continue
            last_tile(p, s, begin_last, whole - begin_last, y_end, memory.bounce)
            j = make_tiles(s, NV, 0, begin_last)
            if j < begin_last:
                make_tiles(s, (begin_last - j) // LANES, j, begin_last)
            if narrow:
                for k in range(s.live):
                    deliver(p, i + tile * MR + k, begin, s.y + k * s.y_pitch, columns)


cdef void correlate_rows(
    const Plane *p, const Layout *cut, Py_ssize_t first, Py_ssize_t last, char *scratch
) noexcept nogil:
    """Rows first to last of Y, a band at a time."""
    cdef Memory memory = memory_at(cut, scratch)
    cdef Py_ssize_t band, i, k, q, lane, rows, met
    cdef Strip s
    for k in range(p.a):
        for q in range(p.b):
            for lane in range(SPREAD):
                memory.w[(q * p.a + k) * SPREAD + lane] = (
                    (<const real *> p.w)[k * p.w_row + q * p.w_col]
                )
    s.w = memory.w
    s.w_pitch = p.a
    s.a = p.a
    s.b = p.b
    s.joins = False
    s.bias = 0 if p.bias == NULL else (<const real *> p.bias)[0]
    s.y_pitch = p.y_pitch if p.y_kind == AS_IT_IS else cut.made
    # What a group of filter rows joins is read again.
    s.far = is_far(p)
    s.streams = (
        STREAMS and s.far and p.y_kind == AS_IT_IS and p.a <= GROUP
        and <size_t> p.y % sizeof(real) == 0
        and (SLIDES or rows_are_vectors(<const real *> p.y, p.y_pitch))
    )
    s.slide = NULL
    for band in range(parts_in(last - first, p.band)):
        i = first + band * p.band
        rows = min(p.band, last - i)
        met = rows + p.a - 1
        point_at_rows(p, memory.rows, i - p.top, met)
        for k in range(met, met + MR):  # met by the rows of the last tile that are not there
            memory.rows[k] = NULL
        s.y = <real *> p.y + i * p.y_pitch
        if cut.whole:
            band_from_copies(
                p, cut, &s, i, rows, &memory, <const real *> p.y + (last - 1) * p.y_pitch + p.ow
            )
        else:
            band_in_place(p, cut, &s, rows, &memory)
    if s.streams:
        end_streams()


cdef void correlate_rows_exactly(const Plane *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The same with what lies in padding left out of the sums, for filters that are not finite."""
    cdef Py_ssize_t i, j, k, q, t, part, begin, end, count
    cdef const real *x
    cdef real tap
    cdef real sums[FEW]
    cdef real room[FEW]
    for i in range(first, last):
        for part in range(parts_in(p.ow, FEW)):
            j = part * FEW
            count = min(p.ow - j, <Py_ssize_t> FEW)
            for t in range(count):
                sums[t] = 0 if p.bias == NULL else (<const real *> p.bias)[0]
            for k in range(max(p.top - i, 0), min(p.m + p.top - i, p.a)):
                for q in range(p.b):
                    tap = (<const real *> p.w)[k * p.w_row + q * p.w_col]
                    begin = max(p.left - q, j)
                    end = min(p.n + p.left - q, j + count)
                    if begin < end:
                        x = piece_of(p, room, i - p.top + k, q - p.left + begin, end - begin)
                        for t in range(begin, end):
                            sums[t - j] += tap * x[t - begin]
            deliver(p, i, j, sums, count)


cdef void correlate_share(
    const Plane *p, const Layout *cut, Py_ssize_t thread, char *scratch, bint exactly
) noexcept nogil:
    """The rows of Y that one thread writes: whole tiles."""
    cdef Py_ssize_t count = parts_in(p.oh, MR)
    cdef Py_ssize_t first = thread * count // p.threads * MR
    cdef Py_ssize_t last = min((thread + 1) * count // p.threads * MR, p.oh)
    if exactly:
        correlate_rows_exactly(p, first, last)
    else:
        correlate_rows(p, cut, first, last, scratch + thread * cut.bytes)


cdef int correlate(const Plane *plane) noexcept nogil:
    cdef Plane p = plane[0]
    cdef Layout cut
    cdef Py_ssize_t thread, k, q
    cdef char *memory
    cdef char *scratch
    cdef real *taps
    cdef bint exactly
    p.band = parts_in(min(p.band, p.oh), MR) * MR
    p.strip = vectors_in(p.strip) * LANES
    cut = lay_out(&p)
    memory = <char *> malloc(p.threads * cut.bytes + p.a * p.b * sizeof(real) + 64)
    if memory == NULL:
        return -1
    scratch = align(memory)
    if p.w_kind != AS_IT_IS:
        taps = <real *> (scratch + p.threads * cut.bytes)
        for k in range(p.a):
            for q in range(p.b):
                convert_row(taps + k * p.b + q, p.w, k * p.w_row + q * p.w_col, 1, p.w_kind)
        p.w = taps
        p.w_row = p.b
        p.w_col = 1
    exactly = p.mode == ZEROS and not is_finite(
        <const real *> p.w, p.a, p.b, p.w_row, p.w_col
    )
    if p.threads == 1:
        correlate_share(&p, &cut, 0, scratch, exactly)
    else:
        for thread in prange(p.threads, num_threads=<int> p.threads, schedule="static"):
            correlate_share(&p, &cut, thread, scratch, exactly)
    free(memory)
    return 0
