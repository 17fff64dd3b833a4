"""The demo's story against a scripted loop: each thing that may go wrong ends it."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from src.services.local.demo.story import Event, Story, StoryError
from src.services.local.demo.traffic import CALM, Answer, Traffic


def version(name: str, value: float, *, high: float | None = None, labelled: int = 500, role: str = "champion") -> Any:
    score = {"value": value, "low": value - 0.02, "high": value + 0.02 if high is None else high}
    other = {"name": "day", "labelled": 0, "scores": {}}
    window = {"name": "week", "labelled": labelled, "scores": {"accuracy": score}}
    return {"version": name, "role": role, "windows": [other, window]}


class FakeLoop:
    """Answers of the services, by path; the holdout score is 0.93."""

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:1"
        self.process = SimpleNamespace(poll=lambda: None)
        self.answers: dict[str, Any] = {"/health": {"model": {"version": "1"}}}
        self.score: float | None = 0.93

    def get(self, path: str) -> Any:
        return self.answers.get(path)

    def held_out_score(self, metric: str) -> float | None:
        assert metric == "accuracy"
        return self.score


class Script(Story):
    """A story whose loop changes with the events."""

    outcome = "promoted"
    second = 0.91
    pace: dict[str, float]

    def add(self, name: str, text: str) -> None:
        super().add(name, text)
        self.pace[name] = self.traffic.per_second
        loop: Any = self.loop
        if name == "served":
            loop.answers["/quality"] = {"versions": [version("1", 0.92)]}
        elif name == "changed":
            loop.answers["/quality"] = {"versions": [version("1", 0.5)]}
        elif name == "alert":
            requests = [{"id": "b", "source": "schedule", "cause": "1,800 new labels"}, {"id": "a", "source": "api"}]
            loop.answers["/retrain"] = {"requests": requests[::-1]}
            ended = {"state": self.outcome, "model_version": "2", "reason": "better"}
            loop.answers["/retrain/b"] = ended
        elif name == "promoted":
            self.traffic.answers.append(Answer(1.0, "2", right=True))
            loop.answers["/quality"] = {"versions": [version("2", self.second), version("1", 0.4, role="shadow")]}


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def story(loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A clock that advances by a second with each look, and no traffic."""
    monkeypatch.setattr("src.services.local.demo.story.LOOK_SECONDS", 0.0)
    seconds = count()
    traffic = Traffic(loop.url, clock=lambda: float(next(seconds)))
    monkeypatch.setattr(Traffic, "_send", lambda *_: None)
    traffic.answers.append(Answer(0.0, "1", right=True))
    script = Script(loop, traffic, say=lambda _: None)  # type: ignore[arg-type]
    script.pace = {}
    return script


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def test_all_events_take_place(story: Script) -> None:
    story.tell()
    expected = [
        "served",
        "good",
        "changed",
        "alert",
        "requested",
        "promoted",
        "swapped",
        "recovered",
        "shadow",
        "ended",
    ]
    assert names(story.events) == expected
    assert "down to 0.50" in story.events[3].text
    assert {(score.version, score.role) for score in story.scores} == {
        ("1", "champion"),
        ("2", "champion"),
        ("1", "shadow"),
    }
    assert story.traffic.changed


def test_each_event_is_said(story: Script) -> None:
    said = list[Event]()
    story.say = said.append
    story.tell()
    assert said == story.events


def test_rows_are_many_from_the_alert_until_the_request(story: Script) -> None:
    story.tell()
    fast = {name for name, per_second in story.pace.items() if per_second > CALM}
    assert fast == {"alert"}


def test_a_failed_request_ends_it_badly(story: Script) -> None:
    story.traffic.failures.append("/predict: 503")
    with pytest.raises(StoryError, match="1 request failed: /predict: 503"):
        story.tell()


@pytest.mark.parametrize("outcome", ["rejected", "skipped", "failed", "passed"])
def test_a_training_that_promotes_nothing_ends_it_with_the_reason(story: Script, outcome: str) -> None:
    story.outcome = outcome
    with pytest.raises(StoryError, match=f"ended as {outcome}: better"):
        story.tell()


def test_a_new_version_that_is_low_ends_it(story: Script) -> None:
    story.second = 0.5
    with pytest.raises(StoryError, match="live accuracy of version 2 is low"):
        story.tell()
    assert "recovered" not in names(story.events)


def test_low_quality_before_the_change_ends_it(story: Script, loop: FakeLoop) -> None:
    loop.score = 0.999
    with pytest.raises(StoryError, match="live accuracy of version 1 is low"):
        story.tell()
    assert names(story.events) == ["served"]


def test_the_alert_that_is_given_decides(story: Script) -> None:
    story.alert = lambda: False
    with pytest.raises(StoryError, match="not within 90 s: the alert fires"):
        story.tell()


def test_a_loop_that_has_ended_is_not_waited_for(story: Script, loop: FakeLoop) -> None:
    loop.process = SimpleNamespace(poll=lambda: 1)
    with pytest.raises(StoryError, match="a first version is served"):
        story.tell()
    assert story.traffic.clock() < 10


@pytest.mark.parametrize(
    ("found", "held_out", "is_low"),
    [
        (version("1", 0.8, high=0.85), 0.91, True),
        (version("1", 0.8, high=0.87), 0.91, False),
        (version("1", 0.8, high=0.85, labelled=100), 0.91, True),
        (version("1", 0.8, high=0.85, labelled=99), 0.91, False),
        (version("1", 0.8, high=0.85, role="shadow"), 0.91, False),
        (version("2", 0.8, high=0.85), 0.91, False),
        (version("1", 0.8, high=0.85), None, False),
    ],
)
def test_the_condition_is_that_of_the_alert(
    story: Script, loop: FakeLoop, found: Any, held_out: float | None, *, is_low: bool
) -> None:
    loop.answers["/quality"], loop.score = {"versions": [found]}, held_out
    assert story.is_low("1") is is_low
