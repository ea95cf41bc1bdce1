"""What rows have told of the columns and the classes."""

import numpy as np
from scipy import sparse

from skce._engine.data import Matrix
from skce._engine.products import squares

__all__ = ["Seen", "positives"]

SAMPLE, SAMPLE_SIZE = 2000, 1 << 21  # rows and numbers from which a fit tells the scale of columns
# A rare column has no larger scale than its rows have told: its variance is that of RARE more rows
# of which one lies at its largest deviation. Test loss of one pass over mnist: 0.3016 with
# reach**2 / (9 p) in its place, 0.2840 with 30, 0.2817 with 100
RARE = 100
# The largest deviation of a dense column grows so much from one look to the next; squared each time
# that too many rows are beyond it
MOST_GROWTH = 2
POWER_ITERATIONS = 5  # over the rows of a fit
MOST_METRIC = 1e30  # finite in float32
LEAST = 1e-150  # deviation whose square is no 0
MOST = 1e140  # deviation whose squares have a sum


class Seen:
    """Rows, classes and columns seen: what a stream goes on from, and a fit leaves to it.

    Of CSR `columns` has the mean square of each column's non-zeros and their number. Of dense
    columns there are mean, scatter (around it) and the largest deviation, of rows of the weight
    `looked`, and the largest eigenvalue of their second moments when scaled, with its direction.
    """

    growth: float = MOST_GROWTH

    def __init__(self, p, k, is_sparse):
        self.is_sparse = is_sparse
        self.rows, self.weight, self.looked = 0, 0.0, 0.0
        self.positives = np.zeros(k)
        self.largest, self.direction = 1.0, None
        if is_sparse:
            self.columns = np.zeros((2, p))
        else:
            self.mean, self.scatter, self.reach = np.zeros((3, p))

    @classmethod
    def of_rows(cls, X, targets, weights, k, centred):
        """Look at the rows of a fit, of a dense X at a sample."""
        seen = cls(X.shape[1], k, sparse.issparse(X))
        live = np.flatnonzero(weights != 0)
        seen.rows, seen.weight = len(live), float(weights.sum())
        seen.positives = positives(targets, weights, k)
        seen.looked = seen.weight
        with np.errstate(all="ignore"):  # columns too large are left alone
            if seen.is_sparse:
                sums = squares(Matrix(X), weights)
                square = np.fmin(sums.columns / np.maximum(sums.entries, 1), MOST**2)
                seen.columns = np.stack([square, sums.entries])
                seen.largest = sums.entries.sum() / seen.rows + 1  # at most
                return seen
            most = min(SAMPLE, max(SAMPLE_SIZE // X.shape[1], 1))
            sample = X[live[:: -(-len(live) // most)]].astype(np.float64, copy=False)  # a copy
            if centred:
                seen.mean = sample.sum(axis=0) / len(sample)
                sample -= seen.mean
            square = np.einsum("ij,ij->j", sample, sample) / len(sample)
            seen.scatter = np.fmin(square, MOST**2) * seen.weight
            seen.reach = np.fmin(np.maximum(sample.max(axis=0), -sample.min(axis=0)), MOST)
            sample *= np.sqrt(seen.metric())
            for _ in range(POWER_ITERATIONS):
                response = seen.towards().copy()
                response[:-1] = sample @ response[:-1] @ sample / len(sample)
                seen.turn(response, 1.0)
        return seen

    def stand_for(self, rows, weight, on):
        """Let rows that were looked at be a sample of so many, of this weight and `positives`."""
        if self.is_sparse:
            self.columns[1] *= rows / max(self.rows, 1)
        else:
            self.scatter = self.scatter * (weight / (self.weight or 1.0))
        self.rows, self.weight, self.looked, self.positives = rows, weight, weight, on

    def scale(self, power):
        """Let the weights of rows be larger by so many powers of two."""
        self.weight, self.looked = np.ldexp([self.weight, self.looked], power).tolist()
        self.positives = np.ldexp(self.positives, power)
        if not self.is_sparse:
            self.scatter = np.ldexp(self.scatter, power)

    @classmethod
    def of_state(cls, state):
        """Return one of these attributes."""
        seen = cls.__new__(cls)
        seen.__dict__.update(state)
        return seen

    def shares(self):
        """Return the share of each output in the rows, as if half of two more rows had it."""
        mean = self.weight / self.rows if self.rows else 1.0
        return (self.positives / mean + 1) / (self.rows + 2)

    def variances(self, pos_weight=None):
        """Return the variance of each output, times the residuals that positive weights enlarge.

        These are squared, at the best intercept: weight / (1 + (weight - 1) share), if above 1.
        """
        shares = self.shares()
        variances = shares * (1 - shares)
        if pos_weight is None:
            return variances
        return variances * np.fmax(pos_weight / (1 + (pos_weight - 1.0) * shares), 1) ** 2

    def metric(self):
        """Return the inverse squared scale of dense columns; 0 for those of one value so far."""
        square, at_least = self.squares()
        inverse = np.where(square > at_least, 1 / np.where(square > 0, square, 1), 0)
        return np.clip(inverse, 0, MOST_METRIC)

    def squares(self):
        """Return the squared scale of dense columns, and what it is of a constant by rounding."""
        square = self.scatter / (self.looked or 1.0)
        square = square + RARE * np.square(self.reach) / max(self.rows, 1)
        return square, np.square(np.finfo(float).eps * self.mean)

    def limit(self):
        """Return the largest deviation of each dense column that the next look takes for true."""
        known = np.where(self.reach > 0, self.growth * np.fmax(self.reach, LEAST), MOST)
        return np.fmin(known, MOST)

    def add(self, sums, squares, reach, weight, centred):
        """Take in sums of deviations from the mean, of their squares and the largest.

        Return whether the scale of a column is far too small: one outlier does not say so.
        """
        most = weight * reach  # sums in float32 overflow
        sums, squares = np.clip(sums, -most, most), np.fmin(squares, most * reach)
        larger = squares > self.growth**2 * weight * np.fmax(*self.squares())
        larger = bool(np.any(larger[self.reach > 0]))
        self.growth = min(self.growth**2, 1 / LEAST) if larger else MOST_GROWTH
        total = self.looked + weight
        self.scatter = self.scatter + squares
        if centred:
            shift = sums / total
            self.scatter = np.maximum(self.scatter - shift * sums, 0)
            self.mean = self.mean + shift
        self.reach = np.maximum(self.reach, reach)
        self.looked = total
        return larger

    def towards(self):
        """Return the direction of the largest eigenvalue so far, at first any one."""
        if self.direction is None:
            p = len(self.columns[0] if self.is_sparse else self.mean)
            self.direction = np.cos(np.arange(1.0, p + 2))
            self.direction /= np.linalg.norm(self.direction)
        return self.direction

    def turn(self, response, share):
        """Make a step of the power iteration, of rows that count for this share."""
        mixed = share * response
        if share < 1:
            mixed += (1 - share) * self.largest * self.towards()
        length = np.sqrt(mixed @ mixed)
        if 0 < length < np.inf:
            self.largest, self.direction = float(length), mixed / length


def positives(targets, weights, k):
    """Return the weighted sums of the targets of each output; one above 1 counts as 1."""
    if isinstance(targets, np.ndarray):
        return np.bincount(targets, weights, k).astype(float)
    on = np.fmax(np.minimum(targets.data, 1), 0)  # 0 where it is missing
    return np.bincount(targets.indices, on * np.repeat(weights, np.diff(targets.indptr)), k)
