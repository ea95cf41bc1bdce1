/* Vector primitives on contiguous runs, written once in the .inc files and instantiated for float
 * (suffix _f32) and double (suffix _f64), for each CPU level.
 *
 * 1. Plain C that the compiler vectorises: no intrinsics, no -ffast-math. The packed products, csr_gather
 *    and the sums of rows (sums.inc) use the vector types of gcc and clang, to hold sums in registers.
 * 2. exp, log and log1p are branch-free polynomials; the bound stated beside each holds in ulp.
 * 3. Sums over classes are accumulated in double whatever the type of the run.
 * 4. A tile is n rows by k classes. Where stride is 0 it is row-major: (i, c) is at i * k + c. Else
 *    it is class-major, (i, c) at c * stride + i, and stride is a multiple of SKCE_LANES: a loop over
 *    the rows vectorises however few classes there are. Rows from n to stride are padding.
 * 5. x86-64 has three levels, chosen once at import (skce_set_level); elsewhere the compiler's own
 *    vectors (NEON) are the only one. skce_name(...) calls the instance for the level and the type. */
#ifndef SKCE_SIMD_H
#define SKCE_SIMD_H

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SKCE_LANES 16

#if defined(__GNUC__) && !defined(SKCE_PLAIN)  /* SKCE_PLAIN: a build as other compilers make it */
#define SKCE_VECTOR_TYPES 1
#define SKCE_INLINE SKCE_TARGET static inline __attribute__((always_inline))
#define SKCE_FUNCTION SKCE_TARGET static __attribute__((unused, noinline))
#define SKCE_PREFETCH(address) __builtin_prefetch(address)
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SKCE_SHUFFLES 1  /* gcc 12, clang */
#endif
#endif
#else
#define SKCE_VECTOR_TYPES 0
#define SKCE_INLINE static inline
#define SKCE_FUNCTION static
#define SKCE_PREFETCH(address) ((void)0)
#endif
#if !defined(SKCE_SHUFFLES)
#define SKCE_SHUFFLES 0
#endif
#if defined(_MSC_VER)
#define restrict __restrict
#endif
#if defined(__x86_64__) && SKCE_VECTOR_TYPES
#define SKCE_LEVELS 3
#else
#define SKCE_LEVELS 1
#endif

#define SKCE_JOIN_(name, type, level) skce_##name##_##type##_##level
#define SKCE_JOIN(name, type, level) SKCE_JOIN_(name, type, level)
#define F(name) SKCE_JOIN(name, SKCE_TYPE, SKCE_LEVEL)

/* SKCE_VECTOR: bytes of a vector, 0 without vector types. SKCE_ROWS: rows of a register block, what
 * 16 or 32 vector registers hold with 6 classes. */
#define SKCE_LEVEL baseline
#define SKCE_TARGET
#define SKCE_ROWS 2
#define SKCE_VECTOR (16 * SKCE_VECTOR_TYPES)
#include "level.inc"
#undef SKCE_LEVEL
#undef SKCE_TARGET
#undef SKCE_VECTOR
#undef SKCE_ROWS

#if SKCE_LEVELS == 3
#define SKCE_LEVEL avx2
#define SKCE_TARGET __attribute__((target("avx2,fma")))
#define SKCE_VECTOR 32
#define SKCE_ROWS 2
#include "level.inc"
#undef SKCE_LEVEL
#undef SKCE_TARGET
#undef SKCE_VECTOR
#undef SKCE_ROWS

#define SKCE_LEVEL avx512
#if defined(__clang__)
#define SKCE_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma")))
#else
#define SKCE_TARGET __attribute__((target( \
    "avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")))
#endif
#define SKCE_VECTOR 64
#define SKCE_ROWS 4
#include "level.inc"
#undef SKCE_LEVEL
#undef SKCE_TARGET
#undef SKCE_VECTOR
#undef SKCE_ROWS
#endif

static int skce_level = 0;  /* 0 baseline, 1 avx2, 2 avx512 */

/* The highest level this machine runs. */
static inline int skce_highest_level(void)
{
#if SKCE_LEVELS == 3
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("fma"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

static inline void skce_set_level(int level) { skce_level = level; }

#if SKCE_LEVELS == 3
#define SKCE_AT(name, type) \
    (skce_level == 2 ? skce_##name##_##type##_avx512 \
     : skce_level == 1 ? skce_##name##_##type##_avx2 : skce_##name##_##type##_baseline)
#else
#define SKCE_AT(name, type) skce_##name##_##type##_baseline
#endif
/* The instance of a primitive for the array x. */
#define SKCE_FOR(name, x) _Generic((x), \
    float *: SKCE_AT(name, f32), const float *: SKCE_AT(name, f32), \
    double *: SKCE_AT(name, f64), const double *: SKCE_AT(name, f64))

#define skce_extent(x, ...) SKCE_FOR(extent, x)(x, __VA_ARGS__)
#define skce_prefetch(x, n) SKCE_FOR(prefetch, x)(x, n)
#define skce_pack(x, ...) SKCE_FOR(pack, x)(x, __VA_ARGS__)
#define skce_unpack(x, ...) SKCE_FOR(unpack, x)(x, __VA_ARGS__)
#define skce_softmax_scales(x, ...) SKCE_FOR(softmax_scales, x)(x, __VA_ARGS__)
#define skce_weighted_losses(x, ...) SKCE_FOR(weighted_losses, x)(x, __VA_ARGS__)
#define skce_row_max(x, ...) SKCE_FOR(row_max, x)(x, __VA_ARGS__)
#define skce_row_sums(x, ...) SKCE_FOR(row_sums, x)(x, __VA_ARGS__)
#define skce_target_sums(x, ...) SKCE_FOR(target_sums, x)(x, __VA_ARGS__)
#define skce_mask_missing(x, ...) SKCE_FOR(mask_missing, x)(x, __VA_ARGS__)
#define skce_dots(x, ...) SKCE_FOR(dots, x)(x, __VA_ARGS__)
#define skce_exp_rows(x, ...) SKCE_FOR(exp_rows, x)(x, __VA_ARGS__)
#define skce_scale_rows(x, ...) SKCE_FOR(scale_rows, x)(x, __VA_ARGS__)
#define skce_residuals(x, ...) SKCE_FOR(residuals, x)(x, __VA_ARGS__)
#define skce_softplus_mix(x, ...) SKCE_FOR(softplus_mix, x)(x, __VA_ARGS__)
#define skce_vlog(x, n) SKCE_FOR(vlog, x)(x, n)
#define skce_logistic_to(x, ...) SKCE_FOR(logistic_to, x)(x, __VA_ARGS__)
#define skce_log_logistic_to(x, ...) SKCE_FOR(log_logistic_to, x)(x, __VA_ARGS__)
#define skce_minus_log(x, n) SKCE_FOR(minus_log, x)(x, n)
#define skce_certain(x, n) SKCE_FOR(certain, x)(x, n)
#define skce_outside(x, n) SKCE_FOR(outside, x)(x, n)
#define skce_proba_losses(p, ...) SKCE_FOR(proba_losses, p)(p, __VA_ARGS__)
#define skce_lower_rows(x, ...) SKCE_FOR(lower_rows, x)(x, __VA_ARGS__)
#define skce_log_sums(x, ...) SKCE_FOR(log_sums, x)(x, __VA_ARGS__)
#define skce_load_rows(x, ...) SKCE_FOR(load_rows, x)(x, __VA_ARGS__)
#define skce_packed_forward(x, ...) SKCE_FOR(packed_forward, x)(x, __VA_ARGS__)
#define skce_packed_backward(x, ...) SKCE_FOR(packed_backward, x)(x, __VA_ARGS__)
#define skce_csr_gather(w, p, k, n, ...) SKCE_FOR(csr_gather, w)(w, p, k, n, n, __VA_ARGS__)
#define skce_csr_gather_ahead(w, ...) SKCE_FOR(csr_gather, w)(w, __VA_ARGS__)
#define skce_csr_scatter(w, ...) SKCE_FOR(csr_scatter, w)(w, __VA_ARGS__)
#define skce_gradient(g, ...) SKCE_FOR(gradient, g)(g, __VA_ARGS__)
#define skce_softmax_prox(s, ...) SKCE_FOR(softmax_prox, s)(s, __VA_ARGS__)
#define skce_sigmoid_prox(s, ...) SKCE_FOR(sigmoid_prox, s)(s, __VA_ARGS__)
#define skce_packed_step(w, ...) SKCE_FOR(packed_step, w)(w, __VA_ARGS__)
#define skce_soft_threshold(w, ...) SKCE_FOR(soft_threshold, w)(w, __VA_ARGS__)
#define skce_axpy(w, ...) SKCE_FOR(axpy, w)(w, __VA_ARGS__)
#define skce_shrink(w, ...) SKCE_FOR(shrink, w)(w, __VA_ARGS__)
#define skce_square(x, ...) SKCE_FOR(square, x)(x, __VA_ARGS__)
#define skce_respond(x, ...) SKCE_FOR(respond, x)(x, __VA_ARGS__)
#define skce_watch(x, ...) SKCE_FOR(watch, x)(x, __VA_ARGS__)
#define skce_blend(average, ...) SKCE_FOR(blend, average)(average, __VA_ARGS__)
#define skce_momentum(w, ...) SKCE_FOR(momentum, w)(w, __VA_ARGS__)
#define skce_adagrad(w, ...) SKCE_FOR(adagrad, w)(w, __VA_ARGS__)
#define skce_adam(w, ...) SKCE_FOR(adam, w)(w, __VA_ARGS__)

#endif
