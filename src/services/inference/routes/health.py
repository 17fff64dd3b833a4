"""What orchestrators and Prometheus ask. These routes do not query MLflow; they report the store's last poll."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AliasPath, BaseModel, Field
from starlette.responses import PlainTextResponse

from src.services.inference.routes.endpoints import Service
from src.serving.models.predictor import Source, Task

READY = 200
NOT_READY = "No model is loaded yet, or the service is stopping; the body has the same shape"

router = APIRouter(tags=["health"])


class ServedModel(BaseModel, from_attributes=True):
    """The served model; ``verified`` if its files are those that the training pipeline registered."""

    name: str = Field(validation_alias=AliasPath("version", "name"))
    version: str = Field(validation_alias=AliasPath("version", "version"))
    task: Task
    engine: str = Field(validation_alias=AliasPath("engine", "name"))
    engine_reason: str
    verified: bool = Field(validation_alias=AliasPath("version", "verified"))
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
    response.status_code = _status(service)
    store = service.store
    return Health(
        ready=response.status_code == READY,
        stopping=service.stopping.begun,
        model=store.current and ServedModel.model_validate(store.current),
        mlflow=MlflowHealth(reachable=store.mlflow_reachable, checked_at=store.polled_at),
        last_error=store.last_error,
    )


@router.get(
    "/ping",
    summary="Readiness by MLflow's scoring protocol",
    response_class=PlainTextResponse,
    responses={503: {"description": NOT_READY, "model": str}},
)
async def ping(service: Service) -> Response:
    """200 if a model can answer and the service does not stop, else 503."""
    return PlainTextResponse("\n", _status(service))


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
    response.status_code = _status(service)
    return {"ready": response.status_code == READY}


@router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=PlainTextResponse)
async def metrics(service: Service) -> Response:
    """Everything on the service's registry."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _status(service: Service) -> int:
    return READY if service.store.current is not None and not service.stopping.begun else 503
