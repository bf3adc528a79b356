"""The door between NumPy and the kernels: pointers out of arrays, threads, and the fast road.

The fast road serves what most calls are (two C-contiguous planes of one float type, everything else
left at its default) in well under a microsecond of overhead, and answers None to all others.
"""

import threading

from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
cimport numpy as cnp

from kernels cimport (
    AS_IT_IS, COLUMNS, FLOAT16, INT8, INT16, INT32, MAX_FILTER, SOURCE_FLOAT32, SOURCE_UINT32,
    UINT8, UINT16, ZEROS, Axis, Backward, FFT, Kernel, Kernels, Layer, LayerKernels, Plane,
    PlaneSet, Tiling
)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #else
    static int omp_get_max_threads(void) { return 1; }
    #endif
    #if defined(_OPENMP) && defined(__GNUC__)
    static void free_threads(void) { omp_pause_resource_all(omp_pause_soft); }
    #else
    static void free_threads(void) {}
    #endif
    """
    int omp_get_max_threads() nogil
    void free_threads() nogil  # those that OpenMP keeps for the calling thread

cnp.import_array()

cdef enum:
    FLOAT32, FLOAT64, UINT32, UINT64, ELEMENTS_OF_LAYERS
    UINT16_ELEMENT = ELEMENTS_OF_LAYERS
    ELEMENTS

LARGEST_FILTER = <int> MAX_FILTER

cdef const Kernels *tables[ELEMENTS]
cdef const LayerKernels *layer_tables[ELEMENTS_OF_LAYERS]
cdef FFT fft_kernel = NULL
cdef int parallel_calls = 0  # running now; changed with the GIL held
cdef bint used_threads = False
cdef bint forked = False
cdef int cpu_count = 1
cdef int chosen_threads = 0
cdef int openmp_at_import = omp_get_max_threads()
cdef unsigned long pool_owner = 0
# From here on it pays to make a pool of threads for one call.
cdef double POOL_FLOPS = 1e8
cdef double small_flops = 0  # up to here, and up to so many rows, a problem is not planned
cdef Py_ssize_t small_rows = 0
cdef Py_ssize_t most_walked = 0  # bytes of a plane that filters of 3 x 3 walk down
cdef object planner = None


def connect(
    list kernels, list layers, fft, double flops, Py_ssize_t rows, Py_ssize_t walked, plan
):
    """Take the kernels of each element type, what a small problem is, how many bytes of a plane are
    walked down, and the planner of others.
    """
    global fft_kernel, small_flops, small_rows, most_walked, planner
    for element in range(<int> ELEMENTS):
        tables[element] = <const Kernels *> PyCapsule_GetPointer(kernels[element], "conv2d.kernels")
    for element in range(<int> ELEMENTS_OF_LAYERS):
        layer_tables[element] = <const LayerKernels *> PyCapsule_GetPointer(
            layers[element], "conv2d.layers"
        )
    fft_kernel = <FFT> PyCapsule_GetPointer(fft, "conv2d.fft")
    small_flops = flops
    small_rows = rows
    kept_calls.clear()
    most_walked = walked
    planner = plan


def walked_bytes():
    """Bytes of a plane that filters of 3 x 3 walk down, at most."""
    return most_walked


# ---------------------------------------------------------------- threads


def after_fork():
    """In a child whose parent has used threads, the thread pool is gone: work serially."""
    global parallel_calls, forked
    parallel_calls = 0
    forked = forked or used_threads


def limit_threads(int cpus, int chosen):
    """CPUs that this process may use, and the threads that the user has chosen, 0 for none."""
    global cpu_count, chosen_threads
    cpu_count = cpus
    chosen_threads = chosen


cpdef int default_threads() noexcept:
    """What was chosen, or the CPUs that OMP_NUM_THREADS leaves; less under threadpoolctl."""
    cdef int openmp = omp_get_max_threads()
    if chosen_threads == 0:
        return min(cpu_count, openmp)
    return min(chosen_threads, openmp) if openmp < openmp_at_import else chosen_threads


cdef bint owns_pool():
    """Whether this is the one Python thread that OpenMP may keep a pool of threads for.

    It keeps one for each that ever ran in parallel, so that threads would multiply.
    """
    global pool_owner
    cdef unsigned long me = PyThread_get_thread_ident()
    if pool_owner != me and pool_owner not in [thread.ident for thread in threading.enumerate()]:
        pool_owner = me
    return pool_owner == me


ctypedef int (*Work)(const void *) noexcept nogil


cdef int run(Work work, void *sizes, Py_ssize_t *threads, double flops) except -1:
    """Run a kernel without the GIL. One call at a time is parallel, the others are serial."""
    global parallel_calls, used_threads
    cdef int failed
    cdef bint keep = True
    if threads[0] > 1 and (parallel_calls or forked):
        threads[0] = 1
    if threads[0] > 1:
        keep = owns_pool()
        if not keep and flops < POOL_FLOPS:
            threads[0] = 1
    if threads[0] == 1:
        with nogil:
            failed = work(sizes)
    else:
        used_threads = True
        parallel_calls += 1
        with nogil:
            failed = work(sizes)
            if not keep:
                free_threads()
        parallel_calls -= 1
    if failed:
        raise MemoryError("no memory for the workspace of a convolution")
    return 0


cdef inline double flops_of_plane(const Plane *p) noexcept nogil:
    return 2.0 * p.oh * p.ow * p.a * p.b


cdef int run_plane(Kernel kernel, Plane *p) except -1:
    return run(<Work> kernel, p, &p.threads, flops_of_plane(p))


include "calls.pxi"


# ---------------------------------------------------------------- the general road


cdef int element_of(cnp.dtype dtype) except -1:
    cdef int kind = dtype.type_num
    if kind == cnp.NPY_FLOAT32:
        return FLOAT32
    if kind == cnp.NPY_FLOAT64:
        return FLOAT64
    if kind == cnp.NPY_UINT32:
        return UINT32
    if kind == cnp.NPY_UINT64:
        return UINT64
    if kind == cnp.NPY_UINT16:
        return UINT16_ELEMENT
    raise TypeError(f"no kernel for {dtype}")


cdef int kind_of(cnp.ndarray array, cnp.dtype dtype) except -1:
    """What a kernel of a type converts elements from, or to."""
    cdef int kind = cnp.PyArray_TYPE(array)
    if kind == dtype.type_num:
        return AS_IT_IS
    if kind == cnp.NPY_INT8:
        return INT8
    if kind == cnp.NPY_UINT8:
        return UINT8
    if kind == cnp.NPY_INT16:
        return INT16
    if kind == cnp.NPY_UINT16:
        return UINT16
    if kind == cnp.NPY_INT32:
        return INT32
    if kind == cnp.NPY_UINT32:
        return SOURCE_UINT32
    if kind == cnp.NPY_FLOAT16:
        return FLOAT16
    if kind == cnp.NPY_FLOAT32:
        return SOURCE_FLOAT32
    raise TypeError(f"no kernel for {array.dtype}")


cdef void lay(
    Plane *p, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, Py_ssize_t top, Py_ssize_t left
) noexcept:
    """Pointers, sizes and pitches of three planes, whose rows are contiguous in x and y."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    p.x = cnp.PyArray_DATA(x)
    p.x_kind = p.w_kind = p.y_kind = AS_IT_IS
    p.m = cnp.PyArray_DIM(x, 0)
    p.n = cnp.PyArray_DIM(x, 1)
    p.x_pitch = cnp.PyArray_STRIDE(x, 0) // size
    size = cnp.PyArray_ITEMSIZE(w)
    p.w = cnp.PyArray_DATA(w)
    p.a = cnp.PyArray_DIM(w, 0)
    p.b = cnp.PyArray_DIM(w, 1)
    p.w_row = cnp.PyArray_STRIDE(w, 0) // size
    p.w_col = cnp.PyArray_STRIDE(w, 1) // size
    size = cnp.PyArray_ITEMSIZE(y)
    p.y = cnp.PyArray_DATA(y)
    p.oh = cnp.PyArray_DIM(y, 0)
    p.ow = cnp.PyArray_DIM(y, 1)
    p.y_pitch = cnp.PyArray_STRIDE(y, 0) // size
    p.top = top
    p.left = left
    p.mode = ZEROS
    p.bias = NULL
    p.band = p.oh
    p.strip = p.ow
    p.threads = 1


def correlate(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray bias,
    Py_ssize_t top, Py_ssize_t left, int mode, plan, cnp.dtype dtype
):
    """Y from X and W (up to MAX_FILTER a side, any strides), on top of a bias or of None.

    They are computed in `dtype`, the bias' own; X, W and Y may each have a narrower type.
    """
    cdef Call call = Call()
    cdef Plane *p = &call.task.planes.plane
    lay(p, x, w, y, top, left)
    p.x_kind, p.w_kind, p.y_kind = kind_of(x, dtype), kind_of(w, dtype), kind_of(y, dtype)
    p.mode = mode
    _, p.band, p.strip, p.threads = plan
    if bias is not None:
        p.bias = cnp.PyArray_DATA(bias)
    call.run(CORRELATE, element_of(dtype), flops_of_plane(p))
    return call


def fft(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray bias, Py_ssize_t top, Py_ssize_t left,
    int mode, int threads, shape, tile, Py_ssize_t first, cnp.ndarray direct
):
    """Tiles of Y (of `shape`) from X and W (float64, C-contiguous), from number `first` on.

    Each is of `tile` less W rows and columns. Y is the whole plane, or a stack (tiles, rows *
    columns) of as many as `direct` has flags, set for tiles that have to be done directly.
    """
    cdef Tiling t
    lay(&t.plane, x, w, y, top, left)
    t.plane.w_row = t.plane.b
    t.plane.oh, t.plane.ow = shape
    t.plane.mode = mode
    t.plane.threads = threads
    if bias is not None:
        t.plane.bias = cnp.PyArray_DATA(bias)
    t.rows, t.columns = tile
    t.first = first
    t.last = first + cnp.PyArray_DIM(direct, 0)
    t.y_step = 0
    if t.plane.oh != cnp.PyArray_DIM(y, 0) or t.plane.ow != cnp.PyArray_DIM(y, 1):
        t.y_step = cnp.PyArray_DIM(y, 1)
    t.single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32
    t.direct = <char *> cnp.PyArray_DATA(direct)
    run(
        <Work> fft_kernel, &t, &t.plane.threads,
        2.0 * t.plane.oh * t.plane.ow * t.plane.a * t.plane.b,
    )


def weight(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray total, Py_ssize_t top,
    Py_ssize_t left, int mode, plan
):
    """W (up to MAX_FILTER a side, any strides) from X and Y, and into `total` or None the sum of Y.

    X may have a narrower type.
    """
    cdef Call call = Call()
    cdef Plane *p = &call.task.planes.plane
    lay(p, x, w, y, top, left)
    p.x_kind = kind_of(x, y.dtype)
    p.mode = mode
    _, p.band, p.strip, p.threads = plan
    if total is not None:
        p.bias = cnp.PyArray_DATA(total)
    call.run(WEIGHT, element_of(y.dtype), flops_of_plane(p))
    return call


def add_up(cnp.ndarray y, cnp.ndarray total, Py_ssize_t threads):
    """The sum of Y into `total` (1, 1)."""
    cdef Call call = Call()
    cdef Plane *p = &call.task.planes.plane
    lay(p, y, total, y, 0, 0)
    p.threads = threads
    call.run(ADD_UP, element_of(y.dtype), flops_of_plane(p))
    return call


def dot(cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, Py_ssize_t top, Py_ssize_t left):
    """The sum of products of X and W, whose rows are contiguous too, into Y (1, 1)."""
    cdef Plane p
    lay(&p, x, w, y, top, left)
    run_plane(tables[element_of(x.dtype)].dot, &p)


def shift(cnp.ndarray x, cnp.ndarray y, Py_ssize_t top, Py_ssize_t left):
    """Y from X moved down by top and to the right by left."""
    cdef Plane p
    lay(&p, x, x, y, top, left)
    run_plane(tables[element_of(x.dtype)].shift, &p)


def round_to_half(cnp.ndarray x, cnp.ndarray y):
    """Y, of float16, from X, of float32; the rows of both are contiguous."""
    cdef Plane p
    lay(&p, x, x, y, 0, 0)
    run_plane(tables[element_of(x.dtype)].round_to_half, &p)


# ---------------------------------------------------------------- layers


def planes(
    str direction, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray bias,
    Py_ssize_t top, Py_ssize_t left, int mode, plan, Py_ssize_t threads
):
    """Y, or W, of a depthwise layer at stride 1, all of rank 4, rows of X and Y contiguous."""
    cdef Call call = Call()
    cdef PlaneSet *s = &call.task.planes
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    lay(&s.plane, x[0, 0], w[0, 0], y[0, 0], top, left)
    s.plane.mode = mode
    _, s.plane.band, s.plane.strip, _ = plan
    s.bias_step = 0
    if bias is not None:
        s.plane.bias = cnp.PyArray_DATA(bias)
        s.bias_step = cnp.PyArray_STRIDE(bias, 0) // size
    s.images = cnp.PyArray_DIM(y, 0)
    s.channels = cnp.PyArray_DIM(y, 1)
    s.multiplier = s.channels // cnp.PyArray_DIM(x, 1)
    s.x_image = cnp.PyArray_STRIDE(x, 0) // size
    s.x_channel = cnp.PyArray_STRIDE(x, 1) // size
    s.w_channel = cnp.PyArray_STRIDE(w, 0) // size
    s.y_image = cnp.PyArray_STRIDE(y, 0) // size
    s.y_channel = cnp.PyArray_STRIDE(y, 1) // size
    s.threads = threads
    call.run(
        CORRELATE_SET if direction == "forward" else WEIGHT_SET, element_of(x.dtype),
        2.0 * y.size * s.plane.a * s.plane.b,
    )
    return call


cdef void lay_layer(
    Layer *p, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray bias, problem, plan
) except *:
    """Pointers and strides of arrays of rank 4, and what the problem and the plan say."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    p.x = cnp.PyArray_DATA(x)
    p.w = cnp.PyArray_DATA(w)
    p.y = cnp.PyArray_DATA(y)
    lay_strides(x, &p.x_n, &p.x_c, &p.x_row, &p.x_col)
    lay_strides(w, &p.w_k, &p.w_c, &p.w_row, &p.w_col)
    lay_strides(y, &p.y_n, &p.y_k, &p.y_row, &p.y_col)
    p.bias = NULL
    p.bias_step = 0
    if bias is not None:
        p.bias = cnp.PyArray_DATA(bias)
        p.bias_step = cnp.PyArray_STRIDE(bias, 0) // size
    groups, stride, dilation, top, left, p.mode = problem
    p.n = cnp.PyArray_DIM(x, 0)
    p.groups = groups
    p.c = cnp.PyArray_DIM(w, 1)
    p.k = cnp.PyArray_DIM(w, 0) // p.groups
    down, right = stride
    lay_axis(&p.rows, 2, x, w, y, down, dilation[0], top)
    lay_axis(&p.columns, 3, x, w, y, right, dilation[1], left)
    (
        p.lanes_of, p.band, p.strip, p.depth, p.tap_rows, p.tap_columns, p.parts, p.bands, p.threads
    ) = plan


cdef void lay_strides(
    cnp.ndarray array, Py_ssize_t *a, Py_ssize_t *b, Py_ssize_t *c, Py_ssize_t *d
) noexcept:
    """In elements; those of axes of one element, which may be anything, as in a dense array."""
    d[0] = stride_of(array, 3, 1)
    c[0] = stride_of(array, 2, cnp.PyArray_DIM(array, 3) * d[0])
    b[0] = stride_of(array, 1, cnp.PyArray_DIM(array, 2) * c[0])
    a[0] = stride_of(array, 0, cnp.PyArray_DIM(array, 1) * b[0])


cdef inline Py_ssize_t stride_of(cnp.ndarray array, int axis, Py_ssize_t dense) noexcept:
    if cnp.PyArray_DIM(array, axis) == 1:
        return dense
    return cnp.PyArray_STRIDE(array, axis) // <Py_ssize_t> cnp.PyArray_ITEMSIZE(array)


cdef void lay_axis(
    Axis *axis, int number, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, Py_ssize_t stride,
    Py_ssize_t dilation, Py_ssize_t before
) noexcept:
    axis.size = cnp.PyArray_DIM(x, number)
    axis.taps = cnp.PyArray_DIM(w, number)
    axis.outputs = cnp.PyArray_DIM(y, number)
    axis.stride = stride
    axis.dilation = dilation
    axis.before = before


cdef inline double flops_of(const Layer *p) noexcept nogil:
    return 2.0 * p.n * p.groups * p.k * p.c * p.rows.outputs * p.columns.outputs * (
        p.rows.taps * p.columns.taps
    )


def layer(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, cnp.ndarray bias, problem, plan
):
    """Y from X and W, all of rank 4 and of any strides.

    problem: groups, strides, dilations, padding above and on the left, padding mode.
    """
    cdef Call call = Call()
    cdef Layer *p = &call.task.gradients.layers[0]
    lay_layer(p, x, w, y, bias, problem, plan)
    call.run(LAYER, element_of(x.dtype), flops_of(p))
    return call


def layer_gradients(dx, dw, db):
    """X from W and Y, W from X and Y, and the sums of Y into w, worked on together.

    Each is None or what `layer` takes, all of one type.
    """
    cdef Call made = Call()
    cdef Gradients *g = &made.task.gradients
    cdef double flops = 0
    cdef int i, element = -1
    g.threads = 1
    for i in range(<int> PARTS):
        call = (dx, dw, db)[i]
        g.wanted[i] = call is not None
        if g.wanted[i]:
            x, w, y, bias, problem, plan = call
            lay_layer(&g.layers[i], x, w, y, bias, problem, plan)
            element = element_of(x.dtype)
            g.threads = max(g.threads, g.layers[i].threads)
            flops += flops_of(&g.layers[i])
    made.run(GRADIENTS, element, flops)
    return made


cdef enum:
    PAGE = 4096
    PLACED = 1 << 15  # bytes from which a plane is worth placing


cdef cnp.ndarray new_array(int rank, cnp.npy_intp *sizes, int kind, cnp.ndarray x):
    """A new array; if a large plane of the type of x, half a page away from x.

    Where they lie alike in their pages, loads of x wait for stores that only seem to overlap them.
    Rows of other types are not in step.
    """
    cdef cnp.npy_intp size = cnp.PyArray_ITEMSIZE(x), count
    cdef cnp.ndarray memory, y
    cdef size_t start, wanted
    if rank != 2 or cnp.PyArray_TYPE(x) != kind or sizes[0] * sizes[1] * size < PLACED:
        return cnp.PyArray_EMPTY(rank, sizes, kind, 0)
    count = sizes[0] * sizes[1] + PAGE // size
    memory = cnp.PyArray_EMPTY(1, &count, kind, 0)
    start = <size_t> cnp.PyArray_DATA(memory)
    wanted = (<size_t> cnp.PyArray_DATA(x) + PAGE // 2 + 32) // 64 * 64
    y = cnp.PyArray_SimpleNewFromData(
        2, sizes, kind, <void *> (start + (wanted - start) % PAGE)
    )
    cnp.set_array_base(y, memory)
    return y


def empty_beside(cnp.ndarray x, Py_ssize_t rows, Py_ssize_t columns, dtype):
    """A new plane of a native type, of fewer than 2^48 elements, for what is computed from x."""
    cdef cnp.npy_intp *sizes = [rows, columns]
    return new_array(2, sizes, dtype.num, x)


# ---------------------------------------------------------------- the fast road


cdef inline int plain_kind(object array) noexcept:
    """The type number of a C-contiguous, aligned, native float plane that is not empty; else -1.

    Of float32 or float64: other types take the general road.
    """
    cdef int kind = dense_kind(array)
    if kind != cnp.NPY_FLOAT32 and kind != cnp.NPY_FLOAT64:
        return -1
    return -1 if cnp.PyArray_NDIM(<cnp.ndarray> array) != 2 else kind


cdef bint is_shape(object shape, cnp.npy_intp *sizes):
    """Whether it is a plain tuple of two ints (of reasonable size), which go to sizes."""
    if type(shape) is not tuple or len(<tuple> shape) != 2:
        return False
    if type((<tuple> shape)[0]) is not int or type((<tuple> shape)[1]) is not int:
        return False
    try:
        sizes[0] = (<tuple> shape)[0]
        sizes[1] = (<tuple> shape)[1]
    except OverflowError:
        return False
    return True


cdef bint plan_same(Plane *p, int kind, str direction, int threads) except -1:
    """Everything at once and serially where that is little, else what the planner says.

    False where that is no direct sum.
    """
    cdef object algorithm
    if p.oh > small_rows or 2.0 * p.oh * p.ow * p.a * p.b >= small_flops:
        algorithm, p.band, p.strip, p.threads = planner(
            p.oh, p.ow, p.a, p.b, "float32" if kind == cnp.NPY_FLOAT32 else "float64", direction,
            threads,
        )
        return algorithm == "direct"
    return True


cdef bint walk_same(Plane *p, int kind, bint reverse, int threads) except -1:
    """Y from X, or dX from dY, which are here in each other's place, by the kernels of layers.

    False where these are not to be used.
    """
    cdef Task task
    cdef Gradients *g = &task.gradients
    cdef Layer *layer = &g.layers[0]
    cdef object algorithm
    cdef int itemsize = 4 if kind == cnp.NPY_FLOAT32 else 8
    if p.a != 3 or p.b != 3 or p.oh * p.ow * itemsize > most_walked:
        return False
    layer.band = 64
    layer.threads = 1
    if p.oh > small_rows or 18.0 * p.oh * p.ow >= small_flops:
        algorithm, layer.band, layer.strip, layer.threads = planner(
            p.oh, p.ow, 3, 3, "float32" if kind == cnp.NPY_FLOAT32 else "float64",
            "input" if reverse else "forward", threads,
        )
        if algorithm != "columns":
            return False
    layer.lanes_of = COLUMNS
    layer.parts = (p.oh + layer.band - 1) // layer.band if layer.threads > 1 else 1
    layer.bands = 1
    layer.strip = layer.depth = layer.tap_rows = layer.tap_columns = 0  # for other kernels
    layer.x = p.x
    layer.x_row = p.x_pitch
    layer.w = p.w
    layer.w_row = p.w_row
    layer.w_col = p.w_col
    layer.y = p.y
    layer.y_row = p.y_pitch
    layer.x_col = layer.y_col = 1
    layer.x_n = layer.x_c = layer.y_n = layer.y_k = layer.w_k = layer.w_c = layer.bias_step = 0
    layer.bias = NULL
    layer.n = layer.groups = layer.c = layer.k = 1
    lay_side(&layer.rows, p.oh)
    lay_side(&layer.columns, p.ow)
    layer.mode = ZEROS
    g.threads = layer.threads
    g.wanted[0], g.wanted[1], g.wanted[2] = True, False, False
    task.kernel = GRADIENTS if reverse else LAYER
    task.element = FLOAT32 if kind == cnp.NPY_FLOAT32 else FLOAT64
    task.flops = flops_of(layer)
    do(&task)
    return True


cdef void lay_side(Axis *axis, Py_ssize_t size) noexcept:
    axis.size = axis.outputs = size
    axis.taps = 3
    axis.stride = axis.dilation = axis.before = 1


cdef cnp.ndarray correlate_same(object x, object w, bint reverse, object num_threads):
    """Y, or with the filter reversed dX from dY, with 'same' padding; None off the fast road."""
    cdef int kind = plain_kind(x), threads = threads_of(num_threads)
    cdef Plane p
    cdef cnp.ndarray y
    if kind < 0 or plain_kind(w) != kind or threads == 0:
        return None
    if cnp.PyArray_DIM(w, 0) > MAX_FILTER or cnp.PyArray_DIM(w, 1) > MAX_FILTER:
        return None
    if cnp.PyArray_DIM(x, 1) == 1:  # a column, which is turned
        return None
    y = new_array(2, cnp.PyArray_DIMS(x), kind, x)
    if reverse:
        lay(&p, y, w, x, 1, 1)
    else:
        lay(&p, x, w, y, 1, 1)
    if walk_same(&p, kind, reverse, threads):
        return y
    lay(&p, x, w, y, 0, 0)
    p.top = p.a // 2 if reverse else (p.a - 1) // 2
    p.left = p.b // 2 if reverse else (p.b - 1) // 2
    if reverse:
        p.w = <char *> p.w + (p.a * p.b - 1) * cnp.PyArray_ITEMSIZE(w)
        p.w_row = -p.b
        p.w_col = -1
    if not plan_same(&p, kind, "input" if reverse else "forward", threads):
        return None
    run_plane(tables[FLOAT32 if kind == cnp.NPY_FLOAT32 else FLOAT64].correlate, &p)
    return y


def forward_same(x, w, num_threads):
    """Y with 'same' padding, or None off the fast road."""
    return correlate_same(x, w, False, num_threads)


def input_same(input_shape, w, dy, num_threads):
    """dX with 'same' padding, or None off the fast road."""
    cdef cnp.npy_intp *sizes = [0, 0]
    if (
        not is_shape(input_shape, sizes)
        or plain_kind(dy) < 0
        or sizes[0] != cnp.PyArray_DIM(dy, 0)
        or sizes[1] != cnp.PyArray_DIM(dy, 1)
    ):
        return None
    return correlate_same(dy, w, True, num_threads)


cdef cnp.ndarray weight_of_same(
    object x, cnp.npy_intp *sizes, object dy, cnp.ndarray total, object num_threads
):
    """dW with 'same' padding, and into `total` or None db; None off the fast road."""
    cdef int kind = plain_kind(x), threads = threads_of(num_threads)
    cdef Plane p
    cdef cnp.ndarray w
    if kind < 0 or plain_kind(dy) != kind or threads == 0:
        return None
    if not (
        cnp.PyArray_SAMESHAPE(x, dy)
        and cnp.PyArray_DIM(x, 1) > 1
        and 0 < sizes[0] <= MAX_FILTER
        and 0 < sizes[1] <= MAX_FILTER
    ):
        return None
    w = cnp.PyArray_EMPTY(2, sizes, kind, 0)
    lay(&p, x, w, dy, (sizes[0] - 1) // 2, (sizes[1] - 1) // 2)
    plan_same(&p, kind, "weight", threads)
    if total is not None:
        p.bias = cnp.PyArray_DATA(total)
    run_plane(tables[FLOAT32 if kind == cnp.NPY_FLOAT32 else FLOAT64].weight, &p)
    return w


def weight_same(x, weight_shape, dy, num_threads):
    """dW with 'same' padding, or None off the fast road."""
    cdef cnp.npy_intp *sizes = [0, 0]
    if not is_shape(weight_shape, sizes):
        return None
    return weight_of_same(x, sizes, dy, None, num_threads)


def gradients_same(dy, x, w, tuple needed, num_threads):
    """dX, dW and db, those needed, with 'same' padding, or None off the fast road."""
    cdef cnp.ndarray dx = None, dw = None, db = None
    cdef int kind = plain_kind(dy)
    cdef Plane p
    if kind < 0 or plain_kind(x) != kind or plain_kind(w) != kind:
        return None
    if not cnp.PyArray_SAMESHAPE(x, dy) or threads_of(num_threads) == 0:
        return None
    if "dx" in needed:
        dx = correlate_same(dy, w, True, num_threads)
        if dx is None:
            return None
    if "db" in needed:
        db = cnp.PyArray_EMPTY(0, NULL, kind, 0)
    if "dw" in needed:
        dw = weight_of_same(x, cnp.PyArray_DIMS(w), dy, db, num_threads)
        if dw is None:
            return None
    elif "db" in needed:
        lay(&p, dy, w, dy, 0, 0)
        plan_same(&p, kind, "weight", threads_of(num_threads))
        p.w = cnp.PyArray_DATA(db)
        run_plane(tables[FLOAT32 if kind == cnp.NPY_FLOAT32 else FLOAT64].add_up, &p)
    return dx, dw, db
