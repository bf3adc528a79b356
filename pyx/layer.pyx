"""Layers for one element type and one instruction level: Y and the gradients of X, W and the bias.

Built once for each element type and level. Pointers, sizes and a plan come in (`kernels.pxd`);
nothing is decided here and Python is never seen.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kernels cimport (
    ANY_COLUMNS, CHANNELS, COLUMNS, EDGE, FILTERS, PLANES, POSITIONS, SYMMETRIC,
    UNPADDED_FILTERS, WRAP, ZEROS, Axis, Layer, LayerKernels
)


cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef double total
    ctypedef float vec
    enum:
        LANES, MR, NV, FLOATS, FAST_PRODUCTS
    vec load(const real *)
    real *NOWHERE
    real *follow(const real *, Py_ssize_t, const real *, Py_ssize_t)
    real *after(const real *, Py_ssize_t)
    void fetch(const real *)
    vec peek(const real *)
    void store(real *, vec)
    vec load_some(const real *, int)
    vec load_apart(const real *, int)
    void copy_some(real *, const real *, int)
    void gather_some(real *, const real *, int)
    void store_some(real *, vec, int)
    void store_apart(real *, vec, int)
    vec splat(real)
    vec add_product(vec, vec, vec)
    vec zip_low(vec, vec)
    vec zip_high(vec, vec)
    vec even(vec, vec)
    vec odd(vec, vec)
    vec both(vec, vec)
    vec join(const real *, const real *)
    void part(real *, real *, vec)
    vec only(vec, vec)
    vec between(vec, vec)
    vec onward(vec, vec)
    real flag(int)


cdef enum:
    PARTS = 3  # calls that are worked on together, at most: for dX, dW and the gradient of the bias

include "common.pxi"
include "sums.pxi"
include "layer_pack.pxi"
include "layer_tiles.pxi"
include "layer_correlate.pxi"
include "layer_products.pxi"
include "layer_exact.pxi"
include "layer_weight.pxi"
include "layer_pictures.pxi"
include "layer_runs.pxi"
include "layer_lanes.pxi"
include "layer_lanes_weight.pxi"
include "layer_filters.pxi"
include "layer_along.pxi"
include "layer_strips.pxi"
include "layer_large_strips.pxi"
include "layer_any_strips.pxi"
include "layer_columns.pxi"
include "layer_columns_weight.pxi"
include "layer_positions_weight.pxi"
include "layer_bias.pxi"
include "layer_dots.pxi"
include "layer_drivers.pxi"


cdef LayerKernels KERNELS
KERNELS.forward = forward
KERNELS.backward = backward

kernels = PyCapsule_New(&KERNELS, "conv2d.layers", NULL)
