# The gradient of the bias: sums of planes of Y
#
# db[m] = sum over n, u, v of Y[n, m, u, v]
#
# A plane is summed up run by run, in the lanes of a vector; the lanes of as many planes as a vector
# has are added up at once. The sums of planes, or of several images' where there are too many of
# them, are kept and added up in the order of the images.

cdef enum:
    PLANE_SUMS = 1 << 17  # at most


cdef inline Py_ssize_t images_of_sum(const Layer *p) noexcept nogil:
    """Images whose planes are summed up together: one, where there are not too many planes."""
    return max(parts_in(p.n * p.groups * p.k, PLANE_SUMS), <Py_ssize_t> 1)


cdef inline Py_ssize_t plane_sums(const Layer *p) noexcept nogil:
    """How many there are."""
    return p.groups * p.k * parts_in(p.n, images_of_sum(p))


cdef void sum_planes(const Layer *p, Py_ssize_t first, Py_ssize_t last, total *sums) noexcept nogil:
    """Sums from first to last, which count channels, then images."""
    cdef Py_ssize_t channels = p.groups * p.k, images = images_of_sum(p), image, n, m, i, begin
    cdef Py_ssize_t elements = p.rows.outputs * p.columns.outputs, count, run
    cdef const real *y
    cdef real copy[SUMMED]
    cdef real flat[LANES]
    cdef vec a[LANES]
    cdef int k
    for i in range(first, last):
        sums[i] = 0
    while first < last:
        count = min(last - first, <Py_ssize_t> LANES)
        for image in range(images):
            for run in range(parts_in(elements, SUMMED)):
                begin = run * SUMMED
                for k in range(LANES):
                    a[k] = splat(0)
                for k in range(<int> count):
                    m = (first + k) % channels
                    n = (first + k) // channels * images + image
                    if n < p.n:
                        i = min(elements - begin, <Py_ssize_t> SUMMED)
                        y = <const real *> p.y + n * p.y_n + m * p.y_k
                        y = run_of(y, p.y_row, p.columns.outputs, p.y_col, begin, i, copy)
                        a[k] = lane_sums(y, i)
                add_in_pairs(a, LANES)
                store(flat, a[0])
                for k in range(<int> count):
                    sums[first + k] += flat[k]
        first += count


cdef void bias_of_sums(const Layer *p, const total *sums) noexcept nogil:
    cdef Py_ssize_t channels = p.groups * p.k, blocks = parts_in(p.n, images_of_sum(p)), m, i
    cdef total s
    for m in range(channels):
        s = 0
        for i in range(blocks):
            s += sums[i * channels + m]
        (<real *> p.w)[m * p.w_k] = <real> s
