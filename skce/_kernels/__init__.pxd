"""The fused kernels, for other packages too: blocks.pxd and proba.pxd say what they do and what must hold."""

from skce._kernels.blocks cimport Loss, xent
from skce._kernels.proba cimport log_softmax_into, proba_xent, softmax_into
