"""What stochastic gradient descent knows of the rows it has seen.

1. Everything is told by rows seen, not by calls: batches, steps, scales, the average. A call ends
   where it ends, and the next one goes on within the same batch.
2. Scales and steps change at certain numbers of rows, each REFRESH times the one before. Between
   them rows are only watched.
3. What a row does is bounded: its step is implicit, and to the scales it is an outlier of at most
   twice what was seen before.
"""

import copy
from typing import Any

import numpy as np
from scipy import sparse

from skce._engine.sgd import Rule, sgd_run
from skce._solvers.columns import rounded_intercept
from skce._solvers.lazy import made_good, scale_squares
from skce._solvers.penalised import elastic_net
from skce._solvers.seen import Seen, positives
from skce.optim import constant

__all__ = ["Stream"]

BATCH = 64  # rows of a batch, at most, and rows seen for each row of a batch before
TEXTBOOK_BATCH = 16  # rows of a batch with a learning rate that was given
REFRESH = 1.25  # rows seen at a refresh, in terms of those at the one before
SOON = 1 + 1 / 32  # the same while a dense column is far larger than its scale: as few rows as tell
ROW_CURVATURE = 0.25  # of the loss of a row in one logit, at most
# steps of AdaGrad and Adam in columns of scale 1, for rows of squared norm 1
FIRST_STEP = {Rule.ADAGRAD: 1.5, Rule.ADAM: 1.0}
# The sum of squares that AdaGrad starts from. Progressive loss of 20news and clinc150 with 0.1:
# 0.62 and 1.08, 0.3: 0.64 and 1.11 before steps were longer in rare columns; but smaller ones harm
# noisy streams: of 14, two end above the loss of the class frequencies by 0.25 and 1.2 with 0.01
FIRST_SQUARES = 0.3
# The share of its labels' variance that a fit leaves: the squares of its rows, which AdaGrad has
# not seen. Four streams of permuted labels, as many as were fitted, end at 1.16 to 1.42 times the
# loss before, with 1 at 1.3 to 1.8; with 0.5 no batch of test_streams_harm.py harms by over .14
LEFT = 0.5
# The factor of the weights on CSR, rows that say so, and rows that tell of it from one refresh to
# the next. Progressive loss of 20news and clinc150, python benchmarks/streams.py --data FOLDER
# --sets 20news clinc150 --calls 100 --learners skce: .596, .996 with none, .466, .566 with 64,
# .457, .562 with 256
SURE = (1.0, 4.0, 256.0, 0.0, 0.0)
# Weights on CSR that foretell worse than the intercept alone are forgotten once rows are so many
# times those when they last did better: so 400 wrong rows after 1,000 are no reason, and permuted
# labels are learnt to .99-1.23 of the loss before in as many rows as were fitted (1.2-4.6 without)
CONTRADICTED = 1.4
RULES = {"sgd": Rule.SGD, "adagrad": Rule.ADAGRAD, "adam": Rule.ADAM}
# Arrays of the size of the weights that a rule keeps.
STATES = {Rule.SGD: 0, Rule.MOMENTUM: 1, Rule.ADAGRAD: 1, Rule.ADAM: 2}


class Stream:
    """State of stochastic gradient descent; it outlives a call, so that `partial_fit` goes on.

    With ``learning_rate="auto"`` there are two rules. AdaGrad (Duchi et al., 2011) divides columns
    by the typical size of their non-zeros so far, and all steps by the root mean square of the
    norms of the rows so scaled (Ross et al., 2013, "Normalized online learning": as a scale grows,
    weights shrink); on CSR row by row, with longer steps in columns that were rarely met. The
    others step by the inverse of the smoothness of a batch's loss in the diagonal metric of the
    columns, that is curvature * lambda + norm / (4 b), lambda the largest eigenvalue of the second
    moments, norm the rest of a row's mean square and b the rows (Gower et al., 2019, "SGD: General
    analysis and improved rates"); their result is the average of the iterates. Any other learning
    rate means the textbook update of the columns as they are.
    """

    def __init__(self, params, p, k, dtype, is_sparse):
        self.params = params
        solver = params["solver"]
        self.auto = params["learning_rate"] == "auto"
        if solver == "auto":
            solver = "adagrad" if is_sparse and self.auto and params["momentum"] == 0 else "sgd"
        self.rule = RULES[solver]
        if self.rule == Rule.SGD and params["momentum"] > 0:
            self.rule = Rule.MOMENTUM
        self.rooted = self.rule in FIRST_STEP
        self.by_rows = self.auto and is_sparse and self.rule == Rule.ADAGRAD
        average = params["average"]
        if average == "auto":
            average = self.auto and not self.by_rows
        self.W = np.zeros((p + 1, k), dtype)
        self.state = np.zeros((STATES[self.rule], p + 1, k), dtype)
        if self.auto and self.rule == Rule.ADAGRAD:
            self.state += self.W.dtype.type(FIRST_SQUARES)
        self.average = self.W.copy() if average else None
        self.seen = Seen(p, k, is_sparse)
        self.clock = np.zeros(5)
        self.sure = np.array(SURE)
        self.stamps = np.zeros((p, 2)) if is_sparse else None
        self.slots = np.full(p, -1, np.intc) if is_sparse else None
        known = 0 if self.auto and not is_sparse else 1  # dense columns wait for their scale
        self.metric = np.append(np.full(p, known), params["fit_intercept"]).astype(dtype)
        self.centre = np.zeros(p)  # in dtype
        self.begun, self.until = 0, 1  # rows seen at the last refresh, and at the next
        self.look, self.watched, self.watched_weight = None, None, 0.0
        self.borne_out = 0  # rows seen when weights last foretold better than the intercept alone
        self.positive = 1.0  # the largest weight of a loss, positive times entry, at least 1
        self.step, self.norm = 1.0, 1.0
        self.reduction = 1.0
        self.steps = 0
        self.losses = np.zeros(2)  # summed, and of zero coefficients
        self.warned = False
        self.published: Any = (None, None)

    @property
    def centring(self):
        """Whether columns are centred: where they are dense, and an intercept makes up for it."""
        return self.auto and self.stamps is None and self.params["fit_intercept"]

    def start_from(self, coef, intercept, seen=None, pos_weight=None):
        """Begin at coef (K, p) and intercept (K,), found in rows that were seen."""
        self.sure[0] = 1.0
        if seen is not None and seen.rows:
            self.seen = seen = copy.deepcopy(seen)
            self.begun, self.until = seen.rows, int(REFRESH * seen.rows) + 1
            self.sure[1] += seen.rows
            self.borne_out = seen.rows
            if seen.is_sparse:
                squares, counts = seen.columns[:, seen.columns[0] > 0]
                logs = counts @ np.log(squares)
                self.clock[1:] = 0, seen.weight, logs, counts.sum()
                scaled = seen.columns[0] / scale_squares(self, slice(None))
                self.clock[1] = (seen.columns[1] @ scaled / seen.rows + 1) * seen.weight
            if self.auto and self.rule == Rule.ADAGRAD:
                hits = np.append(seen.columns[1], seen.rows) if seen.is_sparse else [seen.rows]
                left = LEFT * seen.variances(pos_weight)
                self.state += np.outer(hits, left).astype(self.W.dtype)
            if self.auto:
                self._set_scale()
        if self.stamps is not None:
            self.stamps[:] = self.clock[0], self.seen.weight
        for W in self.iterates():
            W[:-1] = coef.T
            W[-1] = intercept + coef @ self.centre if self.params["fit_intercept"] else 0

    def grow(self, places, k, signs, shared):
        """Take up new outputs: of k now the old ones, times signs, are at `places`.

        signs (k before, places) turns a logit of two classes into theirs. The others are zero but
        for their intercept, which stands for one row of all seen; shared tells whether outputs
        share a softmax.
        """
        self.settle()
        signs = np.asarray(signs, self.W.dtype)

        def grown(array, factors):
            wide = np.zeros((*array.shape[:-1], k), array.dtype)
            wide[..., places] = array @ factors.astype(array.dtype)
            return wide

        self.W = grown(self.W, signs)
        if self.average is not None:
            self.average = grown(self.average, signs)
        self.state = grown(self.state, signs != 0)
        new = np.setdiff1d(np.arange(k), places)
        if self.params["fit_intercept"]:
            for W in self.iterates():
                others = np.logaddexp.reduce(W[-1, places].astype(float)) if shared else 0
                W[-1, new] = others - np.log(self.seen.rows + 1)
        if self.auto and self.rule == Rule.ADAGRAD:
            self.state[..., new] = FIRST_SQUARES
        self.seen = copy.copy(self.seen)
        counts = self.seen.positives
        if signs[0, 0] < 0:  # of one logit
            counts = np.array([self.seen.weight - counts[0], counts[0]])[: len(places)]
        self.seen.positives = grown(counts, np.eye(len(counts)))

    def run(self, problem, data, weights, order, new=False):
        """Pass over rows in `order`, `new` or not; return the sum of losses, before each step."""
        total, at = 0.0, 0
        if not weights.all():
            order = order[weights[order] > 0]
        while at < len(order):
            end = len(order)
            if self.auto:
                end = min(end, at + self.until - self.seen.rows)
            total += self._run(problem, data, weights, order[at:end], new)
            if self.seen.rows == self.until:
                self._refresh()
            at = end
        return total

    def _run(self, problem, data, weights, order, new):
        """Make the steps of rows between two refreshes."""
        seen, dtype, weight = self.seen, self.W.dtype, weights[order]
        if self.centring and not seen.rows:
            self.centre = data.X[order[0]].astype(np.float64)
            seen.mean = self.centre
        positive = 1.0 if data.pos_weight is None else max(1.0, float(data.pos_weight.max()))
        if data.entry_weight is not None:
            self.positive = max(self.positive, positive * float(data.entry_weight[order].max()))
        elif data.pos_weight is not None:
            self.positive = positive
        if self.auto and self.look is None and not (seen.is_sparse and self.rooted):
            self._watch()
        sizes, size = self._batches(len(order))
        ends = np.append(0, np.cumsum(sizes))
        rows = sizes.astype(float)  # of the textbook: the mean over the batch
        times = np.cumsum(np.append(seen.weight, weight))[ends]
        if self.auto:
            before = seen.rows + ends[:-1]
            mean = np.where(before > 0, times[:-1] / np.fmax(before, 1), weight[0])
            rows = mean * (1 if self.rooted else size)
        implicit = self.auto and self.rule != Rule.ADAM
        alpha, l1_ratio = self.params["alpha"], self.params["l1_ratio"]
        loss, self.steps = sgd_run(
            problem,
            order,
            ends,
            self.step_sizes(sizes),
            rows,
            times,
            self.W,
            self.centre.astype(dtype) if self.centre.any() else None,
            self.metric,
            alpha * (1 - l1_ratio),
            alpha * l1_ratio,
            self.rule,
            self.params["momentum"],
            ROW_CURVATURE * self.positive if implicit else 0.0,
            self.state,
            self.steps,
            self.average,
            self.clock,
            self.stamps,
            self.slots,
            seen.columns if self.auto and seen.is_sparse else None,
            self.look,
            self.watched,
            self.sure if new and self.by_rows and self.average is None else None,
        )
        self.watched_weight += times[-1] - times[0]
        seen.positives = seen.positives + positives(data.targets[order], weight, data.k)
        seen.rows, seen.weight = seen.rows + len(order), float(times[-1])
        return loss

    def _batches(self, n):
        """Return the sizes of the batches of n rows, the first goes on, and the full one."""
        size = self._size()
        first = min((self.begun - self.seen.rows) % size, n) if self.auto else 0
        whole, rest = divmod(n - first, size)
        return np.array([first] * (first > 0) + [size] * whole + [rest] * (rest > 0)), size

    def _size(self):
        """Return the rows of a batch."""
        if self.params["batch_size"] != "auto":
            return self.params["batch_size"]
        if not self.auto:
            return TEXTBOOK_BATCH
        return 1 if self.by_rows else int(np.clip(self.begun // BATCH, 1, BATCH))

    def step_sizes(self, sizes):
        """Return the step sizes of batches of these sizes."""
        n_steps = len(sizes)
        if self.auto:
            if not self.rooted:
                return np.full(n_steps, self.step * self.reduction)
            step = FIRST_STEP[self.rule] * self.reduction
            if not self.seen.is_sparse:  # on CSR the norm is learnt within
                step /= np.sqrt(self.norm or 1.0)
            if self.rule == Rule.ADAM:  # moves all columns, and falls like the root of the rows
                return step / np.sqrt(len(self.metric) * (self.begun + 1)) * sizes
            return np.full(n_steps, step)
        rate = self.params["learning_rate"]
        schedule = rate if callable(rate) else constant(rate)
        steps = np.asarray(schedule(self.steps + np.arange(n_steps)))
        numbers = steps.dtype.kind in "iuf"
        if steps.shape != (n_steps,) or not (numbers and np.all((steps >= 0) & (steps < np.inf))):
            raise ValueError(
                "learning_rate must return one finite step size, not negative, for each step "
                f"number, got {steps!r}."
            )
        return steps.astype(np.float64)

    def _watch(self):
        """Begin to watch rows for the next refresh."""
        seen, p = self.seen, len(self.metric) - 1
        self.look = np.full((2, p + 1), np.inf, self.W.dtype)
        direction = seen.towards().copy()
        direction[-1] *= self.metric[-1]
        if not seen.is_sparse:
            direction[:-1] *= np.sqrt(seen.metric())
            with np.errstate(over="ignore"):  # in float32
                self.look[0, :-1] = seen.limit()
        self.look[1] = direction
        self.watched, self.watched_weight = np.zeros((4, p + 1)), 0.0

    def _refresh(self):
        """Take in what was watched since the last refresh."""
        seen, growth = self.seen, REFRESH
        if self.look is not None:
            sums, squares, reach, response = self.watched
            response /= self.watched_weight
            if not seen.is_sparse:
                response[:-1] *= np.sqrt(seen.metric())
            seen.turn(response, min(1.0, 4 * (seen.rows - self.begun) / seen.rows))
            if not seen.is_sparse:
                columns = (sums[:-1], squares[:-1], reach[:-1])
                if seen.add(*columns, self.watched_weight, self.centring):
                    growth = SOON
        self.begun, self.until = seen.rows, max(seen.rows + 1, int(growth * seen.rows))
        if self.sure[3] <= 2 * np.sqrt(SURE[2] - self.sure[2]):
            self.borne_out = seen.rows
        elif seen.rows > CONTRADICTED * self.borne_out:
            self._forget()
        self.sure[[1, 4]] /= REFRESH
        self.sure[2:4] = SURE[2:4]
        self._set_scale()
        if self.look is not None:
            self._watch()

    def _forget(self):
        """Begin at zero again, in the scales that are known: the weights are contradicted."""
        self.W = np.vstack([np.zeros_like(self.W[:-1]), self.W[-1:]])
        self.state = np.full_like(self.state, FIRST_SQUARES)
        self.stamps = np.tile([self.clock[0], self.seen.weight], (len(self.stamps), 1))
        self.sure, self.borne_out = np.array(SURE), self.seen.rows

    def _set_scale(self):
        """Set centre, metric and step size from what was seen."""
        seen = self.seen
        if seen.is_sparse:
            self.norm = self.clock[1] / self.clock[2]
        else:
            if self.centring:
                centre = seen.mean.astype(self.W.dtype).astype(np.float64)
                for W in self.iterates():  # the same function of the uncentred columns as before
                    W[-1] += (centre - self.centre) @ W[:-1]
                self.centre = seen.mean = centre
            metric = seen.metric()
            before = self.metric[:-1].astype(float)
            self.metric[:-1] = np.sqrt(metric) if self.rooted else metric
            shrunk = np.fmin(self.metric[:-1] / np.where(before > 0, before, np.inf), 1)
            shrunk = np.where(before > 0, shrunk if self.rooted else np.sqrt(shrunk), 1)
            shrunk = shrunk[:, np.newaxis].astype(self.W.dtype)
            for W in self.iterates():  # as a scale grows, weights shrink
                W[:-1] *= shrunk
            self.norm = self.metric[-1] + seen.scatter @ metric / seen.looked
        curvature = np.max(seen.variances()) * self.positive
        rest = ROW_CURVATURE * self.positive * max(self.norm - seen.largest, 0) / self._size()
        self.step = (1 - self.params["momentum"]) / (curvature * seen.largest + rest)

    def iterates(self):
        """Return the last iterate and, if there is one, the average: the last is the result."""
        return [self.W] if self.average is None else [self.W, self.average]

    def weights(self, columns=slice(None)):
        """Return the result (c + 1, K) at some columns, what they have missed made good."""
        if self.stamps is None:
            return self.iterates()[-1]
        W = made_good(self, columns)
        W[:-1] *= W.dtype.type(self.sure[0])
        return W

    def settle(self):
        """Make good what columns have missed, of all of them."""
        if self.stamps is None:
            return
        average, self.average = self.average, None
        W = made_good(self, slice(None))
        self.average = average
        if average is not None:
            self.average[:] = made_good(self, slice(None))
        self.W[:] = W
        self.stamps[:] = self.clock[0], self.seen.weight

    def result(self):
        """Return coef (K, p) and intercept (K,)."""
        W = self.weights()
        coef = np.array(W[:-1].T, order="C")  # W may be the state
        return coef, self.intercept(W)

    def intercept(self, W=None):
        """Return the intercept (K,) of the uncentred columns, of the result or of W."""
        W = self.iterates()[-1] if W is None else W
        intercept = W[-1].astype(np.float64)
        if self.centring:
            intercept -= self.centre @ W[:-1].astype(np.float64)
        return rounded_intercept(intercept, W.dtype)

    def penalty(self):
        """Return the penalty at the last iterate."""
        return self.params["alpha"] * elastic_net(self.W[:-1], self.params["l1_ratio"])

    def stored(self, X):
        """Return X in the storage of the stream, that of its first rows; CSR without zeros."""
        if self.stamps is None:
            return X.toarray() if sparse.issparse(X) else X
        if not sparse.issparse(X):
            return sparse.csr_array(X)
        if not X.data.all():
            X = X.copy()
            X.eliminate_zeros()
        return X
