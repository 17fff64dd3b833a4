"""Applies the gate: tags the candidate with the verdict and moves the aliases when it may serve."""

from pathlib import Path

from src.core.file_lock import locked_file
from src.core.gate_config import GateConfig
from src.core.model_registry import CHAMPION, PREVIOUS, TAG_REASON, TAG_SCORE, TAG_VERDICT
from src.core.retrain_record import Outcome, Scores
from src.training.gate import Candidate, Comparison, Verdict, decide
from src.training.registry import ModelRegistry


def promote(
    registry: ModelRegistry, gate: GateConfig, candidate: Candidate, comparison: Comparison, alias_lock: Path
) -> Verdict:
    """Decide, tag the version with the verdict and, if it may serve, make it champion.

    Whoever rolls back holds ``alias_lock`` too: an alias moves on what was read while nobody else moved one.
    """
    with locked_file(alias_lock):
        return _promote(registry, gate, candidate, comparison)


def _promote(registry: ModelRegistry, gate: GateConfig, candidate: Candidate, comparison: Comparison) -> Verdict:
    found = registry.version_of(CHAMPION)
    champion = str(found.version) if found is not None else None
    promoted, reason = decide(gate, comparison)
    if promoted and champion not in {None, candidate.model_version, comparison.champion_version}:
        # A roll back, most likely: it must not be undone by a verdict about the version that was taken back.
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
    # Tags before the alias: a version that is served always says why.
    registry.tag(candidate.model_version, {**verdict_tags(verdict), **score_tags(comparison.challenger)})
    if promoted:
        if champion is not None and champion != candidate.model_version:
            registry.set_alias(PREVIOUS, champion)
        registry.set_alias(CHAMPION, candidate.model_version)
    return verdict


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as tags of the MLflow run and the model version."""
    return {TAG_VERDICT: verdict.outcome.value, TAG_REASON: verdict.reason}


def score_tags(scores: Scores) -> dict[str, str]:
    """A version's scores as tags: whoever serves it can tell how good it was."""
    return {f"{TAG_SCORE}{name}": repr(value) for name, value in scores.items()}
