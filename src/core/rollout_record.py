"""What happens to a version that has passed the gate: one record for each, on the shared volume.

With ``rollout.minimum_rows``, it first answers logged rows beside the champion, as a shadow; with ``gate.approval:
manual``, it waits for a person; with ``rollout.canary``, it then answers a share of the requests. It ends up promoted
or aborted. While a promotion is watched, the previous champion answers the logged rows too, as a shadow. The watch ends
with the version kept or rolled back. Only a promotion begins a watch, and a watch ends once. A model's waiting version
is always its newest record.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from src.core.audit_log import Entry, Event
from src.core.canary_config import CanaryConfig
from src.core.retrain_record import Reason, Scores, new_id
from src.core.version_comparison import VersionComparison

MAX_TEXT = 500


class RolloutState(StrEnum):
    """The state of a version that has passed the gate."""

    AWAITING_APPROVAL = "awaiting_approval"
    CANARY = "canary"
    WATCHING = "watching"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


# The states of a promotion.
PROMOTED = frozenset({RolloutState.WATCHING, RolloutState.KEPT, RolloutState.ROLLED_BACK})
# The states of a version that may be promoted.
WAITING = frozenset({RolloutState.AWAITING_APPROVAL, RolloutState.CANARY})
ANY = frozenset(RolloutState)
# What is found of a version in its role, and starts anew in another one.
_BY_LABELS = ("rows", "drop", "e_value", "is_worse", "e_not_worse", "is_not_worse")
FOUND = (*_BY_LABELS, "comparison", "errors", "latency", "finding")


class Decision(StrEnum):
    """What a person, or the quality service, has decided about a waiting version."""

    APPROVED = "approved"
    REJECTED = "rejected"


class PairCount(BaseModel):
    """Of pairs of attempts by both versions, those in which the promoted one alone, or the previous one, was worse."""

    model_config = ConfigDict(frozen=True)

    worse: int = 0
    better: int = 0

    def __add__(self, other: "PairCount") -> "PairCount":
        return PairCount(worse=self.worse + other.worse, better=self.better + other.better)


class Rollout(BaseModel):
    """One version that has passed the gate.

    Attributes:
        id: unique; ids sort in the order in which records begin.
        model: the registered model's name.
        version: the version.
        previous: the champion before it, with which it was compared.
        started: when it was promoted; until then, when it passed the gate.
        until: when the watch ends at the latest; before an approval, ``started`` and the duration of the watch.
        automatic: whether it may be rolled back without a person.
        max_slowdown: how many times as long as the previous version's a prediction may take; None: not compared.
        ended: when the watch ended, or when the version was aborted.
        by: who or what ended it: ``quality service``, ``promotion of version 4``, or a client.
        reason: why, in a sentence.
        minimum_rows: how many logged rows it has to answer as a shadow before a promotion; 0: none.
        approval: who decides after these rows; before them, a person may.
        shadowed: rows that it has answered as a shadow before a promotion.
        shadow_problem: why these rows, or those of a canary, cannot decide, in a sentence: a person has to.
        canary: how it answers a share of the requests before a promotion; None: it does not.
        canary_started: since when it does so; None before, as while the promotion before it is watched.
        answered: rows that it has answered so, by all replicas.
        comparison: its answers beside those of ``previous``, while one of them is a shadow.
        verdict: the gate's reason, of a version that was not promoted at once.
        challenger: its scores in that comparison.
        champion: those of ``previous``, on the same rows.
        best: where the alias ``best`` points once it is approved; None if it does not move.
        decision: to promote or to abort it; it is recorded before it is carried out, to be completed.
        decided_by: who has decided, or started the canary, as far as known.
        decision_reason: why.
        requested: whether the rollback was requested automatically, rather than by a person.
        rows: labelled rows on which both versions were compared.
        drop: the previous version's mean advantage on them, as in ``src.core.evidence``.
        e_value: the evidence that the promoted version is worse.
        is_worse: whether that evidence is a proof.
        e_not_worse: of a canary, the evidence that it is not worse by ``canary.max_drop`` or more.
        is_not_worse: whether that evidence is a proof. What was found is reset when the roles change.
        errors: rows on which only one version fails, of all replicas.
        latency: predictions by whether the promoted version is slower than ``max_slowdown`` allows, of all replicas.
        finding: what these two prove of the promoted version, in a sentence.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=new_id)
    model: str
    version: str
    previous: str
    state: RolloutState = RolloutState.WATCHING
    started: AwareDatetime
    until: AwareDatetime
    automatic: bool = True
    max_slowdown: float | None = None
    ended: AwareDatetime | None = None
    by: str | None = Field(None, max_length=MAX_TEXT)
    reason: str | None = Field(None, max_length=MAX_TEXT)
    minimum_rows: int = 0
    approval: Literal["automatic", "manual"] = "manual"
    shadowed: int = 0
    shadow_problem: str | None = Field(None, max_length=MAX_TEXT)
    canary: CanaryConfig | None = None
    canary_started: AwareDatetime | None = None
    answered: int = 0
    comparison: VersionComparison | None = None
    verdict: Reason | None = None
    challenger: Scores = {}
    champion: Scores = {}
    best: str | None = None
    decision: Decision | None = None
    decided_by: str | None = Field(None, max_length=MAX_TEXT)
    decision_reason: str | None = Field(None, max_length=MAX_TEXT)
    requested: bool = False
    rows: int = 0
    drop: float = 0.0
    e_value: float = 1.0
    is_worse: bool = False
    e_not_worse: float = 1.0
    is_not_worse: bool = False
    errors: PairCount = PairCount()
    latency: PairCount = PairCount()
    finding: str | None = Field(None, max_length=MAX_TEXT)

    @property
    def is_shadowed(self) -> bool:
        """Whether it waits, and answers rows as a shadow, also beyond ``minimum_rows`` until a person decides."""
        is_undecided = self.state is RolloutState.AWAITING_APPROVAL and self.decision is None
        return is_undecided and self.minimum_rows > 0 and self.shadow_problem is None

    @property
    def is_canary(self) -> bool:
        """Whether it answers a share of the requests, until ``canary_until`` at the latest."""
        is_undecided = self.state is RolloutState.CANARY and self.decision is None
        return is_undecided and self.canary_started is not None and self.shadow_problem is None

    @property
    def needs_person(self) -> bool:
        """Whether it waits until a person decides; a canary does so only if its rows cannot decide."""
        is_stuck = self.state is RolloutState.CANARY and (self.shadow_problem or self.decision) is not None
        return self.state is RolloutState.AWAITING_APPROVAL or is_stuck

    @property
    def judged_since(self) -> datetime:
        """Since when its rows and labels count."""
        started = self.canary_started if self.state is RolloutState.CANARY else None
        return started or self.started

    @property
    def canary_until(self) -> datetime | None:
        """When the canary ends at the latest, once it has started."""
        if self.canary is None or self.canary_started is None:
            return None
        return self.canary_started + timedelta(hours=self.canary.hours)

    @property
    def has_its_rows(self) -> bool:
        """Whether it has answered ``minimum_rows``."""
        return self.minimum_rows > 0 and self.shadowed >= self.minimum_rows

    def ended_as(self, state: RolloutState, now: datetime, by: str, reason: str) -> "Rollout":
        """The record at its end."""
        return self.model_copy(update={"state": state, "ended": now, "by": by[:MAX_TEXT], "reason": reason[:MAX_TEXT]})

    def promoted(self, now: datetime) -> "Rollout":
        """The record of a waiting version's promotion; the evidence is collected anew, as the roles have changed."""
        changed = {"state": RolloutState.WATCHING, "started": now, "until": now + (self.until - self.started)}
        return self.model_copy(update=changed | _nothing_found())

    def as_canary(self, by: str, reason: str) -> "Rollout":
        """The record of a version that may answer requests from now on; the evidence is collected anew."""
        why = {"decided_by": by[:MAX_TEXT], "decision_reason": reason[:MAX_TEXT]}
        return self.model_copy(update={"state": RolloutState.CANARY, "shadow_problem": None} | why | _nothing_found())

    def entry_of_approval(self) -> Entry:
        """The audit entry of the approval of a version that is promoted now."""
        return self._entry(Event.APPROVED, self.started, self.decided_by, self.decision_reason)

    def entry_of_canary(self, at: datetime) -> Entry:
        """The audit entry of a version that becomes a canary, by an approval or by the gate."""
        return self._entry(Event.CANARY_STARTED, at, self.decided_by or "gate", self.decision_reason or self.verdict)

    def entry_of_end(self, ended: datetime) -> Entry:
        """The audit entry of the end of the watch, or of the waiting."""
        event = Event.WATCH_ENDED
        if self.state is RolloutState.ABORTED:
            event = Event.APPROVAL_REFUSED if self.decision is Decision.REJECTED else Event.ABORTED
        return self._entry(event, ended, self.by, self.reason, self.state)

    def _entry(
        self, event: Event, at: datetime, by: str | None, reason: str | None, outcome: str | None = None
    ) -> Entry:
        return Entry(
            id=f"{event}:{self.id}",
            at=at,
            event=event,
            model=self.model,
            version=self.version,
            previous=self.previous,
            outcome=outcome,
            by=by,
            reason=reason,
            rollout_id=self.id,
        )


def _nothing_found() -> dict[str, Any]:
    """The fields of the evidence, as at the start."""
    return {name: Rollout.model_fields[name].default for name in FOUND}
