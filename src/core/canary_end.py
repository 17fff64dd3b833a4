"""When a canary ends by itself, and why: by what its record says, so that all replicas decide alike."""

from datetime import datetime
from typing import NamedTuple

from src.core.canary_config import CanaryConfig
from src.core.evidence import NOT_WORSE_ALPHA, Verdict, evidence_in_words
from src.core.rollout_findings import in_words
from src.core.rollout_record import Decision, Rollout


class CanaryEnd(NamedTuple):
    """What to do with a canary, who or what has decided so, and why."""

    decision: Decision
    by: str
    reason: str


def canary_end(rollout: Rollout, now: datetime) -> CanaryEnd | None:
    """How a canary ends now; None while it goes on, and where a person has to decide.

    A proof against it comes first. It is promoted by a proof for it, or without ``max_drop`` by the time, each after
    ``minimum_rows``. Anything else at the end of its time is an abort.
    """
    canary, until = rollout.canary, rollout.canary_until
    if canary is None or until is None or not rollout.is_canary:
        return None
    verdict = Verdict(rollout.is_worse, rollout.rows, rollout.drop, rollout.e_value)
    against = rollout.finding or (in_words(rollout, verdict) if verdict.is_worse else None)
    if against is not None:
        return _end(rollout, Decision.REJECTED, against)
    has_rows = rollout.answered >= canary.minimum_rows
    if has_rows and rollout.is_not_worse:
        return _end(rollout, Decision.APPROVED, _not_worse(rollout, canary))
    if now < until:
        return None
    if has_rows and canary.max_drop is None:
        return _end(rollout, Decision.APPROVED, f"nothing is proved against it in {canary.hours:g} hours")
    return _end(rollout, Decision.REJECTED, f"undecided after {canary.hours:g} hours: {_missing(rollout, canary)}")


def _end(rollout: Rollout, decision: Decision, reason: str) -> CanaryEnd:
    return CanaryEnd(decision, f"canary, after {rollout.answered:,} rows", reason)


def _not_worse(rollout: Rollout, canary: CanaryConfig) -> str:
    return (
        f"version {rollout.version} is not worse than version {rollout.previous} by {canary.max_drop or 0:.1%} or more "
        f"on {rollout.rows:,} labelled rows {_evidence(rollout)}"
    )


def _missing(rollout: Rollout, canary: CanaryConfig) -> str:
    found = []
    if rollout.answered < canary.minimum_rows:
        found.append(f"it answered {rollout.answered:,} of {canary.minimum_rows:,} rows")
    if canary.max_drop is not None and not rollout.is_not_worse:
        found.append(
            f"{rollout.rows:,} labelled rows do not prove that it is not worse by {canary.max_drop:.1%} or more "
            f"{_evidence(rollout)}"
        )
    return ", and ".join(found)


def _evidence(rollout: Rollout) -> str:
    return f"(evidence {evidence_in_words(rollout.e_not_worse, 1)}, needed {1 / NOT_WORSE_ALPHA:,.0f})"
