# Transforms of LANES columns of complex numbers, Z[k] = sum over n of z[n] exp(-2 pi i k n / size)
#
# A pass of radix r takes parts of n elements, r elements n / r apart at a time: r of them are
# transformed and turned by twiddles, and are then elements of r parts of n / r.

cdef enum:
    PASSES = 4  # at most
    PAIR = 2 * LANES  # the real and the imaginary parts of LANES complex numbers


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


cdef inline void combine(
    vec *r, vec *i, int even, int odd, vec tr, vec ti, vec scale
) noexcept nogil:
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
    const real *z, char *re, char *im, Py_ssize_t pitch, const Axis *axis, real noise,
    real bias, bint single
) noexcept nogil:
    """The last pass back, into such rows, on top of a bias; what may be noise is 0."""
    cdef Py_ssize_t k, step = axis.size // 8
    cdef const real *twiddles = axis.twiddles[0]
    cdef int m
    cdef vec b = splat(bias), limit = splat(noise)
    cdef vec r[8]
    cdef vec i[8]
    for k in range(step):
        for m in range(8):
            i[m] = load(z + (m * step + k) * PAIR)
            r[m] = load(z + (m * step + k) * PAIR + LANES)
        twist(r, i, twiddles + 14 * k, 8)
        dft8(r, i)
        for m in range(8):
            store_as(re + (m * step + k) * pitch, denoise(i[m] + b, limit), single)
            store_as(im + (m * step + k) * pitch, denoise(r[m] + b, limit), single)


cdef void first_pass(
    real *z, const char *re, const char *im, Py_ssize_t pitch, const Axis *axis, bint single
) noexcept nogil:
    if single:
        one_first_pass(z, re, im, pitch, axis, True)
    else:
        one_first_pass(z, re, im, pitch, axis, False)


cdef void last_pass(
    const real *z, char *re, char *im, Py_ssize_t pitch, const Axis *axis, real noise,
    real bias, bint single
) noexcept nogil:
    if single:
        one_last_pass(z, re, im, pitch, axis, noise, bias, True)
    else:
        one_last_pass(z, re, im, pitch, axis, noise, bias, False)


cdef inline void one_product(
    real *z, const real *h, Py_ssize_t size, int radix
) noexcept nogil:
    """The last pass, the product with h, and the first pass back."""
    cdef Py_ssize_t _k
    cdef int m
    cdef vec r[8]
    cdef vec i[8]
    cdef vec hr, hi, t
    for _k in range(size // radix):
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
