"""This service as the benchmark starts it, from a cache and without MLflow, in every form of the catalogue."""

import sys
from pathlib import Path

import pytest

from benchmarks.material import MODEL_NAME, Material
from benchmarks.measure import ONE_ROW_ONLY, compare_alone, compare_together
from benchmarks.running import ServerFailedError, running
from benchmarks.servers import plain
from benchmarks.servers.ours import SERVERS, with_checkout
from benchmarks.servers.server import Server
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_version import ModelVersion
from tests.support.models import COLUMNS, SETOSA, VIRGINICA, build_model

ROWS = [[*SETOSA.values()], [*VIRGINICA.values()]]


@pytest.fixture
def material(tmp_path: Path) -> Material:
    digest = build_model(tmp_path / "model")
    cache = ModelCache(tmp_path / "cache", MODEL_NAME)
    cache.create()
    version = ModelVersion(name=MODEL_NAME, version="1", manifest_sha256=digest)
    cache.adopt((tmp_path / "model").rename(cache.stage()), version)
    cache.write_current(version)
    return Material(tmp_path, COLUMNS, ROWS, ["setosa", "virginica"])


@pytest.mark.parametrize("server", [one for one in SERVERS if one.labels], ids=lambda server: server.name)
def test_answers_in_every_form_are_the_model_s(server: Server, material: Material) -> None:
    with running(server, Path(sys.executable), material) as started:
        compare_alone(started, material)
        assert compare_together(started, material) is None


def test_another_checkout_runs_its_own_code_after_this_one(tmp_path: Path, material: Material) -> None:
    package = tmp_path / "src/services/inference"
    package.mkdir(parents=True)
    (package / "run_inference.py").write_text("raise SystemExit('the other checkout')")
    this, other, echo = with_checkout([SERVERS[0], plain.SERVERS[0]], tmp_path)
    assert [this, echo] == [SERVERS[0], plain.SERVERS[0]]
    assert (other.name, other.title) == ("before", "**this service**, before")
    with pytest.raises(ServerFailedError, match="the other checkout"), running(other, Path(sys.executable), material):
        pass


@pytest.mark.parametrize("server", [one for one in SERVERS if not one.labels], ids=lambda server: server.name)
def test_the_constant_passes_the_same_checks_and_asks_no_model(server: Server, material: Material) -> None:
    with running(server, Path(sys.executable), material) as started:
        (status, one), (_, other) = (started.ask(COLUMNS, [row]) for row in ROWS)
        assert status == 200
        assert b'"prediction":"setosa"' in one
        assert b'"prediction":"setosa"' in other
        assert started.ask(("sepal_length",), [[5.1]])[0] == 422
        assert compare_together(started, material) == ONE_ROW_ONLY
