"""The end of a training that nobody ran, in the retrain spool."""

from datetime import UTC, datetime, timedelta

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Scores
from src.core.retrain_signal import RetrainSpool

SCORES: Scores = {"accuracy": 0.95, "f1_macro": 0.94, "neg_log_loss": -0.1}


def finish(
    spool: RetrainSpool, outcome: Outcome, version: str | None, ago: timedelta = timedelta(), name: str = "iris"
) -> RetrainRecord:
    """Do as a trainer does, or did some time ago, with all that waits."""
    with spool.lock():
        (record,) = spool.claim()
        record = record.model_copy(update={"attempts": 1, "started_at": datetime.now(UTC)})
        spool.update(record)
        result = RetrainResult(
            outcome=outcome,
            reason="because",
            model_name=name,
            model_version=version,
            mlflow_run_id="run2",
            challenger=SCORES,
            finished_at=datetime.now(UTC) - ago,
        )
        return spool.finish(record, result)
