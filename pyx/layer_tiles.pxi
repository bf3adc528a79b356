# Tiles of layers: mr rows x nv vectors of sums in registers
#
# A step is one tap of one channel: nv loads, mr broadcasts, mr * nv multiplications. What the rows
# and the vectors are is up to those who use them: channels of the result by vectors of positions
# (layer_correlate.pxi), or positions by vectors of channels (layer_filters.pxi).


cdef enum:
    TALL = 12  # rows of a tile of one vector, and of two where there are registers for it


cdef struct Tile:
    int once  # 1: gcc 12 unrolls early, and so keeps in registers, only what lies within a loop
    const real *x[NV]
    const real *w_block  # of the first channel of the result
    const real *w
    Py_ssize_t w_m
    const Py_ssize_t *x_offset  # of the taps of a few channels, a table that is used again and
    const Py_ssize_t *w_offset  # again, moved on by as many channels
    Py_ssize_t table, x_step, w_step
    Py_ssize_t ahead  # from w to what is fetched, which no hardware foresees; 0 if it does
    Py_ssize_t steps  # in all
    bint first  # the sums begin with what is at `start`
    const real *start[NV]  # else they join it when they are done, which keeps errors down
    Py_ssize_t start_row
    real *end[NV]
    Py_ssize_t end_row


cdef inline void tile(const Tile *t, int mr, int nv) noexcept nogil:
    """A tile of mr rows x nv vectors."""
    cdef vec acc[MR * NV]
    cdef vec x[NV]
    cdef vec tap
    cdef const real *row[NV]
    cdef const real *w
    cdef const real *v_w
    cdef Py_ssize_t left, k, offset, w_m = t.w_m, ahead = t.ahead
    # Not looked up between stores, whose addresses may have the same lower digits; see simd.h.
    cdef Py_ssize_t start_row = t.start_row, end_row = t.end_row
    cdef const real *at
    cdef real *end
    cdef int i, v, _once
    for _once in range(t.once):
        for v in range(nv):
            row[v] = t.x[v]
            for i in range(mr):
                acc[i * nv + v] = splat(0)
        if t.first:
            for v in range(nv):
                at = t.start[v]
                for i in range(mr):
                    acc[i * nv + v] = load(at + i * start_row)
        w = t.w
        left = t.steps
        while left > 0:
            for k in range(min(left, t.table)):
                offset = t.x_offset[k]
                v_w = w + t.w_offset[k]
                fetch(v_w + ahead + (mr - 1) * w_m)
                if mr <= MR:
                    fetch(v_w + ahead)
                    fetch(v_w + ahead + mr // 2 * w_m)
                for v in range(nv):
                    x[v] = load(row[v] + offset)
                for i in range(mr):
                    tap = splat(v_w[i * w_m])
                    for v in range(nv):
                        acc[i * nv + v] = acc[i * nv + v] + tap * x[v]
            for v in range(nv):
                row[v] += t.x_step
            w += t.w_step
            left -= t.table
        if not t.first:
            for v in range(nv):
                at = t.start[v]
                for i in range(mr):
                    acc[i * nv + v] += peek(at + i * start_row)
        for v in range(nv):
            end = t.end[v]
            for i in range(mr):
                store(end + i * end_row, acc[i * nv + v])


cdef inline int tallest(int nv) noexcept nogil:
    """Rows of the tallest tile: no more than MR * NV sums."""
    if nv > 2:
        return MR
    return TALL if nv == 1 or NV >= 4 else MR


ctypedef void (*TileOf)(const Tile *) noexcept nogil

# A function for each size: in one large function gcc 12 spills.

cdef void tile_1x1(const Tile *t) noexcept nogil:
    tile(t, 1, 1)

cdef void tile_2x1(const Tile *t) noexcept nogil:
    tile(t, 2, 1)

cdef void tile_3x1(const Tile *t) noexcept nogil:
    tile(t, 3, 1)

cdef void tile_4x1(const Tile *t) noexcept nogil:
    tile(t, 4, 1)

cdef void tile_5x1(const Tile *t) noexcept nogil:
    tile(t, 5, 1)

cdef void tile_6x1(const Tile *t) noexcept nogil:
    tile(t, 6, 1)

cdef void tile_7x1(const Tile *t) noexcept nogil:
    tile(t, 7, 1)

cdef void tile_8x1(const Tile *t) noexcept nogil:
    tile(t, 8, 1)

cdef void tile_9x1(const Tile *t) noexcept nogil:
    tile(t, 9, 1)

cdef void tile_10x1(const Tile *t) noexcept nogil:
    tile(t, 10, 1)

cdef void tile_11x1(const Tile *t) noexcept nogil:
    tile(t, 11, 1)

cdef void tile_12x1(const Tile *t) noexcept nogil:
    tile(t, 12, 1)

cdef void tile_1x2(const Tile *t) noexcept nogil:
    tile(t, 1, 2)

cdef void tile_2x2(const Tile *t) noexcept nogil:
    tile(t, 2, 2)

cdef void tile_3x2(const Tile *t) noexcept nogil:
    tile(t, 3, 2)

cdef void tile_4x2(const Tile *t) noexcept nogil:
    tile(t, 4, 2)

cdef void tile_5x2(const Tile *t) noexcept nogil:
    tile(t, 5, 2)

cdef void tile_6x2(const Tile *t) noexcept nogil:
    tile(t, 6, 2)

cdef void tile_7x2(const Tile *t) noexcept nogil:
    tile(t, min(7, tallest(2)), 2)

cdef void tile_8x2(const Tile *t) noexcept nogil:
    tile(t, min(8, tallest(2)), 2)

cdef void tile_9x2(const Tile *t) noexcept nogil:
    tile(t, min(9, tallest(2)), 2)

cdef void tile_10x2(const Tile *t) noexcept nogil:
    tile(t, min(10, tallest(2)), 2)

cdef void tile_11x2(const Tile *t) noexcept nogil:
    tile(t, min(11, tallest(2)), 2)

cdef void tile_12x2(const Tile *t) noexcept nogil:
    tile(t, min(12, tallest(2)), 2)

cdef void tile_1x3(const Tile *t) noexcept nogil:
    tile(t, 1, min(3, NV))

cdef void tile_2x3(const Tile *t) noexcept nogil:
    tile(t, 2, min(3, NV))

cdef void tile_3x3(const Tile *t) noexcept nogil:
    tile(t, 3, min(3, NV))

cdef void tile_4x3(const Tile *t) noexcept nogil:
    tile(t, 4, min(3, NV))

cdef void tile_5x3(const Tile *t) noexcept nogil:
    tile(t, 5, min(3, NV))

cdef void tile_6x3(const Tile *t) noexcept nogil:
    tile(t, 6, min(3, NV))

cdef void tile_1x4(const Tile *t) noexcept nogil:
    tile(t, 1, min(4, NV))

cdef void tile_2x4(const Tile *t) noexcept nogil:
    tile(t, 2, min(4, NV))

cdef void tile_3x4(const Tile *t) noexcept nogil:
    tile(t, 3, min(4, NV))

cdef void tile_4x4(const Tile *t) noexcept nogil:
    tile(t, 4, min(4, NV))

cdef void tile_5x4(const Tile *t) noexcept nogil:
    tile(t, 5, min(4, NV))

cdef void tile_6x4(const Tile *t) noexcept nogil:
    tile(t, 6, min(4, NV))


# By vectors and rows.
cdef TileOf TILE_OF[4][TALL]
TILE_OF[0][:] = [
    tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1,
    tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1,
]
TILE_OF[1][:] = [
    tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2,
    tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2,
]
TILE_OF[2][:MR] = [tile_1x3, tile_2x3, tile_3x3, tile_4x3, tile_5x3, tile_6x3]
TILE_OF[3][:MR] = [tile_1x4, tile_2x4, tile_3x4, tile_4x4, tile_5x4, tile_6x4]
