"""Builds the objects of one service from its settings."""

from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from src.core.file_lock import is_locked
from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.alert_retrain import AlertOutcome, AlertRetrain
from src.services.inference.page.page import Page
from src.services.inference.routes import batch, page
from src.services.inference.routes.catalogue import ALERTING, WRITING, Catalogue
from src.services.inference.service_state import ServiceState
from src.serving.http.bodies import Bodies, BodyMemory
from src.serving.http.fast_predict import MAX_BYTES, FastPredict
from src.serving.http.guards import EncodingGuard, Guard, HostGuard, WriteGuard
from src.serving.http.overload import Overload
from src.serving.http.stopping import Stopping
from src.serving.http.timeouts import ClientTimeouts
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import MAX_THREADS, InferenceScheduler, available_cores
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_store import Backoff, ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.models.rollback import Rollback
from src.serving.protocols.batches import Batches
from src.serving.protocols.single_rows import single_rows
from src.serving.watch.metrics import ServingMetrics


def create_state(
    settings: InferenceSettings, catalogue: Catalogue, transport: httpx.AsyncBaseTransport | None
) -> ServiceState:
    """All objects, wired together; none has started. ``transport`` replaces the network to MLflow."""
    now = partial(datetime.now, UTC)
    metrics = ServingMetrics(CollectorRegistry(), catalogue.infos, settings.drift_window_rows, AlertOutcome)
    registry = RegistryClient(
        settings.mlflow_url, settings.model_name, timeout=settings.mlflow_timeout_seconds, transport=transport
    )
    cache = ModelCache(settings.cache_dir, settings.model_name)
    backoff = Backoff(settings.model_poll_seconds, settings.model_retry_max_seconds)
    store = ModelStore(registry, cache, metrics, backoff, partial(is_locked, settings.training_lock))
    spool = RetrainSpool(settings.retrain_dir, max_pending=settings.retrain_max_pending)
    scheduler = InferenceScheduler(min(available_cores(), MAX_THREADS))
    stopping = Stopping()
    guards = _guards(settings)
    timeouts = ClientTimeouts(settings.head_seconds, settings.body_seconds, settings.body_rate)
    admission = Admission(
        settings.max_concurrency, queue=settings.max_queue, seconds=settings.queue_seconds, on_shed=metrics.shed
    )
    max_requests = settings.max_concurrency + settings.max_queue
    return ServiceState(
        registry=registry,
        store=store,
        scheduler=scheduler,
        batches=Batches(settings, scheduler, metrics),
        spool=spool,
        alerts=AlertRetrain(spool, timedelta(seconds=settings.alert_cooldown_seconds), clock=now),
        rollback=Rollback(registry, store, settings.alias_lock, clock=now),
        page=Page(settings, store, metrics.traffic, spool, registry, is_stopping=lambda: stopping.begun),
        metrics=metrics,
        guards=guards,
        timeouts=timeouts,
        bodies=_bodies(settings, timeouts, metrics),
        stopping=stopping,
        admission=admission,
        overload=Overload(metrics, catalogue.templates, max_requests=max_requests, exempt=catalogue.exempt),
        fast=FastPredict(
            routes=single_rows(settings.model_name),
            store=store,
            guards=guards,
            admission=admission,
            stopping=stopping,
            metrics=metrics,
            max_pending=max_requests,
            max_body_bytes=min(settings.max_body_bytes, MAX_BYTES),
        ),
    )


def _guards(settings: InferenceSettings) -> tuple[Guard, ...]:
    """The checks of every request's head, in their order."""
    return (
        HostGuard(settings.allowed_hosts.split(",")),
        EncodingGuard(),
        WriteGuard(page.FORMS, None),  # predictions need no key on the page either
        WriteGuard(WRITING, _shown(settings.write_api_key)),
        WriteGuard(ALERTING, _shown(settings.alert_token)),
    )


def _bodies(settings: InferenceSettings, timeouts: ClientTimeouts, metrics: ServingMetrics) -> Bodies:
    """Memory for incoming bodies: the running batches and one more, and one other body and one form per slot."""

    def memory(max_body_bytes: int, bodies: int) -> BodyMemory:
        return BodyMemory(max_body_bytes, bodies * max_body_bytes, settings.body_seconds)

    usual = memory(settings.max_body_bytes, settings.max_concurrency)
    forms = memory(min(page.MAX_FORM_BYTES, settings.max_body_bytes), settings.max_concurrency)
    batches = memory(settings.max_batch_bytes, settings.max_large_batches + 1)
    return Bodies(timeouts, usual, {batch.PATH: batches, **dict.fromkeys(page.FORMS, forms)}, metrics)


def _shown(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
