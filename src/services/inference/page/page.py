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
from src.services.inference.page.live import drift_bars, versions_view
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
# Seconds between two polls of an open page: while something is about to change, and otherwise.
QUICK, SLOW = 1, 4


class Page:
    """Renders the page from the service's state. Call its methods from the event loop."""

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
        return await self._render("page.html", **live, fields=fields, form_mark=_mark(current))

    async def news(self, seen: str, form: str) -> str | None:
        """The live part for a page that has the form with this mark, unless it has the live part with the other."""
        live = await self._live()
        return await self._render("news.html", **live, form_mark=form) if live["seen"] != seen else None

    async def after(self, result: str, form: str, *, failed: bool = False) -> str:
        """The live part after an action, with its result, for a page that has the form with this mark."""
        self.forget()
        return await self._render("news.html", **await self._live(), form_mark=form, result=result, failed=failed)

    def forget(self) -> None:
        """Discard the cached answers after a change."""
        self._aliases.forget()
        self._requests.forget()

    async def answer(self, view: AnswerView) -> str:
        """The answer to the prediction form."""
        return await self._render("answer.html", view=view)

    async def _live(self) -> dict[str, Any]:
        """The live parts as HTML, the mark of these parts, and the seconds until the page should poll again."""
        (aliases, aliases_problem), (requests, requests_problem) = await asyncio.gather(
            self._aliases.read(), self._requests.read()
        )
        store, model, report = self._store, self._store.current, self._traffic.report()
        state = "stopping" if self._is_stopping() else "ready" if model is not None else "no model"
        given = {
            "now": datetime.now(UTC),
            "state": state,
            "model": model,
            "mlflow_reachable": store.mlflow_reachable,
            "problem": store.last_error,
            "rows": report.rows,
            "bars": drift_bars(report, has_classes=bool(model.classes)) if model is not None else [],
            "versions": versions_view(aliases) if aliases is not None else None,
            "versions_problem": aliases_problem,
            "requests": requests or [],
            "requests_problem": requests_problem,
        }
        card, rest = await self._render("card.html", **given), await self._render("watch.html", **given)
        is_moving = state != "ready" or any(record.result is None for record in requests or [])
        seen = hashlib.sha256((card + rest).encode()).hexdigest()[:16]
        return {"card": card, "rest": rest, "seen": seen, "pause": QUICK if is_moving else SLOW}

    async def _render(self, name: str, **given: Any) -> str:
        # In a thread: compiling a template the first time takes milliseconds, which would delay predictions.
        return await asyncio.to_thread(lambda: self._templates.get_template(name).render(given))

    @cached_property
    def _templates(self) -> "Environment":
        return create_templates(self._settings)


def _mark(current: Predictor | None) -> str:
    return mark_of(current.schema) if current is not None else "none"
