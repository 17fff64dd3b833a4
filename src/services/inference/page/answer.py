"""An answer of the model to the form: a bar per class or a number, and how to ask the same with curl."""

import shlex
from dataclasses import dataclass

from msgspec import UnsetType

from src.services.inference.formats.schemas import Answer
from src.services.inference.model.predictor import Predictor
from src.services.inference.page.words import percent

# Classes with the highest probabilities; of the others there is a count.
MAX_BARS = 12


@dataclass(frozen=True)
class Bar:
    """A class and its probability, in [0, 1] and in words."""

    label: str
    share: float
    shown: str
    chosen: bool


@dataclass(frozen=True)
class AnswerView:
    """What the model answers, or what is wrong with what was filled in.

    Attributes:
        more: how many classes have no bar.
    """

    problems: list[str]
    prediction: str | None = None
    bars: tuple[Bar, ...] = ()
    more: int = 0
    version: str | None = None
    curl: str | None = None


def answer_view(predictor: Predictor, answer: Answer, record: bytes, base_url: str) -> AnswerView:
    """The answer to a record, and the command that asks for it.

    Args:
        predictor: who has answered.
        answer: its answer.
        record: the request's body.
        base_url: where the browser has found the page, with a trailing slash.
    """
    label = answer.prediction
    bars = [] if isinstance(answer.probabilities, UnsetType) else sorted(answer.probabilities.items(), key=_by_share)
    return AnswerView(
        problems=[],
        prediction=label if isinstance(label, str) else f"{label:.6g}",
        bars=tuple(Bar(name, share, percent(share), name == label) for name, share in bars[:MAX_BARS]),
        more=max(0, len(bars) - MAX_BARS),
        version=predictor.version.version,
        curl=curl_of(base_url, record),
    )


def curl_of(base_url: str, record: bytes) -> str:
    """A command for a POSIX shell that sends this record."""
    words = ["curl", "-H", "Content-Type: application/json", "-d", record.decode(), f"{base_url}predict"]
    return shlex.join(words)


def _by_share(item: tuple[str, float]) -> float:
    return -item[1]
