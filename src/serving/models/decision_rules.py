"""Which decisions about a version that waits are allowed."""

from datetime import datetime

from src.core.canary_end import canary_end
from src.core.rollout_record import WAITING, Decision, Rollout, RolloutState
from src.serving.models.alias_moves import ChangeRefusedError


def require_undecided(rollout: Rollout, decision: Decision) -> None:
    """Refuse a version that does not wait, or about which the other decision was made."""
    if rollout.state not in WAITING:
        ended = f" ({rollout.reason}, by {rollout.by})" if rollout.by else ""
        raise ChangeRefusedError(
            f"version {rollout.version} does not await approval: its state is {rollout.state}{ended}"
        )
    if rollout.decision not in {None, decision}:
        raise ChangeRefusedError(
            f"version {rollout.version} was {rollout.decision} by {rollout.decided_by}, which is being carried out"
        )


def automatic_decider(rollout: Rollout, decision: Decision, now: datetime) -> str:
    """Refuse a decision that what is known of the version's rows does not allow; return who or what makes it."""
    if rollout.state is RolloutState.CANARY:
        end = canary_end(rollout, now)
        if end is None or end.decision is not decision:
            raise ChangeRefusedError(
                f"version {rollout.version} is a canary, and cannot be {decision} automatically now"
            )
        return end.by
    if decision is Decision.REJECTED:
        is_allowed = rollout.is_worse
    else:
        is_allowed = rollout.approval == "automatic" and rollout.has_its_rows and not rollout.is_worse
    if not is_allowed or rollout.shadow_problem:
        rows = f"{rollout.shadowed:,} of {rollout.minimum_rows:,} rows as a shadow"
        raise ChangeRefusedError(f"version {rollout.version} waits for a person, or for more rows: it has {rows}")
    return f"quality service, after {rollout.shadowed:,} rows"
