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
    Py_ssize_t vectors  # of each
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
    cdef Py_ssize_t k
    cdef int i, v, _once
    for _once in range(t.once):
        for i in range(mr):
            row[i] = t.w + i * t.w_m
            for v in range(nv):
                acc[i * nv + v] = splat(0)
        for v in range(nv):
            image[v] = t.x + v * t.x_n
        for k in range(t.vectors):
            for v in range(nv):
                x[v] = load(image[v] + k * LANES)
            for i in range(mr):
                w = load(row[i] + k * LANES)
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


cdef const real *with_unit_rows(
    const real *rows, Py_ssize_t *pitch, Py_ssize_t element, Py_ssize_t count, Py_ssize_t size,
    real *copies
) noexcept nogil:
    """Rows, or copies of them where their elements lie apart or do not fill a vector."""
    cdef Py_ssize_t i, k, apart = parts_in(size, LANES) * LANES
    if element == 1 and size % LANES == 0:
        return rows
    memset(copies, 0, count * apart * sizeof(real))
    for i in range(count):
        for k in range(size):
            copies[i * apart + k] = rows[i * pitch[0] + k * element]
    pitch[0] = apart
    return copies


cdef void dot_stretch(
    const Job *job, Py_ssize_t m, Py_ssize_t filters, Py_ssize_t n, Py_ssize_t images, Py_ssize_t r,
    Py_ssize_t size, real *memory
) noexcept nogil:
    """Add a stretch of each filter and image to all sums, which lie at the beginning of memory."""
    cdef Dots t
    cdef Py_ssize_t tiles = parts_in(filters, MR), tile, first, left, wide
    cdef real *copies = memory + DOT_IMAGES * DOT_FILTERS * LANES
    cdef const real *x
    cdef int mr
    t.once = 1
    t.first = r == 0
    t.vectors = parts_in(size, LANES)
    t.x_n = job.s_row
    x = with_unit_rows(
        job.source + n * job.s_row + r * job.s_r, &t.x_n, job.s_r, images, size, copies
    )
    if x == copies:
        copies += DOT_IMAGES * t.x_n
    for tile in range(tiles):
        first = tile * filters // tiles
        mr = <int> ((tile + 1) * filters // tiles - first)
        t.w_m = job.w_m
        t.w = with_unit_rows(
            job.w + (m + first) * job.w_m + r * job.w_r, &t.w_m, job.w_r, mr, size, copies
        )
        t.x = x
        t.sums = memory + first * LANES
        left = images
        while left > 0:
            wide = NV if left >= NV else 1
            DOTS_OF[1 if left >= NV else 0][mr - 1](&t)
            t.x += wide * t.x_n
            t.sums += wide * DOT_FILTERS * LANES
            left -= wide


cdef void dots_item(const Job *job, Py_ssize_t item, char *scratch) noexcept nogil:
    """Item: images, filters."""
    cdef real *memory = <real *> scratch
    cdef real flat[LANES]
    cdef vec a[LANES]
    cdef Py_ssize_t shares = parts_in(job.height, DOT_IMAGES), n = item % shares * DOT_IMAGES
    cdef Py_ssize_t images = min(job.height - n, <Py_ssize_t> DOT_IMAGES), r = 0, i, k, group, m
    cdef Py_ssize_t filters, size
    m = item // shares * DOT_FILTERS
    filters = min(job.m - m, <Py_ssize_t> DOT_FILTERS)
    while r < job.r:
        size = min(job.r - r, <Py_ssize_t> STRETCH * LANES)
        if size > LANES:  # what is left over does not fill a vector
            size = size // LANES * LANES
        dot_stretch(job, m, filters, n, images, r, size, memory)
        r += size
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
        DOT_IMAGES * DOT_FILTERS + LANES
        + (MR if job.w_r == 1 else MR * STRETCH)
        + (DOT_IMAGES if job.s_r == 1 else DOT_IMAGES * STRETCH)
    ))
