"""The demo's story, told by a running loop: the world changes, quality falls, and a new version brings it back."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from src.core.counting import counted
from src.core.errors import LoopError
from src.services.local.demo.loop import Loop
from src.services.local.demo.traffic import BUSY, CALM, Traffic

# As in the alert LiveQualityLow of config/alerts.yml.
METRIC, WINDOW, MARGIN, MIN_LABELLED = "accuracy", "week", 0.05, 100
LOOK_SECONDS = 0.3
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
            raise StoryError(f"{counted(len(self.traffic.failures), 'request')} failed: {self.traffic.failures[0]}")
        self.add("ended", f"{len(self.traffic.answers):,} rows were predicted and labelled; no request failed")

    def live_through(self, first: str) -> None:
        """The events while rows are predicted, from the world before the change to a good version after it."""
        score = self.wait("live quality is known", lambda: self.live_score(first), REPORT_SECONDS)
        self.require_good(first)
        self.add("good", f"live accuracy of version {first} is {score['value']:.2f}")
        self.traffic.changed = True
        self.add("changed", "the world changes: now customers with a low charge leave")
        self.wait("the alert fires", self.alert or (lambda: self.is_low(first)), REPORT_SECONDS)
        self.traffic.per_second = BUSY
        score = self.live_score(first) or score
        self.add("alert", f"LiveQualityLow: its condition holds; live accuracy is down to {score['value']:.2f}")
        request = self.wait("a training is requested", self.requested, LABELS_SECONDS)
        self.traffic.per_second = CALM
        self.add("requested", f"the quality process requests a training: {request['cause']}")
        second = self.promoted(request["id"])
        self.wait("predictions come from it", lambda: self.traffic.answers[-1].version == second, REPORT_SECONDS)
        self.add("swapped", f"version {second} answers; {len(self.traffic.failures)} failed requests so far")
        score = self.wait("the new live quality is known", lambda: self.live_score(second), REPORT_SECONDS)
        self.require_good(second)
        self.add("recovered", f"live accuracy of version {second} is {score['value']:.2f}; the condition has ended")
        score = self.wait("the shadow is compared", lambda: self.live_score(first, "shadow"), REPORT_SECONDS)
        self.add("shadow", f"version {first}, as its shadow, has {score['value']:.2f} on the new rows")

    def promoted(self, request_id: str) -> str:
        """The version that the gate has promoted for this request. Raises StoryError."""
        ended = self.wait("the training ends", lambda: self.ended(request_id), TRAINING_SECONDS)
        if ended["state"] != "promoted":
            raise StoryError(f"the training ended as {ended['state']}: {ended['reason']}")
        self.add("promoted", f"the gate promotes version {ended['model_version']}: {ended['reason']}")
        return str(ended["model_version"])

    def require_good(self, version: str) -> None:
        """Raises StoryError: its live quality is low."""
        if self.is_low(version):
            raise StoryError(f"live accuracy of version {version} is low, although its world has not changed")

    def add(self, name: str, text: str) -> None:
        """An event takes place."""
        event = Event(name, self.traffic.clock(), text)
        self.events.append(event)
        self.say(event)

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float) -> T:
        """The first truthy answer; meanwhile, the live quality is noted down. Raises StoryError."""
        until, pause = self.traffic.clock() + seconds, threading.Event()
        while self.traffic.clock() < until and self.loop.process.poll() is None:
            answer = condition()
            self.note_scores()  # last: what the answer is about is among them
            if answer:
                return answer
            pause.wait(LOOK_SECONDS)
        raise StoryError(f"not within {seconds:.0f} s: {what}")

    def note_scores(self) -> None:
        """Keep the scores of the newest report."""
        for version, role, window in self.windows():
            if METRIC in window["scores"]:
                value = window["scores"][METRIC]["value"]
                self.scores.append(LiveScore(self.traffic.clock(), version, role, value))

    def windows(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Version, role and the alert's window of what ``GET /quality`` lists."""
        for found in (self.loop.get("/quality") or {}).get("versions", ()):
            yield from ((found["version"], found["role"], one) for one in found["windows"] if one["name"] == WINDOW)

    def live_score(self, version: str, role: str = "champion") -> Mapping[str, float] | None:
        """The live score of the version, with its interval, once it has enough labels for the alert."""
        found = (window for name, named, window in self.windows() if (name, named) == (version, role))
        return next((window["scores"][METRIC] for window in found if window["labelled"] >= MIN_LABELLED), None)

    def is_low(self, version: str) -> bool:
        """The condition of LiveQualityLow for the version that is served."""
        score, held_out = self.live_score(version), self.loop.held_out_score(METRIC)
        return score is not None and held_out is not None and held_out - score["high"] > MARGIN

    def requested(self) -> Mapping[str, Any] | None:
        """The request that the loop made by itself."""
        requests = (self.loop.get("/retrain") or {}).get("requests", ())
        return next((request for request in requests if request["source"] == "schedule"), None)

    def ended(self, request_id: str) -> Mapping[str, Any] | None:
        """The request, once it has ended."""
        request: Mapping[str, Any] | None = self.loop.get(f"/retrain/{request_id}")
        return request if request and request["state"] not in UNFINISHED else None
