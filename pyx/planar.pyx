"""One plane for one element type and one instruction level: Y, the gradient of W, sums, shifts.

Built once for each element type and level. Pointers, sizes and a plan come in (`kernels.pxd`);
nothing is decided here and Python is never seen.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint16_t, uint32_t

from kernels cimport (
    AS_IT_IS, EDGE, FLOAT16, INT8, INT16, INT32, MAX_FILTER, SOURCE_UINT32, SYMMETRIC, UINT8,
    UINT16, WRAP, ZEROS, Kernels, Plane, PlaneSet
)


cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef double total
    ctypedef float vec
    enum:
        LANES, RS, TALL_RS, TAP_ROWS, TAPS, PRODUCTS, MOST_PRODUCTS, SPREAD
        FAST_PRODUCTS, STREAMS, SLIDES
        MR "PLANE_ROWS"
        NV "PLANE_VECTORS"
        GROUP "PLANE_TAPS"
    vec load(const real *)
    real *after(const real *, Py_ssize_t)
    vec hold(vec)
    void store(real *, vec)
    void stream(real *, vec)
    void end_streams()
    vec places_from(int)
    vec part_of_two(vec, vec, vec)
    void store_some(real *, vec, int)
    vec splat(real)
    vec spread(const real *)
    vec add_product(vec, vec, vec)
    vec between(vec, vec)
    void fetch(const real *)
    vec peek(const real *)
    vec load_some(const real *, int)
    vec only(vec, vec)
    real flag(int)
    float half(uint16_t)
    uint16_t to_half(float)
    vec from_halves(const uint16_t *)
    void to_halves(uint16_t *, vec)


include "common.pxi"
include "sums.pxi"

cdef enum:
    AHEAD = 256  # columns further on, what is fetched there before it is met


cdef inline bint is_far(const Plane *p) noexcept nogil:
    """Whether rows come from so far away that they are worth fetching ahead."""
    return p.oh * p.ow * <Py_ssize_t> sizeof(real) >= FAR


cdef inline void fetch_rows(const real *row, Py_ssize_t pitch, int rows) noexcept nogil:
    """What some rows hold further on."""
    cdef int _row
    row += AHEAD
    for _row in range(rows):
        fetch(row)
        row = after(row, pitch)


cdef inline Py_ssize_t vectors_in(Py_ssize_t columns) noexcept nogil:
    return parts_in(columns, LANES)


cdef inline Py_ssize_t pitch_of(Py_ssize_t columns) noexcept nogil:
    """From row to row of a copy: an odd number of cache lines, so that rows lie in sets apart."""
    cdef Py_ssize_t line = 64 // sizeof(real)
    return (parts_in(columns, line) // 2 * 2 + 1) * line


cdef inline const real *end_of(
    const void *x, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pitch
) noexcept nogil:
    """Where the memory of a plane ends."""
    return <const real *> x + max((rows - 1) * pitch, <Py_ssize_t> 0) + columns


cdef void copy_padded(
    real *to, Py_ssize_t pitch, const real **copies, const real **rows, Py_ssize_t row_count,
    Py_ssize_t n, Py_ssize_t first, Py_ssize_t count, int mode, const real *end
) noexcept nogil:
    """copies[r] = a padded copy of rows[r] from column `first` on; left alone where that is NULL.

    Each copy has its place, `pitch` behind the one before. The plane ends at `end`. Up to LANES
    elements past `count` may be written: the pitch or the next row has room for them.
    """
    cdef Py_ssize_t low = min(max(-first, 0), count)  # in front of the row
    cdef Py_ssize_t high = max(min(n - first, count), low)  # behind it
    cdef Py_ssize_t r, k, vectors = vectors_in(high - low)
    cdef bint simple = mode == ZEROS and low <= LANES and count - high <= LANES and low < high
    cdef vec zero = load(NOTHING)  # as a constant it would become calls of memset
    cdef const real *row
    for r in range(row_count):
        row = rows[r]
        if row != NULL:
            copies[r] = to
            if simple and row + first + low + vectors * LANES <= end:
                if low > 0:
                    store(to, zero)
                for k in range(vectors):
                    store(to + low + k * LANES, load(row + first + low + k * LANES))
                if high < count:
                    store(to + high, zero)
            else:
                copy_row(to, row, n, first, low, high, count, mode)
        to += pitch


cdef real NOTHING[LANES]


cdef inline void copy_row(
    real *to, const real *row, Py_ssize_t n, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high,
    Py_ssize_t count, int mode
) noexcept nogil:
    """Padding up to low and from high on; row[first + k] between."""
    cdef Py_ssize_t k
    cdef vec zero = load(NOTHING)  # as a constant it would become calls of memset
    if mode == ZEROS:
        for k in range(vectors_in(low)):
            store(to + k * LANES, zero)
        for k in range(vectors_in(count - high)):
            store(to + high + k * LANES, zero)
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
    cdef Py_ssize_t pitch = p.x_pitch * bytes_of(p.x_kind)
    for r in range(count):
        i = source(first + r, p.m, p.mode)
        if i < 0:
            rows[r] = NULL
        else:
            rows[r] = <const real *> (<const char *> p.x + i * pitch)


# ---------------------------------------------------------------- elements of another type


ctypedef fused element:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    uint32_t
    float


cdef inline Py_ssize_t bytes_of(int kind) noexcept nogil:
    if kind == AS_IT_IS:
        return sizeof(real)
    if kind <= UINT8:
        return 1
    return 2 if kind <= UINT16 or kind == FLOAT16 else 4


cdef inline void convert(real *to, const element *row, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(count):
        to[k] = <real> row[k]


cdef inline void convert_halves(real *to, const uint16_t *row, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k, vectors = count // LANES
    for k in range(vectors):
        store(to + k * LANES, from_halves(row + k * LANES))
    for k in range(vectors * LANES, count):
        to[k] = <real> half(row[k])


cdef void convert_row(
    real *to, const void *row, Py_ssize_t first, Py_ssize_t count, int kind
) noexcept nogil:
    """Elements of a row from `first` on."""
    if kind == INT8:
        convert(to, <const int8_t *> row + first, count)
    elif kind == UINT8:
        convert(to, <const uint8_t *> row + first, count)
    elif kind == INT16:
        convert(to, <const int16_t *> row + first, count)
    elif kind == UINT16:
        convert(to, <const uint16_t *> row + first, count)
    elif kind == INT32:
        convert(to, <const int32_t *> row + first, count)
    elif kind == SOURCE_UINT32:
        convert(to, <const uint32_t *> row + first, count)
    elif kind == FLOAT16:
        convert_halves(to, <const uint16_t *> row + first, count)
    else:
        convert(to, <const float *> row + first, count)


cdef void narrow_row(void *to, const real *row, Py_ssize_t count, int kind) noexcept nogil:
    """Elements of Y, rounded to float16 or wrapped to 8 bits."""
    cdef Py_ssize_t k, vectors = count // LANES
    if kind == FLOAT16:
        for k in range(vectors):
            to_halves(<uint16_t *> to + k * LANES, load(row + k * LANES))
        for k in range(vectors * LANES, count):
            (<uint16_t *> to)[k] = to_half(<float> row[k])
    else:
        for k in range(count):
            (<uint8_t *> to)[k] = <uint8_t> row[k]


cdef void convert_padded(
    const Plane *p, real *to, Py_ssize_t pitch, const real **copies, const real **rows,
    Py_ssize_t row_count, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """`copy_padded` of rows whose elements are of another type."""
    cdef Py_ssize_t low = min(max(-first, 0), count), high = max(min(p.n - first, count), low)
    cdef Py_ssize_t r
    for r in range(row_count):
        if rows[r] != NULL:
            copies[r] = to
            convert_row(to + low, rows[r], first + low, high - low, p.x_kind)
            convert_padding(p, to, rows[r], first, 0, low)
            convert_padding(p, to, rows[r], first, high, count)
        to += pitch


cdef inline void convert_padding(
    const Plane *p, real *to, const real *row, Py_ssize_t first, Py_ssize_t begin, Py_ssize_t end
) noexcept nogil:
    cdef Py_ssize_t k, i
    for k in range(begin, end):
        i = source(first + k, p.n, p.mode)
        if i < 0:
            to[k] = 0
        else:
            convert_row(to + k, row, i, 1, p.x_kind)


cdef inline void copy_or_convert(
    const Plane *p, real *to, Py_ssize_t pitch, const real **copies, const real **rows,
    Py_ssize_t row_count, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """`copy_padded` of rows of X, of whatever type it is."""
    if p.x_kind != AS_IT_IS:
        convert_padded(p, to, pitch, copies, rows, row_count, first, count)
    else:
        copy_padded(
            to, pitch, copies, rows, row_count, p.n, first, count, p.mode,
            end_of(p.x, p.m, p.n, p.x_pitch),
        )


cdef enum:
    FEW = 128  # elements that are looked at a time where sums are exact


cdef inline const real *piece_of(
    const Plane *p, real *room, Py_ssize_t i, Py_ssize_t j, Py_ssize_t count
) noexcept nogil:
    """Elements of row i of X, from column j on; in `room` where they are of another type."""
    cdef const char *row = <const char *> p.x + i * p.x_pitch * bytes_of(p.x_kind)
    if p.x_kind == AS_IT_IS:
        return <const real *> row + j
    convert_row(room, row, j, count, p.x_kind)
    return room


cdef void deliver(
    const Plane *p, Py_ssize_t i, Py_ssize_t j, const real *row, Py_ssize_t count
) noexcept nogil:
    """Part of row i of Y, from column j on, in the type of Y."""
    cdef char *y = <char *> p.y + (i * p.y_pitch + j) * bytes_of(p.y_kind)
    if p.y_kind == AS_IT_IS:
        memcpy(y, row, count * sizeof(real))
    else:
        narrow_row(y, row, count, p.y_kind)


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


cdef total row_dot(const real *x, const real *y, Py_ssize_t count) noexcept nogil:
    """The sum of x[j] * y[j]."""
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
                acc[t] = acc[t] + load(x + j + t * LANES) * load(y + j + t * LANES)
            j += 4 * LANES
        for t in range(4):
            store(flat + t * LANES, acc[t])
        for t in range(4 * LANES):
            s += flat[t]
    while j < count:
        s += x[j] * y[j]
        j += 1
    return s


include "correlate.pxi"
include "correlate_streams.pxi"
include "correlate_rows.pxi"
include "plane_sum.pxi"
include "weight.pxi"
include "depthwise.pxi"


# ---------------------------------------------------------------- dots and shifts


cdef int dot(const Plane *p) noexcept nogil:
    cdef Py_ssize_t begin = min(max(p.left, 0), p.b), end = max(min(p.n + p.left, p.b), begin)
    cdef Py_ssize_t k, first = max(p.top, 0), last = min(p.m + p.top, p.a)
    cdef const real *x
    cdef total s = 0
    if begin < end:
        for k in range(first, last):
            x = <const real *> p.x + (k - p.top) * p.x_pitch + begin - p.left
            s += row_dot(<const real *> p.w + k * p.w_row + begin, x, end - begin)
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


cdef int round_to_half(const Plane *p) noexcept nogil:
    """Y, of float16, from X of the same shape."""
    cdef Py_ssize_t i
    for i in range(p.oh):
        narrow_row(
            <uint16_t *> p.y + i * p.y_pitch, <const real *> p.x + i * p.x_pitch, p.ow, FLOAT16
        )
    return 0


cdef Kernels KERNELS
KERNELS.correlate_set = correlate_set
KERNELS.weight_set = weight_set
KERNELS.correlate = correlate
KERNELS.weight = weight
KERNELS.add_up = add_up
KERNELS.dot = dot
KERNELS.shift = shift
KERNELS.round_to_half = round_to_half

kernels = PyCapsule_New(&KERNELS, "conv2d.kernels", NULL)
