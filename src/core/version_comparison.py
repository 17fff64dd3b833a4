"""How two versions have answered the same rows, side by side: the served one and its shadow."""

from pydantic import BaseModel, ConfigDict

from src.core.retrain_record import Scores


class VersionAnswers(BaseModel):
    """The answers of one of two versions.

    Attributes:
        means: the mean probability of each class, of the first 50 by name, or the mean ``prediction`` of a regression.
        scores: by metric, over its newest labelled rows, which may be other rows than those of the other version.
        scored: how many rows these are.
    """

    model_config = ConfigDict(frozen=True)

    means: dict[str, float] = {}
    scores: Scores = {}
    scored: int = 0


class VersionComparison(BaseModel):
    """Rows that both versions have answered, of which no label needs to be known.

    Attributes:
        rows: the number of these rows: the newest ones, at most 200,000.
        agreement: the share of them with equal predictions; None for a regression.
        mean_difference: of a regression, the mean absolute difference.
        correlation: of a regression, Pearson's; None if it is not defined, as for constant predictions.
        version: the answers of the version that the record is about.
        previous: those of the one before it.
        shifts: the means of ``version`` less those of ``previous``.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    agreement: float | None = None
    mean_difference: float | None = None
    correlation: float | None = None
    version: VersionAnswers = VersionAnswers()
    previous: VersionAnswers = VersionAnswers()
    shifts: dict[str, float] = {}
