"""The served model's versions that have passed the gate, and their watches, for clients and the page."""

from dataclasses import dataclass
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from src.core.canary_config import CanaryConfig
from src.core.errors import SpoolUnavailableError
from src.core.retrain_record import Scores
from src.core.rollout_record import ANY, WAITING, Decision, PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.core.version_comparison import VersionComparison
from src.serving.watch.shadow import Shadow


class Promotion(BaseModel):
    """A version that has passed the gate, and its watch; what its end says is null until then."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    id: str = Field(description="For POST /rollouts/{rollout_id}/approve and …/reject")
    version: str = Field(description="The version that has passed the gate")
    previous: str = Field(description="The champion before it, with which it was compared")
    state: RolloutState
    started: AwareDatetime = Field(description="When it was promoted; until then, when it passed the gate")
    until: AwareDatetime = Field(
        description="When the watch ends at the latest; before an approval, started and the duration of its watch"
    )
    automatic: bool = Field(description="Whether it may be rolled back without a person")
    ended: AwareDatetime | None
    by: str | None = Field(description="Who or what ended the watch, or aborted the version")
    reason: str | None
    minimum_rows: int = Field(description="Logged rows that it has to answer as a shadow before a promotion; 0: none")
    approval: Literal["automatic", "manual"] = Field(description="Who decides after them; before, a person may")
    shadowed: int = Field(description="Rows that it has answered as a shadow before a promotion")
    shadow_problem: str | None = Field(description="Why its rows cannot decide, so that a person has to")
    comparison: VersionComparison | None = Field(description="How it and the previous version answer the same rows")
    verdict: str | None = Field(description="The gate's reason, if the version was not promoted at once")
    challenger: Scores = Field(description="The version's scores on the holdout, if it was not promoted at once")
    champion: Scores = Field(description="Those of the champion before it, on the same rows")
    canary: CanaryConfig | None = Field(description="How it answers a share of the requests before a promotion, if so")
    canary_started: AwareDatetime | None = Field(description="Since when it does so, or did so")
    canary_until: AwareDatetime | None = Field(None, description="When the canary ends at the latest")
    answered: int = Field(description="Rows that it has answered as a canary")
    decision: Decision | None = Field(description="The decision to promote or to abort it")
    decided_by: str | None = Field(description="Who decided, or started the canary, as far as known")
    decision_reason: str | None
    requested: bool = Field(description="Whether the rollback was requested automatically")
    rows: int = Field(description="Labelled rows on which both versions were compared")
    drop: float = Field(description="By how much the promoted version is worse on them; below 0 it is better")
    e_value: float = Field(description="Evidence that it is worse; 200 is a proof")
    is_worse: bool = Field(description="Whether it is proved to be worse")
    e_not_worse: float = Field(description="Evidence that a canary is not worse by max_drop or more; 20 is a proof")
    is_not_worse: bool = Field(description="Whether that is proved")
    max_slowdown: float | None = Field(description="How many times as long a prediction may take as before")
    errors: PairCount = Field(description="Rows on which only this version (worse) or the one before it fails")
    latency: PairCount = Field(description="Timed predictions: too slow (worse) or not")
    finding: str | None = Field(description="What errors or latency prove")
    shadow: bool = Field(description="Whether it, or after a promotion the one before it, answers as a shadow now")


@dataclass(frozen=True)
class Promotions:
    """The records of one model, with what this process does about them.

    Attributes:
        rollouts: the records.
        model: the registered model's name.
        shadow: of a version without a canary; None without a prediction log.
        canary: that of a canary on the champion's rows, likewise.
    """

    rollouts: Rollouts
    model: str
    shadow: Shadow | None
    canary: Shadow | None

    def recent(self, limit: int, among: frozenset[RolloutState] = ANY) -> list[Promotion]:
        """The newest records, newest first. Raises SpoolUnavailableError if they cannot be read."""
        try:
            found = self.rollouts.recent(self.model, limit, among)
        except OSError as error:
            raise SpoolUnavailableError(
                f"the records of promotions cannot be read ({error.strerror}); check the shared volume"
            ) from error
        return [self.shown(rollout) for rollout in found]

    def shown(self, rollout: Rollout) -> Promotion:
        """A record, with what this process does about it."""
        found = rollout.model_dump(include=set(Promotion.model_fields))
        return Promotion(**found, canary_until=rollout.canary_until, shadow=self._is_shadowed(rollout))

    def _is_shadowed(self, rollout: Rollout) -> bool:
        answers = dict.fromkeys(WAITING, rollout.version) | {RolloutState.WATCHING: rollout.previous}
        shadow = self.canary if rollout.state is RolloutState.CANARY else self.shadow
        return shadow is not None and shadow.version is not None and shadow.version == answers.get(rollout.state)
