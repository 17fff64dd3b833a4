"""The inference service as its users see it: predictions, retrain requests, and a constant load on it."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from tests.support.running import wait_until

FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
UNFINISHED = {"queued", "running"}


class InferenceClient:
    """Talks to the service at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_answering(self, url: str) -> bool:
        """Whether anything at all is answered there."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, timeout=5).status_code > 0
        return False

    def is_ready(self) -> bool:
        """Whether a model is served."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        return False

    def predict(self) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/predict", json=FLOWER, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def predict_and_label(self, truths: Sequence[str]) -> list[str]:
        """Predict a batch of equal rows and send the true label of each; return the rows' ids."""
        answer = httpx.post(f"{self.url}/predict/batch", json=[FLOWER] * len(truths), timeout=20).raise_for_status()
        request_id = answer.headers["X-Request-Id"]
        ids = [f"{request_id}/{row}" for row in range(len(truths))]
        sent = [{"request_id": one, "label": truth} for one, truth in zip(ids, truths, strict=True)]
        taken = httpx.post(f"{self.url}/feedback", json=sent, timeout=20)
        assert (taken.status_code, taken.json()["accepted"]) == (202, len(truths)), taken.text
        return ids

    def post_retrain(self) -> httpx.Response:
        return httpx.post(f"{self.url}/retrain", timeout=5)

    def request_retrain(self) -> str:
        answer = self.post_retrain()
        assert answer.status_code == 202, answer.text
        assert answer.headers["Location"] == f"/retrain/{answer.json()['id']}"
        return str(answer.json()["id"])

    def retrain(self, request_id: str) -> dict[str, Any]:
        return httpx.get(f"{self.url}/retrain/{request_id}", timeout=5).raise_for_status().json()  # type: ignore[no-any-return]

    def wait_for_end(self, request_id: str, *, seconds: float = 120) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            answer = self.retrain(request_id)
            return None if answer["state"] in UNFINISHED else answer

        return wait_until(f"retrain {request_id} ends", ended, seconds=seconds)

    def request_ids(self) -> list[str]:
        """The newest retrain requests."""
        listed = httpx.get(f"{self.url}/retrain", timeout=5).raise_for_status().json()
        return [request["id"] for request in listed["requests"]]

    def wait_for_all(self) -> None:
        """Wait until none of the newest requests waits or runs."""
        for request_id in self.request_ids():
            self.wait_for_end(request_id)

    def wait_for_version(self, version: str) -> None:
        """Wait until predictions come from this model version."""
        wait_until(f"version {version} is served", lambda: self.predict()["model"]["version"] == version, seconds=15)

    @contextlib.contextmanager
    def constant_load(self, **headers: str) -> Iterator[Counter[str]]:
        """Predict without pause on one connection; counts answers by ``<status> v<version>`` or error name."""
        answers: Counter[str] = Counter()
        stop = threading.Event()

        def load() -> None:
            with httpx.Client(timeout=10, headers=headers) as client:
                while not stop.is_set():
                    try:
                        answer = client.post(f"{self.url}/predict", json=FLOWER)
                        version = answer.json()["model"]["version"] if answer.is_success else "-"
                        answers[f"{answer.status_code} v{version}"] += 1
                    except httpx.HTTPError as error:
                        answers[type(error).__name__] += 1

        thread = threading.Thread(target=load)
        thread.start()
        try:
            yield answers
        finally:
            stop.set()
            thread.join()
