"""What the audit log says about a retrain request."""

from src.core.audit_log import Entry, Event
from src.core.retrain_record import RetrainRecord


def entry_of_request(record: RetrainRecord, by: str | None = None) -> Entry:
    """The entry of an accepted request, from the client ``by``."""
    return Entry(
        id=f"{Event.RETRAIN_REQUESTED}:{record.id}",
        at=record.submitted_at,
        event=Event.RETRAIN_REQUESTED,
        source=record.source,
        by=by,
        reason=record.cause,
        request_id=record.id,
    )


def entries_of_end(record: RetrainRecord) -> tuple[Entry, ...]:
    """The entry of a request with an outcome, after that of the request itself.

    The latter is written again, without its client, in case the process that accepted the request was killed before it
    wrote it.
    """
    result = record.result
    if result is None:
        return ()
    end = Entry(
        id=f"{Event.RETRAIN_ENDED}:{record.id}",
        at=result.finished_at,
        event=Event.RETRAIN_ENDED,
        model=result.model_name,
        version=result.model_version,
        outcome=result.outcome,
        source=record.source,
        reason=result.reason,
        request_id=record.id,
    )
    return entry_of_request(record), end
