"""The scores of challenger, champion and the best former champion, on which the gate's verdict is based."""

from pydantic import BaseModel, ConfigDict, FiniteFloat

from src.core.retrain_record import Scores


class _Frozen(BaseModel):
    # The interval of a single cluster is infinite: written as Infinity, not as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Difference(_Frozen):
    """The difference of the challenger's score by the gate's metric to another model's, on the same rows.

    ``low`` and ``high`` are the limits of the two-sided 95 % interval. ``bound`` is the one-sided confidence bound on
    the side where the challenger is worse: the lower one, or the upper one where lower is better. All are infinite
    where the rows are one cluster.
    """

    point: FiniteFloat
    low: float
    high: float
    bound: float


class Baseline(_Frozen):
    """The best prediction without features, such as ``always 'no'``, and the difference to it (bound: 95 %)."""

    name: str
    score: FiniteFloat
    difference: Difference


class SliceScore(_Frozen):
    """Scores by the gate's metric on the rows with one value of a column of ``gate.slices``.

    ``p_value`` belongs to the hypothesis that the challenger is not worse than the champion on these rows; ``worse``
    says whether it is rejected after Holm's correction over all slices. Scores are None where the metric is undefined.
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
        """The challenger's score minus the champion's."""
        return None if self.challenger is None or self.champion is None else self.challenger - self.champion


class Comparison(_Frozen):
    """A challenger and its rivals, scored on the same holdout rows; serialised as JSON between steps.

    Attributes:
        challenger: scores by metric, each in its own direction.
        lower_is_better: the metrics where lower is better.
        rows: the number of rows that were scored.
        live_days: where these are labelled live rows only, how many days ago they were predicted at most; None where
            they are rows of all kinds.
        basis: which rows these are, to follow the words "on n rows": "that neither was trained on".
        baseline: None where all baselines are ignored or undefined.
        baselines_undefined: whether the gate's metric is undefined for every baseline.
        champion: None where there is no champion, or it cannot be scored for the reason in ``champion_problem``.
        champion_of_other_code: whether that reason is that its classes are of another ``src/pipeline``.
        best: the best former champion; None where it is the champion, or cannot be scored.
        best_unscored: whether the best champion so far could not be scored for a temporary reason. Other classes or
            columns, and unknown training rows, are permanent reasons.
        breaking: a sentence for each change that would break the champion's callers.
        repeats: a version with the same data, settings and code that was rolled back.
        skipped: how many of the bootstrap's 2,000 resamples leave the gate's metric undefined.
    """

    challenger: Scores
    lower_is_better: tuple[str, ...] = ()
    rows: int | None = None
    live_days: FiniteFloat | None = None
    basis: str = ""
    baseline: Baseline | None = None
    baselines_undefined: bool = False
    champion: Scores | None = None
    champion_version: str | None = None
    champion_problem: str | None = None
    champion_of_other_code: bool = False
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
        """1 where higher is better, -1 where lower is."""
        return -1 if metric in self.lower_is_better else 1
