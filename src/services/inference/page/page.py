"""The service's page as HTML: the whole page, its live part, and the answers to its forms."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.core.errors import LoopError
from src.services.inference.page.answer import AnswerView
from src.services.inference.page.drift_bars import DriftView, drift_view
from src.services.inference.page.form import form_of, mark_of
from src.services.inference.page.history import History, history
from src.services.inference.page.known_aliases import KnownAliases
from src.services.inference.page.known_requests import KnownRequests
from src.services.inference.page.links import Links
from src.services.inference.page.served_model import Status, status
from src.services.inference.page.versions import VersionsView, versions_view
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.watch.live_traffic import LiveTraffic

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# Seconds between two polls of an open page: while a training waits or runs, and otherwise.
QUICK, SLOW = 1, 4


@dataclass(frozen=True)
class PageOptions:
    """The settings that the page shows.

    Attributes:
        asks_key: whether retraining and rolling back need a key.
    """

    model_name: str
    links: Links
    drift_window_rows: int
    asks_key: bool


@dataclass(frozen=True)
class Notice:
    """The result of an action on the page."""

    text: str
    failed: bool = False


@dataclass(frozen=True)
class Live:
    """The live part of the page."""

    status: Status
    drift: DriftView
    history: History
    versions: VersionsView

    @property
    def pause(self) -> int:
        """Seconds until the page should poll again."""
        return QUICK if self.history.is_moving or self.status.state != "ready" else SLOW


class Page:
    """Renders the page from the service's state. Call its methods from the event loop.

    Args:
        store: holds the served model.
        traffic: compares live rows with the training rows.
        requests: reads the newest retrain requests.
        aliases: reads the registered versions.
        options: the settings that the page shows.
        is_stopping: whether the service stops.
        clock: the current time, with its zone.
    """

    def __init__(  # noqa: PLR0913 - the page shows something of each
        self,
        store: ModelStore,
        traffic: LiveTraffic,
        requests: KnownRequests,
        aliases: KnownAliases,
        *,
        options: PageOptions,
        is_stopping: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._traffic = traffic
        self._requests = requests
        self._aliases = aliases
        self._options = options
        self._is_stopping = is_stopping
        self._clock = clock

    @property
    def form_mark(self) -> str:
        """The mark of the form for the served model."""
        return _mark(self._store.current)

    async def whole(self) -> str:
        """The page."""
        live = await self._live()
        # Form and mark of the same model: if the model is swapped meanwhile, the next poll finds another mark.
        current = self._store.current
        form = form_of(current) if current is not None else None
        return await self._render("page.html", form=form, **await self._parts(live, _mark(current)))

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

    async def after(self, notice: Notice, form: str) -> str:
        """The live part after an action, with its result.

        Args:
            notice: the result.
            form: the mark of the page's form.
        """
        self.forget()
        return await self._render("news.html", notice=notice, **await self._parts(await self._live(), form))

    def forget(self) -> None:
        """Discard the cached answers after a change."""
        self._aliases.forget()
        self._requests.forget()

    async def answer(self, view: AnswerView) -> str:
        """The answer to the prediction form."""
        return await self._render("answer.html", answer=view)

    async def _live(self) -> Live:
        known, runs = await asyncio.gather(self._aliases.read(), self._history())
        current, links, now = self._store.current, self._options.links, self._clock()
        if known.aliases is not None:
            runs = runs.marking(known.aliases.taken_back)
        return Live(
            status=status(self._store, links, now, stopping=self._is_stopping()),
            drift=drift_view(current, self._traffic.report(), self._options.drift_window_rows),
            history=runs,
            versions=versions_view(known.aliases, known.problem, self._options.model_name, links, now),
        )

    async def _history(self) -> History:
        try:
            records = await self._requests.read()
        except LoopError as error:
            return History([], str(error))
        options = self._options
        return history(records, self._store.current, options.model_name, options.links, self._clock())

    async def _parts(self, live: Live, form_mark: str) -> dict[str, Any]:
        """The templates' variables, with the live parts as HTML, of which their mark is made."""
        given = {"live": live, "options": self._options}
        card, rest = await self._render("card.html", **given), await self._render("watch.html", **given)
        seen = hashlib.sha256((card + rest).encode()).hexdigest()[:16]
        return {**given, "card": card, "rest": rest, "seen": seen, "form_mark": form_mark}

    async def _render(self, name: str, **given: Any) -> str:
        # In a thread: compiling a template the first time takes milliseconds, which would delay predictions.
        return await asyncio.to_thread(self._render_now, name, given)

    @cached_property
    def _templates(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - keeps the service's start fast

        return Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def _render_now(self, name: str, given: Mapping[str, Any]) -> str:
        return self._templates.get_template(name).render(given)


def _mark(current: Predictor | None) -> str:
    return mark_of(current.schema) if current is not None else "none"
