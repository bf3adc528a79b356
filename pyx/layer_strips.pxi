# Strips of columns of layer_columns.pxi: what is done on the way down
#
# Each vector of a source row is loaded once for each filter column and meets all results that it is
# part of: up to three rows of sums are in registers, and the nine taps.

cdef enum:
    SIDE = 3
    LARGEST_SIDE = 7
    WIDE = 4  # vectors of a strip of Y, at most


cdef struct Strip:
    int once  # see Tile
    const real **rows  # the source from the first row that is seen on; NULL in padding
    Py_ssize_t column, s_pitch  # of the source rows; from one to the next, most often
    Py_ssize_t alike, until  # the first of those that all lie so, and the first behind them
    Py_ssize_t first, count  # rows of the result
    const real *w  # vectors: the taps, the bias; of 3 x 3 filters where they are, and the bias:
    const real *taps
    Py_ssize_t w_row, w_column, taps_apart
    real start, start_of_two
    Py_ssize_t apart, out_apart  # of a pair of planes
    real *out  # in row 0 of the block
    Py_ssize_t pitch
    Py_ssize_t whole  # rows of which whole vectors may be stored
    real *bounce  # the others, [row][WIDE * LANES]
    const real *left  # masks; of large filters, [column of taps][WIDE] of them
    const real *right
    const real *inside
    # For filters of any size, whose masks are as those of large ones:
    Py_ssize_t a, b, down, across  # taps and their dilation
    Py_ssize_t above, before  # of row 0 and column 0 of dX at stride 2 in what is seen
    const real *bias


cdef struct Way:
    # Down a strip: what would otherwise be loaded again for each row, as in `follow`.
    const real *last  # the source row before
    Py_ssize_t s_pitch
    real *y  # the next row of the result
    Py_ssize_t pitch


ctypedef void (*StripOf)(const Strip *) noexcept nogil


cdef inline Way begin_way(const Strip *t) noexcept nogil:
    cdef Way way
    way.s_pitch = t.s_pitch
    way.last = NOWHERE
    if t.rows[0] != NULL:
        way.last = t.rows[0] + t.column - t.s_pitch
    way.y = t.out
    way.pitch = t.pitch
    return way


cdef inline const real *source_row(
    Way *way, const Strip *t, Py_ssize_t i, bint pair
) noexcept nogil:
    """Source row i, the next one; NOWHERE if it is padding. Pairs have too few rows to guess."""
    if pair:
        if t.rows[i] == NULL:
            return NOWHERE
        return t.rows[i] + t.column
    way.last = follow(way.last, way.s_pitch, t.rows[i], t.column)
    return way.last


cdef inline vec look(const real *row, Py_ssize_t apart, bint pair) noexcept nogil:
    """A vector of a row, or the same half of one of each row of a pair of planes."""
    return join(row, row + apart) if pair else load(row)


cdef inline void take_taps(const Strip *t, vec *tap, vec *bias, bint pair) noexcept nogil:
    """Into registers, for both planes of a pair."""
    cdef int k
    cdef const real *w
    bias[0] = splat(t.start)
    if pair:
        bias[0] = both(bias[0], splat(t.start_of_two))
    for k in range(SIDE * SIDE):
        w = t.taps + k // SIDE * t.w_row + k % SIDE * t.w_column
        tap[k] = splat(w[0])
        if pair:
            tap[k] = both(tap[k], splat(w[t.taps_apart]))


cdef inline vec add_row(vec sum, const vec *tap, const vec *x, int nv) noexcept nogil:
    """A row of taps; in narrow strips summed up apart: so it need not wait for the one before."""
    if nv <= 2:
        return sum + (tap[0] * x[0] + tap[1] * x[1] + tap[2] * x[2])
    return sum + tap[0] * x[0] + tap[1] * x[1] + tap[2] * x[2]


cdef inline void meet_row(
    vec *acc, const vec *tap, const real *row, Py_ssize_t apart, vec bias, vec left, vec right,
    int nv, bint pair, int begins, int goes_on, int ends
) noexcept nogil:
    """A source row into three rows of sums, the first of which begins with it. Stride 1."""
    cdef vec x[SIDE]
    cdef int q, v
    for v in range(nv):
        acc[begins * WIDE + v] = bias
    if row == NOWHERE:
        return
    for v in range(nv):
        for q in range(SIDE):
            x[q] = look(row + q + v * LANES, apart, pair)
        if v == 0:
            x[0] = only(x[0], left)
        if v == nv - 1:
            x[2] = only(x[2], right)
        acc[begins * WIDE + v] = add_row(acc[begins * WIDE + v], tap, x, nv)
        acc[goes_on * WIDE + v] = add_row(acc[goes_on * WIDE + v], tap + SIDE, x, nv)
        acc[ends * WIDE + v] = add_row(acc[ends * WIDE + v], tap + 2 * SIDE, x, nv)


cdef inline void see_every_second(
    vec *x, const real *row, Py_ssize_t apart, bint pair
) noexcept nogil:
    """What outputs see through the columns of taps at stride 2, of a row or of a pair of planes."""
    cdef Py_ssize_t next = apart if pair else LANES
    cdef vec low = load(row), high = load(row + next)
    x[0] = even(low, high)
    x[1] = odd(low, high)
    if FAST_PRODUCTS and not pair:
        x[2] = between(x[0], load(row + 2 + LANES))
    else:
        x[2] = even(load(row + 2), load(row + 2 + next))


cdef inline void meet_row_apart(
    vec *acc, const vec *tap, const real *row, Py_ssize_t apart, vec left, vec right, int nv,
    bint pair, int into, int tap_row, int into_too
) noexcept nogil:
    """A source row into the sums of one row, and with its first taps into another's. Stride 2."""
    cdef vec x[SIDE]
    cdef int q, v
    if row == NOWHERE:
        return
    for v in range(nv):
        see_every_second(x, row + 2 * v * LANES, apart, pair)
        if v == 0:
            x[0] = only(x[0], left)
        if v == nv - 1:
            x[2] = only(x[2], right)
        acc[into * WIDE + v] = add_row(acc[into * WIDE + v], tap + tap_row * SIDE, x, nv)
        if into_too >= 0:
            acc[into_too * WIDE + v] = add_row(acc[into_too * WIDE + v], tap, x, nv)


cdef inline real *row_of_result(Way *way, const Strip *t, Py_ssize_t i) noexcept nogil:
    """Row i of the result, the next one, or what stands for it."""
    cdef real *y = way.y
    way.y = after(y, way.pitch)
    return y if i < t.whole else t.bounce + (i - t.whole) * WIDE * LANES


cdef inline real *second_row(const Strip *t, real *row, Py_ssize_t i) noexcept nogil:
    """The row of the second of a pair of planes beside that of the first."""
    return row + (t.out_apart if i < t.whole else LANES)


cdef inline void put(
    const Strip *t, Way *way, const vec *acc, int nv, bint pair, Py_ssize_t i
) noexcept nogil:
    """Row i of a strip of the result."""
    cdef real *y
    if i < 0:
        return
    y = row_of_result(way, t, i)
    put_row(y, second_row(t, y, i), acc, nv, pair)


cdef inline void put_row(real *y, real *second, const vec *acc, int nv, bint pair) noexcept nogil:
    cdef int v
    if pair:
        part(y, second, acc[0])
    else:
        for v in range(nv):
            store(y + v * LANES, acc[v])


cdef inline Py_ssize_t rows_in_sight(
    const Strip *t, Py_ssize_t i, Py_ssize_t seen, int stride
) noexcept nogil:
    """Rows of the result from i on for which no pointer and no count has to be looked at.

    The next source row is `seen`. The last row of the result is left out.
    """
    if not FAST_PRODUCTS or i < 0 or seen <= t.alike:
        return 0
    return max(min((t.until - seen) // stride, min(t.whole, t.count - 1) - i), <Py_ssize_t> 0)


cdef inline void next_row(
    vec *acc, const vec *tap, Way *way, vec bias, vec left, vec right, int nv, int begins,
    int goes_on, int ends
) noexcept nogil:
    """The next row of the result, which is in sight."""
    way.last = after(way.last, way.s_pitch)
    meet_row(acc, tap, way.last, 0, bias, left, right, nv, False, begins, goes_on, ends)
    put_row(way.y, way.y, acc + ends * WIDE, nv, False)
    way.y = after(way.y, way.pitch)


cdef inline void walk(const Strip *t, int nv, bint pair) noexcept nogil:
    """A strip of nv vectors at stride 1."""
    cdef vec acc[SIDE * WIDE]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias, left, right
    cdef Py_ssize_t i, triples, apart = t.apart
    cdef int k, _once
    cdef Way way = begin_way(t)
    for _once in range(t.once):
        take_taps(t, tap, &bias, pair)
        left = load(t.left)
        right = load(t.right)
        for k in range(SIDE * WIDE):
            acc[k] = bias
        i = -2
        while True:
            triples = 0 if pair else rows_in_sight(t, i, i + 2, 1) // 3
            i += 3 * triples
            while triples > 0:
                next_row(acc, tap, &way, bias, left, right, nv, 0, 2, 1)
                next_row(acc, tap, &way, bias, left, right, nv, 1, 0, 2)
                next_row(acc, tap, &way, bias, left, right, nv, 2, 1, 0)
                triples -= 1
            meet_row(
                acc, tap, source_row(&way, t, i + 2, pair), apart, bias, left, right, nv, pair,
                0, 2, 1,
            )
            put(t, &way, acc + WIDE, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row(
                acc, tap, source_row(&way, t, i + 2, pair), apart, bias, left, right, nv, pair,
                1, 0, 2,
            )
            put(t, &way, acc + 2 * WIDE, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row(
                acc, tap, source_row(&way, t, i + 2, pair), apart, bias, left, right, nv, pair,
                2, 1, 0,
            )
            put(t, &way, acc, nv, pair, i)
            i += 1
            if i == t.count:
                break


cdef inline void next_row_apart(
    vec *acc, const vec *tap, Way *way, vec bias, vec left, vec right, int nv, int into,
    int into_too
) noexcept nogil:
    """The next row of the result at stride 2, which is in sight."""
    cdef int v
    way.last = after(way.last, way.s_pitch)
    meet_row_apart(acc, tap, way.last, 0, left, right, nv, False, into, 1, -1)
    for v in range(nv):
        acc[into_too * WIDE + v] = bias
    way.last = after(way.last, way.s_pitch)
    meet_row_apart(acc, tap, way.last, 0, left, right, nv, False, into, 2, into_too)
    put_row(way.y, way.y, acc + into * WIDE, nv, False)
    way.y = after(way.y, way.pitch)


cdef inline void walk_apart(const Strip *t, int nv, bint pair) noexcept nogil:
    """A strip of nv vectors at stride 2."""
    cdef vec acc[2 * WIDE]
    cdef vec tap[SIDE * SIDE]
    cdef vec bias, left, right
    cdef Py_ssize_t i, pairs, apart = t.apart
    cdef int k, v, _once
    cdef Way way = begin_way(t)
    for _once in range(t.once):
        take_taps(t, tap, &bias, pair)
        left = load(t.left)
        right = load(t.right)
        for k in range(2 * WIDE):
            acc[k] = bias
        meet_row_apart(
            acc, tap, source_row(&way, t, 0, pair), apart, left, right, nv, pair, 0, 0, -1
        )
        i = 0
        while True:
            pairs = 0 if pair else rows_in_sight(t, i, 2 * i + 1, 2) // 2
            i += 2 * pairs
            while pairs > 0:
                next_row_apart(acc, tap, &way, bias, left, right, nv, 0, 1)
                next_row_apart(acc, tap, &way, bias, left, right, nv, 1, 0)
                pairs -= 1
            meet_row_apart(
                acc, tap, source_row(&way, t, 2 * i + 1, pair), apart, left, right, nv, pair,
                0, 1, -1,
            )
            for v in range(nv):
                acc[WIDE + v] = bias
            meet_row_apart(
                acc, tap, source_row(&way, t, 2 * i + 2, pair), apart, left, right, nv, pair,
                0, 2, 1,
            )
            put(t, &way, acc, nv, pair, i)
            i += 1
            if i == t.count:
                break
            meet_row_apart(
                acc, tap, source_row(&way, t, 2 * i + 1, pair), apart, left, right, nv, pair,
                1, 1, -1,
            )
            for v in range(nv):
                acc[v] = bias
            meet_row_apart(
                acc, tap, source_row(&way, t, 2 * i + 2, pair), apart, left, right, nv, pair,
                1, 2, 0,
            )
            put(t, &way, acc + WIDE, nv, pair, i)
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
    const vec *tap, const Strip *t, const real *row, int tap_row, vec left, vec right, vec inside,
    int nv, bint pair, int odd, vec *outer, vec *alone
) noexcept nogil:
    """A row of dY into those columns of a row of dX that two taps reach, and into the others."""
    cdef vec a, b
    cdef int v
    if row == NOWHERE:
        return
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
    const Strip *t, Way *way, const vec *outer, const vec *alone, int nv, bint pair, int odd,
    Py_ssize_t i
) noexcept nogil:
    """Row i of a strip of dX, whose columns are those of both in turn."""
    cdef real *x
    cdef vec first, second
    cdef int v
    if i < 0 or i >= t.count:
        return
    x = row_of_result(way, t, i)
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
    cdef const real *row
    cdef int k, v, _once
    cdef Way way = begin_way(t)
    for _once in range(t.once):
        take_taps(t, tap, &bias, pair)
        left = load(t.left)
        right = load(t.right)
        inside = load(t.inside)
        for v in range(nv):
            outer[v] = bias
            alone[v] = bias
        row = source_row(&way, t, 0, pair)
        spread_row(tap, t, row, 2, left, right, inside, nv, pair, odd, outer, alone)
        i = t.first
        k = 1
        while i < t.count:
            row = source_row(&way, t, k, pair)
            spread_row(tap, t, row, 0, left, right, inside, nv, pair, odd, outer, alone)
            put_pairs(t, &way, outer, alone, nv, pair, odd, i)
            for v in range(nv):
                outer[v] = bias
                alone[v] = bias
            spread_row(tap, t, row, 1, left, right, inside, nv, pair, odd, outer, alone)
            put_pairs(t, &way, outer, alone, nv, pair, odd, i + 1)
            for v in range(nv):
                outer[v] = bias
                alone[v] = bias
            spread_row(tap, t, row, 2, left, right, inside, nv, pair, odd, outer, alone)
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
