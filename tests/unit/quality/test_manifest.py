from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.quality.manifest import Erased, Manifest, ReadFile, StoredFile, read_manifest, write_manifest

AT = datetime(2026, 3, 4, tzinfo=UTC)
FULL = Manifest(
    files=[
        StoredFile(path="day=2026-03-04/a.parquet", rows=2, bytes=10, first=AT, last=AT, rates=[0.5, 1.0]),
        StoredFile(path="day=2026-03-04/b.parquet", rows=3, bytes=20, first=AT, last=AT, rates=[0.25]),
    ],
    sources=["x.ndjson"],
    read=[ReadFile(name="a.csv", bytes=1, modified_ns=2, sha256="00", problem="row 1 has no label")],
    erased=[Erased(id_sha256="11", at=AT)],
)


def test_manifest_is_read_as_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path) == FULL
    write_manifest(tmp_path, Manifest())
    assert read_manifest(tmp_path) == Manifest()


def test_folder_without_a_manifest_is_an_empty_store(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == Manifest()


def test_temporary_file_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.tmp").write_text("{", encoding="utf-8")
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path) == FULL
    assert not (tmp_path / "manifest.tmp").exists()


@pytest.mark.parametrize("content", ["", "{", '{"format": 2}', '{"rows": 1}', '{"files": [{}]}'])
def test_damaged_manifest_is_reported_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"manifest\.json is damaged; restore it from a backup, or move the folder"):
        read_manifest(tmp_path)


def test_totals_of_all_files() -> None:
    assert (FULL.rows, FULL.bytes) == (5, 30)
    assert (Manifest().rows, Manifest().bytes) == (0, 0)


def test_lowest_rate_is_of_the_files_with_newer_rows() -> None:
    older = FULL.files[1].model_copy(update={"last": AT - timedelta(microseconds=1)})
    manifest = Manifest(files=[older, FULL.files[0]])
    assert FULL.lowest_rate(AT) == 0.25
    assert manifest.lowest_rate(AT) == 0.5
    assert manifest.lowest_rate(AT + timedelta(microseconds=1)) == Manifest().lowest_rate(AT) == 1.0
