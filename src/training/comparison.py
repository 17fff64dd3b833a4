"""What challenger, champion and the best former champion scored: the material of the gate's verdict."""

from pydantic import BaseModel, ConfigDict, FiniteFloat

from src.core.retrain_record import Scores


class _Frozen(BaseModel):
    # An interval of a single cluster has no end: infinity is written as such, not as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Difference(_Frozen):
    """The challenger's score by the gate's metric less another one's, on the same rows.

    ``low`` and ``high`` are the ends of the two-sided 95 % interval. ``bound`` is the one-sided confidence bound on the
    side where the challenger is worse: the lower one, or the upper one of a metric of which less is better. All are
    infinite where the rows are one cluster.
    """

    point: FiniteFloat
    low: float
    high: float
    bound: float


class Baseline(_Frozen):
    """The best answer that needs no features, such as ``always no``, and the difference to it (bound: 95 %)."""

    name: str
    score: FiniteFloat
    difference: Difference


class SliceScore(_Frozen):
    """Scores by the gate's metric on the rows with one value of a column of ``gate.slices``.

    ``p_value`` is that of the hypothesis that the challenger is not worse than the champion there; ``worse`` says
    whether it is rejected after Holm's correction over all slices. Scores are None where the metric is not defined.
    """

    column: str
    value: str
    rows: int
    challenger: FiniteFloat | None
    champion: FiniteFloat | None = None
    p_value: FiniteFloat | None = None
    worse: bool = False

    @property
    def difference(self) -> float | None:
        """The challenger's score less the champion's."""
        return None if self.challenger is None or self.champion is None else self.challenger - self.champion


class Comparison(_Frozen):
    """A challenger and its rivals, scored on the same holdout rows; it travels between steps as JSON.

    Attributes:
        challenger: scores by metric, in the metrics' own direction.
        lower_is_better: those of the metrics of which less is better.
        rows: how many rows were scored.
        basis: which rows those are and why, to follow the words "on n rows": "that neither was trained on".
        baseline: None where no answer without features counts.
        champion: None where there is no champion or, with ``champion_problem`` saying why, it cannot be scored.
        best: the best former champion; None where it is the champion, or cannot be scored.
        best_unscored: whether the best champion so far could not be scored on these rows, for a reason that later runs
            need not have; one that answers another question, or whose training rows are unknown, has a lasting one.
        breaking: a sentence for each change that would break the champion's callers.
        repeats: the version with the same data, settings and code that was rolled back.
        skipped: resamples of the bootstrap in which the gate's metric is not defined, of 2,000.
    """

    challenger: Scores
    lower_is_better: tuple[str, ...] = ()
    rows: int | None = None
    basis: str = ""
    baseline: Baseline | None = None
    champion: Scores | None = None
    champion_version: str | None = None
    champion_problem: str | None = None
    champion_difference: Difference | None = None
    best: Scores | None = None
    best_version: str | None = None
    best_difference: Difference | None = None
    best_unscored: bool = False
    slices: tuple[SliceScore, ...] = ()
    breaking: tuple[str, ...] = ()
    repeats: str | None = None
    skipped: int = 0

    def sign(self, metric: str) -> int:
        """1 where more is better, -1 where less is."""
        return -1 if metric in self.lower_is_better else 1
