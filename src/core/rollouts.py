"""The records of versions that have passed the gate: one file for each, on the shared volume."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from src.core.audit_log import AuditLog
from src.core.durable_file import replace_durably
from src.core.file_lock import locked_file
from src.core.folders import make_folder
from src.core.retrain_record import ID_PATTERN, id_after
from src.core.rollout_record import ANY, MAX_TEXT, PROMOTED, WAITING, Decision, PairCount, Rollout, RolloutState
from src.core.version_comparison import VersionComparison

LOCK_FILE = "rollouts.lock"
# How many promotions of a model ``obstacle`` reads.
LOOK_BACK = 2
WATCHED = frozenset({RolloutState.WATCHING})
CANARY = frozenset({RolloutState.CANARY})
AWAITING = frozenset({RolloutState.AWAITING_APPROVAL})


class Rollouts:
    """The records of all models in one folder. Methods raise OSError, or SpoolFullError, if it cannot be used.

    Args:
        folder: the folder.
        audit: where approvals, and ends of watches and of waiting, are recorded; None if this process records none.
    """

    def __init__(self, folder: Path, audit: AuditLog | None = None) -> None:
        self._folder = folder
        self._audit = audit

    def begin(self, rollout: Rollout) -> Rollout:
        """Record a promotion, or a version that awaits approval or becomes a canary; it replaces one that waits.

        A promotion also ends the watch before it: that version is kept. Returns the record; it has another id if the
        given one does not sort last, because a clock was set back or another host's clock is ahead.
        """
        make_folder(self._folder)
        with locked_file(self._folder / LOCK_FILE):
            newest = next(iter(self._ids()), "")
            if rollout.id <= newest:
                rollout = rollout.model_copy(update={"id": id_after(newest)})
            waiting, now = self.waiting(rollout.model), rollout.started
            if waiting is not None and waiting.version == rollout.previous:
                self._promote(waiting.promoted(now))  # its approval was interrupted after it had become champion
            elif waiting is not None:
                is_promotion = rollout.state is RolloutState.WATCHING
                reason = "a later version was promoted" if is_promotion else "a later version passed the gate"
                by = f"training of version {rollout.version}"
                self._write(waiting.ended_as(RolloutState.ABORTED, now, by, reason))
            if rollout.state is RolloutState.WATCHING:
                self._promote(rollout)
            else:
                if self._audit is not None and rollout.state is RolloutState.CANARY:
                    self._audit.append(rollout.entry_of_canary(now))
                self._write(rollout)
        return rollout

    def decide(self, rollout_id: str, decision: Decision, *, by: str, reason: str) -> bool:
        """Record a decision about a waiting version; False if none waits or there is a decision."""
        found = {"decision": decision, "decided_by": by[:MAX_TEXT], "decision_reason": reason[:MAX_TEXT]}

        def change(stored: Rollout) -> Rollout:
            return stored.model_copy(update=found if stored.decision is None else {})

        return self._change(rollout_id, WAITING, change) is not None

    def start_canary(self, rollout_id: str, now: datetime, *, by: str, reason: str) -> bool:
        """Record that a version that awaits approval becomes a canary; False if it does not await it."""

        def change(stored: Rollout) -> Rollout:
            changed = stored.as_canary(by, reason)
            if self._audit is not None:
                self._audit.append(changed.entry_of_canary(now))
            return changed

        return self._change(rollout_id, AWAITING, change) is not None

    def begin_answers(self, rollout_id: str, now: datetime) -> bool:
        """Have a canary answer requests from now on; the first time stays. False if it has ended."""

        def change(stored: Rollout) -> Rollout:
            return stored if stored.canary_started else stored.model_copy(update={"canary_started": now})

        return self._change(rollout_id, CANARY, change) is not None

    def approve(self, rollout_id: str, now: datetime) -> bool:
        """Record that a waiting version was promoted; False if it does not wait."""
        with locked_file(self._folder / LOCK_FILE):
            stored = self.get(rollout_id)
            if stored is None or stored.state not in WAITING:
                return False
            self._promote(stored.promoted(now))
        return True

    # What is found of a version in one state says nothing about it in another one: the next five change nothing, and
    # return False or None, if the state is no longer the given record's.

    def note(self, rollout: Rollout, **found: Any) -> bool:
        """Record what the labels say so far, by the record's fields."""
        return self._update(rollout, found)

    def compare(self, rollout: Rollout, comparison: VersionComparison) -> bool:
        """Record how both versions have answered."""
        return self._update(rollout, {"comparison": comparison})

    def find(self, rollout: Rollout, finding: str) -> bool:
        """Record what errors or latency prove."""
        return self._update(rollout, {"finding": finding[:MAX_TEXT]})

    def hinder(self, rollout: Rollout, problem: str) -> bool:
        """Record why a waiting version's rows cannot decide; the first reason stays."""

        def change(stored: Rollout) -> Rollout:
            return stored if stored.shadow_problem else stored.model_copy(update={"shadow_problem": problem[:MAX_TEXT]})

        return self._change(rollout.id, WAITING & {rollout.state}, change) is not None

    def count(self, rollout: Rollout, errors: PairCount, latency: PairCount, answered: int = 0) -> Rollout | None:
        """Add what a replica has counted, for a canary with the rows that it has answered, and return the sums."""

        def added(stored: Rollout) -> Rollout:
            sums = {"errors": stored.errors + errors, "latency": stored.latency + latency}
            return stored.model_copy(update=sums | {"answered": stored.answered + answered})

        return self._change(rollout.id, frozenset({rollout.state}), added)

    def request(self, rollout_id: str) -> bool:
        """Record that a rollback is requested without a person; False if the watch has ended."""
        return self._change(rollout_id, WATCHED, lambda one: one.model_copy(update={"requested": True})) is not None

    def obstacle(self, rollout: Rollout) -> str | None:
        """Why a promotion is not rolled back without a person, whatever is proved; None if it may be."""
        if not rollout.automatic:
            return "rollout.automatic_rollback is off"
        before = self.recent(rollout.model, LOOK_BACK, PROMOTED)[1:]
        if any(one.state is RolloutState.ROLLED_BACK and one.requested for one in before):
            return "the promotion before was rolled back automatically, which never happens twice in a row"
        return None

    def end(self, rollout_id: str, state: RolloutState, *, now: datetime, by: str, reason: str) -> bool:
        """End a watch, or abort a waiting version; False if it has ended already."""
        required = WAITING if state is RolloutState.ABORTED else WATCHED
        return self._change(rollout_id, required, lambda stored: stored.ended_as(state, now, by, reason)) is not None

    def get(self, rollout_id: str) -> Rollout | None:
        """A record; None if there is none, or it is damaged. Any string is a safe argument."""
        return self._read(rollout_id) if ID_PATTERN.fullmatch(rollout_id) else None

    def watched(self, model: str) -> Rollout | None:
        """The promotion of a model that is being watched."""
        return next(iter(self._watched(model)), None)

    def waiting(self, model: str) -> Rollout | None:
        """The version of a model that may be promoted: it awaits approval, or answers as a canary."""
        newest = self.recent(model, 1)
        return newest[0] if newest and newest[0].state in WAITING else None

    def recent(self, model: str, limit: int, among: frozenset[RolloutState] = ANY) -> list[Rollout]:
        """A model's newest records in these states, newest first, in the order in which they were begun."""
        found: list[Rollout] = []
        for rollout_id in self._ids():
            rollout = self._read(rollout_id)
            if rollout is not None and rollout.model == model and rollout.state in among:
                found.append(rollout)
            if len(found) == limit:
                break
        return found

    def ended_before(self, moment: datetime) -> list[str]:
        """The ids of all models' records that ended before a time, oldest first, for ``forget``.

        A record without an end, and the promotions that ``obstacle`` reads, are not among them.
        """
        found, promotions = list[str](), Counter[str]()
        for rollout in filter(None, map(self._read, self._ids())):
            promotions[rollout.model] += rollout.state in PROMOTED
            is_read = rollout.state in PROMOTED and promotions[rollout.model] <= LOOK_BACK
            if rollout.ended is not None and rollout.ended < moment and not is_read:
                found.append(rollout.id)
        return found[::-1]

    def forget(self, rollout_ids: Iterable[str]) -> None:
        """Delete records that have ended."""
        for rollout_id in rollout_ids:
            (self._folder / f"{rollout_id}.json").unlink(missing_ok=True)

    def _update(self, rollout: Rollout, values: dict[str, Any]) -> bool:
        same = frozenset({rollout.state})
        return self._change(rollout.id, same, lambda stored: stored.model_copy(update=values)) is not None

    def _change(
        self, rollout_id: str, required: frozenset[RolloutState], change: Callable[[Rollout], Rollout]
    ) -> Rollout | None:
        """Change a record that is in one of these states."""
        with locked_file(self._folder / LOCK_FILE):
            stored = self._read(rollout_id)
            if stored is None or stored.state not in required:
                return None
            changed = change(stored)
            if changed != stored:
                self._write(changed)
        return changed

    def _promote(self, rollout: Rollout) -> None:
        """Write the record of a promotion and end the watch before it."""
        if self._audit is not None and rollout.decision is Decision.APPROVED:
            self._audit.append(rollout.entry_of_approval())
        for other in self._watched(rollout.model):
            by = f"promotion of version {rollout.version}"
            self._write(other.ended_as(RolloutState.KEPT, rollout.started, by, "a later version was promoted"))
        if rollout.until == rollout.started:
            reason = "promotions are not watched"
            rollout = rollout.ended_as(RolloutState.KEPT, rollout.started, "rollout.watch_hours: 0", reason)
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
            self._audit.append(rollout.entry_of_end(rollout.ended))
