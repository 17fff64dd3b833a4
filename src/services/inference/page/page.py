"""The service's page as HTML: the whole page, its live part, and the answers to its forms."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from src.core.retrain_signal import RetrainSpool
from src.core.settings import InferenceSettings
from src.services.inference.page.form import AnswerView, fields_of, mark_of
from src.services.inference.page.fresh import Fresh
from src.services.inference.page.live import Live, advice_of, drift_view, versions_view
from src.services.inference.page.rendering import create_templates
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.models.registry_client import RegistryClient
from src.serving.watch.live_traffic import LiveTraffic

if TYPE_CHECKING:
    from jinja2 import Environment

# The greatest age of what is shown of MLflow and of the shared volume, and how long MLflow is waited for.
MLFLOW_SECONDS, VOLUME_SECONDS, PATIENCE_SECONDS = 2.0, 1.0, 1.0
# How many retrain requests are shown.
REQUESTS = 8


class Page:
    """Renders the page from the service's state. Call its methods from the event loop.

    Args:
        settings: the links, and the names of what the page shows.
        store: holds the served model.
        traffic: compares live rows with the training rows.
        spool: holds the retrain requests.
        registry: reads the registered versions.
        is_stopping: whether the service stops.
    """

    def __init__(  # noqa: PLR0913 - the page shows something of each
        self,
        settings: InferenceSettings,
        store: ModelStore,
        traffic: LiveTraffic,
        spool: RetrainSpool,
        registry: RegistryClient,
        *,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._traffic = traffic
        self._aliases = Fresh(registry.aliases, MLFLOW_SECONDS, patience=PATIENCE_SECONDS)
        self._requests = Fresh(partial(asyncio.to_thread, spool.recent, REQUESTS), VOLUME_SECONDS)
        self._is_stopping = is_stopping

    @property
    def form_mark(self) -> str:
        """The mark of the form for the served model."""
        return _mark(self._store.current)

    async def whole(self) -> str:
        """The page."""
        live = await self._live()
        # Form and mark of the same model: if the model is swapped meanwhile, the next poll finds another mark.
        current = self._store.current
        fields = fields_of(current) if current is not None else []
        return await self._render("page.html", fields=fields, **await self._parts(live, _mark(current)))

    async def news(self, seen: str, form: str) -> tuple[str | None, bool]:
        """Changes since the page was rendered: the live part or None, and whether the page must be reloaded.

        Args:
            seen: the mark of the live part that the page has.
            form: the mark of its form.
        """
        if form != self.form_mark:
            return None, True
        parts = await self._parts(await self._live(), form)
        return (None if parts["seen"] == seen else await self._render("news.html", **parts)), False

    async def after(self, result: str, form: str, *, failed: bool = False) -> str:
        """The live part after an action, with its result.

        Args:
            result: what the action did.
            form: the mark of the page's form.
            failed: whether it failed.
        """
        self.forget()
        parts = await self._parts(await self._live(), form)
        return await self._render("news.html", result=result, failed=failed, **parts)

    def forget(self) -> None:
        """Discard the cached answers after a change."""
        self._aliases.forget()
        self._requests.forget()

    async def answer(self, view: AnswerView) -> str:
        """The answer to the prediction form."""
        return await self._render("answer.html", view=view)

    async def _live(self) -> Live:
        read = await asyncio.gather(self._aliases.read(), self._requests.read())
        (aliases, aliases_problem), (requests, requests_problem) = read
        store = self._store
        return Live(
            now=datetime.now(UTC),
            stopping=self._is_stopping(),
            model=store.current,
            mlflow_reachable=store.last_look.reachable,
            problem=store.last_error,
            advice=advice_of(store),
            drift=drift_view(store.current, self._traffic.report(), self._settings.drift_window_rows),
            versions=versions_view(aliases, aliases_problem),
            requests=(requests or []) if requests_problem is None else [],
            requests_problem=requests_problem,
        )

    async def _parts(self, live: Live, form_mark: str) -> dict[str, Any]:
        """The templates' variables, with the live parts as HTML, of which their mark is made."""
        card, rest = await self._render("card.html", live=live), await self._render("watch.html", live=live)
        seen = hashlib.sha256((card + rest).encode()).hexdigest()[:16]
        return {"live": live, "card": card, "rest": rest, "seen": seen, "form_mark": form_mark}

    async def _render(self, name: str, **given: Any) -> str:
        # In a thread: compiling a template the first time takes milliseconds, which would delay predictions.
        return await asyncio.to_thread(lambda: self._templates.get_template(name).render(given))

    @cached_property
    def _templates(self) -> "Environment":
        return create_templates(self._settings)


def _mark(current: Predictor | None) -> str:
    return mark_of(current.schema) if current is not None else "none"
