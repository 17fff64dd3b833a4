"""The service's page as HTML: whole, the part of it that changes by itself, and the answers to its forms."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.core.errors import LoopError
from src.services.inference.model.model_store import ModelStore
from src.services.inference.model.predictor import Predictor
from src.services.inference.page.answer import AnswerView
from src.services.inference.page.drift_bars import DriftView, drift_view
from src.services.inference.page.form import form_of, mark_of
from src.services.inference.page.history import History, history
from src.services.inference.page.known_aliases import KnownAliases
from src.services.inference.page.known_requests import KnownRequests
from src.services.inference.page.links import Links
from src.services.inference.page.served_model import Status, status
from src.services.inference.page.versions import VersionsView, versions_view
from src.services.inference.watch.live_traffic import LiveTraffic

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# Seconds between two looks of an open page: while something is under way, and else.
QUICK, SLOW = 1, 4


@dataclass(frozen=True)
class PageOptions:
    """What a page shows of the settings.

    Attributes:
        asks_key: whether who writes needs a key.
    """

    model_name: str
    links: Links
    drift_window_rows: int
    asks_key: bool


@dataclass(frozen=True)
class Notice:
    """What became of something that was asked for on the page."""

    text: str
    failed: bool = False


@dataclass(frozen=True)
class Live:
    """Everything on the page that changes by itself."""

    status: Status
    drift: DriftView
    history: History
    versions: VersionsView

    @property
    def pause(self) -> int:
        """Seconds until a page should look again."""
        return QUICK if self.history.is_moving or self.status.state != "ready" else SLOW


class Page:
    """Makes the page of what lives in the service. Call its methods from the event loop.

    Args:
        store: holds the served model.
        traffic: compares live rows with those of training.
        requests: tells of the newest retrain requests.
        aliases: tells of the registered versions.
        options: what is shown of the settings.
        is_stopping: whether the service stops.
        clock: the time of day, with its zone.
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
        """The mark of the form for the model that answers now."""
        return _mark(self._store.current)

    async def whole(self) -> str:
        """The page."""
        live = await self._live()
        # Form and mark of one model: whichever comes from here on, the next look sees that it is another.
        current = self._store.current
        form = form_of(current) if current is not None else None
        return await self._render("page.html", form=form, **await self._parts(live, _mark(current)))

    async def news(self, seen: str, form: str) -> tuple[str | None, bool]:
        """What has changed since a page was made: the live part or None, and whether it needs to be loaded anew.

        Args:
            seen: the mark of the live part that the page has.
            form: the mark of its form.
        """
        if form != self.form_mark:
            return None, True
        parts = await self._parts(await self._live(), form)
        return (None if parts["seen"] == seen else await self._render("news.html", **parts)), False

    async def after(self, notice: Notice, form: str) -> str:
        """The live part after something was asked for, and what became of that.

        Args:
            notice: what became of it.
            form: the mark of the form when that was asked for.
        """
        self.forget()
        return await self._render("news.html", notice=notice, **await self._parts(await self._live(), form))

    def forget(self) -> None:
        """Something has changed: the next look does not make do with what the one before has found."""
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
        """What the templates need, the live parts as HTML: their mark is that of what is shown."""
        given = {"live": live, "options": self._options}
        card, rest = await self._render("card.html", **given), await self._render("watch.html", **given)
        seen = hashlib.sha256((card + rest).encode()).hexdigest()[:16]
        return {**given, "card": card, "rest": rest, "seen": seen, "form_mark": form_mark}

    async def _render(self, name: str, **given: Any) -> str:
        # Compiling a template the first time takes milliseconds, in which predictions shall go on.
        return await asyncio.to_thread(self._render_now, name, given)

    @cached_property
    def _templates(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - not for a start's time

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
