from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from src.core.dataset_config import DatasetConfig
from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.model_config import ModelConfig
from src.core.model_registry import MANIFEST_FILE, SPLIT_FILE, sha256_file, write_manifest
from src.pipeline.train_model import fit
from src.training.frames import table_of
from src.training.package_model import Flavours, build_package
from src.training.registry import ModelRegistry
from src.training.seen_rows import inherited_rule
from tests.support.training import iris_rule, save_iris

pytestmark = pytest.mark.slow


class FakeVersion:
    def __init__(self, version: str = "3", **tags: str) -> None:
        self.version, self.tags, self.run_id = version, tags, "r"


class FakePage(list[FakeVersion]):
    token: str | None = None


class FakeClient:
    """Fails look-ups as prepared."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_model_version_by_alias(self, *_: str) -> None:
        raise self._error

    get_run = get_registered_model = get_model_version_by_alias

    def get_model_version(self, *_: str) -> FakeVersion:
        return FakeVersion(unrelated="tag")


def registry(error: Exception) -> ModelRegistry:
    return ModelRegistry(FakeClient(error), "iris")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("Registered Model with name=iris not found", RESOURCE_DOES_NOT_EXIST),
        MlflowException("Registered model alias champion not found.", INVALID_PARAMETER_VALUE),
    ],
)
def test_what_is_not_there_is_none_or_empty(error: MlflowException) -> None:
    assert registry(error).version_of("champion") is None
    assert registry(error).aliases() == {}
    assert registry(error).parameters(FakeVersion()) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("Invalid alias name", INVALID_PARAMETER_VALUE),
        MlflowException("API request failed with exception", INTERNAL_ERROR),
    ],
)
def test_failing_server_is_not_taken_for_one_that_has_nothing(error: MlflowException) -> None:
    with pytest.raises(MlflowException):
        registry(error).version_of("champion")
    with pytest.raises(MlflowException):
        registry(error).aliases()
    with pytest.raises(MlflowException):
        registry(error).parameters(FakeVersion())  # type: ignore[arg-type]


def test_fetch_refuses_a_version_that_was_not_registered_by_us() -> None:
    with pytest.raises(OtherSchemaError, match=r"version 3 was not registered by this pipeline .*manifest\.sha256 tag"):
        registry(ValueError()).fetch("3")


class OneVersion:
    """A registry with one version, its files in a folder; ``champion`` points to it if it exists."""

    def __init__(self, folder: Path, *, champion: bool = True) -> None:
        self.folder, self.champion = folder, champion
        self.digest = sha256_file(folder / MANIFEST_FILE)

    def get_model_version_by_alias(self, name: str, alias: str) -> FakeVersion:
        if not self.champion or alias != "champion":
            raise MlflowException(f"Registered model alias {alias} not found.", INVALID_PARAMETER_VALUE)
        return self.get_model_version(name, "3")

    def get_model_version(self, *_: str) -> FakeVersion:
        return FakeVersion(**{"manifest.sha256": self.digest})

    def get_model_version_download_uri(self, *_: str) -> str:
        return str(self.folder)


@pytest.fixture
def client(tmp_path: Path) -> OneVersion:
    save_iris(tmp_path / "model")
    return OneVersion(tmp_path / "model")


def of(client: OneVersion) -> ModelRegistry:
    return ModelRegistry(client, "iris")  # type: ignore[arg-type]


def without_rule(client: OneVersion) -> OneVersion:
    (client.folder / SPLIT_FILE).unlink()
    (client.folder / MANIFEST_FILE).unlink()
    write_manifest(client.folder)
    return OneVersion(client.folder)


def test_version_brings_the_rule_by_which_its_data_were_split(client: OneVersion) -> None:
    assert of(client).split_rule("3") == iris_rule()
    fetched = of(client).fetch("3")
    assert (fetched.version, fetched.split_rule, fetched.engine.name) == ("3", iris_rule(), "onnx")
    assert inherited_rule(of(client)) == iris_rule()


def test_version_from_before_rules_has_none_and_is_sound(client: OneVersion) -> None:
    old = of(without_rule(client))
    assert old.split_rule("3") is None
    assert old.fetch("3").split_rule is None
    assert inherited_rule(old) is None


def test_contract_of_a_version_that_cannot_be_loaded_is_known(client: OneVersion) -> None:
    expected = of(client).fetch("3").contract
    (client.folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(InvalidModelError, match=r"model\.onnx differs from the manifest"):
        of(client).fetch("3")
    assert of(client).contract("3") == expected
    assert (len(expected.schema.names), len(expected.classes)) == (4, 3)
    (client.folder / "MLmodel").write_text("{}")
    with pytest.raises(InvalidModelError, match="MLmodel differs from the manifest"):
        of(client).contract("3")


def test_without_a_champion_nothing_is_inherited(client: OneVersion) -> None:
    assert inherited_rule(of(OneVersion(client.folder, champion=False))) is None


OTHER_RULE = iris_rule().model_copy(update={"seed": 7}).model_dump_json()


@pytest.mark.parametrize("change", [OTHER_RULE, None], ids=["changed", "gone"])
def test_rule_that_is_not_the_registered_one_is_refused_and_not_inherited(
    client: OneVersion, change: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = client.folder / SPLIT_FILE
    file.unlink() if change is None else file.write_text(change)
    with pytest.raises(InvalidModelError, match=SPLIT_FILE):
        of(client).split_rule("3")
    with pytest.raises(InvalidModelError, match=SPLIT_FILE):
        of(client).fetch("3")
    assert inherited_rule(of(client)) is None
    assert "the champion's split rule cannot be read" in caplog.text


def test_rule_of_another_manifest_than_the_registered_one_is_refused(client: OneVersion) -> None:
    (client.folder / SPLIT_FILE).write_text(OTHER_RULE)
    write_manifest(client.folder)
    with pytest.raises(InvalidModelError, match=r"manifest\.json is missing or not the one that was registered"):
        of(client).split_rule("3")


def test_file_that_is_no_rule_is_refused(client: OneVersion) -> None:
    (client.folder / SPLIT_FILE).write_text("{}")
    write_manifest(client.folder)
    with pytest.raises(InvalidModelError, match=r"version 3 has a split_rule\.json that is not a split rule"):
        of(OneVersion(client.folder)).split_rule("3")


class PagedClient:
    """Returns versions on two pages, ordered by last change."""

    def search_model_versions(self, filter_string: str, max_results: int, page_token: str | None) -> FakePage:
        assert (filter_string, max_results) == ('name = "iris"', 1000)
        page = FakePage([FakeVersion("9"), FakeVersion("11")] if page_token is None else [FakeVersion("10")])
        page.token = "more" if page_token is None else ""
        return page


def test_versions_are_all_of_them_newest_first() -> None:
    registry = ModelRegistry(PagedClient(), "iris")  # type: ignore[arg-type]
    assert [found.version for found in registry.versions()] == ["11", "10", "9"]
    assert registry.has("10")
    assert not registry.has("1")


@pytest.mark.parametrize("estimator", ["logistic_regression", "hist_gradient_boosting"])
def test_version_with_a_threshold_is_compared_by_its_labels(estimator: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.linspace(0, 1, 80), "y": ["no", "no", "no", "yes"] * 20})
    limits = {"minimum": 0.0, "maximum": 1.0}
    dataset = DatasetConfig.model_validate(
        {"source": "x.csv", "target": "y", "features": {"x": limits}, "duplicates": "keep"}
        | {"classes": ["no", "yes"], "min_rows_per_class": 2}
    )
    model = fit(frame, ModelConfig(estimator=estimator, threshold=0.15), dataset)
    package = build_package(model, frame, frame, dataset, iris_rule())
    Flavours(package).save_model(str(tmp_path / "model"), mlflow_model=Model())
    fetched = of(OneVersion(tmp_path / "model")).fetch("3")
    assert fetched.engine.name == ("onnx" if estimator == "logistic_regression" else "pyfunc")
    answers = fetched.engine.predict(table_of(frame, fetched.schema))
    assert set(answers.values) == {"yes"}
    assert answers.probabilities is not None
    assert answers.probabilities[:, 1].max() < 0.5
