from datetime import UTC, datetime
from pathlib import Path

import pytest

from src.core.errors import DamagedReportError
from src.core.quality_report import REPORT_FILE, QualityReport, Score, VersionQuality, Window, read_report

AT = datetime(2026, 11, 30, tzinfo=UTC)


def test_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    window = Window(name="day", predicted=9, labelled=4, scored=3, scores={"f1": Score(value=0.5, low=0.25)})
    version = VersionQuality(version="3", role="champion", first=AT, last=AT, windows=[window])
    report = QualityReport(model="iris", at=AT, versions=[version], problems=["one"])
    path = tmp_path / REPORT_FILE
    path.write_text(report.model_dump_json(), encoding="utf-8")
    assert read_report(path, "iris") == report
    assert read_report(path, "houses") is None


def test_no_report_is_none(tmp_path: Path) -> None:
    assert read_report(tmp_path / "missing" / REPORT_FILE, "iris") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{}", b'{"model": "iris", "at": "yesterday"}'])
def test_damaged_report_is_an_error_of_its_own(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / REPORT_FILE
    path.write_bytes(content)
    with pytest.raises(DamagedReportError, match=r"cannot be read \(it is damaged\); the quality service will replace"):
        read_report(path, "iris")


def test_unreadable_report_says_why(tmp_path: Path) -> None:
    with pytest.raises(DamagedReportError, match=r"cannot be read \(Is a directory\)"):
        read_report(tmp_path, "iris")
