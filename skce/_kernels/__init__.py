"""Losses of blocks of rows, the C they are made of, CPU levels and threads.

`blocks` computes a loss and its residuals, `arrays` does so for whole arrays in threads, `cpu`
chooses the CPU level, `threads` says who may run on how many threads; `c/` holds the vector
primitives.

Imports nothing else of skce; all may import it. Other packages cimport from it as
``from skce._kernels cimport Loss, xent``.
"""

from skce._kernels.blocks import Loss

__all__ = ["Loss"]
