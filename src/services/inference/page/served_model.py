"""The page's status card: whether the service answers, with which model, and what to do if it does not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from src.services.inference.page.formatting import Moment, moment, score
from src.services.inference.page.links import Links
from src.serving.models.model_store import FIRST_TRAINING, NO_CHAMPION, ModelStore
from src.serving.models.predictor import Predictor

State = Literal["ready", "no model", "stopping"]


@dataclass(frozen=True)
class Link:
    """A link and its text."""

    name: str
    url: str


@dataclass(frozen=True)
class ModelCard:
    """The served model."""

    name: str
    version: str
    task: str
    engine: str
    engine_reason: str
    verified: bool
    source: str
    scores: list[tuple[str, str]]
    trained: Moment | None
    loaded: Moment | None
    links: list[Link]


@dataclass(frozen=True)
class Status:
    """Whether the service answers, and what is wrong.

    Attributes:
        problem: the service's last error; None if there is none.
    """

    state: State
    mlflow: str
    problem: str | None
    advice: str | None
    model: ModelCard | None


def status(store: ModelStore, links: Links, now: datetime, *, stopping: bool) -> Status:
    """The current state."""
    current = store.current
    state: State = "stopping" if stopping else "ready" if current is not None else "no model"
    reachable = store.last_look.reachable
    return Status(
        state=state,
        mlflow={None: "not asked yet", True: "reachable", False: "not reachable"}[reachable],
        problem=store.last_error,
        advice=_advice(store),
        model=_card(current, links, now) if current is not None else None,
    )


def _advice(store: ModelStore) -> str | None:
    if store.last_error is None:
        return None
    if store.last_look.reachable is False:
        return "Start MLflow, or correct MLFLOW_TRACKING_URI. " + (
            "Until then the model below stays in service." if store.current else "Until then there are no predictions."
        )
    if store.last_error == FIRST_TRAINING and store.current is None:
        return "The first model is served once it has passed the gate."
    if store.last_error == NO_CHAMPION and store.current is None:
        return "The first model is served once it has passed the gate. “Retrain now” below requests a training."
    if store.current is None:
        return "There are no predictions until this is fixed; roll back or train another version below."
    return "The model below stays in service; the service retries automatically."


def _card(predictor: Predictor, links: Links, now: datetime) -> ModelCard:
    version = predictor.version
    found = [
        ("MLflow version", links.version(version.name, version.version)),
        ("MLflow run", links.mlflow_run(version.run_id)),
        ("ZenML run", links.zenml_run(version.zenml_run_id)),
    ]
    return ModelCard(
        name=version.name,
        version=version.version,
        task=predictor.task,
        engine=predictor.engine.title,
        engine_reason=predictor.engine_reason,
        verified=version.verified,
        source=predictor.source,
        scores=[(name, score(value)) for name, value in version.scores.items()],
        trained=moment(version.registered_at, now),
        loaded=moment(predictor.loaded_at, now),
        links=[Link(name, url) for name, url in found if url is not None],
    )
