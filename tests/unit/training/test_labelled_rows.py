"""Labelled rows of the prediction log join the source's rows: each rule, and all of them against plain Python."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.errors import ConfigError, DataError
from src.training import labelled_rows
from src.training.check_rows import CheckedRows, check_rows
from src.training.dataset_file import to_csv
from src.training.sources import DataFile, RawData
from tests.support.training import config

FEATURES = {"length": {"minimum": 0.0, "maximum": 100.0}, "color": {"type": "category", "missing": True}}


class Found(NamedTuple):
    table: pa.Table
    left_out: dict[str, int]


def dataset(**changes: Any) -> DatasetConfig:
    given = {"features": FEATURES, "classes": ["a", "b"], "min_rows_per_class": 2, "duplicates": "drop"}
    return config(dataset={**given, "target": "kind", "feedback": {"use": True}, **changes}).dataset


def live(rows: Sequence[dict[str, Any]], chosen: DatasetConfig | None = None, **left_out: int) -> Found:
    """Labelled rows, newest first, with values for the columns that are not given."""
    names = (chosen or dataset()).columns
    usual = {"length": 50.0, "color": "red", "kind": "a"}
    types = {
        "length": pa.float64(),
        "kind": None if chosen and chosen.target_range else pa.string(),
        "color": pa.string(),
    }
    columns = {name: pa.array([row.get(name, usual.get(name)) for row in rows], types.get(name)) for name in names}
    times = [20_000.0 - place for place in range(len(rows))]
    return Found(pa.table({**columns, FEEDBACK_TIME: pa.array(times, pa.float64())}), left_out)


def source(**columns: Sequence[str]) -> pd.DataFrame:
    """Four rows of text, as read from a CSV file."""
    usual = {"length": list("1234"), "color": ["red", "red", "blue", ""], "kind": list("aabb")}
    return pd.DataFrame({**usual, **columns}, dtype="str")


def joined(found: Found, chosen: DatasetConfig | None = None, raw: pd.DataFrame | None = None) -> CheckedRows:
    frame = source() if raw is None else raw
    return check_rows(RawData(frame, (DataFile(name="rows.csv", rows=len(frame)),)), chosen or dataset(), found)


def added(found: CheckedRows, column: str = "length") -> list[Any]:
    """The values of a column in the labelled rows of the result."""
    return found.frame.loc[found.frame[FEEDBACK_TIME].notna(), column].to_list()


def test_labelled_rows_follow_the_source_s_with_the_time_of_their_prediction() -> None:
    found = joined(live([{"length": 7.5}, {"length": 8.0, "color": None, "kind": "b"}]))
    assert list(found.frame.columns) == ["length", "color", "kind", FEEDBACK_TIME]
    assert found.frame["length"].to_list() == [1.0, 2.0, 3.0, 4.0, 7.5, 8.0]
    assert found.frame["color"].to_list() == ["red", "red", "blue", None, "red", None]
    assert found.frame["kind"].to_list() == list("aabbab")
    assert found.frame[FEEDBACK_TIME].dtype == np.float64
    np.testing.assert_array_equal(found.frame[FEEDBACK_TIME], [np.nan] * 4 + [20_000.0, 19_999.0])
    assert found.frame.index.to_list() == list(range(6))
    assert to_csv(found.frame, dataset()).decode().splitlines()[3:6] == [
        "3.0,blue,b,",
        "4.0,,b,",
        "7.5,red,a,20000.0",
    ]


def test_report_counts_them_apart_from_the_source_s() -> None:
    raw = source(length=["1", "wide", "3", "4"], color=["red"] * 4, kind=list("aabb"))
    chosen = dataset(invalid_rows={"policy": "drop", "max_share": 0.5})
    report = joined(live([{"length": 7.0}, {"kind": "rose"}], chosen, early=3), chosen, raw).report
    assert (report.rows, report.invalid_rows, report.dropped_rows, report.duplicate_rows) == (4, 1, 1, 0)
    assert (report.live_rows, report.live_share) == (1, 0.25)
    assert report.live_left_out == {"early": 3, "invalid": 1}
    summary = report.summary()
    assert summary.startswith("3 rows from iris; 1 invalid row left out")
    assert summary.endswith("; 1 labelled live row (25.0% of all); live rows left out: 3 early, 1 invalid")


def test_without_labelled_rows_there_is_no_column_and_with_none_of_them_an_empty_one() -> None:
    plain = check_rows(RawData(source(), (DataFile(name="rows.csv", rows=4),)), dataset())
    assert list(plain.frame.columns) == ["length", "color", "kind"]
    assert (plain.report.live_rows, plain.report.live_share) == (None, 0.0)
    assert plain.report.summary() == "4 rows from iris"
    for found in (live([]), live([{"kind": "rose"}])):
        none = joined(found)
        assert none.frame.drop(columns=FEEDBACK_TIME).equals(plain.frame)
        assert none.frame[FEEDBACK_TIME].isna().all()
        assert none.report.summary().startswith("4 rows from iris; 0 labelled live rows (0.0% of all)")


@pytest.mark.parametrize("policy", ["fail", "drop", "missing"])
def test_invalid_labelled_rows_are_dropped_and_never_an_error(policy: str) -> None:
    chosen = dataset(
        invalid_rows={"policy": policy, "max_share": 0.0}, features={**FEATURES, "count": {"missing": True}}
    )
    wrong = [{"length": None}, {"length": 101.0}, {"length": float("inf")}, {"kind": None}, {"kind": "rose"}]
    found = joined(live([*wrong, {"length": 5.0}], chosen), chosen, source(count=["1", "2", "", "4"]))
    assert added(found) == [5.0]
    assert found.report.live_left_out == {"invalid": 5}
    assert found.report.invalid_rows == 0
    assert found.invalid.empty


def test_invalid_cell_of_a_column_that_may_be_missing_drops_a_labelled_row() -> None:
    chosen = dataset(
        features={**FEATURES, "count": {"missing": True, "maximum": 9.0}}, invalid_rows={"policy": "missing"}
    )
    table = live([{"count": 10.0}, {"count": None, "length": 5.0}], chosen)
    assert added(joined(table, chosen, source(count=["1"] * 4))) == [5.0]


def test_invalid_rows_of_the_source_are_still_an_error() -> None:
    with pytest.raises(DataError, match="length: not a finite number: 1 row"):
        joined(live([{}]), raw=source(length=["1", "wide", "3", "4"]))


def test_classes_may_have_enough_rows_by_the_labelled_ones() -> None:
    raw = source(kind=list("aaab"))
    with pytest.raises(DataError, match=r"fewer than dataset\.min_rows_per_class = 2 rows: b 1"):
        joined(live([{"length": 5.0}]), raw=raw)
    assert len(joined(live([{"length": 5.0, "kind": "b"}]), raw=raw).frame) == 5


@pytest.mark.parametrize(("policy", "left"), [("drop", [9.0]), ("error", [9.0]), ("keep", [1.0, 9.0, 9.0])])
def test_repeated_labelled_rows_are_dropped_unless_duplicates_are_kept(policy: str, left: list[float]) -> None:
    chosen = dataset(duplicates=policy)
    found = joined(live([{"length": 1.0}, {"length": 9.0}, {"length": 9.0}], chosen), chosen)
    assert added(found) == left
    assert found.report.duplicate_rows == 0
    assert found.report.live_left_out == ({} if policy == "keep" else {"repeated": 2})
    # Of equal rows, the newest stays.
    assert added(found, FEEDBACK_TIME)[-1] == (19_998.0 if policy == "keep" else 19_999.0)


def test_repeated_rows_of_the_source_are_still_an_error_and_are_kept_where_that_is_wanted() -> None:
    raw = source(length=["1", "1", "3", "4"], color=["red", "red", "", ""], kind=list("aabb"))
    with pytest.raises(DataError, match="repeats an earlier row in every column"):
        joined(live([{}]), dataset(duplicates="error"), raw)
    kept = joined(live([{"length": 1.0}]), dataset(duplicates="keep"), raw)
    assert kept.frame["length"].to_list() == [1.0, 1.0, 3.0, 4.0, 1.0]


def test_id_of_the_source_wins_and_of_labelled_rows_with_one_id_the_newest() -> None:
    chosen = dataset(id=["flower"])
    rows = [
        {"flower": "7", "length": 5.0},
        {"flower": "2.0", "length": 6.0},
        {"flower": "7", "length": 7.0},
        {"flower": "8", "length": 8.0},
        {"flower": "", "length": 9.0},
    ]
    found = joined(live(rows, chosen), chosen, source(flower=["1", "2", "3", "4"]))
    assert added(found) == [5.0, 8.0]
    assert found.report.live_left_out == {
        "invalid": 1,
        "with an id of the source": 1,
        "with the id of a newer one": 1,
    }


def test_invalid_row_does_not_replace_an_older_one_with_its_id() -> None:
    chosen = dataset(id=["flower"])
    rows = [{"flower": "7", "length": -1.0}, {"flower": "7", "length": 6.0}]
    assert added(joined(live(rows, chosen), chosen, source(flower=list("1234")))) == [6.0]


def test_all_id_columns_together_are_the_id() -> None:
    chosen = dataset(id=["flower", "length"])
    rows = [{"flower": "1", "length": 9.0}, {"flower": "1", "length": 1.0}, {"flower": "5", "length": 1.0}]
    assert added(joined(live(rows, chosen), chosen, source(flower=list("1234"))), "flower") == ["1", "5"]


def test_rows_are_new_where_all_rows_of_the_source_are_dropped() -> None:
    chosen = dataset(id=["flower"], invalid_rows={"policy": "drop", "max_share": 1.0})
    rows = [{"flower": str(place), "length": 10.0 + place, "kind": "ab"[place % 2]} for place in range(4)]
    found = joined(live(rows, chosen), chosen, source(flower=list("0123"), length=["wide"] * 4))
    assert len(found.frame) == 4


def test_time_of_the_prediction_becomes_days_and_numbers_in_the_source_are_refused() -> None:
    chosen = dataset(time="when")
    moment = pd.Timestamp("2026-01-31T06:00:00Z").to_pydatetime()
    found = joined(live([{"when": moment}], chosen), chosen, source(when=["2026-01-01"] * 4))
    assert added(found, "when") == [20_484.25]
    with pytest.raises(ConfigError, match="the source has numbers in the time column when, whose unit is not known"):
        joined(live([], chosen), chosen, source(when=["1767225600"] * 4))
    dropped = dataset(time="when", invalid_rows={"policy": "drop", "max_share": 1.0})
    one_missing = source(when=["2026-01-01", "", "2026-01-02", "2026-01-03"])
    assert len(joined(live([{"when": moment}], dropped), dropped, one_missing).frame) == 4
    of_feature = dataset(time="length")
    assert added(joined(live([{"length": 5.0}], of_feature), of_feature)) == [5.0]


def test_integers_booleans_and_dates_keep_their_types() -> None:
    kinds = {"count": {"type": "integer"}, "wild": {"type": "boolean"}, "seen": {"type": "date"}}
    chosen = dataset(features=kinds)
    raw = pd.DataFrame(
        {"count": list("1234"), "wild": ["yes", "no"] * 2, "seen": ["2026-01-01"] * 4, "kind": list("aabb")},
        dtype="str",
    )
    moment = pd.Timestamp("2026-01-31T06:00:00Z").to_pydatetime()
    found = joined(live([{"count": 2**60 + 1, "wild": True, "seen": moment}], chosen), chosen, raw)
    assert found.frame.dtypes.astype(str).to_list() == ["int64", "bool", "float64", "str", "float64"]
    assert found.frame.iloc[-1, :3].to_list() == [2**60 + 1, True, 20_484.25]


def test_regression_s_numbers_are_labels_whatever_the_decimal_sign_of_the_source() -> None:
    chosen = dataset(classes=None, min_rows_per_class=None, target_range={}, csv={"decimal": ","})
    found = joined(live([{"kind": 2.5, "length": 0.5}], chosen), chosen, source(kind=["1,5", "2", "3", "4"]))
    assert (added(found, "kind"), added(found)) == ([2.5], [0.5])


def test_new_categories_are_learned_and_left_out_where_they_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"color": "green", "length": 5.0}, {"color": "red", "length": 6.0}, {"color": None, "length": 7.0}]
    monkeypatch.setattr(labelled_rows, "MAX_VALUES", 3)
    assert added(joined(live(rows))) == [5.0, 6.0, 7.0]
    monkeypatch.setattr(labelled_rows, "MAX_VALUES", 2)
    found = joined(live(rows))
    assert added(found) == [6.0, 7.0]
    assert found.report.live_left_out == {"of too many new categories": 1}
    listed = dataset(
        features={**FEATURES, "color": {"type": "category", "missing": True, "values": ["red", "blue", "green"]}}
    )
    assert added(joined(live(rows, listed), listed)) == [5.0, 6.0, 7.0]


@pytest.mark.parametrize("text", ["a\0", "\0", "x" * 101])
def test_texts_that_would_slow_down_training_or_service_are_no_new_categories(text: str) -> None:
    rows = [{"color": text, "length": 5.0}, {"color": "x" * 100, "length": 6.0}, {"color": None, "length": 7.0}]
    found = joined(live(rows))
    assert added(found) == [6.0, 7.0]
    assert found.report.live_left_out == {"with a text that is no category": 1}
    # The source may have them.
    assert added(joined(live(rows), raw=source(color=[text, "red", "red", "red"]))) == [5.0, 6.0, 7.0]


def test_refused_texts_do_not_count_as_new_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_rows, "MAX_VALUES", 3)
    rows = [{"color": f"{place}\0", "length": 5.0 + place} for place in range(5)]
    assert added(joined(live([*rows, {"color": "green", "length": 4.5}]))) == [4.5]


# -- all rules against plain Python ----------------------------------------------------------------------------

IDS, LENGTHS = st.sampled_from(["1", "2", "3", "x", "y", None]), st.sampled_from([1.0, 2.0, 5.0, 6.0, -1.0, None])
ROWS = st.lists(st.tuples(IDS, LENGTHS, st.sampled_from(["a", "b", "rose", None])), max_size=12)


@given(rows=ROWS, policy=st.sampled_from(["keep", "drop", "error"]), has_id=st.booleans())
def test_whatever_clients_send_the_valid_new_rows_are_added_and_each_other_one_is_counted(
    rows: list[tuple[Any, Any, Any]], policy: str, *, has_id: bool
) -> None:
    chosen = dataset(duplicates=policy, **({"id": ["flower"]} if has_id else {}))
    raw = source(flower=["1", "2", "3", "4"], color=["red"] * 4)
    given_rows = [{"flower": flower, "length": length, "kind": kind, "color": "red"} for flower, length, kind in rows]
    found = joined(live(given_rows, chosen), chosen, raw)

    ids = {"1", "2", "3", "4"}
    seen = {(1.0, "a"), (2.0, "a"), (3.0, "b"), (4.0, "b")}
    expected = []
    for flower, length, kind in rows:
        if kind not in {"a", "b"} or length is None or length < 0 or (has_id and (flower is None or flower in ids)):
            continue
        ids |= {flower} if has_id else set()
        if policy != "keep" and not has_id and (length, kind) in seen:
            continue
        seen.add((length, kind))
        expected.append((length, kind))
    assert list(zip(added(found), added(found, "kind"), strict=True)) == expected
    assert found.report.live_rows == len(expected)
    assert sum(found.report.live_left_out.values()) == len(rows) - len(expected)
    assert found.frame["length"].to_list()[:4] == [1.0, 2.0, 3.0, 4.0]
