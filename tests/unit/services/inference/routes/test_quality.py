from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from src.core.quality_report import REPORT_FILE, ClassCoverage, QualityReport, Score, VersionQuality, Window
from src.quality.report import write_report

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 30, tzinfo=UTC)
WINDOW = Window(
    name="newest", predicted=40, labelled=12, scored=10, delay_seconds=60.5,
    scores={"f1_macro": Score(value=0.75, low=0.5, high=0.875), "accuracy": Score(value=1.0)},
    coverage={"setosa": ClassCoverage(predicted=40, labelled=12)},
)  # fmt: skip
REPORT = QualityReport(
    model="iris",
    at=AT,
    versions=[VersionQuality(version="2", role="shadow", first=AT, last=AT, windows=[WINDOW])],
    problems=["one"],
)


def report_file(served: Any) -> Path:
    return Path(served.service.settings.quality_dir / REPORT_FILE)


async def test_quality_is_the_last_report(served: Any) -> None:
    write_report(report_file(served), REPORT)
    answer = await served.client.get("/quality")
    assert answer.status_code == 200
    assert answer.json() == REPORT.model_dump(mode="json")
    window = answer.json()["versions"][0]["windows"][0]
    assert window["scores"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    write_report(report_file(served), REPORT.model_copy(update={"problems": []}))
    assert (await served.client.get("/quality")).json()["problems"] == []


async def test_quality_needs_no_model(unready: Any) -> None:
    write_report(report_file(unready), REPORT)
    assert (await unready.client.get("/quality")).json()["model"] == "iris"


async def test_without_a_report_quality_says_what_to_do(served: Any) -> None:
    answer = await served.client.get("/quality")
    assert answer.status_code == 404
    assert "the quality service writes the first one" in answer.json()["detail"]


async def test_report_about_another_model_is_none(served: Any) -> None:
    write_report(report_file(served), REPORT.model_copy(update={"model": "houses"}))
    assert (await served.client.get("/quality")).status_code == 404


async def test_without_a_prediction_log_quality_says_how_to_switch_it_on(
    serving: Any, mlflow: Any, tmp_path: Path
) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        answer = await served.client.get("/quality")
        assert answer.status_code == 404
        assert "set PREDICTION_LOG=true" in answer.json()["detail"]
        write_report(report_file(served), REPORT)  # of before
        assert (await served.client.get("/quality")).status_code == 200


async def test_damaged_report_is_unavailable(served: Any) -> None:
    write_report(report_file(served), REPORT)
    report_file(served).write_bytes(b'{"model": "iris"')
    answer = await served.client.get("/quality")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"
    assert "the quality service will replace it" in answer.json()["detail"]
