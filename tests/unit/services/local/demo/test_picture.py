"""The demo's picture."""

import re
from pathlib import Path

import pytest

from src.services.local.demo.picture import draw
from src.services.local.demo.story import Event, LiveScore
from src.services.local.demo.traffic import Answer

ANSWERS = [Answer(number / 10, "1", right=number < 100) for number in range(300)]
SCORES = [
    LiveScore(5.0, "1", "champion", 0.9),
    LiveScore(25.0, "1", "shadow", 0.4),
    LiveScore(26.0, "2", "champion", 1),
]
EVENTS = [Event("served", 0.0, ""), Event("changed", 10.0, ""), Event("alert", 12.0, ""), Event("promoted", 20.0, "")]


def test_versions_and_events_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "demo.svg", ANSWERS, SCORES, EVENTS)
    words = re.findall(r">([^<>]+)</text>", (tmp_path / "demo.svg").read_text(encoding="utf-8"))
    for text in (
        "version 1 in GET /quality",
        "version 1 in GET /quality, as the shadow",
        "version 2 in GET /quality",
        "the last 100 predictions",
        " the world changes",
        " alert",
        " promoted",
    ):
        assert text.strip() in [word.strip() for word in words]
    assert not any("served" in word for word in words)


def test_equal_stories_give_equal_pictures(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, ANSWERS, SCORES, EVENTS)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_is_drawn_too(tmp_path: Path) -> None:
    draw(tmp_path / "demo.png", ANSWERS, SCORES, EVENTS)
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("count", "expected"), [(100, 1.0), (200, 0.0), (150, 0.5)])
def test_the_line_is_the_accuracy_of_the_last_predictions(count: int, expected: float) -> None:
    from src.services.local.demo.picture import sliding  # noqa: PLC0415

    seconds, values = sliding(ANSWERS)
    assert values[seconds.index((count - 1) / 10)] == pytest.approx(expected)
