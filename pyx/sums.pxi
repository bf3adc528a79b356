# Runs of the elements of a plane, and their sums.

cdef enum:
    SUMMED = 4096  # elements of a run: they are added up in one type before they join in `total`


cdef inline const real *run_of(
    const real *plane, Py_ssize_t pitch, Py_ssize_t columns, Py_ssize_t element, Py_ssize_t first,
    Py_ssize_t count, real *copy
) noexcept nogil:
    """Elements of a plane, counted row by row: where they lie, or a copy."""
    cdef const real *row = plane + first // columns * pitch
    cdef Py_ssize_t j = first % columns, k, part, done = 0
    if element == 1 and (pitch == columns or j + count <= columns):
        return row + j
    while done < count:
        part = min(count - done, columns - j)
        if element == 1:
            memcpy(copy + done, row + j, part * sizeof(real))
        else:
            for k in range(part):
                copy[done + k] = row[(j + k) * element]
        done += part
        row += pitch
        j = 0
    return copy


cdef inline vec lane_sums(const real *y, Py_ssize_t count) noexcept nogil:
    """The sums, lane by lane, of a run of at most SUMMED elements."""
    cdef vec acc[4]
    cdef Py_ssize_t vectors = count // LANES, j
    cdef int k
    for k in range(4):
        acc[k] = splat(0)
    for j in range(vectors // 4):
        for k in range(4):
            acc[k] += peek(y + (4 * j + k) * LANES)
    for j in range(vectors // 4 * 4, vectors):
        acc[0] += peek(y + j * LANES)
    if count % LANES > 0:
        acc[1] += load_some(y + vectors * LANES, <int> (count % LANES))
    return (acc[0] + acc[1]) + (acc[2] + acc[3])
