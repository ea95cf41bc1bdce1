"""The fused kernels, for other packages too: blocks.pxd says what they do and what must hold."""

from skce._kernels.blocks cimport (
    Loss, log_softmax_into, multilabel_softmax_xent, proba_xent, sigmoid_xent, softmax_into,
    softmax_rows, softmax_xent, xent, xent_into)
