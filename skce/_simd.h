/* Vector primitives on contiguous runs, written once in _simd.inc and instantiated for float
 * (suffix _f32) and double (suffix _f64). None of them knows a loss.
 *
 * 1. Plain C99 that the compiler vectorises: no intrinsics, no -ffast-math.
 * 2. exp, log and log1p are branch-free polynomials; the bound stated beside each holds in ulp.
 * 3. Sums are accumulated in double whatever the type of the run.
 * 4. SKCE_CLONES builds a function for several x86-64 levels, picked by the loader (glibc only).
 *    Helpers must be inlined into the clones, or they stay at the baseline: hence SKCE_INLINE. */
#ifndef SKCE_SIMD_H
#define SKCE_SIMD_H

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define SKCE_INLINE static inline __attribute__((always_inline))
#define SKCE_PREFETCH(address) __builtin_prefetch(address)
#else
#define SKCE_INLINE static inline
#define SKCE_PREFETCH(address) ((void)0)
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SKCE_CLONES __attribute__((unused, noinline, \
    target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) static
#elif defined(__GNUC__)
#define SKCE_CLONES __attribute__((unused)) static
#else
#define SKCE_CLONES static
#endif
#if defined(_MSC_VER)
#define restrict __restrict
#endif

#define T float
#define F(name) skce_##name##_f32
#define U uint32_t
#define LIT(x) x##f
#define MANTISSA 23
#define BIAS 127
#define EXP_MIN -104.0f
#define EXP_MAX 89.0f
#define EXP_MAGIC 12582912.0f         /* 1.5 * 2^23 */
#define LN2_HI 0.693145751953125f     /* 15 bits, so that n * LN2_HI is exact */
#define LN2_LO 1.428606765330187e-06f
#define SQRT_HALF_BITS 0x3f3504f3u
#include "_simd.inc"
#undef T
#undef F
#undef U
#undef LIT
#undef MANTISSA
#undef BIAS
#undef EXP_MIN
#undef EXP_MAX
#undef EXP_MAGIC
#undef LN2_HI
#undef LN2_LO
#undef SQRT_HALF_BITS

#define SKCE_DOUBLE
#define T double
#define F(name) skce_##name##_f64
#define U uint64_t
#define LIT(x) x
#define MANTISSA 52
#define BIAS 1023
#define EXP_MIN -746.0
#define EXP_MAX 710.0
#define EXP_MAGIC 6755399441055744.0  /* 1.5 * 2^52 */
#define LN2_HI 0.6931471803691238     /* 32 bits */
#define LN2_LO 1.9082149292705877e-10
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdull
#include "_simd.inc"
#undef SKCE_DOUBLE
#undef T
#undef F
#undef U
#undef LIT
#undef MANTISSA
#undef BIAS
#undef EXP_MIN
#undef EXP_MAX
#undef EXP_MAGIC
#undef LN2_HI
#undef LN2_LO
#undef SQRT_HALF_BITS

#endif
