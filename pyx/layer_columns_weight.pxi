# Filters of 3 x 3 that see few channels, strides 1 and 2: the gradient of W
#
# The planes are read as in layer_columns.pxi. On the way down a strip of one vector of Y the nine
# sums of a filter and a channel are in registers, and the last three rows of Y; each vector of X is
# loaded once for each filter column and meets all three. Where planes are at most half a vector
# wide, two filters lie side by side; else two that see the same channel share what is loaded of it.
# Sums of up to TERMS products in a lane, of several images where planes are small, are added up in
# `total`, in an order that the sizes say.

cdef enum:
    TERMS = 256
    AHEAD = 4  # vectors further on, what is fetched of planes that lie near


cdef struct WeightStrip:
    int once  # see Tile
    const real **x  # rows; NULL in padding
    const real **y
    Py_ssize_t x_at, y_at  # of the plane from the one that rows are of
    Py_ssize_t x_apart, y_apart  # of a pair of planes
    Py_ssize_t x_ahead, y_ahead  # from what is met to what is fetched
    Py_ssize_t column, vectors  # of Y
    Py_ssize_t count  # rows of Y
    const real *masks  # of the x that each column of taps sees, and of y
    real *sums  # [tap][lane]
    bint begins  # with these sums; else they are added to


cdef inline void products_down(
    const WeightStrip *t, vec *acc, Py_ssize_t i, Py_ssize_t seen, Py_ssize_t ahead,
    const vec *mask, int stride, bint pair, bint two, const vec *y, int at_0, int at_1, int at_2
) noexcept nogil:
    """A row of X with the y that see it through the tap rows 0, 1 and 2; where negative, none."""
    cdef vec x[SIDE]
    cdef vec met
    cdef int q, f, tap
    cdef const real *row = t.x[i]
    if row == NULL:
        return
    row += seen
    fetch(row + ahead)
    if stride == 2:
        fetch(row + ahead + LANES)
        see_every_second(x, row, t.x_apart, pair)
    else:
        x[0] = look(row, t.x_apart, pair)
        x[2] = look(row + 2, t.x_apart, pair)
        if FAST_PRODUCTS and not pair:
            x[1] = between(x[0], x[2])
        else:
            x[1] = look(row + 1, t.x_apart, pair)
    for q in range(SIDE):
        met = only(x[q], mask[q])
        for f in range(2 if two else 1):
            tap = f * SIDE * SIDE + q
            if at_0 >= 0:
                acc[tap] = acc[tap] + y[f * SIDE + at_0] * met
            if at_1 >= 0:
                acc[tap + SIDE] = acc[tap + SIDE] + y[f * SIDE + at_1] * met
            if at_2 >= 0:
                acc[tap + 2 * SIDE] = acc[tap + 2 * SIDE] + y[f * SIDE + at_2] * met


cdef inline void weight_down(
    const WeightStrip *t, int stride, bint pair, bint two
) noexcept nogil:
    """The nine sums of a few strips of one vector of Y, or of `two` filters."""
    cdef vec acc[2 * SIDE * SIDE]
    cdef vec mask[SIDE + 1]
    cdef vec y[2 * SIDE]  # of each filter: this row, the one before, and the one before that
    cdef Py_ssize_t i, v, column, at, seen, ahead = t.x_ahead, y_ahead = t.y_ahead
    cdef int k, f, _once
    for _once in range(t.once):
        for k in range(2 * SIDE * SIDE if two else SIDE * SIDE):
            acc[k] = splat(0) if t.begins else load(t.sums + k * LANES)
        for v in range(t.vectors):
            column = t.column + v * LANES
            at = t.y_at + column
            seen = t.x_at + column * stride
            for k in range(SIDE + 1):
                mask[k] = load(t.masks + (v * (SIDE + 1) + k) * LANES)
            for k in range(2 * SIDE):
                y[k] = splat(0)
            for i in range(t.count):
                for f in range(2 if two else 1):
                    y[f * SIDE + 2] = y[f * SIDE + 1]
                    y[f * SIDE + 1] = y[f * SIDE]
                    y[f * SIDE] = only(
                        look(t.y[i] + at + f * t.y_apart, t.y_apart, pair), mask[SIDE],
                    )
                    fetch(t.y[i] + at + f * t.y_apart + y_ahead)
                if stride == 1:
                    products_down(t, acc, i, seen, ahead, mask, 1, pair, two, y, 0, 1, 2)
                else:
                    products_down(t, acc, 2 * i, seen, ahead, mask, 2, pair, two, y, 0, -1, 1)
                    products_down(t, acc, 2 * i + 1, seen, ahead, mask, 2, pair, two, y, -1, 0, -1)
            i = t.count
            if stride == 1:
                products_down(t, acc, i, seen, ahead, mask, 1, pair, two, y, -1, 0, 1)
                products_down(t, acc, i + 1, seen, ahead, mask, 1, pair, two, y, -1, -1, 0)
            else:
                products_down(t, acc, 2 * i, seen, ahead, mask, 2, pair, two, y, -1, -1, 0)
        for k in range(2 * SIDE * SIDE if two else SIDE * SIDE):
            store(t.sums + k * LANES, acc[k])


ctypedef void (*WeightStripOf)(const WeightStrip *) noexcept nogil

cdef void weight_down_1(const WeightStrip *t) noexcept nogil:
    weight_down(t, 1, False, False)

cdef void weight_down_2(const WeightStrip *t) noexcept nogil:
    weight_down(t, 2, False, False)

cdef void weight_down_pair_1(const WeightStrip *t) noexcept nogil:
    weight_down(t, 1, True, False)

cdef void weight_down_pair_2(const WeightStrip *t) noexcept nogil:
    weight_down(t, 2, True, False)

cdef void weight_down_two_1(const WeightStrip *t) noexcept nogil:
    weight_down(t, 1, False, True)

cdef void weight_down_two_2(const WeightStrip *t) noexcept nogil:
    weight_down(t, 2, False, True)


cdef enum:
    ALONE, SIDE_BY_SIDE, TWO_FILTERS

# By what is made at once, one filter, two of narrow planes in the halves of vectors, or two that
# see the same X, and by stride.
cdef WeightStripOf WEIGHT_STRIP_OF[3][2]
WEIGHT_STRIP_OF[ALONE][:] = [weight_down_1, weight_down_2]
WEIGHT_STRIP_OF[SIDE_BY_SIDE][:] = [weight_down_pair_1, weight_down_pair_2]
WEIGHT_STRIP_OF[TWO_FILTERS][:] = [weight_down_two_1, weight_down_two_2]


cdef inline vec sums_of(const real *sums, int tap) noexcept nogil:
    return load(sums + tap * LANES) if tap < SIDE * SIDE else splat(0)


cdef inline void add_halves(vec *a, int half) noexcept nogil:
    cdef int i
    for i in range(half):
        a[i] = zip_low(a[i], a[i + half]) + zip_high(a[i], a[i + half])


cdef inline void add_in_pairs(vec *a, int count) noexcept nogil:
    """a[0] = sums of the lanes of so many vectors; written out, for gcc 12 to unroll."""
    if count >= 16:
        add_halves(a, 8)
    if count >= 8:
        add_halves(a, 4)
    if count >= 4:
        add_halves(a, 2)
    if count >= 2:
        add_halves(a, 1)


cdef inline void join_taps(total *to, vec sums, int begin) noexcept nogil:
    cdef real flat[LANES]
    cdef int i
    store(flat, sums)
    for i in range(min(LANES, SIDE * SIDE - begin)):
        to[begin + i] += flat[i]


cdef void add_strip_sums(const real *sums, total *to) noexcept nogil:
    """to[tap] += the sum of sums[tap][lane]."""
    cdef vec a[LANES]
    cdef int part, begin, i
    for part in range((SIDE * SIDE + LANES - 1) // LANES):
        begin = part * LANES
        for i in range(LANES):
            a[i] = sums_of(sums, begin + i)
        add_in_pairs(a, LANES)
        join_taps(to, a[0], begin)


cdef void add_pair_sums(const real *sums, total *to, total *second) noexcept nogil:
    """The same of the lower halves of vectors, and of the upper ones unless `second` is NULL."""
    cdef vec low[LANES]
    cdef vec high[LANES]
    cdef vec one, other
    cdef int part, begin, i, half = LANES // 2
    for part in range((SIDE * SIDE + LANES - 1) // LANES):
        begin = part * LANES
        for i in range(half):
            one = sums_of(sums, begin + i)
            other = sums_of(sums, begin + half + i)
            low[i] = zip_low(one, other)
            high[i] = zip_high(one, other)
        add_in_pairs(low, half)
        join_taps(to, low[0], begin)
        if second != NULL:
            add_in_pairs(high, half)
            join_taps(second, high[0], begin)


cdef struct WeightColumns:
    Py_ssize_t vectors, blocks
    Py_ssize_t together  # vectors that are summed up in one type before they join in `total`
    bint pair
    bint far  # the next block of rows comes from another plane, or from beyond the caches
    Py_ssize_t x_reach, y_reach, x_met, x_spare, y_spare
    const real *x_low
    const real *x_high
    const real *y_low
    const real *y_high
    real *masks  # [vector][of each column of taps, of y][lane]
    size_t bytes  # of one thread


cdef void lay_weight_columns(WeightColumns *c, const Layer *p) noexcept nogil:
    cdef Py_ssize_t stride = p.rows.stride
    c.vectors = parts_in(p.columns.outputs, LANES)
    c.blocks = parts_in(p.rows.outputs, p.band)
    c.together = max(TERMS // p.band, <Py_ssize_t> 1)
    c.pair = LANES > 1 and 2 * p.columns.outputs <= LANES
    c.far = c.blocks == 1 or <Py_ssize_t> sizeof(real) * p.n * p.groups * (
        p.c * p.rows.size * p.columns.size + p.k * p.rows.outputs * p.columns.outputs
    ) >= FAR
    c.y_reach = c.vectors * LANES
    c.x_reach = c.vectors * LANES * stride + 2
    c.x_met = (p.band - 1) * stride + SIDE
    memory_of(
        <const real *> p.x, p.n, p.x_n, p.groups * p.c, p.x_c, p.rows.size, p.x_row,
        p.columns.size, &c.x_low, &c.x_high,
    )
    memory_of(
        <const real *> p.y, p.n, p.y_n, p.groups * p.k, p.y_k, p.rows.outputs, p.y_row,
        p.columns.outputs, &c.y_low, &c.y_high,
    )
    c.x_spare = c.x_met
    if not scattered(p.x_row, p.x_col, p.columns.size):
        c.x_spare = min(c.x_reach // max(p.columns.size, <Py_ssize_t> 1) + 3, c.x_met)
    c.y_spare = p.band
    if not scattered(p.y_row, p.y_col, p.columns.outputs):
        c.y_spare = min(c.y_reach // max(p.columns.outputs, <Py_ssize_t> 1) + 3, p.band)
    c.bytes = aligned(
        aligned((c.x_met + p.band) * sizeof(void *)) + sizeof(real) * (
            2 * SIDE * SIDE * LANES + c.x_spare * c.x_reach + c.y_spare * c.y_reach
        )
    )


cdef void lay_weight_masks(const WeightColumns *c, const Layer *p) noexcept nogil:
    cdef Py_ssize_t k, q, first, size, stride = p.columns.stride
    cdef Py_ssize_t period = LANES // 2 if c.pair else LANES
    for k in range(c.vectors):
        for q in range(SIDE):
            first = k * LANES * stride - p.columns.before + q
            size = (p.columns.outputs - 1) * stride - p.columns.before + q + 1
            set_mask(
                c.masks + (k * (SIDE + 1) + q) * LANES, first, stride,
                min(size, p.columns.size), period,
            )
        set_mask(
            c.masks + (k * (SIDE + 1) + SIDE) * LANES, k * LANES, 1, p.columns.outputs, period
        )


cdef struct Pending:
    # What the items of one thread keep from plane to plane.
    real *sums  # of strips, [filter][tap][lane]
    Py_ssize_t terms[2]  # products in each of their lanes
    int how
    total *to  # where they will join others
    Py_ssize_t next  # from there to the second filter's
    # The planes that rows are pointed at, from item to item, where they are planes like all others:
    const real *x
    const real *y
    Pointed walked  # by dX
    Py_ssize_t x_ahead, y_ahead  # from a block of rows to what is fetched beside it


cdef void join_others(const WeightColumns *c, Pending *pending, int f) noexcept nogil:
    """Add up the sums of strips of filter f, or of two where these are made at once."""
    cdef real *sums = pending.sums + f * SIDE * SIDE * LANES
    cdef total *to = pending.to + f * pending.next
    if pending.terms[f] == 0:
        return
    pending.terms[f] = 0
    if c.pair:
        add_pair_sums(sums, to, to + pending.next if pending.how == SIDE_BY_SIDE else NULL)
        return
    add_strip_sums(sums, to)
    if pending.how == TWO_FILTERS:
        add_strip_sums(sums + SIDE * SIDE * LANES, to + pending.next)


cdef void take_sums_as(Pending *pending, int how) noexcept nogil:
    """Go on with two filters at once or with each alone: where planes lie must not change sums."""
    cdef real *sums = pending.sums
    cdef real *second = sums + SIDE * SIDE * LANES
    cdef Py_ssize_t k, half = LANES // 2
    for k in range(SIDE * SIDE if pending.terms[0] > 0 else 0):
        if how == SIDE_BY_SIDE:
            memcpy(sums + k * LANES + half, second + k * LANES, half * sizeof(real))
        elif pending.how == SIDE_BY_SIDE:
            memcpy(second + k * LANES, sums + k * LANES + half, half * sizeof(real))
    pending.terms[1] = pending.terms[0] if how == ALONE else 0
    pending.how = how


cdef void add_unit(
    const WeightColumns *c, const Layer *p, const real *x, const real *y, int f,
    Py_ssize_t x_apart, Py_ssize_t y_apart, Py_ssize_t u, Pending *pending, char *memory
) noexcept nogil:
    """Add what a block of rows of one plane of Y, that of filter f, or of two, gives."""
    cdef WeightStrip t
    cdef Py_ssize_t k, terms, stride = p.rows.stride
    cdef real *spare = pending.sums + 2 * SIDE * SIDE * LANES
    cdef bint alike = c.blocks == 1 and within_memory(c, p, x, x_apart, y, y_apart)
    cdef bint known = alike and pending.x != NULL
    # A plane alone fills both halves of vectors, the first of which counts.
    cdef int how = SIDE_BY_SIDE if c.pair else pending.how
    t.once = 1
    t.x = <const real **> memory
    t.y = t.x + c.x_met
    t.x_apart = x_apart
    t.y_apart = y_apart
    t.x_ahead = pending.x_ahead
    t.y_ahead = pending.y_ahead
    t.sums = pending.sums + f * SIDE * SIDE * LANES
    t.count = min(p.band, p.rows.outputs - u)
    if not known:
        pending.x = x if alike else NULL
        pending.y = y
        point_down(
            t.x, u * stride - p.rows.before, (t.count - 1) * stride + SIDE, x, p.rows.size,
            p.x_row, p.x_col, p.columns.size, p.columns.before, c.x_reach, c.x_low, c.x_high, spare,
        )
        point_down(
            t.y, u, t.count, y, p.rows.outputs, p.y_row, p.y_col, p.columns.outputs, 0, c.y_reach,
            c.y_low, c.y_high, spare + c.x_spare * c.x_reach,
        )
    t.x_at = x - pending.x if alike else 0
    t.y_at = y - pending.y if alike else 0
    k = 0
    while k < c.vectors:
        t.column = k * LANES
        t.vectors = min(c.together, c.vectors - k)
        t.masks = c.masks + k * (SIDE + 1) * LANES
        terms = t.count * t.vectors
        if pending.terms[f] + terms > TERMS:
            join_others(c, pending, f)
        t.begins = pending.terms[f] == 0
        pending.terms[f] += terms
        WEIGHT_STRIP_OF[how][stride - 1](&t)
        k += t.vectors


cdef inline bint within_memory(
    const WeightColumns *c, const Layer *p, const real *x, Py_ssize_t x_apart, const real *y,
    Py_ssize_t y_apart
) noexcept nogil:
    """Whether all that is read of planes of X and of Y lies in their memory, where it is read."""
    return both_within(
        x, x_apart, p.rows.size, p.x_row, p.x_col, p.columns.size, p.columns.before,
        c.x_reach, c.x_low, c.x_high,
    ) and both_within(
        y, y_apart, p.rows.outputs, p.y_row, p.y_col, p.columns.outputs, 0, c.y_reach, c.y_low,
        c.y_high,
    )


cdef inline Py_ssize_t weight_units(const Layer *p) noexcept nogil:
    return p.bands * parts_in(p.groups * p.k, 2) * p.c


cdef struct Call


cdef void weight_columns_item(
    const Call *call, Py_ssize_t item, Pending *pending, char *memory
) noexcept nogil:
    """Item: channel of X in its group, two filters, band of all blocks of rows of all images."""
    cdef const WeightColumns *c = &call.weight_columns
    cdef const Layer *p = &call.p
    cdef total *sums = <total *> call.sums
    cdef Py_ssize_t filters = p.groups * p.k, r = item % p.c, m, n, u, i, k, band, first, last
    cdef Py_ssize_t x_apart, size = SIDE * SIDE, n_next, u_next
    cdef const real *x
    cdef const real *y
    cdef bint two, within
    cdef int together = SIDE_BY_SIDE if c.pair else ALONE, how
    item //= p.c
    m = item % parts_in(filters, 2) * 2
    band = item // parts_in(filters, 2)
    two = m + 1 < filters
    sums += ((band * filters + m) * p.c + r) * size
    for k in range(size):
        sums[k] = 0
        if two:
            sums[p.c * size + k] = 0
    x_apart = ((m + 1) // p.k - m // p.k) * p.c * p.x_c
    if not c.pair and x_apart == 0:
        together = TWO_FILTERS
    pending.sums = <real *> (memory + aligned((c.x_met + p.band) * sizeof(void *)))
    pending.terms[0] = pending.terms[1] = 0
    pending.to = sums
    pending.next = p.c * size
    pending.how = ALONE
    first = band * p.n * c.blocks // p.bands
    last = (band + 1) * p.n * c.blocks // p.bands
    for i in range(first, last):
        n = i // c.blocks
        u = i % c.blocks * p.band
        pending.x_ahead = AHEAD * p.rows.stride * LANES
        pending.y_ahead = AHEAD * LANES
        if c.far and i + 1 < last:  # the next block
            n_next = (i + 1) // c.blocks
            u_next = (i + 1) % c.blocks * p.band
            pending.x_ahead = (n_next - n) * p.x_n + (u_next - u) * p.rows.stride * p.x_row
            pending.y_ahead = (n_next - n) * p.y_n + (u_next - u) * p.y_row
            if call.beside != NULL:  # which is first to read the next plane
                pending.y_ahead = p.y_n if i + c.blocks < last else AHEAD * LANES
        x = <const real *> p.x + n * p.x_n + (m // p.k * p.c + r) * p.x_c
        y = <const real *> p.y + n * p.y_n + m * p.y_k
        if u == 0 and r == 0:
            k = n * filters + m
            make_beside(call, k, k + (2 if two else 1), pending, memory)
        within = two and together != ALONE and p.y_k != 0 and within_memory(
            c, p, x, x_apart, y, p.y_k
        )
        how = together if within else ALONE
        if how != pending.how:
            take_sums_as(pending, how)
        if within:
            add_unit(c, p, x, y, 0, x_apart, p.y_k, u, pending, memory)
            continue
        add_unit(c, p, x, y, 0, 0, 0, u, pending, memory)
        if two:
            add_unit(c, p, x + x_apart, y + p.y_k, 1, 0, 0, u, pending, memory)
    join_others(c, pending, 0)
    join_others(c, pending, 1)


cdef void weight_of_columns(
    const Layer *p, Py_ssize_t m, const total *sums
) noexcept nogil:
    """One filter from the sums of all bands."""
    cdef Py_ssize_t r, i, j, band, next = p.c * p.groups * p.k * SIDE * SIDE  # from band to band
    cdef real *w
    cdef total s
    sums += m * p.c * SIDE * SIDE
    for r in range(p.c):
        for i in range(SIDE):
            w = <real *> p.w + m * p.w_k + r * p.w_c + i * p.w_row
            for j in range(SIDE):
                s = sums[0]
                for band in range(1, p.bands):
                    s += sums[band * next]
                w[j * p.w_col] = <real> s
                if not finite(w[j * p.w_col]):
                    exact_weight(p, m, r, i, j)
                sums += 1
