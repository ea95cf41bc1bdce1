"""How the weights are found: loops over passes and epochs, when they stop, and who takes over.

`auto` chooses between `sdca` and `lbfgs`, which find the optimum of a `problem`; `sgd` is
stochastic gradient descent. `certificate` bounds how far an objective is above its minimum.

Imports `_engine`, `_kernels`, `losses` and `optim`. `_estimators` alone may import it.
"""
