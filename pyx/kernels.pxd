# What the compiled door hands to a kernel module, and the table of kernels that it gets from it.

cdef enum:
    ZEROS, EDGE, REFLECT, SYMMETRIC, WRAP  # what stands outside X: the padding modes of numpy.pad

cdef enum:
    MAX_FILTER = 64  # rows or columns of W in one call of `correlate` or `weight`

cdef struct Plane:
    # Sizes and pitches are in elements. Y[i, j] sees W[p, q] at X[i - top + p, j - left + q].
    const void *x
    Py_ssize_t m, n, x_pitch
    void *w
    Py_ssize_t a, b, w_row, w_col
    void *y
    Py_ssize_t oh, ow, y_pitch
    Py_ssize_t top, left
    int mode
    const void *bias  # one element, or NULL
    Py_ssize_t band, strip, threads  # the plan: rows and columns of Y that are worked on at a time

cdef struct Tiling:
    # Tiles of rows x columns of X, of which those from first to last are computed.
    Plane plane  # W is float64, its rows contiguous
    Py_ssize_t rows, columns, first, last
    Py_ssize_t y_step  # elements from tile to tile where Y is a stack of tiles; 0 where a plane
    bint single  # X and Y are float32, not float64
    char *direct  # set to 1 for each tile that has to be done directly

ctypedef int (*FFT)(const Tiling *) noexcept nogil  # 0, or -1 where memory ran out

ctypedef int (*Kernel)(const Plane *) noexcept nogil  # 0, or -1 where memory ran out

cdef struct Kernels:
    Kernel correlate  # Y from X and W
    Kernel weight     # W from X and Y: the gradient of the filter
    Kernel add_up     # W (1 x 1) from Y: the gradient of the bias
    Kernel dot        # Y (1 x 1) from X and W
    Kernel shift      # Y from X moved by (-top, -left)
