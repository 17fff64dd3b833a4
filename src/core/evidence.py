"""Evidence that a new version is worse than the previous one on the same rows, valid at any time.

For each row, the advantage of the new version is a number from -1 to 1. While its mean is not negative, whatever was
seen before, the wealth of a gambler who bets on negative advantages, ``prod(1 - bet * advantage)``, is a nonnegative
supermartingale with the expectation 1, and so is the mean over several bets. The probability that it ever reaches
``1 / alpha`` is at most ``alpha``, however often it is looked at (Ville 1939). So nothing is assumed of the rows'
distribution, which may change for both versions at once. Waudby-Smith & Ramdas 2024, Estimating means of bounded random
variables by betting, JRSS B 86; Ramdas, Gruenwald, Vovk & Shafer 2023, Game-theoretic statistics and safe anytime-valid
inference, Statistical Science 38. Several criteria share ``ALPHA`` by the union bound.

The same gambler proves that the new version is not worse by a margin or more, as he bets on advantages above it:
``prod(1 + bet * (advantage + margin) / (1 - margin))``, which is nonnegative too, has the expectation 1 at most while
the mean advantage is not above ``-margin``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# The largest probability that a version that is not worse is rolled back, over a whole watch; the criteria share it.
ALPHA = 0.01
LABELS_ALPHA, ERRORS_ALPHA, LATENCY_ALPHA = 0.005, 0.0025, 0.0025
# The largest probability that a canary that is worse by its margin or more is ever taken for one that is not.
NOT_WORSE_ALPHA = 0.05
# exp of more could overflow.
MAX_LOG = 700.0
# Evidence above this is shown as such.
MOST_SHOWN = 1_000_000
# Shares of the wealth that are bet. The best one is the mean advantage divided by the mean of its square.
BETS = np.geomspace(0.02, 0.98, 24)


@dataclass(frozen=True)
class Verdict:
    """What the labelled rows say of a new version.

    Attributes:
        is_worse: whether the evidence has reached its limit, and the new version is worse by at least the least drop.
        rows: labelled rows up to that point; all of them where it was not reached.
        drop: the previous version's mean advantage over the new one on these rows: for a classification, the
            difference of their accuracies.
        e_value: the evidence there; the largest so far where the limit was not reached.
    """

    is_worse: bool
    rows: int
    drop: float
    e_value: float


def log_evidence(advantages: Floats) -> Floats:
    """The logarithm of the evidence after each row.

    Args:
        advantages: (..., n) in the order in which the labels arrived.
    """
    total = np.full(advantages.shape, -np.inf)
    for bet in BETS:
        np.logaddexp(total, np.cumsum(np.log1p(-bet * advantages), axis=-1), out=total)
    return np.asarray(total - np.log(len(BETS)))


def count_evidence(worse: int, better: int) -> float:
    """The evidence after so many advantages of -1 and of 1, in any order; at most exp(700)."""
    wealth = worse * np.log1p(BETS) + better * np.log1p(-BETS)
    return float(np.exp(np.minimum(np.logaddexp.reduce(wealth) - np.log(len(BETS)), MAX_LOG)))


def log_evidence_not_worse(advantages: Floats, margin: float) -> Floats:
    """The logarithm of the evidence after each row that the new version is not worse by ``margin`` or more.

    Args:
        advantages: (..., n) in the order in which the labels arrived.
        margin: in (0, 1), in the advantages' unit: for a classification, a difference of accuracies.
    """
    return log_evidence(-(advantages + margin) / (1 - margin))


def evidence_in_words(evidence: float, decimals: int = 0) -> str:
    """Evidence for people, such as ``20.5``; it grows without end, so above a million only that it does."""
    return f"{evidence:,.{decimals}f}" if evidence <= MOST_SHOWN else f"over {MOST_SHOWN:,}"


def evidence_not_worse(advantages: Floats, margin: float) -> float:
    """The largest of this evidence so far, at least 1.

    Reaching ``1 / alpha`` is a proof: its probability is at most ``alpha`` for a version that is worse by the margin or
    more, however often it is asked.

    Args:
        advantages: (n,).
        margin: as above.
    """
    evidence = log_evidence_not_worse(advantages, margin)
    return float(np.exp(np.minimum(evidence.max(initial=0.0), MAX_LOG)))


def judge(advantages: Floats, alpha: float, least_drop: float = 0.0) -> Verdict:
    """Decide whether the new version is worse.

    Args:
        advantages: (n,) in the order in which the labels arrived.
        alpha: the largest probability of a wrong verdict against a version that is not worse, however often it is
            asked.
        least_drop: a smaller drop is not worth a rollback, however certain it is.
    """
    if not len(advantages):
        return Verdict(is_worse=False, rows=0, drop=0.0, e_value=1.0)
    evidence = log_evidence(advantages)
    drops = -np.cumsum(advantages) / np.arange(1, len(advantages) + 1)
    reached = np.flatnonzero((evidence >= -np.log(alpha)) & (drops >= least_drop))
    last = int(reached[0]) if len(reached) else len(advantages) - 1
    largest = evidence[last] if len(reached) else evidence.max()
    return Verdict(
        is_worse=bool(len(reached)),
        rows=last + 1,
        drop=float(drops[last]) + 0.0,  # not -0.0
        e_value=float(np.exp(np.minimum(largest, MAX_LOG))),
    )
