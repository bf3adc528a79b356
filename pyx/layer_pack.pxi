# Panels: padded copies of what a block of outputs sees, in which every tap is an offset
#
# A panel holds, for each channel of a block, the rows and columns that a block of outputs sees
# through a block of taps, padding included. Where outputs lie `stride` apart, the rows and columns
# are sorted by their remainder into planes of their own. So the element that output (u, v) sees
# through a tap is at  offset(tap) + u * pitch + v.  Zeros on the right of a row and on the left of
# the next are the same where they can be: a vector of outputs may run across the ends of rows.

cdef enum:
    ALL_TAPS = 16  # of an axis that are joined, at most
    REMAINDERS = 32  # of a block of taps along one axis, at most
    ROOM = 28 << 20  # bytes that all threads of a call may take


cdef struct Walk:
    # One axis of the outputs that are made alike: output first + u * step, u < count, sees its tap
    # tap[k] at u * stride + at[k].
    Py_ssize_t first, step, count, stride, taps
    Py_ssize_t *at
    Py_ssize_t *tap


cdef struct Reach:
    # Along one axis, what a block of taps sees: remainder[f] + stride * (u + low..high)
    Py_ssize_t low, high, remainders
    Py_ssize_t remainder[REMAINDERS]


cdef struct Run:
    # Elements first + k * step, k < count, of a row of n: padding below `low` and from `high` on.
    Py_ssize_t first, step, count, n, low, high
    int mode


cdef struct Panel:
    Reach rows, columns
    Py_ssize_t height  # rows of a plane
    Py_ssize_t pitch, plane, channel  # from row to row, plane to plane, channel to channel
    Run runs[REMAINDERS]  # columns of each remainder


cdef inline Py_ssize_t floor_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a // b if a >= 0 else -((b - 1 - a) // b)


cdef void reach(Reach *r, const Walk *walk, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """What the taps first to last of a walk see."""
    cdef Py_ssize_t k, f, whole, rest
    r.remainders = 0
    for k in range(first, last):
        whole = floor_div(walk.at[k], walk.stride)
        rest = walk.at[k] - whole * walk.stride
        r.low = whole if k == first else min(r.low, whole)
        r.high = whole if k == first else max(r.high, whole)
        f = 0
        while f < r.remainders and r.remainder[f] != rest:
            f += 1
        if f == r.remainders:
            r.remainder[f] = rest
            r.remainders += 1


cdef void join_walks(
    Walk *all_taps, const Walk *walks, Py_ssize_t count, Py_ssize_t taps, Py_ssize_t *at,
    Py_ssize_t *tap
) noexcept nogil:
    """A walk from element to element of the source that sees the taps of all lattices."""
    cdef Py_ssize_t i, k
    all_taps[0] = walks[0]
    all_taps.count = (walks[0].count - 1) * walks[0].stride + 1
    all_taps.stride = 1
    all_taps.taps = taps
    all_taps.at = at
    all_taps.tap = tap
    for k in range(taps):  # those that no lattice sees
        tap[k] = k
        at[k] = 0
    for i in range(count):
        for k in range(walks[i].taps):
            at[walks[i].tap[k]] = walks[i].at[k]


cdef Py_ssize_t place(
    const Reach *r, const Walk *walk, Py_ssize_t k, Py_ssize_t *remainder
) noexcept nogil:
    """Of one tap: the index of its remainder, and where in its plane output 0 sees it."""
    cdef Py_ssize_t whole = floor_div(walk.at[k], walk.stride), f = 0
    while r.remainder[f] != walk.at[k] - whole * walk.stride:
        f += 1
    remainder[0] = f
    return whole - r.low


cdef Py_ssize_t shared_zeros(
    const Reach *r, const Walk *walk, Py_ssize_t first, Py_ssize_t width, Py_ssize_t size
) noexcept nogil:
    """Zeros that each row of a panel, `width` columns from output `first` on, has on both sides."""
    cdef Py_ssize_t f, start, shared = width
    for f in range(r.remainders):
        start = (first + r.low) * walk.stride + r.remainder[f]
        shared = min(shared, parts_in(max(-start, 0), walk.stride))
        shared = min(shared, width - parts_in(max(size - start, 0), walk.stride))
    return max(shared, 0)


cdef void lay_run(
    Run *run, Py_ssize_t first, Py_ssize_t step, Py_ssize_t count, Py_ssize_t n, int mode
) noexcept nogil:
    run.first = first
    run.step = step
    run.count = count
    run.n = n
    run.low = min(parts_in(max(-first, 0), step), count)
    run.high = max(min(parts_in(max(n - first, 0), step), count), run.low)
    run.mode = mode


cdef inline void pad(
    real *to, const Run *run, Py_ssize_t begin, Py_ssize_t end, const real *row, Py_ssize_t element
) noexcept nogil:
    """Elements begin to end of a packed row, which lie in padding."""
    cdef Py_ssize_t k
    if run.mode == ZEROS:
        for k in range(begin, end):
            to[k] = 0
    else:
        for k in range(begin, end):
            to[k] = row[source(run.first + k * run.step, run.n, run.mode) * element]


cdef inline void turn_square(vec *a) noexcept nogil:
    """LANES x LANES elements: each round shuffles the first half of the vectors with the second."""
    cdef vec b[LANES]
    cdef int i, stage = 1
    while stage < LANES:
        for i in range(LANES // 2):
            b[2 * i] = zip_low(a[i], a[i + LANES // 2])
            b[2 * i + 1] = zip_high(a[i], a[i + LANES // 2])
        for i in range(LANES):
            a[i] = b[i]
        stage *= 2


cdef inline void transpose_square(
    real *to, Py_ssize_t to_pitch, const real *rows, Py_ssize_t pitch
) noexcept nogil:
    cdef vec a[LANES]
    cdef int i
    for i in range(LANES):
        a[i] = load(rows + i * pitch)
    turn_square(a)
    for i in range(LANES):
        store(to + i * to_pitch, a[i])


cdef inline void fetch_ahead(const real *x, Py_ssize_t elements) noexcept nogil:
    """What is read soon, and lies where no hardware foresees it."""
    cdef Py_ssize_t i
    for i in range(parts_in(elements, LANES)):
        fetch(x + i * LANES)


cdef inline void pack_row(
    real *to, const real *row, Py_ssize_t element, const Run *run, Py_ssize_t room,
    Py_ssize_t ahead
) noexcept nogil:
    """A run of a row whose elements lie `element` apart, with its padding.

    A row that is packed soon, `ahead` of this one, is fetched, unless that is 0.
    From the row's first element on, `room` may be read. Where that saves time, a vector is written
    behind the run too: there are rows that are packed later, or room for it.
    """
    cdef Py_ssize_t k, length = run.high - run.low, step = run.step * element, begin
    cdef const real *x
    pad(to, run, 0, run.low, row, element)
    if length > 0:
        begin = (run.first + run.low * run.step) * element
        x = row + begin
        to += run.low
        if ahead != 0 and step <= 2:  # else too little of each line is needed
            fetch_ahead(x + ahead, length * step)
        if step == 1 and length >= LANES:
            for k in range(length // LANES):
                store(to + k * LANES, peek(x + k * LANES))
            store(to + length - LANES, peek(x + length - LANES))
        elif step == 1 and room - begin >= LANES:
            store(to, peek(x))
        elif step == 1:
            copy_some(to, x, <int> length)
        elif step == 2 and length >= LANES > 1:
            for k in range(length // LANES):
                store(to + k * LANES, load_apart(x + 2 * k * LANES, LANES))
            store(to + length - LANES, load_apart(x + 2 * (length - LANES), LANES))
        elif step == 2 and length < LANES:
            gather_some(to, x, <int> length)
        else:
            for k in range(length):
                to[k] = x[k * step]
        to -= run.low
    pad(to, run, run.high, run.count, row, element)


cdef void pack_pixels(
    real *to, Py_ssize_t channel, const real *row, Py_ssize_t element, const Run *run
) noexcept nogil:
    """A run of a row of LANES channels that follow one another in each pixel, into rows apart."""
    cdef Py_ssize_t k, step = run.step * element, length = run.high - run.low, j = 0
    cdef const real *x
    if length < LANES:
        for k in range(LANES):
            pack_row(to + k * channel, row + k, element, run, 0, 0)
        return
    x = row + (run.first + run.low * run.step) * element
    for k in range(LANES):
        pad(to + k * channel, run, 0, run.low, row + k, element)
    while j < length:  # the last square overlaps the one before
        j = min(j, length - LANES)
        transpose_square(to + run.low + j, channel, x + j * step, step)
        j += LANES
    for k in range(LANES):
        pad(to + k * channel, run, run.high, run.count, row + k, element)
