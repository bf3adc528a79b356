# Filters that see an image whole, or one pixel: Y of images that are the pixels of one
#
# Y[n, m] = bias[m] + sum over r of W[m, r] * X[n, r]
#
# What is summed up lies in the lanes, as it does in memory: no filter has to be transposed, which
# would take longer than to multiply it where images are few. A tile is MR filters x up to NV images
# of sums in registers; a step is a vector of each. The sums of lanes of STRETCH vectors join those
# before, and are added up in the end; in the same order for any number of images.
#
# An item of work is DOT_FILTERS filters and DOT_IMAGES images.

cdef enum:
    STRETCH = 64  # vectors
    DOT_FILTERS = 8 * MR
    DOT_IMAGES = 32


cdef struct Dots:
    int once  # see Tile
    const real *w
    const real *x
    Py_ssize_t w_m, x_n  # from filter to filter, from image to image
    Py_ssize_t count  # elements
    bint first  # nothing is in the sums yet
    real *sums  # [image][DOT_FILTERS][lane]


cdef inline void dots(const Dots *t, int mr, int nv) noexcept nogil:
    """Add to the sums of mr filters with nv images."""
    cdef vec acc[MR * NV]
    cdef vec x[NV]
    cdef vec w
    cdef const real *row[MR]
    cdef const real *image[NV]
    cdef real *sums
    cdef Py_ssize_t k, whole = t.count // LANES
    cdef int i, v, _once, rest = <int> (t.count % LANES)
    for _once in range(t.once):
        for i in range(mr):
            row[i] = t.w + i * t.w_m
            for v in range(nv):
                acc[i * nv + v] = splat(0)
        for v in range(nv):
            image[v] = t.x + v * t.x_n
        for k in range(whole):
            for v in range(nv):
                x[v] = load(image[v] + k * LANES)
            for i in range(mr):
                w = load(row[i] + k * LANES)
                for v in range(nv):
                    acc[i * nv + v] = acc[i * nv + v] + w * x[v]
        if rest > 0:
            for v in range(nv):
                x[v] = load_some(image[v] + whole * LANES, rest)
            for i in range(mr):
                w = load_some(row[i] + whole * LANES, rest)
                for v in range(nv):
                    acc[i * nv + v] = acc[i * nv + v] + w * x[v]
        for v in range(nv):
            for i in range(mr):
                sums = t.sums + (v * DOT_FILTERS + i) * LANES
                if not t.first:
                    acc[i * nv + v] += peek(sums)
                store(sums, acc[i * nv + v])


ctypedef void (*DotsOf)(const Dots *) noexcept nogil

cdef void dots_1x1(const Dots *t) noexcept nogil:
    dots(t, 1, 1)

cdef void dots_2x1(const Dots *t) noexcept nogil:
    dots(t, 2, 1)

cdef void dots_3x1(const Dots *t) noexcept nogil:
    dots(t, 3, 1)

cdef void dots_4x1(const Dots *t) noexcept nogil:
    dots(t, 4, 1)

cdef void dots_5x1(const Dots *t) noexcept nogil:
    dots(t, 5, 1)

cdef void dots_6x1(const Dots *t) noexcept nogil:
    dots(t, 6, 1)

cdef void dots_1x4(const Dots *t) noexcept nogil:
    dots(t, 1, NV)

cdef void dots_2x4(const Dots *t) noexcept nogil:
    dots(t, 2, NV)

cdef void dots_3x4(const Dots *t) noexcept nogil:
    dots(t, 3, NV)

cdef void dots_4x4(const Dots *t) noexcept nogil:
    dots(t, 4, NV)

cdef void dots_5x4(const Dots *t) noexcept nogil:
    dots(t, 5, NV)

cdef void dots_6x4(const Dots *t) noexcept nogil:
    dots(t, 6, NV)


# Of one image or of NV, by filters.
cdef DotsOf DOTS_OF[2][MR]
DOTS_OF[0][:] = [dots_1x1, dots_2x1, dots_3x1, dots_4x1, dots_5x1, dots_6x1]
DOTS_OF[1][:] = [dots_1x4, dots_2x4, dots_3x4, dots_4x4, dots_5x4, dots_6x4]


cdef void dot_stretch(
    const Job *job, Py_ssize_t filters, Py_ssize_t images, const real *w, const real *x,
    Py_ssize_t count, bint first, real *memory
) noexcept nogil:
    """Add a stretch of each filter and image to all sums, which lie at the beginning of memory."""
    cdef Dots t
    cdef Py_ssize_t tiles = parts_in(filters, MR), tile, m, n, k, i
    cdef real *packed = memory + DOT_IMAGES * DOT_FILTERS * LANES
    cdef int mr, wide
    t.once = 1
    t.first = first
    t.count = count
    t.x_n = job.s_row
    if job.s_r != 1:
        t.x_n = STRETCH * LANES
        for n in range(images):
            for k in range(count):
                packed[n * t.x_n + k] = x[n * job.s_row + k * job.s_r]
        x = packed
        packed += DOT_IMAGES * t.x_n
    for tile in range(tiles):
        m = tile * filters // tiles
        mr = <int> ((tile + 1) * filters // tiles - m)
        t.w = w + m * job.w_m
        t.w_m = job.w_m
        if job.w_r != 1:
            t.w = packed
            t.w_m = STRETCH * LANES
            for i in range(mr):
                for k in range(count):
                    packed[i * t.w_m + k] = w[(m + i) * job.w_m + k * job.w_r]
        n = 0
        while n < images:
            wide = NV if images - n >= NV else 1
            t.x = x + n * t.x_n
            t.sums = memory + (n * DOT_FILTERS + m) * LANES
            DOTS_OF[1 if wide > 1 else 0][mr - 1](&t)
            n += wide


cdef void dots_item(const Job *job, Py_ssize_t item, char *scratch) noexcept nogil:
    """Item: images, filters."""
    cdef real *memory = <real *> scratch
    cdef real flat[LANES]
    cdef vec a[LANES]
    cdef Py_ssize_t shares = parts_in(job.height, DOT_IMAGES), n = item % shares * DOT_IMAGES
    cdef Py_ssize_t images = min(job.height - n, <Py_ssize_t> DOT_IMAGES), r = 0, i, k, group, m
    cdef Py_ssize_t filters, length = STRETCH * LANES
    m = item // shares * DOT_FILTERS
    filters = min(job.m - m, <Py_ssize_t> DOT_FILTERS)
    while r < job.r:
        dot_stretch(
            job, filters, images, job.w + m * job.w_m + r * job.w_r,
            job.source + n * job.s_row + r * job.s_r, min(job.r - r, length), r == 0, memory,
        )
        r += length
    for i in range(images):
        for group in range(parts_in(filters, LANES)):
            for k in range(LANES):
                a[k] = load(memory + (i * DOT_FILTERS + group * LANES + k) * LANES)
            add_in_pairs(a, LANES)
            store(flat, a[0])
            for k in range(min(filters - group * LANES, <Py_ssize_t> LANES)):
                place_sum(job, m + group * LANES + k, n + i, flat[k])


cdef inline void place_sum(const Job *job, Py_ssize_t m, Py_ssize_t n, real s) noexcept nogil:
    if job.bias != NULL:
        s += job.bias[m * job.bias_step]
    job.out[m * job.o_m + n * job.o_row] = s


cdef void measure_dots(const Job *job, Py_ssize_t *items, Py_ssize_t *bytes) noexcept nogil:
    """The items of a call, and the memory of a thread."""
    items[0] = parts_in(job.m, DOT_FILTERS) * parts_in(job.height, DOT_IMAGES)
    bytes[0] = aligned(sizeof(real) * LANES * (
        DOT_IMAGES * DOT_FILTERS + STRETCH * ((DOT_IMAGES if job.s_r != 1 else 0) + MR) + LANES
    ))
