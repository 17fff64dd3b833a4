import os
import shutil
from pathlib import Path

import pytest

from src.serving.models.model_cache import ModelCache
from src.serving.models.model_version import ModelVersion


def version(number: int, name: str = "iris") -> ModelVersion:
    return ModelVersion(name=name, version=str(number), manifest_sha256=f"{number:064x}")


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    cache = ModelCache(tmp_path / "cache", "iris")
    cache.create()
    return cache


def adopt(cache: ModelCache, number: int) -> Path:
    staged = cache.stage()
    (staged / "model.onnx").write_text(str(number))
    return cache.adopt(staged, version(number))


def test_cache_finds_what_it_adopted(cache: ModelCache) -> None:
    assert not cache.entry(version(1)).exists()
    entry = adopt(cache, 1)
    assert cache.entry(version(1)) == entry
    assert entry.name == "1-000000000000"


def test_cache_keeps_the_entry_that_another_process_made_first(cache: ModelCache, tmp_path: Path) -> None:
    (adopt(cache, 1) / "first").touch()
    entry = adopt(cache, 1)
    assert {path.name for path in entry.iterdir()} == {"model.onnx", "first"}
    assert list((tmp_path / "cache").iterdir()) == [entry]


def test_cache_remembers_the_current_version(cache: ModelCache, tmp_path: Path) -> None:
    assert cache.read_current() is None
    adopt(cache, 1)
    cache.write_current(version(1))
    assert cache.read_current() == version(1)
    assert ModelCache(tmp_path / "cache", "iris").read_current() == version(1)


def test_cache_remembers_nothing_that_may_change(cache: ModelCache) -> None:
    cache.write_current(version(1).model_copy(update={"verdict": "promoted", "scores": {"accuracy": 0.9}}))
    assert cache.read_current() == version(1).model_copy(update={"scores": {"accuracy": 0.9}})


def test_cache_of_another_model_is_not_ours(cache: ModelCache, tmp_path: Path) -> None:
    cache.write_current(version(1))
    assert ModelCache(tmp_path / "cache", "wine").read_current() is None


def test_cache_clears_unfinished_downloads_away(cache: ModelCache, tmp_path: Path) -> None:
    (tmp_path / "cache" / "tmp-folder").mkdir()
    (tmp_path / "cache" / "tmp-folder" / "part").touch()
    entry = adopt(cache, 1)
    cache.create()
    assert list((tmp_path / "cache").iterdir()) == [entry]


def aged_entries(cache: ModelCache) -> list[Path]:
    """Entries of versions 1 to 5, the oldest first."""
    entries = [adopt(cache, number) for number in range(1, 6)]
    for age, entry in enumerate(entries):
        os.utime(entry, ns=(age, age))
    return entries


def test_cache_keeps_what_was_served_last(cache: ModelCache) -> None:
    entries = aged_entries(cache)
    cache.write_current(version(1))
    assert [entry.exists() for entry in entries] == [True, False, False, True, True]
    adopt(cache, 6)
    cache.write_current(version(6))
    assert [entry.exists() for entry in entries] == [True, False, False, False, True]


def test_cache_keeps_an_entry_that_any_process_holds(cache: ModelCache, tmp_path: Path) -> None:
    entries = aged_entries(cache)
    for age, entry in enumerate(entries):
        (entry / "MLmodel").touch()
        os.utime(entry, ns=(age, age))
    others = [ModelCache(tmp_path / "cache", "iris").hold(entries[1]) for _ in range(2)]
    cache.write_current(version(1))
    assert [entry.exists() for entry in entries] == [True, True, False, True, True]
    os.close(others[0])
    cache.write_current(version(1))
    assert entries[1].exists()
    os.close(others[1])
    os.utime(entries[1], ns=(1, 1))
    cache.write_current(version(1))
    assert not entries[1].exists()


def test_cache_drops_a_damaged_entry_though_it_is_held(cache: ModelCache) -> None:
    entry = adopt(cache, 1)
    (entry / "MLmodel").touch()
    held = cache.hold(entry)
    cache.drop(entry)
    assert not entry.exists()
    os.close(held)


def test_entry_that_is_gone_cannot_be_held(cache: ModelCache, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cache.hold(tmp_path / "cache" / "1-000000000000")


def test_cache_keeps_the_current_version_though_the_clock_was_set_back(cache: ModelCache) -> None:
    entries = aged_entries(cache)
    for entry in entries[1:]:
        os.utime(entry, (4e9, 4e9))
    cache.write_current(version(1))
    assert entries[0].exists()


def test_cache_leaves_the_old_note_when_the_new_one_cannot_be_written(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_current(version(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.write_current(version(2))
    assert cache.read_current() == version(1)
    assert not list((tmp_path / "cache").glob("tmp-*"))


def test_drop_of_what_is_gone_is_no_failure(cache: ModelCache, tmp_path: Path) -> None:
    cache.drop(tmp_path / "nothing")


def test_entry_that_is_half_removed_is_no_entry(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = adopt(cache, 1)

    def die(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        cache.drop(entry)
    assert "Input/output error" in caplog.text
    assert not cache.entry(version(1)).exists()
    adopt(cache, 1)
    cache.create()
    assert list((tmp_path / "cache").iterdir()) == [entry]
