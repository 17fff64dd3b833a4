"""What happens to a version that has passed the gate: one record for each, on the shared volume.

With ``rollout.minimum_rows``, it first answers logged rows beside the champion, as a shadow; with ``gate.approval:
manual``, it waits for a person. Either way it is then promoted or aborted. While a promotion is watched,
the previous champion answers the logged rows too, as a shadow. The watch ends with the version kept or rolled back.
Only a promotion begins a watch, and a watch ends once. A model's waiting version is always its newest record.
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from src.core.audit_log import AuditLog, Entry, Event
from src.core.durable_file import replace_durably
from src.core.file_lock import locked_file
from src.core.folders import make_folder
from src.core.retrain_record import ID_PATTERN, Reason, Scores, new_id
from src.core.version_comparison import VersionComparison

LOCK_FILE = "rollouts.lock"
MAX_TEXT = 500


class RolloutState(StrEnum):
    """The state of a version that has passed the gate."""

    AWAITING_APPROVAL = "awaiting_approval"
    WATCHING = "watching"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


# The states of a promotion.
PROMOTED = frozenset({RolloutState.WATCHING, RolloutState.KEPT, RolloutState.ROLLED_BACK})
ANY = frozenset(RolloutState)


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
        id: unique; ids sort by time.
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
        shadow_problem: why these rows cannot decide, in a sentence: a person has to.
        comparison: its answers beside those of ``previous``, while one of them is a shadow.
        verdict: the gate's reason, of a version that was not promoted at once.
        challenger: its scores in that comparison.
        champion: those of ``previous``, on the same rows.
        best: where the alias ``best`` points once it is approved; None if it does not move.
        decision: a person's, or the quality service's; it is recorded before it is carried out, to be completed.
        decided_by: who has decided, as far as known.
        decision_reason: why.
        requested: whether the rollback was requested automatically, rather than by a person.
        rows: labelled rows on which both versions were compared.
        drop: the previous version's mean advantage on them, as in ``src.core.evidence``.
        e_value: the evidence that the promoted version is worse.
        is_worse: whether that evidence is a proof. An approval resets these four and ``comparison``.
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
    errors: PairCount = PairCount()
    latency: PairCount = PairCount()
    finding: str | None = Field(None, max_length=MAX_TEXT)

    @property
    def is_shadowed(self) -> bool:
        """Whether it waits, and answers rows as a shadow, also beyond ``minimum_rows`` until a person decides."""
        is_undecided = self.state is RolloutState.AWAITING_APPROVAL and self.decision is None
        return is_undecided and self.minimum_rows > 0 and self.shadow_problem is None

    @property
    def has_its_rows(self) -> bool:
        """Whether it has answered ``minimum_rows``."""
        return self.minimum_rows > 0 and self.shadowed >= self.minimum_rows


class Rollouts:
    """The records of all models in one folder. Methods raise OSError, or SpoolFullError, if it cannot be used.

    Args:
        folder: the folder.
        audit: where approvals, and ends of watches and of waiting, are recorded; None if this process records none.
    """

    def __init__(self, folder: Path, audit: AuditLog | None = None) -> None:
        self._folder = folder
        self._audit = audit

    def begin(self, rollout: Rollout) -> None:
        """Record a promotion or a version that awaits approval; it replaces a version that waits.

        A promotion also ends the watch before it: that version is kept.
        """
        make_folder(self._folder)
        with locked_file(self._folder / LOCK_FILE):
            waiting, now = self.waiting(rollout.model), rollout.started
            if waiting is not None and waiting.version == rollout.previous:
                self._promote(_approved(waiting, now))  # its approval was interrupted after it had become champion
            elif waiting is not None:
                is_promotion = rollout.state is RolloutState.WATCHING
                reason = "a later version was promoted" if is_promotion else "a later version passed the gate"
                by = f"training of version {rollout.version}"
                self._write(_ended(waiting, RolloutState.ABORTED, now, by, reason))
            if rollout.state is RolloutState.WATCHING:
                self._promote(rollout)
            else:
                self._write(rollout)

    def decide(self, rollout_id: str, decision: Decision, *, by: str, reason: str) -> bool:
        """Record a decision about a waiting version; False if none waits or there is a decision."""
        found = {"decision": decision, "decided_by": by[:MAX_TEXT], "decision_reason": reason[:MAX_TEXT]}

        def change(stored: Rollout) -> Rollout:
            return stored.model_copy(update=found if stored.decision is None else {})

        return self._change(rollout_id, RolloutState.AWAITING_APPROVAL, change) is not None

    def approve(self, rollout_id: str, now: datetime) -> bool:
        """Record that a waiting version was promoted; False if it does not wait."""
        with locked_file(self._folder / LOCK_FILE):
            stored = self.get(rollout_id)
            if stored is None or stored.state is not RolloutState.AWAITING_APPROVAL:
                return False
            self._promote(_approved(stored, now))
        return True

    def note(self, rollout_id: str, *, rows: int, drop: float, e_value: float, is_worse: bool) -> bool:
        """Record the evidence of a watch so far; False if it has ended."""
        found = {"rows": rows, "drop": drop, "e_value": e_value, "is_worse": is_worse}
        return self._update(rollout_id, found) is not None

    def note_waiting(self, rollout: Rollout, *, rows: int, drop: float, e_value: float, is_worse: bool) -> bool:
        """Record ``shadowed`` of a waiting version, as given, and the evidence so far; False if it does not wait."""
        found = {"shadowed": rollout.shadowed, "rows": rows, "drop": drop, "e_value": e_value, "is_worse": is_worse}
        return self._update(rollout.id, found, RolloutState.AWAITING_APPROVAL) is not None

    def hinder(self, rollout_id: str, problem: str) -> bool:
        """Record why a waiting version's rows as a shadow cannot decide; the first reason stays. False as above."""

        def change(stored: Rollout) -> Rollout:
            return stored if stored.shadow_problem else stored.model_copy(update={"shadow_problem": problem[:MAX_TEXT]})

        return self._change(rollout_id, RolloutState.AWAITING_APPROVAL, change) is not None

    def compare(self, rollout: Rollout, comparison: VersionComparison) -> bool:
        """Record how both versions have answered; False if the state is no longer the given one."""
        return self._update(rollout.id, {"comparison": comparison}, rollout.state) is not None

    def count(self, rollout_id: str, errors: PairCount, latency: PairCount) -> Rollout | None:
        """Add what a replica has counted, and return the sums; None if the watch has ended."""

        def added(stored: Rollout) -> Rollout:
            return stored.model_copy(update={"errors": stored.errors + errors, "latency": stored.latency + latency})

        return self._change(rollout_id, RolloutState.WATCHING, added)

    def find(self, rollout_id: str, finding: str) -> bool:
        """Record what errors or latency prove; False if the watch has ended."""
        return self._update(rollout_id, {"finding": finding[:MAX_TEXT]}) is not None

    def request(self, rollout_id: str) -> bool:
        """Record that a rollback is requested without a person; False if the watch has ended."""
        return self._update(rollout_id, {"requested": True}) is not None

    def obstacle(self, rollout: Rollout) -> str | None:
        """Why a promotion is not rolled back without a person, whatever is proved; None if it may be."""
        if not rollout.automatic:
            return "rollout.automatic_rollback is off"
        before = self.recent(rollout.model, 2, PROMOTED)[1:]
        if any(one.state is RolloutState.ROLLED_BACK and one.requested for one in before):
            return "the promotion before was rolled back automatically, which never happens twice in a row"
        return None

    def end(self, rollout_id: str, state: RolloutState, *, now: datetime, by: str, reason: str) -> bool:
        """End a watch, or abort a waiting version; False if it has ended already."""
        aborts = state is RolloutState.ABORTED
        required = RolloutState.AWAITING_APPROVAL if aborts else RolloutState.WATCHING
        return self._change(rollout_id, required, lambda stored: _ended(stored, state, now, by, reason)) is not None

    def get(self, rollout_id: str) -> Rollout | None:
        """A record; None if there is none, or it is damaged. Any string is a safe argument."""
        return self._read(rollout_id) if ID_PATTERN.fullmatch(rollout_id) else None

    def watched(self, model: str) -> Rollout | None:
        """The promotion of a model that is being watched."""
        return next(iter(self._watched(model)), None)

    def waiting(self, model: str) -> Rollout | None:
        """The version of a model that awaits approval."""
        newest = self.recent(model, 1)
        return newest[0] if newest and newest[0].state is RolloutState.AWAITING_APPROVAL else None

    def recent(self, model: str, limit: int, among: frozenset[RolloutState] = ANY) -> list[Rollout]:
        """A model's newest records in these states, newest first."""
        found: list[Rollout] = []
        for rollout_id in self._ids():
            rollout = self._read(rollout_id)
            if rollout is not None and rollout.model == model and rollout.state in among:
                found.append(rollout)
            if len(found) == limit:
                break
        return found

    def _update(
        self, rollout_id: str, values: dict[str, Any], required: RolloutState = RolloutState.WATCHING
    ) -> Rollout | None:
        return self._change(rollout_id, required, lambda stored: stored.model_copy(update=values))

    def _change(self, rollout_id: str, required: RolloutState, change: Callable[[Rollout], Rollout]) -> Rollout | None:
        """Change a record that is in this state."""
        with locked_file(self._folder / LOCK_FILE):
            stored = self._read(rollout_id)
            if stored is None or stored.state is not required:
                return None
            changed = change(stored)
            if changed != stored:
                self._write(changed)
        return changed

    def _promote(self, rollout: Rollout) -> None:
        """Write the record of a promotion and end the watch before it."""
        if self._audit is not None and rollout.decision is Decision.APPROVED:
            self._audit.append(_entry(rollout, Event.APPROVED, rollout.started))
        for other in self._watched(rollout.model):
            by = f"promotion of version {rollout.version}"
            self._write(_ended(other, RolloutState.KEPT, rollout.started, by, "a later version was promoted"))
        if rollout.until == rollout.started:
            reason = "promotions are not watched"
            rollout = _ended(rollout, RolloutState.KEPT, rollout.started, "rollout.watch_hours: 0", reason)
        self._write(rollout)

    def _watched(self, model: str) -> list[Rollout]:
        newest = self.recent(model, 2, PROMOTED)
        return [rollout for rollout in newest if rollout.state is RolloutState.WATCHING]

    def _ids(self) -> list[str]:
        """All ids, newest first; none before the first promotion, which creates the folder."""
        try:  # not with glob, for which a folder that cannot be read is empty
            ids = [path.stem for path in self._folder.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        return sorted(filter(ID_PATTERN.fullmatch, ids), reverse=True)

    def _read(self, rollout_id: str) -> Rollout | None:
        """A record; None if there is none, or it is damaged."""
        try:
            return Rollout.model_validate_json((self._folder / f"{rollout_id}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _write(self, rollout: Rollout) -> None:
        replace_durably(self._folder / f"{rollout.id}.json", rollout.model_dump_json().encode())
        if self._audit is not None and rollout.ended is not None:
            self._audit.append(_entry(rollout, _event_of_end(rollout), rollout.ended))


def _entry(rollout: Rollout, event: Event, at: datetime) -> Entry:
    """The entry of an approval, or of the end of a watch or of a version that awaited approval."""
    is_approval = event is Event.APPROVED
    return Entry(
        id=f"{event}:{rollout.id}",
        at=at,
        event=event,
        model=rollout.model,
        version=rollout.version,
        previous=rollout.previous,
        outcome=None if is_approval else rollout.state,
        by=rollout.decided_by if is_approval else rollout.by,
        reason=rollout.decision_reason if is_approval else rollout.reason,
        rollout_id=rollout.id,
    )


def _event_of_end(rollout: Rollout) -> Event:
    if rollout.state is not RolloutState.ABORTED:
        return Event.WATCH_ENDED
    return Event.APPROVAL_REFUSED if rollout.decision is Decision.REJECTED else Event.ABORTED


def _ended(rollout: Rollout, state: RolloutState, now: datetime, by: str, reason: str) -> Rollout:
    return rollout.model_copy(update={"state": state, "ended": now, "by": by[:MAX_TEXT], "reason": reason[:MAX_TEXT]})


def _approved(rollout: Rollout, now: datetime) -> Rollout:
    """The record of a promotion; the evidence is collected anew, as the versions have changed their roles."""
    changed = {"state": RolloutState.WATCHING, "started": now, "until": now + (rollout.until - rollout.started)}
    anew = {"rows": 0, "drop": 0.0, "e_value": 1.0, "is_worse": False, "comparison": None}
    return rollout.model_copy(update=changed | anew)
