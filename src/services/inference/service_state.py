"""The objects of the running service, and how routes get them."""

from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from src.core.retrain_signal import RetrainSpool
from src.services.inference.alert_retrain import AlertRetrain
from src.services.inference.formats.batches import Batches
from src.services.inference.model.alias_client import AliasClient
from src.services.inference.model.inference_scheduler import InferenceScheduler
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.registry_client import RegistryClient
from src.services.inference.model.rollback import Rollback
from src.services.inference.page.page import Page
from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission
from src.services.inference.web.edge_policy import EdgePolicy
from src.services.inference.web.fast_predict import FastPredict
from src.services.inference.web.guards import HostGuard


@dataclass(frozen=True)
class ServiceState:
    """The objects that make decisions; routes only translate between them and HTTP."""

    registry: RegistryClient
    aliases: AliasClient
    store: ModelStore
    scheduler: InferenceScheduler
    batches: Batches
    spool: RetrainSpool
    alerts: AlertRetrain
    rollback: Rollback
    page: Page
    metrics: ServingMetrics
    edge: EdgePolicy
    hosts: HostGuard
    admission: Admission
    fast: FastPredict


class LifespanState(TypedDict):
    """The state that the lifespan gives to every request."""

    service: ServiceState


def service_of(connection: HTTPConnection) -> ServiceState:
    """The running service's objects."""
    return cast(ServiceState, connection.scope["state"]["service"])


async def _service(connection: HTTPConnection) -> ServiceState:
    """Async, because FastAPI calls a plain function in a thread, which is slow while the event loop is busy."""
    return service_of(connection)


Service = Annotated[ServiceState, Depends(_service)]
