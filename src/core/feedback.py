"""The contract of feedback: labels that arrive at inference, and how they wait for the quality service.

``POST /feedback`` writes one file of JSON lines per request, each a ``Label`` in JSON, durably and under a unique
name. The quality service moves them to its own store.
"""

from datetime import UTC, date, datetime, time

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

# Below ``quality_dir``.
FEEDBACK_FOLDER = "feedback"
FEEDBACK_SUFFIX = ".ndjson"
# Of a file that is being written.
UNFINISHED_FEEDBACK_SUFFIX = ".tmp"
MAX_KEY = 200
MAX_LABEL = 200


class Label(BaseModel):
    """What turned out true for one prediction.

    Attributes:
        request_id: of the predicted row, as ``prediction_log.row_id`` names it; None where ``key`` says which it is.
        key: the team's own id of the row, logged with it.
        label: the true class's name, or a number as text.
        time: when it became true, if the sender said so.
        received: when it was accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str | None = None
    key: str | None = Field(None, max_length=MAX_KEY)
    label: str = Field(max_length=MAX_LABEL)
    time: AwareDatetime | None = None
    received: AwareDatetime


def label_time(text: str) -> datetime:
    """A label's time in UTC, which is the zone where there is none.

    A date is the end of its day: a label by a key belongs to a prediction that is not later, and one of the same day
    may be.

    Raises:
        ValueError: the text is not an ISO 8601 date, or date and time.
        OverflowError: UTC has no such year.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time.max, UTC)
    except ValueError:
        moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
