"""What the machine can do at most: fused multiply-adds from registers, and copies of memory.

Only benchmarks use it. Built once for each element type and instruction level, as the kernels are.
"""

from cython.parallel cimport prange
cimport numpy as cnp


cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef float vec
    enum:
        LANES
    vec load(const real *)
    void store(real *, vec)
    void stream(real *, vec)
    vec splat(real)


cdef enum:
    ACCUMULATORS = 12  # over 5 cycles of latency times 2 a cycle; with 2 operands in 16 registers


cdef real multiply_add(Py_ssize_t steps) noexcept nogil:
    """acc = acc * x + y, with each accumulator `steps` times."""
    cdef vec acc[ACCUMULATORS]
    cdef vec x = splat(<real> 0.5), y = splat(<real> 1.0)
    cdef Py_ssize_t _step
    cdef int i
    for i in range(ACCUMULATORS):
        acc[i] = splat(<real> (i + 3))  # not 2: it would stay 2, and the compiler sees that
    for _step in range(steps):
        for i in range(ACCUMULATORS):
            acc[i] = acc[i] * x + y
    for i in range(1, ACCUMULATORS):
        acc[0] += acc[i]
    return (<real *> &acc[0])[0]


cdef void copy_part(real *y, const real *x, Py_ssize_t vectors, bint streaming) noexcept nogil:
    cdef Py_ssize_t i
    if streaming:
        for i in range(vectors):
            stream(y + i * LANES, load(x + i * LANES))
    else:
        for i in range(vectors):
            store(y + i * LANES, load(x + i * LANES))


def fma(Py_ssize_t steps, int threads):
    """Do multiply-adds in every thread; returns the number of flops."""
    cdef real total = 0
    cdef int _thread
    for _thread in prange(threads, num_threads=threads, nogil=True, schedule="static"):
        total += multiply_add(steps)
    assert total > 0
    return 2.0 * LANES * ACCUMULATORS * steps * threads


def copy(cnp.ndarray y, cnp.ndarray x, Py_ssize_t repeats, bint streaming, int threads):
    """Copy x to y, whole vectors a thread, y aligned to 64 bytes: returns bytes moved."""
    cdef Py_ssize_t part = x.size // threads, _repeat
    cdef int thread
    cdef real *target = <real *> cnp.PyArray_DATA(y)
    cdef const real *source = <const real *> cnp.PyArray_DATA(x)
    assert x.flags.c_contiguous and y.flags.c_contiguous
    assert cnp.PyArray_ITEMSIZE(x) == cnp.PyArray_ITEMSIZE(y) == sizeof(real)
    assert part * threads == x.size == y.size and part % LANES == 0
    assert <size_t> target % 64 == 0
    for thread in prange(threads, num_threads=threads, nogil=True, schedule="static"):
        for _repeat in range(repeats):
            copy_part(target + thread * part, source + thread * part, part // LANES, streaming)
    return 2.0 * sizeof(real) * x.size * repeats
