"""What was found of a version that has passed the gate, in sentences."""

from src.core.evidence import LABELS_ALPHA, Verdict, evidence_in_words
from src.core.rollout_record import Rollout

WITHOUT_LOG = "the prediction log is off (PREDICTION_LOG=false), so that its rows cannot be judged"


def in_words(rollout: Rollout, verdict: Verdict) -> str:
    """What the labels so far say of a version, in a sentence."""
    on = f"on {verdict.rows:,} labelled rows"
    if verdict.is_worse:
        return (
            f"version {rollout.version} is worse than version {rollout.previous} by {verdict.drop:.1%} {on} "
            f"(evidence {evidence_in_words(verdict.e_value)}, needed {1 / LABELS_ALPHA:,.0f})"
        )
    return f"no proof that version {rollout.version} is worse than version {rollout.previous} {on}"
