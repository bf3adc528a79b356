# Pictures: LANES planes of a depthwise layer side by side, [row][column][channel], with padding
#
# They are transposed in squares on the way in.

cdef struct Picture:
    const real *planes[LANES]
    real *square  # LANES x LANES, for a transpose
    Py_ssize_t row, column, height, width  # of the planes: steps and sizes
    int mode
    Py_ssize_t first, rows  # of the planes that the picture holds
    Py_ssize_t before, pitch  # padding on the left; vectors from row to row
    real *pixels


cdef inline void transpose_planes(
    real *to, const real *const *planes, Py_ssize_t pixel
) noexcept nogil:
    """LANES pixels of as many planes."""
    cdef vec a[LANES]
    cdef int i
    for i in range(LANES):
        a[i] = load(planes[i] + pixel)
    turn_square(a)
    for i in range(LANES):
        store(to + i * LANES, a[i])


cdef void show_pixels(
    const Picture *p, Py_ssize_t base, Py_ssize_t count, Py_ssize_t to
) noexcept nogil:
    """`count` pixels that follow one another from `base` on, from row `to` of the picture on."""
    cdef Py_ssize_t j = 0, i, row, column, size
    cdef real *to_pixel
    while j < count:
        size = min(count - j, <Py_ssize_t> LANES)
        if size < LANES and count >= LANES and p.column == 1:
            j = count - LANES  # overlaps the one before
            size = LANES
        row = j // p.width
        column = j % p.width
        to_pixel = p.pixels + ((to + row) * p.pitch + p.before + column) * LANES
        if size == LANES and p.column == 1:
            if column + size <= p.width:
                transpose_planes(to_pixel, p.planes, base + j)
                j += size
                continue
            transpose_planes(p.square, p.planes, base + j)
        else:
            for i in range(size * LANES):
                p.square[i] = p.planes[i % LANES][base + (j + i // LANES) * p.column]
        for i in range(size):
            store(to_pixel, peek(p.square + i * LANES))
            to_pixel += LANES
            column += 1
            if column == p.width:
                column = 0
                to_pixel += (p.pitch - p.width) * LANES
        j += size


cdef void pad_row(const Picture *p, Py_ssize_t i) noexcept nogil:
    """The columns of one row of a picture that lie in padding."""
    cdef real *row = p.pixels + i * p.pitch * LANES
    cdef Py_ssize_t j, from_
    for j in range(p.pitch):
        if p.before <= j < p.before + p.width:
            continue
        from_ = source(j - p.before, p.width, p.mode)
        store(
            row + j * LANES, splat(0) if from_ < 0 else peek(row + (p.before + from_) * LANES)
        )


cdef void show(const Picture *p) noexcept nogil:
    """Fill a picture."""
    cdef Py_ssize_t i = 0, row, count
    cdef bint dense = p.row == p.width and p.column == 1 and p.width < 2 * LANES
    while i < p.rows:
        row = source(p.first + i, p.height, p.mode)
        count = 1
        if row < 0:
            memset(p.pixels + i * p.pitch * LANES, 0, p.pitch * LANES * sizeof(real))
        else:
            if dense and 0 <= p.first + i < p.height:
                count = min(p.rows - i, p.height - row)
            show_pixels(p, row * p.row, count * p.width, i)
            for row in range(i, i + count):
                pad_row(p, row)
        i += count
