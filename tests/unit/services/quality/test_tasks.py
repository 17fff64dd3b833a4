"""The tasks of a step, with real files and stores."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from src.core.audit_log import AuditLog, Event
from src.core.errors import ConfigError, DataError
from src.core.prediction_log import keyed_hash
from src.core.quality_settings import QualitySettings
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.parquet_store import ParquetStore
from src.quality.stores import label_store, log_store
from src.services.local.processes import REPOSITORY
from src.services.quality.tasks import StoreTasks
from tests.support.configuration import CONFIG_FILE
from tests.support.quality_arrivals import write_feedback, write_segment

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
KEY = "0123456789abcdef"


def rows(store: ParquetStore, *columns: str) -> list[tuple[object, ...]]:
    """The stored rows, in any order of the files but sorted."""
    tables = [pq.read_table(path, columns=list(columns), partitioning=None) for path in store.paths()]
    if not tables:
        return []
    found = pa.concat_tables(tables).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in found)


def log(settings: QualitySettings) -> ParquetStore:
    return log_store(settings.quality_dir, settings.model_name)


def labels(settings: QualitySettings) -> ParquetStore:
    return label_store(settings.quality_dir, settings.model_name)


def changed(settings: QualitySettings, **changes: object) -> QualitySettings:
    return settings.model_copy(update=changes)


def with_config(settings: QualitySettings, text: str) -> QualitySettings:
    """The shipped configuration with further lines."""
    file = settings.data_dir / "pipeline.yaml"
    file.write_text(CONFIG_FILE.read_text(encoding="utf-8") + text, encoding="utf-8")
    return changed(settings, pipeline_config=file)


@pytest.fixture
def database(settings: QualitySettings) -> QualitySettings:
    """A configuration with ``labels.query``, and its database."""
    file = settings.data_dir / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE outcomes (customer INTEGER, species TEXT, day TEXT)")
        connection.executemany(
            "INSERT INTO outcomes VALUES (?, ?, ?)", [(7, "setosa", "2026-11-01"), (8, "virginica", None)]
        )
    connection.close()
    query = "labels: { query: 'SELECT customer AS id, species AS label, day AS time FROM outcomes' }\n"
    return changed(with_config(settings, query), dataset_url=SecretStr(f"sqlite:///{file}"))


def test_tasks_are_done_in_this_order_and_some_once_an_hour(settings: QualitySettings) -> None:
    found = [(task.name, task.every.total_seconds()) for task in StoreTasks(settings).all()]
    assert found == [
        ("taking in predictions", 0),
        ("taking in feedback", 0),
        ("reading label files", 0),
        ("running labels.query", 3600),
        ("compacting the stores", 3600),
        ("deleting old rows", 0),
    ]


def test_every_task_does_nothing_on_an_empty_folder(settings: QualitySettings) -> None:
    assert [list(task.run(NOW)) for task in StoreTasks(settings).all()] == [[]] * 6
    assert rows(log(settings), "request_id") == rows(labels(settings), "request_id") == []


def test_segments_go_to_the_log(settings: QualitySettings) -> None:
    segment = write_segment(settings.quality_dir, [("a", "setosa"), ("a/1", "virginica")], NOW)
    StoreTasks(settings).take_in_rows(NOW)
    assert rows(log(settings), "request_id", "prediction") == [("a", "setosa"), ("a/1", "virginica")]
    assert not segment.exists()


def test_feedback_goes_to_the_labels(settings: QualitySettings) -> None:
    sent = write_feedback(settings.quality_dir, {"a": "setosa", "b/0": "virginica"}, NOW)
    StoreTasks(settings).take_in_feedback(NOW)
    assert rows(labels(settings), "request_id", "label") == [("a", "setosa"), ("b", "virginica")]
    assert not sent.exists()


def test_label_files_are_read_and_their_problems_reported_until_they_are_gone(settings: QualitySettings) -> None:
    folder = settings.labels_dir
    folder.mkdir()
    (folder / "good.csv").write_text("id,label\n7,setosa\n")
    (folder / "bad.csv").write_text("who,what\n7,setosa\n")
    for file in folder.iterdir():
        os.utime(file, (NOW.timestamp() - 60,) * 2)
    tasks = StoreTasks(settings)
    for _ in range(2):
        (problem,) = tasks.read_files(NOW)
        assert problem.startswith("bad.csv needs the columns request_id or id, and label")
    (folder / "bad.csv").unlink()
    assert list(tasks.read_files(NOW)) == []
    assert rows(labels(settings), "key", "label") == [("7", "setosa")]


@pytest.mark.parametrize("task", [StoreTasks.read_files, StoreTasks.run_query])
def test_sent_labels_whose_file_could_not_be_deleted_are_stored_once(
    database: QualitySettings, task: Callable[[StoreTasks, datetime], object]
) -> None:
    sent = write_feedback(database.quality_dir, {"a": "versicolor"}, NOW)
    content, tasks = sent.read_bytes(), StoreTasks(database)
    tasks.take_in_feedback(NOW)
    sent.write_bytes(content)  # as if deleting it had failed
    database.labels_dir.mkdir()
    file = database.labels_dir / "more.csv"
    file.write_text("request_id,label\nb,setosa\n")
    os.utime(file, (NOW.timestamp() - 60,) * 2)
    task(tasks, NOW)
    tasks.take_in_feedback(NOW)
    assert rows(labels(database), "label").count(("versicolor",)) == 1
    assert ("setosa",) in rows(labels(database), "label")  # of the task


def test_file_with_which_git_keeps_the_folder_is_no_file_of_labels(settings: QualitySettings) -> None:
    kept = subprocess.run(
        ["git", "ls-files", "data-file/labels"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    settings.labels_dir.mkdir()
    for name in kept.stdout.splitlines():
        (settings.labels_dir / Path(name).name).touch()
        os.utime(settings.labels_dir / Path(name).name, (NOW.timestamp() - 60,) * 2)
    assert list(StoreTasks(settings).read_files(NOW)) == []


def test_query_is_run_and_what_it_says_again_is_not_stored_again(database: QualitySettings) -> None:
    tasks = StoreTasks(database)
    for hour in range(2):
        assert list(tasks.run_query(NOW + timedelta(hours=hour))) == []
    day = datetime(2026, 11, 1, 23, 59, 59, 999999, tzinfo=UTC)  # a date is the end of its day
    assert rows(labels(database), "key", "label", "time", "received") == [
        ("7", "setosa", day, NOW),
        ("8", "virginica", None, NOW),
    ]


def test_query_needs_the_columns_of_labels(database: QualitySettings) -> None:
    for query in ("SELECT customer AS id FROM outcomes", "SELECT species AS label FROM outcomes"):
        settings = with_config(database, f"labels: {{ query: '{query}' }}\n")
        with pytest.raises(DataError, match=r"labels\.query must select label, and id or request_id"):
            StoreTasks(settings).run_query(NOW)


def test_query_without_a_database_is_an_error_that_names_the_variable(database: QualitySettings) -> None:
    with pytest.raises(ConfigError, match=r"labels\.query is set; set DATASET_URL"):
        StoreTasks(changed(database, dataset_url=None)).run_query(NOW)


def test_labels_wait_while_the_configuration_is_wrong(settings: QualitySettings, tmp_path: Path) -> None:
    sent = write_feedback(settings.quality_dir, {"a": "setosa"}, NOW)
    wrong = changed(settings, pipeline_config=tmp_path / "absent.yaml")
    with pytest.raises(ConfigError):
        StoreTasks(wrong).take_in_feedback(NOW)
    assert sent.exists()
    StoreTasks(settings).take_in_feedback(NOW)
    assert rows(labels(settings), "request_id") == [("a",)]


def test_small_files_are_joined(settings: QualitySettings) -> None:
    tasks = StoreTasks(settings)
    for name in ("a", "b"):
        write_segment(settings.quality_dir, [(name, "setosa")], NOW)
        write_feedback(settings.quality_dir, {name: "setosa"}, NOW)
        tasks.take_in_rows(NOW)
        tasks.take_in_feedback(NOW)
    assert (len(log(settings).paths()), len(labels(settings).paths())) == (2, 2)
    tasks.compact(NOW)
    assert (len(log(settings).paths()), len(labels(settings).paths())) == (1, 1)
    assert rows(log(settings), "request_id") == rows(labels(settings), "request_id") == [("a",), ("b",)]


def test_rows_and_labels_are_kept_for_their_days(settings: QualitySettings) -> None:
    settings = changed(settings, prediction_log_days=2)
    tasks = StoreTasks(settings)
    for days, name in ((1, "young"), (3, "old")):
        at = NOW - timedelta(days=days)
        write_segment(settings.quality_dir, [(name, "setosa")], at)
        write_feedback(settings.quality_dir, {name: "setosa"}, at)
    tasks.take_in_rows(NOW)
    tasks.take_in_feedback(NOW)
    tasks.expire(NOW)
    assert rows(log(settings), "request_id") == rows(labels(settings), "request_id") == [("young",)]


def test_log_is_kept_within_its_bytes(settings: QualitySettings) -> None:
    for days, name in ((1, "young"), (2, "old")):
        write_segment(settings.quality_dir, [(name, "setosa")], NOW - timedelta(days=days))
    StoreTasks(settings).take_in_rows(NOW)
    size = max(file.bytes for file in log(settings).manifest.files)
    StoreTasks(changed(settings, prediction_log_max_bytes=size)).expire(NOW)
    assert rows(log(settings), "request_id") == [("young",)]


# -- hashed keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hashed", "is_hashed"), [("number", True), ("petal_width", False), ("", False)])
def test_keys_are_hashed_as_in_the_log(settings: QualitySettings, *, hashed: str, is_hashed: bool) -> None:
    text = CONFIG_FILE.read_text(encoding="utf-8").replace("  target: species", "  target: species\n  id: [number]")
    settings.data_dir.joinpath("pipeline.yaml").write_text(text, encoding="utf-8")
    settings = changed(
        settings,
        pipeline_config=settings.data_dir / "pipeline.yaml",
        prediction_log_hash=hashed,
        prediction_log_key=SecretStr(KEY),
    )
    expected = keyed_hash(KEY, "7") if is_hashed else "7"
    settings.labels_dir.mkdir()
    (settings.labels_dir / "a.csv").write_text("id,label\n7,setosa\n")
    os.utime(settings.labels_dir / "a.csv", (NOW.timestamp() - 60,) * 2)
    StoreTasks(settings).read_files(NOW)
    assert rows(labels(settings), "key") == [(expected,)]


def test_files_that_were_set_aside_expire_as_rows_do(settings: QualitySettings) -> None:
    for folder in ("segments", "feedback"):
        for name, days in (("old.ndjson", 91), ("new.ndjson", 89)):
            path = settings.quality_dir / folder / "bad" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, ((NOW - timedelta(days=days)).timestamp(),) * 2)
    StoreTasks(settings).expire(NOW)
    assert [path.name for path in sorted(settings.quality_dir.glob("*/bad/*"))] == ["new.ndjson"] * 2


def test_files_that_a_killed_process_had_begun_to_write_are_deleted_after_an_hour(settings: QualitySettings) -> None:
    names = ["feedback/a.ndjson", "feedback/a.ndjson.tmp", "segments/b.ndjson.open", "segments/b.ndjson.open.new"]
    paths = [settings.quality_dir / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    StoreTasks(settings).expire(NOW + timedelta(seconds=3599))
    assert all(path.exists() for path in paths)
    StoreTasks(settings).expire(NOW + timedelta(seconds=3600))
    assert [path.exists() for path in paths] == [True, False, True, False]


# -- former models -----------------------------------------------------------------------------------


def test_rows_of_a_former_model_go_to_its_own_log(settings: QualitySettings) -> None:
    write_segment(settings.quality_dir, [("a", "setosa")], NOW, model="former")
    write_segment(settings.quality_dir, [("b", "setosa")], NOW)
    (settings.quality_dir / "segments/wrong.ndjson").write_text("{}")
    StoreTasks(settings).take_in_rows(NOW)
    assert rows(log(settings), "request_id") == [("b",)]
    assert rows(log_store(settings.quality_dir, "former"), "request_id") == [("a",)]
    assert list((settings.quality_dir / "segments").glob("*.ndjson")) == []


def test_segment_with_a_name_that_no_model_can_have_is_set_aside(settings: QualitySettings) -> None:
    segment = write_segment(settings.quality_dir, [("a", "setosa")], NOW)
    segment.write_text(segment.read_text().replace('"iris"', '".."'))
    StoreTasks(settings).take_in_rows(NOW)
    assert [path.name for path in (segment.parent / "bad").iterdir()] == [segment.name]
    assert not (settings.quality_dir / "store.lock").exists()


def test_rows_and_labels_of_a_former_model_are_joined_and_expire(settings: QualitySettings) -> None:
    former = StoreTasks(changed(settings, model_name="former"))
    for name in ("a", "b"):
        write_segment(settings.quality_dir, [(name, "setosa")], NOW, model="former")
        write_feedback(settings.quality_dir, {name: "setosa"}, NOW)
        former.take_in_rows(NOW)
        former.take_in_feedback(NOW)
    stores = [log_store(settings.quality_dir, "former"), label_store(settings.quality_dir, "former")]
    tasks = StoreTasks(settings)
    tasks.compact(NOW)
    assert [len(store.paths()) for store in stores] == [1, 1]
    tasks.expire(NOW + timedelta(days=90))
    assert [rows(store, "request_id") for store in stores] == [[("a",), ("b",)]] * 2
    tasks.expire(NOW + timedelta(days=91))
    assert [rows(store, "request_id") for store in stores] == [[], []]
    assert [store.paths() for store in stores] == [[], []]


def test_the_logs_of_all_models_share_the_bytes(settings: QualitySettings) -> None:
    write_segment(settings.quality_dir, [("young", "setosa")], NOW)
    write_segment(settings.quality_dir, [("old", "setosa")], NOW - timedelta(days=1), model="former")
    StoreTasks(settings).take_in_rows(NOW)
    former = log_store(settings.quality_dir, "former")
    size = log(settings).manifest.bytes + former.manifest.bytes
    StoreTasks(changed(settings, prediction_log_max_bytes=size)).expire(NOW)
    assert rows(former, "request_id") == [("old",)]
    StoreTasks(changed(settings, prediction_log_max_bytes=size - 1)).expire(NOW)
    assert (rows(former, "request_id"), rows(log(settings), "request_id")) == ([], [("young",)])


def test_without_the_log_the_watch_of_a_promotion_ends_also_if_it_began_later(settings: QualitySettings) -> None:
    tasks = StoreTasks(settings).without_log()
    for task in tasks:
        assert list(task.run(NOW)) == []
    assert not settings.quality_dir.exists()
    rollouts = Rollouts(settings.rollouts_dir)
    rollouts.begin(Rollout(model="iris", version="2", previous="1", started=NOW - timedelta(days=1), until=NOW))
    for task in tasks:
        task.run(NOW)
    (record,) = rollouts.recent("iris", 2)
    assert record.state is RolloutState.KEPT
    (entry,) = AuditLog(settings.audit_file).recent(5).entries
    assert (entry.event, entry.outcome, entry.rollout_id) == (Event.WATCH_ENDED, "kept", record.id)


def test_without_the_log_what_waits_is_taken_in_so_that_it_expires(settings: QualitySettings) -> None:
    write_segment(settings.quality_dir, [("a", "setosa")], NOW - timedelta(days=91))
    write_feedback(settings.quality_dir, {"a": "setosa"}, NOW - timedelta(days=91))
    for task in StoreTasks(settings).without_log():
        task.run(NOW)
    assert list(settings.quality_dir.glob("*/*.ndjson")) == []
    assert rows(log(settings), "request_id") == rows(labels(settings), "request_id") == []
