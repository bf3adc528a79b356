# The gradient of the bias: the sum of Y
#
# Y is taken row by row, in runs that pay no heed to where rows end; their sums are added in order.


cdef inline Py_ssize_t runs_in(const Plane *p) noexcept nogil:
    return parts_in(p.oh * p.ow, SUMMED)


cdef total total_of(vec sums) noexcept nogil:
    """The sum of all lanes."""
    cdef real flat[LANES]
    cdef total wide[LANES]
    cdef int half = LANES, i
    store(flat, sums)
    for i in range(LANES):
        wide[i] = flat[i]
    while half > 1:
        half //= 2
        for i in range(half):
            wide[i] += wide[i + half]
    return wide[0]


cdef void sum_runs(
    const Plane *p, Py_ssize_t first, Py_ssize_t last, total *sums
) noexcept nogil:
    """The sums of runs first to last."""
    cdef Py_ssize_t run, count
    cdef const real *y = <const real *> p.y
    cdef real copy[SUMMED]
    for run in range(first, last):
        count = min(p.oh * p.ow - run * SUMMED, <Py_ssize_t> SUMMED)
        sums[run] = total_of(
            lane_sums(run_of(y, p.y_pitch, p.ow, 1, run * SUMMED, count, copy), count)
        )


cdef void put_sum(const Plane *p, const total *sums, real *sum) noexcept nogil:
    cdef Py_ssize_t run
    cdef total s = 0
    for run in range(runs_in(p)):
        s += sums[run]
    sum[0] = <real> s


cdef int add_up(const Plane *p) noexcept nogil:
    cdef Py_ssize_t runs = runs_in(p), thread, threads = p.threads
    cdef total *sums = <total *> malloc(runs * sizeof(total) + 1)
    if sums == NULL:
        return -1
    if threads == 1:
        sum_runs(p, 0, runs, sums)
    else:
        for thread in prange(threads, num_threads=<int> threads, schedule="static"):
            sum_runs(p, thread * runs // threads, (thread + 1) * runs // threads, sums)
    put_sum(p, sums, <real *> p.w)
    free(sums)
    return 0
