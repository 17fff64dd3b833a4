"""Applies the gate: tags the candidate with the verdict and moves the aliases when it may serve."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from src.core.audit_log import AuditLog, Entry, Event
from src.core.errors import SpoolFullError
from src.core.file_lock import locked_file
from src.core.gate_config import GateConfig, RolloutConfig
from src.core.model_registry import (
    BEST,
    CHAMPION,
    PREVIOUS,
    TAG_FINGERPRINT,
    TAG_PENDING_PREVIOUS,
    TAG_REASON,
    TAG_ROLLBACK_AT,
    TAG_ROLLBACK_BY,
    TAG_ROLLBACK_TO,
    TAG_SCORE,
    TAG_VERDICT,
)
from src.core.retrain_record import Outcome, Scores
from src.core.rollout_record import Rollout, Rollouts, RolloutState
from src.training.comparison import Comparison
from src.training.gate import ROUNDING, Candidate, Verdict, decide
from src.training.registry import ModelRegistry
from src.training.version_history import best_version

logger = logging.getLogger(__name__)


def promote(
    registry: ModelRegistry, gate: GateConfig, candidate: Candidate, comparison: Comparison, alias_lock: Path
) -> Verdict:
    """Decide, tag the version with the verdict and, if it may serve, make it champion.

    Promotions and rollbacks hold ``alias_lock`` from reading the aliases until they are moved.
    """
    with locked_file(alias_lock):
        complete_move(registry)
        return _promote(registry, gate, candidate, comparison)


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


def begin_watch(rollouts: Rollouts, config: RolloutConfig, verdict: Verdict, replaced: str | None) -> None:
    """Record a promotion, and watch it if so configured; a volume that cannot be written to does not undo it.

    Args:
        rollouts: the records of promotions.
        config: whether and how long it is watched.
        verdict: the gate's.
        replaced: the champion before, with which it was compared.
    """
    if verdict.outcome is not Outcome.PROMOTED or replaced in {None, verdict.model_version}:
        return
    now = datetime.now(UTC)
    rollout = Rollout(
        model=verdict.model_name,
        version=verdict.model_version,
        previous=replaced,
        started=now,
        until=now + timedelta(hours=config.watch_hours),
        automatic=config.automatic_rollback,
    )
    try:
        rollouts.begin(rollout)
        if not config.watch_hours:
            reason = "promotions are not watched"
            rollouts.end(rollout.id, RolloutState.KEPT, now=now, by="rollout.watch_hours: 0", reason=reason)
    except (OSError, SpoolFullError) as error:
        logger.error("version %s is served, but is not watched: %s", verdict.model_version, error)  # noqa: TRY400 - says it all


def complete_move(registry: ModelRegistry) -> None:
    """Complete an interrupted promotion or rollback: point ``previous`` to the version in the champion's tag."""
    champion = registry.version_of(CHAMPION)
    previous = champion.tags.get(TAG_PENDING_PREVIOUS) if champion is not None else None
    if champion is None or previous is None:
        return
    if registry.has(previous):
        registry.set_alias(PREVIOUS, previous)
    registry.untag(str(champion.version), TAG_PENDING_PREVIOUS)


def _promote(registry: ModelRegistry, gate: GateConfig, candidate: Candidate, comparison: Comparison) -> Verdict:
    found = registry.version_of(CHAMPION)
    champion = str(found.version) if found is not None else None
    promoted, reason = decide(gate, comparison)
    overtaken = promoted and champion not in {None, candidate.model_version, comparison.champion_version}
    if overtaken:
        # Most likely a rollback, which a comparison with the replaced version must not undo.
        promoted, reason = (
            False,
            (
                f"version {champion} became champion while this one was compared with "
                f"{f'version {comparison.champion_version}' if comparison.champion_version else 'none'}; train again"
            ),
        )
    verdict = Verdict(
        outcome=Outcome.PROMOTED if promoted else Outcome.REJECTED,
        reason=reason,
        model_name=registry.name,
        model_version=candidate.model_version,
        mlflow_run_id=candidate.mlflow_run_id,
        challenger=comparison.challenger,
        champion=comparison.champion,
    )
    # Tags before the alias: a served version always has its verdict.
    tags = {**verdict_tags(verdict), **score_tags(comparison.challenger)}
    if overtaken:  # not compared with the current champion: the next request on the same data must train
        del tags[TAG_VERDICT]
    registry.tag(candidate.model_version, tags)
    if promoted:
        # First: if killed after this, the next challenger is compared with one version too many, never one too few.
        _mark_best(registry, gate.metric, candidate.model_version, comparison)
        _move_aliases(registry, candidate.model_version, champion)
    return verdict


def _mark_best(registry: ModelRegistry, metric: str, promoted: str, comparison: Comparison) -> None:
    """Point ``best`` to the best of promoted version, champion and best champion so far, on the rows of this run.

    Versions that were rolled back do not count; of equal versions the newest wins. A best champion that could not be
    scored in this run stays the best: later versions are compared with it once it can be scored again.
    """
    if comparison.best_unscored and best_version(registry) is not None:
        return
    scored = {comparison.champion_version: comparison.champion}
    if best_version(registry) == comparison.best_version:
        scored[comparison.best_version] = comparison.best
    best, best_score = promoted, comparison.sign(metric) * comparison.challenger[metric]
    for version, scores in scored.items():
        if version is None or scores is None or metric not in scores:
            continue
        score = comparison.sign(metric) * scores[metric]
        if score > best_score + ROUNDING:
            best, best_score = version, score
    registry.set_alias(BEST, best)


def _move_aliases(registry: ModelRegistry, promoted: str, champion: str | None) -> None:
    """Make a version champion and the current champion previous; the next run completes an interrupted move.

    An existing ``previous`` stays if the current champion was trained on the same data, settings and code.
    """
    if champion is None or champion == promoted:
        registry.set_alias(CHAMPION, promoted)
        return
    _forget_rollback(registry, champion)
    # A rollback to the same model would change nothing; it is accepted only where there is no other version.
    if registry.version_of(PREVIOUS) is not None and _are_twins(registry, promoted, champion):
        registry.set_alias(CHAMPION, promoted)
        return
    registry.tag(promoted, {TAG_PENDING_PREVIOUS: champion})
    registry.set_alias(CHAMPION, promoted)
    complete_move(registry)


def _are_twins(registry: ModelRegistry, one: str, other: str) -> bool:
    """Whether two versions record the same data, settings and code."""
    fingerprint = registry.version(one).tags.get(TAG_FINGERPRINT)
    return fingerprint is not None and fingerprint == registry.version(other).tags.get(TAG_FINGERPRINT)


def _forget_rollback(registry: ModelRegistry, champion: str) -> None:
    """Delete a champion's rollback tags: it has returned since, or the rollback was interrupted.

    A champion is not rolled back, whatever its tags say; as the previous version its tags would count again.
    """
    tags = registry.version(champion).tags
    for key in (TAG_ROLLBACK_AT, TAG_ROLLBACK_TO, TAG_ROLLBACK_BY):
        if key in tags:
            registry.untag(champion, key)


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as tags of the MLflow run and the model version."""
    return {TAG_VERDICT: verdict.outcome.value, TAG_REASON: verdict.reason}


def score_tags(scores: Scores) -> dict[str, str]:
    """A version's scores as tags, which inference exports and shows."""
    return {f"{TAG_SCORE}{name}": repr(value) for name, value in scores.items()}
