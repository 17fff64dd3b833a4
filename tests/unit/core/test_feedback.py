from datetime import UTC, datetime

import pytest

from src.core.feedback import label_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T00:30:00+02:00", datetime(2026, 1, 30, 22, 30, tzinfo=UTC)),
        ("2026-01-31T00:00", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("20260131", datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_time_of_a_label_is_in_utc_and_a_date_is_the_end_of_its_day(text: str, moment: datetime) -> None:
    assert label_time(text) == moment
    assert label_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "31.01.2026", "2026-02-30", "12:00"])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        label_time(text)
