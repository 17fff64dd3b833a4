"""Live quality in the loop of real processes: predictions, their true labels, and the scores that come of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from src.services.local.processes import REPOSITORY
from tests.support.loop import Loop
from tests.support.running import wait_until

pytestmark = pytest.mark.e2e

ROWS = 40


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    loop = Loop(tmp_path_factory.mktemp("quality"))
    with loop.started():
        yield loop


def report(loop: Loop) -> dict[str, Any]:
    return httpx.get(f"{loop.url}/quality", timeout=5).raise_for_status().json()  # type: ignore[no-any-return]


def wait_for_labels(loop: Loop, count: int) -> dict[str, Any]:
    """The report in which so many labels belong to a logged row."""
    wait_until("there is a report", lambda: httpx.get(f"{loop.url}/quality", timeout=5).is_success)

    def counted() -> dict[str, Any] | None:
        found = report(loop)
        return found if found["labels"]["matched"] == count else None

    # A segment is closed after ten seconds.
    return wait_until(f"{count} labels are matched", counted, seconds=60)


def test_labelled_predictions_have_scores_and_can_be_erased(loop: Loop) -> None:
    ids = loop.predict_and_label([*["setosa"] * (ROWS - 10), *["virginica"] * 10])
    single = loop.predict()["request_id"]
    sent = httpx.post(f"{loop.url}/feedback", json={"request_id": single, "label": "setosa"}, timeout=5)
    assert sent.status_code == 202

    found = wait_for_labels(loop, ROWS + 1)
    assert found["problems"] == []
    (version,) = found["versions"]
    assert (version["version"], version["role"]) == ("1", "champion")
    windows = {window["name"]: window for window in version["windows"]}
    assert set(windows) == {"newest", "day", "week", "month"}
    for window in windows.values():
        assert (window["predicted"], window["labelled"]) == (ROWS + 1, ROWS + 1)
        score = window["scores"]["accuracy"]
        assert score["value"] == pytest.approx((ROWS - 9) / (ROWS + 1))
        assert 0.5 < score["low"] < score["value"] < score["high"] < 1
        assert window["coverage"] == {"setosa": {"predicted": ROWS + 1, "labelled": ROWS + 1}}
    metrics = httpx.get(f"http://127.0.0.1:{loop.quality_port}/metrics", timeout=5).text
    assert 'quality_labels{fate="matched"} 41.0' in metrics

    command = [sys.executable, "-m", "src.services.quality.erase", ids[1]]
    environment = {**os.environ, **loop.environment}
    erased = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert erased.stdout.startswith("erased 1 row and 1 label")
    assert wait_for_labels(loop, ROWS)["rows"] == ROWS
