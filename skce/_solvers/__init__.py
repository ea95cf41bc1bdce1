"""How the weights are found: loops over passes and epochs, when they stop, and who takes over.

Each solver is ``minimize(problem, start, rng, limits)`` and returns a Result, which tells why it
ended: `auto` is the chain of `sdca` and `lbfgs`, with `newton` near the end; `sgd` is stochastic
gradient descent. Imports `_engine`, `_kernels`, `losses` and `optim`. `_estimators` alone may
import it.

Figures beside a constant are passes (seconds where "s" is added) with another value over those with
this one: ``python benchmarks/ablate.py --data FOLDER --rows 6000 --only NAME``, float32.
"""
