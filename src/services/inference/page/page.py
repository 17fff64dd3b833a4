"""The service's page as HTML: the whole page, its live part, and the answers to its forms."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

from src.core.audit_log import AuditLog
from src.core.errors import LoopError
from src.core.inference_settings import InferenceSettings
from src.core.new_data import read_new_data
from src.core.quality_report import REPORT_FILE, read_report
from src.core.retrain_queue import RetrainQueue
from src.core.rollout_record import PROMOTED
from src.services.inference.page.form import fields_of, mark_of
from src.services.inference.page.rendering import create_templates, drift_bars
from src.serving.http.stopping import Stopping
from src.serving.models.model_store import ModelStore
from src.serving.models.registry_client import RegistryClient
from src.serving.watch.live_traffic import LiveTraffic
from src.serving.watch.promotions import Promotion, Promotions

# The greatest age of what is shown of MLflow and of the shared volume, and how long MLflow is waited for.
MLFLOW_SECONDS, VOLUME_SECONDS, PATIENCE_SECONDS = 2.0, 1.0, 1.0
# The greatest age of what is shown of the report of live quality.
REPORT_SECONDS = 5.0
# How many retrain requests are shown.
REQUESTS = 8
# How many entries of the audit log are shown.
ENTRIES = 20
# Seconds between two polls of an open page: while something is about to change, and otherwise.
QUICK, SLOW = 1, 4

T = TypeVar("T")


@dataclass(eq=False)
class Page:
    """Renders the page from the service's state. Call its methods from the event loop."""

    settings: InferenceSettings
    store: ModelStore
    traffic: LiveTraffic
    spool: RetrainQueue
    registry: RegistryClient
    promotions: Promotions
    audit: AuditLog
    stopping: Stopping

    def __post_init__(self) -> None:
        self._aliases = Fresh(self.registry.aliases, MLFLOW_SECONDS, patience=PATIENCE_SECONDS)
        self._requests = Fresh(partial(asyncio.to_thread, self.spool.recent, REQUESTS), VOLUME_SECONDS)
        amounts = partial(asyncio.to_thread, read_new_data, self.spool.root, self.settings.model_name)
        self._amounts = Fresh(amounts, REPORT_SECONDS)
        report = self.settings.quality_dir / REPORT_FILE
        read = partial(asyncio.to_thread, read_report, report, self.settings.model_name)
        self._quality = Fresh(read, REPORT_SECONDS)
        self._promotions = Fresh(partial(asyncio.to_thread, self._passed), VOLUME_SECONDS)
        self._audit = Fresh(partial(asyncio.to_thread, self.audit.recent, ENTRIES), VOLUME_SECONDS)
        self._templates = create_templates(self.settings)

    async def whole(self) -> str:
        """The page."""
        live = await self._live()
        # Form and mark of the same model: if the model is swapped meanwhile, the next poll finds another mark.
        current = self.store.current
        fields = fields_of(current) if current is not None else []
        return await self.render("page.html", **live, fields=fields, form_mark=mark_of(current))

    async def news(self, seen: str, form: str) -> str | None:
        """The live part for a page that has the form with this mark, unless it has the live part with the other."""
        live = await self._live()
        return await self.render("news.html", **live, form_mark=form) if live["seen"] != seen else None

    async def after(self, result: str, form: str, *, failed: bool = False) -> str:
        """The live part after an action, with its result, for a page that has the form with this mark."""
        self.forget()
        return await self.render("news.html", **await self._live(), form_mark=form, result=result, failed=failed)

    def forget(self) -> None:
        """Discard the cached answers after a change."""
        self._aliases.forget()
        self._requests.forget()
        self._quality.forget()
        self._promotions.forget()
        self._audit.forget()

    async def render(self, name: str, **given: Any) -> str:
        """The HTML of a template."""
        # In a thread: compiling a template the first time takes milliseconds, which would delay predictions.
        return await asyncio.to_thread(lambda: self._templates.get_template(name).render(given))

    def _passed(self) -> tuple[Promotion | None, Promotion | None]:
        """The newest promotion, and a later version that awaits approval or was aborted."""
        promoted, newest = self.promotions.recent(1, PROMOTED), self.promotions.recent(1)
        later = [found for found in newest if found.state not in PROMOTED]
        return next(iter(promoted), None), next(iter(later), None)

    async def _live(self) -> dict[str, Any]:
        """The live parts as HTML, the mark of these parts, and the seconds until the page should poll again."""
        (aliases, aliases_problem), (requests, requests_problem) = await asyncio.gather(
            self._aliases.read(), self._requests.read()
        )
        (quality, quality_problem), (promotions, promotions_problem) = await asyncio.gather(
            self._quality.read(), self._promotions.read()
        )
        (audit, audit_problem), (amounts, _) = await asyncio.gather(self._audit.read(), self._amounts.read())
        promotion, candidate = promotions or (None, None)
        store, model, report = self.store, self.store.current, self.traffic.report()
        state = "stopping" if self.stopping.begun else "ready" if model is not None else "no model"
        given = {
            "now": datetime.now(UTC),
            "state": state,
            "model": model,
            "mlflow_reachable": store.mlflow_reachable,
            "problem": store.last_error,
            "rows": report.rows,
            "bars": drift_bars(report, has_classes=model is not None and bool(model.classes)),
            "versions": aliases,
            "versions_problem": aliases_problem,
            "quality": quality,
            "quality_problem": quality_problem,
            "promotion": promotion,
            "candidate": candidate,
            "promotion_problem": promotions_problem,
            "requests": requests or [],
            "requests_problem": requests_problem,
            "amounts": amounts or [],
        }
        card, rest = await self.render("card.html", **given), await self.render("watch.html", **given)
        entries = await self.render("audit.html", entries=audit.entries if audit else [], problem=audit_problem)
        is_moving = state != "ready" or any(record.result is None for record in requests or [])
        seen = hashlib.sha256((card + rest + entries).encode()).hexdigest()[:16]
        return {
            "card": card,
            "rest": rest,
            "entries": entries,
            "seen": seen,
            "pause": QUICK if is_moving else SLOW,
        }


@dataclass
class Fresh(Generic[T]):
    """A source that is asked once for any number of open pages. Use from one event loop."""

    ask: Callable[[], Awaitable[T]]
    seconds: float  # the greatest age of its answer, a failure included
    patience: float | None = None  # seconds to wait for it; None if asking cannot be cancelled
    clock: Callable[[], float] = time.monotonic
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _changed: bool = field(default=False, init=False)
    _expires: float = field(default=-math.inf, init=False)
    _found: tuple[T | None, str | None] = field(default=(None, None), init=False)

    async def read(self) -> tuple[T | None, str | None]:
        """The last answer, of any age, and why there is no newer one, if so."""
        async with self._asking:
            if self.clock() >= self._expires:
                self._changed = False
                try:
                    async with asyncio.timeout(self.patience):
                        self._found = await self.ask(), None
                except (LoopError, TimeoutError) as error:
                    problem = str(error) or "MLflow did not answer in time; this is its last answer"
                    self._found = self._found[0], problem
                # What was asked before a change may be out of date.
                if not self._changed:
                    self._expires = self.clock() + self.seconds
            return self._found

    def forget(self) -> None:
        """Ask again at the next call, after a change."""
        self._changed, self._expires = True, -math.inf
