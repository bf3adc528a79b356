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
from libc.string cimport memcpy, memset

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
    if n % 8 == 0 and n != 16:
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


cdef inline vec load_as(const char *p, bint single) noexcept nogil:
    return widen(<const float *> p) if single else load(<const real *> p)


cdef inline void store_as(char *p, vec v, bint single) noexcept nogil:
    if single:
        narrow(<float *> p, v)
    else:
        store(<real *> p, v)


cdef inline void one_first_pass(
    real *z, const char *re, const char *im, Py_ssize_t pitch, const Axis *axis, bint single
) noexcept nogil:
    """The first pass, which has radix 8, of rows of numbers that lie `pitch` bytes apart."""
    cdef Py_ssize_t k, step = axis.size // 8
    cdef const real *twiddles = axis.twiddles[0]
    cdef int m
    cdef vec r[8]
    cdef vec i[8]
    for k in range(step):
        for m in range(8):
            r[m] = load_as(re + (m * step + k) * pitch, single)
            i[m] = load_as(im + (m * step + k) * pitch, single)
        dft8(r, i)
        twist(r, i, twiddles + 14 * k, 8)
        for m in range(8):
            store(z + (m * step + k) * PAIR, r[m])
            store(z + (m * step + k) * PAIR + LANES, i[m])


cdef inline void one_last_pass(
    const real *z, char *re, char *im, Py_ssize_t pitch, const Axis *axis, real bias, bint single
) noexcept nogil:
    """The last pass back, into such rows, on top of a bias."""
    cdef Py_ssize_t k, step = axis.size // 8
    cdef const real *twiddles = axis.twiddles[0]
    cdef int m
    cdef vec b = splat(bias)
    cdef vec r[8]
    cdef vec i[8]
    for k in range(step):
        for m in range(8):
            i[m] = load(z + (m * step + k) * PAIR)
            r[m] = load(z + (m * step + k) * PAIR + LANES)
        twist(r, i, twiddles + 14 * k, 8)
        dft8(r, i)
        for m in range(8):
            store_as(re + (m * step + k) * pitch, i[m] + b, single)
            store_as(im + (m * step + k) * pitch, r[m] + b, single)


cdef void first_pass(
    real *z, const char *re, const char *im, Py_ssize_t pitch, const Axis *axis, bint single
) noexcept nogil:
    if single:
        one_first_pass(z, re, im, pitch, axis, True)
    else:
        one_first_pass(z, re, im, pitch, axis, False)


cdef void last_pass(
    const real *z, char *re, char *im, Py_ssize_t pitch, const Axis *axis, real bias, bint single
) noexcept nogil:
    if single:
        one_last_pass(z, re, im, pitch, axis, bias, True)
    else:
        one_last_pass(z, re, im, pitch, axis, bias, False)


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


cdef void passes(real *z, const Axis *axis, int begin, int end) noexcept nogil:
    """Some passes of a transform."""
    cdef Py_ssize_t n = axis.size
    cdef int k
    for k in range(begin):
        n //= axis.radix[k]
    for k in range(begin, end):
        if axis.radix[k] == 8:
            pass_8(z, n, axis.size, axis.twiddles[k])
        elif axis.radix[k] == 4:
            pass_4(z, n, axis.size, axis.twiddles[k])
        else:
            pass_3(z, n, axis.size, axis.twiddles[k])
        n //= axis.radix[k]


cdef void passes_back(real *z, const Axis *axis, int begin, int end) noexcept nogil:
    """The same passes backwards, not scaled."""
    cdef Py_ssize_t n = axis.size
    cdef int k
    for k in range(end):
        n //= axis.radix[k]
    for k in range(end - 1, begin - 1, -1):
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
    passes(z, axis, 0, last)
    if axis.radix[last] == 8:
        product_8(z, h, axis.size)
    elif axis.radix[last] == 4:
        product_4(z, h, axis.size)
    else:
        product_3(z, h, axis.size)
    passes_back(z, axis, 0, last)


# ---------------------------------------------------------------- a pair of tiles


cdef struct Work:
    Plane p
    Axis rows, columns
    Py_ssize_t high, wide  # results of a tile
    Py_ssize_t across  # tiles in a row of them
    Py_ssize_t pitch  # from one block of columns of a state to the next
    bint single  # X and Y are float32
    Py_ssize_t size, copy_pitch  # bytes of a number, and of a row of a copied tile
    real *spectrum
    real bias
    Py_ssize_t first, last, y_step
    char *direct


cdef struct Scratch:
    char *tiles[2]  # copies, of X, then of Y
    real *rows  # LANES rows of the state
    real *state


cdef struct Tile:
    Py_ssize_t i, j  # of its first result in Y
    Py_ssize_t high, wide  # results; none where there is no tile, or none that is finite


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


cdef inline Py_ssize_t vectors_in(Py_ssize_t columns) noexcept nogil:
    return (columns + LANES - 1) // LANES


cdef bint all_finite(
    const char *rows, Py_ssize_t pitch, Py_ssize_t count, Py_ssize_t columns, bint single
) noexcept nogil:
    cdef Py_ssize_t k, j
    cdef int t
    cdef vec sums[4]
    cdef real flat[4 * LANES]
    cdef real s = 0
    for t in range(4):
        sums[t] = splat(0)
    for k in range(count):
        for j in range(columns // (4 * LANES)):
            for t in range(4):
                sums[t] = sums[t] + splat(0) * load_as(
                    rows + (j * 4 + t) * LANES * (sizeof(float) if single else sizeof(real)), single
                )
        for j in range(columns // (4 * LANES) * 4 * LANES, columns):
            s += 0 * ((<const float *> rows)[j] if single else (<const real *> rows)[j])
        rows += pitch
    for t in range(4):
        store(flat + t * LANES, sums[t])
    for j in range(4 * LANES):
        s += flat[j]
    return s == 0


cdef void copy_row(
    const Work *work, char *to, const char *row, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """Columns of X from `first` on, and what stands outside; zeros up to a whole row."""
    cdef Py_ssize_t k, at, size = work.size
    cdef Py_ssize_t low = min(max(-first, 0), count)
    cdef Py_ssize_t high = max(min(work.p.n - first, count), low)
    memset(to, 0, low * size)
    memset(to + high * size, 0, (work.columns.size - high) * size)
    if high > low:
        memcpy(to + low * size, row + (first + low) * size, (high - low) * size)
    if work.p.mode == ZEROS:
        return
    for k in range(count):
        if not low <= k < high:
            at = source(first + k, work.p.n, work.p.mode)
            memcpy(to + k * size, row + at * size, size)


cdef bint copy_tile(const Work *work, const Tile *tile, char *copy) noexcept nogil:
    """What the tile sees of X; whether all of it is finite."""
    cdef const Plane *p = &work.p
    cdef Py_ssize_t k, at, rows = tile.high + p.a - 1, columns = tile.wide + p.b - 1
    cdef char *to = copy
    for k in range(rows):
        at = source(tile.i - p.top + k, p.m, p.mode)
        if at < 0:
            memset(to, 0, work.columns.size * work.size)
        else:
            copy_row(
                work, to, <const char *> p.x + at * p.x_pitch * work.size, tile.j - p.left, columns
            )
        to += work.copy_pitch
    memset(to, 0, (work.rows.size - rows) * work.copy_pitch)
    # Whole vectors, as what follows in a row is zeros.
    return all_finite(copy, work.copy_pitch, rows, work.columns.size, work.single)


cdef bint write_tile(
    const Work *work, const Tile *tile, Py_ssize_t number, const char *results
) noexcept nogil:
    """The results of a tile into Y; whether all are finite."""
    cdef const Plane *p = &work.p
    cdef Py_ssize_t k, pitch = p.y_pitch
    cdef char *y = <char *> p.y + (tile.i * p.y_pitch + tile.j) * work.size
    if work.y_step > 0:
        y = <char *> p.y + (number - work.first) * work.y_step * work.size
        pitch = work.wide
    for k in range(tile.high):
        memcpy(y + k * pitch * work.size, results + k * work.copy_pitch, tile.wide * work.size)
    return all_finite(results, work.copy_pitch, tile.high, tile.wide, work.single)


cdef void filter_rows(const Work *work, real *state, real *rows) noexcept nogil:
    """Transforms along the rows, the product with the spectrum, and back."""
    cdef Py_ssize_t block, columns = work.columns.size
    cdef Py_ssize_t blocks_back = (work.wide + LANES - 1) // LANES
    for block in range(work.rows.size // LANES):
        turn_rows(rows, state + block * LANES * PAIR, work.pitch, columns // LANES)
        convolve(rows, work.spectrum + block * columns * PAIR, &work.columns)
        turn_back(state + block * LANES * PAIR, rows, work.pitch, blocks_back)


cdef Tile place_tile(const Work *work, Py_ssize_t number, char *copy) noexcept nogil:
    """Where a tile lies, and its copy: zeros where there is none, or where it is not finite."""
    cdef Tile tile
    cdef bint finite
    tile.i = number // work.across * work.high
    tile.j = number % work.across * work.wide
    tile.high = min(work.high, work.p.oh - tile.i)
    tile.wide = min(work.wide, work.p.ow - tile.j)
    if number < work.last:
        finite = copy_tile(work, &tile, copy)
        work.direct[number - work.first] = not finite
        if finite:
            return tile
    memset(copy, 0, work.rows.size * work.copy_pitch)
    tile.high = 0
    tile.wide = 0
    return tile


cdef void transform_columns(
    const Work *work, const Scratch *s, Py_ssize_t pitch, Py_ssize_t size, bint single
) noexcept nogil:
    """Of the two copied tiles, into the state."""
    cdef Py_ssize_t block, at
    cdef real *z
    for block in range(work.columns.size // LANES):
        z = s.state + block * work.pitch
        at = block * LANES * size
        first_pass(z, s.tiles[0] + at, s.tiles[1] + at, pitch, &work.rows, single)
        passes(z, &work.rows, 1, work.rows.passes)


cdef void do_pair(const Work *work, Py_ssize_t number, const Scratch *s) noexcept nogil:
    cdef Tile pair[2]
    cdef real *z
    cdef Py_ssize_t block, at
    cdef int t
    for t in range(2):
        pair[t] = place_tile(work, number + t, s.tiles[t])
    if pair[0].high == 0 and pair[1].high == 0:
        return
    transform_columns(work, s, work.copy_pitch, work.size, work.single)
    filter_rows(work, s.state, s.rows)
    for block in range(vectors_in(work.wide)):
        z = s.state + block * work.pitch
        at = block * LANES * work.size
        passes_back(z, &work.rows, 1, work.rows.passes)
        last_pass(
            z, s.tiles[0] + at, s.tiles[1] + at, work.copy_pitch, &work.rows, work.bias, work.single
        )
    for t in range(2):
        if pair[t].high > 0 and not write_tile(work, &pair[t], number + t, s.tiles[t]):
            work.direct[number + t - work.first] = 1


cdef Scratch lay_scratch(const Work *work, char *memory) noexcept nogil:
    cdef Scratch s
    s.tiles[0] = memory
    s.tiles[1] = memory + work.rows.size * work.copy_pitch
    s.rows = <real *> (s.tiles[1] + work.rows.size * work.copy_pitch)
    s.state = s.rows + work.columns.size * PAIR
    return s


cdef void share(const Work *work, Py_ssize_t thread, char *memory) noexcept nogil:
    """The pairs of tiles that one thread does."""
    cdef Py_ssize_t pairs = (work.last - work.first + 1) // 2, k
    cdef Scratch s = lay_scratch(work, memory)
    for k in range(thread * pairs // work.p.threads, (thread + 1) * pairs // work.p.threads):
        do_pair(work, work.first + 2 * k, &s)


cdef void transform_filter(const Work *work, char *memory) noexcept nogil:
    """The conjugate spectrum of W, which is float64, scaled for the way there and back."""
    cdef Py_ssize_t k, q, block, columns = work.columns.size
    cdef Py_ssize_t pitch = columns * sizeof(real)
    cdef const Plane *p = &work.p
    cdef Scratch s
    cdef real *to = work.spectrum
    cdef real scale = 1.0 / (work.rows.size * columns)
    s.state = <real *> memory
    s.tiles[0] = <char *> to
    s.tiles[1] = s.tiles[0] + work.rows.size * pitch
    memset(to, 0, 2 * work.rows.size * pitch)
    for k in range(p.a):
        for q in range(p.b):
            to[k * columns + q] = (<const real *> p.w)[k * p.w_row + q] * scale
    transform_columns(work, &s, pitch, sizeof(real), False)
    for block in range(work.rows.size // LANES):
        to = work.spectrum + block * columns * PAIR
        turn_rows(to, s.state + block * LANES * PAIR, work.pitch, columns // LANES)
        passes(to, &work.columns, 0, work.columns.passes)
        for k in range(columns):
            store(to + k * PAIR + LANES, -load(to + k * PAIR + LANES))


cdef inline Py_ssize_t aligned(Py_ssize_t count) noexcept nogil:
    return (count + 63) // 64 * 64


cdef Py_ssize_t lay_out(Work *work, const Tiling *tiling) noexcept nogil:
    """Everything but pointers; returns the bytes of the scratch memory of one thread."""
    cdef Plane p = tiling.plane
    work.p = p
    work.high = tiling.rows - p.a + 1
    work.wide = tiling.columns - p.b + 1
    work.across = (p.ow + work.wide - 1) // work.wide
    work.first = tiling.first
    work.last = tiling.last
    work.y_step = tiling.y_step
    work.direct = tiling.direct
    work.single = tiling.single
    work.size = sizeof(float) if work.single else sizeof(real)
    work.bias = 0
    if p.bias != NULL:
        work.bias = (<const float *> p.bias)[0] if work.single else (<const real *> p.bias)[0]
    # Odd numbers of cache lines.
    work.pitch = (tiling.rows + 4) * PAIR
    work.copy_pitch = aligned(tiling.columns * work.size) + 64
    return aligned(
        2 * tiling.rows * work.copy_pitch
        + sizeof(real) * (tiling.columns * PAIR + work.pitch * (tiling.columns // LANES))
    )


cdef int correlate(const Tiling *tiling) noexcept nogil:
    """Tiles first to last of Y."""
    cdef Work work
    cdef Py_ssize_t bytes = lay_out(&work, tiling), area = tiling.rows * tiling.columns
    cdef Py_ssize_t shared = aligned((area + 2 * tiling.rows + 2 * tiling.columns) * 2 * sizeof(real))
    cdef Py_ssize_t thread
    cdef char *memory = <char *> malloc(shared + work.p.threads * bytes + 64)
    cdef char *scratch
    cdef real *end
    if memory == NULL:
        return -1
    work.spectrum = <real *> aligned(<Py_ssize_t> memory)
    scratch = <char *> work.spectrum + shared
    end = plan_axis(&work.rows, tiling.rows, work.spectrum + 2 * area)
    work.columns = work.rows
    if tiling.columns != tiling.rows:
        plan_axis(&work.columns, tiling.columns, end)
    transform_filter(&work, scratch)
    if work.p.threads == 1:
        share(&work, 0, scratch)
    else:
        for thread in prange(work.p.threads, num_threads=<int> work.p.threads, schedule="static"):
            share(&work, thread, scratch + thread * bytes)
    free(memory)
    return 0


kernel = PyCapsule_New(<void *> correlate, "conv2d.fft", NULL)
