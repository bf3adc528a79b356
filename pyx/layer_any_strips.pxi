# Strips of columns of layer_columns.pxi for filters of any size and dilation
#
# As in layer_strips.pxi, but taps and sources come from memory as they are met: what a row and a
# column of taps see is loaded once for a few rows of sums. Each column of taps has masks of its
# own; rows in the padding are zeros.

cdef enum:
    ROWS_OF_ANY = 4


cdef inline vec see(const real *row, int v, int stride) noexcept nogil:
    """What vector v of a strip of Y sees of a row."""
    if stride == 1:
        return load(row + v * LANES)
    return even(load(row + 2 * v * LANES), load(row + (2 * v + 1) * LANES))


cdef inline void meet_rows(
    vec *acc, const Strip *t, Py_ssize_t i, Py_ssize_t q, const vec *mask, int rows, int nv,
    int stride
) noexcept nogil:
    """All that rows of Y see through column q of taps; each vector is loaded once for all rows."""
    cdef Py_ssize_t seen, p
    cdef int r, v
    cdef vec tap
    cdef vec x[WIDE]
    cdef const real *row
    cdef const real *w = t.w + q * t.a * LANES
    for seen in range((rows - 1) * stride + t.a):
        row = t.rows[i * stride + seen] + t.column + q * t.across
        for v in range(nv):
            x[v] = only(see(row, v, stride), mask[v])
        for r in range(rows):
            p = seen - r * stride
            if 0 <= p < t.a:
                tap = load(w + p * LANES)
                for v in range(nv):
                    acc[r * WIDE + v] = acc[r * WIDE + v] + tap * x[v]


cdef inline void meet_rows_apart(
    vec *acc, const Strip *t, Py_ssize_t i, Py_ssize_t q, const vec *mask, int rows, int nv,
    int stride
) noexcept nogil:
    """The same where no two rows see the same: tap by tap."""
    cdef Py_ssize_t p
    cdef int r, v
    cdef vec tap
    cdef const real *row
    for p in range(t.a):
        tap = load(t.w + (q * t.a + p) * LANES)
        for r in range(rows):
            row = t.rows[(i + r) * stride + p * t.down] + t.column + q * t.across
            for v in range(nv):
                acc[r * WIDE + v] = acc[r * WIDE + v] + tap * only(see(row, v, stride), mask[v])


cdef inline void rows_of_any(
    const Strip *t, Py_ssize_t i, int rows, int nv, int stride, bint apart
) noexcept nogil:
    """Rows of Y from i on."""
    cdef vec acc[ROWS_OF_ANY * WIDE]
    cdef vec mask[WIDE]
    cdef Py_ssize_t q
    cdef int r, v, _once
    cdef Way way
    for _once in range(t.once):
        for r in range(rows):
            for v in range(nv):
                acc[r * WIDE + v] = peek(t.bias)
        for q in range(t.b):
            for v in range(nv):
                mask[v] = load(t.left + (q * WIDE + v) * LANES)
            if apart:
                meet_rows_apart(acc, t, i, q, mask, rows, nv, stride)
            else:
                meet_rows(acc, t, i, q, mask, rows, nv, stride)
        way.y = t.out + i * t.pitch
        way.pitch = t.pitch
        for r in range(rows):
            put(t, &way, acc + r * WIDE, nv, False, i + r)


cdef inline void strip_of_any(const Strip *t, int nv, int stride) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + ROWS_OF_ANY <= t.count:
        if t.down > 1 or t.a <= stride:  # rows share nothing
            rows_of_any(t, i, ROWS_OF_ANY, nv, stride, True)
        else:
            rows_of_any(t, i, ROWS_OF_ANY, nv, stride, False)
        i += ROWS_OF_ANY
    while i < t.count:
        rows_of_any(t, i, 1, nv, stride, True)
        i += 1


cdef inline void spread_taps_of_any(
    vec *acc, const Strip *t, Py_ssize_t i, int rows, int nv, int half
) noexcept nogil:
    """What rows of dX from i on see in their even or in their odd columns."""
    cdef Py_ssize_t p, q = (half + t.before) & 1, seen
    cdef Py_ssize_t first = (i + t.above - t.a + 2) >> 1, last = (i + rows - 1 + t.above) >> 1
    cdef int r, v
    cdef vec tap
    cdef vec x[2]
    cdef const real *row
    while q < t.b:
        for seen in range(first, last + 1):
            row = t.rows[seen] + t.column + ((half + t.before - q) >> 1)
            for v in range(nv):
                x[v] = only(load(row + v * LANES), peek(t.left + (q * WIDE + v) * LANES))
            for r in range(rows):
                p = i + r + t.above - 2 * seen
                if 0 <= p < t.a:
                    tap = load(t.w + (q * t.a + p) * LANES)
                    for v in range(nv):
                        acc[r * 2 + v] = acc[r * 2 + v] + tap * x[v]
        q += 2


cdef inline void spread_rows_of_any(const Strip *t, Py_ssize_t i, int rows, int nv) noexcept nogil:
    """Rows of dX at stride 2 from i on: taps in every second row and column see a pixel."""
    cdef vec even_columns[ROWS_OF_ANY * 2]
    cdef vec odd_columns[ROWS_OF_ANY * 2]
    cdef int r, v, _once
    cdef real *x
    cdef Way way
    for _once in range(t.once):
        for r in range(rows):
            for v in range(nv):
                even_columns[r * 2 + v] = peek(t.bias)
                odd_columns[r * 2 + v] = peek(t.bias)
        spread_taps_of_any(even_columns, t, i, rows, nv, 0)
        spread_taps_of_any(odd_columns, t, i, rows, nv, 1)
        way.y = t.out + i * t.pitch
        way.pitch = t.pitch
        for r in range(rows):
            x = row_of_result(&way, t, i + r)
            for v in range(nv):
                store(x, zip_low(even_columns[r * 2 + v], odd_columns[r * 2 + v]))
                store(x + LANES, zip_high(even_columns[r * 2 + v], odd_columns[r * 2 + v]))
                x += 2 * LANES


cdef inline void spread_any(const Strip *t, int nv) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + ROWS_OF_ANY <= t.count:
        spread_rows_of_any(t, i, ROWS_OF_ANY, nv)
        i += ROWS_OF_ANY
    while i < t.count:
        spread_rows_of_any(t, i, 1, nv)
        i += 1


cdef void any_1(const Strip *t) noexcept nogil:
    strip_of_any(t, 1, 1)

cdef void any_2(const Strip *t) noexcept nogil:
    strip_of_any(t, 2, 1)

cdef void any_3(const Strip *t) noexcept nogil:
    strip_of_any(t, min(3, NV), 1)

cdef void any_4(const Strip *t) noexcept nogil:
    strip_of_any(t, min(4, NV), 1)

cdef void any_apart_1(const Strip *t) noexcept nogil:
    strip_of_any(t, 1, 2)

cdef void any_apart_2(const Strip *t) noexcept nogil:
    strip_of_any(t, 2, 2)

cdef void any_apart_3(const Strip *t) noexcept nogil:
    strip_of_any(t, min(3, NV), 2)

cdef void any_apart_4(const Strip *t) noexcept nogil:
    strip_of_any(t, min(4, NV), 2)

cdef void spread_any_1(const Strip *t) noexcept nogil:
    spread_any(t, 1)

cdef void spread_any_2(const Strip *t) noexcept nogil:
    spread_any(t, min(2, NV // 2))


# By kind (Y at stride 1, Y at stride 2, dX at stride 2) and by vectors, at most NV, or half as many
# pairs of dX.
cdef StripOf ANY_STRIP_OF[3][WIDE + 1]
ANY_STRIP_OF[0][:] = [NULL, any_1, any_2, any_3, any_4]
ANY_STRIP_OF[1][:] = [NULL, any_apart_1, any_apart_2, any_apart_3, any_apart_4]
ANY_STRIP_OF[2][:] = [NULL, spread_any_1, spread_any_2, NULL, NULL]
