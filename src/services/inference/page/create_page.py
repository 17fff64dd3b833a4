"""Builds the page of one service from its settings and objects."""

from collections.abc import Callable
from datetime import UTC, datetime

from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.page.history import SHOWN
from src.services.inference.page.known_aliases import KnownAliases
from src.services.inference.page.known_requests import KnownRequests
from src.services.inference.page.links import Links
from src.services.inference.page.page import Page, PageOptions
from src.serving.models.model_store import ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.watch.live_traffic import LiveTraffic


def create_page(  # noqa: PLR0913 - the page shows something of each
    settings: InferenceSettings,
    store: ModelStore,
    traffic: LiveTraffic,
    spool: RetrainSpool,
    registry: RegistryClient,
    *,
    is_stopping: Callable[[], bool],
) -> Page:
    """The page; it reads nothing before its first view."""
    options = PageOptions(
        settings.model_name,
        Links.from_settings(settings),
        settings.drift_window_rows,
        asks_key=settings.write_api_key is not None,
    )
    return Page(
        store,
        traffic,
        KnownRequests(spool, SHOWN),
        KnownAliases(registry),
        options=options,
        is_stopping=is_stopping,
        clock=lambda: datetime.now(UTC),
    )
