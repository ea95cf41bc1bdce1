from enum import IntEnum

class Loss(IntEnum):
    SOFTMAX = 0
    MULTILABEL_SOFTMAX = 1
    SIGMOID = 2
