"""One pass over the rows of X, dense or CSR, in Cython without the GIL.

`data` checks what a pass takes, `products` multiplies X with weights and residuals, `sgd` and
`sdca` make one epoch each, `passes` sums over all rows: gradients, Hessian products, certificates.
`pairs` is the arithmetic of a step of L-BFGS beside its pass.
The step of a batch, and what bounds it, is in `sgd.pxd`, that of a row of SDCA in `c/prox.inc`.

Imports `_kernels` only. `_solvers` and `_estimators` may import it.
"""
