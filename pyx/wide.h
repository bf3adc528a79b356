/* float32 to and from vectors of float64, the step of a transpose, and zeros for what is noise. */
#ifndef CONV2D_WIDE_H
#define CONV2D_WIDE_H

#include "simd.h"

#if defined(__GNUC__)
typedef int64_t lanes __attribute__((vector_size(VBYTES)));
static inline vec denoise(vec v, vec limit) /* leaves NaN */
{
    return (vec)((lanes)v & ~((v <= limit) & (v >= -limit)));
}
typedef float half_vec __attribute__((vector_size(VBYTES / 2), aligned(sizeof(float)), may_alias));
static inline vec widen(const float *p) { return __builtin_convertvector(*(const half_vec *)p, vec); }
static inline void narrow(float *p, vec v) { *(half_vec *)p = __builtin_convertvector(v, half_vec); }
#else
static inline vec denoise(vec v, vec limit) { return v <= limit && v >= -limit ? 0 : v; }
static inline vec widen(const float *p) { return *p; }
static inline void narrow(float *p, vec v) { *p = (float)v; }
#endif

/* Swaps the lanes of a that have bit d in their number with those of b that have not. */
#if defined(__GNUC__) && !defined(__clang__)
static inline __attribute__((always_inline)) void interleave(vec *a, vec *b, int d)
{
    lanes l;
    for (int k = 0; k < LANES; k++) l[k] = k;
    const lanes odd = (l & d) != 0;
    const lanes low = l + (odd & (LANES - d)), high = low + d;
    const vec t = __builtin_shuffle(*a, *b, low);
    *b = __builtin_shuffle(*a, *b, high);
    *a = t;
}
#else
static inline void interleave(vec *a, vec *b, int d)
{
    real *one = (real *)a, *other = (real *)b;
    for (int k = 0; k < LANES; k++)
        if (k & d) {
            const real t = one[k];
            one[k] = other[k - d];
            other[k - d] = t;
        }
}
#endif

#endif
