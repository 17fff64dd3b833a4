"""Live traffic of the demo: a prediction for one customer after the other, and their true labels a moment later."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import httpx
import pandas as pd

from src.services.local.demo.world import ID, TARGET, customers

BLOCK = 500  # customers that are drawn at once
LABEL_SECONDS = 0.5
# Rows per second: few before the change, since they count as the present, too; more once the alert has fired, so that
# the labels for a training come soon.
CALM, BUSY = 20.0, 60.0


class Answer(NamedTuple):
    """A prediction: seconds since the start of the demo, the version that answered, and whether it was right."""

    seconds: float
    version: str
    right: bool


@dataclass
class Traffic:
    """Sends rows in a thread, on one connection, and keeps what came back.

    Attributes:
        url: of inference.
        clock: seconds since the start of the demo.
        changed: whether customers are those of the changed world; may be set at any time.
        per_second: how many rows are sent, at most; may be set at any time.
        answers: in the order of the requests.
        failures: requests that failed, predictions or labels, each with what came instead.
    """

    url: str
    clock: Callable[[], float]
    changed: bool = False
    per_second: float = CALM
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._send, args=(over,), name="traffic", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _send(self, over: threading.Event) -> None:
        waiting: list[dict[str, str]] = []
        labelled = due = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as client:
            for row in self._customers():
                waiting += self._predict(client, row)
                now = time.monotonic()
                if now - labelled >= LABEL_SECONDS or over.is_set():
                    labelled = now
                    self._post(client, "/feedback", waiting)
                    waiting = []
                # What a busy machine delays is not made up for.
                due = max(due, now - 1.0) + 1.0 / self.per_second
                if over.wait(max(0.0, due - now)):
                    break

    def _customers(self) -> Iterator[dict[str, object]]:
        for seed in count(100):
            changed = self.changed
            rows: pd.DataFrame = customers(BLOCK, seed=seed, changed=changed)
            for row in rows.to_dict("records"):
                if self.changed != changed:
                    break
                yield {str(name): value for name, value in row.items()}

    def _predict(self, client: httpx.Client, row: dict[str, object]) -> list[dict[str, str]]:
        """Ask about a customer; return the label to send, none if the request failed."""
        customer, truth = str(row.pop(ID)), str(row.pop(TARGET))
        answer = self._post(client, "/predict", row, customer)
        if answer is None:
            return []
        found = answer.json()
        self.answers.append(Answer(self.clock(), str(found["model"]["version"]), found["prediction"] == truth))
        return [{"request_id": customer, "label": truth}]

    def _post(self, client: httpx.Client, path: str, body: object, request_id: str = "") -> httpx.Response | None:
        """The answer; None, and a failure more, if the request was not successful."""
        try:
            headers = {"X-Request-ID": request_id} if request_id else {}
            answer = client.post(path, json=body, headers=headers)
        except httpx.HTTPError as error:
            self.failures.append(f"{path}: {type(error).__name__}")
            return None
        if not answer.is_success:
            self.failures.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer
