"""One plane for one element type and one instruction level: Y, the gradient of W, sums, shifts.

Built once for each element type and level. Pointers, sizes and a plan come in (`kernels.pxd`);
nothing is decided here and Python is never seen.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kernels cimport MAX_FILTER, Kernels, Plane


cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef double total
    ctypedef float vec
    enum:
        LANES, MR, NV, RS, TAPS
    vec load(const real *)
    void store(real *, vec)
    vec splat(real)
    vec add_product(vec, vec, vec)


cdef inline Py_ssize_t parts_in(Py_ssize_t count, Py_ssize_t size) noexcept nogil:
    return (count + size - 1) // size


cdef inline Py_ssize_t vectors_in(Py_ssize_t columns) noexcept nogil:
    return parts_in(columns, LANES)


cdef inline size_t aligned(size_t count) noexcept nogil:
    return (count + 63) // 64 * 64


cdef inline char *align(char *memory) noexcept nogil:
    return <char *> aligned(<size_t> memory)


# ---------------------------------------------------------------- what stands outside X


include "padding.pxi"


cdef void copy_padded(
    real *to, Py_ssize_t pitch, const real **copies, const real **rows, Py_ssize_t row_count,
    Py_ssize_t n, Py_ssize_t first, Py_ssize_t count, int mode
) noexcept nogil:
    """copies[r] = a padded copy of rows[r] from column `first` on; left alone where that is NULL.

    Zeros may go up to LANES - 1 elements past `count`: the pitch or the next row has room for them.
    """
    cdef Py_ssize_t low = min(max(-first, 0), count)  # in front of the row
    cdef Py_ssize_t high = max(min(n - first, count), low)  # behind it
    cdef Py_ssize_t r
    cdef const real *row
    for r in range(row_count):
        row = rows[r]
        if row == NULL:
            continue
        copies[r] = to + r * pitch
        copy_row(to + r * pitch, row, n, first, low, high, count, mode)


cdef inline void copy_row(
    real *to, const real *row, Py_ssize_t n, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high,
    Py_ssize_t count, int mode
) noexcept nogil:
    """Padding up to low and from high on; row[first + k] between."""
    cdef Py_ssize_t k
    if mode == ZEROS:
        for k in range(vectors_in(low)):
            store(to + k * LANES, splat(0))
        for k in range(vectors_in(count - high)):
            store(to + high + k * LANES, splat(0))
    else:
        for k in range(low):
            to[k] = row[source(first + k, n, mode)]
        for k in range(high, count):
            to[k] = row[source(first + k, n, mode)]
    if high - low < LANES:
        for k in range(low, high):
            to[k] = row[first + k]
        return
    for k in range((high - low) // LANES):
        store(to + low + k * LANES, load(row + first + low + k * LANES))
    store(to + high - LANES, load(row + first + high - LANES))


cdef void point_at_rows(
    const Plane *p, const real **rows, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """rows[r] = the row of X that stands at first + r, NULL where that is a row of zeros."""
    cdef Py_ssize_t r, i
    for r in range(count):
        i = source(first + r, p.m, p.mode)
        if i < 0:
            rows[r] = NULL
        else:
            rows[r] = <const real *> p.x + i * p.x_pitch


# ---------------------------------------------------------------- in every kernel


cdef bint is_finite(
    const real *w, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t row, Py_ssize_t column
) noexcept nogil:
    cdef Py_ssize_t p, q
    cdef real zero = 0
    for p in range(rows):
        for q in range(columns):
            if w[p * row + q * column] * zero != 0:
                return False
    return True


cdef total row_dot(const real *x, const real *y, Py_ssize_t count, int y_moves) noexcept nogil:
    """The sum of x[j] * y[j], or of x[j] times the first 4 * LANES of y where y does not move."""
    cdef vec acc[4]
    cdef real flat[4 * LANES]
    cdef Py_ssize_t end, j = 0
    cdef int t
    cdef total s = 0
    while j + 4 * LANES <= count:
        end = min(j + 4 * LANES * FLUSH, count)
        for t in range(4):
            acc[t] = splat(0)
        while j + 4 * LANES <= end:
            for t in range(4):
                acc[t] = acc[t] + load(x + j + t * LANES) * load(y + j * y_moves + t * LANES)
            j += 4 * LANES
        for t in range(4):
            store(flat + t * LANES, acc[t])
        for t in range(4 * LANES):
            s += flat[t]
    while j < count:
        s += x[j] * y[j * y_moves]
        j += 1
    return s


include "correlate.pxi"
include "weight.pxi"


# ---------------------------------------------------------------- sums and shifts


cdef total band_sum(const Plane *p, Py_ssize_t band) noexcept nogil:
    """The sum of the rows of Y in one band."""
    cdef real ones[4 * LANES]
    cdef total s = 0
    cdef Py_ssize_t i
    for i in range(4 * LANES):
        ones[i] = 1
    for i in range(band * p.band, min((band + 1) * p.band, p.oh)):
        s += row_dot(<const real *> p.y + i * p.y_pitch, ones, p.ow, 0)
    return s


cdef int add_up(const Plane *p) noexcept nogil:
    cdef Py_ssize_t band, bands = parts_in(p.oh, p.band)
    cdef total *sums = <total *> malloc(bands * sizeof(total))
    cdef total s = 0
    if sums == NULL:
        return -1
    for band in prange(bands, num_threads=<int> p.threads, schedule="static"):
        sums[band] = band_sum(p, band)
    for band in range(bands):
        s = s + sums[band]
    (<real *> p.w)[0] = <real> s
    free(sums)
    return 0


cdef int dot(const Plane *p) noexcept nogil:
    cdef Py_ssize_t begin = min(max(p.left, 0), p.b), end = max(min(p.n + p.left, p.b), begin)
    cdef Py_ssize_t k, first = max(p.top, 0), last = min(p.m + p.top, p.a)
    cdef const real *x
    cdef total s = 0
    if begin < end:
        for k in range(first, last):
            x = <const real *> p.x + (k - p.top) * p.x_pitch + begin - p.left
            s += row_dot(<const real *> p.w + k * p.w_row + begin, x, end - begin, 1)
    (<real *> p.y)[0] = <real> s
    return 0


cdef int shift(const Plane *p) noexcept nogil:
    cdef Py_ssize_t begin = min(max(p.left, 0), p.ow), end = max(min(p.n + p.left, p.ow), begin)
    cdef Py_ssize_t i, j
    cdef const real *x
    cdef real *y
    for i in range(p.oh):
        y = <real *> p.y + i * p.y_pitch
        for j in range(p.ow):
            y[j] = 0
        if 0 <= i - p.top < p.m and begin < end:
            x = <const real *> p.x + (i - p.top) * p.x_pitch + begin - p.left
            for j in range(begin, end):
                y[j] = x[j - begin]
    return 0


cdef Kernels KERNELS
KERNELS.correlate = correlate
KERNELS.weight = weight
KERNELS.add_up = add_up
KERNELS.dot = dot
KERNELS.shift = shift

kernels = PyCapsule_New(&KERNELS, "conv2d.kernels", NULL)
