"""Exact steps of dual coordinate ascent, and how near a step has to be."""

import numpy as np
from scipy import optimize, special

__all__ = ["assert_solves_prox", "exact_sigmoid_prox", "exact_softmax_prox", "sums_p_log_p"]

TOLERANCE = 0.05


def sums_p_log_p(table, masses, sigmoid):
    terms = special.xlogy(table, table)
    if sigmoid:
        terms = masses * (terms + special.xlogy(1 - table, 1 - table))
    return terms.sum(axis=-1)


def exact_softmax_prox(s, q, old):
    """softmax(a) of a + q softmax(a) = s + q old, by the root of the sum of p in lse(a)."""
    if q == 0:
        return special.softmax(s)
    u = s + q * old

    def p(lse):
        return special.wrightomega(u - lse + np.log(q)) / q

    low, high = np.max(u) - q - 1, np.max(u) + np.log(len(s)) + 1
    return p(optimize.brentq(lambda lse: p(lse).sum() - 1, low, high, xtol=1e-13, rtol=1e-15))


def exact_sigmoid_prox(s, q, old):
    """sigmoid(a) of a + q sigmoid(a) = s + q old, by bisection."""
    low, high = s - q * (1 - old), s + q * old
    for _ in range(200):
        middle = (low + high) / 2
        above = (middle - s) + q * (special.expit(middle) - old) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return special.expit(middle)


def assert_solves_prox(p, s, q, old, masses, sigmoid, dtype):
    """p solves the row's equation to 5 % of the residual at s, but for rounding."""
    present, eps = masses > 0, np.finfo(dtype).eps
    p, s, old = (v[present].astype(float) for v in (p, s, old))
    rounding = 40 * eps
    if sigmoid:
        q = q * masses[present].astype(float)
        start = np.abs(special.expit(s) - old)
        exact = np.where(q > 0, exact_sigmoid_prox(s, q, old), special.expit(s))
        # a change of the residual is at most that of q p
        limit = 1.01 * TOLERANCE * start + rounding + rounding * np.abs(s) / np.maximum(q, 1)
        assert ((p >= 0) & (p <= 1)).all()
    else:
        start = np.max(np.abs(special.softmax(s) - old))
        exact = exact_softmax_prox(s, q, old)
        # the maximum norm of q (diag p - pp^T) (I + q (diag p - pp^T))^-1 is at most 2
        limit = 2.02 * TOLERANCE * start + rounding + rounding * np.max(np.abs(s)) / max(q, 1)
        assert abs(p.sum() - 1) <= rounding
        assert (p >= 0).all()
    assert (np.abs(p - exact) <= limit).all()
