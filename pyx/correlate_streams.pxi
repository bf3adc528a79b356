# Rows of tiles of Y that go past the caches, of which Y would leave nothing to X
#
# A line of the cache that is written whole need not be read before, unless it is written once more.
# So each row of Y is made from left to right: the vectors of tiles are put together to lines, rows
# beginning anywhere in them; what columns at the edges and the last tile make is kept until lines
# can be made of it. Rows share the lines at their ends alone.

cdef enum:
    PADDED = 64  # columns of Y on either side that are read from copies; if more, then all are
    STREAMED = 2 * PADDED + (NV + 2) * LANES  # elements of a row of what is kept


cdef inline Py_ssize_t columns_of_tiles(const Strip *s) noexcept nogil:
    """Of the tiles that most of a row is made of."""
    return (2 if NV > 2 and s.a == s.b == SIDE else NV) * LANES


cdef inline bint rows_are_vectors(const real *y, Py_ssize_t y_pitch) noexcept nogil:
    """Whether whole vectors fill lines, or parts of them, of all rows."""
    return y_pitch % LANES == 0 and before_line(y) == LANES


cdef void begin_lines(
    Slide *slide, real *y, Py_ssize_t y_pitch, const real *kept, Py_ssize_t columns
) noexcept nogil:
    """Begin each row, with columns at the left edge that are kept, if any."""
    cdef int t
    cdef Py_ssize_t j
    slide.whole = rows_are_vectors(y, y_pitch)
    for t in range(MR):
        j = before_line(y)
        if columns > 0:
            store_some(y, load(kept), <int> j)
            while j + LANES <= columns:
                stream(y + j, load(kept + j))
                j += LANES
            slide.before[t] = load(kept + columns - LANES)
            kept += STREAMED
        y = after(y, y_pitch)
    slide.first = columns == 0


cdef void end_lines(
    real *y, Py_ssize_t y_pitch, const real *kept, Py_ssize_t columns
) noexcept nogil:
    """End each row with so many columns that are kept, from a vector of the slide on."""
    cdef int t
    cdef Py_ssize_t j
    for t in range(MR):
        j = before_line(y)
        while j + LANES <= columns:
            stream(y + j, load(kept + j))
            j += LANES
        store_some(y + j, load(kept + j), <int> (columns - j))
        kept += STREAMED
        y = after(y, y_pitch)


cdef void stream_tiles(
    Strip *s, const real **edges, Py_ssize_t edges_pitch, Py_ssize_t first, Py_ssize_t columns,
    Py_ssize_t edge, real *kept
) noexcept nogil:
    """A row of tiles of so many columns of Y, from `first` on counted as X counts them.

    As many as `edge` on either side are read from copies, whose rows are given.
    """
    cdef Slide slide
    cdef Strip some = s[0]
    cdef Py_ssize_t tile = columns_of_tiles(s), inner = columns - 2 * edge, t
    cdef Py_ssize_t made = (inner - 1) // tile * tile, vectors = vectors_in(inner - made)
    cdef real *y = s.y + first
    cdef real *tail = kept + PADDED  # from a vector before the last tile on
    for t in range(MR):  # lines that are written in parts
        fetch(y + t * s.y_pitch)
        fetch(y + t * s.y_pitch + columns - 1)
    some.y_pitch = STREAMED
    if edge > 0:
        set_rows(&some, edges, edges_pitch)
        some.y = kept
        some.y_step = PADDED + LANES + inner - made
        make_tiles(&some, 0, 0, edge)
    begin_lines(&slide, y, s.y_pitch, kept, edge)
    some = s[0]
    some.slide = &slide
    first += edge
    y += edge
    make_tiles(&some, NV, first, first + made)
    some.slide = NULL
    for t in range(MR):
        store(tail + t * STREAMED, slide.before[t])
    some.y = tail + LANES - first - made
    some.y_pitch = STREAMED
    make_tiles(&some, vectors, first + inner - vectors * LANES, first + inner)
    end_lines(y + made - LANES, s.y_pitch, tail, LANES + columns - edge - made)
