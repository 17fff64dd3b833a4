"""How a served version and its shadow have answered the same rows, whether or not these have a label."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.core.prediction_log import Role
from src.core.quality_report import NEWEST, VersionQuality
from src.core.rollout_record import WAITING, Rollout
from src.core.version_comparison import VersionAnswers, VersionComparison

# The most classes whose probabilities are compared.
MAX_CLASSES = 50
# The name of the mean of a regression.
PREDICTION = "prediction"
# Of the newest rows that both have answered: how many, the share of equal predictions, and of those that are numbers
# the mean absolute difference, the correlation, and both means; then both means for each class. Of numbers of 1e100 and
# more, the squares could overflow.
_QUERY = """
WITH shadow AS (
    SELECT request_id, time, {shadow} FROM log
    WHERE version = $shadow AND role = 'shadow' AND time >= $start ORDER BY time DESC LIMIT $limit
), served AS (
    SELECT request_id, time, {served} FROM log WHERE version = $served AND role = 'champion' AND time >= $start
), paired AS (
    SELECT *, TRY_CAST(shadow_prediction AS DOUBLE) AS a, TRY_CAST(served_prediction AS DOUBLE) AS b
    FROM shadow JOIN served USING (request_id, time)
)
SELECT count(*), avg((shadow_prediction = served_prediction)::INT), avg(abs(a - b)) {usable}, corr(a, b) {usable},
    avg(a) {usable}, avg(b) {usable} {means}
FROM paired
"""
_USABLE = "FILTER (abs(a) < 1e100 AND abs(b) < 1e100)"


def roles_of(rollout: Rollout) -> tuple[Role, Role]:
    """The roles of the version and of the previous one: before a promotion, the version is the shadow.

    So is a canary, on the rows that the champion answers.
    """
    return (Role.SHADOW, Role.CHAMPION) if rollout.state in WAITING else (Role.CHAMPION, Role.SHADOW)


@dataclass(frozen=True)
class AnswersQuery:
    """The query for a comparison, and what its one row means.

    Attributes:
        shares: the names of the log's columns of probabilities, by class.
        by_class: whether predictions are classes, or numbers.
    """

    shares: Mapping[str, str]
    by_class: bool

    @property
    def classes(self) -> list[str]:
        """The classes that are compared."""
        return sorted(self.shares)[:MAX_CLASSES] if self.by_class else []

    def text(self) -> str:
        """The query, with the parameters ``shadow``, ``served``, ``start`` and ``limit``."""
        columns = ["prediction", *(self.shares[name] for name in self.classes)]
        shadow, served = (", ".join(f"{name} AS {role}_{name}" for name in columns) for role in ("shadow", "served"))
        means = "".join(f", avg(shadow_{name}), avg(served_{name})" for name in columns[1:])
        return _QUERY.format(shadow=shadow, served=served, usable=_USABLE, means=means)

    def comparison(self, found: Sequence[Any], rollout: Rollout, scored: Iterable[VersionQuality]) -> VersionComparison:
        """The comparison of a record's versions.

        Args:
            found: the row that the query has found.
            rollout: the record.
            scored: the versions of the report, of which the scores over the newest labels are taken.
        """
        rows, agreement, difference, correlation, *means = map(_finite, found)
        names = self.classes if self.by_class else [PREDICTION]
        means = means[2:] if self.by_class else means[:2]
        by_role = {Role.SHADOW: means[::2], Role.CHAMPION: means[1::2]}
        new, previous = (
            {name: mean for name, mean in zip(names, by_role[role], strict=True) if mean is not None}
            for role in roles_of(rollout)
        )
        return VersionComparison(
            rows=int(rows or 0),
            agreement=agreement if self.by_class else None,
            mean_difference=None if self.by_class else difference,
            correlation=None if self.by_class else correlation,
            version=_answers(new, rollout.version, roles_of(rollout)[0], scored),
            previous=_answers(previous, rollout.previous, roles_of(rollout)[1], scored),
            shifts={name: mean - previous[name] for name, mean in new.items() if name in previous},
        )


def _answers(means: dict[str, float], version: str, role: Role, scored: Iterable[VersionQuality]) -> VersionAnswers:
    windows = [window for one in scored if (one.version, one.role) == (version, role) for window in one.windows]
    for window in windows:
        if window.name == NEWEST:
            scores = {name: score.value for name, score in window.scores.items()}
            return VersionAnswers(means=means, scores=scores, scored=window.scored)
    return VersionAnswers(means=means)


def _finite(value: Any) -> float | None:
    """A number; None if the query has found none, or a correlation that is not defined."""
    return None if value is None or not math.isfinite(value) else float(value)
