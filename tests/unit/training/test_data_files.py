import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.errors import DataError, LoopError
from src.training.data_files import TableFile, duplicates_of, format_of, kind_of_content, lacks, local_files

NOW = 4_000_000_000.0

pytestmark = pytest.mark.usefixtures("shipped_file_rule")


def put(file: Path, *, age: float = 3600.0, renamed: bool = False) -> Path:
    """A file that was last changed ``age`` seconds before ``NOW``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    os.utime(file, (NOW - age, NOW - age))
    # Setting the times changes the file's entry, as a rename does. That happens before NOW, so a file counts as renamed
    # only if its last change is set to a still earlier time.
    changed = file.stat().st_ctime
    assert changed < NOW
    if renamed:
        os.utime(file, (changed - age, changed - age))
    return file


def no_wait(_: float) -> None:
    raise AssertionError("waited without a reason")


def names(source: Path | str, now: float = NOW, wait: Callable[[float], None] = no_wait) -> list[str]:
    return [Path(file.name).name for file in local_files(str(source), lambda: now, wait)[0]]


def test_folder_means_its_data_files_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.csv", "a.CSV", "c.tsv.gz", "a.csv.gz"):
        put(tmp_path / name)
    for name in (".hidden.csv", "~$a.csv", "d.csv.tmp", "d.csv.part", "d.tmp", "README.md", "a.csv.sha256"):
        put(tmp_path / name)
    put(tmp_path / "deeper" / "e.csv")
    (tmp_path / "folder.csv").mkdir()
    assert names(tmp_path) == ["a.CSV", "a.csv.gz", "b.csv", "c.tsv.gz"]
    assert local_files(str(tmp_path), lambda: NOW)[0][0].name == str(tmp_path / "a.CSV")


def test_glob_means_the_data_files_that_it_matches(tmp_path: Path) -> None:
    for name in ("2026-01.csv", "2026-02.csv", "2025-12.csv", "2026-03.csv.tmp", "deeper/2026-04.csv"):
        put(tmp_path / name)
    assert names(tmp_path / "2026-*.csv") == ["2026-01.csv", "2026-02.csv"]
    assert names(tmp_path / "2026-0[2-9]*") == ["2026-02.csv"]
    assert names(tmp_path / "**" / "2026-*.csv") == ["2026-01.csv", "2026-02.csv", "2026-04.csv"]


def test_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    assert names(put(tmp_path / "rows[1].csv")) == ["rows[1].csv"]


def test_files_that_are_still_written_to_are_left_for_the_next_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "old.csv", age=10.0)
    put(tmp_path / "young.csv", age=9.99)
    put(tmp_path / "now.csv", age=0.0)
    put(tmp_path / "clock-is-ahead.csv", age=-9.99)
    put(tmp_path / "clock-is-wrong.csv", age=-3600.0)
    waited: list[float] = []
    with caplog.at_level(logging.WARNING):
        # The clock stands still, as if these two had been written to meanwhile.
        assert names(tmp_path, wait=waited.append) == ["clock-is-wrong.csv", "old.csv"]
    assert waited == [20]
    left = [str(tmp_path / f"{name}.csv") for name in ("clock-is-ahead", "now", "young")]
    assert local_files(str(tmp_path), lambda: NOW, waited.append)[1] == left
    assert "changed less than 10 s ago" in caplog.text
    assert "clock-is-ahead.csv, now.csv, young.csv" in caplog.text


def test_no_warning_where_every_file_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "old.csv")
    assert names(tmp_path) == ["old.csv"]
    assert caplog.text == ""


def test_file_that_was_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.csv")
    file = put(tmp_path / "b.csv")

    def clock() -> float:
        file.unlink(missing_ok=True)
        return NOW

    assert [found.path.name for found in local_files(str(tmp_path), clock)[0]] == ["a.csv"]


def test_file_that_was_renamed_after_its_last_change_is_read_at_once(tmp_path: Path) -> None:
    file = put(tmp_path / "new.csv", age=1.0, renamed=True)
    assert names(tmp_path, file.stat().st_mtime + 1.0) == ["new.csv"]


def test_file_that_was_just_written_does_not_count_as_renamed(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("x")
    with pytest.raises(LoopError, match="changed less than 10 s ago"):
        names(tmp_path, file.stat().st_mtime + 1.0, lambda _: None)


def test_empty_file_does_not_count_as_renamed(tmp_path: Path) -> None:
    put(tmp_path / "old.csv")
    file = put(tmp_path / "new.csv", age=1.0, renamed=True)
    moment = file.stat().st_mtime
    file.write_text("")
    os.utime(file, (moment, moment))
    assert names(tmp_path, moment + 9.0, lambda _: None) == ["old.csv"]
    assert names(tmp_path, moment + 10.0) == ["new.csv", "old.csv"]


def test_file_that_is_there_compressed_and_not_is_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "b.csv.gz", "c.tsv.gz"):
        put(tmp_path / name)
    assert names(tmp_path / "a*") == ["a.csv"]
    assert names(tmp_path / "*.csv") == ["a.csv", "b.csv"]
    with pytest.raises(
        DataError, match=r"b\.csv and .*b\.csv\.gz are one file, compressed and not; delete or move one"
    ):
        names(tmp_path)


@pytest.mark.parametrize(
    ("ages", "seconds"),
    [([1.0], 9), ([3600.0, 8.5], 2), ([3600.0, 9.5, 2.5], 8), ([9.0, 10.0], 1), ([0.0, 3600.0], 10)],
)
def test_young_files_are_checked_again_when_the_youngest_is_old_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ages: list[float], seconds: int
) -> None:
    for index, age in enumerate(ages):
        put(tmp_path / f"{index}.csv", age=age)
    now, waited = NOW, []

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    with caplog.at_level(logging.INFO):
        files, skipped = local_files(str(tmp_path), lambda: now, wait)
    assert skipped == []
    assert [Path(file.name).name for file in files] == [f"{index}.csv" for index in range(len(ages))]
    assert waited == [seconds]
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_file_that_changes_during_the_wait_is_left_for_the_next_run(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", age=4.0)
    file = put(tmp_path / "b.csv", age=4.0)
    now = NOW

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        os.utime(file, (now - 1.0, now - 1.0))

    files, skipped = local_files(str(tmp_path), lambda: now, wait)
    assert [Path(file.name).name for file in files] == ["a.csv"]
    assert skipped == [str(file)]


@pytest.mark.parametrize("source", ["", "*.csv", "new.csv"])
def test_source_that_keeps_changing_can_be_tried_again(tmp_path: Path, source: str) -> None:
    put(tmp_path / "new.csv", age=1.0)
    waited: list[float] = []
    with pytest.raises(LoopError, match="changed less than 10 s ago and may be incomplete; run again") as caught:
        names(tmp_path / source, wait=waited.append)
    assert waited == [9]
    assert not caught.value.permanent


@pytest.mark.parametrize("source", ["", "*.csv"])
def test_folder_or_glob_without_data_files_is_an_error(tmp_path: Path, source: str) -> None:
    put(tmp_path / "README.md")
    with pytest.raises(DataError, match=r"has no \.csv, \.tsv or \.parquet file"):
        names(tmp_path / source)


@pytest.mark.parametrize("name", ["a.parquet", ".hidden.csv", "rows[1].csv"])
def test_single_file_is_read_once_it_is_complete(tmp_path: Path, name: str) -> None:
    now, waited = NOW, []

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    file = put(tmp_path / name, age=3.0)
    assert local_files(str(file), lambda: now, wait)[0][0].path == file
    assert waited == [7]
    assert names(put(file, age=10.0)) == [name]


def test_single_file_that_was_renamed_into_place_is_read_at_once(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", age=1.0, renamed=True)
    assert names(file, file.stat().st_mtime + 1.0) == ["a.csv"]


def test_single_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv cannot be read: it does not exist; fix dataset\.source"):
        names(tmp_path / "absent.csv")


def test_path_of_another_kind_is_refused_with_what_can_be_read() -> None:
    with pytest.raises(DataError, match=r"'roses'; it must be iris, sql, an https:// or s3:// address, or the path"):
        names("roses")


@pytest.mark.parametrize("source", ["", "*.csv", "a.csv"])
def test_file_that_was_deleted_before_it_is_read_can_be_tried_again(tmp_path: Path, source: str) -> None:
    file = put(tmp_path / "a.csv")
    (found,), _ = local_files(str(tmp_path / source), lambda: NOW, no_wait)
    file.unlink()
    with pytest.raises(LoopError, match=r"a\.csv was found, but cannot be read: No such file .*; run again") as caught:
        found.open().__enter__()
    assert not caught.value.permanent


def test_file_of_another_user_must_be_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="x cannot be read: Permission denied; fix the file"):
        TableFile("x", tmp_path / "x.csv", "csv").open().__enter__()


def test_incomplete_gzip_file_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"a,b\n" * 1000)[:-9])
    with (
        pytest.raises(DataError, match="cut cannot be read: Compressed file ended"),
        TableFile("cut", cut, "csv").open() as stream,
    ):
        stream.read()


def test_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "damaged.csv.gz"
    content = bytearray(gzip.compress(bytes(range(256)) * 100))
    content[20:40] = b"\xff" * 20
    file.write_bytes(content)
    with (
        pytest.raises(DataError, match="damaged cannot be read: Error -3 while decompressing"),
        TableFile("damaged", file, "csv").open() as stream,
    ):
        stream.read()


def test_content_is_decompressed_whatever_the_name_says(tmp_path: Path) -> None:
    file = tmp_path / "plain.csv"
    for content in (b"a,b\n", gzip.compress(b"a,b\n")):
        file.write_bytes(content)
        with TableFile("x", file, "csv").open() as stream:
            assert stream.read() == b"a,b\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.CSV", "csv"),
        ("a.tsv.gz", "csv"),
        ("a.parquet", "parquet"),
        ("a.parquet.GZ", "parquet"),
        ("a.gz", None),
        ("csv", None),
    ],
)
def test_name_says_the_format(name: str, kind: str | None) -> None:
    assert format_of(name) == kind


@pytest.mark.parametrize(("count", "more"), [(20, ""), (21, ", …")], ids=str)
def test_message_of_lacking_columns_shows_twenty_names(count: int, more: str) -> None:
    shown = ", ".join(f"c{number}" for number in range(20))
    assert f"(it has {shown}{more})" in lacks("x.csv", [f"c{number}" for number in range(count)], ["price"])


def test_names_that_occur_twice_are_found_once() -> None:
    assert duplicates_of(["a", "b", "a", "c", "c", "a"]) == ["a", "c"]


def test_content_says_the_format(tmp_path: Path) -> None:
    file = tmp_path / "download"
    for content, kind in (
        (b"PAR1...", "parquet"),
        (gzip.compress(b"PAR1", mtime=0), "parquet"),
        (b"PART,b", "csv"),
        (b"", "csv"),
    ):
        file.write_bytes(content)
        assert kind_of_content(file) == kind
