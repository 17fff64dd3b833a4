"""The two-sample test of drift: whether two samples of one column differ by more than chance, and by how much."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Cells are merged until both samples have at least so many expected values in each.
MIN_EXPECTED = 10
# Above this p-value, a difference is explained by chance.
NOISE = 0.05

Counts = NDArray[np.integer[Any]]


class Comparison(NamedTuple):
    """The ``excess`` of a difference beyond chance (0: none), and the probability of the difference by chance alone."""

    excess: float
    p_value: float


def compare(first: Counts, second: Counts, *, ordered: bool) -> Comparison:
    """Compare two samples, each of at least one value, by their counts per cell, shape (cells,).

    Whether a cell is rare depends on the sum of both counts alone. Given these sums, the samples are exchangeable
    without drift, so values that only one of them has need no further correction: those that occur once are as likely
    in either sample, which is the Good-Turing estimate of the unseen ones (Good 1953).

    A chi-square test compares the cells, rare ones merged, and a bound on the tail of the hypergeometric distribution
    each rare cell; if there are rare cells, each test has half of the false alarm rate. The simulated rates are in
    ``benchmarks/results/drift.md``.

    The excess is the triangular discrimination, sum of (p - q)^2 / ((p + q) / 2), minus its expectation without drift.
    It lies between 0 and 4, and equals the population stability index for small differences.

    If the cells are ordered, as the bins of a number, only neighbours are merged; otherwise cells of similar frequency,
    and equally frequent ones in the order given, which must not depend on the sample that has them.
    """
    samples = np.stack([first, second])[:, first + second > 0]
    merged, rare = _merge(samples, ordered=ordered)
    tests = [_chi_square(merged)]
    if rare.shape[1]:
        tests.append(_rare(rare, samples.sum(axis=1)))
    p_value = min(1.0, len(tests) * min(test.p_value for test in tests))
    return Comparison(max(test.excess for test in tests) if p_value < NOISE else 0.0, p_value)


def _merge(samples: Counts, *, ordered: bool) -> tuple[Counts, Counts]:
    """Merged cells, at least one, with ``MIN_EXPECTED`` expected values or more in both samples; and the rare cells.

    The remaining cells, if too few for a merged cell, count as one rare cell. No cell of the samples is empty.
    """
    sums, sizes = samples.sum(axis=0), samples.sum(axis=1)
    needed = MIN_EXPECTED * sums.sum() / sizes.min()
    order = np.arange(len(sums)) if ordered else np.argsort(-sums, kind="stable")
    starts, gathered = [0], 0
    for place, count in enumerate(sums[order].tolist()):
        if gathered >= needed:
            starts.append(place)
            gathered = 0
        gathered += count
    cells = np.add.reduceat(samples[:, order], starts, axis=1)
    rare = samples[:, sums < needed]
    if gathered < needed and len(starts) > 1:
        rare = np.column_stack([rare, cells[:, -1]])
        cells = np.column_stack([cells[:, :-2], cells[:, -2] + cells[:, -1]])
    return cells, rare


def _chi_square(cells: Counts) -> Comparison:
    """Compare the shares of cells that have enough values in each sample.

    The statistic is the smaller of Pearson's X2, scaled to its exact expectation (Haldane 1940), and the likelihood
    ratio G2. X2 alone has too heavy a tail if a small cell gains values, G2 if it loses them.
    """
    freedom = cells.shape[1] - 1
    if freedom == 0:
        return Comparison(0.0, 1.0)
    sizes = cells.sum(axis=1, keepdims=True)
    expected = cells.sum(axis=0) * sizes / sizes.sum()
    pearson = float(((cells - expected) ** 2 / expected).sum()) * (1 - 1 / float(sizes.sum()))
    likelihood = 2 * float((cells * np.log(np.maximum(cells, 1) / expected)).sum())
    return Comparison(_excess(cells / sizes, sizes), chi_square_tail(min(pearson, likelihood), freedom))


def _rare(cells: Counts, sizes: Counts) -> Comparison:
    """Find the rare cell that is most unlike the samples' ``sizes``, such as a category that is new.

    Of the c values of a cell, a share t is expected from one sample. That at least, or at most, a share s comes from it
    has a probability of at most exp(-c KL(s, t)), however small c is (Hoeffding 1963, theorems 1 and 4). The p-value is
    this bound times the number of cells and sides.
    """
    sums, expected = cells.sum(axis=0), (sizes / sizes.sum())[:, None]
    exponents = (cells * np.log(np.maximum(cells, 1) / (sums * expected))).sum(axis=0)
    cell = int(exponents.argmax())
    shares = cells[:, cell] / sizes
    p_value = min(1.0, cells.size * math.exp(-float(exponents[cell])))
    return Comparison(_excess(np.stack([shares, 1 - shares], axis=1), sizes[:, None]), p_value)


def _excess(shares: NDArray[np.float64], sizes: Counts) -> float:
    """The distance of two samples' shares, shape (2, cells), beyond chance."""
    p, q = shares[:, shares.any(axis=0)]
    distance, by_chance = float((2 * (p - q) ** 2 / (p + q)).sum()), (len(p) - 1) * float((1 / sizes).sum())
    return max(0.0, distance - by_chance)


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability that a chi-square variable exceeds a value that is not negative.

    A finite sum, exact up to rounding: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    half = value / 2
    if half <= 0:
        return 1.0
    powers = [power + freedom % 2 / 2 for power in range(freedom // 2)]
    terms = [math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers]
    return min(1.0, math.fsum(terms) + (math.erfc(math.sqrt(half)) if freedom % 2 else 0.0))
