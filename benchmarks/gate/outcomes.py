"""The results of the gate's measure, and whether the gate keeps its promises."""

from collections.abc import Iterable, Sequence

import msgspec

from benchmarks.gate.pairs import Case, Pair
from benchmarks.gate.tables import Kind
from benchmarks.machine import Machine

OURS, OLD = "this gate", "the old gate"
# The largest share of wrong verdicts in each direction.
MOST_WRONG = 0.05
COVERAGE = (0.92, 0.98)


class Verdicts(msgspec.Struct, frozen=True):
    """Verdicts of one gate on one kind of table.

    Attributes:
        worse: pairs whose challenger is truly worse; ``promoted`` of them were promoted.
        better: pairs whose challenger is truly better; ``rejected`` of them were rejected.
        seen: scored rows that a model of the pair was trained on.
        attempts: pairs that were created until the true difference was large enough.
        nearest: the smallest absolute true difference.
    """

    gate: str
    kind: Kind
    rows: tuple[int, int]
    worse: int
    promoted: int
    better: int
    rejected: int
    seen: int
    attempts: int
    nearest: float

    @property
    def holds(self) -> bool:
        """Whether few enough verdicts are wrong in both directions."""
        return self.promoted <= MOST_WRONG * self.worse and self.rejected <= MOST_WRONG * self.better


class Ties(msgspec.Struct, frozen=True):
    """Near ties of one kind of table: how often the 95 % interval covers the true difference, and its mean width."""

    kind: Kind
    rows: tuple[int, int]
    pairs: int
    covered: int
    width: float


class Results(msgspec.Struct, frozen=True):
    """The results of a run."""

    machine: Machine
    commit: str
    command: str
    seconds: float
    verdicts: list[Verdicts]
    ties: list[Ties]

    @property
    def coverage(self) -> float:
        """The share of near ties whose interval covers the true difference."""
        return sum(ties.covered for ties in self.ties) / sum(ties.pairs for ties in self.ties)

    def broken(self) -> list[str]:
        """The promises that do not hold."""
        ours = [found for found in self.verdicts if found.gate == OURS]
        broken = [f"{named(found)}: too many wrong verdicts" for found in ours if not found.holds]
        broken += [f"{named(found)}: {found.seen} scored rows were trained on" for found in ours if found.seen]
        others = {found.gate for found in self.verdicts} - {OURS}
        for gate in sorted(others):
            if total(found for found in self.verdicts if found.gate == gate).holds:
                broken.append(f"{gate} passes, too: the test is too easy")
        if not COVERAGE[0] <= self.coverage <= COVERAGE[1]:
            broken.append(f"{self.coverage:.1%} of the intervals cover the true difference")
        return broken


def verdicts_of(gate: str, pairs: Sequence[tuple[Case, Pair]]) -> Verdicts:
    """One gate's verdicts on pairs of one kind of table."""
    case = pairs[0][0]
    worse = [pair for case, pair in pairs if case.direction == "worse"]
    better = [pair for case, pair in pairs if case.direction == "better"]
    return Verdicts(
        gate=gate,
        kind=case.kind,
        rows=case.rows,
        worse=len(worse),
        promoted=sum(pair.promoted for pair in worse),
        better=len(better),
        rejected=sum(not pair.promoted for pair in better),
        seen=sum(pair.seen for _, pair in pairs),
        attempts=sum(pair.attempts for _, pair in pairs),
        nearest=min(abs(pair.truth) for _, pair in pairs),
    )


def always(found: Verdicts, *, promote: bool) -> Verdicts:
    """The verdicts of a gate that ignores the scores."""
    gate = "always promote" if promote else "never promote"
    promoted, rejected = (found.worse, 0) if promote else (0, found.better)
    return msgspec.structs.replace(found, gate=gate, promoted=promoted, rejected=rejected, seen=0)


def ties_of(pairs: Sequence[tuple[Case, Pair]]) -> Ties:
    """The coverage of the true differences of near ties."""
    case = pairs[0][0]
    intervals = [
        (pair.truth, pair.comparison.champion_difference)
        for _, pair in pairs
        if pair.comparison is not None and pair.comparison.champion_difference is not None
    ]
    covered = sum(found.low <= truth <= found.high for truth, found in intervals)
    width = sum(found.high - found.low for _, found in intervals) / len(pairs)
    return Ties(case.kind, case.rows, len(pairs), covered, width)


def total(verdicts: Iterable[Verdicts]) -> Verdicts:
    """The sum of one gate's verdicts; kind and rows are those of the first."""
    every = list(verdicts)
    counts = ("worse", "promoted", "better", "rejected", "seen", "attempts")
    sums = {name: sum(getattr(found, name) for found in every) for name in counts}
    return msgspec.structs.replace(every[0], **sums, nearest=min(found.nearest for found in every))


def named(found: Verdicts | Ties) -> str:
    """The name of the table."""
    return f"{found.kind}, {found.rows[0]:,} → {found.rows[1]:,} rows"
