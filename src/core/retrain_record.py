"""One retrain request as it lies in the spool, from submission to outcome."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

import uuid_utils
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

MAX_TEXT = 300
# A forged id may name a time that no date reaches, in seconds since the epoch.
LAST_DATE = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Source = Literal["api", "alert", "schedule", "bootstrap"]


def new_id() -> str:
    """A UUIDv7: ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


def born_at(request_id: str) -> float:
    """Seconds since the epoch at which an id was made."""
    return uuid_utils.UUID(request_id).timestamp / 1000


class Outcome(StrEnum):
    """How a retrain request ended."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


class Step(StrEnum):
    """A training run's steps in their order, by ZenML's names: the names of the functions in ``pipeline/steps.py``."""

    PREPROCESS = "preprocess"
    SPLIT = "split"
    TRAIN = "train"
    EVALUATE = "evaluate_on_holdout"
    PROMOTE = "promote"


class State(StrEnum):
    """Where a retrain request stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


def _clip(text: object) -> object:
    """Fold white space, drop what does not print, and cut to ``MAX_TEXT`` so that any record fits its limit."""
    if not isinstance(text, str):
        return text
    printable = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return printable if len(printable) <= MAX_TEXT else printable[: MAX_TEXT - 1] + "…"


Text = Annotated[str, BeforeValidator(_clip)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# By metric. Finite, because a NaN is written to JSON as null and would make the record unreadable.
Scores = Annotated[dict[str, FiniteFloat], Field(max_length=50)]
# Whole milliseconds: no longer text than a record has room for.
Duration = Annotated[FiniteFloat, Field(ge=0), AfterValidator(lambda seconds: round(seconds, 3))]


class RetrainResult(_Frozen):
    """What came of a retrain request; the names are MLflow's. ``step_seconds`` are of a run that came to a verdict."""

    outcome: Outcome
    reason: Text
    model_name: str | None = None
    model_version: str | None = None
    mlflow_run_id: str | None = None
    challenger: Scores | None = None
    champion: Scores | None = None
    step_seconds: dict[Step, Duration] | None = None
    finished_at: AwareDatetime

    def is_of(self, name: str) -> bool:
        """Whether its version is this model's, as far as it tells: one volume may have seen models of several names."""
        return self.model_name in {None, name}

    def made(self, name: str, version: str) -> bool:
        """Whether this is the version that it registered."""
        return self.model_version == version and self.is_of(name)


class RetrainRecord(_Frozen):
    """One retrain request, as it lies in the spool; ``cause`` is an alert's group key."""

    id: Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$")]
    source: Source
    submitted_at: AwareDatetime
    cause: Text | None = None
    attempts: Annotated[int, Field(ge=0)] = 0
    started_at: AwareDatetime | None = None
    last_error: Text | None = None
    result: RetrainResult | None = None

    @classmethod
    def unreadable(cls, request_id: str) -> Self:
        """What is told of an accepted request whose file somebody else has spoilt."""
        born = datetime.fromtimestamp(min(born_at(request_id), LAST_DATE), UTC)
        result = RetrainResult(outcome=Outcome.FAILED, reason="its signal file became unreadable", finished_at=born)
        return cls(id=request_id, source="api", submitted_at=born, result=result)

    def with_error(self, error: str) -> Self:
        """The same with its last error, clipped: a plain copy would not be, and outgrow what can be read again."""
        return type(self).model_validate(self.model_dump() | {"last_error": error})

    @property
    def state(self) -> State:
        """The request's state, as ``GET /retrain/{id}`` tells it."""
        if self.result is not None:
            return State(self.result.outcome)
        return State.RUNNING if self.attempts else State.QUEUED
