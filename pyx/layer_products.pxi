# Tiles of dW: mr pairs (c, tap) x nv vectors of filters in registers
#
# A step is one (u, v): nv loads of the transposed Y, mr broadcasts of X, mr * nv multiplications.


cdef struct Products:
    int once  # see Tile
    const real *x[MR]
    const real *y
    Py_ssize_t y_step
    real *sums
    Py_ssize_t rows, columns, x_row, x_column
    Py_ssize_t y_gap  # from the end of a row of outputs to the next
    Py_ssize_t pitch  # of the sums
    bint first  # nothing is in the sums yet
    Py_ssize_t tap, row_sums  # of rows of taps: from tap to tap in X, from row to row in the sums


cdef inline void products(const Products *t, int mr, int nv) noexcept nogil:
    """Add to the sums of mr pairs (c, tap) x nv vectors of m."""
    cdef vec acc[MR * NV]
    cdef vec y[NV]
    cdef vec x
    cdef const real *row[MR]
    cdef const real *y_row
    cdef real *sums
    cdef Py_ssize_t u, v, step = t.x_column, pitch = t.pitch, y_step = t.y_step
    cdef int i, j, _once
    for _once in range(t.once):
        y_row = t.y
        for i in range(mr):
            row[i] = t.x[i]
            for j in range(nv):
                acc[i * NV + j] = splat(0)
        for u in range(t.rows):
            for v in range(t.columns):
                for j in range(nv):
                    y[j] = load(y_row + j * LANES)
                for i in range(mr):
                    x = splat(row[i][v * step])
                    for j in range(nv):
                        acc[i * NV + j] = acc[i * NV + j] + x * y[j]
                y_row += y_step
            y_row += t.y_gap
            for i in range(mr):
                row[i] += t.x_row
        sums = t.sums
        if not t.first:
            for i in range(mr):
                for j in range(nv):
                    acc[i * NV + j] += peek(sums + i * pitch + j * LANES)
        for i in range(mr):
            for j in range(nv):
                store(sums + i * pitch + j * LANES, acc[i * NV + j])


cdef inline void row_products(const Products *t, int mr, int mq) noexcept nogil:
    """The same of one vector of m and mr rows of mq taps (or channels), which lie `tap` apart in X.

    That is twice as many sums as rows that addresses fit registers for: one vector alone would wait
    for its sums.
    """
    cdef vec acc[2 * MR]
    cdef vec y
    cdef const real *row[MR]
    cdef const real *y_row
    cdef Py_ssize_t u, v, step = t.x_column, y_step = t.y_step, tap = t.tap, at
    cdef int i, q, _once
    if not FLOATS:  # a constant: products of integers take longer than their sums
        return
    for _once in range(t.once):
        y_row = t.y
        for i in range(mr):
            row[i] = t.x[i]
            for q in range(mq):
                acc[i * mq + q] = splat(0)
        for u in range(t.rows):
            at = 0
            for v in range(t.columns):
                y = load(y_row)
                for q in range(mq):
                    for i in range(mr):
                        acc[i * mq + q] = acc[i * mq + q] + splat(row[i][at + q * tap]) * y
                y_row += y_step
                at += step
            y_row += t.y_gap
            for i in range(mr):
                row[i] += t.x_row
        for i in range(mr):
            for q in range(mq):
                if not t.first:
                    acc[i * mq + q] += peek(t.sums + (i * t.row_sums + q) * t.pitch)
                store(t.sums + (i * t.row_sums + q) * t.pitch, acc[i * mq + q])


ctypedef void (*ProductsOf)(const Products *) noexcept nogil

cdef void products_1x1(const Products *t) noexcept nogil:
    products(t, 1, 1)

cdef void products_2x1(const Products *t) noexcept nogil:
    products(t, 2, 1)

cdef void products_3x1(const Products *t) noexcept nogil:
    products(t, 3, 1)

cdef void products_4x1(const Products *t) noexcept nogil:
    products(t, 4, 1)

cdef void products_5x1(const Products *t) noexcept nogil:
    products(t, 5, 1)

cdef void products_6x1(const Products *t) noexcept nogil:
    products(t, 6, 1)

cdef void products_1x2(const Products *t) noexcept nogil:
    products(t, 1, 2)

cdef void products_2x2(const Products *t) noexcept nogil:
    products(t, 2, 2)

cdef void products_3x2(const Products *t) noexcept nogil:
    products(t, 3, 2)

cdef void products_4x2(const Products *t) noexcept nogil:
    products(t, 4, 2)

cdef void products_5x2(const Products *t) noexcept nogil:
    products(t, 5, 2)

cdef void products_6x2(const Products *t) noexcept nogil:
    products(t, 6, 2)

cdef void products_1x3(const Products *t) noexcept nogil:
    products(t, 1, min(3, NV))

cdef void products_2x3(const Products *t) noexcept nogil:
    products(t, 2, min(3, NV))

cdef void products_3x3(const Products *t) noexcept nogil:
    products(t, 3, min(3, NV))

cdef void products_4x3(const Products *t) noexcept nogil:
    products(t, 4, min(3, NV))

cdef void products_5x3(const Products *t) noexcept nogil:
    products(t, 5, min(3, NV))

cdef void products_6x3(const Products *t) noexcept nogil:
    products(t, 6, min(3, NV))

cdef void products_1x4(const Products *t) noexcept nogil:
    products(t, 1, min(4, NV))

cdef void products_2x4(const Products *t) noexcept nogil:
    products(t, 2, min(4, NV))

cdef void products_3x4(const Products *t) noexcept nogil:
    products(t, 3, min(4, NV))

cdef void products_4x4(const Products *t) noexcept nogil:
    products(t, 4, min(4, NV))

cdef void products_5x4(const Products *t) noexcept nogil:
    products(t, 5, min(4, NV))

cdef void products_6x4(const Products *t) noexcept nogil:
    products(t, 6, min(4, NV))


cdef ProductsOf PRODUCTS_OF[4][6]
PRODUCTS_OF[0][:] = [
    products_1x1, products_2x1, products_3x1, products_4x1, products_5x1, products_6x1
]
PRODUCTS_OF[1][:] = [
    products_1x2, products_2x2, products_3x2, products_4x2, products_5x2, products_6x2
]
PRODUCTS_OF[2][:] = [
    products_1x3, products_2x3, products_3x3, products_4x3, products_5x3, products_6x3
]
PRODUCTS_OF[3][:] = [
    products_1x4, products_2x4, products_3x4, products_4x4, products_5x4, products_6x4
]

# Of rows of two and of three taps, by the rows.
cdef void row_products_1x2(const Products *t) noexcept nogil:
    row_products(t, 1, 2)

cdef void row_products_2x2(const Products *t) noexcept nogil:
    row_products(t, 2, 2)

cdef void row_products_3x2(const Products *t) noexcept nogil:
    row_products(t, 3, 2)

cdef void row_products_4x2(const Products *t) noexcept nogil:
    row_products(t, 4, 2)

cdef void row_products_5x2(const Products *t) noexcept nogil:
    row_products(t, 5, 2)

cdef void row_products_6x2(const Products *t) noexcept nogil:
    row_products(t, 6, 2)

cdef void row_products_1x3(const Products *t) noexcept nogil:
    row_products(t, 1, 3)

cdef void row_products_2x3(const Products *t) noexcept nogil:
    row_products(t, 2, 3)

cdef void row_products_3x3(const Products *t) noexcept nogil:
    row_products(t, 3, 3)

cdef void row_products_4x3(const Products *t) noexcept nogil:
    row_products(t, 4, 3)


cdef ProductsOf ROW_PRODUCTS_OF[2][6]
ROW_PRODUCTS_OF[0][:] = [
    row_products_1x2, row_products_2x2, row_products_3x2, row_products_4x2, row_products_5x2,
    row_products_6x2,
]
ROW_PRODUCTS_OF[1][:4] = [row_products_1x3, row_products_2x3, row_products_3x3, row_products_4x3]
