"""How the weights are found: loops over passes and epochs, when they stop, and who takes over.

Each solver is ``minimize(problem, start, rng, limits)`` and returns a Result: `auto` is the chain
of `sdca` and `lbfgs`, with `newton` near the end, which share `objective` and `certificate`;
`sgd` is stochastic gradient descent.

Imports `_engine`, `_kernels`, `losses` and `optim`. `_estimators` alone may import it.
"""
