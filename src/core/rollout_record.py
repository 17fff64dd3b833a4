"""What happens to a version after its promotion: one record per promotion, on the shared volume.

While a promotion is watched, the previous champion answers the logged rows too, as a shadow. The watch ends with the
version kept or rolled back. Only a promotion begins a watch, and a watch ends once.
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from src.core.audit_log import AuditLog, Entry, Event
from src.core.durable_file import replace_durably
from src.core.file_lock import locked_file
from src.core.folders import make_folder
from src.core.retrain_record import ID_PATTERN, new_id

LOCK_FILE = "rollouts.lock"
MAX_TEXT = 500


class RolloutState(StrEnum):
    """The state of a promotion."""

    WATCHING = "watching"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"


class Rollout(BaseModel):
    """One promotion.

    Attributes:
        id: unique; ids sort by time.
        model: the registered model's name.
        version: the promoted version.
        previous: the champion before it.
        started: when it was promoted.
        until: when the watch ends at the latest.
        automatic: whether it may be rolled back without a person.
        ended: when the watch ended.
        by: who or what ended it: ``quality service``, ``promotion of version 4``, or a client.
        reason: why, in a sentence.
        requested: whether the quality service has requested the rollback, rather than a person.
        rows: labelled rows on which both versions were compared.
        drop: the previous version's mean advantage on them, as in ``src.quality.evidence``.
        e_value: the evidence that the promoted version is worse.
        is_worse: whether that evidence is a proof.
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
    ended: AwareDatetime | None = None
    by: str | None = Field(None, max_length=MAX_TEXT)
    reason: str | None = Field(None, max_length=MAX_TEXT)
    requested: bool = False
    rows: int = 0
    drop: float = 0.0
    e_value: float = 1.0
    is_worse: bool = False


class Rollouts:
    """The records of all models in one folder. Methods raise OSError, or SpoolFullError, if it cannot be used.

    Args:
        folder: the folder.
        audit: where ends of watches are recorded; None if this process ends none.
    """

    def __init__(self, folder: Path, audit: AuditLog | None = None) -> None:
        self._folder = folder
        self._audit = audit

    def begin(self, rollout: Rollout) -> None:
        """Record a promotion, and end the watch of the version that it replaces: it is kept."""
        make_folder(self._folder)
        with locked_file(self._folder / LOCK_FILE):
            for other in self._watched(rollout.model):
                by = f"promotion of version {rollout.version}"
                self._write(_ended(other, RolloutState.KEPT, rollout.started, by, "a later version was promoted"))
            self._write(rollout)

    def note(self, rollout_id: str, *, rows: int, drop: float, e_value: float, is_worse: bool) -> bool:
        """Record the evidence of a watch so far; False if it has ended."""
        found = {"rows": rows, "drop": drop, "e_value": e_value, "is_worse": is_worse}
        return self._change(rollout_id, lambda stored: stored.model_copy(update=found))

    def request(self, rollout_id: str) -> bool:
        """Record that a rollback is requested without a person; False if the watch has ended."""
        return self._change(rollout_id, lambda stored: stored.model_copy(update={"requested": True}))

    def end(self, rollout_id: str, state: RolloutState, *, now: datetime, by: str, reason: str) -> bool:
        """End a watch; False if it has ended already."""
        return self._change(rollout_id, lambda stored: _ended(stored, state, now, by, reason))

    def watched(self, model: str) -> Rollout | None:
        """The promotion of a model that is being watched."""
        return next(iter(self._watched(model)), None)

    def recent(self, model: str, limit: int) -> list[Rollout]:
        """A model's newest promotions, newest first."""
        found: list[Rollout] = []
        for rollout_id in self._ids():
            rollout = self._read(rollout_id)
            if rollout is not None and rollout.model == model:
                found.append(rollout)
            if len(found) == limit:
                break
        return found

    def _change(self, rollout_id: str, change: Callable[[Rollout], Rollout]) -> bool:
        """Change the record of a watch that has not ended."""
        with locked_file(self._folder / LOCK_FILE):
            stored = self._read(rollout_id)
            if stored is None or stored.state is not RolloutState.WATCHING:
                return False
            changed = change(stored)
            if changed != stored:
                self._write(changed)
        return True

    def _watched(self, model: str) -> list[Rollout]:
        return [rollout for rollout in self.recent(model, 2) if rollout.state is RolloutState.WATCHING]

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
            self._audit.append(_entry_of_end(rollout, rollout.ended))


def _entry_of_end(rollout: Rollout, ended: datetime) -> Entry:
    return Entry(
        id=f"{Event.WATCH_ENDED}:{rollout.id}",
        at=ended,
        event=Event.WATCH_ENDED,
        model=rollout.model,
        version=rollout.version,
        previous=rollout.previous,
        outcome=rollout.state,
        by=rollout.by,
        reason=rollout.reason,
        rollout_id=rollout.id,
    )


def _ended(rollout: Rollout, state: RolloutState, now: datetime, by: str, reason: str) -> Rollout:
    return rollout.model_copy(update={"state": state, "ended": now, "by": by[:MAX_TEXT], "reason": reason[:MAX_TEXT]})
