# What the compiled door hands to a kernel module, and the table of kernels that it gets from it.

cdef enum:
    ZEROS, EDGE, REFLECT, SYMMETRIC, WRAP  # what stands outside X: the padding modes of numpy.pad

cdef enum:
    # What `correlate` converts elements of X and W from, and those of Y to.
    AS_IT_IS, INT8, UINT8, INT16, UINT16, INT32, SOURCE_UINT32, FLOAT16, SOURCE_FLOAT32

cdef enum:
    MAX_FILTER = 64  # rows or columns of W in one call of `correlate` or `weight`

cdef struct Plane:
    # Sizes and pitches are in elements. Y[i, j] sees W[p, q] at X[i - top + p, j - left + q].
    const void *x
    int x_kind, w_kind, y_kind
    Py_ssize_t m, n, x_pitch
    void *w
    Py_ssize_t a, b, w_row, w_col
    void *y
    Py_ssize_t oh, ow, y_pitch
    Py_ssize_t top, left
    int mode
    const void *bias  # one element, or NULL; to `weight` it is where the sum of Y goes
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

cdef struct PlaneSet:
    # Plane k of image n of Y sees plane k // multiplier of image n of X. Steps are in elements.
    Plane plane  # the first, of one thread
    Py_ssize_t images, channels, multiplier, x_image, x_channel, w_channel, y_image, y_channel
    Py_ssize_t bias_step, threads

ctypedef int (*SetKernel)(const PlaneSet *) noexcept nogil

cdef struct Kernels:
    SetKernel correlate_set  # Y of depthwise layers
    SetKernel weight_set     # and the gradient of their filters
    Kernel correlate  # Y from X and W
    Kernel weight     # W from X and Y: the gradient of the filter
    Kernel add_up     # W (1 x 1) from Y: the gradient of the bias
    Kernel dot        # Y (1 x 1) from X and W
    Kernel shift      # Y from X moved by (-top, -left)
    Kernel round_to_half  # Y of float16 from X

cdef enum:
    # In the lanes: positions, planes, filters (also without any padding), columns (of certain
    # filters, and of any), what is summed up.
    POSITIONS, PLANES, FILTERS, UNPADDED_FILTERS, COLUMNS, ANY_COLUMNS, CHANNELS

cdef struct Axis:
    # Rows or columns: of X, of W, of Y; output i sees tap p at i * stride - before + p * dilation
    Py_ssize_t size, taps, outputs, stride, dilation, before

cdef struct Layer:
    # Strides are in elements; Y[n, g * k + m] is made of X[n, g * c + r] for all r < c.
    const void *x
    Py_ssize_t x_n, x_c, x_row, x_col
    const void *w
    Py_ssize_t w_k, w_c, w_row, w_col
    const void *y
    Py_ssize_t y_n, y_k, y_row, y_col
    const void *bias  # one element for each channel of the result, or NULL
    Py_ssize_t bias_step
    Py_ssize_t n, groups, c, k  # images, groups, channels of X and of Y in a group
    Axis rows, columns
    int mode
    int lanes_of  # the plan: what lies in the lanes
    # The plan: outputs, channels and taps that are worked on at a time, parts of the channels
    # of the result that are shared among threads, bands of the sums of dW.
    void *partial  # kernels' own: the sums of dW of each band, and whether all are finite
    int *not_finite
    Py_ssize_t band, strip, depth, tap_rows, tap_columns, parts, bands, threads

ctypedef int (*LayerKernel)(const Layer *) noexcept nogil  # 0, or -1 where memory ran out
# The gradients of X, of W and (into w) of the bias; NULL for those that are not wanted.
ctypedef int (*Backward)(const Layer *, const Layer *, const Layer *) noexcept nogil

cdef struct LayerKernels:
    LayerKernel forward
    Backward backward
