"""The inference service: ``create_app(settings)`` wires objects, middleware and routes."""

import asyncio
import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.types import Scope

from src.core.folders import explaining_unwritable, make_folder
from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.alert_retrain import AlertRetrain
from src.services.inference.formats.batches import Batches, create_batches
from src.services.inference.model.alias_client import AliasClient
from src.services.inference.model.calls import INLINE_BYTES, Calls
from src.services.inference.model.model_cache import ModelCache
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.pace import Pace
from src.services.inference.model.registry_client import RegistryClient
from src.services.inference.model.rollback import Rollback
from src.services.inference.openapi.document import Document
from src.services.inference.openapi.refusals import Refusals
from src.services.inference.page.create_page import create_page
from src.services.inference.routes import (
    alerts,
    batch,
    documentation,
    health,
    invocations,
    metrics,
    open_inference,
    page,
    predict,
    retrain,
    rollback,
)
from src.services.inference.service_state import LifespanState, ServiceState
from src.services.inference.watch.metrics import RouteInfo, ServingMetrics
from src.services.inference.web.admission import Admission
from src.services.inference.web.body_limits import BodyLimits
from src.services.inference.web.errors import install_error_handlers
from src.services.inference.web.fast_predict import FastPredict
from src.services.inference.web.front import Front
from src.services.inference.web.guards import HostGuard, WriteGuard
from src.services.inference.web.middleware import (
    AdmissionMiddleware,
    BodyLimitMiddleware,
    GuardMiddleware,
    RequestContextMiddleware,
)
from src.services.inference.web.route_templates import RouteTemplates
from src.services.inference.web.slow_clients import Patience
from src.services.inference.web.uploads import Bodies, Uploads

DESCRIPTION = "Serves the champion of a registered model and takes requests to train a new one."
VERSION = "0.1.0"
# Fixed paths of the routes that change something. Predictions do not.
WRITING = frozenset({"/retrain", "/rollback"}) | page.WRITING
# Alertmanager's, with a token of its own.
ALERTING = frozenset({"/alerts"})
# Pages in work and waiting: they take no slot of the predictions, and never more than a moment of their time.
PAGES_AT_ONCE, PAGES_IN_QUEUE = 4, 32
# What any route may answer, whatever it documents: refused, turned away, and failed.
ANYWHERE = (400, 408, 503, 500)


def create_app(settings: InferenceSettings, *, mlflow_transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The service as an ASGI application; nothing runs and nothing is written before its lifespan starts.

    Args:
        settings: where MLflow, the cache and the shared volume are, and the limits.
        mlflow_transport: replaces the network to MLflow.
    """
    # The busiest first: routes are tried in this order.
    routers = (
        predict.router,
        batch.router,
        invocations.router,
        open_inference.router,
        health.router,
        retrain.router,
        rollback.router,
        metrics.router,
        page.router,
        documentation.router,
        *((alerts.router,) if settings.alert_retrain else ()),
    )
    service_metrics = ServingMetrics(CollectorRegistry(), _routes_of(routers), settings.drift_window_rows)
    registry = RegistryClient(
        settings.mlflow_url,
        settings.model_name,
        timeout=settings.mlflow_timeout_seconds,
        transport=mlflow_transport,
    )
    aliases = AliasClient(
        settings.mlflow_url,
        settings.model_name,
        timeout=settings.mlflow_timeout_seconds,
        transport=mlflow_transport,
    )
    store = ModelStore(
        registry,
        ModelCache(settings.cache_dir, settings.model_name),
        service_metrics,
        Pace(settings.model_poll_seconds, settings.model_retry_max_seconds),
    )
    spool = RetrainSpool(settings.retrain_dir, max_pending=settings.retrain_max_pending)
    calls = Calls()
    alert_retrain = AlertRetrain(spool, timedelta(seconds=settings.alert_cooldown_seconds), clock=_now)
    batches = create_batches(settings, calls, service_metrics)
    templates = RouteTemplates(routers)
    exempt = RouteTemplates((health.router, metrics.router)).fixed
    limits = BodyLimits(settings.max_body_bytes, {batch.PATH: settings.max_batch_bytes})
    front = Front(
        Patience(settings.head_seconds, settings.body_seconds, settings.body_rate),
        _bodies(settings, limits),
        service_metrics,
        templates,
        most=settings.max_concurrency + settings.max_queue,
        exempt=exempt,
    )
    admission = Admission(
        settings.max_concurrency,
        queue=settings.max_queue,
        seconds=settings.queue_seconds,
        on_shed=service_metrics.shed,
    )
    hosts = HostGuard(settings.allowed_hosts.split(","))
    fast = FastPredict(
        store=store,
        hosts=hosts,
        admission=admission,
        stopping=front.stopping,
        metrics=service_metrics,
        most=front.most,
        max_body_bytes=min(settings.max_body_bytes, INLINE_BYTES),
    )
    stopping = front.stopping
    state = ServiceState(
        store,
        calls,
        batches,
        spool,
        alert_retrain,
        Rollback(aliases, store, settings.alias_lock, clock=_now),
        create_page(settings, store, service_metrics.traffic, spool, aliases, is_stopping=lambda: stopping.begun),
        service_metrics,
        front,
        fast,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        await asyncio.to_thread(prepare_folders, settings)
        await store.restore()
        following = asyncio.create_task(store.follow(), name="follow-champion")
        try:
            yield {"service": state}
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            calls.close()
            batches.close()
            await registry.aclose()
            await aliases.aclose()

    app = FastAPI(
        title=f"{settings.model_name} inference",
        description=DESCRIPTION,
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,  # the target would be made of the caller's Host header
        openapi_url=None,  # routes/documentation.py has it and the pages, without files from other origins
    )
    writing = WriteGuard(WRITING, _shown(settings.write_api_key))
    alerting = WriteGuard(ALERTING, _shown(settings.alert_token))
    # The one added last is the outermost.
    app.add_middleware(BodyLimitMiddleware, limits=limits)
    pages = Admission(PAGES_AT_ONCE, queue=PAGES_IN_QUEUE, seconds=settings.queue_seconds, on_shed=service_metrics.shed)
    turns = functools.partial(_turns_of, batches, pages)
    app.add_middleware(AdmissionMiddleware, admission=admission, turns=turns, exempt=exempt)
    app.add_middleware(GuardMiddleware, guards=(hosts, writing, alerting))
    app.add_middleware(RequestContextMiddleware, metrics=service_metrics, templates=templates)
    install_error_handlers(app, _methods_of(routers))
    for router in routers:
        app.include_router(router)
    keyed = (WRITING if settings.write_api_key else frozenset()) | (ALERTING if settings.alert_retrain else frozenset())
    refusals = Refusals(exempt=exempt, writing=WRITING | ALERTING, keyed=keyed)
    document = Document(app, lambda: store.current, refusals)
    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way
    return app


def prepare_folders(settings: InferenceSettings) -> None:
    """Make the model cache and the retrain spool where they are missing.

    Raises:
        ConfigError: naming the folder that cannot be written.
    """
    with explaining_unwritable("DATA_DIR or MODEL_CACHE_DIR"):
        make_folder(settings.cache_dir)
        ModelCache(settings.cache_dir, settings.model_name).create()
        RetrainSpool(settings.retrain_dir).create()


def _bodies(settings: InferenceSettings, limits: BodyLimits) -> Bodies:
    """Room for bodies that come in: for the batches in work and one more, and for as many others as there are slots."""
    batches = (settings.max_large_batches + 1) * settings.max_batch_bytes
    others = settings.max_concurrency * settings.max_body_bytes
    usual, clock = settings.body_seconds, time.monotonic
    return Bodies(limits, Uploads(others, usual, clock), {batch.PATH: Uploads(batches, usual, clock)})


def _turns_of(batches: Batches, pages: Admission, scope: Scope) -> Admission | None:
    """Who lets in what does not take a slot of the predictions."""
    return pages if page.is_page(scope["path"]) else batch.turns_of(batches, scope)


def _now() -> datetime:
    return datetime.now(UTC)


def _shown(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _methods_of(routers: tuple[APIRouter, ...]) -> dict[str, set[str]]:
    """Every method of each path."""
    methods = defaultdict[str, set[str]](set)
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        methods[route.path] |= route.methods or set()
    return dict(methods)


def _routes_of(routers: tuple[APIRouter, ...]) -> list[RouteInfo]:
    """Each route with the statuses that it documents, those of any, and of those that write."""
    return [
        RouteInfo(route.path, method, (route.status_code or 200, *map(int, route.responses), *ANYWHERE))
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ] + [RouteInfo(path, "POST", (401, 403)) for path in (WRITING | ALERTING) & RouteTemplates(routers).fixed]
