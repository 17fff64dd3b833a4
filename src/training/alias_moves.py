"""Moves the aliases of a promotion, such that an interrupted move is completed.

Inference does the same for a version that a person approves (``src.serving.models.approval``).
"""

from src.core.model_registry import CHAMPION, PREVIOUS, TAG_FINGERPRINT, TAG_PENDING_PREVIOUS, TAGS_ROLLBACK
from src.training.comparison import Comparison
from src.training.gate import ROUNDING
from src.training.registry import ModelRegistry
from src.training.version_history import best_version


def complete_move(registry: ModelRegistry) -> None:
    """Complete an interrupted promotion or rollback: point ``previous`` to the version in the champion's tag."""
    champion = registry.version_of(CHAMPION)
    previous = champion.tags.get(TAG_PENDING_PREVIOUS) if champion is not None else None
    if champion is None or previous is None:
        return
    if registry.has(previous):
        registry.set_alias(PREVIOUS, previous)
    registry.untag(str(champion.version), TAG_PENDING_PREVIOUS)


def best_after(registry: ModelRegistry, metric: str, promoted: str, comparison: Comparison) -> str | None:
    """Where ``best`` points after a promotion; None if it does not move.

    It is the best of promoted version, champion and best champion so far, on the rows of this run. Versions that were
    rolled back do not count; of equal versions the newest wins. A best champion that could not be scored in this run
    stays the best: later versions are compared with it once it can be scored again.
    """
    if comparison.best_unscored and best_version(registry) is not None:
        return None
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
    return best


def move_aliases(registry: ModelRegistry, promoted: str, champion: str | None) -> None:
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
    for key in TAGS_ROLLBACK:
        if key in tags:
            registry.untag(champion, key)
