"""The inference service: ``create_app(settings)`` puts its routes and middleware around its objects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from src.core.audit_log import AuditLog
from src.core.feedback import FEEDBACK_FOLDER
from src.core.file_lock import is_locked
from src.core.folders import explaining_unwritable, make_folder
from src.core.inference_settings import InferenceSettings
from src.core.prediction_log import SEGMENTS_FOLDER
from src.core.retrain_queue import open_queue
from src.core.rollouts import Rollouts
from src.services.inference.openapi.document import Document
from src.services.inference.page.page import Page
from src.services.inference.routes import feedback, page, predict
from src.services.inference.routes.alerts import AlertOutcome
from src.services.inference.routes.catalogue import ALERTING, WRITING, Catalogue
from src.serving.http.bodies import Bodies, BodyMemory
from src.serving.http.errors import install_error_handlers
from src.serving.http.fast_predict import FastPredict
from src.serving.http.front_protocol import Overload
from src.serving.http.guards import Guard, HostGuard, WriteGuard, encoding_guard
from src.serving.http.middleware import AdmissionMiddleware, RequestContextMiddleware
from src.serving.http.request_parser import MAX_KEPT_BYTES
from src.serving.http.stopping import Stopping
from src.serving.models.admission import Admission
from src.serving.models.alias_moves import AliasMoves
from src.serving.models.approval import Approval
from src.serving.models.inference_scheduler import (
    MAX_THREADS,
    InferenceScheduler,
    OnFailure,
    available_cores,
    ignore_failure,
)
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_store import Backoff, ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.models.rollback import Rollback
from src.serving.models.version_choice import VersionChoice
from src.serving.protocols.batches import Batches
from src.serving.protocols.single_rows import single_rows
from src.serving.watch.approvals import ApprovalFollower
from src.serving.watch.canary_follower import CanaryFollower, CanaryShadows
from src.serving.watch.feedback_store import FeedbackStore
from src.serving.watch.metrics import ServingMetrics
from src.serving.watch.prediction_log import PredictionLog
from src.serving.watch.promotions import Promotions
from src.serving.watch.shadow_follower import ShadowFollower

DESCRIPTION = "Serves the champion of a registered model and takes requests to train a new one."
VERSION = "0.1.0"
# The routes whose bodies may have MAX_BATCH_BYTES.
LARGE = frozenset({predict.BATCH, feedback.PATH})
# Page requests that run and wait. They have slots of their own, so that they cannot delay predictions much.
PAGES_AT_ONCE, PAGES_IN_QUEUE = 4, 32


class ServiceState:
    """The objects that make decisions, none of them started; ``transport`` replaces the network to MLflow."""

    def __init__(
        self, settings: InferenceSettings, catalogue: Catalogue, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        collected, segments = CollectorRegistry(), settings.quality_dir / SEGMENTS_FOLDER
        self.log = PredictionLog(settings, collected, segments) if settings.prediction_log else None
        metrics = ServingMetrics(collected, catalogue.infos, settings.drift_window_rows, AlertOutcome, self.log)
        registry = RegistryClient(
            settings.mlflow_url, settings.model_name, timeout=settings.mlflow_timeout_seconds, transport=transport
        )
        cache = ModelCache(settings.cache_dir, settings.model_name)
        backoff = Backoff(settings.model_poll_seconds, settings.model_retry_max_seconds)
        is_training = partial(is_locked, settings.training_lock)
        store = ModelStore(registry, cache, backoff, is_training, metrics.model_loaded, metrics.reload)
        metrics.watch(store)
        self.audit = AuditLog(settings.audit_file, metrics.audit_failed)
        spool = open_queue(settings, max_pending=settings.retrain_max_pending, audit=self.audit)
        self.settings = settings
        self.metrics, self.registry, self.store, self.spool = metrics, registry, store, spool
        self.on_failure: OnFailure = self.log.add_failed if self.log else ignore_failure
        self.scheduler = InferenceScheduler(min(available_cores(), MAX_THREADS), self.on_failure)
        self.batches = Batches(settings, self.scheduler, metrics)
        self.feedback = _feedback_store(settings)
        rollouts, model = Rollouts(settings.rollouts_dir, self.audit), settings.model_name
        moves = AliasMoves(registry, settings.alias_lock)
        self.rollback = Rollback(moves, store, rollouts, self.audit, model)
        self.approval = Approval(moves, store, rollouts, model, has_log=self.log is not None)
        self.approvals = ApprovalFollower(self.approval, collected)
        self.shadowing = ShadowFollower(self.log.shadow, self.rollback) if self.log else None
        self.choice = VersionChoice(store)
        self.canaries = self._canaries(rollouts)
        shadows = (self.log.shadow, self.log.canary_as_shadow) if self.log else (None, None)
        self.promotions = Promotions(rollouts, model, *shadows)
        self.stopping = Stopping()
        self.page = Page(settings, store, metrics.traffic, spool, registry, self.promotions, self.audit, self.stopping)
        self._add_edge(settings, catalogue)

    def _canaries(self, rollouts: Rollouts) -> CanaryFollower | None:
        """What loads a canary; without a prediction log, nothing could be said of one."""
        if self.log is None:
            return None
        return CanaryFollower(
            self.choice,
            CanaryShadows(self.log.canary_as_shadow, self.log.champion_as_shadow),
            self.store,
            rollouts,
            self.settings.model_name,
            take_rows=self.metrics.traffic.take_canary_rows,
        )

    def _add_edge(self, settings: InferenceSettings, catalogue: Catalogue) -> None:
        """What stands between connections and routes."""
        # Of the routes that change something, and of the page's predictions, which need no key.
        self.keys = dict.fromkeys(page.FORMS, None) | dict.fromkeys(WRITING, settings.write_api_key)
        self.keys |= dict.fromkeys(ALERTING, settings.alert_token)
        hosts = HostGuard(settings.allowed_hosts.split(","))
        self.guards: tuple[Guard, ...] = (hosts, encoding_guard, WriteGuard(self.keys))  # in this order
        self.bodies = _bodies(settings, self.metrics)
        slots, queue, seconds = settings.max_concurrency, settings.max_queue, settings.queue_seconds
        self.admission = Admission(slots, queue=queue, seconds=seconds, on_shed=self.metrics.shed)
        self.pages = Admission(PAGES_AT_ONCE, queue=PAGES_IN_QUEUE, seconds=seconds, on_shed=self.metrics.shed)
        self.overload = Overload(self.metrics, catalogue.template_of, slots + queue, catalogue.exempt)
        self.fast = FastPredict(
            routes=single_rows(settings.model_name),
            store=self.store,
            choice=self.choice,
            guards=self.guards,
            admission=self.admission,
            stopping=self.stopping,
            metrics=self.metrics,
            max_pending=slots + queue,
            max_body_bytes=min(settings.max_body_bytes, MAX_KEPT_BYTES),
            on_failure=self.on_failure,
        )


def create_app(
    settings: InferenceSettings,
    *,
    on_start: Callable[[ServiceState], None] = lambda _: None,
    mlflow_transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The service as an ASGI application; it does nothing before its lifespan, which calls ``on_start``, starts."""
    catalogue = Catalogue(alert_retrain=settings.alert_retrain)
    state = ServiceState(settings, catalogue, mlflow_transport)
    app = FastAPI(
        title=f"{settings.model_name} inference",
        description=DESCRIPTION,
        version=VERSION,
        servers=[{"url": "."}],  # relative to the document's address: a proxy may add a prefix to all paths
        lifespan=lambda _: _running(state, on_start),
        redirect_slashes=False,  # the redirect would contain the caller's Host header
        openapi_url=None,  # served by routes/documentation.py, without files from other origins
    )
    _add_middleware(app, catalogue, state)
    install_error_handlers(app, catalogue.methods)
    for router in catalogue.routers:
        app.include_router(router)
    app.openapi = Document(  # type: ignore[method-assign] # FastAPI's documented way
        app, lambda: state.store.current, catalogue.exempt, state.keys
    )
    return app


def prepare_folders(settings: InferenceSettings) -> None:
    """Create the folders of models, retrain requests and labels; raises ConfigError with one that cannot be written."""
    with explaining_unwritable("DATA_DIR or MODEL_CACHE_DIR"):
        make_folder(settings.cache_dir)
        ModelCache(settings.cache_dir, settings.model_name).create()
        open_queue(settings).create()
        if settings.prediction_log:
            _feedback_store(settings).create()


@contextlib.asynccontextmanager
async def _running(
    state: ServiceState, on_start: Callable[[ServiceState], None]
) -> AsyncIterator[dict[str, ServiceState]]:
    """Follows the champion for as long as the service runs."""
    on_start(state)
    await asyncio.to_thread(prepare_folders, state.settings)
    await state.store.restore()
    running = [asyncio.create_task(state.store.follow(), name="follow-champion")]
    running.append(asyncio.create_task(state.approvals.follow(), name="follow-approvals"))
    if state.log:
        running.append(asyncio.create_task(state.log.run(state.metrics.traffic.work_off), name="prediction-log"))
    if state.canaries:
        running.append(asyncio.create_task(state.canaries.follow(), name="follow-canary"))
    if state.shadowing:
        running.append(asyncio.create_task(state.shadowing.follow(), name="follow-promotions"))
    try:
        yield {"service": state}
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        if state.log:
            state.metrics.traffic.work_off()
            await asyncio.to_thread(state.log.close)
        state.scheduler.close()
        state.batches.workers.close()
        await state.registry.aclose()


def _add_middleware(app: FastAPI, catalogue: Catalogue, state: ServiceState) -> None:
    """Add the middleware of all routes; the one added last is the outermost."""

    def turns(scope: Scope) -> Admission | None:
        return state.pages if page.is_page(scope["path"]) else predict.turns_of(state.batches, scope, LARGE)

    app.add_middleware(
        AdmissionMiddleware, admission=state.admission, turns=turns, exempt=catalogue.exempt, bodies=state.bodies
    )
    app.add_middleware(
        RequestContextMiddleware,
        metrics=state.metrics,
        template_of=catalogue.template_of,
        guards=state.guards,
        stopping=state.stopping,
    )


def _feedback_store(settings: InferenceSettings) -> FeedbackStore:
    return FeedbackStore(settings.quality_dir / FEEDBACK_FOLDER, max_pending=settings.feedback_max_pending)


def _bodies(settings: InferenceSettings, metrics: ServingMetrics) -> Bodies:
    """Memory for incoming bodies: the running batches and one more, and one other body and one form per slot."""

    def memory(max_body_bytes: int, bodies: int) -> BodyMemory:
        return BodyMemory(max_body_bytes, bodies * max_body_bytes, settings.body_seconds)

    usual = memory(settings.max_body_bytes, settings.max_concurrency)
    forms = memory(min(page.MAX_FORM_BYTES, settings.max_body_bytes), settings.max_concurrency)
    batches = memory(settings.max_batch_bytes, settings.max_large_batches + 1)
    return Bodies(settings, usual, dict.fromkeys(LARGE, batches) | dict.fromkeys(page.FORMS, forms), metrics)
