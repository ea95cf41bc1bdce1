"""The vector primitives of skce_simd.h.

Each is a macro that picks the instance for the CPU level and for the type of its first array, float or
double; the other arrays (void here) are of that type too, as the C compiler checks.
"""

cdef extern from "c/skce_simd.h" nogil:
    enum:
        SKCE_LANES
        SKCE_VECTOR_TYPES

    int skce_highest_level()
    void skce_set_level(int level)

    # tiles: x (n, k), class-major where stride is not 0
    void pack "skce_pack"(const void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, void *tile)
    void unpack "skce_unpack"(const void *tile, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, void *x)
    void row_max "skce_row_max"(
        const void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, void *top_n)
    void row_sums "skce_row_sums"(
        const void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *shift_n, double *sum_n)
    void target_sums "skce_target_sums"(
        const void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *t, const void *top_n,
        int divide, int pass_nan, double *sum_n, double *keep_n, double *dot_n)
    void mask_missing "skce_mask_missing"(void *x, Py_ssize_t n, const void *t)
    void dots "skce_dots"(
        const void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *t, const void *top_n,
        const double *keep_n, const double *spread_n, double *dot_n)
    void exp_rows "skce_exp_rows"(
        const void *source, void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *top_n,
        double *sum_n, double *rest_n)
    void scale_rows "skce_scale_rows"(
        void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *scale_n, const void *shift_n)
    void lower_rows "skce_lower_rows"(
        const void *source, void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *top_n,
        const double *shift_n)
    void residuals "skce_residuals"(
        void *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, const void *t, const void *scale_n,
        const void *keep_n, const void *spread_n)

    # runs
    void extent "skce_extent"(const void *x, Py_ssize_t n, double *low, double *high)
    void softplus_mix "skce_softplus_mix"(
        const void *x, void *r, void *v, Py_ssize_t n, const void *t, const void *positive_n,
        double keep, double spread, double scale, void *l)
    void prefetch "skce_prefetch"(const void *x, Py_ssize_t n)
    void logistic_to "skce_logistic_to"(const void *x, Py_ssize_t n, void *out)
    void log_logistic_to "skce_log_logistic_to"(const void *x, Py_ssize_t n, void *out)
    void minus_log "skce_minus_log"(void *x, Py_ssize_t n)
    bint certain "skce_certain"(const void *x, Py_ssize_t n)
    bint outside "skce_outside"(const void *x, Py_ssize_t n)
    void proba_losses "skce_proba_losses"(
        const void *p, Py_ssize_t n, const void *t, int binary, void *l)
    void vlog "skce_vlog"(double *x, Py_ssize_t n)
    void log_sums "skce_log_sums"(double *total_n, Py_ssize_t n, const double *rest_n)
    void softmax_scales "skce_softmax_scales"(
        void *scale_n, Py_ssize_t n, const double *weight_n, const double *mass_n, const double *total_n)
    void weighted_losses "skce_weighted_losses"(
        double *loss_n, Py_ssize_t n, const double *weight_n, const double *total_n)
    void axpy "skce_axpy"(void *w, Py_ssize_t n, double scale, const void *x)
    double square "skce_square"(const void *x, Py_ssize_t n, const void *metric)
    double respond "skce_respond"(
        const void *x, Py_ssize_t n, const void *direction, double more, double weight, void *response)
    void watch "skce_watch"(
        const void *x, Py_ssize_t n, Py_ssize_t p, Py_ssize_t stride, const double *weight_n,
        const void *limit, double *sum, double *square, double *reach)
    void blend "skce_blend"(void *average, Py_ssize_t n, double weight, const void *w)

    # products
    void load_rows "skce_load_rows"(
        const void *x, Py_ssize_t n, Py_ssize_t p, const Py_ssize_t *order, const void *mean,
        Py_ssize_t stride, void *out)
    void packed_forward "skce_packed_forward"(
        const void *x, Py_ssize_t n, Py_ssize_t x_stride, Py_ssize_t stride, Py_ssize_t k, const void *w,
        const void *ahead_n, void *out)
    void packed_backward "skce_packed_backward"(
        const void *x, Py_ssize_t n, Py_ssize_t columns, Py_ssize_t stride, Py_ssize_t k, const void *r,
        Py_ssize_t r_stride, void *g)
    void csr_gather "skce_csr_gather"(
        const void *w, Py_ssize_t p, Py_ssize_t k, Py_ssize_t n, const Py_ssize_t *order,
        const long long *indptr, const void *indices, int wide, const void *values, void *out)
    void csr_gather_ahead "skce_csr_gather_ahead"(
        const void *w, Py_ssize_t p, Py_ssize_t k, Py_ssize_t n, Py_ssize_t known, const Py_ssize_t *order,
        const long long *indptr, const void *indices, int wide, const void *values, void *out)
    void csr_scatter "skce_csr_scatter"(
        void *w, Py_ssize_t p, Py_ssize_t k, Py_ssize_t n, const Py_ssize_t *order,
        const long long *indptr, const void *indices, int wide, const void *values, double scale,
        const void *metric, const void *r)

    # steps of dual ascent: entry_weights or mask and table (k); moved may be s
    double softmax_prox "skce_softmax_prox"(
        const void *s, Py_ssize_t k, double q, double scale, const void *mask, void *table,
        double *entropy, void *moved, void *scratch)
    double sigmoid_prox "skce_sigmoid_prox"(
        const void *s, Py_ssize_t k, double q, double scale, const void *entry_weights, void *table,
        double *entropy, void *moved)

    # updates of w (p, k)
    void packed_step "skce_packed_step"(
        void *w, Py_ssize_t p, Py_ssize_t k, Py_ssize_t stride, const void *metric, void *g, void *z,
        const void *threshold)
    void soft_threshold "skce_soft_threshold"(void *w, Py_ssize_t n, double threshold, const void *z)
    void gradient "skce_gradient"(
        void *g, Py_ssize_t p, Py_ssize_t k, double scale, const void *metric)
    void shrink "skce_shrink"(
        void *w, Py_ssize_t p, Py_ssize_t k, double step, double l2, double l1, const void *metric,
        const void *h, double root, double slow, double tiny)
    void momentum "skce_momentum"(
        void *w, Py_ssize_t n, double step, double momentum, const void *g, void *v)
    void adagrad "skce_adagrad"(
        void *w, Py_ssize_t p, Py_ssize_t k, double step, double slow, double tiny, const void *metric,
        const void *g, void *h)
    void adam "skce_adam"(
        void *w, Py_ssize_t p, Py_ssize_t k, double step, double root, double beta1, double beta2,
        double tiny, const void *metric, const void *g, void *m, void *v)
