import asyncio
import gc
import json
import logging
import shutil
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from src.core.errors import ModelNotLoadedError
from src.core.file_lock import is_locked, locked_file
from src.serving.models import model_cache
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_store import Backoff, ModelStore, wait_for_event
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor, Source
from src.serving.models.registry_client import RegistryClient
from src.serving.watch.metrics import ServingMetrics
from tests.support.fake_mlflow import REGISTERED_AT_MS, FakeMlflow
from tests.support.models import build_model

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ALIAS = "/api/2.0/mlflow/registered-models/alias"


@dataclass
class FakeTime:
    """A clock that a test moves, and the pauses that were asked for."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await wait_for_event(event, 0.001)


@dataclass
class Rig:
    """A store on a fake MLflow, as one process would have it; ``restarted`` is the next process."""

    mlflow: FakeMlflow
    root: Path
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.cache = ModelCache(self.root, "iris")
        self.cache.create()
        client = RegistryClient("http://mlflow:5000", "iris", timeout=5, transport=self.mlflow.transport)
        backoff = Backoff(1, 30, wait=self.time.wait, clock=lambda: self.time.now)
        metrics, training = ServingMetrics(self.registry, [], window_rows=300), self.root / "training.lock"
        is_training = partial(is_locked, training)
        self.store = ModelStore(client, self.cache, backoff, is_training, metrics.model_loaded, metrics.reload)
        metrics.watch(self.store)

    def restarted(self) -> "Rig":
        return Rig(self.mlflow, self.root)

    @property
    def version(self) -> str | None:
        return self.store.current and self.store.current.version.version

    def value(self, metric: str, /, **labels: str) -> float | None:
        return self.registry.get_sample_value(metric, labels)

    def reloads(self, outcome: str) -> float | None:
        return self.value("inference_model_reloads_total", outcome=outcome)

    def entries(self) -> set[str]:
        return {path.name.partition("-")[0] for path in self.root.iterdir() if path.is_dir()}


@pytest.fixture
def rig(mlflow: FakeMlflow, tmp_path: Path) -> Rig:
    return Rig(mlflow, tmp_path / "cache")


async def test_store_serves_the_champion_and_follows_it(rig: Rig) -> None:
    with pytest.raises(ModelNotLoadedError):
        rig.store.require()
    assert rig.value("inference_model_loaded") == 0
    assert rig.reloads("success") == 0
    assert await rig.store.look() == 1
    assert rig.version == "1"
    assert rig.store.require().source == "registry"
    rig.mlflow.promote("2")
    await rig.store.look()
    assert rig.version == "2"
    assert rig.reloads("success") == 2
    assert rig.value("inference_model_info", name="iris", version="2", engine="onnx") == 1
    assert rig.value("inference_model_info", name="iris", version="1", engine="onnx") is None
    assert rig.value("inference_model_loaded") == 1
    assert rig.value("inference_model_loaded_timestamp_seconds") == rig.store.require().loaded_at.timestamp()
    assert rig.value("inference_mlflow_reachable") == 1
    assert rig.value("inference_predictions_total", **{"class": "setosa"}) == 0


async def test_store_asks_one_thing_when_nothing_changed(rig: Rig) -> None:
    await rig.store.look()
    rig.mlflow.paths.clear()
    await rig.store.look()
    assert rig.mlflow.paths == [ALIAS]
    assert rig.reloads("success") == 1


async def test_store_downloads_only_what_serving_needs(rig: Rig) -> None:
    await rig.store.look()
    names = sorted(path.rsplit("/", 1)[1] for path in rig.mlflow.downloads)
    assert names == ["MLmodel", "drift_reference.json", "golden_rows.json", "manifest.json", "model.onnx"]


async def test_store_without_a_champion_says_what_to_do(rig: Rig) -> None:
    rig.mlflow.aliases.clear()
    assert await rig.store.look() == 1
    assert rig.store.current is None
    assert "POST /retrain" in str(rig.store.last_error)
    rig.mlflow.versions.clear()
    assert await rig.store.look() == 1
    assert rig.store.mlflow_reachable is True


async def test_store_without_a_champion_says_while_a_training_is_running(rig: Rig) -> None:
    rig.mlflow.aliases.clear()
    for _ in range(2):
        with locked_file(rig.root / "training.lock"):
            await rig.store.look()
            with pytest.raises(ModelNotLoadedError, match="no version is champion yet; a training is running"):
                rig.store.require()
        await rig.store.look()
        with pytest.raises(ModelNotLoadedError, match="no model is loaded yet; GET /health says why"):
            rig.store.require()
        assert "POST /retrain" in str(rig.store.last_error)


async def test_store_without_a_champion_says_so_where_the_shared_volume_cannot_be_read(rig: Rig) -> None:
    rig.mlflow.aliases.clear()
    (rig.root / "training.lock").symlink_to("nowhere")
    await rig.store.look()
    assert "POST /retrain" in str(rig.store.last_error)


async def test_store_keeps_serving_when_the_alias_is_taken_away(rig: Rig) -> None:
    await rig.store.look()
    rig.mlflow.aliases.clear()
    await rig.store.look()
    assert rig.version == "1"
    assert rig.store.last_error is not None
    rig.mlflow.promote("1")
    await rig.store.look()
    assert rig.store.last_error is None


Spoil = Callable[[FakeMlflow, Path], None]


def change_file(_: FakeMlflow, directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"something else")


def change_manifest(_: FakeMlflow, directory: Path) -> None:
    (directory / "manifest.json").write_text("{}")


def lose_file(_: FakeMlflow, directory: Path) -> None:
    (directory / "golden_rows.json").unlink()


def spoil_tag(mlflow: FakeMlflow, _: Path) -> None:
    mlflow.versions["4"].tags["manifest.sha256"] = "lost"


def store_elsewhere(mlflow: FakeMlflow, _: Path) -> None:
    mlflow.versions["4"].location = "s3://bucket/model"


@pytest.mark.parametrize(
    ("spoil", "outcome", "says"),
    [
        (change_file, "invalid", "model.onnx differs from the manifest"),
        (change_manifest, "invalid", "manifest.json is missing or not the one that was registered"),
        (lose_file, "download_failed", "lacks golden_rows.json"),
        (store_elsewhere, "download_failed", "--artifacts-destination"),
        (spoil_tag, None, "manifest.sha256"),
    ],
)
async def test_store_keeps_the_old_model_and_recovers(
    rig: Rig, tmp_path: Path, spoil: Spoil, outcome: str | None, says: str
) -> None:
    await rig.store.look()
    model = tmp_path / "model"
    digest = build_model(model, seed=2)
    shutil.copytree(model, tmp_path / "good")
    rig.mlflow.add("4", model, digest)
    rig.mlflow.promote("4")
    spoil(rig.mlflow, model)
    await rig.store.look()
    assert rig.version == "1"
    assert says in str(rig.store.last_error)
    if outcome is not None:
        assert rig.reloads(outcome) == 1
    assert rig.entries() == {"1"}, "nothing bad stays in the cache"
    assert json.loads((rig.root / "current.json").read_text())["model"]["version"] == "1"
    rig.mlflow.add("4", tmp_path / "good", digest)
    rig.time.now += 3
    await rig.store.look()
    assert rig.version == "4"
    assert rig.store.last_error is None
    assert rig.reloads("success") == 2


async def tries(rig: Rig, version: str, seconds: range) -> list[int]:
    """The seconds at which this version, while it is champion, is tried and found bad."""
    rig.mlflow.promote(version)
    tried_at = []
    for second in seconds:
        rig.time.now = second
        before = rig.reloads("invalid")
        assert await rig.store.look() == 1
        if rig.reloads("invalid") != before:
            tried_at.append(second)
    return tried_at


async def test_store_retries_a_bad_version_with_capped_backoff_but_follows_the_alias_at_once(rig: Rig) -> None:
    assert await tries(rig, "3", range(120)) == [0, 2, 6, 14, 30, 60, 90]
    assert await tries(rig, "1", range(120, 121)) == []
    assert rig.version == "1"


async def test_store_counts_the_failures_of_each_version_from_the_start(rig: Rig) -> None:
    bad = rig.mlflow.versions["3"]
    rig.mlflow.add("4", bad.directory, bad.tags["manifest.sha256"])
    assert await tries(rig, "3", range(8)) == [0, 2, 6]
    assert await tries(rig, "4", range(8, 15)) == [8, 10, 14]
    assert await tries(rig, "3", range(15, 20)) == [15, 17]


async def test_store_counts_failures_anew_after_a_version_that_served(rig: Rig) -> None:
    assert await tries(rig, "3", range(8)) == [0, 2, 6]
    assert await tries(rig, "1", range(8, 9)) == []
    assert rig.version == "1"
    assert await tries(rig, "3", range(9, 14)) == [9, 11]
    assert await tries(rig, "1", range(14, 15)) == []  # served already: nothing is loaded
    assert await tries(rig, "3", range(15, 20)) == [15, 17]


async def test_metrics_tell_whether_the_champion_is_served(rig: Rig) -> None:
    def told() -> tuple[float | None, str | None]:
        return rig.value("inference_serves_champion"), rig.version

    assert told() == (0, None)
    await rig.store.look()
    assert told() == (1, "1")
    rig.mlflow.promote("3")  # one that cannot be served
    for _ in range(2):  # the second look still keeps its backoff
        await rig.store.look()
        assert told() == (0, "1")
    swapped_at = rig.value("inference_model_loaded_timestamp_seconds")
    rig.mlflow.promote("1")  # rolled back: nothing is loaded anew
    await rig.store.look()
    assert told() == (1, "1")
    assert rig.value("inference_model_loaded_timestamp_seconds") == swapped_at
    rig.mlflow.down = True
    await rig.store.look()
    assert told() == (0, "1")
    rig.mlflow.down = False
    await rig.store.look()
    assert told() == (1, "1")
    rig.mlflow.aliases.clear()
    await rig.store.look()
    assert told() == (0, "1")
    rig.mlflow.promote("2")
    await rig.store.look()
    assert told() == (1, "2")


async def test_restored_model_is_taken_for_the_champion_s_only_after_a_look_and_not_loaded_again(rig: Rig) -> None:
    await rig.store.look()
    again = rig.restarted()
    await again.store.restore()
    restored = again.store.require()
    assert (again.version, again.value("inference_serves_champion")) == ("1", 0)
    await again.store.look()
    assert again.value("inference_serves_champion") == 1
    assert again.store.current is restored


async def test_store_reports_the_bad_version_again_after_an_outage(rig: Rig) -> None:
    rig.mlflow.promote("3")
    await rig.store.look()
    rig.mlflow.down = True
    await rig.store.look()
    assert "cannot be reached" in str(rig.store.last_error)
    rig.mlflow.down = False
    await rig.store.look()
    assert "version 3 cannot be served" in str(rig.store.last_error)


async def test_store_looks_less_often_while_mlflow_is_down(rig: Rig) -> None:
    await rig.store.look()
    rig.mlflow.down = True
    assert [await rig.store.look() for _ in range(7)] == [2, 4, 8, 16, 30, 30, 30]
    assert rig.version == "1"
    assert rig.value("inference_mlflow_reachable") == 0
    assert rig.store.mlflow_reachable is False
    rig.mlflow.down = False
    assert await rig.store.look() == 1
    assert rig.value("inference_mlflow_reachable") == 1
    assert rig.store.last_error is None
    rig.mlflow.down = True
    assert await rig.store.look() == 2  # counted anew


async def test_store_logs_a_lasting_problem_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.mlflow.down = True
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            await rig.store.look()
    assert len(caplog.records) == 1


async def test_store_swaps_when_the_same_version_has_other_content(rig: Rig, models: Any) -> None:
    await rig.store.look()
    rig.mlflow.add("1", *models["second"])
    await rig.store.look()
    assert rig.store.require().version.manifest_sha256 == models["second"][1]


async def test_store_rolls_back_from_the_cache_without_a_download(rig: Rig) -> None:
    for version in ("1", "2"):
        rig.mlflow.promote(version)
        await rig.store.look()
    rig.mlflow.paths.clear()
    rig.mlflow.promote("1")
    await rig.store.look()
    assert rig.version == "1"
    assert rig.store.require().source == "cache"
    assert rig.mlflow.downloads == []
    assert json.loads((rig.root / "current.json").read_text())["model"]["version"] == "1"


async def test_previous_version_is_loaded_from_the_cache_or_from_mlflow(rig: Rig) -> None:
    rig.mlflow.promote("2")
    await rig.store.look()
    rig.mlflow.aliases["previous"] = "1"
    downloaded = await rig.store.load_previous("1")
    assert downloaded is not None
    assert (downloaded.version.version, downloaded.source) == ("1", "registry")
    cached = await rig.store.load_previous("1")
    assert cached is not None
    assert (cached.version.version, cached.source) == ("1", "cache")
    assert rig.version == "2"


async def test_another_version_than_the_previous_one_is_not_loaded(rig: Rig) -> None:
    assert await rig.store.load_previous("1") is None
    rig.mlflow.aliases["previous"] = "2"
    assert await rig.store.load_previous("1") is None
    assert rig.mlflow.downloads == []


async def test_store_serves_from_the_cache_while_mlflow_is_down_from_the_start(rig: Rig) -> None:
    rig.mlflow.promote("2")
    await rig.store.look()
    rig.mlflow.down = True
    again = rig.restarted()
    await again.store.restore()
    assert (again.version, again.store.require().source) == ("2", "cache")
    await again.store.look()
    assert again.version == "2"
    assert again.value("inference_model_loaded") == 1
    assert again.value("inference_mlflow_reachable") == 0


@pytest.mark.parametrize("damaged", ["model.onnx", "MLmodel", "manifest.json", "golden_rows.json"])
@pytest.mark.parametrize("missing", [True, False])
async def test_corrupt_cache_entry_is_dropped_logged_and_fetched_again(
    rig: Rig, caplog: pytest.LogCaptureFixture, damaged: str, *, missing: bool
) -> None:
    await rig.store.look()
    (entry,) = (path for path in rig.root.iterdir() if path.is_dir())
    file = entry / damaged
    if missing:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    again = rig.restarted()
    await again.store.restore()
    assert again.store.current is None
    assert not entry.exists()
    assert "dropping version 1" in caplog.text
    await again.store.look()
    assert (again.version, again.store.require().source) == ("1", "registry")


@pytest.mark.parametrize("moment", ["before", "amid"])
async def test_entry_that_another_process_removes_under_the_reader_is_fetched_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await rig.store.look()
    again = rig.restarted()

    def load_and_lose(directory: Path, version: ModelVersion, source: Source) -> Predictor:
        if source == "cache":
            rig.cache.drop(directory)
            if moment == "amid":
                (directory / "MLmodel").read_bytes()
        return load_predictor(directory, version, source)

    monkeypatch.setattr(model_cache, "load_predictor", load_and_lose)
    await again.store.look()
    assert (again.version, again.store.require().source) == ("1", "registry")
    assert again.store.last_error is None


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"model": {}}', '{"model": {"name": "iris", "version": "../..", "manifest_sha256": "a"}}']
)
async def test_damaged_note_of_the_served_version_is_no_obstacle(rig: Rig, note: str) -> None:
    await rig.store.look()
    (rig.root / "current.json").write_text(note)
    again = rig.restarted()
    await again.store.restore()
    assert again.store.current is None
    await again.store.look()
    assert (again.version, again.store.require().source) == ("1", "cache")


async def test_store_serves_though_the_cache_cannot_record_it(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    (rig.root / "current.json").mkdir()
    await rig.store.look()
    assert rig.version == "1"
    assert "cannot record the served version" in caplog.text


async def test_store_keeps_the_newest_entries_and_leaves_no_downloads_behind(rig: Rig, tmp_path: Path) -> None:
    for number in range(4, 9):
        model = tmp_path / f"model{number}"
        rig.mlflow.add(str(number), model, build_model(model, seed=number % 2 + 1))
        rig.mlflow.promote(str(number))
        await rig.store.look()
    assert rig.entries() == {"6", "7", "8"}
    assert not list(rig.root.glob("tmp-*"))


async def test_download_that_is_cancelled_while_its_folder_is_made_leaves_none_behind(rig: Rig) -> None:
    begun, go_on, made = (threading.Event() for _ in range(3))
    real = rig.cache.stage

    def held_up() -> Path:
        begun.set()
        assert go_on.wait(20)
        folder = real()
        made.set()
        return folder

    rig.cache.stage = held_up  # type: ignore[method-assign]
    loading = asyncio.create_task(rig.store.load_version("1"))
    assert await asyncio.to_thread(begun.wait, 20)
    loading.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.to_thread(made.wait, 20)
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not list(rig.root.glob("tmp-*"))
    assert rig.entries() == set()


async def test_folder_that_cannot_be_made_is_reported(rig: Rig) -> None:
    def full() -> Path:
        raise OSError(28, "No space left on device")

    rig.cache.stage = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        await rig.store.load_version("1")


async def follow_until(rig: Rig, done: Callable[[], bool]) -> None:
    following = asyncio.create_task(rig.store.follow())
    try:
        async with asyncio.timeout(20):
            while not done():
                await asyncio.wait({following}, timeout=0.001)
                assert not following.done()
    finally:
        following.cancel()


async def test_follow_goes_on_after_the_unexpected(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([RuntimeError("boom"), KeyError("boom")])

    def fail(_: str) -> None:
        for error in failures:
            raise error

    await rig.store.look()
    rig.mlflow.promote("2")
    rig.mlflow.before_answer = fail
    served: list[float | None] = []

    def done() -> bool:
        served.append(rig.value("inference_serves_champion"))
        return rig.version == "2"

    await follow_until(rig, done)
    assert 0 in served
    assert rig.reloads("error") == 2
    assert rig.time.pauses[:2] == [2, 4]
    assert "boom" in caplog.text


class Asleep(FakeTime):
    """A pause that only the event ends."""

    async def wait(self, event: asyncio.Event, _: float) -> None:
        await wait_for_event(event, 600)


async def test_poke_looks_at_once(mlflow: FakeMlflow, tmp_path: Path) -> None:
    rig = Rig(mlflow, tmp_path / "cache", Asleep())
    following = asyncio.create_task(rig.store.follow())
    await rig.store.catch_up(seconds=20)
    assert rig.version == "1"
    mlflow.promote("2")
    await rig.store.catch_up(seconds=20)
    assert rig.version == "2"
    following.cancel()


async def test_swap_lets_the_old_model_go_without_a_collection(rig: Rig) -> None:
    await rig.store.look()
    gc.disable()
    try:
        for version in ("2", "1", "2"):
            model = rig.store.require()
            old = [weakref.ref(part) for part in (model, model.engine, model.engine._session, model.decoder)]  # noqa: SLF001 - the session holds the graph's memory
            del model
            rig.mlflow.promote(version)
            await rig.store.look()
            assert rig.version == version
            assert [part() for part in old] == [None] * 4
    finally:
        gc.enable()


async def test_catch_up_waits_for_a_look_that_began_after_it(mlflow: FakeMlflow, tmp_path: Path) -> None:
    rig = Rig(mlflow, tmp_path / "cache", Asleep())
    answered, go_on = asyncio.Event(), asyncio.Event()
    real = rig.store.registry.champion  # held up between its answer and its end

    async def held_up() -> Any:
        champion = await real()
        answered.set()
        await go_on.wait()
        return champion

    rig.store.registry.champion = held_up  # type: ignore[method-assign]
    following = asyncio.create_task(rig.store.follow())
    await answered.wait()
    mlflow.promote("2")  # too late for the look under way
    catching_up = asyncio.create_task(rig.store.catch_up(seconds=20))
    await asyncio.sleep(0)
    go_on.set()
    await catching_up
    assert rig.version == "2"
    following.cancel()


async def test_metrics_tell_when_the_served_model_was_trained(rig: Rig) -> None:
    await rig.store.look()
    told = rig.registry.get_sample_value("inference_model_trained_timestamp_seconds")
    assert told == pytest.approx((REGISTERED_AT_MS + 1) / 1000)


async def test_metrics_tell_the_served_model_s_scores(rig: Rig) -> None:
    rig.mlflow.versions["2"].tags.update({"score.accuracy": "0.95", "score.f1_macro": "0.9"})
    rig.mlflow.promote("2")
    await rig.store.look()
    told = [
        (family.name, sample.labels, sample.value) for family in rig.registry.collect() for sample in family.samples
    ]
    assert [(labels["metric"], value) for name, labels, value in told if name == "inference_model_score"] == [
        ("accuracy", 0.95),
        ("f1_macro", 0.9),
    ]
