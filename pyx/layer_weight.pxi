# The gradient of W from X and Y, and the gradient of the bias
#
# dW[m, c, tap] = sum over n, u, v of Y[n, m, u, v] * X[n, c, u * s + row(tap), v * s + column(tap)]
#
# The lanes are channels m, of a block of rows of Y that is transposed to [u, v][m]. A tile is up to
# MR pairs (c, tap) x NV vectors of m in registers: a step, one (u, v), takes NV aligned loads and
# MR elements of X, `stride` apart, so strides cost nothing. Where there are channels enough, those
# of a tile share a tap, and meet through it, in place, what it sees of X; else pairs fill it as
# they come, and X is a padded panel. Each block of rows adds its sums to those in `sums`,
# [c, tap][m], which are transposed into W at the end.
#
# An item of work is a block of m and of c, a block of taps, and one band of all the rows of all
# images. Bands, of which there are as many as the sizes say, are added up in their order.

cdef enum:
    SOON = 512  # bytes further on in rows that are transposed, what is fetched there


cdef struct WeightBlock:
    const Layer *p
    Py_ssize_t group, m, m_end, c, c_end
    Py_ssize_t k, k_end, q, q_end  # rows and columns of taps
    Py_ssize_t taps, lanes  # of m, whole vectors
    Py_ssize_t pitch  # of the sums, from pair to pair
    bint in_place  # the sums are W itself
    real *transposed  # [vectors of m, NV at a time][u, v][lanes]
    real *panel  # where X is not read in place
    const real *x
    Py_ssize_t x_c, x_row, x_col, u_step, v_step  # of x: channels, tap rows, taps, rows, columns
    real *sums


cdef void transpose_apart(
    real *to, Py_ssize_t to_pitch, const real *rows, Py_ssize_t pitch, Py_ssize_t element,
    Py_ssize_t count, Py_ssize_t size
) noexcept nogil:
    """The same of rows with few elements, or with every second one; `count` is a vector or more."""
    cdef vec a[LANES]
    cdef Py_ssize_t i = 0, j, columns, k
    while i < count:
        i = min(i, count - LANES)
        for j in range(parts_in(size, LANES)):
            columns = min(size - j * LANES, <Py_ssize_t> LANES)
            for k in range(LANES):
                if element == 1:
                    a[k] = load_some(rows + (i + k) * pitch + j * LANES, <int> columns)
                else:
                    a[k] = load_apart(rows + (i + k) * pitch + 2 * j * LANES, <int> columns)
            turn_square(a)
            for k in range(columns):
                store(to + (j * LANES + k) * to_pitch + i, a[k])
        i += LANES


cdef void transpose(
    real *to, Py_ssize_t to_pitch, const real *rows, Py_ssize_t pitch, Py_ssize_t element,
    Py_ssize_t count, Py_ssize_t size
) noexcept nogil:
    """to[j * to_pitch + i] = rows[i * pitch + j * element], i < count, j < size.

    Along rows on the side whose rows lie further apart, which is the one in memory.
    """
    cdef Py_ssize_t down = parts_in(count, LANES), across = parts_in(size, LANES), square, i, j, k
    if count >= LANES > 1 and (element == 2 or (element == 1 and 4 <= size < LANES)):
        transpose_apart(to, to_pitch, rows, pitch, element, count, size)
        return
    if element != 1 or count < LANES or size < LANES:
        for j in range(size):
            for i in range(count):
                to[j * to_pitch + i] = rows[i * pitch + j * element]
        return
    for square in range(down * across):  # the last ones overlap those before
        i = square // across if pitch > to_pitch else square % down
        j = square % across if pitch > to_pitch else square // down
        i = min(i * LANES, count - LANES)
        j = min(j * LANES, size - LANES)
        for k in range(LANES):
            fetch(rows + (i + k) * pitch + j + SOON // <int> sizeof(real))
        transpose_square(to + j * to_pitch + i, to_pitch, rows + i * pitch + j, pitch)


cdef void transpose_y(
    const WeightBlock *b, Py_ssize_t n, Py_ssize_t u, Py_ssize_t rows, Py_ssize_t v,
    Py_ssize_t columns
) noexcept nogil:
    """Rows and columns of Y, NV vectors of m after the other."""
    cdef const Layer *p = b.p
    cdef const real *y
    cdef real *to = b.transposed
    cdef Py_ssize_t i, panel, panels = panels_of(b), m = b.m, lanes, count
    for panel in range(panels):
        lanes = panel_start(b, panel + 1) - panel_start(b, panel)
        count = min(lanes, b.m_end - m)
        y = <const real *> p.y + n * p.y_n + (b.group * p.k + m) * p.y_k
        y += u * p.y_row + v * p.y_col
        if p.y_k == 1:  # channels last: as it is
            for i in range(rows * columns):
                memcpy(
                    to + i * lanes, y + i // columns * p.y_row + i % columns * p.y_col,
                    count * sizeof(real),
                )
        elif p.y_row == columns * p.y_col:
            transpose(to, lanes, y, p.y_k, p.y_col, count, rows * columns)
        else:
            for i in range(rows):
                transpose(
                    to + i * columns * lanes, lanes, y + i * p.y_row, p.y_k, p.y_col, count,
                    columns,
                )
        to += rows * columns * lanes
        m += lanes


cdef inline Py_ssize_t panels_of(const WeightBlock *b) noexcept nogil:
    return parts_in(b.lanes // LANES, NV)


cdef inline Py_ssize_t panel_start(const WeightBlock *b, Py_ssize_t panel) noexcept nogil:
    """The first lane of NV vectors, or of a few less."""
    return panel * (b.lanes // LANES) // panels_of(b) * LANES


cdef inline bint inside(const Axis *axis, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Whether the only tap of outputs first to last sees no padding."""
    return (
        axis.taps == 1 and first * axis.stride >= axis.before
        and (last - 1) * axis.stride - axis.before < axis.size
    )


cdef void pack_seen_row(
    const Layer *p, const real *x, Py_ssize_t row, const Run *run, real *to
) noexcept nogil:
    """What is seen of a row of a plane of X, or of the padding that stands for it."""
    row = source(row, p.rows.size, p.mode)
    if row < 0:
        memset(to, 0, run.count * sizeof(real))
    else:
        pack_row(to, x + row * p.x_row, p.x_col, run, 0, p.x_c if p.x_col == 1 else 0)


cdef void show_x(
    WeightBlock *b, Py_ssize_t n, Py_ssize_t u, Py_ssize_t rows, Py_ssize_t v, Py_ssize_t columns
) noexcept nogil:
    """What rows and columns of Y see of X: in place, where that is one element, else a panel."""
    cdef const Layer *p = b.p
    cdef Py_ssize_t c, i, row, height, width, first, down = p.rows.stride, right = p.columns.stride
    cdef const real *x = <const real *> p.x + n * p.x_n + (b.group * p.c + b.c) * p.x_c
    cdef real *to = b.panel
    cdef Run run
    b.x_row = 0
    b.x_col = 0
    if inside(&p.rows, u, u + rows) and inside(&p.columns, v, v + columns):
        b.x = x + (u * down - p.rows.before) * p.x_row + (v * right - p.columns.before) * p.x_col
        b.x_c = p.x_c
        b.u_step = down * p.x_row
        b.v_step = right * p.x_col
        return
    if b.k_end - b.k == 1:  # rows between those that are seen are left out
        down = 1
    height = (rows - 1) * down + (b.k_end - b.k - 1) * p.rows.dilation + 1
    width = (columns - 1) * right + (b.q_end - b.q - 1) * p.columns.dilation + 1
    first = v * right - p.columns.before + b.q * p.columns.dilation
    lay_run(&run, first, 1, width, p.columns.size, p.mode)
    for c in range(b.c_end - b.c):
        for i in range(height):
            row = u * p.rows.stride + i * (p.rows.stride // down)
            row += b.k * p.rows.dilation - p.rows.before
            pack_seen_row(p, x + c * p.x_c, row, &run, to)
            to += width
    b.x = b.panel
    b.x_c = height * width
    b.x_row = p.rows.dilation * width
    b.x_col = p.columns.dilation
    b.u_step = down * width
    b.v_step = right


cdef void add_rows_of_taps(const WeightBlock *b, Products *t, Py_ssize_t lane) noexcept nogil:
    """All tiles of one vector of filters, whose taps are taken row by row, or else as a column."""
    cdef Py_ssize_t length = b.q_end - b.q, rows_of = b.k_end - b.k, row = b.x_row
    cdef Py_ssize_t parts, part, tiles, rows, k, e, q
    cdef int mr, mq, i
    t.tap = b.x_col
    if length == 1:
        length = rows_of
        rows_of = 1
        t.tap = row
    t.row_sums = length
    rows = (b.c_end - b.c) * rows_of
    parts = parts_in(length, 3)
    for part in range(parts):
        q = part * length // parts
        mq = <int> ((part + 1) * length // parts - q)
        tiles = parts_in(rows, 2 * MR // mq)
        for k in range(tiles):
            e = k * rows // tiles
            mr = <int> ((k + 1) * rows // tiles - e)
            t.sums = b.sums + (e * length + q) * b.pitch + lane
            for i in range(mr):
                t.x[i] = b.x + (e + i) // rows_of * b.x_c + (e + i) % rows_of * row + q * t.tap
            ROW_PRODUCTS_OF[mq - 2][mr - 1](t)


cdef void add_products(
    const WeightBlock *b, Py_ssize_t rows, Py_ssize_t columns, bint first
) noexcept nogil:
    """All tiles of a block."""
    cdef Products t
    cdef Py_ssize_t pairs = (b.c_end - b.c) * b.taps, tiles = parts_in(pairs, MR), i, k, e, tap
    cdef Py_ssize_t across = b.q_end - b.q, lane
    cdef int mr, nv, j
    t.once = 1
    t.rows = rows
    t.columns = columns
    t.x_row = b.u_step
    t.x_column = b.v_step
    if b.u_step == columns * b.v_step:
        t.rows = 1
        t.columns = rows * columns
    t.y_gap = 0
    t.pitch = b.pitch
    t.first = first
    for i in range(panels_of(b)):
        lane = panel_start(b, i)
        t.y = b.transposed + rows * columns * lane
        t.y_step = panel_start(b, i + 1) - lane
        nv = <int> (t.y_step // LANES)
        if FLOATS and nv == 1 and b.taps > 1:
            add_rows_of_taps(b, &t, lane)
            continue
        for k in range(tiles):
            e = k * pairs // tiles
            mr = <int> ((k + 1) * pairs // tiles - e)
            t.sums = b.sums + e * b.pitch + lane
            for j in range(mr):
                tap = (e + j) % b.taps
                t.x[j] = b.x + (e + j) // b.taps * b.x_c
                t.x[j] += tap // across * b.x_row + tap % across * b.x_col
            PRODUCTS_OF[nv - 1][mr - 1](&t)


cdef void add_channels(
    const WeightBlock *b, Products *t, const real *seen, Py_ssize_t lane
) noexcept nogil:
    """All tiles of some vectors of filters and one tap, through which channels lie alike."""
    cdef Py_ssize_t c = 0, left, share, x_c = b.p.x_c
    cdef int vectors = <int> (t.y_step // LANES), mr, mq, i
    t.tap = x_c
    t.sums += lane
    while c < b.c_end - b.c:
        left = b.c_end - b.c - c
        share = parts_in(left, parts_in(left, 2 * MR))
        if FLOATS and vectors == 1 and left >= 8:  # see `row_products`
            mq = 3 if share % 3 == 0 else 2
            mr = <int> min(parts_in(share, mq), left // mq)
            t.row_sums = mq
            for i in range(mr):
                t.x[i] = seen + (c + i * mq) * x_c
            ROW_PRODUCTS_OF[mq - 2][mr - 1](t)
            mr *= mq
        else:
            mr = <int> parts_in(left, parts_in(left, MR))
            for i in range(mr):
                t.x[i] = seen + (c + i) * x_c
            PRODUCTS_OF[vectors - 1][mr - 1](t)
        t.sums += mr * t.pitch
        c += mr


cdef void add_tap_by_tap(
    const WeightBlock *b, Py_ssize_t n, Py_ssize_t u, Py_ssize_t rows, Py_ssize_t v,
    Py_ssize_t columns, bint first
) noexcept nogil:
    """All tiles of a block, each tap with those outputs that see X through it, where X lies."""
    cdef const Layer *p = b.p
    cdef const real *x = <const real *> p.x + n * p.x_n + (b.group * p.c + b.c) * p.x_c
    cdef const real *seen
    cdef Py_ssize_t across = b.q_end - b.q, tap, k, q, i, u_first, v_first, lane
    cdef Products t
    t.once = 1
    t.first = first
    t.x_row = p.rows.stride * p.x_row
    t.x_column = p.columns.stride * p.x_col
    t.pitch = b.pitch * b.taps
    for tap in range(b.taps):
        k = b.k + tap // across
        q = b.q + tap % across
        u_first = max(first_inside(&p.rows, k), u)
        v_first = max(first_inside(&p.columns, q), v)
        t.rows = min(last_inside(&p.rows, k), u + rows) - u_first
        t.columns = min(last_inside(&p.columns, q), v + columns) - v_first
        if t.rows <= 0 or t.columns <= 0:
            if not first:
                continue
            t.rows = 0
        seen = x + (u_first * p.rows.stride + k * p.rows.dilation - p.rows.before) * p.x_row
        seen += (v_first * p.columns.stride + q * p.columns.dilation - p.columns.before) * p.x_col
        for i in range(panels_of(b)):
            lane = panel_start(b, i)
            t.y_step = panel_start(b, i + 1) - lane
            t.y_gap = (columns - t.columns) * t.y_step
            t.y = b.transposed + rows * columns * lane
            t.y += ((u_first - u) * columns + v_first - v) * t.y_step
            t.sums = b.sums + tap * b.pitch
            add_channels(b, &t, seen, lane)


cdef bint sums_finite(const WeightBlock *b) noexcept nogil:
    cdef vec product = splat(0)
    cdef Py_ssize_t i, j
    cdef real flat[LANES]
    for i in range((b.c_end - b.c) * b.taps):
        for j in range(b.lanes // LANES):
            product += load(b.sums + i * b.pitch + j * LANES) * splat(0)
    store(flat, product)
    for i in range(LANES):
        if not finite(flat[i]):
            return False
    return True


cdef inline Py_ssize_t before_w(const Layer *p) noexcept nogil:
    """Elements of W, which is dense, before the first in memory: its taps may be reversed."""
    return (
        -min(p.w_row, <Py_ssize_t> 0) * (p.rows.taps - 1)
        - min(p.w_col, <Py_ssize_t> 0) * (p.columns.taps - 1)
    )


cdef inline real *target(const WeightBlock *b, Py_ssize_t band) noexcept nogil:
    """Where the sums go: into W, or where there are several bands into a twin of W of their own."""
    cdef const Layer *p = b.p
    cdef real *w = <real *> p.w
    if p.bands > 1:
        w = <real *> p.partial + band * p.groups * p.k * p.c * p.rows.taps * p.columns.taps
        w += before_w(p)
    w += (b.group * p.k + b.m) * p.w_k + b.c * p.w_c
    return w + b.k * p.w_row + b.q * p.w_col


cdef void deliver_sums(const WeightBlock *b, real *w) noexcept nogil:
    """The sums, [c, tap][m], into W."""
    cdef const Layer *p = b.p
    cdef Py_ssize_t count = b.m_end - b.m, across = b.q_end - b.q, c, tap, run = 1
    cdef Py_ssize_t w_k = p.w_k, w_c = p.w_c, w_row = p.w_row, w_col = p.w_col
    cdef real *to
    if w_col == 1 and w_row == across and w_c == b.taps:
        transpose(w, w_k, b.sums, b.lanes, 1, (b.c_end - b.c) * b.taps, count)
        return
    if w_col == 1 and w_k > 1:
        run = b.taps if w_row == across else across  # pairs that lie side by side
    for c in range(b.c_end - b.c):
        tap = 0
        while tap < b.taps:
            to = w + c * w_c + tap // across * w_row + tap % across * w_col
            if w_k == 1:
                memcpy(to, b.sums + (c * b.taps + tap) * b.lanes, count * sizeof(real))
            else:
                transpose(to, w_k, b.sums + (c * b.taps + tap) * b.lanes, b.lanes, 1, run, count)
            tap += run


cdef void weight_item(const Layer *p, Py_ssize_t item, char *memory) noexcept nogil:
    """Item: channels, filters, taps, group, band."""
    cdef WeightBlock b
    cdef Py_ssize_t depths = parts_in(p.c, p.depth), bands_of_image, strips, block, first, last
    cdef Py_ssize_t u, v
    cdef Py_ssize_t across = parts_in(p.columns.taps, p.tap_columns), u_end, v_end, n
    cdef Py_ssize_t down = parts_in(p.rows.taps, p.tap_rows)
    b.p = p
    b.c = item % depths * p.depth
    b.c_end = min(b.c + p.depth, p.c)
    item //= depths
    b.m = item % p.parts * lanes_of_part(p)
    b.m_end = min(b.m + lanes_of_part(p), p.k)
    item //= p.parts
    b.q = item % across * p.tap_columns
    b.q_end = min(b.q + p.tap_columns, p.columns.taps)
    item //= across
    b.k = item % down * p.tap_rows
    b.k_end = min(b.k + p.tap_rows, p.rows.taps)
    item //= down
    b.group = item % p.groups
    item //= p.groups
    if b.m >= b.m_end:
        return
    b.taps = (b.k_end - b.k) * (b.q_end - b.q)
    b.lanes = parts_in(b.m_end - b.m, LANES) * LANES
    b.sums = <real *> memory
    b.transposed = b.sums + b.lanes * (b.c_end - b.c) * b.taps
    b.panel = b.transposed + b.lanes * p.band * p.strip
    if b.lanes != b.m_end - b.m:
        memset(b.transposed, 0, b.lanes * p.band * p.strip * sizeof(real))
    b.pitch = b.lanes
    b.in_place = b.taps == 1 and p.w_k == 1 and b.lanes == b.m_end - b.m
    if b.in_place:
        b.sums = target(&b, item)
        b.pitch = p.w_c
    bands_of_image = parts_in(p.rows.outputs, p.band)
    strips = parts_in(p.columns.outputs, p.strip)
    first = item * p.n * bands_of_image // p.bands
    last = (item + 1) * p.n * bands_of_image // p.bands
    for block in range(first * strips, last * strips):
        n = block // strips // bands_of_image
        u = block // strips % bands_of_image * p.band
        v = block % strips * p.strip
        u_end = min(u + p.band, p.rows.outputs)
        v_end = min(v + p.strip, p.columns.outputs)
        transpose_y(&b, n, u, u_end - u, v, v_end - v)
        if p.lanes_of == UNPADDED_FILTERS:
            add_tap_by_tap(&b, n, u, u_end - u, v, v_end - v, block == first * strips)
        else:
            show_x(&b, n, u, u_end - u, v, v_end - v)
            add_products(&b, u_end - u, v_end - v, block == first * strips)
    if not b.in_place:
        deliver_sums(&b, target(&b, item))
    if not sums_finite(&b):
        p.not_finite[0] = True  # whoever finds it


cdef inline Py_ssize_t lanes_of_part(const Layer *p) noexcept nogil:
    return parts_in(parts_in(p.k, LANES), p.parts) * LANES


cdef size_t weight_bytes(const Layer *p) noexcept nogil:
    """Memory of one thread."""
    cdef Py_ssize_t lanes = lanes_of_part(p), depth = min(p.depth, p.c)
    cdef Py_ssize_t rows = min(p.band, p.rows.outputs), columns = min(p.strip, p.columns.outputs)
    cdef Py_ssize_t height = (rows - 1) * p.rows.stride + 1 + (
        min(p.tap_rows, p.rows.taps) - 1
    ) * p.rows.dilation
    cdef Py_ssize_t width = (columns - 1) * p.columns.stride + 1 + (
        min(p.tap_columns, p.columns.taps) - 1
    ) * p.columns.dilation
    return aligned(sizeof(real) * (
        lanes * (depth * p.tap_rows * p.tap_columns + p.band * p.strip)
        + (0 if p.lanes_of == UNPADDED_FILTERS else depth * height * width) + LANES
    ))


cdef void add_bands(
    const Layer *p, Py_ssize_t first, Py_ssize_t last, Py_ssize_t size
) noexcept nogil:
    """Some elements of W, which is dense, as the sums of those of all bands."""
    cdef Py_ssize_t band, i
    cdef const real *part = <const real *> p.partial
    cdef real *w = <real *> p.w - before_w(p)
    for i in range(first, last):
        w[i] = part[i]
    for band in range(1, p.bands):
        part += size
        for i in range(first, last):
            w[i] += part[i]
