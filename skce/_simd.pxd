"""The vector primitives of _simd.h, and one fused face for the two instances of each."""

from cython cimport floating


cdef extern from "_simd.h" nogil:
    void skce_exp_log1p_f32(Py_ssize_t n, const float *x, float *e, float *l)
    void skce_exp_log1p_f64(Py_ssize_t n, const double *x, double *e, double *l)
    double skce_sum_from_f32(Py_ssize_t n, const float *x, double shift)
    double skce_sum_from_f64(Py_ssize_t n, const double *x, double shift)
    void skce_row_max_f32(Py_ssize_t n, Py_ssize_t k, const float *x, float *top_n)
    void skce_row_max_f64(Py_ssize_t n, Py_ssize_t k, const double *x, double *top_n)
    void skce_exp_rows_f32(
        Py_ssize_t n, Py_ssize_t k, float *x, const float *top_n, double *sum_n)
    void skce_exp_rows_f64(
        Py_ssize_t n, Py_ssize_t k, double *x, const double *top_n, double *sum_n)
    void skce_csr_gather_f32(
        Py_ssize_t nnz, const void *indices, int wide, const float *values, Py_ssize_t p, Py_ssize_t
        k, const float *w, float *out)
    void skce_csr_gather_f64(
        Py_ssize_t nnz, const void *indices, int wide, const double *values, Py_ssize_t p,
        Py_ssize_t k, const double *w, double *out)
    void skce_csr_scatter_f32(
        Py_ssize_t nnz, const void *indices, int wide, const float *values, Py_ssize_t p, Py_ssize_t
        k, float scale, const float *metric, const float *r, float *w)
    void skce_csr_scatter_f64(
        Py_ssize_t nnz, const void *indices, int wide, const double *values, Py_ssize_t p,
        Py_ssize_t k, double scale, const double *metric, const double *r, double *w)
    void skce_subtract_f32(Py_ssize_t n, const float *x, const float *mean, float *out)
    void skce_subtract_f64(Py_ssize_t n, const double *x, const double *mean, double *out)
    void skce_gradient_f32(
        Py_ssize_t p, Py_ssize_t k, float scale, float penalty, const float *metric, const float *w,
        float *g)
    void skce_gradient_f64(
        Py_ssize_t p, Py_ssize_t k, double scale, double penalty, const double *metric, const double
        *w, double *g)
    void skce_axpy_f32(Py_ssize_t n, float scale, const float *x, float *w)
    void skce_axpy_f64(Py_ssize_t n, double scale, const double *x, double *w)
    void skce_shrink_f32(Py_ssize_t p, Py_ssize_t k, float step, const float *metric, float *w)
    void skce_shrink_f64(Py_ssize_t p, Py_ssize_t k, double step, const double *metric, double *w)
    void skce_blend_f32(Py_ssize_t n, float weight, const float *w, float *average)
    void skce_blend_f64(Py_ssize_t n, double weight, const double *w, double *average)
    void skce_momentum_f32(
        Py_ssize_t n, float step, float momentum, const float *g, float *v, float *w)
    void skce_momentum_f64(
        Py_ssize_t n, double step, double momentum, const double *g, double *v, double *w)
    void skce_adagrad_f32(
        Py_ssize_t p, Py_ssize_t k, float step, float tiny, const float *metric, const float *g,
        float *h, float *w)
    void skce_adagrad_f64(
        Py_ssize_t p, Py_ssize_t k, double step, double tiny, const double *metric, const double *g,
        double *h, double *w)
    void skce_adam_f32(
        Py_ssize_t p, Py_ssize_t k, float step, float root, float beta1, float beta2, float tiny,
        const float *metric, const float *g, float *m, float *v, float *w)
    void skce_adam_f64(
        Py_ssize_t p, Py_ssize_t k, double step, double root, double beta1, double beta2, double
        tiny, const double *metric, const double *g, double *m, double *v, double *w)
    void skce_vlog_f64(Py_ssize_t n, double *x)


cdef inline void exp_log1p(
        Py_ssize_t n, const floating *x, floating *e, floating *l) noexcept nogil:
    if floating is float:
        skce_exp_log1p_f32(n, x, e, l)
    else:
        skce_exp_log1p_f64(n, x, e, l)


cdef inline double sum_from(Py_ssize_t n, const floating *x, double shift) noexcept nogil:
    if floating is float:
        return skce_sum_from_f32(n, x, shift)
    else:
        return skce_sum_from_f64(n, x, shift)


cdef inline void row_max(
        Py_ssize_t n, Py_ssize_t k, const floating *x, floating *top_n) noexcept nogil:
    if floating is float:
        skce_row_max_f32(n, k, x, top_n)
    else:
        skce_row_max_f64(n, k, x, top_n)


cdef inline void exp_rows(
        Py_ssize_t n, Py_ssize_t k, floating *x, const floating *top_n, double *sum_n) noexcept nogil:
    if floating is float:
        skce_exp_rows_f32(n, k, x, top_n, sum_n)
    else:
        skce_exp_rows_f64(n, k, x, top_n, sum_n)


cdef inline void csr_gather(
        Py_ssize_t nnz, const void *indices, int wide, const floating *values, Py_ssize_t p,
        Py_ssize_t k, const floating *w, floating *out) noexcept nogil:
    if floating is float:
        skce_csr_gather_f32(nnz, indices, wide, values, p, k, w, out)
    else:
        skce_csr_gather_f64(nnz, indices, wide, values, p, k, w, out)


cdef inline void csr_scatter(
        Py_ssize_t nnz, const void *indices, int wide, const floating *values, Py_ssize_t p,
        Py_ssize_t k, floating scale, const floating *metric, const floating *r, floating *w) noexcept nogil:
    if floating is float:
        skce_csr_scatter_f32(nnz, indices, wide, values, p, k, scale, metric, r, w)
    else:
        skce_csr_scatter_f64(nnz, indices, wide, values, p, k, scale, metric, r, w)


cdef inline void subtract(
        Py_ssize_t n, const floating *x, const floating *mean, floating *out) noexcept nogil:
    if floating is float:
        skce_subtract_f32(n, x, mean, out)
    else:
        skce_subtract_f64(n, x, mean, out)


cdef inline void gradient(
        Py_ssize_t p, Py_ssize_t k, floating scale, floating penalty, const floating *metric, const
        floating *w, floating *g) noexcept nogil:
    if floating is float:
        skce_gradient_f32(p, k, scale, penalty, metric, w, g)
    else:
        skce_gradient_f64(p, k, scale, penalty, metric, w, g)


cdef inline void axpy(Py_ssize_t n, floating scale, const floating *x, floating *w) noexcept nogil:
    if floating is float:
        skce_axpy_f32(n, scale, x, w)
    else:
        skce_axpy_f64(n, scale, x, w)


cdef inline void shrink(
        Py_ssize_t p, Py_ssize_t k, floating step, const floating *metric, floating *w) noexcept nogil:
    if floating is float:
        skce_shrink_f32(p, k, step, metric, w)
    else:
        skce_shrink_f64(p, k, step, metric, w)


cdef inline void blend(
        Py_ssize_t n, floating weight, const floating *w, floating *average) noexcept nogil:
    if floating is float:
        skce_blend_f32(n, weight, w, average)
    else:
        skce_blend_f64(n, weight, w, average)


cdef inline void momentum(
        Py_ssize_t n, floating step, floating momentum, const floating *g, floating *v,
        floating *w) noexcept nogil:
    if floating is float:
        skce_momentum_f32(n, step, momentum, g, v, w)
    else:
        skce_momentum_f64(n, step, momentum, g, v, w)


cdef inline void adagrad(
        Py_ssize_t p, Py_ssize_t k, floating step, floating tiny, const floating *metric, const
        floating *g, floating *h, floating *w) noexcept nogil:
    if floating is float:
        skce_adagrad_f32(p, k, step, tiny, metric, g, h, w)
    else:
        skce_adagrad_f64(p, k, step, tiny, metric, g, h, w)


cdef inline void adam(
        Py_ssize_t p, Py_ssize_t k, floating step, floating root, floating beta1, floating beta2,
        floating tiny, const floating *metric, const floating *g, floating *m, floating *v, floating
        *w) noexcept nogil:
    if floating is float:
        skce_adam_f32(p, k, step, root, beta1, beta2, tiny, metric, g, m, v, w)
    else:
        skce_adam_f64(p, k, step, root, beta1, beta2, tiny, metric, g, m, v, w)
