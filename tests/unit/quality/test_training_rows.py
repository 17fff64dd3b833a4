"""Labelled rows of the prediction log as rows to learn from: each rule on a few rows."""

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.errors import ConfigError, LoopError
from src.core.file_lock import is_locked
from src.core.learning_settings import LearningSettings
from src.core.prediction_log import Role
from src.core.settings import load_settings
from src.quality.bucket import Bucket
from src.quality.live_quality import Resources
from src.quality.parquet_store import LOCK_FILE
from src.quality.stores import label_store, log_store
from src.quality.training_rows import TrainingRows, check_logged, read_training_rows, training_rows
from tests.support.labelled_log import DAY, HOUR, NOW, LabelledLog, columns_of
from tests.support.training import config

FEATURES = {
    "length": {},
    "petals": {"type": "integer", "missing": True},
    "color": {"type": "category", "missing": True},
    "wild": {"type": "boolean", "missing": True},
    "seen": {"type": "date", "missing": True},
}
VALUES = (1.5, 3, "blue", True, 20_000.5)
MICROSECOND = timedelta(microseconds=1)


def dataset(**changes: Any) -> DatasetConfig:
    given = {"features": FEATURES, "feedback": {"use": True, "max_age_days": 2.0}}
    return config(dataset={**given, **changes}).dataset


def settings(folder: Path, **changes: Any) -> LearningSettings:
    return LearningSettings(_env_file=None, data_dir=folder, **changes)


@pytest.fixture
def log(tmp_path: Path) -> LabelledLog:
    return LabelledLog(tmp_path / "quality", columns_of(dataset().feature_schema))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., TrainingRows]:
    def reading(chosen: DatasetConfig | None = None, now: datetime = NOW, **changes: Any) -> TrainingRows:
        return read_training_rows(chosen or dataset(), settings(tmp_path, **changes), now)

    return reading


def lengths(found: TrainingRows) -> list[float]:
    return list(found.table["length"].to_pylist())


def test_row_has_the_logged_values_the_label_and_the_time_of_its_prediction(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", ago=HOUR)
    found = read()
    assert found.left_out == {}
    assert found.table.to_pylist() == [
        {
            "length": 1.5,
            "petals": 3,
            "color": "blue",
            "wild": True,
            "seen": datetime(2024, 10, 4, 12, tzinfo=UTC),
            "species": "setosa",
            FEEDBACK_TIME: (NOW - HOUR).timestamp() / 86_400,
        }
    ]


def test_missing_values_are_null(log: LabelledLog, read: Any) -> None:
    log.add("r", (1.5, None, None, None, None), "setosa")
    (row,) = read().table.to_pylist()
    assert [row[name] for name in FEATURES] == [1.5, None, None, None, None]


def test_only_labelled_rows_of_the_champion_count(log: LabelledLog, read: Any) -> None:
    log.add("labelled", VALUES, "setosa")
    log.add("unlabelled", VALUES, None)
    log.add("shadow", VALUES, "setosa", role=Role.SHADOW, version="2")
    log.label("virginica", request_id="never predicted")
    assert len(read().table) == 1
    # A shadow answers the same request: it is one row.
    log.add_rows([("labelled", (9.0, *VALUES[1:]))], role=Role.SHADOW, version="2", ago=timedelta())
    assert lengths(read()) == [1.5]


def test_rows_that_a_canary_answered_count_once(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", role=Role.CANARY, version="2")
    # The champion answers the same row as a shadow.
    log.add_rows([("r", (9.0, *VALUES[1:]))], role=Role.SHADOW, ago=timedelta())
    found = read()
    assert (lengths(found), found.left_out) == ([1.5], {})


def test_rows_count_from_the_start_of_the_day_max_age_days_ago(log: LabelledLog, read: Any) -> None:
    start = NOW.replace(hour=0) - 2 * DAY
    log.add("first", (1.0, *VALUES[1:]), "setosa", ago=NOW - start)
    log.add("older", (2.0, *VALUES[1:]), "setosa", ago=NOW - start + MICROSECOND)
    for now in (NOW.replace(hour=0), NOW, NOW.replace(hour=23, minute=59)):
        assert lengths(read(now=now)) == [1.0]
    assert lengths(read(now=NOW.replace(hour=0) + DAY)) == []
    assert lengths(read(dataset(feedback={"use": True, "max_age_days": 1e300}))) == [1.0, 2.0]


def test_newest_label_counts_also_one_by_key(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, None, key="k")
    log.label("setosa", request_id="r", ago=2 * MICROSECOND)
    log.label("virginica", key="k", ago=MICROSECOND)
    assert read().table["species"].to_pylist() == ["virginica"]
    log.label("versicolor", request_id="r")
    assert read().table["species"].to_pylist() == ["versicolor"]


def test_rows_are_newest_first_and_once_for_each_request_id(log: LabelledLog, read: Any) -> None:
    log.add("b", (1.0, *VALUES[1:]), "setosa", ago=3 * HOUR)
    log.add("a", (2.0, *VALUES[1:]), "setosa", ago=3 * HOUR)
    log.add("c", (3.0, *VALUES[1:]), "setosa", ago=2 * HOUR)
    log.add_rows([("b", (4.0, *VALUES[1:]))], ago=HOUR)
    found = read()
    assert lengths(found) == [4.0, 3.0, 2.0]
    assert found.left_out == {"repeated request ids": 1}


def test_of_two_versions_that_answered_together_the_later_one_counts(log: LabelledLog, read: Any) -> None:
    for version, length in (("9", 1.0), ("10", 2.0)):
        log.add_rows([("r", (length, *VALUES[1:]))], version=version)
    log.label("setosa", request_id="r")
    assert lengths(read()) == [2.0]


def test_rows_of_versions_without_a_required_column_are_left_out_and_counted(log: LabelledLog, read: Any) -> None:
    log.add("whole", VALUES, "setosa")
    log.add_rows([("old", VALUES[1:])], columns=log.columns[1:], version="0")
    log.label("setosa", request_id="old")
    found = read()
    assert lengths(found) == [1.5]
    assert found.left_out == {"of versions without a required column": 1}


def test_column_that_may_be_missing_is_missing_where_a_version_lacks_it(log: LabelledLog, read: Any) -> None:
    log.add_rows([("old", VALUES[:2])], columns=log.columns[:2], version="0")
    log.label("setosa", request_id="old")
    (row,) = read().table.to_pylist()
    assert [row[name] for name in FEATURES] == [1.5, 3, None, None, None]


def test_logged_column_of_another_type_counts_as_lacking(log: LabelledLog, read: Any) -> None:
    changed = [("length", "integer"), ("petals", "string"), *log.columns[2:]]
    log.add_rows([("widened", (2, "many", *VALUES[2:]))], columns=changed, version="0")
    log.label("setosa", request_id="widened")
    log.add_rows([("hashed", ("0a", *VALUES[1:]))], columns=[("length", "string"), *log.columns[1:]], version="1")
    log.label("setosa", request_id="hashed")
    found = read()
    assert [(row["length"], row["petals"]) for row in found.table.to_pylist()] == [(2.0, None)]
    assert found.left_out == {"of versions without a required column": 1}


def test_names_that_differ_in_case_or_have_quotes_are_told_apart(log: LabelledLog, read: Any) -> None:
    odd = {"Length": {}, "length": {}, "a'b\"c": {}}
    columns = [(name, "number") for name in odd]
    log.add_rows([("r", (1.0, 2.0, 3.0))], columns=columns)
    log.label("setosa", request_id="r")
    (row,) = read(dataset(features=odd)).table.to_pylist()
    assert [row[name] for name in odd] == [1.0, 2.0, 3.0]


def test_optional_column_that_is_omitted_or_hashed_is_missing(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa")
    (row,) = read(prediction_log_omit="wild", prediction_log_hash="color , petals").table.to_pylist()
    assert [row[name] for name in FEATURES] == [1.5, None, None, None, datetime(2024, 10, 4, 12, tzinfo=UTC)]


@pytest.mark.parametrize("days", [float("nan"), -719_163.0, 2_932_898.0, 1e300])
def test_logged_number_that_is_no_date_is_missing(log: LabelledLog, read: Any, days: float) -> None:
    log.add("r", (*VALUES[:4], days), "setosa")
    assert read().table["seen"].to_pylist() == [None]


def test_numbers_are_labels_of_a_regression_and_other_texts_are_null(log: LabelledLog, read: Any) -> None:
    for place, label in enumerate(["1.5", " 2e3", "large", "inf"]):
        log.add(f"r{place}", VALUES, label)
    regression = dataset(classes=None, min_rows_per_class=None, target_range={})
    assert read(regression).table["species"].to_pylist() == [1.5, 2000.0, None, None]


# -- ids, time, group ----------------------------------------------------------------------------------------


def test_id_is_the_key_or_else_the_id_of_the_request(log: LabelledLog, read: Any) -> None:
    log.add("r/1", VALUES, "setosa", key="A|1")
    log.add("s/1", VALUES, "setosa", ago=2 * HOUR)
    found = read(dataset(id=["flower"]))
    assert found.table["flower"].to_pylist() == ["A|1", "s/1"]
    assert found.left_out == {}


def test_key_of_several_id_columns_is_split_and_rows_without_one_are_left_out(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", key="A|1")
    log.add("ambiguous", VALUES, "setosa", key="A|1|2")
    log.add("short", VALUES, "setosa", key="A")
    log.add("without", VALUES, "setosa")
    found = read(dataset(id=["garden", "flower"]))
    assert found.table.select(["garden", "flower"]).to_pylist() == [{"garden": "A", "flower": "1"}]
    assert found.left_out == {"without an id": 3}


def test_id_columns_that_are_features_come_from_the_features(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", key="A")
    log.add("s", (2.0, *VALUES[1:]), "setosa", ago=2 * HOUR)
    found = read(dataset(id=["petals", "flower"]))
    assert found.table.select(["petals", "flower"]).to_pylist() == [
        {"petals": 3, "flower": "A"},
        {"petals": 3, "flower": "s"},
    ]
    assert read(dataset(id=["length"])).table.column_names == [*FEATURES, "species", FEEDBACK_TIME]
    assert lengths(read(dataset(id=["length"]))) == [1.5, 2.0]


def test_optional_feature_that_identifies_a_row_is_required(log: LabelledLog, read: Any) -> None:
    log.add_rows([("old", VALUES[:1])], columns=log.columns[:1], version="0")
    log.label("setosa", request_id="old")
    for role in ({"id": ["petals"]}, {"time": "seen"}, {"group": "color"}):
        assert read(dataset(**role)).left_out == {"of versions without a required column": 1}, role
    assert read().left_out == {}


def test_time_is_that_of_the_prediction_unless_it_is_a_feature_or_an_id(log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", key="2026-01-31")
    assert read(dataset(time="when")).table["when"].to_pylist() == [NOW - HOUR]
    assert read(dataset(time="seen")).table["seen"].to_pylist() == [datetime(2024, 10, 4, 12, tzinfo=UTC)]
    assert read(dataset(time="day", id=["day"])).table["day"].to_pylist() == ["2026-01-31"]


def test_group_is_a_feature_or_an_id(tmp_path: Path, log: LabelledLog, read: Any) -> None:
    log.add("r", VALUES, "setosa", key="A")
    assert read(dataset(group="garden", id=["garden"])).table["garden"].to_pylist() == ["A"]
    check_logged(dataset(group="garden", id=["garden"]), settings(tmp_path))
    check_logged(dataset(group="color"), settings(tmp_path))
    with pytest.raises(ConfigError, match=r"the log does not have the group 'garden'; list it in dataset\.id"):
        check_logged(dataset(group="garden"), settings(tmp_path))


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["prediction_log_omit", "prediction_log_hash"])
def test_log_without_an_id_or_a_required_column_is_refused(tmp_path: Path, variable: str) -> None:
    for chosen, name, message in (
        (dataset(id=["flower"]), "flower", "has the id columns flower: rows of one id could be both"),
        (dataset(id=["color"]), "color", "has the id columns color"),
        (dataset(), "length", "has the required columns length, so that no logged row can be learned from"),
        (dataset(group="color"), "color", "has the required columns color"),
        (dataset(time="seen"), "seen", "has the required columns seen"),
    ):
        with pytest.raises(ConfigError, match=re.escape(f"{variable.upper()} {message}")):
            check_logged(chosen, settings(tmp_path, **{variable: f"other, {name}"}))
    check_logged(dataset(id=["flower"]), settings(tmp_path, **{variable: "color,other"}))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("INFERENCE_HOST", "WRITE_API_KEY", "WRITE_KEY_IS_SET", "MODEL_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return monkeypatch


def test_rows_of_the_environment_s_model_and_folder_are_read(log: LabelledLog, environment: pytest.MonkeyPatch) -> None:
    log.now = datetime.now(UTC)
    log.add("r", VALUES, "setosa")
    found = training_rows(dataset())
    assert found is not None
    assert lengths(found) == [1.5]
    environment.setenv("MODEL_NAME", "other")
    found = training_rows(dataset())
    assert found is not None
    assert lengths(found) == []
    assert training_rows(dataset(feedback={"use": False})) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.7", "ml.example.com"])  # noqa: S104 - nothing is bound
def test_labels_that_anyone_can_send_are_refused(environment: pytest.MonkeyPatch, host: str) -> None:
    environment.setenv("INFERENCE_HOST", host)
    with pytest.raises(ConfigError, match=rf"listens on {re.escape(host)} without WRITE_API_KEY: .*set WRITE_API_KEY"):
        training_rows(dataset())
    assert training_rows(dataset(feedback={"use": False})) is None
    environment.setenv("WRITE_KEY_IS_SET", "true")
    assert training_rows(dataset()) is not None
    environment.setenv("WRITE_KEY_IS_SET", "")
    environment.setenv("WRITE_API_KEY", "k" * 16)
    assert training_rows(dataset()) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_service_on_loopback_needs_no_key(environment: pytest.MonkeyPatch, host: str) -> None:
    environment.setenv("INFERENCE_HOST", host)
    load_settings(LearningSettings).require_trusted_labels()


def test_unsafe_log_is_refused_before_it_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PREDICTION_LOG_OMIT", "length")
    with pytest.raises(ConfigError, match="PREDICTION_LOG_OMIT has the required columns length"):
        training_rows(dataset())


@pytest.mark.usefixtures("environment")
def test_file_that_cannot_be_read_is_an_error_that_says_what_to_do(log: LabelledLog, tmp_path: Path) -> None:
    log.now = datetime.now(UTC)
    log.add("r", VALUES, "setosa")
    (path,) = log_store(tmp_path / "quality", "iris").paths()
    Path(path).write_bytes(b"PAR1 is not enough PAR1")
    with pytest.raises(LoopError, match=r"the labelled rows in .*quality cannot be read \(.*\); make the folder"):
        training_rows(dataset())


# -- stores --------------------------------------------------------------------------------------------------


def test_empty_stores_give_no_rows_and_are_not_created(tmp_path: Path, log: LabelledLog, read: Any) -> None:
    assert read().table.column_names == [*FEATURES, "species", FEEDBACK_TIME]
    assert list(tmp_path.iterdir()) == []
    log.add_rows([("r", VALUES)])
    assert len(read().table) == 0
    log.add("s", VALUES, "setosa", ago=9 * DAY)
    found = read()
    assert (len(found.table), found.left_out) == (0, {})


@pytest.mark.slow
def test_rows_are_read_from_a_bucket_also_on_a_new_volume(
    tmp_path: Path, log: LabelledLog, read: Any, bucket: Bucket
) -> None:
    assert len(read(prediction_log_store=bucket.address).table) == 0
    log.bucket = bucket
    log.add("r", VALUES, "setosa")
    log.add("old", VALUES, "setosa", ago=9 * DAY)
    shutil.rmtree(tmp_path / "quality")
    assert len(read().table) == 0
    found = read(prediction_log_store=bucket.address)
    assert found.table["species"].to_pylist() == ["setosa"]
    assert len(list((tmp_path / "quality" / "log").rglob("*.parquet"))) == 1  # the old one is not fetched


def test_stores_are_locked_while_they_are_read_and_not_afterwards(
    tmp_path: Path, log: LabelledLog, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add("r", VALUES, "setosa")
    files = [store(tmp_path / "quality", "iris").folder / LOCK_FILE for store in (log_store, label_store)]
    locked: list[bool] = []
    connect = Resources.connect

    def connecting(resources: Resources) -> Any:
        locked.extend(map(is_locked, files))
        return connect(resources)

    monkeypatch.setattr(Resources, "connect", connecting)
    assert len(read().table) == 1
    assert locked == [True, True]
    assert [is_locked(file) for file in files] == [False, False]
