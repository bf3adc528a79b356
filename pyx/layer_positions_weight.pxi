# Few channels: the gradient of W with positions in the lanes
#
# dW[m, c, tap] = sum over n, u, v of Y[n, m, u, v] * X[n, c, u + row(tap), v + column(tap)]
#
# A block of positions of Y is read as it lies, a row for each filter. What it sees through each
# column of taps is packed as if it were Y, padding included, so that it lies in one run as well: a
# pair (c, tap) is then where it begins. A tile is up to MR filters x NV pairs of sums of vectors,
# a step is a vector of each, and nothing is transposed. The sums of a block join those of the
# blocks before, lane by lane, and the lanes are added up in the end.
#
# An item of work is a block of m of one group, and one band of all the blocks of all images.

cdef enum:
    PAIRS = 128  # of a channel and a tap, at most


cdef struct Positions:
    int once  # see Tile
    const real *y[MR]
    const real *x[NV]
    Py_ssize_t vectors
    int left  # elements behind the last vector
    bint first  # nothing is in the sums yet
    real *sums  # [filter][pair][lane]
    Py_ssize_t next  # from filter to filter


cdef inline void meet_positions(
    vec *acc, const real *const *y, const real *const *x, Py_ssize_t at, int count, int mr, int nv
) noexcept nogil:
    """A vector of each filter and pair; `count` elements of it, unless that is 0."""
    cdef vec seen[NV]
    cdef vec met
    cdef int i, v
    for v in range(nv):
        seen[v] = load_some(x[v] + at, count) if count > 0 else load(x[v] + at)
    for i in range(mr):
        met = load_some(y[i] + at, count) if count > 0 else load(y[i] + at)
        for v in range(nv):
            acc[i * nv + v] = acc[i * nv + v] + met * seen[v]


cdef inline void positions(const Positions *t, int mr, int nv) noexcept nogil:
    """Add to the sums of mr filters and nv pairs."""
    cdef vec acc[MR * NV]
    cdef const real *y[MR]
    cdef const real *x[NV]
    cdef real *sums
    cdef Py_ssize_t k, next = t.next
    cdef int i, v, _once
    if not FLOATS:  # a constant: integers take the other roads
        return
    for _once in range(t.once):
        for i in range(mr):
            y[i] = t.y[i]
            for v in range(nv):
                acc[i * nv + v] = splat(0)
        for v in range(nv):
            x[v] = t.x[v]
        for k in range(t.vectors):
            meet_positions(acc, y, x, k * LANES, 0, mr, nv)
        if t.left > 0:
            meet_positions(acc, y, x, t.vectors * LANES, t.left, mr, nv)
        sums = t.sums
        if not t.first:
            for i in range(mr):
                for v in range(nv):
                    acc[i * nv + v] += peek(sums + i * next + v * LANES)
        for i in range(mr):
            for v in range(nv):
                store(sums + i * next + v * LANES, acc[i * nv + v])


ctypedef void (*PositionsOf)(const Positions *) noexcept nogil

cdef void positions_2x3(const Positions *t) noexcept nogil:
    positions(t, 2, min(3, NV))

cdef void positions_6x3(const Positions *t) noexcept nogil:
    positions(t, MR, min(3, NV))

cdef void positions_2x4(const Positions *t) noexcept nogil:
    positions(t, 2, min(4, NV))

cdef void positions_6x4(const Positions *t) noexcept nogil:
    positions(t, MR, min(4, NV))


# By whether there are NV pairs, or one less, and whether there are MR filters, or two.
cdef PositionsOf POSITIONS_OF[2][2]
POSITIONS_OF[0][:] = [positions_2x3, positions_6x3]
POSITIONS_OF[1][:] = [positions_2x4, positions_6x4]


cdef inline Py_ssize_t packed_rows(const Layer *p, Py_ssize_t rows) noexcept nogil:
    """Of a plane of the panel: what all rows of taps see, or each by itself if that is less."""
    return rows + (p.rows.taps - 1) * min(p.rows.dilation, rows)


cdef inline Py_ssize_t pairs_of(const Layer *p) noexcept nogil:
    return p.c * p.rows.taps * p.columns.taps


cdef inline Py_ssize_t filters_of_part(const Layer *p) noexcept nogil:
    return parts_in(p.k, p.parts)


cdef size_t positions_bytes(const Layer *p) noexcept nogil:
    """Memory of one thread."""
    return aligned(sizeof(real) * (
        (filters_of_part(p) + 1) * (pairs_of(p) + NV) * LANES + MR * p.band * p.strip
        + p.c * p.columns.taps * packed_rows(p, p.band) * p.strip + PAIRS + 3 * LANES
    ))


cdef void pack_seen_rows(
    const Layer *p, const real *x, Py_ssize_t first, Py_ssize_t rows, const Run *run, real *to
) noexcept nogil:
    """Rows of X, or the padding that stands for them: a run of each."""
    cdef Py_ssize_t i, whole = 0, end = 0
    if run.count == run.n == p.x_row and p.x_col == 1 and -run.n < run.first < run.n:
        # Between the first and the last row they are one run, but for the padding.
        whole = min(max(1 - first, <Py_ssize_t> 0), rows)
        end = max(min(p.rows.size - 1 - first, rows), whole)
        memcpy(
            to + whole * run.n, x + (first + whole) * run.n + run.first,
            (end - whole) * run.n * sizeof(real),
        )
        for i in range(whole, end):
            pad(to + i * run.n, run, 0, run.low, x + (first + i) * run.n, 1)
            pad(to + i * run.n, run, run.high, run.n, x + (first + i) * run.n, 1)
    for i in range(whole):
        pack_seen_row(p, x, first + i, run, to + i * run.count)
    for i in range(end, rows):
        pack_seen_row(p, x, first + i, run, to + i * run.count)


cdef void pack_seen(
    const Layer *p, const real *x, Py_ssize_t u, Py_ssize_t rows, Py_ssize_t v, Py_ssize_t columns,
    real *to
) noexcept nogil:
    """What rows and columns of Y see of one image and group: [c][column of taps][row][column]."""
    cdef Py_ssize_t c, q, k, first = u - p.rows.before, down = p.rows.dilation
    cdef Run run
    for c in range(p.c):
        for q in range(p.columns.taps):
            lay_run(
                &run, v - p.columns.before + q * p.columns.dilation, 1, columns, p.columns.size,
                p.mode,
            )
            if down <= rows:
                pack_seen_rows(p, x, first, packed_rows(p, rows), &run, to)
            else:
                for k in range(p.rows.taps):
                    pack_seen_rows(p, x, first + k * down, rows, &run, to + k * rows * columns)
            to += packed_rows(p, rows) * columns
        x += p.x_c


cdef void add_positions(
    const Layer *p, const real *y, Py_ssize_t filters, Py_ssize_t rows, Py_ssize_t columns,
    bint first, const real *panel, real *copies, real *sums
) noexcept nogil:
    """All tiles of a block of positions."""
    cdef Positions t
    cdef Py_ssize_t pairs = pairs_of(p), m, pair, c, k, q
    cdef Py_ssize_t at[PAIRS + NV]
    cdef Py_ssize_t count = rows * columns, plane = packed_rows(p, rows) * columns
    cdef Py_ssize_t down = min(p.rows.dilation, rows) * columns
    cdef int mr, nv = NV, i
    if NV > 3 and 30 * parts_in(pairs, 3) < 9 * NV * parts_in(pairs, NV):
        nv = 3  # leaves less of the last tile empty
    pair = 0
    for c in range(p.c):
        for k in range(p.rows.taps):
            for q in range(p.columns.taps):
                at[pair] = (c * p.columns.taps + q) * plane + k * down
                pair += 1
    for i in range(NV):  # what there is not is the last one once more
        at[pairs + i] = at[pairs - 1]
    t.once = 1
    t.first = first
    t.vectors = count // LANES
    t.left = <int> (count % LANES)
    t.next = (pairs + NV) * LANES
    m = 0
    while m < filters:
        mr = MR if filters - m > 4 else 2
        for i in range(mr):  # what there is not is the last one once more, here too
            t.y[i] = run_of(
                y + min(m + i, filters - 1) * p.y_k, p.y_row, columns, p.y_col, 0, count,
                copies + i * p.band * p.strip,
            )
        pair = 0
        while pair < pairs:
            t.sums = sums + m * t.next + pair * LANES
            for i in range(nv):
                t.x[i] = panel + at[pair + i]
            POSITIONS_OF[nv == NV][mr == MR](&t)
            pair += nv
        m += mr


cdef void deliver_positions(
    const Layer *p, Py_ssize_t filters, const real *sums, real *row, real *w
) noexcept nogil:
    """The sums of all lanes into W, by way of a row of all pairs."""
    cdef Py_ssize_t m, c, k, q, pair, pairs = pairs_of(p)
    cdef vec a[LANES]
    for m in range(filters):
        pair = 0
        while pair < pairs:
            for k in range(LANES):
                a[k] = load(sums + min(pair + k, pairs - 1) * LANES)
            add_in_pairs(a, LANES)
            store(row + pair, a[0])
            pair += LANES
        pair = 0
        for c in range(p.c):
            for k in range(p.rows.taps):
                for q in range(p.columns.taps):
                    w[c * p.w_c + k * p.w_row + q * p.w_col] = row[pair]
                    if not finite(row[pair]):
                        p.not_finite[0] = True
                    pair += 1
        sums += (pairs + NV) * LANES
        w += p.w_k


cdef void positions_item(const Layer *p, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: filters, group, band."""
    cdef Py_ssize_t filters = filters_of_part(p), m = item % p.parts * filters, group, block, n, u
    cdef Py_ssize_t bands = parts_in(p.rows.outputs, p.band), v, rows, columns, first, last
    cdef Py_ssize_t strips = parts_in(p.columns.outputs, p.strip)
    cdef real *sums = <real *> memory
    cdef real *panel = sums + (filters + 1) * (pairs_of(p) + NV) * LANES
    cdef real *copies = panel + (
        p.c * p.columns.taps * packed_rows(p, p.band) * p.strip + 2 * LANES
    )
    cdef WeightBlock b
    if not FLOATS:
        return
    filters = min(filters, p.k - m)
    item //= p.parts
    group = item % p.groups
    item //= p.groups
    if filters <= 0:
        return
    first = item * p.n * bands // p.bands * strips
    last = (item + 1) * p.n * bands // p.bands * strips
    for block in range(first, last):
        n = block // strips // bands
        u = block // strips % bands * p.band
        v = block % strips * p.strip
        rows = min(p.band, p.rows.outputs - u)
        columns = min(p.strip, p.columns.outputs - v)
        pack_seen(
            p, <const real *> p.x + n * p.x_n + group * p.c * p.x_c, u, rows, v, columns, panel
        )
        add_positions(
            p, <const real *> p.y + n * p.y_n + (group * p.k + m) * p.y_k + u * p.y_row
            + v * p.y_col, filters, rows, columns, block == first, panel, copies, sums,
        )
    b.p = p
    b.group = group
    b.m = m
    b.c = b.k = b.q = 0
    deliver_positions(p, filters, sums, copies, target(&b, item))
