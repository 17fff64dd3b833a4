"""Applies the gate: tags the candidate with the verdict and moves the aliases when it may serve."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from src.core.audit_log import AuditLog, Entry, Event
from src.core.errors import SpoolFullError
from src.core.file_lock import locked_file
from src.core.gate_config import GateConfig, RolloutConfig
from src.core.model_registry import BEST, CHAMPION, TAG_REASON, TAG_SCORE, TAG_VERDICT
from src.core.retrain_record import Outcome, Scores
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.training.alias_moves import best_after, complete_move, move_aliases
from src.training.comparison import Comparison
from src.training.gate import Candidate, Verdict, decide
from src.training.registry import ModelRegistry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promoter:
    """Promotes what passes the gate, or has it wait for a person, for its rows as a shadow, or as a canary.

    Attributes:
        registry: the model's versions.
        gate: the gate's rules.
        rollout: what comes before a promotion, and whether and how long it is watched.
        rollouts: the records of what has passed.
        alias_lock: promotions, approvals and rollbacks hold it from reading the aliases until they are moved.
    """

    registry: ModelRegistry
    gate: GateConfig
    rollout: RolloutConfig
    rollouts: Rollouts
    alias_lock: Path

    def promote(self, candidate: Candidate, comparison: Comparison) -> Verdict:
        """Decide, tag the version with the verdict and, if it may serve, make it champion and begin its watch.

        With ``gate.approval: manual`` or ``rollout.minimum_rows``, a version that passes awaits approval, and with
        ``rollout.canary`` it is a canary before its promotion, unless there is no champion.

        Raises:
            OSError, SpoolFullError: the record of a version that is not promoted at once cannot be written.
        """
        with locked_file(self.alias_lock):
            complete_move(self.registry)
            verdict = self._promote(candidate, comparison)
            if verdict.outcome is Outcome.PROMOTED:  # still locked: a rollback must find the watch, to end it
                self._begin_watch(verdict, comparison.champion_version)
        return verdict

    def _promote(self, candidate: Candidate, comparison: Comparison) -> Verdict:
        found = self.registry.version_of(CHAMPION)
        champion = str(found.version) if found is not None else None
        passed, reason = decide(self.gate, comparison)
        overtaken = passed and champion not in {None, candidate.model_version, comparison.champion_version}
        if overtaken:
            # Most likely a rollback, which a comparison with the replaced version must not undo.
            passed, reason = False, _overtaken(champion, comparison.champion_version)
        outcome = Outcome.PROMOTED if passed else Outcome.REJECTED
        verdict = Verdict(
            outcome=outcome,
            reason=reason,
            model_name=self.registry.name,
            model_version=candidate.model_version,
            mlflow_run_id=candidate.mlflow_run_id,
            challenger=comparison.challenger,
            champion=comparison.champion,
        )
        if passed and (self._must_wait or self.rollout.canary.share):
            verdict = self._keep_waiting(verdict, champion, comparison)
        # Tags before the alias: a served version always has its verdict.
        tags = {**verdict_tags(verdict), **score_tags(comparison.challenger)}
        if overtaken:  # not compared with the current champion: the next request on the same data must train
            del tags[TAG_VERDICT]
        self.registry.tag(candidate.model_version, tags)
        if verdict.outcome is Outcome.PROMOTED:
            # First: if killed after this, the next challenger is compared with one version too many, never too few.
            best = best_after(self.registry, self.gate.metric, candidate.model_version, comparison)
            if best is not None:
                self.registry.set_alias(BEST, best)
            move_aliases(self.registry, candidate.model_version, champion)
        return verdict

    @property
    def _must_wait(self) -> bool:
        return self.gate.approval == "manual" or self.rollout.minimum_rows > 0

    def _keep_waiting(self, verdict: Verdict, champion: str | None, comparison: Comparison) -> Verdict:
        """Record that a version waits, before its tags say so: without the record nobody could promote it."""
        if champion is None:
            without = "approval" if self._must_wait else "a canary"
            reason = f"{verdict.reason}; promoted without {without}, because no version was champion"
            return verdict.model_copy(update={"reason": reason})
        if champion == verdict.model_version:  # a repeated step
            return verdict
        rollout = self._record(verdict, champion).model_copy(
            update={
                "state": RolloutState.AWAITING_APPROVAL if self._must_wait else RolloutState.CANARY,
                "minimum_rows": self.rollout.minimum_rows,
                "canary": self.rollout.canary if self.rollout.canary.share else None,
                "approval": self.gate.approval,
                "verdict": verdict.reason,
                "challenger": verdict.challenger,
                "champion": verdict.champion or {},
                "best": best_after(self.registry, self.gate.metric, verdict.model_version, comparison),
            }
        )
        rollout = self.rollouts.begin(rollout)
        reason = f"{verdict.reason}; {_waits(rollout, self.rollouts.watched(rollout.model))}, or on the page"
        return verdict.model_copy(update={"outcome": Outcome.PASSED, "reason": reason})

    def _begin_watch(self, verdict: Verdict, replaced: str | None) -> None:
        """Record a promotion, and watch it if so configured; a volume that cannot be written to does not undo it."""
        if replaced is None or replaced == verdict.model_version:
            return
        try:
            self.rollouts.begin(self._record(verdict, replaced))
        except (OSError, SpoolFullError) as error:
            logger.error("version %s is served, but is not watched: %s", verdict.model_version, error)  # noqa: TRY400 - says it all

    def _record(self, verdict: Verdict, previous: str) -> Rollout:
        now = datetime.now(UTC)
        return Rollout(
            model=verdict.model_name,
            version=verdict.model_version,
            previous=previous,
            started=now,
            until=now + timedelta(hours=self.rollout.watch_hours),
            automatic=self.rollout.automatic_rollback,
            max_slowdown=self.rollout.max_slowdown,
        )


def _waits(rollout: Rollout, watched: Rollout | None) -> str:
    """What a version waits for, as for the end of the watched promotion, and how to end that."""
    share = f"{rollout.canary.share * 100:g} % of the requests as a canary" if rollout.canary else ""
    approve = f"POST /rollouts/{rollout.id}/approve"
    if rollout.state is RolloutState.CANARY:
        answers = f"it answers {share} beside version {rollout.previous}"
        if watched:
            answers = f"{answers} once that is no longer watched, from {watched.until:%Y-%m-%d %H:%M} UTC at the latest"
        return f"{answers}; to promote it earlier: {approve}?promote=true"
    waits, earlier = "it awaits approval", "promote it"
    if rollout.canary:
        waits, earlier = f"{waits} to answer {share}", "start that"
    if rollout.minimum_rows:
        end = " and an approval" if rollout.approval == "manual" else f"; to {earlier} earlier"
        waits = f"it awaits {rollout.minimum_rows:,} rows as a shadow of version {rollout.previous}{end}"
    return f"{waits}: {approve}"


def record_verdict(audit: AuditLog, verdict: Verdict, compared: str | None, request_ids: Sequence[str]) -> None:
    """Add a verdict to the audit log.

    Args:
        audit: the log.
        verdict: the gate's.
        compared: the champion that the version was compared with.
        request_ids: the retrain requests that the training served, oldest first; the entry has the first.
    """
    audit.append(
        Entry(
            id=f"{verdict.outcome}:{verdict.mlflow_run_id}",
            event=Event(verdict.outcome),
            model=verdict.model_name,
            version=verdict.model_version,
            previous=compared,
            by="gate",
            reason=verdict.reason,
            request_id=next(iter(request_ids), None),
        )
    )


def _overtaken(champion: str | None, compared_with: str | None) -> str:
    other = f"version {compared_with}" if compared_with else "none"
    return f"version {champion} became champion while this one was compared with {other}; train again"


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as tags of the MLflow run and the model version."""
    return {TAG_VERDICT: verdict.outcome.value, TAG_REASON: verdict.reason}


def score_tags(scores: Scores) -> dict[str, str]:
    """A version's scores as tags, which inference exports and shows."""
    return {f"{TAG_SCORE}{name}": repr(value) for name, value in scores.items()}
