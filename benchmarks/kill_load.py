"""A steady load of predictions and labels on a service that is killed meanwhile, and what became of each request."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.material import Material

THREADS = 4
# Of each thread, from one prediction to the next.
PAUSE_SECONDS = 0.03
ANSWER_SECONDS = 10.0
LABEL_EVERY = 2
# Of so many labels, one is followed by another label for the same prediction.
CORRECTED_EVERY = 10
OK, ACCEPTED = 200, 202


@dataclass
class Traffic:
    """What was sent and answered, with times of ``time.monotonic``.

    Attributes:
        sent: when each prediction was requested, by its id.
        answered: when its answer had arrived.
        labels: every pair of id and label that was sent.
        accepted: those that were acknowledged.
    """

    sent: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    labels: list[tuple[str, str]] = field(default_factory=list)
    accepted: list[tuple[str, str]] = field(default_factory=list)


class Load:
    """Requests for one row each, with ids of their own, and labels for those that were answered.

    Args:
        url: of the service.
        material: the rows and the classes.
        seed: of the labels.
    """

    def __init__(self, url: str, material: Material, seed: int) -> None:
        self._url = url
        self._rows = [dict(zip(material.columns, row, strict=True)) for row in material.rows]
        self._classes = sorted(set(material.labels))
        self._seed = seed
        self._stop = threading.Event()
        self.traffic = Traffic()

    @contextlib.contextmanager
    def running(self) -> Iterator[Traffic]:
        """Send from several threads until the block ends."""
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield self.traffic
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _send(self, thread: int) -> None:
        numbers, unlabelled = random.Random(self._seed + thread), list[str]()  # noqa: S311 - not for secrets
        count = 0
        with httpx.Client(base_url=self._url, timeout=ANSWER_SECONDS, trust_env=False) as client:
            while not self._stop.wait(PAUSE_SECONDS):
                count += 1
                request_id = f"kill-{thread}-{count}"
                if self._predict(client, request_id, self._rows[count % len(self._rows)]):
                    unlabelled.append(request_id)
                if len(unlabelled) >= LABEL_EVERY:
                    self._label(client, unlabelled, numbers)
                    unlabelled.clear()

    def _predict(self, client: httpx.Client, request_id: str, row: dict[str, Any]) -> bool:
        """Request a prediction once; return whether it was answered."""
        self.traffic.sent[request_id] = time.monotonic()
        with contextlib.suppress(httpx.TransportError):
            if client.post("/predict", json=row, headers={"X-Request-ID": request_id}).status_code == OK:
                self.traffic.answered[request_id] = time.monotonic()
                return True
        return False

    def _label(self, client: httpx.Client, request_ids: list[str], numbers: random.Random) -> None:
        """Send the labels of some ids once, some of them with a second, different label."""
        pairs = []
        for request_id in request_ids:
            labels = numbers.sample(self._classes, 2 if numbers.randrange(CORRECTED_EVERY) == 0 else 1)
            pairs += [(request_id, label) for label in labels]
        self.traffic.labels.extend(pairs)
        body = [{"request_id": request_id, "label": label} for request_id, label in pairs]
        with contextlib.suppress(httpx.TransportError):
            if client.post("/feedback", json=body).status_code == ACCEPTED:
                self.traffic.accepted.extend(pairs)
