# Small arithmetic that kernels share, and what stands outside X.

cdef enum:
    FAR = 7 << 20  # bytes of an array from which on it does not stay in the caches


cdef inline Py_ssize_t parts_in(Py_ssize_t count, Py_ssize_t size) noexcept nogil:
    return (count + size - 1) // size


cdef inline size_t aligned(size_t count) noexcept nogil:
    return (count + 63) // 64 * 64


cdef inline char *align(char *memory) noexcept nogil:
    return <char *> aligned(<size_t> memory)


cdef Py_ssize_t source(Py_ssize_t i, Py_ssize_t n, int mode) noexcept nogil:
    """Where in 0..n-1 the padding takes its element i from; -1 where it is a zero."""
    cdef Py_ssize_t period
    if 0 <= i < n:
        return i
    if mode == ZEROS:
        return -1
    if mode == EDGE:
        return 0 if i < 0 else n - 1
    period = n if mode == WRAP else 2 * n if mode == SYMMETRIC else max(2 * n - 2, 1)
    i %= period
    if i < 0:
        i += period
    if i < n:
        return i
    return 2 * n - 1 - i if mode == SYMMETRIC else 2 * n - 2 - i
