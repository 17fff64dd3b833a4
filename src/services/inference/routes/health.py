"""Health for people and for orchestrators. These routes do not query MLflow; they report the store's last poll."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.responses import PlainTextResponse

from src.services.inference.service_state import Service, ServiceState
from src.serving.models.predictor import Predictor, Source, Task

router = APIRouter(tags=["health"])
NOT_READY = "No model is loaded yet, or the service is stopping; the body has the same shape"


class ServedModel(BaseModel):
    """The served model; ``verified`` if its files are those that the training pipeline registered."""

    name: str
    version: str
    task: Task
    engine: str
    engine_reason: str
    verified: bool
    loaded_at: datetime
    source: Source


class MlflowHealth(BaseModel):
    """The last poll of MLflow; null before the first."""

    reachable: bool | None
    checked_at: datetime | None


class Health(BaseModel):
    """The answer of ``GET /health``."""

    live: Literal[True] = True
    ready: bool
    stopping: bool
    model: ServedModel | None
    mlflow: MlflowHealth
    last_error: str | None


@router.get(
    "/health",
    summary="Liveness, readiness and the served model",
    responses={503: {"description": NOT_READY, "model": Health}},
)
async def health(service: Service, response: Response) -> Health:
    """200 if a model is loaded and the service is not stopping, else 503 with the same body."""
    response.status_code = _ready_status(service)
    store = service.store
    current = store.current
    return Health(
        ready=_is_ready(service),
        stopping=service.stopping.begun,
        model=_served(current) if current is not None else None,
        mlflow=MlflowHealth(reachable=store.last_look.reachable, checked_at=store.last_look.at),
        last_error=store.last_error,
    )


@router.get(
    "/ping",
    summary="Readiness by MLflow's scoring protocol",
    response_class=PlainTextResponse,
    responses={
        503: {
            "description": "No model is loaded yet, or the service stops",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def ping(service: Service) -> Response:
    """200 if a model can answer and the service does not stop, else 503."""
    return PlainTextResponse("\n", _ready_status(service))


def _served(predictor: Predictor) -> ServedModel:
    return ServedModel(
        name=predictor.version.name,
        version=predictor.version.version,
        task=predictor.task,
        engine=predictor.engine.name,
        engine_reason=predictor.engine_reason,
        verified=predictor.version.verified,
        loaded_at=predictor.loaded_at,
        source=predictor.source,
    )


@router.get("/v2/health/live", summary="Liveness by the Open Inference Protocol")
async def live() -> dict[str, bool]:
    """200 as long as the process answers."""
    return {"live": True}


@router.get(
    "/v2/health/ready",
    summary="Readiness by the Open Inference Protocol",
    responses={503: {"description": NOT_READY, "model": dict[str, bool]}},
)
async def ready(service: Service, response: Response) -> dict[str, bool]:
    """200 if a model can answer and the service does not stop, else 503."""
    response.status_code = _ready_status(service)
    return {"ready": _is_ready(service)}


def _ready_status(service: ServiceState) -> int:
    return 200 if _is_ready(service) else 503


def _is_ready(service: ServiceState) -> bool:
    return service.store.current is not None and not service.stopping.begun
