"""Y from X and a large W by fast Fourier transforms of tiles, in float64 for both float types.

Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]

A tile of X (rows x columns) correlated with W round its edges is right in its first rows - a + 1 rows
and columns - b + 1 columns: overlap-save. Two tiles are the real and the imaginary part of one
complex transform, as W is real. One state a thread, [block of LANES columns][row][re, im][LANES]:

    a block of columns: loaded and transformed along its rows, within L1
    LANES rows: transposed, transformed, multiplied with the spectrum of W, transformed back,
                transposed back, within L1
    a block of columns that has results: transformed back and written

State and spectrum lie in L2. Passes of radix 8, 4 and 3 leave the frequencies in an order that only
the passes back have to know. A transform back is one with the real and imaginary parts swapped.
Tiles follow from sizes alone; each is written by one thread. Those that hold or give numbers that are
not finite are left to the caller.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.math cimport M_PI, cos, sin
from libc.stdlib cimport free, malloc

from kernels cimport Plane, Tiling


cdef extern from "simd.h" nogil:
    ctypedef double real
    ctypedef double vec
    enum:
        LANES
    vec load(const real *)
    void store(real *, vec)
    vec splat(real)


cdef extern from "wide.h" nogil:
    vec widen(const float *)
    void narrow(float *, vec)
    void interleave(vec *, vec *, int)


include "padding.pxi"


cdef enum:
    PASSES = 4  # at most
    PAIR = 2 * LANES  # the real and the imaginary parts of LANES complex numbers


# ---------------------------------------------------------------- transforms of LANES columns


cdef struct Axis:
    Py_ssize_t size
    int passes
    int radix[PASSES]
    const real *twiddles[PASSES]


cdef inline int next_radix(Py_ssize_t n) noexcept nogil:
    if n % 8 == 0 and n != 16 and n != 48:
        return 8
    return 4 if n % 4 == 0 else 3


cdef real *plan_axis(Axis *axis, Py_ssize_t size, real *twiddles) noexcept nogil:
    """Radices of the passes and their twiddles; returns where the twiddles end."""
    cdef Py_ssize_t n = size, k
    cdef int m, r
    axis.size = size
    axis.passes = 0
    while n > 1:
        r = next_radix(n)
        axis.radix[axis.passes] = r
        axis.twiddles[axis.passes] = twiddles
        axis.passes += 1
        for k in range(n // r):
            for m in range(1, r):
                twiddles[0] = cos(2 * M_PI * (k * m) / n)
                twiddles[1] = -sin(2 * M_PI * (k * m) / n)
                twiddles += 2
        n //= r
    return twiddles


cdef inline void dft3(vec *r, vec *i) noexcept nogil:
    cdef vec half = splat(0.5), root = splat(0.86602540378443864676)
    cdef vec sr = r[1] + r[2], si = i[1] + i[2]
    cdef vec dr = root * (i[1] - i[2]), di = root * (r[2] - r[1])
    cdef vec mr = r[0] - half * sr, mi = i[0] - half * si
    r[0] = r[0] + sr
    i[0] = i[0] + si
    r[1] = mr + dr
    i[1] = mi + di
    r[2] = mr - dr
    i[2] = mi - di


cdef inline void dft4(
    vec *r, vec *i, int n0, int n1, int n2, int n3
) noexcept nogil:
    cdef vec ar = r[n0] + r[n2], ai = i[n0] + i[n2]
    cdef vec br = r[n0] - r[n2], bi = i[n0] - i[n2]
    cdef vec cr = r[n1] + r[n3], ci = i[n1] + i[n3]
    cdef vec dr = r[n1] - r[n3], di = i[n1] - i[n3]
    r[n0] = ar + cr
    i[n0] = ai + ci
    r[n1] = br + di
    i[n1] = bi - dr
    r[n2] = ar - cr
    i[n2] = ai - ci
    r[n3] = br - di
    i[n3] = bi + dr


cdef inline void combine(vec *r, vec *i, int even, int odd, vec tr, vec ti, vec scale) noexcept nogil:
    """even, odd = even + scale * t, even - scale * t"""
    cdef vec er = r[even], ei = i[even]
    r[even] = er + scale * tr
    i[even] = ei + scale * ti
    r[odd] = er - scale * tr
    i[odd] = ei - scale * ti


cdef inline void swap(vec *x, int one, int other) noexcept nogil:
    cdef vec t = x[one]
    x[one] = x[other]
    x[other] = t


cdef inline void dft8(vec *r, vec *i) noexcept nogil:
    cdef vec root = splat(0.70710678118654752440), one = splat(1.0)
    dft4(r, i, 0, 2, 4, 6)
    dft4(r, i, 1, 3, 5, 7)
    combine(r, i, 0, 1, r[1], i[1], one)
    combine(r, i, 2, 3, r[3] + i[3], i[3] - r[3], root)
    combine(r, i, 4, 5, i[5], -r[5], one)
    combine(r, i, 6, 7, i[7] - r[7], -(r[7] + i[7]), root)
    # Now 0, 4, 1, 5, 2, 6, 3, 7.
    swap(r, 1, 2)
    swap(i, 1, 2)
    swap(r, 2, 4)
    swap(i, 2, 4)
    swap(r, 3, 6)
    swap(i, 3, 6)
    swap(r, 5, 6)
    swap(i, 5, 6)


cdef inline void dft(vec *r, vec *i, int radix) noexcept nogil:
    if radix == 8:
        dft8(r, i)
    elif radix == 4:
        dft4(r, i, 0, 1, 2, 3)
    else:
        dft3(r, i)


cdef inline void twist(vec *r, vec *i, const real *twiddles, int radix) noexcept nogil:
    cdef int m
    cdef vec c, s, t
    for m in range(1, radix):
        c = splat(twiddles[2 * m - 2])
        s = splat(twiddles[2 * m - 1])
        t = r[m]
        r[m] = t * c - i[m] * s
        i[m] = t * s + i[m] * c


cdef inline void one_pass(
    real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles, int radix, bint back
) noexcept nogil:
    """Butterflies of all parts of n elements."""
    cdef Py_ssize_t part, k, step = n // radix
    cdef int m
    cdef vec r[8]
    cdef vec i[8]
    cdef real *at
    cdef Py_ssize_t re = LANES if back else 0, im = 0 if back else LANES
    for k in range(step):
        for part in range(size // n):
            at = z + (part * n + k) * PAIR
            for m in range(radix):
                r[m] = load(at + m * step * PAIR + re)
                i[m] = load(at + m * step * PAIR + im)
            if back and n > radix:
                twist(r, i, twiddles, radix)
            dft(r, i, radix)
            if not back and n > radix:
                twist(r, i, twiddles, radix)
            for m in range(radix):
                store(at + m * step * PAIR + re, r[m])
                store(at + m * step * PAIR + im, i[m])
        twiddles += 2 * (radix - 1)


cdef void pass_8(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 8, False)

cdef void pass_4(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 4, False)

cdef void pass_3(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 3, False)

cdef void back_8(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 8, True)

cdef void back_4(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 4, True)

cdef void back_3(real *z, Py_ssize_t n, Py_ssize_t size, const real *twiddles) noexcept nogil:
    one_pass(z, n, size, twiddles, 3, True)


cdef inline void one_product(
    real *z, const real *h, Py_ssize_t size, int radix
) noexcept nogil:
    """The last pass, the product with h, and the first pass back."""
    cdef Py_ssize_t k
    cdef int m
    cdef vec r[8]
    cdef vec i[8]
    cdef vec hr, hi, t
    for k in range(size // radix):
        for m in range(radix):
            r[m] = load(z + m * PAIR)
            i[m] = load(z + m * PAIR + LANES)
        dft(r, i, radix)
        for m in range(radix):
            hr = load(h + m * PAIR)
            hi = load(h + m * PAIR + LANES)
            t = r[m]
            r[m] = t * hr - i[m] * hi
            i[m] = t * hi + i[m] * hr
        dft(i, r, radix)
        for m in range(radix):
            store(z + m * PAIR, r[m])
            store(z + m * PAIR + LANES, i[m])
        z += radix * PAIR
        h += radix * PAIR


cdef void product_8(real *z, const real *h, Py_ssize_t size) noexcept nogil:
    one_product(z, h, size, 8)

cdef void product_4(real *z, const real *h, Py_ssize_t size) noexcept nogil:
    one_product(z, h, size, 4)

cdef void product_3(real *z, const real *h, Py_ssize_t size) noexcept nogil:
    one_product(z, h, size, 3)


cdef void passes(real *z, const Axis *axis, int count) noexcept nogil:
    """The first passes of a transform."""
    cdef Py_ssize_t n = axis.size
    cdef int k
    for k in range(count):
        if axis.radix[k] == 8:
            pass_8(z, n, axis.size, axis.twiddles[k])
        elif axis.radix[k] == 4:
            pass_4(z, n, axis.size, axis.twiddles[k])
        else:
            pass_3(z, n, axis.size, axis.twiddles[k])
        n //= axis.radix[k]


cdef void passes_back(real *z, const Axis *axis, int count) noexcept nogil:
    """The same passes backwards, not scaled."""
    cdef Py_ssize_t n = axis.size
    cdef int k
    for k in range(count):
        n //= axis.radix[k]
    for k in range(count - 1, -1, -1):
        n *= axis.radix[k]
        if axis.radix[k] == 8:
            back_8(z, n, axis.size, axis.twiddles[k])
        elif axis.radix[k] == 4:
            back_4(z, n, axis.size, axis.twiddles[k])
        else:
            back_3(z, n, axis.size, axis.twiddles[k])


cdef void convolve(real *z, const real *h, const Axis *axis) noexcept nogil:
    """A transform, the product with h, and the transform back."""
    cdef int last = axis.passes - 1
    passes(z, axis, last)
    if axis.radix[last] == 8:
        product_8(z, h, axis.size)
    elif axis.radix[last] == 4:
        product_4(z, h, axis.size)
    else:
        product_3(z, h, axis.size)
    passes_back(z, axis, last)


# ---------------------------------------------------------------- a pair of tiles


cdef struct Work:
    Plane p
    Axis rows, columns
    Py_ssize_t high, wide  # results of a tile
    Py_ssize_t across, tiles  # tiles in a row of them, and in all
    Py_ssize_t pitch  # from one block of columns of a state to the next
    bint single  # X and Y are float32
    real *spectrum
    Py_ssize_t first, last, y_step
    char *direct


cdef struct Tile:
    const char **rows  # of X, or NULL; all of them where there is no tile
    Py_ssize_t left  # column of X where it begins
    char *y
    Py_ssize_t y_pitch
    Py_ssize_t high, wide  # results; none where there is no tile


cdef inline void exchange(vec *x, int d) noexcept nogil:
    cdef int k
    if d < LANES:
        for k in range(LANES):
            if k & d == 0:
                interleave(&x[k], &x[k + d], d)


cdef inline void turn(
    real *to, Py_ssize_t to_pitch, const real *source, Py_ssize_t pitch
) noexcept nogil:
    """LANES vectors of LANES numbers, transposed."""
    cdef vec x[LANES]
    cdef int k
    for k in range(LANES):
        x[k] = load(source + k * pitch)
    exchange(x, 1)
    exchange(x, 2)
    exchange(x, 4)
    for k in range(LANES):
        store(to + k * to_pitch, x[k])


cdef void turn_rows(
    real *to, const real *state, Py_ssize_t pitch, Py_ssize_t blocks
) noexcept nogil:
    """LANES rows of a state, each element of which becomes a pair of vectors."""
    cdef Py_ssize_t block
    for block in range(blocks):
        turn(to + block * LANES * PAIR, PAIR, state + block * pitch, PAIR)
        turn(to + block * LANES * PAIR + LANES, PAIR, state + block * pitch + LANES, PAIR)


cdef void turn_back(
    real *state, const real *rows, Py_ssize_t pitch, Py_ssize_t blocks
) noexcept nogil:
    cdef Py_ssize_t block
    for block in range(blocks):
        turn(state + block * pitch, PAIR, rows + block * LANES * PAIR, PAIR)
        turn(state + block * pitch + LANES, PAIR, rows + block * LANES * PAIR + LANES, PAIR)


cdef inline real element(const char *row, Py_ssize_t j, bint single) noexcept nogil:
    return (<const float *> row)[j] if single else (<const real *> row)[j]


cdef void load_columns(
    const Work *work, const Tile *tile, Py_ssize_t first, real *to
) noexcept nogil:
    """LANES columns of a tile, from `first` on, into the real or the imaginary parts."""
    cdef Py_ssize_t k, j = tile.left + first, l, place
    cdef Py_ssize_t[LANES] places
    cdef const char *row
    cdef bint inside = j >= 0 and j + LANES <= work.p.n
    if not inside:
        for l in range(LANES):
            places[l] = source(j + l, work.p.n, work.p.mode)
    for k in range(work.rows.size):
        row = tile.rows[k]
        if row == NULL:
            store(to + k * PAIR, splat(0))
        elif not inside:
            for l in range(LANES):
                place = places[l]
                to[k * PAIR + l] = 0 if place < 0 else element(row, place, work.single)
        elif work.single:
            store(to + k * PAIR, widen(<const float *> row + j))
        else:
            store(to + k * PAIR, load(<const real *> row + j))


cdef bint write_columns(
    const Work *work, const Tile *tile, Py_ssize_t first, const real *z
) noexcept nogil:
    """LANES columns of the results of a tile, from `first` on; whether all are finite."""
    cdef Py_ssize_t k, l, count = min(tile.wide - first, <Py_ssize_t> LANES)
    cdef vec v, sum = splat(0)
    cdef real flat[LANES]
    cdef real bias = 0
    # What rounds to infinity becomes infinite.
    cdef vec raised = splat(5.282945626245e269 if work.single else 1.0)
    cdef char *y
    if work.p.bias != NULL:
        bias = element(<const char *> work.p.bias, 0, work.single)
    for k in range(tile.high):
        y = tile.y + k * tile.y_pitch
        v = load(z + k * PAIR) + splat(bias)
        if count < LANES:
            store(flat, v)
            for l in range(count):
                if work.single:
                    (<float *> y)[first + l] = <float> flat[l]
                else:
                    (<real *> y)[first + l] = flat[l]
            for l in range(count, LANES):
                flat[l] = 0
            v = load(flat)
        elif work.single:
            narrow(<float *> y + first, v)
        else:
            store(<real *> y + first, v)
        sum = sum + v * raised * splat(0)
    store(flat, sum)
    for l in range(LANES):
        if flat[l] != 0:
            return False
    return True


cdef void filter_rows(const Work *work, real *state, real *rows) noexcept nogil:
    """Transforms along the rows, the product with the spectrum, and back."""
    cdef Py_ssize_t block, columns = work.columns.size
    cdef Py_ssize_t blocks_back = (work.wide + LANES - 1) // LANES
    for block in range(work.rows.size // LANES):
        turn_rows(rows, state + block * LANES * PAIR, work.pitch, columns // LANES)
        convolve(rows, work.spectrum + block * columns * PAIR, &work.columns)
        turn_back(state + block * LANES * PAIR, rows, work.pitch, blocks_back)


cdef inline real zeros(const char *row, Py_ssize_t begin, Py_ssize_t end, bint single) noexcept nogil:
    """0, or NaN where a number is not finite."""
    cdef Py_ssize_t j = begin, l
    cdef vec sum = splat(0)
    cdef real flat[LANES]
    cdef real s = 0
    while j + LANES <= end:
        sum = sum + (widen(<const float *> row + j) if single else load(<const real *> row + j)) * 0
        j += LANES
    for j in range(j, end):
        s += element(row, j, single) * 0
    store(flat, sum)
    for l in range(LANES):
        s += flat[l]
    return s


cdef bint is_finite(const Work *work, const Tile *tile) noexcept nogil:
    """Whether all of X that the tile sees is."""
    cdef Py_ssize_t k
    cdef Py_ssize_t begin = max(tile.left, 0), end = min(tile.left + work.columns.size, work.p.n)
    if work.p.mode != ZEROS:
        begin, end = 0, work.p.n
    for k in range(work.rows.size):
        if tile.rows[k] != NULL:
            if zeros(tile.rows[k], begin, end, work.single) != 0:
                return False
    return True


cdef void place_tile(const Work *work, Py_ssize_t number, Tile *tile) noexcept nogil:
    """Where a tile lies in X and Y. One that is not there, or not finite, is a tile of zeros."""
    cdef Py_ssize_t size = 4 if work.single else 8
    cdef Py_ssize_t k, at, i = number // work.across * work.high
    cdef Py_ssize_t j = number % work.across * work.wide
    cdef const Plane *p = &work.p
    tile.high = 0
    tile.wide = 0
    tile.left = j - p.left
    for k in range(work.rows.size):
        tile.rows[k] = NULL
    if number >= work.last:
        return
    tile.high = min(work.high, p.oh - i)
    tile.wide = min(work.wide, p.ow - j)
    for k in range(tile.high + p.a - 1):
        at = source(i - p.top + k, p.m, p.mode)
        if at >= 0:
            tile.rows[k] = <const char *> p.x + at * p.x_pitch * size
    if work.y_step > 0:
        tile.y = <char *> p.y + (number - work.first) * work.y_step * size
        tile.y_pitch = work.wide * size
    else:
        tile.y = <char *> p.y + (i * p.y_pitch + j) * size
        tile.y_pitch = p.y_pitch * size
    work.direct[number - work.first] = not is_finite(work, tile)
    if work.direct[number - work.first]:
        tile.high = 0
        tile.wide = 0
        for k in range(work.rows.size):
            tile.rows[k] = NULL


cdef void do_pair(const Work *work, Py_ssize_t number, char *scratch) noexcept nogil:
    cdef Tile pair[2]
    cdef real *state
    cdef real *rows
    cdef real *z
    cdef Py_ssize_t block, blocks = work.columns.size // LANES
    cdef int t
    for t in range(2):
        pair[t].rows = <const char **> scratch + t * work.rows.size
        place_tile(work, number + t, &pair[t])
    if pair[0].high == 0 and pair[1].high == 0:
        return
    rows = <real *> (scratch + 2 * work.rows.size * sizeof(void *))
    state = rows + work.columns.size * PAIR
    for block in range(blocks):
        z = state + block * work.pitch
        load_columns(work, &pair[0], block * LANES, z)
        load_columns(work, &pair[1], block * LANES, z + LANES)
        passes(z, &work.rows, work.rows.passes)
    filter_rows(work, state, rows)
    for block in range((max(pair[0].wide, pair[1].wide) + LANES - 1) // LANES):
        z = state + block * work.pitch
        passes_back(z, &work.rows, work.rows.passes)
        for t in range(2):
            if block * LANES < pair[t].wide and not write_columns(
                work, &pair[t], block * LANES, z + t * LANES
            ):
                work.direct[number + t - work.first] = 1


cdef void share(
    const Work *work, Py_ssize_t thread, char *scratch
) noexcept nogil:
    """The pairs of tiles that one thread does."""
    cdef Py_ssize_t pairs = (work.last - work.first + 1) // 2, k
    for k in range(thread * pairs // work.p.threads, (thread + 1) * pairs // work.p.threads):
        do_pair(work, work.first + 2 * k, scratch)


cdef void transform_filter(const Work *work, real *spectrum, real *state) noexcept nogil:
    """The conjugate spectrum of W, which is float64, scaled for the way there and back."""
    cdef Py_ssize_t k, q, block, columns = work.columns.size
    cdef const Plane *p = &work.p
    cdef real *to
    cdef real scale = 1.0 / (work.rows.size * columns)
    for block in range(columns // LANES):
        to = state + block * work.pitch
        for k in range(work.rows.size * PAIR):
            to[k] = 0
        for k in range(p.a):
            for q in range(block * LANES, min((block + 1) * LANES, p.b)):
                to[k * PAIR + q - block * LANES] = (<const real *> p.w)[k * p.w_row + q] * scale
        passes(to, &work.rows, work.rows.passes)
    for block in range(work.rows.size // LANES):
        to = spectrum + block * columns * PAIR
        turn_rows(to, state + block * LANES * PAIR, work.pitch, columns // LANES)
        passes(to, &work.columns, work.columns.passes)
        for k in range(columns):
            store(to + k * PAIR + LANES, -load(to + k * PAIR + LANES))


cdef inline Py_ssize_t aligned(Py_ssize_t count) noexcept nogil:
    return (count + 63) // 64 * 64


cdef int correlate(const Tiling *tiling) noexcept nogil:
    """Tiles first to last of Y."""
    cdef Work work
    cdef Py_ssize_t thread, bytes, shared
    cdef char *memory
    cdef char *scratch
    cdef real *end
    work.p = tiling.plane
    work.high = tiling.rows - work.p.a + 1
    work.wide = tiling.columns - work.p.b + 1
    work.across = (work.p.ow + work.wide - 1) // work.wide
    work.first = tiling.first
    work.last = tiling.last
    work.y_step = tiling.y_step
    work.single = tiling.single
    work.direct = tiling.direct
    work.pitch = (tiling.rows + 4) * PAIR  # not a power of two
    shared = aligned((tiling.rows * tiling.columns + 2 * tiling.rows + 2 * tiling.columns) * 16)
    bytes = aligned(
        16 * (tiling.rows + tiling.columns * LANES) + 8 * work.pitch * (tiling.columns // LANES)
    )
    memory = <char *> malloc(shared + work.p.threads * bytes + 64)
    if memory == NULL:
        return -1
    work.spectrum = <real *> aligned(<Py_ssize_t> memory)
    scratch = <char *> work.spectrum + shared
    end = plan_axis(&work.rows, tiling.rows, work.spectrum + tiling.rows * tiling.columns * 2)
    plan_axis(&work.columns, tiling.columns, end)
    transform_filter(&work, <real *> work.spectrum, <real *> scratch)
    if work.p.threads == 1:
        share(&work, 0, scratch)
    else:
        for thread in prange(work.p.threads, num_threads=<int> work.p.threads, schedule="static"):
            share(&work, thread, scratch + thread * bytes)
    free(memory)
    return 0


kernel = PyCapsule_New(<void *> correlate, "conv2d.fft", NULL)
