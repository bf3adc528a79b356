# Filters of 3 x 3 that see one channel each, strides 1 and 2: vectors of columns, walked downwards
#
# Where few products share what is loaded, loads are what costs. So planes are read where they lie,
# without a padded copy: what a vector sees beyond the ends of a row is masked. On its way down a
# strip of columns each vector of a source row is loaded once for each filter column and meets all
# results that it is part of: three rows of sums, or the nine sums of dW, are in registers, and for
# Y and dX the nine taps. Strips go from the right to the left, as what the last vector of a row
# spoils behind it is stored later; in the last rows of a plane, and where rows of the result do not
# follow one another, it is stored by way of `bounce`.

cdef enum:
    SIDE = 3
    WIDE = 4  # vectors of a strip of Y, at most
    AHEAD = 4
    TERMS = 256  # products of dW that are summed up in one lane


cdef struct Strip:
    int once  # see Tile
    const real **rows  # the source from the first row that is seen on; NULL in padding
    Py_ssize_t column  # of the source rows
    Py_ssize_t first, count  # rows of the result
    const real *w  # vectors: the taps, the bias
    Py_ssize_t apart, out_apart  # of a pair of planes
    real *out  # in row 0 of the block
    Py_ssize_t pitch
    Py_ssize_t whole  # rows of which whole vectors may be stored
    real *bounce  # the others, [row][WIDE * LANES]
    const real *left  # masks
    const real *right
    const real *inside


ctypedef void (*StripOf)(const Strip *) noexcept nogil


cdef struct Columns:
    # What the items of one call share.
    const Layer *p
    const real *source
    Py_ssize_t s_n, s_c, s_row, s_column, height, width
    real *out
    Py_ssize_t o_n, o_c, o_row, o_column, rows, columns  # of the result
    Py_ssize_t top, left, stride
    const real *w  # from the first tap on that is met
    Py_ssize_t w_row, w_column
    bint spread  # the gradient of X at stride 2
    bint pair  # so narrow that two planes lie side by side in a vector
    Py_ssize_t lead, reach  # elements before and from there on that are read of a source row
    const real *low  # where the memory of the source begins and ends
    const real *high
    Py_ssize_t met, spare  # source rows of a block; those of them that may have to be copied
    Py_ssize_t vectors, strips  # of the result; a vector of dX at stride 2 is a pair
    Py_ssize_t each, seen  # columns of the result and of the source in a vector
    Py_ssize_t spoilt, whole  # columns behind a row, and the rows that may spoil them
    StripOf *strip_of
    real *masks  # [strip][left, right, inside][lane]
    Py_ssize_t bytes  # of one thread


cdef void memory_of(
    const real *planes, Py_ssize_t n, Py_ssize_t image, Py_ssize_t c, Py_ssize_t channel,
    Py_ssize_t rows, Py_ssize_t row, Py_ssize_t width, const real **low, const real **high
) noexcept nogil:
    """Where the planes of an array begin and end; its rows go upwards in memory."""
    low[0] = planes + min((n - 1) * image, <Py_ssize_t> 0) + min((c - 1) * channel, <Py_ssize_t> 0)
    high[0] = planes + max((n - 1) * image, <Py_ssize_t> 0) + (
        max((c - 1) * channel, <Py_ssize_t> 0) + (rows - 1) * row + width
    )


cdef inline bint scattered(Py_ssize_t pitch, Py_ssize_t element, Py_ssize_t width) noexcept nogil:
    """Whether the rows of a plane are no runs of memory, one after the other."""
    return element != 1 or pitch < width


cdef void point_down(
    const real **rows, Py_ssize_t first, Py_ssize_t count, const real *plane, Py_ssize_t height,
    Py_ssize_t pitch, Py_ssize_t element, Py_ssize_t width, Py_ssize_t lead, Py_ssize_t reach,
    const real *low, const real *high, real *spare
) noexcept nogil:
    """rows[i] = row first + i of a plane, `lead` elements early; near the end of memory a copy.

    Of rows that do not lie as kernels read them all are copies.
    """
    cdef Py_ssize_t i, top = min(max(-first, <Py_ssize_t> 0), count)
    cdef Py_ssize_t bottom = max(min(height - first, count), top)
    cdef const real *row = plane + first * pitch - lead
    cdef Py_ssize_t k, taken = min(width, reach - lead)
    for i in range(top):
        rows[i] = NULL
    for i in range(top, bottom):
        rows[i] = row + i * pitch
    for i in range(bottom, count):
        rows[i] = NULL
    i = top
    if scattered(pitch, element, width):
        while i < bottom:
            for k in range(lead):
                spare[k] = 0
            for k in range(taken):
                spare[lead + k] = plane[(first + i) * pitch + k * element]
            for k in range(lead + taken, reach):
                spare[k] = 0
            rows[i] = spare
            spare += reach
            i += 1
        return
    while i < bottom:
        if rows[i] < low or rows[i] + reach > high:
            memset(spare, 0, reach * sizeof(real))
            memcpy(spare + lead, rows[i] + lead, taken * sizeof(real))
            rows[i] = spare
            spare += reach
        elif row + (bottom - 1) * pitch + reach <= high:
            break
        i += 1


cdef inline bint both_within(
    const real *plane, Py_ssize_t apart, Py_ssize_t rows, Py_ssize_t row, Py_ssize_t element,
    Py_ssize_t width, Py_ssize_t lead, Py_ssize_t reach, const real *low, const real *high
) noexcept nogil:
    """Whether all that is read of two planes lies in the memory of all, where it is read."""
    cdef Py_ssize_t first = min(apart, <Py_ssize_t> 0), last = max(apart, <Py_ssize_t> 0)
    return (
        not scattered(row, element, width)
        and plane + first - lead >= low
        and plane + last - lead + (rows - 1) * row + reach <= high
    )


# ---------------------------------------------------------------- Y


cdef inline vec look(const real *row, Py_ssize_t apart, bint pair) noexcept nogil:
    """A vector of a row, or the same half of one of each row of a pair of planes."""
    return join(row, row + apart) if pair else load(row)


cdef inline vec add_row(vec sum, const vec *tap, const vec *x) noexcept nogil:
    """A row of taps, summed up apart: so a row need not wait for the one before."""
    return sum + (tap[0] * x[0] + tap[1] * x[1] + tap[2] * x[2])


cdef inline void meet_row(
    vec *acc, const vec *tap, const Strip *t, Py_ssize_t i, vec bias, vec left, vec right, int nv,
    bint pair, int begins, int goes_on, int ends
) noexcept nogil:
    """A source row into three rows of sums, the first of which begins with it. Stride 1."""
    cdef vec x[SIDE]
    cdef int q, v
    cdef const real *row = t.rows[i]
    for v in range(nv):
        acc[begins * WIDE + v] = bias
    if row == NULL:
        return
    row += t.column
    for v in range(nv):
        for q in range(SIDE):
            x[q] = look(row + q + v * LANES, t.apart, pair)
        if v == 0:
            x[0] = only(x[0], left)
        if v == nv - 1:
            x[2] = only(x[2], right)
        acc[begins * WIDE + v] = add_row(acc[begins * WIDE + v], tap, x)
        acc[goes_on * WIDE + v] = add_row(acc[goes_on * WIDE + v], tap + SIDE, x)
        acc[ends * WIDE + v] = add_row(acc[ends * WIDE + v], tap + 2 * SIDE, x)


cdef inline vec every_second(const real *row, Py_ssize_t next, int q) noexcept nogil:
    """What outputs see through column q of taps at stride 2, in two vectors `next` apart."""
    if q == 1:
        return odd(load(row), load(row + next))
    return even(load(row + q), load(row + q + next))


cdef inline void meet_row_apart(
    vec *acc, const vec *tap, const Strip *t, Py_ssize_t i, vec left, vec right, int nv, bint pair,
    int into, int tap_row, int into_too
) noexcept nogil:
    """A source row into the sums of one row, and with its first taps into another's. Stride 2."""
    cdef vec x[SIDE]
    cdef int q, v
    cdef const real *row = t.rows[i]
    if row == NULL:
        return
    row += t.column
    for v in range(nv):
        for q in range(SIDE):
            x[q] = every_second(row + 2 * v * LANES, t.apart if pair else LANES, q)
        if v == 0:
            x[0] = only(x[0], left)
        if v == nv - 1:
            x[2] = only(x[2], right)
        acc[into * WIDE + v] = add_row(acc[into * WIDE + v], tap + tap_row * SIDE, x)
        if into_too >= 0:
            acc[into_too * WIDE + v] = add_row(acc[into_too * WIDE + v], tap, x)


cdef inline real *row_of_result(const Strip *t, Py_ssize_t i) noexcept nogil:
    return t.out + i * t.pitch if i < t.whole else t.bounce + (i - t.whole) * WIDE * LANES


cdef inline real *second_row(const Strip *t, real *row, Py_ssize_t i) noexcept nogil:
    """The row of the second of a pair of planes beside that of the first."""
    return row + (t.out_apart if i < t.whole else LANES)


cdef inline void put(
    const Strip *t, const vec *acc, int nv, bint pair, Py_ssize_t i
) noexcept nogil:
    """Row i of a strip of the result."""
    cdef real *y
    cdef int v
    if i < 0:
        return
    y = row_of_result(t, i)
    if pair:
        part(y, second_row(t, y, i), acc[0])
    else:
        for v in range(nv):
            store(y + v * LANES, acc[v])


cdef inline void walk(const Strip *t, int nv, bint pair) noexcept nogil:
    """A strip of nv vectors at stride 1."""
    cdef vec acc[SIDE * WIDE]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias, left, right
    cdef Py_ssize_t i
    cdef int k, _once
    for _once in range(t.once):
        bias = load(t.w + SIDE * SIDE * LANES)
        left = load(t.left)
        right = load(t.right)
        for k in range(SIDE * SIDE):
            tap[k] = load(t.w + k * LANES)
        for k in range(SIDE * WIDE):
            acc[k] = bias
        i = -2
        while True:
            meet_row(acc, tap, t, i + 2, bias, left, right, nv, pair, 0, 2, 1)
            put(t, acc + WIDE, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row(acc, tap, t, i + 2, bias, left, right, nv, pair, 1, 0, 2)
            put(t, acc + 2 * WIDE, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row(acc, tap, t, i + 2, bias, left, right, nv, pair, 2, 1, 0)
            put(t, acc, nv, pair, i)
            i += 1
            if i == t.count:
                break


cdef inline void walk_apart(const Strip *t, int nv, bint pair) noexcept nogil:
    """A strip of nv vectors at stride 2."""
    cdef vec acc[2 * WIDE]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias, left, right
    cdef Py_ssize_t i
    cdef int k, v, _once
    for _once in range(t.once):
        bias = load(t.w + SIDE * SIDE * LANES)
        left = load(t.left)
        right = load(t.right)
        for k in range(SIDE * SIDE):
            tap[k] = load(t.w + k * LANES)
        for k in range(2 * WIDE):
            acc[k] = bias
        meet_row_apart(acc, tap, t, 0, left, right, nv, pair, 0, 0, -1)
        i = 0
        while True:
            meet_row_apart(acc, tap, t, 2 * i + 1, left, right, nv, pair, 0, 1, -1)
            for v in range(nv):
                acc[WIDE + v] = bias
            meet_row_apart(acc, tap, t, 2 * i + 2, left, right, nv, pair, 0, 2, 1)
            put(t, acc, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row_apart(acc, tap, t, 2 * i + 1, left, right, nv, pair, 1, 1, -1)
            for v in range(nv):
                acc[v] = bias
            meet_row_apart(acc, tap, t, 2 * i + 2, left, right, nv, pair, 1, 2, 0)
            put(t, acc + WIDE, nv, pair, i)
            i += 1
            if i == t.count:
                break


cdef void walk_1(const Strip *t) noexcept nogil:
    walk(t, 1, False)

cdef void walk_2(const Strip *t) noexcept nogil:
    walk(t, 2, False)

cdef void walk_3(const Strip *t) noexcept nogil:
    walk(t, 3, False)

cdef void walk_4(const Strip *t) noexcept nogil:
    walk(t, 4, False)

cdef void walk_pair(const Strip *t) noexcept nogil:
    walk(t, 1, True)

cdef void walk_apart_1(const Strip *t) noexcept nogil:
    walk_apart(t, 1, False)

cdef void walk_apart_2(const Strip *t) noexcept nogil:
    walk_apart(t, 2, False)

cdef void walk_apart_3(const Strip *t) noexcept nogil:
    walk_apart(t, 3, False)

cdef void walk_apart_4(const Strip *t) noexcept nogil:
    walk_apart(t, 4, False)

cdef void walk_apart_pair(const Strip *t) noexcept nogil:
    walk_apart(t, 1, True)


# ---------------------------------------------------------------- the gradient of X at stride 2


cdef inline void spread_row(
    const vec *tap, const Strip *t, Py_ssize_t i, int tap_row, vec left, vec right, vec inside,
    int nv, bint pair, int odd, vec *outer, vec *alone
) noexcept nogil:
    """A row of dY into those columns of a row of dX that two taps reach, and into the others."""
    cdef vec a, b
    cdef int v
    cdef const real *row = t.rows[i]
    if row == NULL:
        return
    row += t.column
    for v in range(nv):
        a = look(row + v * LANES, t.apart, pair)
        b = look(row + v * LANES + 1, t.apart, pair)
        if v == 0 and odd == 0:
            a = only(a, left)
        if v == nv - 1:
            a = only(a, inside)
            b = only(b, right)
        outer[v] = outer[v] + tap[tap_row * SIDE] * b
        outer[v] = outer[v] + tap[tap_row * SIDE + 2] * a
        alone[v] = alone[v] + tap[tap_row * SIDE + 1] * (a if odd else b)


cdef inline void put_pairs(
    const Strip *t, const vec *outer, const vec *alone, int nv, bint pair, int odd, Py_ssize_t i
) noexcept nogil:
    """Row i of a strip of dX, whose columns are those of both in turn."""
    cdef real *x
    cdef vec first, second
    cdef int v
    if i < 0 or i >= t.count:
        return
    x = row_of_result(t, i)
    for v in range(nv):
        first = alone[v] if odd else outer[v]
        second = outer[v] if odd else alone[v]
        store(x, zip_low(first, second))
        store(second_row(t, x, i) if pair else x + LANES, zip_high(first, second))
        x += 2 * LANES


cdef inline void spread(const Strip *t, int nv, bint pair, int odd) noexcept nogil:
    """A strip of nv pairs of vectors of dX."""
    cdef vec outer[2]
    cdef vec alone[2]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias, left, right, inside
    cdef Py_ssize_t i
    cdef int k, v, _once
    for _once in range(t.once):
        bias = load(t.w + SIDE * SIDE * LANES)
        left = load(t.left)
        right = load(t.right)
        inside = load(t.inside)
        for k in range(SIDE * SIDE):
            tap[k] = load(t.w + k * LANES)
        for v in range(nv):
            outer[v] = bias
            alone[v] = bias
        spread_row(tap, t, 0, 2, left, right, inside, nv, pair, odd, outer, alone)
        i = t.first
        k = 1
        while i < t.count:
            spread_row(tap, t, k, 0, left, right, inside, nv, pair, odd, outer, alone)
            put_pairs(t, outer, alone, nv, pair, odd, i)
            for v in range(nv):
                outer[v] = bias
                alone[v] = bias
            spread_row(tap, t, k, 1, left, right, inside, nv, pair, odd, outer, alone)
            put_pairs(t, outer, alone, nv, pair, odd, i + 1)
            for v in range(nv):
                outer[v] = bias
                alone[v] = bias
            spread_row(tap, t, k, 2, left, right, inside, nv, pair, odd, outer, alone)
            i += 2
            k += 1


cdef void spread_even_1(const Strip *t) noexcept nogil:
    spread(t, 1, False, 0)

cdef void spread_even_2(const Strip *t) noexcept nogil:
    spread(t, 2, False, 0)

cdef void spread_even_pair(const Strip *t) noexcept nogil:
    spread(t, 1, True, 0)

cdef void spread_odd_1(const Strip *t) noexcept nogil:
    spread(t, 1, False, 1)

cdef void spread_odd_2(const Strip *t) noexcept nogil:
    spread(t, 2, False, 1)

cdef void spread_odd_pair(const Strip *t) noexcept nogil:
    spread(t, 1, True, 1)


# By kind (Y at stride 1, Y at stride 2, dX at stride 2 for an even and for an odd padding on the
# left) and by vectors; at 0 a pair of planes.
cdef StripOf STRIP_OF[4][WIDE + 1]
STRIP_OF[0][:] = [walk_pair, walk_1, walk_2, walk_3, walk_4]
STRIP_OF[1][:] = [walk_apart_pair, walk_apart_1, walk_apart_2, walk_apart_3, walk_apart_4]
STRIP_OF[2][:] = [spread_even_pair, spread_even_1, spread_even_2, NULL, NULL]
STRIP_OF[3][:] = [spread_odd_pair, spread_odd_1, spread_odd_2, NULL, NULL]


# ---------------------------------------------------------------- planes of Y and of dX


cdef void lay_columns(Columns *c, const Job *job, const Layer *p, bint back) noexcept nogil:
    c.p = p
    c.source = job.source
    c.s_n = job.s_n
    c.s_c = job.s_r
    c.s_row = job.s_row
    c.s_column = job.s_column
    c.height = job.height
    c.width = job.width
    c.out = job.out
    c.o_n = job.o_n
    c.o_c = job.o_m
    c.o_row = job.o_row
    c.o_column = job.o_column
    c.rows = p.rows.size if back else p.rows.outputs
    c.columns = p.columns.size if back else p.columns.outputs
    c.stride = p.rows.stride
    c.spread = back and c.stride == 2
    c.w = job.w
    c.w_row = job.w_row
    c.w_column = job.w_column
    c.top = p.rows.before
    c.left = p.columns.before
    if back and c.stride == 1:  # Y of the reversed filters
        c.w += 2 * (c.w_row + c.w_column)
        c.w_row = -c.w_row
        c.w_column = -c.w_column
        c.top = 2 - c.top
        c.left = 2 - c.left
    c.lead = 1 - c.left if c.spread else c.left
    c.seen = LANES if c.spread else c.stride * LANES
    c.each = 2 * LANES if c.spread else LANES
    c.pair = LANES > 1 and 2 * c.columns <= c.each
    if c.pair:
        c.seen = LANES
        c.each //= 2
    c.vectors = parts_in(c.columns, c.each)
    c.strips = parts_in(c.vectors, <Py_ssize_t> 2 if c.spread else <Py_ssize_t> WIDE)
    c.reach = c.vectors * c.seen + (1 if c.spread else 2)
    c.strip_of = STRIP_OF[2 + c.left if c.spread else c.stride - 1]
    c.spoilt = c.vectors * c.each - c.columns
    c.whole = c.rows
    if c.o_column != 1:
        c.whole = 0
    elif c.spoilt > 0:
        c.whole = c.rows - parts_in(c.spoilt, c.columns) if c.o_row == c.columns else 0
    memory_of(
        c.source, job.images, c.s_n, p.groups, c.s_c, c.height, c.s_row, c.width, &c.low, &c.high,
    )
    c.met = job.band * (1 if c.spread else c.stride) + 4
    c.spare = c.met
    if not scattered(c.s_row, c.s_column, c.width):
        c.spare = min(c.reach // max(c.width, <Py_ssize_t> 1) + 3, c.met)
    c.bytes = aligned(
        aligned(c.met * sizeof(void *))
        + sizeof(real) * ((SIDE * SIDE + 1 + WIDE * job.band) * LANES + c.spare * c.reach)
    )


cdef inline void set_mask(
    real *mask, Py_ssize_t first, Py_ssize_t step, Py_ssize_t size, Py_ssize_t period
) noexcept nogil:
    """Lanes whose first + lane % period * step lies in 0..size-1."""
    cdef Py_ssize_t lane
    for lane in range(LANES):
        mask[lane] = flag(0 <= first + lane % period * step < size)


cdef void lay_masks(const Columns *c) noexcept nogil:
    cdef Py_ssize_t strip, first, last, period = LANES // 2 if c.pair else LANES
    cdef Py_ssize_t step = 1 if c.spread else c.stride
    cdef real *mask = c.masks
    for strip in range(c.strips):
        first = strip * c.vectors // c.strips * c.seen - c.lead
        last = ((strip + 1) * c.vectors // c.strips - 1) * c.seen - c.lead
        set_mask(mask, first, step, c.width, period)
        set_mask(mask + LANES, last + (1 if c.spread else 2), step, c.width, period)
        set_mask(mask + 2 * LANES, last, step, c.width, period)
        mask += 3 * LANES


cdef struct Walked:
    # A plane of the result.
    const real *plane  # of the source
    const real *taps
    real bias
    real *out


cdef inline Walked walked(
    const Columns *c, const Job *job, Py_ssize_t n, Py_ssize_t channel
) noexcept nogil:
    cdef Walked plane
    cdef Py_ssize_t group = channel, m = 0
    if job.m > 1:
        group = channel // job.m
        m = channel % job.m
    plane.plane = c.source + n * c.s_n + group * c.s_c
    plane.taps = c.w + group * job.w_g + m * job.w_m
    plane.bias = 0 if job.bias == NULL else job.bias[channel * job.bias_step]
    plane.out = job.out + n * c.o_n + channel * c.o_c
    return plane


cdef inline void put_apart(
    real *to, Py_ssize_t element, const real *row, Py_ssize_t count
) noexcept nogil:
    cdef Py_ssize_t k
    if element == 1:
        memcpy(to, row, count * sizeof(real))
    else:
        for k in range(count):
            to[k * element] = row[k]


cdef void walk_plane(
    const Columns *c, const Job *job, const Walked *one, const Walked *two, char *memory
) noexcept nogil:
    """A plane of the result, or a pair; `two` may be `one`."""
    cdef Strip t
    cdef Py_ssize_t u, k, j, strip, first, vectors, met, seen, tap
    cdef const real *bounce
    cdef real *w = <real *> (memory + aligned(c.met * sizeof(void *)))
    cdef real *spare = w + (SIDE * SIDE + 1 + WIDE * job.band) * LANES
    t.once = 1
    t.rows = <const real **> memory
    t.w = w
    t.bounce = w + (SIDE * SIDE + 1) * LANES
    t.pitch = c.o_row
    t.apart = two.plane - one.plane
    t.out_apart = two.out - one.out
    for k in range(SIDE):
        for j in range(SIDE):
            tap = k * c.w_row + j * c.w_column
            store(w, both(splat(one.taps[tap]), splat(two.taps[tap])))
            w += LANES
    store(w, both(splat(one.bias), splat(two.bias)))
    u = 0
    while u < c.rows:
        t.count = min(job.band, c.rows - u)
        t.first = 0
        if c.spread:
            seen = (u + c.top) // 2  # of the even row
            t.first = 2 * seen - c.top - u
            seen -= 1
            met = (t.count - t.first + 1) // 2 + 1
        else:
            seen = u * c.stride - c.top
            met = (t.count - 1) * c.stride + SIDE
        point_down(
            t.rows, seen, met, one.plane, c.height, c.s_row, c.s_column, c.width, c.lead, c.reach,
            c.low, c.high, spare,
        )
        for strip in range(c.strips - 1, -1, -1):
            first = 0
            vectors = c.vectors
            if c.strips > 1:
                first = strip * c.vectors // c.strips
                vectors = (strip + 1) * c.vectors // c.strips - first
            t.column = first * c.seen
            t.out = one.out + u * c.o_row + first * c.each * c.o_column
            t.left = c.masks + strip * 3 * LANES
            t.right = t.left + LANES
            t.inside = t.right + LANES
            t.whole = t.count
            j = vectors * c.each
            if strip == c.strips - 1:
                j -= c.spoilt
            if strip == c.strips - 1 or c.o_column != 1:
                t.whole = max(min(t.whole, c.whole - u), <Py_ssize_t> 0)
            c.strip_of[0 if c.pair else vectors](&t)
            for k in range(t.whole, t.count):
                bounce = t.bounce + (k - t.whole) * WIDE * LANES
                put_apart(t.out + k * t.pitch, c.o_column, bounce, j)
                if t.out_apart != 0:
                    put_apart(t.out + t.out_apart + k * t.pitch, c.o_column, bounce + LANES, j)
        u += t.count


cdef void walk_planes(
    const Columns *c, const Job *job, Py_ssize_t first, Py_ssize_t last, char *memory
) noexcept nogil:
    """Planes first to last of the result, which count channels, then images."""
    cdef Py_ssize_t item = first, channels = job.groups * job.m
    cdef Py_ssize_t n = first // channels, channel = first % channels
    cdef Walked one, two
    while item < last:
        one = walked(c, job, n, channel)
        two = one
        if c.pair and item + 1 < last and channel + 1 < channels:
            two = walked(c, job, n, channel + 1)
            if both_within(
                one.plane, two.plane - one.plane, c.height, c.s_row, c.s_column, c.width, c.lead,
                c.reach, c.low, c.high,
            ):
                item += 1
                channel += 1
            else:
                two = one
        walk_plane(c, job, &one, &two, memory)
        item += 1
        channel += 1
        if channel == channels:
            channel = 0
            n += 1


# ---------------------------------------------------------------- dW


cdef struct WeightStrip:
    int once  # see Tile
    const real **x  # rows; NULL in padding
    const real **y
    Py_ssize_t x_apart, y_apart  # of a pair of planes
    Py_ssize_t column, vectors  # of Y
    Py_ssize_t count  # rows of Y
    const real *masks  # of the x that each column of taps sees, and of y
    real *sums  # [tap][lane]


cdef inline void products_down(
    const WeightStrip *t, vec *acc, Py_ssize_t i, Py_ssize_t column, const real *mask, int stride,
    bint pair, bint two, const vec *y, int at_0, int at_1, int at_2
) noexcept nogil:
    """A row of X with the y that see it through the tap rows 0, 1 and 2; where negative, none."""
    cdef vec x
    cdef int q, f
    cdef const real *row = t.x[i]
    if row == NULL:
        return
    row += column * stride
    fetch(row + AHEAD * stride * LANES)
    if stride == 2:
        fetch(row + (AHEAD * stride + 1) * LANES)
    for q in range(SIDE):
        if stride == 1:
            x = look(row + q, t.x_apart, pair)
        else:
            x = every_second(row, t.x_apart if pair else LANES, q)
        x = only(x, peek(mask + q * LANES))
        for f in range(2 if two else 1):
            if at_0 >= 0:
                acc[f * SIDE * SIDE + q] = acc[f * SIDE * SIDE + q] + y[f * SIDE + at_0] * x
            if at_1 >= 0:
                acc[f * SIDE * SIDE + SIDE + q] = acc[f * SIDE * SIDE + SIDE + q] + y[f * SIDE + at_1] * x
            if at_2 >= 0:
                acc[f * SIDE * SIDE + 2 * SIDE + q] = acc[f * SIDE * SIDE + 2 * SIDE + q] + y[f * SIDE + at_2] * x


cdef inline void weight_down(
    const WeightStrip *t, int stride, bint pair, bint two
) noexcept nogil:
    """The nine sums of a few strips of one vector of Y, or of `two` filters."""
    cdef vec acc[2 * SIDE * SIDE]
    cdef const real *mask
    cdef vec y[2 * SIDE]  # of each filter: this row, the one before, and the one before that
    cdef Py_ssize_t i, v, column
    cdef int k, f, _once
    for _once in range(t.once):
        for k in range(2 * SIDE * SIDE if two else SIDE * SIDE):
            acc[k] = splat(0)
        for v in range(t.vectors):
            column = t.column + v * LANES
            mask = t.masks + v * (SIDE + 1) * LANES
            for k in range(2 * SIDE):
                y[k] = splat(0)
            for i in range(t.count):
                for f in range(2 if two else 1):
                    y[f * SIDE + 2] = y[f * SIDE + 1]
                    y[f * SIDE + 1] = y[f * SIDE]
                    y[f * SIDE] = only(
                        look(t.y[i] + column + f * t.y_apart, t.y_apart, pair),
                        peek(mask + SIDE * LANES),
                    )
                    fetch(t.y[i] + column + f * t.y_apart + AHEAD * LANES)
                if stride == 1:
                    products_down(t, acc, i, column, mask, 1, pair, two, y, 0, 1, 2)
                else:
                    products_down(t, acc, 2 * i, column, mask, 2, pair, two, y, 0, -1, 1)
                    products_down(t, acc, 2 * i + 1, column, mask, 2, pair, two, y, -1, 0, -1)
            i = t.count
            if stride == 1:
                products_down(t, acc, i, column, mask, 1, pair, two, y, -1, 0, 1)
                products_down(t, acc, i + 1, column, mask, 1, pair, two, y, -1, -1, 0)
            else:
                products_down(t, acc, 2 * i, column, mask, 2, pair, two, y, -1, -1, 0)
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


cdef inline vec some_lanes(vec v, int which) noexcept nogil:
    """Of all lanes (0), the lower (1) or the upper half (2), with zeros between."""
    if which == 0:
        return v
    return zip_low(v, splat(0)) if which == 1 else zip_high(v, splat(0))


cdef void add_strip_sums(const real *sums, int which, total *to) noexcept nogil:
    """to[tap] += the sum of sums[tap][lane], in pairs, which the lanes of one vector end up as."""
    cdef vec a[LANES]
    cdef real flat[LANES]
    cdef int part, begin, i, half
    for part in range((SIDE * SIDE + LANES - 1) // LANES):
        begin = part * LANES
        for i in range(LANES):
            a[i] = splat(0)
            if begin + i < SIDE * SIDE:
                a[i] = some_lanes(load(sums + (begin + i) * LANES), which)
        half = LANES // 2
        while half > 0:
            for i in range(half):
                a[i] = zip_low(a[i], a[i + half]) + zip_high(a[i], a[i + half])
            half //= 2
        store(flat, a[0])
        for i in range(min(LANES, SIDE * SIDE - begin)):
            to[begin + i] += flat[i]


cdef struct WeightColumns:
    Py_ssize_t vectors, blocks
    Py_ssize_t together  # vectors that are summed up in one type before they join in `total`
    bint pair
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


cdef void add_unit(
    const WeightColumns *c, const Layer *p, const real *x, const real *y, int how,
    Py_ssize_t x_apart, Py_ssize_t y_apart, Py_ssize_t u, total *sums, char *memory
) noexcept nogil:
    """Add what a block of rows of one plane of Y, or of two, gives."""
    cdef WeightStrip t
    cdef Py_ssize_t k, stride = p.rows.stride
    cdef real *strip_sums = <real *> (memory + aligned((c.x_met + p.band) * sizeof(void *)))
    cdef real *spare = strip_sums + 2 * SIDE * SIDE * LANES
    t.once = 1
    t.x = <const real **> memory
    t.y = t.x + c.x_met
    t.x_apart = x_apart
    t.y_apart = y_apart
    t.sums = strip_sums
    t.count = min(p.band, p.rows.outputs - u)
    point_down(
        t.x, u * stride - p.rows.before, (t.count - 1) * stride + SIDE, x, p.rows.size, p.x_row,
        p.x_col, p.columns.size, p.columns.before, c.x_reach, c.x_low, c.x_high, spare,
    )
    point_down(
        t.y, u, t.count, y, p.rows.outputs, p.y_row, p.y_col, p.columns.outputs, 0, c.y_reach,
        c.y_low, c.y_high, spare + c.x_spare * c.x_reach,
    )
    k = 0
    while k < c.vectors:
        t.column = k * LANES
        t.vectors = min(c.together, c.vectors - k)
        t.masks = c.masks + k * (SIDE + 1) * LANES
        WEIGHT_STRIP_OF[how][stride - 1](&t)
        add_strip_sums(strip_sums, 1 if how == SIDE_BY_SIDE else 0, sums)
        if how == TWO_FILTERS:
            add_strip_sums(strip_sums + SIDE * SIDE * LANES, 0, sums + p.c * SIDE * SIDE)
        elif y_apart != 0:
            add_strip_sums(strip_sums, 2, sums + p.c * SIDE * SIDE)
        k += t.vectors


cdef inline Py_ssize_t weight_units(const Layer *p) noexcept nogil:
    return p.bands * parts_in(p.groups * p.k, 2) * p.c


cdef void weight_columns_item(
    const WeightColumns *c, const Layer *p, Py_ssize_t item, total *sums, const Columns *columns,
    const Job *job, char *memory
) noexcept nogil:
    """Item: channel of X in its group, two filters, band of all blocks of rows of all images.

    Unless `columns` is NULL, planes of dX are made with the first block of their rows.
    """
    cdef Py_ssize_t filters = p.groups * p.k, r = item % p.c, m, n, u, i, k, band, first, last
    cdef Py_ssize_t x_apart, size = SIDE * SIDE
    cdef const real *x
    cdef const real *y
    cdef bint two, within
    cdef int how = SIDE_BY_SIDE if c.pair else ALONE, together = how
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
    first = band * p.n * c.blocks // p.bands
    last = (band + 1) * p.n * c.blocks // p.bands
    for i in range(first, last):
        n = i // c.blocks
        u = i % c.blocks * p.band
        x = <const real *> p.x + n * p.x_n + (m // p.k * p.c + r) * p.x_c
        y = <const real *> p.y + n * p.y_n + m * p.y_k
        if columns != NULL and u == 0:
            k = n * filters + m
            walk_planes(columns, job, k, k + (2 if two else 1), memory + c.bytes)
        within = two and together != ALONE and p.y_k != 0 and both_within(
            x, x_apart, p.rows.size, p.x_row, p.x_col, p.columns.size, p.columns.before,
            c.x_reach, c.x_low, c.x_high,
        ) and both_within(
            y, p.y_k, p.rows.outputs, p.y_row, p.y_col, p.columns.outputs, 0, c.y_reach,
            c.y_low, c.y_high,
        )
        if within:
            add_unit(c, p, x, y, together, x_apart, p.y_k, u, sums, memory)
            continue
        add_unit(c, p, x, y, how, 0, 0, u, sums, memory)
        if two:
            add_unit(c, p, x + x_apart, y + p.y_k, how, 0, 0, u, sums + p.c * size, memory)


cdef void weight_of_columns(
    const Layer *p, Py_ssize_t m, const total *sums
) noexcept nogil:
    """One filter from the sums of all bands."""
    cdef Py_ssize_t r, k, band, pairs = p.c * p.groups * p.k
    cdef real *w
    cdef total s
    for r in range(p.c):
        for k in range(SIDE * SIDE):
            s = 0
            for band in range(p.bands):
                s += sums[(band * pairs + m * p.c + r) * SIDE * SIDE + k]
            w = <real *> p.w + m * p.w_k + r * p.w_c + k // SIDE * p.w_row + k % SIDE * p.w_col
            w[0] = <real> s
            if not finite(w[0]):
                exact_weight(p, m, r, k // SIDE, k % SIDE)
