"""The history of earlier versions: which were rolled back, and which was the best champion so far."""

from collections.abc import Sequence

from mlflow.entities.model_registry import ModelVersion

from src.core.model_registry import BEST, CHAMPION, TAG_FINGERPRINT, TAG_ROLLBACK_AT, TAG_ROLLBACK_TO
from src.training.registry import ModelRegistry


def best_version(registry: ModelRegistry) -> str | None:
    """The best champion so far, by its alias; None where there is none, or it was rolled back."""
    best = registry.version_of(BEST)
    return None if best is None or str(best.version) in _rolled_back(registry) else str(best.version)


def rolled_back_twin(registry: ModelRegistry, fingerprint: str) -> str | None:
    """The newest version with the same data, settings, code and packages that was rolled back, if there is one."""
    twins = [found for found in registry.versions() if found.tags.get(TAG_FINGERPRINT) == fingerprint]
    rolled_back = _rolled_back(registry)
    return next((str(found.version) for found in twins if str(found.version) in rolled_back), None)


def _rolled_back(registry: ModelRegistry) -> frozenset[str]:
    champion = registry.version_of(CHAMPION)
    return rolled_back_versions(registry.versions(), str(champion.version) if champion is not None else None)


def rolled_back_versions(versions: Sequence[ModelVersion], champion: str | None) -> frozenset[str]:
    """The versions that were rolled back and have not returned since.

    A rollback tags the version that it replaces with its time (ISO 8601, UTC) and with the version that it restores.
    A version that a later rollback restores has returned. The champion is never counted as rolled back.
    """
    returned: dict[str, str] = {}
    for found in versions:
        at, to = found.tags.get(TAG_ROLLBACK_AT), found.tags.get(TAG_ROLLBACK_TO)
        if at is not None and to is not None:
            returned[to] = max(at, returned.get(to, ""))
    return frozenset(
        str(found.version)
        for found in versions
        if (at := found.tags.get(TAG_ROLLBACK_AT)) is not None
        and str(found.version) != champion
        and returned.get(str(found.version), "") <= at
    )
