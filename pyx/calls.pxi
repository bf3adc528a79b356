# Calls of the kernels, and those that are made again
#
# What kernels are called with are sizes, pointers and a plan; from one call to the next of the same
# shapes and settings only the pointers differ. So what the general road calls is given to `keep`,
# and `again` calls it with other arrays. That is done where all arrays are as most are: of NumPy's
# own class and of native numbers, C-contiguous, not empty, none of them overlapping another.

cdef enum:
    CORRELATE, WEIGHT, ADD_UP, CORRELATE_SET, WEIGHT_SET, LAYER, GRADIENTS  # the kernels
    PARTS = 3  # layers that are worked on together, for dX, dW and db
    OPERANDS = 4  # X, W, Y and the bias
    ARRAYS = 6  # of a call, at most: dY, X, W, dX, dW and db
    RANKS = 4
    KEPT = 1024  # calls, at most


cdef struct Gradients:
    Backward kernel
    Layer layers[PARTS]
    bint wanted[PARTS]
    Py_ssize_t threads


cdef int run_gradients(Gradients *g) noexcept nogil:
    cdef int i
    cdef const Layer *layers[PARTS]
    for i in range(PARTS):
        layers[i] = NULL
        if g.wanted[i]:
            layers[i] = &g.layers[i]
            g.layers[i].threads = min(g.layers[i].threads, g.threads)
    return g.kernel(layers[0], layers[1], layers[2])


cdef struct Task:
    int kernel, element
    double flops
    PlaneSet planes  # of one plane the first
    Gradients gradients  # of one layer the first


cdef int do(Task *task) except -1:
    cdef const Kernels *table = tables[task.element]
    cdef PlaneSet *planes = &task.planes
    cdef Plane *plane = &planes.plane
    cdef Gradients *gradients = &task.gradients
    cdef Layer *layer = &gradients.layers[0]
    if task.kernel == CORRELATE:
        return run(<Work> table.correlate, plane, &plane.threads, task.flops)
    if task.kernel == WEIGHT:
        return run(<Work> table.weight, plane, &plane.threads, task.flops)
    if task.kernel == ADD_UP:
        return run(<Work> table.add_up, plane, &plane.threads, task.flops)
    if task.kernel == CORRELATE_SET:
        return run(<Work> table.correlate_set, planes, &planes.threads, task.flops)
    if task.kernel == WEIGHT_SET:
        return run(<Work> table.weight_set, planes, &planes.threads, task.flops)
    if task.kernel == LAYER:
        return run(
            <Work> layer_tables[task.element].forward, layer, &layer.threads, task.flops
        )
    gradients.kernel = layer_tables[task.element].backward
    return run(<Work> run_gradients, gradients, &gradients.threads, task.flops)


cdef const void **operand_of(Task *task, int part, int number) noexcept:
    """Where the task has the pointer to X, W, Y or the bias."""
    cdef Plane *plane = &task.planes.plane
    cdef Layer *layer = &task.gradients.layers[part]
    cdef const void **of_planes[OPERANDS]
    cdef const void **of_layers[OPERANDS]
    of_planes[:] = [&plane.x, <const void **> &plane.w, <const void **> &plane.y, &plane.bias]
    of_layers[:] = [&layer.x, &layer.w, &layer.y, &layer.bias]
    return of_planes[number] if task.kernel < LAYER else of_layers[number]


cdef int parts_of(const Task *task) noexcept:
    return PARTS if task.kernel == GRADIENTS else 1


cdef inline int dense_kind(object array) noexcept:
    """The type number of a C-contiguous, aligned, native array that is not empty; else -1.

    Of the types that are computed with: integers, float32, float64 and float16.
    """
    cdef int kind
    if not cnp.PyArray_CheckExact(array):
        return -1
    kind = cnp.PyArray_TYPE(<cnp.ndarray> array)
    if (
        (cnp.NPY_BYTE <= kind <= cnp.NPY_DOUBLE or kind == cnp.NPY_FLOAT16)
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)
        and cnp.PyArray_SIZE(<cnp.ndarray> array) > 0
    ):
        return kind
    return -1


cdef bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two C-contiguous arrays have memory in common."""
    cdef const char *start = <const char *> cnp.PyArray_DATA(a)
    cdef const char *other = <const char *> cnp.PyArray_DATA(b)
    return start < other + cnp.PyArray_NBYTES(b) and other < start + cnp.PyArray_NBYTES(a)


cdef bint are_apart(list arrays) noexcept:
    """Whether no two of some C-contiguous arrays (or None) overlap."""
    cdef Py_ssize_t i, k
    for i in range(len(arrays)):
        for k in range(i):
            if arrays[i] is not None and arrays[k] is not None and overlap(arrays[i], arrays[k]):
                return False
    return True


cdef class Call:
    """A call that was made, and to which arrays its pointers point."""

    cdef Task task
    cdef Call next  # what else was made of the same arrays, or None
    cdef int array[PARTS][OPERANDS]  # -1 where there is no such operand
    cdef Py_ssize_t offset[PARTS][OPERANDS]  # bytes
    cdef int results
    cdef int ranks[PARTS]  # of the results; -1 for what was not asked for
    cdef int kinds[PARTS]
    cdef cnp.npy_intp sizes[PARTS][RANKS]

    cdef int run(self, int kernel, int element, double flops) except -1:
        """Make it, of what was laid in the task."""
        cdef Task task
        self.task.kernel = kernel
        self.task.element = element
        self.task.flops = flops
        task = self.task  # `run` may take fewer threads, this time
        return do(&task)

    cdef bint learn(self, list arrays, int results):
        """Find out to which arrays, the last of them results, the pointers point, if to any."""
        cdef int i, number
        cdef Call call = self
        self.results = results
        for i in range(results):
            array = arrays[len(arrays) - results + i]
            self.ranks[i] = -1 if array is None else cnp.PyArray_NDIM(array)
            self.kinds[i] = -1 if array is None else cnp.PyArray_TYPE(array)
            for number in range(self.ranks[i]):
                self.sizes[i][number] = cnp.PyArray_DIM(array, number)
        while call is not None:
            if not call.find(arrays):
                return False
            call = call.next
        return True

    cdef bint find(self, list arrays):
        """Find out to which arrays the pointers of this one point, if to any."""
        cdef int part, number, i
        cdef const char *pointer
        cdef const char *start
        for part in range(parts_of(&self.task)):
            for number in range(<int> OPERANDS):
                self.array[part][number] = -1
                pointer = <const char *> operand_of(&self.task, part, number)[0]
                if pointer == NULL:
                    continue
                for i in range(<int> len(arrays)):
                    if arrays[i] is not None:
                        start = <const char *> cnp.PyArray_DATA(arrays[i])
                        if start <= pointer < start + cnp.PyArray_NBYTES(arrays[i]):
                            self.array[part][number] = i
                            self.offset[part][number] = pointer - start
                if self.array[part][number] < 0:
                    return False  # to a copy
        return True

    cdef bint fits(self, int i, object array) noexcept:
        """Whether result i can be written to an array."""
        if dense_kind(array) != self.kinds[i] or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> array):
            return False
        return cnp.PyArray_NDIM(<cnp.ndarray> array) == self.ranks[i] and cnp.PyArray_CompareLists(
            cnp.PyArray_DIMS(<cnp.ndarray> array), self.sizes[i], self.ranks[i]
        )

    cdef list repeat(self, tuple inputs, tuple out):
        """Make it with other arrays; returns the results, or None where these do not fit."""
        cdef int i
        cdef Call call = self
        cdef list arrays = list(inputs)
        if out is not None and len(out) != self.results:
            return None
        for i in range(self.results):
            if self.ranks[i] < 0:
                arrays.append(None)
            elif out is None or out[i] is None:
                arrays.append(new_array(self.ranks[i], self.sizes[i], self.kinds[i], inputs[0]))
            elif self.fits(i, out[i]):
                arrays.append(out[i])
            else:
                return None
        if out is not None and not are_apart(arrays):
            return None
        while call is not None:
            call.repeat_of(arrays)
            call = call.next
        return arrays[len(inputs):]

    cdef int repeat_of(self, list arrays) except -1:
        """Make this one."""
        cdef Task task = self.task
        cdef int part, number, i
        for part in range(parts_of(&task)):
            for number in range(<int> OPERANDS):
                i = self.array[part][number]
                if i >= 0:
                    operand_of(&task, part, number)[0] = (
                        <char *> cnp.PyArray_DATA(arrays[i]) + self.offset[part][number]
                    )
        return do(&task)


def together(list calls):
    """Calls that were all there was to do, as one; None if one of them was not."""
    cdef Call call, last = None
    for call in calls:
        if call is None:
            return None
        if last is not None:
            last.next = call
        last = call
    return calls[0] if calls else None


cdef dict kept_calls = {}
MOST_KEPT = <int> KEPT


def kept_count():
    """How many calls are kept."""
    return len(kept_calls)


cdef inline int threads_of(object num_threads) noexcept:
    """Threads of a call; 0 for what is unusual."""
    if num_threads is None:
        return default_threads()
    if type(num_threads) is int and 0 < num_threads < 1 << 16:
        return num_threads
    return 0


cdef inline object shape_of(object array):
    return None if array is None else array.shape


cdef tuple key_of(tuple call):
    """What a call is known by; None where its arrays or settings are unusual.

    The call: the name of the function, a tuple of arrays (or None), a tuple of settings, threads.
    """
    cdef tuple arrays = call[1], settings = call[2]
    cdef int kinds = 0, kind, threads = threads_of(call[3])
    if threads == 0 or not is_plain(settings):
        return None
    for array in arrays:
        kind = 0 if array is None else dense_kind(array)
        if kind < 0:
            return None
        kinds = kinds * 32 + kind
    if len(arrays) == 2:
        return call[0], kinds, shape_of(arrays[0]), shape_of(arrays[1]), settings, threads
    return (
        call[0], kinds, shape_of(arrays[0]), shape_of(arrays[1]), shape_of(arrays[2]), settings,
        threads,
    )


cdef bint is_plain(object setting):
    """Whether it is an int, a str or a tuple of such: what is equal to it means the same."""
    if type(setting) is int or type(setting) is str:
        return True
    if type(setting) is not tuple:
        return False
    for part in <tuple> setting:
        if not is_plain(part):
            return False
    return True


def again(tuple call, out):
    """The list of results where such a call is kept, else None. Out: None or a tuple."""
    cdef Call made
    if not kept_calls or (out is not None and type(out) is not tuple):
        return None
    key = key_of(call)
    if key is None:
        return None
    made = kept_calls.get(key)
    return None if made is None else made.repeat(call[1], out)


def keep(tuple call, Call made, tuple results):
    """Keep what was made (or None), if it was all that was to be done for a call."""
    if made is None:
        return
    key = key_of(call)
    arrays = [*call[1], *results]
    if key is None or any([a is not None and dense_kind(a) < 0 for a in results]):
        return
    if are_apart(arrays) and made.learn(arrays, <int> len(results)):
        if len(kept_calls) >= KEPT:
            kept_calls.clear()
        kept_calls[key] = made
