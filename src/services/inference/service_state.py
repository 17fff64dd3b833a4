"""The objects of the running service, and how routes get them."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from src.core.retrain_signal import RetrainSpool
from src.services.inference.alert_retrain import AlertRetrain
from src.services.inference.page.page import Page
from src.serving.http.bodies import Bodies
from src.serving.http.fast_predict import FastPredict
from src.serving.http.guards import Guard
from src.serving.http.overload import Overload
from src.serving.http.stopping import Stopping
from src.serving.http.timeouts import ClientTimeouts
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import InferenceScheduler
from src.serving.models.model_store import ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.models.rollback import Rollback
from src.serving.protocols.batches import Batches
from src.serving.watch.metrics import ServingMetrics


@dataclass(frozen=True)
class ServiceState:
    """The objects that make decisions; routes only translate between them and HTTP."""

    registry: RegistryClient
    store: ModelStore
    scheduler: InferenceScheduler
    batches: Batches
    spool: RetrainSpool
    alerts: AlertRetrain
    rollback: Rollback
    page: Page
    metrics: ServingMetrics
    guards: tuple[Guard, ...]
    timeouts: ClientTimeouts
    bodies: Bodies
    stopping: Stopping
    admission: Admission
    overload: Overload
    fast: FastPredict


def service_of(connection: HTTPConnection) -> ServiceState:
    """The running service's objects."""
    return cast(ServiceState, connection.scope["state"]["service"])


async def _service(connection: HTTPConnection) -> ServiceState:
    """Async, because FastAPI calls a plain function in a thread, which is slow while the event loop is busy."""
    return service_of(connection)


Service = Annotated[ServiceState, Depends(_service)]
