# Strips of columns of layer_columns.pxi for filters of 5 x 5, and of 7 x 7 at stride 1
#
# As in layer_strips.pxi, but the taps are too many for registers: each is loaded for all vectors of
# the strip, so that wide strips are best; and what a vector sees through each column of taps has a
# mask of its own.


cdef inline void meet_row_of_many(
    vec *acc, const Strip *t, const real *row, int side, int nv, int begins
) noexcept nogil:
    """A source row into as many rows of sums as the filter has, the first of which begins here."""
    cdef vec x[WIDE]
    cdef vec tap
    cdef int q, k, v, into
    for v in range(nv):
        acc[begins * WIDE + v] = peek(t.w + side * side * LANES)  # the bias
    if row == NOWHERE:
        return
    for q in range(side):
        for v in range(nv):
            x[v] = load(row + q + v * LANES)
            if q != side // 2:
                x[v] = only(x[v], peek(t.left + (q * WIDE + v) * LANES))
        for k in range(side):
            # Where registers are few, each multiplication takes it from memory.
            tap = peek(t.w + (k * side + q) * LANES)
            if side == 5 or NV > 2:
                tap = load(t.w + (k * side + q) * LANES)
            into = (begins + side - k) % side * WIDE
            for v in range(nv):
                acc[into + v] = acc[into + v] + tap * x[v]


cdef inline void go_down(
    vec *acc, const Strip *t, Way *way, Py_ssize_t i, int side, int nv, int begins
) noexcept nogil:
    """The last source row that row i of the result sees, and that row."""
    meet_row_of_many(acc, t, source_row(way, t, i + side - 1, False), side, nv, begins)
    put(t, way, acc + (begins + 1) % side * WIDE, nv, False, i)


cdef inline void go_on_down(
    vec *acc, const Strip *t, Way *way, int side, int nv, int begins
) noexcept nogil:
    """The same for a row that is in sight."""
    way.last = after(way.last, way.s_pitch)
    meet_row_of_many(acc, t, way.last, side, nv, begins)
    put_row(way.y, way.y, acc + (begins + 1) % side * WIDE, nv, False)
    way.y = after(way.y, way.pitch)


cdef inline void walk_of_many(const Strip *t, int side, int nv) noexcept nogil:
    cdef vec acc[LARGEST_SIDE * WIDE]
    cdef Py_ssize_t i, cycles
    cdef int k, v, _once
    cdef Way way = begin_way(t)
    for _once in range(t.once):
        for k in range(side):
            for v in range(nv):
                acc[k * WIDE + v] = splat(0)
        i = 1 - side
        while True:
            cycles = rows_in_sight(t, i, i + side - 1, 1) // side if nv > 1 else 0
            i += cycles * side
            while cycles > 0:
                go_on_down(acc, t, &way, side, nv, 0)
                go_on_down(acc, t, &way, side, nv, 1)
                go_on_down(acc, t, &way, side, nv, 2)
                go_on_down(acc, t, &way, side, nv, 3)
                go_on_down(acc, t, &way, side, nv, 4)
                if side > 5:
                    go_on_down(acc, t, &way, side, nv, 5)
                    go_on_down(acc, t, &way, side, nv, 6)
                cycles -= 1
            go_down(acc, t, &way, i, side, nv, 0)
            if i + 1 == t.count:
                break
            go_down(acc, t, &way, i + 1, side, nv, 1)
            if i + 2 == t.count:
                break
            go_down(acc, t, &way, i + 2, side, nv, 2)
            if i + 3 == t.count:
                break
            go_down(acc, t, &way, i + 3, side, nv, 3)
            if i + 4 == t.count:
                break
            go_down(acc, t, &way, i + 4, side, nv, 4)
            if i + 5 == t.count:
                break
            if side > 5:
                go_down(acc, t, &way, i + 5, side, nv, 5)
                if i + 6 == t.count:
                    break
                go_down(acc, t, &way, i + 6, side, nv, 6)
                if i + 7 == t.count:
                    break
            i += side


cdef void walk_5_1(const Strip *t) noexcept nogil:
    walk_of_many(t, 5, 1)

cdef void walk_5_2(const Strip *t) noexcept nogil:
    walk_of_many(t, 5, 2)

cdef void walk_5_3(const Strip *t) noexcept nogil:
    walk_of_many(t, 5, min(3, NV))

cdef void walk_5_4(const Strip *t) noexcept nogil:
    walk_of_many(t, 5, min(4, NV))

cdef void walk_7_1(const Strip *t) noexcept nogil:
    walk_of_many(t, 7, 1)

cdef void walk_7_2(const Strip *t) noexcept nogil:
    walk_of_many(t, 7, 2)

cdef void walk_7_3(const Strip *t) noexcept nogil:
    walk_of_many(t, 7, min(3, NV))


# ---------------------------------------------------------------- 5 x 5 at stride 2


cdef inline void meet_column_apart(
    vec *acc, const Strip *t, vec *x, const real *row, int q, int nv, int first
) noexcept nogil:
    """A column of taps; x is what it sees, of the first two, or what the last but one saw."""
    cdef vec tap
    cdef int k, v, into
    if q >= 2 and FAST_PRODUCTS:
        for v in range(nv - 1):
            x[v] = onward(x[v], x[v + 1])
        x[nv - 1] = between(x[nv - 1], load(row + q + (2 * nv - 1) * LANES))
    elif q >= 2:
        for v in range(nv):
            x[v] = even(load(row + q + 2 * v * LANES), load(row + q + (2 * v + 1) * LANES))
    v = 0 if q < 2 else nv - 1  # of the vectors this one sees what lies before or behind a row
    if q != 2:
        x[v] = only(x[v], peek(t.left + (q * WIDE + v) * LANES))
    for k in range(first, 5, 2):
        tap = load(t.w + (k * 5 + q) * LANES)
        for v in range(nv):
            into = (2 - (k + 1) // 2) * WIDE + v
            acc[into] = add_product(acc[into], tap, x[v])


cdef inline void meet_every_second(
    vec *acc, const Strip *t, const real *row, int nv, int first
) noexcept nogil:
    """A source row with every second row of taps from `first` on, the last one into the first sums.

    From the first row of taps on a third row of sums begins.
    """
    cdef vec x[WIDE]  # what even columns of taps see
    cdef vec y[WIDE]  # and odd ones
    cdef vec low, high
    cdef int v
    if first == 0:
        for v in range(nv):
            acc[2 * WIDE + v] = peek(t.w + 25 * LANES)  # the bias
    if row == NOWHERE:
        return
    for v in range(nv):
        low = load(row + 2 * v * LANES)
        high = load(row + (2 * v + 1) * LANES)
        x[v] = even(low, high)
        y[v] = odd(low, high)
    meet_column_apart(acc, t, x, row, 0, nv, first)
    meet_column_apart(acc, t, y, row, 1, nv, first)
    meet_column_apart(acc, t, x, row, 2, nv, first)
    meet_column_apart(acc, t, y, row, 3, nv, first)
    meet_column_apart(acc, t, x, row, 4, nv, first)


cdef inline void walk_many_apart(const Strip *t, int nv) noexcept nogil:
    cdef vec acc[3 * WIDE]
    cdef Py_ssize_t i
    cdef int v, _once
    cdef Way way = begin_way(t)
    if not FLOATS:  # a constant: integers take another road
        return
    for _once in range(t.once):
        for v in range(nv):
            acc[v] = acc[WIDE + v] = acc[2 * WIDE + v] = splat(0)
        for i in range(-2, t.count):
            if i > -2:
                meet_every_second(acc, t, source_row(&way, t, 2 * i + 3, False), nv, 1)
            meet_every_second(acc, t, source_row(&way, t, 2 * i + 4, False), nv, 0)
            put(t, &way, acc, nv, False, i)
            for v in range(nv):
                acc[v] = acc[WIDE + v]
                acc[WIDE + v] = acc[2 * WIDE + v]


cdef void walk_apart_5_1(const Strip *t) noexcept nogil:
    walk_many_apart(t, 1)

cdef void walk_apart_5_2(const Strip *t) noexcept nogil:
    walk_many_apart(t, 2)

cdef void walk_apart_5_3(const Strip *t) noexcept nogil:
    walk_many_apart(t, min(3, NV))


cdef inline void spread_column(
    vec *sums, const Strip *t, const vec *y, int q, int nv
) noexcept nogil:
    """A row of dY through a column of taps into five rows of dX."""
    cdef vec tap
    cdef int p, v
    for p in range(5):
        tap = load(t.w + (p * 5 + q) * LANES)
        for v in range(nv):
            sums[2 * p + v] = add_product(sums[2 * p + v], tap, y[v])


cdef inline void spread_many(const Strip *t, int nv, int odd) noexcept nogil:
    """A strip of nv pairs of vectors of dX: columns that three of taps reach, and the others."""
    cdef vec outer[5 * 2]  # of the rows that a row of dY reaches
    cdef vec alone[5 * 2]
    cdef vec before[2]
    cdef vec beside[2]
    cdef vec behind[2]
    cdef vec bias
    cdef const real *row
    cdef Py_ssize_t i, k = 0
    cdef int p, v, last = nv - 1, _once
    cdef Way way = begin_way(t)
    if not FLOATS:
        return
    for _once in range(t.once):
        bias = load(t.w + 25 * LANES)
        for p in range(3):
            for v in range(nv):
                outer[2 * p + v] = alone[2 * p + v] = bias
        i = -t.above
        while i < t.count:
            for p in range(3, 5):
                for v in range(nv):
                    outer[2 * p + v] = alone[2 * p + v] = bias
            row = source_row(&way, t, k, False)
            if row != NOWHERE:
                for v in range(nv):
                    before[v] = load(row + v * LANES)
                    beside[v] = load(row + v * LANES + 1)
                    behind[v] = load(row + v * LANES + 2)
                before[0] = only(before[0], peek(t.left + 4 * WIDE * LANES))
                if last > 0:
                    before[last] = only(before[last], peek(t.left + (4 * WIDE + last) * LANES))
                beside[last] = only(beside[last], peek(t.left + (2 * WIDE + last) * LANES))
                behind[last] = only(behind[last], peek(t.left + last * LANES))
                spread_column(outer, t, behind, 0, nv)
                spread_column(outer, t, beside, 2, nv)
                spread_column(outer, t, before, 4, nv)
                if odd:
                    spread_column(alone, t, beside, 1, nv)
                    spread_column(alone, t, before, 3, nv)
                else:
                    spread_column(alone, t, behind, 1, nv)
                    spread_column(alone, t, beside, 3, nv)
            put_pairs(t, &way, outer, alone, nv, False, odd, i)
            put_pairs(t, &way, outer + 2, alone + 2, nv, False, odd, i + 1)
            for p in range(3):
                for v in range(nv):
                    outer[2 * p + v] = outer[2 * p + 4 + v]
                    alone[2 * p + v] = alone[2 * p + 4 + v]
            i += 2
            k += 1


cdef void spread_5_even_1(const Strip *t) noexcept nogil:
    spread_many(t, 1, 0)

cdef void spread_5_even_2(const Strip *t) noexcept nogil:
    spread_many(t, min(2, NV // 2), 0)

cdef void spread_5_odd_1(const Strip *t) noexcept nogil:
    spread_many(t, 1, 1)

cdef void spread_5_odd_2(const Strip *t) noexcept nogil:
    spread_many(t, min(2, NV // 2), 1)


# By kind (5 x 5 and 7 x 7 at stride 1, 5 x 5 at stride 2, dX of that for an even and for an odd
# padding on the left) and by vectors, at most NV or, of the second and third kind, 3 of 4.
cdef StripOf LARGE_STRIP_OF[5][WIDE + 1]
LARGE_STRIP_OF[0][:] = [NULL, walk_5_1, walk_5_2, walk_5_3, walk_5_4]
LARGE_STRIP_OF[1][:] = [NULL, walk_7_1, walk_7_2, walk_7_3, NULL]
LARGE_STRIP_OF[2][:] = [NULL, walk_apart_5_1, walk_apart_5_2, walk_apart_5_3, NULL]
LARGE_STRIP_OF[3][:] = [NULL, spread_5_even_1, spread_5_even_2, NULL, NULL]
LARGE_STRIP_OF[4][:] = [NULL, spread_5_odd_1, spread_5_odd_2, NULL, NULL]
