# Sums of runs of elements, for the gradient of the bias.

cdef enum:
    SUMMED = 4096  # elements of a run: they are added up in one type before they join in `total`


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
