"""The contract of feedback: labels that arrive at inference, and how they wait for the quality service.

``POST /feedback`` writes one file of JSON lines per request, each a ``Label`` in JSON, durably and under a unique
name. The quality service moves them to its own store.
"""

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
