# Filters that see one channel each: Y and the gradient of X. 3 x 3 at strides 1 and 2; 5 x 5 and
# 7 x 7 at stride 1; more slowly all others
#
# Where few products share what is loaded, loads are what costs. So planes are read where they lie,
# without a padded copy: what a vector sees beyond the ends of a row is masked. Vectors of columns
# are walked from the top down (layer_strips.pxi, for large filters layer_large_strips.pxi, for all
# others layer_any_strips.pxi), a block of rows at a time. Strips go from the right to the left, as
# what the last vector of a row spoils behind it is stored later; in the last rows of a plane, and
# where rows of the result do not follow one another, it is stored by way of `bounce`. Planes of at
# most half a vector are made in pairs, side by side, for filters of 3 x 3.

cdef struct Columns:
    # What the items of one call share.
    const real *source
    Py_ssize_t s_n, s_c, s_row, s_column, height, width
    Py_ssize_t o_n, o_c, o_row, o_column, rows, columns  # of the result
    bint any  # filters of any size and dilation
    Py_ssize_t a, b, down, across, top, left, stride
    const real *w  # from the first tap on that is met
    Py_ssize_t w_row, w_column
    bint spread  # the gradient of X at stride 2
    bint pair  # so narrow that two planes lie side by side in a vector
    Py_ssize_t lead, reach  # elements before and from there on that are read of a source row
    const real *low  # where the memory of the source begins and ends
    const real *high
    Py_ssize_t met, spare  # source rows of a block; those of them that may have to be copied
    Py_ssize_t vectors, strips  # of the result; a vector of dX at stride 2 is a pair
    Py_ssize_t each, seen  # columns of the result and of the source in a vector
    Py_ssize_t spoilt, behind  # columns behind the end of a row, and the rows that they are of
    bint runs  # whether what is spoilt behind a plane is of the next one alone
    StripOf *strip_of
    Py_ssize_t strip_masks  # vectors
    real *masks  # [strip][left, right, inside][lane], or as large strips have them
    Py_ssize_t bytes  # of one thread


cdef void memory_of(
    const real *planes, Py_ssize_t n, Py_ssize_t image, Py_ssize_t c, Py_ssize_t channel,
    Py_ssize_t rows, Py_ssize_t row, Py_ssize_t width, const real **low, const real **high
) noexcept nogil:
    """Where the planes of an array begin and end; its rows go upwards in memory."""
    low[0] = planes + min((n - 1) * image, <Py_ssize_t> 0) + min((c - 1) * channel, <Py_ssize_t> 0)
    high[0] = planes + max((n - 1) * image, <Py_ssize_t> 0) + (
        max((c - 1) * channel, <Py_ssize_t> 0) + (rows - 1) * row + width
    )


cdef inline bint scattered(Py_ssize_t pitch, Py_ssize_t element, Py_ssize_t width) noexcept nogil:
    """Whether the rows of a plane are no runs of memory, one after the other."""
    return element != 1 or pitch < width


cdef void point_down(
    const real **rows, Py_ssize_t first, Py_ssize_t count, const real *plane, Py_ssize_t height,
    Py_ssize_t pitch, Py_ssize_t element, Py_ssize_t width, Py_ssize_t lead, Py_ssize_t reach,
    const real *low, const real *high, real *spare
) noexcept nogil:
    """rows[i] = row first + i of a plane, `lead` elements early; near the end of memory a copy.

    Of rows that do not lie as kernels read them all are copies.
    """
    cdef Py_ssize_t i, top = min(max(-first, <Py_ssize_t> 0), count)
    cdef Py_ssize_t bottom = max(min(height - first, count), top)
    cdef const real *row = plane + first * pitch - lead
    cdef Py_ssize_t k, begin = max(lead, <Py_ssize_t> 0), end = min(width + lead, reach)
    for i in range(top):
        rows[i] = NULL
    for i in range(top, bottom):
        rows[i] = row + i * pitch
    for i in range(bottom, count):
        rows[i] = NULL
    i = top
    if scattered(pitch, element, width):
        while i < bottom:
            memset(spare, 0, reach * sizeof(real))
            for k in range(begin, end):
                spare[k] = plane[(first + i) * pitch + (k - lead) * element]
            rows[i] = spare
            spare += reach
            i += 1
        return
    while i < bottom:
        if rows[i] < low or rows[i] + reach > high:
            memset(spare, 0, reach * sizeof(real))
            for k in range(begin, end):
                spare[k] = rows[i][k]
            rows[i] = spare
            spare += reach
        elif row + (bottom - 1) * pitch + reach <= high:
            break
        i += 1


cdef inline bint both_within(
    const real *plane, Py_ssize_t apart, Py_ssize_t rows, Py_ssize_t row, Py_ssize_t element,
    Py_ssize_t width, Py_ssize_t lead, Py_ssize_t reach, const real *low, const real *high
) noexcept nogil:
    """Whether all that is read of two planes lies in the memory of all, where it is read."""
    cdef Py_ssize_t first = min(apart, <Py_ssize_t> 0), last = max(apart, <Py_ssize_t> 0)
    return (
        not scattered(row, element, width)
        and plane + first - lead >= low
        and plane + last - lead + (rows - 1) * row + reach <= high
    )


cdef void lay_columns(Columns *c, const Job *job, const Layer *p, bint back) noexcept nogil:
    cdef Py_ssize_t wide
    c.any = p.lanes_of == ANY_COLUMNS
    c.source = job.source
    c.s_n = job.s_n
    c.s_c = job.s_r
    c.s_row = job.s_row
    c.s_column = job.s_column
    c.height = job.height
    c.width = job.width
    c.o_n = job.o_n
    c.o_c = job.o_m
    c.o_row = job.o_row
    c.o_column = job.o_column
    c.rows = p.rows.size if back else p.rows.outputs
    c.columns = p.columns.size if back else p.columns.outputs
    c.stride = p.rows.stride
    c.spread = back and c.stride == 2
    c.w = job.w
    c.w_row = job.w_row
    c.w_column = job.w_column
    c.top = p.rows.before
    c.left = p.columns.before
    c.a = p.rows.taps
    c.b = p.columns.taps
    c.down = p.rows.dilation
    c.across = p.columns.dilation
    if back and c.stride == 1:  # Y of the reversed filters
        c.w += (c.a - 1) * c.w_row + (c.b - 1) * c.w_column
        c.w_row = -c.w_row
        c.w_column = -c.w_column
        c.top = (c.a - 1) * c.down - c.top
        c.left = (c.b - 1) * c.across - c.left
    c.lead = (c.b - 1 - c.left) >> 1 if c.spread else c.left
    c.seen = LANES if c.spread else c.stride * LANES
    c.each = 2 * LANES if c.spread else LANES
    c.pair = LANES > 1 and 2 * c.columns <= c.each and c.a == SIDE and not c.any
    if c.pair:
        c.seen = LANES
        c.each //= 2
    c.vectors = parts_in(c.columns, c.each)
    c.strip_masks = c.b * WIDE
    if c.any:
        wide = NV // 2 if c.spread else NV
        c.strip_of = ANY_STRIP_OF[2 if c.spread else c.stride - 1]
    elif c.a > SIDE and c.spread:
        wide = NV // 2
        c.strip_of = LARGE_STRIP_OF[3 + c.left % 2]
    elif c.a > SIDE:
        wide = NV if c.a == 5 and c.stride == 1 else min(NV, 3)
        c.strip_of = LARGE_STRIP_OF[2 if c.stride == 2 else (c.a - 5) // 2]
    else:
        wide = 2 if c.spread else WIDE
        c.strip_of = STRIP_OF[2 + c.left if c.spread else c.stride - 1]
        c.strip_masks = 3
    c.strips = parts_in(c.vectors, wide)
    c.reach = c.vectors * c.seen
    c.reach += c.lead + (1 + c.left) // 2 if c.spread else (c.b - 1) * c.across
    c.spoilt = c.vectors * c.each - c.columns
    c.behind = 0
    if c.o_column != 1:
        c.behind = c.rows
    elif c.spoilt > 0:
        c.behind = parts_in(c.spoilt, c.columns) if c.o_row == c.columns else c.rows
    c.runs = (
        not c.pair and c.o_column == 1 and c.spoilt <= c.rows * c.columns
        and c.o_row == c.columns and c.o_c == c.rows * c.columns
        and (job.images == 1 or c.o_n == job.groups * job.m * c.o_c)
    )
    memory_of(
        c.source, job.images, c.s_n, p.groups, c.s_c, c.height, c.s_row, c.width, &c.low, &c.high,
    )
    c.met = job.band * (1 if c.spread else c.stride) + c.a * c.down + 1
    c.spare = c.met
    if not scattered(c.s_row, c.s_column, c.width):
        c.spare = min(c.reach // max(c.width, <Py_ssize_t> 1) + 3, c.met)
    c.bytes = aligned(
        aligned(c.met * sizeof(void *))
        + sizeof(real) * (
            (c.a * c.b + 1 + WIDE * job.band) * LANES + (c.spare + c.any) * c.reach
        )
    )


cdef inline void set_mask(
    real *mask, Py_ssize_t first, Py_ssize_t step, Py_ssize_t size, Py_ssize_t period
) noexcept nogil:
    """Lanes whose first + lane % period * step lies in 0..size-1."""
    cdef Py_ssize_t lane
    for lane in range(LANES):
        mask[lane] = flag(0 <= first + lane % period * step < size)


cdef void lay_masks(const Columns *c) noexcept nogil:
    cdef Py_ssize_t strip, first, last, q, v, period = LANES // 2 if c.pair else LANES
    cdef Py_ssize_t step = 1 if c.spread else c.stride
    cdef real *mask = c.masks
    for strip in range(c.strips):
        first = strip * c.vectors // c.strips * c.seen - c.lead
        if c.any or c.a > SIDE:
            for q in range(c.b):
                last = first + q * c.across
                if c.spread:
                    last = first + c.lead + (((q + c.left) & 1) + c.left - q) // 2
                for v in range(WIDE):
                    set_mask(
                        mask + (q * WIDE + v) * LANES, last + v * c.seen, step, c.width, LANES
                    )
            mask += c.strip_masks * LANES
            continue
        last = ((strip + 1) * c.vectors // c.strips - 1) * c.seen - c.lead
        set_mask(mask, first, step, c.width, period)
        set_mask(mask + LANES, last + (1 if c.spread else 2), step, c.width, period)
        set_mask(mask + 2 * LANES, last, step, c.width, period)
        mask += 3 * LANES


cdef inline bint within(const Columns *c, const real *plane, Py_ssize_t apart) noexcept nogil:
    return both_within(
        plane, apart, c.height, c.s_row, c.s_column, c.width, c.lead, c.reach, c.low, c.high
    )


cdef struct Pointed:
    # What pointers to rows that are worked out once point at, and which of them lie alike.
    const real *at
    Py_ssize_t alike, until


cdef struct Walked:
    # A plane of the result.
    const real *plane  # of the source
    const real *taps
    real bias
    real *out


cdef inline Walked walked(
    const Columns *c, const Job *job, Py_ssize_t n, Py_ssize_t channel
) noexcept nogil:
    cdef Walked plane
    cdef Py_ssize_t group = channel, m = 0
    if job.m > 1:
        group = channel // job.m
        m = channel % job.m
    plane.plane = c.source + n * c.s_n + group * c.s_c
    plane.taps = c.w + group * job.w_g + m * job.w_m
    plane.bias = 0 if job.bias == NULL else job.bias[channel * job.bias_step]
    plane.out = job.out + n * c.o_n + channel * c.o_c
    return plane


cdef inline void put_apart(
    real *to, Py_ssize_t element, const real *row, Py_ssize_t count
) noexcept nogil:
    cdef Py_ssize_t k
    if element == 1:
        memcpy(to, row, count * sizeof(real))
    else:
        for k in range(count):
            to[k * element] = row[k]


cdef inline void find_alike(
    Pointed *pointed, const real **rows, Py_ssize_t count, Py_ssize_t pitch
) noexcept nogil:
    """The first rows that lie a pitch apart: between them there is no padding and no copy."""
    cdef Py_ssize_t i = 0
    while i + 1 < count and (rows[i] == NULL or rows[i + 1] != rows[i] + pitch):
        i += 1
    pointed.alike = i
    i += 1
    while i < count and rows[i] == rows[i - 1] + pitch:
        i += 1
    pointed.until = i


cdef void walk_rows(
    const Columns *c, const Job *job, const Walked *one, const Walked *two, Py_ssize_t u,
    Py_ssize_t end, Py_ssize_t behind, Pointed *pointed, char *memory
) noexcept nogil:
    """Rows u to end of a plane of the result, or of a pair; `two` may be `one`.

    What lies behind the last row may be spoilt if `behind` is 0. For planes whose rows all lie
    where they can be read, pointers to rows are worked out once, for the plane `pointed.at`.
    """
    cdef Strip t
    cdef Py_ssize_t k, j, strip, first, vectors, met, seen, moved, taps = c.a * c.b
    cdef bint alike, known
    cdef const real *bounce
    cdef real *w = <real *> (memory + aligned(c.met * sizeof(void *)))
    cdef real *zeros = w + (taps + 1 + WIDE * job.band) * LANES
    cdef real *spare = zeros + (c.reach if c.any else 0)
    t.once = 1
    t.rows = <const real **> memory
    t.w = w
    t.bias = w + taps * LANES
    t.bounce = w + (taps + 1) * LANES
    t.pitch = c.o_row
    t.s_pitch = c.s_row
    t.apart = two.plane - one.plane
    t.out_apart = two.out - one.out
    t.a = c.a
    t.b = c.b
    t.down = c.down
    t.across = c.across
    t.before = c.left + 2 * c.lead
    t.taps = one.taps
    t.taps_apart = two.taps - one.taps
    t.w_row = c.w_row
    t.w_column = c.w_column
    t.start = one.bias
    t.start_of_two = two.bias
    if c.any or c.a > SIDE:  # more taps than registers
        for k in range(c.a):
            for j in range(c.b):
                store(
                    w + (j * c.a + k if c.any else k * c.b + j) * LANES,
                    splat(one.taps[k * c.w_row + j * c.w_column]),
                )
        store(w + taps * LANES, splat(one.bias))
    if c.any:
        memset(zeros, 0, c.reach * sizeof(real))
    alike = not c.any and end - u == c.rows <= job.band and within(
        c, one.plane, two.plane - one.plane
    )
    known = alike and pointed.at != NULL
    if not known:
        pointed.at = one.plane if alike else NULL
    moved = one.plane - pointed.at if alike else 0
    while u < end:
        t.count = min(job.band, end - u)
        t.first = 0
        if c.spread and (c.any or c.a > SIDE):
            seen = (u + c.top - c.a + 2) >> 1
            t.above = u + c.top - 2 * seen
            met = ((t.count - 1 + t.above) >> 1) + 1
        elif c.spread:
            seen = (u + c.top) // 2  # of the even row
            t.first = 2 * seen - c.top - u
            seen -= 1
            met = (t.count - t.first + 1) // 2 + 1
        else:
            seen = u * c.stride - c.top
            met = (t.count - 1) * c.stride + (c.a - 1) * c.down + 1
        if not known:
            point_down(
                t.rows, seen, met, one.plane, c.height, c.s_row, c.s_column, c.width, c.lead,
                c.reach, c.low, c.high, spare,
            )
            find_alike(pointed, t.rows, met, c.s_row)
        t.alike = pointed.alike
        t.until = pointed.until
        if c.any:
            for k in range(met):
                if t.rows[k] == NULL:
                    t.rows[k] = zeros
        for strip in range(c.strips - 1, -1, -1):
            first = 0
            vectors = c.vectors
            if c.strips > 1:
                first = strip * c.vectors // c.strips
                vectors = (strip + 1) * c.vectors // c.strips - first
            t.column = first * c.seen + moved
            t.out = one.out + u * c.o_row + first * c.each * c.o_column
            t.left = c.masks + strip * c.strip_masks * LANES
            t.right = t.left + LANES
            t.inside = t.right + LANES
            t.whole = t.count
            j = vectors * c.each
            if strip == c.strips - 1:
                j -= c.spoilt
            if strip == c.strips - 1 or c.o_column != 1:
                t.whole = max(min(t.count, end - behind - u), <Py_ssize_t> 0)
            c.strip_of[0 if c.pair else vectors](&t)
            for k in range(t.whole, t.count):
                bounce = t.bounce + (k - t.whole) * WIDE * LANES
                put_apart(t.out + k * t.pitch, c.o_column, bounce, j)
                if t.out_apart != 0:
                    put_apart(t.out + t.out_apart + k * t.pitch, c.o_column, bounce + LANES, j)
        u += t.count


cdef void walk_planes(
    const Columns *c, const Job *job, Py_ssize_t first, Py_ssize_t last, Py_ssize_t part,
    Py_ssize_t parts, Pointed *pointed, char *memory
) noexcept nogil:
    """A part of the rows of planes first to last, which count channels, then images."""
    cdef Py_ssize_t item = first, channels = job.groups * job.m
    cdef Py_ssize_t n = first // channels, channel = first % channels
    cdef Walked one, two
    while item < last:
        one = walked(c, job, n, channel)
        two = one
        if c.pair and item + 1 < last and channel + 1 < channels:
            two = walked(c, job, n, channel + 1)
            if within(c, one.plane, two.plane - one.plane):
                item += 1
                channel += 1
            else:
                two = one
        walk_rows(
            c, job, &one, &two, part * c.rows // parts, (part + 1) * c.rows // parts,
            0 if c.runs and parts == 1 and item + 1 < last else c.behind, pointed, memory,
        )
        item += 1
        channel += 1
        if channel == channels:
            channel = 0
            n += 1
