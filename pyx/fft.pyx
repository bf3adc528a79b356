"""Y from X and a large W by fast Fourier transforms of tiles, in float64 for both float types.

Y[i, j] = sum over p, q of X[i - top + p, j - left + q] * W[p, q]

A tile of X (rows x columns) correlated with W round its edges is right in its first rows - a + 1
rows and columns - b + 1 columns: overlap-save. Two tiles are the real and the imaginary part of one
complex transform, as W is real. The state of a thread, [columns / LANES][row][re, im][LANES],
and the spectrum of W lie in L2. In L1:

    a row of each tile is copied, with its padding, as numbers of X;
    a block of columns is read from the copies and transformed, its numbers in the lanes;
    LANES rows are transposed, transformed, multiplied, transformed back, transposed back;
    a block of columns that has results is transformed back into the copies;
    a row of results is copied to Y.

Passes of radix 8, 4 and 3, whose 16 vectors stay in registers, leave the frequencies in an order
that only the passes back have to know. A pass back has the real and imaginary parts swapped. Tiles
follow from sizes alone; each is written by one thread. Those that hold or give numbers that are not
finite are left to the caller. Results that may be rounding alone are 0, as direct sums would be.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.math cimport M_PI, cos, isfinite, sin, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kernels cimport EDGE, SYMMETRIC, WRAP, ZEROS, Plane, Tiling


cdef extern from "simd.h" nogil:
    ctypedef double real
    ctypedef double vec
    enum:
        LANES
    vec load(const real *)
    void store(real *, vec)
    vec splat(real)


cdef extern from "wide.h" nogil:
    vec denoise(vec, vec)  # 0 up to a limit
    vec widen(const float *)
    void narrow(float *, vec)
    void interleave(vec *, vec *, int)


include "common.pxi"
include "transform.pxi"


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
    real noise  # of a result, for numbers whose squares have the sum 1
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
    real squares  # of all that it sees


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


cdef real add_squares(
    const char *rows, Py_ssize_t pitch, Py_ssize_t count, Py_ssize_t columns, bint single
) noexcept nogil:
    """The sum of squares, which is not finite where a number is not."""
    cdef Py_ssize_t j, whole = columns // (4 * LANES) * 4 * LANES, _k
    cdef Py_ssize_t size = sizeof(float) if single else sizeof(real)
    cdef int t
    cdef vec x
    cdef vec sums[4]
    cdef real flat[4 * LANES]
    cdef real v, s = 0
    for t in range(4):
        sums[t] = splat(0)
    for _k in range(count):
        for j in range(whole // (4 * LANES)):
            for t in range(4):
                x = load_as(rows + (j * 4 + t) * LANES * size, single)
                sums[t] = sums[t] + x * x
        for j in range(whole, columns):
            v = (<const float *> rows)[j] if single else (<const real *> rows)[j]
            s += v * v
        rows += pitch
    for t in range(4):
        store(flat + t * LANES, sums[t])
    for j in range(4 * LANES):
        s += flat[j]
    return s


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


cdef real copy_tile(const Work *work, const Tile *tile, char *copy) noexcept nogil:
    """What the tile sees of X; returns the sum of its squares."""
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
    return add_squares(copy, work.copy_pitch, rows, work.columns.size, work.single)


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
    return isfinite(
        add_squares(results, work.copy_pitch, tile.high, tile.wide, work.single)
    )


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
    tile.i = number // work.across * work.high
    tile.j = number % work.across * work.wide
    tile.high = min(work.high, work.p.oh - tile.i)
    tile.wide = min(work.wide, work.p.ow - tile.j)
    if number < work.last:
        tile.squares = copy_tile(work, &tile, copy)
        work.direct[number - work.first] = not isfinite(tile.squares)
        if isfinite(tile.squares):
            return tile
    memset(copy, 0, work.rows.size * work.copy_pitch)
    tile.high = 0
    tile.wide = 0
    tile.squares = 0
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
    cdef real noise
    cdef int t
    for t in range(2):
        pair[t] = place_tile(work, number + t, s.tiles[t])
    if pair[0].high == 0 and pair[1].high == 0:
        return
    noise = work.noise * sqrt(pair[0].squares + pair[1].squares)
    transform_columns(work, s, work.copy_pitch, work.size, work.single)
    filter_rows(work, s.state, s.rows)
    for block in range(vectors_in(work.wide)):
        z = s.state + block * work.pitch
        at = block * LANES * work.size
        passes_back(z, &work.rows, 1, work.rows.passes)
        last_pass(
            z, s.tiles[0] + at, s.tiles[1] + at, work.copy_pitch, &work.rows, noise,
            work.bias, work.single,
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


cdef void transform_filter(Work *work, char *memory) noexcept nogil:
    """The conjugate spectrum of W, which is float64, scaled for the way there and back."""
    cdef Py_ssize_t k, q, block, columns = work.columns.size
    cdef Py_ssize_t pitch = columns * sizeof(real)
    cdef const Plane *p = &work.p
    cdef Scratch s
    cdef real *to = work.spectrum
    cdef real tap, squares = 0, scale = 1.0 / (work.rows.size * columns)
    s.state = <real *> memory
    s.tiles[0] = <char *> to
    s.tiles[1] = s.tiles[0] + work.rows.size * pitch
    memset(to, 0, 2 * work.rows.size * pitch)
    for k in range(p.a):
        for q in range(p.b):
            tap = (<const real *> p.w)[k * p.w_row + q]
            squares += tap * tap
            to[k * columns + q] = tap * scale
    # A bound of the rms, |w|_1 |x|_2 / sqrt(elements) units of rounding and some, and 5 of those.
    work.noise = 2.0**-50 * sqrt(squares * (p.a * p.b) * scale)
    transform_columns(work, &s, pitch, sizeof(real), False)
    for block in range(work.rows.size // LANES):
        to = work.spectrum + block * columns * PAIR
        turn_rows(to, s.state + block * LANES * PAIR, work.pitch, columns // LANES)
        passes(to, &work.columns, 0, work.columns.passes)
        for k in range(columns):
            store(to + k * PAIR + LANES, -load(to + k * PAIR + LANES))


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
    # The twiddles of each axis are fewer than two times its size.
    cdef Py_ssize_t twiddles = 2 * (tiling.rows + tiling.columns)
    cdef Py_ssize_t shared = aligned((area + twiddles) * 2 * sizeof(real))
    cdef Py_ssize_t thread
    cdef char *memory = <char *> malloc(shared + work.p.threads * bytes + 64)
    cdef char *scratch
    cdef real *end
    if memory == NULL:
        return -1
    work.spectrum = <real *> align(memory)
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
