/* The primitives of skce_simd.h for test_kernels_simd.py, which finds them by name and level: "pack_f32_avx2".
 *
 * 1. exp, log and log1p, inlined everywhere else, get a loop: exp_f32_avx2(x, n, y).
 * 2. scan_exp_f32_avx2(first, last, step, &at) returns the largest error in ulp of the floats with the
 *    bits first, first + step, ... up to last, and where. The judge is the same function in double, whose
 *    error, tested for itself, is 2^-28 ulp of a float: no other is fast enough for all floats. */
#include "skce_simd.h"

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define BLOCK 2048

/* those of skce_simd.h, which undefines them: a weaker one does not compile */
#define TARGET_baseline
#define TARGET_avx2 __attribute__((target("avx2,fma")))
#if defined(__clang__)
#define TARGET_avx512 __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma")))
#else
#define TARGET_avx512 __attribute__((target( \
    "avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")))
#endif

#define LOOP(name, T, type, level) \
    TARGET_##level static void loop_##name##_##type##_##level(const T *restrict x, ptrdiff_t n, \
                                                              T *restrict y) \
    { \
        _Pragma("omp simd") \
        for (ptrdiff_t i = 0; i < n; i++) y[i] = skce_##name##_##type##_##level(x[i]); \
    }

#define LOOPS(name, level) LOOP(name, float, f32, level) LOOP(name, double, f64, level)
#define SCAN(name, level) \
    LOOPS(name, level) \
    TARGET_##level static double scan_##name##_##level(ptrdiff_t first, ptrdiff_t last, ptrdiff_t step, \
                                                       float *at) \
    { \
        static float x[BLOCK], y[BLOCK]; \
        static double wide[BLOCK], exact[BLOCK], error[BLOCK]; \
        double worst = 0.0; \
        for (ptrdiff_t i = 0; i < BLOCK; i++) x[i] = 0.0f; \
        while (first <= last) { \
            const ptrdiff_t left = (last - first) / step + 1, n = left < BLOCK ? left : BLOCK; \
            for (ptrdiff_t i = 0; i < n; i++) { \
                const uint32_t bits = (uint32_t)(first + i * step); \
                memcpy(x + i, &bits, sizeof bits); \
                wide[i] = (double)x[i]; \
            } \
            loop_##name##_f32_##level(x, n, y); \
            loop_##name##_f64_##level(wide, n, exact); \
            _Pragma("omp simd") \
            for (ptrdiff_t i = 0; i < n; i++) error[i] = ulps_of(y[i], exact[i]); \
            double most = 0.0; \
            _Pragma("omp simd reduction(max:most)") \
            for (ptrdiff_t i = 0; i < n; i++) most = error[i] > most ? error[i] : most; \
            if (most > worst) \
                for (ptrdiff_t i = 0; i < n; i++) \
                    if (error[i] > worst) { worst = error[i]; *at = x[i]; } \
            first += n * step; \
        } \
        return worst; \
    }

/* Error in units of the last place of the exact result; infinity counts as the power after the largest
 * number, and NaN as a large error. */
static inline __attribute__((always_inline)) double ulps_of(float y, double exact)
{
    const double top = 0x1p128;
    const double actual = (double)y < top ? (double)y : y == y ? top : 1e300;
    exact = exact < top ? exact : top;
    uint64_t bits, unit;
    memcpy(&bits, &exact, sizeof bits);
    unit = bits >> 52 & 0x7ff;
    unit = (unit > 897 ? unit : 897) - 23; /* 897: the exponent of the smallest normal float */
    unit = (2046 - unit) << 52;            /* one over it */
    double scale;
    memcpy(&scale, &unit, sizeof scale);
    return fabs(actual - exact) * scale;
}

#define SCANS(level) SCAN(exp, level) SCAN(log, level) SCAN(log1p, level) \
    LOOPS(log_any, level) LOOPS(log1p_any, level)
SCANS(baseline)
#if SKCE_LEVELS == 3
SCANS(avx2)
SCANS(avx512)
#endif

typedef void (*function)(void);
struct entry { const char *name; function address; };

#define ENTRY(name, type, level) {#name "_" #type "_" #level, (function)skce_##name##_##type##_##level},
#define LOOPED(name, type, level) {#name "_" #type "_" #level, (function)loop_##name##_##type##_##level},
#define SCANNED(name, level) {"scan_" #name "_f32_" #level, (function)scan_##name##_##level},
#if SKCE_VECTOR_TYPES
#define PACKED(type, level) ENTRY(packed_forward, type, level) ENTRY(packed_backward, type, level)
#else
#define PACKED(type, level)
#endif
#define TYPE(type, level) \
    LOOPED(exp, type, level) LOOPED(log, type, level) LOOPED(log1p, type, level) \
    LOOPED(log_any, type, level) LOOPED(log1p_any, type, level) ENTRY(log_sums, type, level) \
    ENTRY(vlog, type, level) ENTRY(logistic_to, type, level) ENTRY(extent, type, level) \
    ENTRY(pack, type, level) ENTRY(unpack, type, level) ENTRY(row_max, type, level) \
    ENTRY(row_sums, type, level) ENTRY(target_sums, type, level) ENTRY(mask_missing, type, level) \
    ENTRY(dots, type, level) ENTRY(exp_rows, type, level) ENTRY(scale_rows, type, level) \
    ENTRY(residuals, type, level) ENTRY(softplus_mix, type, level) \
    ENTRY(csr_gather, type, level) ENTRY(csr_scatter, type, level) PACKED(type, level) \
    ENTRY(softmax_prox, type, level) ENTRY(sigmoid_prox, type, level) ENTRY(soft_threshold, type, level)
#define LEVEL(level) \
    TYPE(f32, level) TYPE(f64, level) SCANNED(exp, level) SCANNED(log, level) SCANNED(log1p, level)

static const struct entry entries[] = {
    LEVEL(baseline)
#if SKCE_LEVELS == 3
    LEVEL(avx2)
    LEVEL(avx512)
#endif
};

/* The address of a primitive, NULL where this machine has not got the level. */
EXPORT function find(const char *name, int level)
{
    if (level > skce_highest_level()) return NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (!strcmp(entries[i].name, name)) return entries[i].address;
    return NULL;
}
