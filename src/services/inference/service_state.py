"""The objects of one service, and how routes get them."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import httpx
from fastapi import Depends
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from src.core.file_lock import is_locked
from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.alert_retrain import AlertOutcome, AlertRetrain
from src.services.inference.page.page import Page
from src.serving.http.bodies import Bodies, BodyMemory
from src.serving.http.fast_predict import FastPredict
from src.serving.http.guards import Guard, HostGuard, WriteGuard, encoding_guard
from src.serving.http.overload import Overload
from src.serving.http.request_parser import MAX_KEPT_BYTES
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import MAX_THREADS, InferenceScheduler, available_cores
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_store import Backoff, ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.models.rollback import Rollback
from src.serving.protocols.batches import Batches
from src.serving.protocols.single_rows import single_rows
from src.serving.watch.metrics import ServingMetrics

if TYPE_CHECKING:  # routes import this module
    from src.services.inference.routes.catalogue import Catalogue


class ServiceState:
    """The objects that make decisions, wired together; routes only translate between them and HTTP. None has started.

    ``transport`` replaces the network to MLflow.
    """

    def __init__(
        self, settings: InferenceSettings, catalogue: "Catalogue", transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.metrics = ServingMetrics(CollectorRegistry(), catalogue.infos, settings.drift_window_rows, AlertOutcome)
        self.registry = RegistryClient(
            settings.mlflow_url, settings.model_name, timeout=settings.mlflow_timeout_seconds, transport=transport
        )
        cache = ModelCache(settings.cache_dir, settings.model_name)
        backoff = Backoff(settings.model_poll_seconds, settings.model_retry_max_seconds)
        is_training = partial(is_locked, settings.training_lock)
        self.store = ModelStore(self.registry, cache, self.metrics, backoff, is_training)
        self.scheduler = InferenceScheduler(min(available_cores(), MAX_THREADS))
        self.batches = Batches(settings, self.scheduler, self.metrics)
        self.spool = RetrainSpool(settings.retrain_dir, max_pending=settings.retrain_max_pending)
        self.alerts = AlertRetrain(
            self.spool, timedelta(seconds=settings.alert_cooldown_seconds), clock=partial(datetime.now, UTC)
        )
        self.rollback = Rollback(self.registry, self.store, settings.alias_lock)
        self.stopping = Stopping()
        self.page = Page(
            settings,
            self.store,
            self.metrics.traffic,
            self.spool,
            self.registry,
            is_stopping=lambda: self.stopping.begun,
        )
        self._add_edge(settings, catalogue)

    def _add_edge(self, settings: InferenceSettings, catalogue: "Catalogue") -> None:
        """What stands between connections and routes."""
        self.guards = _guards(settings, catalogue)
        self.settings = settings
        self.bodies = _bodies(settings, catalogue, self.metrics)
        self.admission = Admission(
            settings.max_concurrency,
            queue=settings.max_queue,
            seconds=settings.queue_seconds,
            on_shed=self.metrics.shed,
        )
        max_requests = settings.max_concurrency + settings.max_queue
        self.overload = Overload(self.metrics, catalogue.templates, max_requests=max_requests, exempt=catalogue.exempt)
        self.fast = FastPredict(
            routes=single_rows(settings.model_name),
            store=self.store,
            guards=self.guards,
            admission=self.admission,
            stopping=self.stopping,
            metrics=self.metrics,
            max_pending=max_requests,
            max_body_bytes=min(settings.max_body_bytes, MAX_KEPT_BYTES),
        )


def _guards(settings: InferenceSettings, catalogue: "Catalogue") -> tuple[Guard, ...]:
    """The checks of every request's head, in their order."""
    return (
        HostGuard(settings.allowed_hosts.split(",")),
        encoding_guard,
        WriteGuard(catalogue.forms, None),  # predictions need no key on the page either
        WriteGuard(catalogue.writing, _shown(settings.write_api_key)),
        WriteGuard(catalogue.alerting, _shown(settings.alert_token)),
    )


def _bodies(settings: InferenceSettings, catalogue: "Catalogue", metrics: ServingMetrics) -> Bodies:
    """Memory for incoming bodies: the running batches and one more, and one other body and one form per slot."""

    def memory(max_body_bytes: int, bodies: int) -> BodyMemory:
        return BodyMemory(max_body_bytes, bodies * max_body_bytes, settings.body_seconds)

    usual = memory(settings.max_body_bytes, settings.max_concurrency)
    forms = memory(min(catalogue.max_form_bytes, settings.max_body_bytes), settings.max_concurrency)
    batches = memory(settings.max_batch_bytes, settings.max_large_batches + 1)
    return Bodies(settings, usual, {catalogue.batch_path: batches, **dict.fromkeys(catalogue.forms, forms)}, metrics)


def _shown(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


async def service_of(connection: HTTPConnection) -> ServiceState:
    """Async, because FastAPI calls a plain function in a thread, which is slow while the event loop is busy."""
    return cast(ServiceState, connection.scope["state"]["service"])


Service = Annotated[ServiceState, Depends(service_of)]
