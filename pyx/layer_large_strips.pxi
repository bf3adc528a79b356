# Strips of columns of layer_columns.pxi for filters of 5 x 5 and 7 x 7 at stride 1
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


# By side, 5 or 7, and by vectors, of which there are at most NV or, for 7, 3 of 4.
cdef StripOf LARGE_STRIP_OF[2][WIDE + 1]
LARGE_STRIP_OF[0][:] = [NULL, walk_5_1, walk_5_2, walk_5_3, walk_5_4]
LARGE_STRIP_OF[1][:] = [NULL, walk_7_1, walk_7_2, walk_7_3, NULL]
