"""The demo's story, told by a running loop: the world changes, quality falls, and a new version brings it back."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from src.core.errors import LoopError
from src.services.local.demo.loop import Loop
from src.services.local.demo.traffic import Traffic

# As in the alert LiveQualityLow of config/alerts.yml.
METRIC, WINDOW, MARGIN, MIN_LABELLED = "accuracy", "week", 0.05, 100
LOOK_SECONDS = 0.3
# Rows per second: few before the change, since they count as the present, too.
CALM, BUSY = 20.0, 60.0
# A busy machine takes several times as long as an idle one.
FIRST_SECONDS, REPORT_SECONDS, LABELS_SECONDS, TRAINING_SECONDS = 240.0, 90.0, 150.0, 240.0
UNFINISHED = {"queued", "running"}

T = TypeVar("T")


class StoryError(LoopError):
    """The story did not happen as expected."""


class Event(NamedTuple):
    """Something that happened, seconds after the start."""

    name: str
    seconds: float
    text: str


class LiveScore(NamedTuple):
    """The live quality of a version, as the process ``quality`` has computed it."""

    seconds: float
    version: str
    role: str
    value: float


@dataclass
class Story:
    """What happened.

    Attributes:
        loop: tells the story.
        traffic: sends the rows.
        say: prints an event.
        alert: whether the alert fires; None: whether the condition of LiveQualityLow holds.
    """

    loop: Loop
    traffic: Traffic
    say: Callable[[Event], None]
    alert: Callable[[], object] | None = None
    events: list[Event] = field(default_factory=list)
    scores: list[LiveScore] = field(default_factory=list)

    def tell(self) -> None:
        """Go through all events in their order; the names are those of ``events``.

        Raises:
            StoryError: one did not happen.
        """
        health = self.wait("a first version is served", lambda: self.loop.get("/health"), FIRST_SECONDS)
        first = str(health["model"]["version"])
        self.add("served", f"version {first} is served: {self.loop.url}")
        with self.traffic.running():
            self.live_through(first)
        if self.traffic.failures:
            raise StoryError(f"{len(self.traffic.failures)} requests failed: {self.traffic.failures[0]}")
        self.add("ended", f"{len(self.traffic.answers):,} rows were predicted and labelled; no request failed")

    def live_through(self, first: str) -> None:
        """The events while rows are predicted, from the world before the change to a good version after it."""
        good = self.wait("live quality is known", lambda: self.enough_labels(first), REPORT_SECONDS)
        if self.quality_is_low():
            raise StoryError(f"live accuracy is low before the change: {good:.2f}")
        self.add("good", f"live accuracy of version {first} is {good:.2f}")
        self.traffic.changed, self.traffic.per_second = True, BUSY
        self.add("changed", "the world changes: now customers with a low charge leave")
        self.wait("the alert fires", self.alert or self.quality_is_low, REPORT_SECONDS)
        low = self.scores[-1].value
        self.add("alert", f"LiveQualityLow: its condition holds; live accuracy of version {first} is down to {low:.2f}")
        request = self.wait("a training is requested", self.requested, LABELS_SECONDS)
        self.traffic.per_second = CALM
        self.add("requested", f"the quality process requests a training: {request['cause']}")
        ended = self.wait("the training ends", lambda: self.ended(request["id"]), TRAINING_SECONDS)
        if ended["state"] != "promoted":
            raise StoryError(f"the training ended as {ended['state']}: {ended['reason']}")
        second = str(ended["model_version"])
        self.add("promoted", f"the gate promotes version {second}: {ended['reason']}")
        self.wait("predictions come from it", lambda: self.traffic.answers[-1].version == second, REPORT_SECONDS)
        self.add("swapped", f"version {second} answers; {len(self.traffic.failures)} failed requests so far")
        again = self.wait("the new live quality is known", lambda: self.enough_labels(second), REPORT_SECONDS)
        if self.quality_is_low():
            raise StoryError(f"live accuracy of version {second} is low, too: {again:.2f}")
        self.add("recovered", f"live accuracy of version {second} is {again:.2f}; the condition no longer holds")
        shadow = self.wait("the shadow is compared", lambda: self.enough_labels(first, "shadow"), REPORT_SECONDS)
        self.add("shadow", f"version {first}, its shadow, answers the new rows with an accuracy of {shadow:.2f}")

    def add(self, name: str, text: str) -> None:
        """An event takes place."""
        event = Event(name, self.traffic.clock(), text)
        self.events.append(event)
        self.say(event)

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float) -> T:
        """The first truthy answer; meanwhile, the live quality is noted down. Raises StoryError."""
        until, pause = self.traffic.clock() + seconds, threading.Event()
        while self.traffic.clock() < until and self.loop.process.poll() is None:
            self.note_scores()
            answer = condition()
            if answer:
                return answer
            pause.wait(LOOK_SECONDS)
        raise StoryError(f"not within {seconds:.0f} s: {what}")

    def note_scores(self) -> None:
        """Keep the scores of the newest report."""
        for version in (self.loop.get("/quality") or {}).get("versions", ()):
            window = _window(version)
            if METRIC in window["scores"]:
                value = window["scores"][METRIC]["value"]
                self.scores.append(LiveScore(self.traffic.clock(), version["version"], version["role"], value))

    def enough_labels(self, version: str, role: str = "champion") -> float | None:
        """The live score of the version in this role, once it has enough labels."""
        for found in (self.loop.get("/quality") or {}).get("versions", ()):
            window = _window(found)
            if (found["version"], found["role"]) == (version, role) and window["labelled"] >= MIN_LABELLED:
                return float(window["scores"][METRIC]["value"])
        return None

    def quality_is_low(self) -> bool:
        """The condition of LiveQualityLow, from the metrics that Prometheus would scrape."""
        served = self.loop.samples("inference", "inference_model_info", "version")
        labels = ("model_version", "role", "window")
        rows = self.loop.samples("quality", "quality_labelled_rows", *labels)
        highest = self.loop.samples("quality", "quality_score_high", *labels, "metric")
        held_out = self.loop.samples("inference", "inference_model_score", "metric")
        return any(
            rows.get((version, "champion", WINDOW), 0) >= MIN_LABELLED
            and held_out.get((METRIC,), 0.0) - highest.get((version, "champion", WINDOW, METRIC), 1.0) > MARGIN
            for (version,) in served
        )

    def requested(self) -> Mapping[str, Any] | None:
        """The request that the loop made by itself."""
        requests = (self.loop.get("/retrain") or {}).get("requests", ())
        return next((request for request in requests if request["source"] == "schedule"), None)

    def ended(self, request_id: str) -> Mapping[str, Any] | None:
        """The request, once it has ended."""
        request: Mapping[str, Any] | None = self.loop.get(f"/retrain/{request_id}")
        return request if request and request["state"] not in UNFINISHED else None


def _window(version: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(window for window in version["windows"] if window["name"] == WINDOW)
