# Depthwise layers at stride 1: the kernels of one plane for many small ones
#
# Y[n, k] is made of X[n, k // multiplier] and W[k] alone. The threads share the planes; what all
# have in common is laid out once. For dW an item of work is a filter and a band of the images, of
# which there are as many as the sizes say; the sums of the bands are added up in their order.

cdef enum:
    IMAGE_BANDS = 8  # items of dW, where there are as many images


cdef Plane plane_of(const PlaneSet *set, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef Plane p = set.plane
    p.x = <const real *> p.x + n * set.x_image + k // set.multiplier * set.x_channel
    p.w = <real *> p.w + k * set.w_channel
    p.y = <real *> p.y + n * set.y_image + k * set.y_channel
    if p.bias != NULL:
        p.bias = <const real *> p.bias + k * set.bias_step
    return p


cdef void correlate_planes(
    const PlaneSet *set, const Layout *cut, Py_ssize_t first, Py_ssize_t last, char *scratch
) noexcept nogil:
    """Planes first to last of Y: they count channels, then images."""
    cdef Py_ssize_t item
    cdef Plane p
    for item in range(first, last):
        p = plane_of(set, item // set.channels, item % set.channels)
        if p.mode == ZEROS and not is_finite(<const real *> p.w, p.a, p.b, p.w_row, p.w_col):
            correlate_rows_exactly(&p, 0, p.oh)
        else:
            correlate_rows(&p, cut, 0, p.oh, scratch)


cdef int correlate_set(const PlaneSet *planes) noexcept nogil:
    cdef PlaneSet set = planes[0]
    cdef Layout cut
    cdef Py_ssize_t thread, items = set.images * set.channels
    cdef char *memory
    set.plane.band = parts_in(min(set.plane.band, set.plane.oh), MR) * MR
    set.plane.strip = vectors_in(set.plane.strip) * LANES
    cut = lay_out(&set.plane)
    memory = <char *> malloc(set.threads * cut.bytes + 64)
    if memory == NULL:
        return -1
    if set.threads == 1:
        correlate_planes(&set, &cut, 0, items, align(memory))
    else:
        for thread in prange(set.threads, num_threads=<int> set.threads, schedule="static"):
            correlate_planes(
                &set, &cut, thread * items // set.threads, (thread + 1) * items // set.threads,
                align(memory) + thread * cut.bytes,
            )
    free(memory)
    return 0


cdef void weight_planes(
    const PlaneSet *set, Py_ssize_t k, Py_ssize_t first, Py_ssize_t last, total *sums,
    total *of_bands, char *scratch
) noexcept nogil:
    """The sums of one filter over images first to last."""
    cdef Py_ssize_t n, i, taps = set.plane.a * set.plane.b, bands
    cdef Plane p
    bands = parts_in(set.plane.oh, set.plane.band)
    memset(sums, 0, taps * sizeof(total))
    for n in range(first, last):
        p = plane_of(set, n, k)
        weight_share(&p, 0, of_bands, NULL, scratch)
        for i in range(bands * taps):
            sums[i % taps] += of_bands[i]


cdef void weight_filter(
    const PlaneSet *set, Py_ssize_t k, Py_ssize_t bands, const total *sums
) noexcept nogil:
    """One filter from the sums of all bands, and exactly where it is not finite."""
    cdef Py_ssize_t i, band, n, taps = set.plane.a * set.plane.b
    cdef Plane p = plane_of(set, 0, k)
    cdef real *w
    cdef total s
    for i in range(taps):
        s = 0
        for band in range(bands):
            s += sums[(band * set.channels + k) * taps + i]
        w = <real *> p.w + i // p.b * p.w_row + i % p.b * p.w_col
        w[0] = <real> s
        if not is_finite(w, 1, 1, 0, 0):
            s = 0
            for n in range(set.images):
                p = plane_of(set, n, k)
                s += weight_exactly(&p, i // p.b, i % p.b)
            w[0] = <real> s


cdef int weight_set(const PlaneSet *planes) noexcept nogil:
    cdef PlaneSet set = planes[0]
    cdef Py_ssize_t bands, items, item, k, thread, taps = set.plane.a * set.plane.b
    cdef size_t sums, bytes
    cdef char *memory
    set.plane.band = whole_band(&set.plane)
    set.plane.strip = vectors_in(set.plane.strip) * LANES
    bands = max(min(parts_in(IMAGE_BANDS, set.channels), set.images), <Py_ssize_t> 1)
    items = bands * set.channels
    sums = aligned(items * taps * sizeof(total))
    bytes = weight_bytes(&set.plane) + aligned(
        parts_in(set.plane.oh, set.plane.band) * taps * sizeof(total)
    )
    memory = <char *> malloc(64 + sums + set.threads * bytes)
    if memory == NULL:
        return -1
    if set.threads == 1:
        weight_items(&set, bands, 0, items, align(memory), sums)
    else:
        for thread in prange(set.threads, num_threads=<int> set.threads, schedule="static"):
            weight_items(
                &set, bands, thread * items // set.threads, (thread + 1) * items // set.threads,
                align(memory), sums + thread * bytes,
            )
    for k in prange(set.channels, num_threads=<int> set.threads, schedule="static"):
        weight_filter(&set, k, bands, <const total *> align(memory))
    free(memory)
    return 0


cdef void weight_items(
    const PlaneSet *set, Py_ssize_t bands, Py_ssize_t first, Py_ssize_t last, char *memory,
    size_t scratch
) noexcept nogil:
    """Items first to last. Memory: sums of all items, scratch of the threads."""
    cdef Py_ssize_t item, band, k, taps = set.plane.a * set.plane.b
    cdef total *sums = <total *> memory
    cdef total *of_bands = <total *> (memory + scratch + weight_bytes(&set.plane))
    for item in range(first, last):
        band = item // set.channels
        k = item % set.channels
        weight_planes(
            set, k, band * set.images // bands, (band + 1) * set.images // bands,
            sums + item * taps, of_bands, memory + scratch,
        )
