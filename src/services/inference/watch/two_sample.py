"""The two-sample test behind drift: do two samples of one column differ by more than chance, and by how much?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cells are merged until both samples are expected to have so many values in each.
MIN_EXPECTED = 10
# Above this p-value a difference is what chance gives.
NOISE = 0.05

Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Comparison:
    """How two samples differ.

    Attributes:
        excess: by how much, beyond what chance gives; 0 where that is nothing.
        p_value: how often chance alone gives at least this difference.
    """

    excess: float
    p_value: float


def compare(first: Counts, second: Counts, *, ordered: bool) -> Comparison:
    """Compare two samples by their counts per cell.

    Rare cells are merged by the sum of both counts, never by one sample's alone. Given these sums, the test treats both
    samples alike, so values that only one of them has need no further correction: without drift, values seen once are
    as likely in either sample, which is the Good-Turing estimate of the unseen ones (Good 1953).

    The statistic is the smaller of Pearson's X2, scaled to its exact expectation (Haldane 1940), and the likelihood
    ratio G2, both against the chi-square distribution. X2 alone has too heavy a tail where a rare cell gains values, G2
    where it loses them. ``benchmarks/results/drift.md`` has the simulated rates of false alarms.

    The excess is the triangular discrimination, sum of (p - q)^2 / ((p + q) / 2), less its expectation without drift.
    It lies between 0 and 4, equals the population stability index for small differences, and is at least 4 d^2 where
    the share d of all values has moved to other cells.

    Args:
        first: (cells,) counts of one sample, at least one value in all.
        second: (cells,) counts of the other sample, at least one value in all.
        ordered: merge neighbours only, as for the bins of a number; otherwise merge cells of similar frequency, and
            equally frequent ones in the order given, which must not depend on the sample that has them.
    """
    first, second = _merge(first, second, ordered=ordered)
    freedom = len(first) - 1
    if freedom == 0:
        return Comparison(0.0, 1.0)
    total, sums = first.sum() + second.sum(), first + second
    pearson = likelihood = 0.0
    for counts in (first, second):
        expected = sums * (counts.sum() / total)
        pearson += float(((counts - expected) ** 2 / expected).sum())
        likelihood += 2 * float((counts * np.log(np.maximum(counts, 1) / expected)).sum())
    p_value = chi_square_tail(min(pearson * (1 - 1 / total), likelihood), freedom)
    p, q = first / first.sum(), second / second.sum()
    distance = float((2 * (p - q) ** 2 / (p + q)).sum())
    by_chance = float(freedom * (1 / first.sum() + 1 / second.sum()))
    return Comparison(max(0.0, distance - by_chance) if p_value < NOISE else 0.0, p_value)


def _merge(first: Counts, second: Counts, *, ordered: bool) -> tuple[Counts, Counts]:
    """Counts of cells that both samples are expected to have ``MIN_EXPECTED`` values in; one cell at least."""
    sums = first + second
    needed = MIN_EXPECTED * sums.sum() / min(first.sum(), second.sum())
    order = np.arange(len(sums)) if ordered else np.argsort(-sums, kind="stable")
    starts, gathered = [0], 0
    for place, count in enumerate(sums[order].tolist()):
        if gathered >= needed:
            starts.append(place)
            gathered = 0
        gathered += count
    if gathered < needed and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(first[order], starts), np.add.reduceat(second[order], starts)


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability that a chi-square variable exceeds a value.

    A finite sum, exact up to rounding: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.

    Args:
        value: not negative.
        freedom: degrees of freedom, at least 1.
    """
    half = value / 2
    if half <= 0:
        return 1.0
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    powers = [power + freedom % 2 / 2 for power in range(freedom // 2)]
    return min(
        1.0, tail + math.fsum(math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers)
    )
