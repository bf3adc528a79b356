/* The vector type of a kernel module, its width and its register tiles. The only C of the project.
   CONV2D_ELEMENT is 0 float32, 1 float64, 2 integers modulo 2^32, 3 modulo 2^64, 4 modulo 2^16. */
#ifndef CONV2D_SIMD_H
#define CONV2D_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if CONV2D_ELEMENT == 0
typedef float real;
typedef double total; /* what partial sums of `real` are added up in */
#elif CONV2D_ELEMENT == 1
typedef double real;
typedef double total;
#elif CONV2D_ELEMENT == 2
typedef uint32_t real;
typedef uint32_t total;
#elif CONV2D_ELEMENT == 3
typedef uint64_t real;
typedef uint64_t total;
#else
typedef uint16_t real;
typedef uint16_t total;
#endif

#if defined(__AVX512F__)
#define VBYTES 64
#define KEEP "+v"
#elif defined(__AVX__)
#define VBYTES 32
#define KEEP "+x"
#elif defined(__SSE2__)
#define VBYTES 16
#define KEEP "+x"
#elif defined(__aarch64__)
#define VBYTES 16
#define KEEP "+w"
#else
#define VBYTES 16
#endif

#if CONV2D_ELEMENT == 4
typedef int16_t lane; /* as wide as a real */
#define LANE_COUNT (VBYTES / 2)
#elif CONV2D_ELEMENT % 2 == 0
typedef int32_t lane;
#define LANE_COUNT (VBYTES / 4)
#else
typedef int64_t lane;
#define LANE_COUNT (VBYTES / 8)
#endif

#if defined(__GNUC__)
typedef real vec __attribute__((vector_size(VBYTES), aligned(sizeof(real)), may_alias));
static inline vec splat(real s) { return s - (vec){0}; }
typedef lane lanes __attribute__((vector_size(VBYTES)));
#if CONV2D_ELEMENT != 4 /* kernels of layers */
/* a0 b0 a1 b1 ... of the lower halves of two vectors, and of the upper halves. */
#if LANE_COUNT == 16
#define ZIP(i) i, i + 16, i + 1, i + 17, i + 2, i + 18, i + 3, i + 19, \
               i + 4, i + 20, i + 5, i + 21, i + 6, i + 22, i + 7, i + 23
#elif LANE_COUNT == 8
#define ZIP(i) i, i + 8, i + 1, i + 9, i + 2, i + 10, i + 3, i + 11
#elif LANE_COUNT == 4
#define ZIP(i) i, i + 4, i + 1, i + 5
#else
#define ZIP(i) i, i + 2
#endif
/* The even elements of a vector, then the odd ones of another. */
#if LANE_COUNT == 16
#define HALVES 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31
#elif LANE_COUNT == 8
#define HALVES 0, 2, 4, 6, 9, 11, 13, 15
#elif LANE_COUNT == 4
#define HALVES 0, 2, 5, 7
#else
#define HALVES 0, 3
#endif
static inline vec zip_low(vec a, vec b) { return __builtin_shuffle(a, b, (lanes){ZIP(0)}); }
static inline vec zip_high(vec a, vec b)
{
    return __builtin_shuffle(a, b, (lanes){ZIP(LANE_COUNT / 2)});
}
static inline vec halves(vec a, vec b) { return __builtin_shuffle(a, b, (lanes){HALVES}); }
/* Every second element of two vectors that follow one another, from the first or the second on. */
#if LANE_COUNT == 16
#define SECOND(i) i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14, \
                  i + 16, i + 18, i + 20, i + 22, i + 24, i + 26, i + 28, i + 30
#elif LANE_COUNT == 8
#define SECOND(i) i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14
#elif LANE_COUNT == 4
#define SECOND(i) i, i + 2, i + 4, i + 6
#else
#define SECOND(i) i, i + 2
#endif
static inline vec even(vec a, vec b) { return __builtin_shuffle(a, b, (lanes){SECOND(0)}); }
static inline vec odd(vec a, vec b) { return __builtin_shuffle(a, b, (lanes){SECOND(1)}); }
/* The lower halves of two vectors; half a vector from each of two places, and half of one to each. */
#if LANE_COUNT == 16
#define LOW 0, 1, 2, 3, 4, 5, 6, 7
#define HIGH 8, 9, 10, 11, 12, 13, 14, 15
#elif LANE_COUNT == 8
#define LOW 0, 1, 2, 3
#define HIGH 4, 5, 6, 7
#elif LANE_COUNT == 4
#define LOW 0, 1
#define HIGH 2, 3
#else
#define LOW 0
#define HIGH 1
#endif
#if LANE_COUNT == 16
#define BOTH 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#elif LANE_COUNT == 8
#define BOTH 0, 1, 2, 3, 8, 9, 10, 11
#elif LANE_COUNT == 4
#define BOTH 0, 1, 4, 5
#else
#define BOTH 0, 2
#endif
static inline vec both(vec a, vec b) { return __builtin_shuffle(a, b, (lanes){BOTH}); }
#if defined(__has_builtin) && LANE_COUNT > 2
#if __has_builtin(__builtin_shufflevector)
#define HALF_VECTORS
#endif
#endif
#ifdef HALF_VECTORS
typedef real half_of_vec __attribute__((vector_size(VBYTES / 2), aligned(sizeof(real)), may_alias));
static inline vec join(const real *a, const real *b)
{
    return __builtin_shufflevector(*(const half_of_vec *)a, *(const half_of_vec *)b, LOW, HIGH);
}
static inline void part(real *a, real *b, vec v)
{
    *(half_of_vec *)a = __builtin_shufflevector(v, v, LOW);
    *(half_of_vec *)b = __builtin_shufflevector(v, v, HIGH);
}
#else
static inline vec join(const real *a, const real *b)
{
    vec v;
    memcpy(&v, a, sizeof v / 2);
    memcpy((char *)&v + sizeof v / 2, b, sizeof v / 2);
    return v;
}
static inline void part(real *a, real *b, vec v)
{
    memcpy(a, &v, sizeof v / 2);
    memcpy(b, (const char *)&v + sizeof v / 2, sizeof v / 2);
}
#endif
#endif
/* The lanes of a vector where those of a mask are set, else 0. */
static inline vec only(vec a, vec mask) { return (vec)((lanes)a & (lanes)mask); }
#else
typedef real vec; /* no vector types: one lane, slow but right */
static inline vec splat(real s) { return s; }
static inline vec first_of(vec a, vec b) { return (void)b, a; }
static inline vec second_of(vec a, vec b) { return (void)a, b; }
#define zip_low first_of
#define zip_high second_of
#define halves first_of
#define even first_of
#define both first_of
static inline vec join(const real *a, const real *b) { return (void)b, *a; } /* never called */
static inline void part(real *a, real *b, vec v) { *a = *b = v; }
#define odd second_of
static inline vec only(vec a, vec mask)
{
    lane x, m;
    memcpy(&x, &a, sizeof x);
    memcpy(&m, &mask, sizeof m);
    x &= m;
    memcpy(&a, &x, sizeof a);
    return a;
}
#endif

#if defined(__GNUC__)
static inline void fetch(const real *p) { __builtin_prefetch(p); }
#else
static inline void fetch(const real *p) { (void)p; }
#endif
static inline vec peek(const real *p) { return *(const vec *)p; } /* may be folded into its use */
/* Element j of the row `next`, which most often lies `pitch` behind element j of the row before, and is taken
   to: what is loaded from there need not wait until `next` is, which itself may wait for stores to addresses
   of the same lower digits. NOWHERE if `next` is NULL: no row is behind that. The empty asm keeps gcc from
   finding out that both are the same, and from counting the addresses of many rows in registers that it does
   not have. */
#define NOWHERE ((real *)1)
static inline real *follow(const real *before, ptrdiff_t pitch, const real *next, ptrdiff_t j)
{
#ifdef KEEP
    const real *guess = (const real *)((uintptr_t)before + pitch * sizeof(real));
    if (__builtin_expect((uintptr_t)next + j * sizeof(real) == (uintptr_t)guess, 1)) {
        __asm__("" : "+r"(guess));
        if (guess == NOWHERE)
            __builtin_unreachable();
        return (real *)guess;
    }
    __asm__("" : "+r"(next));
#endif
    return next == NULL ? NOWHERE : (real *)next + j;
}
/* Behind a row, counted from it. */
static inline real *after(const real *row, ptrdiff_t pitch)
{
    row += pitch;
#ifdef KEEP
    __asm__("" : "+r"(row));
    if (row == NOWHERE)
        __builtin_unreachable();
#endif
    return (real *)row;
}
/* The empty asm keeps a vector in one register: gcc would fold a load into each of its uses, and move sums
   about. */
static inline vec hold(vec t)
{
#ifdef KEEP
    __asm__("" : KEEP(t));
#endif
    return t;
}
static inline vec load(const real *p) { return hold(peek(p)); }
static inline vec add_product(vec sum, vec a, vec b) { return hold(sum + a * b); }
/* A vector from the two that begin one element before it and one behind, where loads are what costs. */
#if defined(__AVX512F__) && CONV2D_ELEMENT < 2
#if LANE_COUNT == 16
#define MIDDLE 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 30
#else
#define MIDDLE 1, 2, 3, 4, 5, 6, 7, 14
#endif
static inline vec between(vec before, vec behind) { return hold(__builtin_shuffle(before, behind, (lanes){MIDDLE})); }
/* The vector that begins one lane further on in two that follow one another. */
#if LANE_COUNT == 16
#define ONWARD 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#else
#define ONWARD 1, 2, 3, 4, 5, 6, 7, 8
#endif
static inline vec onward(vec first, vec next) { return hold(__builtin_shuffle(first, next, (lanes){ONWARD})); }
#else
static inline vec between(vec before, vec behind) { return (void)behind, before; } /* both never used */
static inline vec onward(vec first, vec next) { return (void)next, first; }
#endif
/* Between float16 and float32, whose exponents differ by 112: without branches, for loops of vectors. */
static CYTHON_INLINE uint32_t bits_of(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
static CYTHON_INLINE float float_of(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static CYTHON_INLINE float half(uint16_t h)
{
    float value = float_of((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
    uint32_t infinite = value >= 65536.0f ? 0x7f800000u : 0;
    return float_of(bits_of(value) | infinite | (uint32_t)(h & 0x8000) << 16);
}
/* The nearest float16, the even one of two. */
static CYTHON_INLINE uint16_t to_half(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, odd = bits >> 13 & 1;
    uint32_t size = bits & 0x7fffffff;
    uint32_t small = bits_of(float_of(size) + 0.5f) - 0x3f000000; /* below 2^-14 these are its bits */
    uint32_t is_small = -(uint32_t)(size < 0x38800000), is_large = -(uint32_t)(size >= 0x47800000);
    uint32_t is_nan = size > 0x7f800000;
    uint32_t h = (size - 0x37fff001 + odd) >> 13;
    h = (h & ~is_small) | (small & is_small); /* gcc 12 makes branches of ?: here */
    h = (h & ~is_large) | (0x7c00 & is_large) | is_nan << 9;
    return (uint16_t)(h | sign);
}
/* As many float16 as a vector has lanes. */
#if CONV2D_ELEMENT == 0 && defined(__F16C__) && defined(__AVX512F__)
static inline vec from_halves(const uint16_t *p)
{
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void to_halves(uint16_t *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}
#elif CONV2D_ELEMENT == 0 && defined(__F16C__)
static inline vec from_halves(const uint16_t *p)
{
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline void to_halves(uint16_t *p, vec v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
static inline vec from_halves(const uint16_t *p)
{
    real values[sizeof(vec) / sizeof(real)];
    unsigned i;
    for (i = 0; i < sizeof(vec) / sizeof(real); i++)
        values[i] = (real)half(p[i]);
    return *(const vec *)values;
}
static inline void to_halves(uint16_t *p, vec v)
{
    real values[sizeof(vec) / sizeof(real)];
    unsigned i;
    *(vec *)values = v;
    for (i = 0; i < sizeof(vec) / sizeof(real); i++)
        p[i] = to_half((float)values[i]);
}
#endif
static inline void store(real *p, vec v) { *(vec *)p = v; }
/* To an aligned place past the caches, where its line is not read first; other threads see such
   stores in order only after `end_streams`. Of narrow vectors that spares nothing. */
#if defined(__AVX__) && CONV2D_ELEMENT != 4
enum { STREAMS = 1 };
#if defined(__AVX512F__)
static inline void stream(real *p, vec v) { _mm512_stream_si512((__m512i *)p, (__m512i)v); }
#else
static inline void stream(real *p, vec v) { _mm256_stream_si256((__m256i *)p, (__m256i)v); }
#endif
static inline void end_streams(void) { _mm_sfence(); }
#else
enum { STREAMS = 0 };
static inline void stream(real *p, vec v) { store(p, v); } /* neither is ever used */
static inline void end_streams(void) {}
#endif
/* A vector from two, from lane n of the first on: one instruction of the widest vectors alone. */
#if defined(__AVX512F__) && CONV2D_ELEMENT != 4
enum { SLIDES = 1 };
#if LANE_COUNT == 16
static inline vec places_from(int n) { return (vec)((lanes){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + n); }
#else
static inline vec places_from(int n) { return (vec)((lanes){0, 1, 2, 3, 4, 5, 6, 7} + n); }
#endif
static inline vec part_of_two(vec first, vec next, vec places) { return __builtin_shuffle(first, next, (lanes)places); }
#else
enum { SLIDES = 0 };
static inline vec places_from(int n) { return splat((real)n); } /* neither is ever used */
static inline vec part_of_two(vec first, vec next, vec places) { return (void)next, (void)places, first; }
#endif
#if CONV2D_ELEMENT == 4 || !defined(__AVX512F__) || !defined(__BMI2__)
static inline vec load_some(const real *p, int n)
{
    real lane[sizeof(vec) / sizeof(real)] = {0};
    int i;
    for (i = 0; i < n; i++)
        lane[i] = p[i];
    return *(const vec *)lane;
}
static inline void store_some(real *p, vec v, int n)
{
    real lane[sizeof(vec) / sizeof(real)];
    int i;
    *(vec *)lane = v;
    for (i = 0; i < n; i++)
        p[i] = lane[i];
}
#endif
#if CONV2D_ELEMENT != 4
/* At most a vector: n lanes, one after another or at (or from) every second place; nothing else is
   touched, not even read. */
#if defined(__AVX512F__) && defined(__BMI2__)
static inline void store_some(real *p, vec v, int n)
{
#if LANE_COUNT == 16
    _mm512_mask_storeu_epi32(p, (__mmask16)_bzhi_u32(0xffff, n), (__m512i)v);
#else
    _mm512_mask_storeu_epi64(p, (__mmask8)_bzhi_u32(0xff, n), (__m512i)v);
#endif
}
static inline vec load_some(const real *p, int n)
{
#if LANE_COUNT == 16
    return (vec)_mm512_maskz_loadu_epi32((__mmask16)_bzhi_u32(0xffff, n), p);
#else
    return (vec)_mm512_maskz_loadu_epi64((__mmask8)_bzhi_u32(0xff, n), p);
#endif
}
static inline vec load_apart(const real *p, int n)
{
    int last = 2 * n - 1;
    vec high = {0};
    if (n == LANE_COUNT)
        return halves(*(const vec *)p, *(const vec *)(p + n - 1));
    if (last > LANE_COUNT)
        high = load_some(p + LANE_COUNT, last - LANE_COUNT);
    return even(load_some(p, last), high);
}
static inline void copy_some(real *to, const real *from, int n) { store_some(to, load_some(from, n), n); }
static inline void gather_some(real *to, const real *from, int n) { store_some(to, load_apart(from, n), n); }
static inline void store_apart(real *p, vec v, int n)
{
    uint32_t places = _pdep_u32(_bzhi_u32(0xffff, n), 0x55555555);
#if LANE_COUNT == 16
    _mm512_mask_storeu_epi32(p, (__mmask16)places, (__m512i)zip_low(v, v));
    if (places >> 16)
        _mm512_mask_storeu_epi32(p + 16, (__mmask16)(places >> 16), (__m512i)zip_high(v, v));
#else
    _mm512_mask_storeu_epi64(p, (__mmask8)places, (__m512i)zip_low(v, v));
    if (places >> 8)
        _mm512_mask_storeu_epi64(p + 8, (__mmask8)(places >> 8), (__m512i)zip_high(v, v));
#endif
}
#else
static inline vec load_apart(const real *p, int n)
{
    real lane[sizeof(vec) / sizeof(real)] = {0};
    int i;
    if (n == sizeof(vec) / sizeof(real))
        return halves(*(const vec *)p, *(const vec *)(p + n - 1));
    for (i = 0; i < n; i++)
        lane[i] = p[2 * i];
    return *(const vec *)lane;
}
static inline void copy_some(real *to, const real *from, int n)
{
    int i;
    for (i = 0; i < n; i++)
        to[i] = from[i];
}
static inline void gather_some(real *to, const real *from, int n)
{
    int i;
    for (i = 0; i < n; i++)
        to[i] = from[2 * i];
}
static inline void store_apart(real *p, vec v, int n)
{
    real lane[sizeof(vec) / sizeof(real)];
    int i;
    *(vec *)lane = v;
    for (i = 0; i < n; i++)
        p[2 * i] = lane[i];
}
#endif
#endif
/* An element of a mask. */
static inline real flag(int set)
{
    lane bits = -(lane)!!set;
    real value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Register tiles. Layers: MR rows x NV vectors of accumulators, NV vectors of the source, one tap: 24 + 4 + 1
   of 32 registers, or 12 + 2 + 1 of 16. Y of a plane: PLANE_ROWS x PLANE_VECTORS, as many vectors of X, a
   column of PLANE_TAPS, the bias: 18 + 3 + 9 + 1, or 8 + 2 + 5. dW: up to PRODUCTS taps of accumulators,
   TAP_ROWS rows and TAPS columns of them at most, RS vectors of dY (TALL_RS with more than three rows of
   taps), one of X: 21 + 8 + 1, or 9 + 4 + 1 and 12 + 3 + 1; tall ones load least. TAPS x TAPS are met by half
   as many vectors of dY if they are more: 25 + 4 + 1. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { NV = 4, PLANE_ROWS = 6, PLANE_VECTORS = 3, PLANE_TAPS = 9 };
enum { TAP_ROWS = 7, TAPS = 5, PRODUCTS = 21, MOST_PRODUCTS = TAPS * TAPS, RS = 8, TALL_RS = 8 };
#else
enum { NV = 2, PLANE_ROWS = 4, PLANE_VECTORS = 2, PLANE_TAPS = 5 };
enum { TAP_ROWS = 5, TAPS = 3, PRODUCTS = 12, MOST_PRODUCTS = PRODUCTS, RS = 4, TALL_RS = 3 };
#endif
enum { LANES = sizeof(vec) / sizeof(real), MR = 6, FLOATS = CONV2D_ELEMENT < 2 };
/* Whether products are so fast that looking up where each row is would be felt, and that vectors are shifted
   in registers, not loaded. */
#if defined(__AVX512F__) && CONV2D_ELEMENT < 2
enum { FAST_PRODUCTS = 1 };
#else
enum { FAST_PRODUCTS = 0 };
#endif
/* A tap in all lanes. SSE has a load that does that for doubles alone, from SSE3 on; others lie in memory
   SPREAD times, aligned. */
#if defined(__SSE2__) && !defined(__AVX__) && (CONV2D_ELEMENT != 1 || !defined(__SSE3__))
enum { SPREAD = LANES };
static inline vec spread(const real *p) { return *(const vec *)__builtin_assume_aligned(p, sizeof(vec)); }
#else
enum { SPREAD = 1 };
static inline vec spread(const real *p) { return splat(*p); }
#endif

#endif
