"""The inference service: ``create_app(settings)`` puts its routes and middleware around its objects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import httpx
from fastapi import FastAPI

from src.core.folders import explaining_unwritable, make_folder
from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.openapi.document import Document
from src.services.inference.routes import batch, page
from src.services.inference.routes.catalogue import Catalogue
from src.services.inference.service_state import ServiceState
from src.serving.http.errors import install_error_handlers
from src.serving.http.middleware import AdmissionMiddleware, RequestContextMiddleware
from src.serving.models.admission import Admission
from src.serving.models.model_cache import ModelCache

DESCRIPTION = "Serves the champion of a registered model and takes requests to train a new one."
VERSION = "0.1.0"
# Page requests that run and wait. They have slots of their own, so that they cannot delay predictions much.
PAGES_AT_ONCE, PAGES_IN_QUEUE = 4, 32


def create_app(
    settings: InferenceSettings,
    *,
    on_start: Callable[[ServiceState], None] = lambda _: None,
    mlflow_transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The service as an ASGI application; it does nothing before its lifespan starts.

    Args:
        settings: where MLflow, the cache and the shared volume are, and the limits.
        on_start: called when the lifespan starts.
        mlflow_transport: replaces the network to MLflow.
    """
    catalogue = Catalogue(alert_retrain=settings.alert_retrain)
    state = ServiceState(settings, catalogue, mlflow_transport)
    app = FastAPI(
        title=f"{settings.model_name} inference",
        description=DESCRIPTION,
        version=VERSION,
        servers=[{"url": "."}],  # relative to the document's address: a proxy may add a prefix to all paths
        lifespan=lambda _: _running(settings, state, on_start),
        redirect_slashes=False,  # the redirect would contain the caller's Host header
        openapi_url=None,  # served by routes/documentation.py, without files from other origins
    )
    _add_middleware(app, catalogue, state, settings.queue_seconds)
    install_error_handlers(app, catalogue.methods)
    for router in catalogue.routers:
        app.include_router(router)
    keyed = catalogue.writing if settings.write_api_key else frozenset()
    if settings.alert_retrain:
        keyed |= catalogue.alerting
    writing = catalogue.writing | catalogue.alerting
    document = Document(app, lambda: state.store.current, exempt=catalogue.exempt, writing=writing, keyed=keyed)
    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way
    return app


def prepare_folders(settings: InferenceSettings) -> None:
    """Create the model cache and the retrain spool unless they exist.

    Raises:
        ConfigError: naming the folder that cannot be written.
    """
    with explaining_unwritable("DATA_DIR or MODEL_CACHE_DIR"):
        make_folder(settings.cache_dir)
        ModelCache(settings.cache_dir, settings.model_name).create()
        RetrainSpool(settings.retrain_dir).create()


@contextlib.asynccontextmanager
async def _running(
    settings: InferenceSettings, state: ServiceState, on_start: Callable[[ServiceState], None]
) -> AsyncIterator[dict[str, ServiceState]]:
    """Follows the champion for as long as the service runs."""
    on_start(state)
    await asyncio.to_thread(prepare_folders, settings)
    await state.store.restore()
    following = asyncio.create_task(state.store.follow(), name="follow-champion")
    try:
        yield {"service": state}
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        state.scheduler.close()
        state.batches.close()
        await state.registry.aclose()


def _add_middleware(app: FastAPI, catalogue: Catalogue, state: ServiceState, queue_seconds: float) -> None:
    """Add the middleware of all routes; the one added last is the outermost."""
    pages = Admission(PAGES_AT_ONCE, queue=PAGES_IN_QUEUE, seconds=queue_seconds, on_shed=state.metrics.shed)
    app.add_middleware(
        AdmissionMiddleware,
        admission=state.admission,
        # Pages and large batches have separate admissions.
        turns=lambda scope: pages if page.is_page(scope["path"]) else batch.turns_of(state.batches, scope),
        exempt=catalogue.exempt,
        bodies=state.bodies,
    )
    app.add_middleware(
        RequestContextMiddleware,
        metrics=state.metrics,
        templates=catalogue.templates,
        guards=state.guards,
        stopping=state.stopping,
    )
