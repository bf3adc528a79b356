# Channels of Y or of the gradient of X whose filters are not finite: padding left out of the sums
#
# Elsewhere padding is a zero that is multiplied, which makes a NaN of an infinite element of W, in
# every element of the result that sees it. So one element tells whether a plane is to be made once
# more, term by term from the formula.

cdef inline bint finite(real number) noexcept nogil:
    cdef real zero = 0
    return number * zero == zero


cdef bint filters_finite(const Layer *p, Py_ssize_t channel, bint back) noexcept nogil:
    """Whether all elements of W that one channel of the result sees are finite."""
    cdef Py_ssize_t size = p.c if back else p.k, r, k, q
    cdef const real *w = <const real *> p.w + channel // size * p.k * p.w_k
    w += channel % size * (p.w_c if back else p.w_k)
    for r in range(p.k if back else p.c):
        for k in range(p.rows.taps):
            for q in range(p.columns.taps):
                if not finite(w[k * p.w_row + q * p.w_col]):
                    return False
        w += p.w_k if back else p.w_c
    return True


cdef bint looks_finite(const Layer *p, Py_ssize_t channel, bint back) noexcept nogil:
    """Whether those elements of each plane of the result are finite that tell of all of W.

    They see all of it, or all that they do not see is left out of the other elements too.
    """
    cdef Py_ssize_t n, i, j, row = 0, column = 0
    cdef Py_ssize_t rows = min(p.rows.stride, p.rows.size) if back else 1  # lattices
    cdef Py_ssize_t columns = min(p.columns.stride, p.columns.size) if back else 1
    cdef Py_ssize_t step = p.x_row if back else p.y_row, column_step = p.x_col if back else p.y_col
    cdef const real *plane
    if p.lanes_of != POSITIONS:  # not all padding is multiplied
        row = inner(&p.rows, back)
        column = inner(&p.columns, back)
    if row < 0 or column < 0:
        row = 0
        column = 0
        rows = p.rows.size if back else p.rows.outputs
        columns = p.columns.size if back else p.columns.outputs
    for n in range(p.n):
        plane = <const real *> p.y + n * p.y_n + channel * p.y_k
        if back:
            plane = <const real *> p.x + n * p.x_n + channel * p.x_c
        for i in range(row, row + rows):
            for j in range(column, column + columns):
                if not finite(plane[i * step + j * column_step]):
                    return False
    return True


cdef Py_ssize_t inner(const Axis *axis, bint back) noexcept nogil:
    """An output that sees no padding, or the first of X's that no tap misses; -1 if none."""
    cdef Py_ssize_t first, reach = (axis.taps - 1) * axis.dilation
    if back:
        first = max(reach - axis.before, <Py_ssize_t> 0)
        if first + axis.stride > axis.size or first + axis.before + axis.stride - 1 >= (
            axis.outputs * axis.stride
        ):
            return -1
        return first
    first = parts_in(axis.before, axis.stride)
    if first >= axis.outputs or first * axis.stride - axis.before + reach >= axis.size:
        return -1
    return first


cdef inline Py_ssize_t first_inside(const Axis *axis, Py_ssize_t tap) noexcept nogil:
    """The first output that sees an element of the axis through a tap."""
    return parts_in(max(axis.before - tap * axis.dilation, 0), axis.stride)


cdef inline Py_ssize_t last_inside(const Axis *axis, Py_ssize_t tap) noexcept nogil:
    """One behind the last output that does; the first may be behind it."""
    cdef Py_ssize_t end = axis.size + axis.before - tap * axis.dilation
    return min(parts_in(max(end, 0), axis.stride), axis.outputs)


cdef void exact_tap(
    const Layer *p, real *x, real tap, real *y, Py_ssize_t k, Py_ssize_t q, bint back
) noexcept nogil:
    """What one tap adds to one plane of Y, or of X."""
    cdef Py_ssize_t i, j, row, column
    for i in range(first_inside(&p.rows, k), last_inside(&p.rows, k)):
        row = (i * p.rows.stride - p.rows.before + k * p.rows.dilation) * p.x_row
        for j in range(first_inside(&p.columns, q), last_inside(&p.columns, q)):
            column = (j * p.columns.stride - p.columns.before + q * p.columns.dilation) * p.x_col
            if back:
                x[row + column] += tap * y[i * p.y_row + j * p.y_col]
            else:
                y[i * p.y_row + j * p.y_col] += tap * x[row + column]


cdef void exact_plane(const Layer *p, Py_ssize_t n, Py_ssize_t channel, bint back) noexcept nogil:
    """One plane of the result, from its bias on."""
    cdef Py_ssize_t size = p.c if back else p.k, group = channel // size, m = channel % size
    cdef Py_ssize_t r, i, j, k, q
    cdef real *x = <real *> p.x + n * p.x_n + (group * p.c + (m if back else 0)) * p.x_c
    cdef real *y = <real *> p.y + n * p.y_n + (group * p.k + (0 if back else m)) * p.y_k
    cdef const real *w = <const real *> p.w + group * p.k * p.w_k
    cdef real bias = 0
    if p.bias != NULL:
        bias = (<const real *> p.bias)[channel * p.bias_step]
    w += m * (p.w_c if back else p.w_k)
    for i in range(p.rows.size if back else p.rows.outputs):
        for j in range(p.columns.size if back else p.columns.outputs):
            if back:
                x[i * p.x_row + j * p.x_col] = bias
            else:
                y[i * p.y_row + j * p.y_col] = bias
    for r in range(p.k if back else p.c):
        for k in range(p.rows.taps):
            for q in range(p.columns.taps):
                exact_tap(p, x, w[k * p.w_row + q * p.w_col], y, k, q, back)
        w += p.w_k if back else p.w_c
        if back:
            y += p.y_k
        else:
            x += p.x_c


cdef inline bint sees_padding(const Axis *axis, bint back) noexcept nogil:
    """Whether some output, or for the gradient some element of X, does through some tap."""
    if back:
        return (
            axis.before < (axis.taps - 1) * axis.dilation
            or axis.size - 1 + axis.before >= axis.outputs * axis.stride
        )
    return first_inside(axis, 0) > 0 or last_inside(axis, axis.taps - 1) < axis.outputs


cdef void exactly(const Layer *p, bint back) noexcept nogil:
    """Make planes once more whose filters are not finite, where padding was multiplied."""
    cdef Py_ssize_t channel, n
    if (
        (p.mode != ZEROS and not back) or p.lanes_of == UNPADDED_FILTERS
        or not (sees_padding(&p.rows, back) or sees_padding(&p.columns, back))
    ):
        return
    for channel in range(p.groups * (p.c if back else p.k)):
        if looks_finite(p, channel, back):
            continue
        if not filters_finite(p, channel, back):
            for n in prange(p.n, num_threads=<int> p.threads, schedule="static"):
                exact_plane(p, n, channel, back)


cdef void exact_weight(
    const Layer *p, Py_ssize_t m, Py_ssize_t c, Py_ssize_t k, Py_ssize_t q
) noexcept nogil:
    """One element of dW with nothing but its own terms in the sum."""
    cdef Py_ssize_t n, i, j, row, column
    cdef const real *x = <const real *> p.x + (m // p.k * p.c + c) * p.x_c
    cdef const real *y = <const real *> p.y + m * p.y_k
    cdef total s = 0
    for n in range(p.n):
        for i in range(p.rows.outputs):
            row = i * p.rows.stride - p.rows.before + k * p.rows.dilation
            row = source(row, p.rows.size, p.mode)
            if row < 0:
                continue
            for j in range(p.columns.outputs):
                column = j * p.columns.stride - p.columns.before + q * p.columns.dilation
                column = source(column, p.columns.size, p.mode)
                if column >= 0:
                    s += x[row * p.x_row + column * p.x_col] * y[i * p.y_row + j * p.y_col]
        x += p.x_n
        y += p.y_n
    (<real *> p.w)[m * p.w_k + c * p.w_c + k * p.w_row + q * p.w_col] = <real> s


cdef void exact_filter(const Layer *p, Py_ssize_t m) noexcept nogil:
    """Those elements of one filter once more that are not finite."""
    cdef Py_ssize_t c, k, q
    cdef const real *w = <const real *> p.w + m * p.w_k
    for c in range(p.c):
        for k in range(p.rows.taps):
            for q in range(p.columns.taps):
                if not finite(w[c * p.w_c + k * p.w_row + q * p.w_col]):
                    exact_weight(p, m, c, k, q)


cdef void exact_weights(const Layer *p) noexcept nogil:
    cdef Py_ssize_t m
    for m in prange(p.groups * p.k, num_threads=<int> p.threads, schedule="static"):
        exact_filter(p, m)
