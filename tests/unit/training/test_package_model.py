from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.core.dataset_config import DatasetConfig
from src.core.errors import InvalidModelError, UntrustedModelError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import has_flavour, read_mlmodel
from src.core.model_config import ModelConfig
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MLMODEL_FILE,
    ONNX_FILE,
    SPLIT_FILE,
    verify_manifest,
)
from src.core.onnx_engine import OnnxEngine
from src.pipeline import train_model
from src.training import package_model
from src.training.export_onnx import prove_onnx
from src.training.package_model import Flavours, ModelPackage, build_package, log_package
from src.training.probe_rows import probe_rows
from src.training.sklearn_engine import SklearnEngine, load_skops
from tests.support.training import config, inexact_package, iris_package, iris_parts, iris_rule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("package") / "model"
    flavours = Flavours(iris_package())
    flavours.save_model(str(directory), mlflow_model=Model())
    return directory, flavours.manifest_sha256


def test_saved_model_matches_its_manifest_until_any_byte_changes(saved: tuple[Path, str]) -> None:
    directory, digest = saved
    files = [path.name for path in directory.iterdir() if path.name != MANIFEST_FILE]
    assert {MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE, SPLIT_FILE, "model.skops", "requirements.txt"} <= set(
        files
    )
    verify_manifest(directory, digest, tuple(files))
    for name in files:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(InvalidModelError, match=f"{name} differs"):
            verify_manifest(directory, digest, ())
        (directory / name).write_bytes(content)


def test_saved_model_describes_its_columns_classes_and_flavours(saved: tuple[Path, str]) -> None:
    model = Model.load(str(saved[0]))
    assert set(model.flavors) == {"python_function", "sklearn", "onnx"}
    assert model.metadata == {"classes": ["setosa", "versicolor", "virginica"], "column_rules": {}}
    assert [(column.name, column.type.name) for column in model.signature.inputs] == [
        (name, "double") for name in ("sepal_length", "sepal_width", "petal_length", "petal_width")
    ]


def test_saved_model_has_metadata_that_its_signature_cannot_express(tmp_path: Path) -> None:
    package = iris_package()
    first, second, *others = package.schema.columns
    columns = (replace(first, type=ColumnType.DATE), replace(second, required=False), *others)
    described = replace(package, schema=FeatureSchema(columns, ids=("flower",)))
    Flavours(described).save_model(str(tmp_path / "model"), mlflow_model=Model())
    assert Model.load(str(tmp_path / "model")).metadata["column_rules"] == {
        "flower": {"type": "id"},
        "sepal_length": {"type": "date"},
    }
    assert read_mlmodel(tmp_path / "model")[0] == described.schema


def test_saved_model_answers_its_golden_rows_in_onnx_and_its_labels_in_pyfunc(saved: tuple[Path, str]) -> None:
    golden = GoldenRows.model_validate_json((saved[0] / GOLDEN_FILE).read_bytes())
    schema, classes = read_mlmodel(saved[0])
    golden.verify(OnnxEngine(saved[0] / ONNX_FILE, schema, classes), schema)
    holdout = iris_parts()[1]
    labels = mlflow.pyfunc.load_model(str(saved[0])).predict(holdout.drop(columns="species"))
    assert (pd.Series(labels) == holdout["species"]).mean() > 0.85


@pytest.fixture(scope="module")
def inexact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model without ONNX parity."""
    directory = tmp_path_factory.mktemp("inexact") / "model"
    Flavours(inexact_package()).save_model(str(directory), mlflow_model=Model())
    return directory


def test_model_without_onnx_parity_has_no_onnx_flavour_and_gives_the_reason(inexact: Path) -> None:
    assert iris_package().parity == "passed"
    assert "ONNX and scikit-learn disagree on" in inexact_package().parity
    assert set(Model.load(str(inexact)).flavors) == {"python_function", "sklearn"}
    assert (has_flavour(inexact, "onnx"), (inexact / ONNX_FILE).exists()) == (False, False)


def test_model_without_onnx_reproduces_its_golden_rows_with_every_other_loader(inexact: Path) -> None:
    golden = GoldenRows.model_validate_json((inexact / GOLDEN_FILE).read_bytes())
    schema, classes = read_mlmodel(inexact)
    golden.verify(SklearnEngine(load_skops(inexact / "model.skops"), classes), schema)
    rows = pd.DataFrame(golden.rows, columns=list(schema.names))
    assert mlflow.pyfunc.load_model(str(inexact)).predict(rows).tolist() == golden.labels


def test_package_refuses_a_model_that_cannot_be_loaded_safely() -> None:
    model = Pipeline([("same", FunctionTransformer(pd.DataFrame.abs)), *iris_package().model.steps])
    with pytest.raises(UntrustedModelError, match="not trusted") as caught:
        build_package(model, *iris_parts(), config().dataset, iris_rule())
    assert caught.value.permanent


def test_only_two_training_rows_are_part_of_the_package() -> None:
    assert iris_package().example.equals(iris_parts()[0].drop(columns="species").head(2))


def test_saved_requirements_are_pinned(saved: tuple[Path, str]) -> None:
    lines = (saved[0] / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines)
    assert {"mlflow", "scikit-learn", "skops", "onnxruntime"} <= {line.split("==")[0] for line in lines}


def packaged_from(rows: pd.DataFrame, dataset: dict[str, Any], params: dict[str, Any]) -> ModelPackage:
    settings = DatasetConfig.model_validate({"source": "x.csv", "target": "y", "duplicates": "keep"} | dataset)
    model = train_model.fit(rows, ModelConfig(params=params), settings)
    return build_package(model, rows, rows.head(50), settings, iris_rule())


def test_forest_without_a_decision_is_packaged_with_onnx() -> None:
    settings = config(model={"min_samples_leaf": 60})
    train, holdout = iris_parts()
    model = train_model.fit(train, settings.model, settings.dataset)
    assert all(tree.tree_.node_count == 1 for tree in model[-1].estimators_)
    package = build_package(model, train, holdout, settings.dataset, iris_rule())
    assert (package.parity, package.graph is None) == ("passed", False)


def test_forest_of_a_rare_class_is_packaged_with_onnx() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"a": random.random(305), "b": random.random(305), "y": ["no"] * 300 + ["yes"] * 5})
    unit = {"minimum": 0.0, "maximum": 1.0}
    dataset = {"features": {"a": unit, "b": unit}, "classes": ["no", "yes"], "min_rows_per_class": 2}
    package = packaged_from(rows, dataset, {"min_samples_leaf": 4})
    assert (package.parity, package.classes) == ("passed", ("no", "yes"))


def test_forest_of_a_target_that_is_constant_but_for_one_row_is_packaged_with_onnx() -> None:
    rows = pd.DataFrame({"a": np.linspace(0, 1, 60), "y": [5.0] * 59 + [6.0]})
    dataset = {"features": {"a": {"minimum": 0.0, "maximum": 1.0}}, "target_range": {"minimum": 0.0, "maximum": 9.0}}
    package = packaged_from(rows, dataset, {"n_estimators": 20})
    assert (package.parity, package.classes) == ("passed", ())


def test_parity_is_proven_on_some_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    proven: list[pd.DataFrame] = []

    def prove(model: Any, schema: Any, classes: Any, rows: pd.DataFrame) -> bytes:
        proven.append(rows)
        return prove_onnx(model, schema, classes, rows)

    monkeypatch.setattr(package_model, "prove_onnx", prove)
    monkeypatch.setattr(package_model, "MAX_PARITY_ROWS", 10)
    train, holdout = iris_parts()
    synthetic = probe_rows(train[list(config().dataset.features)], config().dataset, iris_package().model)
    build_package(iris_package().model, train, holdout, config().dataset, iris_rule())
    (rows,) = proven
    assert len(rows) == 20 + len(synthetic)
    features = list(config().dataset.features)
    for part, known in ((rows[:10], holdout), (rows[10:20], train)):
        assert len(part.merge(known[features].drop_duplicates())) == 10


def test_drift_reference_has_the_predictions_for_the_holdout() -> None:
    train, holdout = iris_parts()
    drift, model = iris_package().drift, iris_package().model
    predicted = pd.Series(model.predict(holdout.drop(columns="species"))).value_counts(normalize=True)
    assert (drift.rows, drift.predicted_rows) == (len(train), len(holdout))
    assert drift.predicted_shares == pytest.approx(predicted.to_dict())
    assert drift.class_shares == pytest.approx(train["species"].value_counts(normalize=True).to_dict())
    assert sum(drift.shares["petal_width"]) == pytest.approx(1)


def test_predictions_in_the_drift_reference_are_by_the_threshold() -> None:
    frame = pd.DataFrame({"x": np.linspace(0, 1, 80), "y": ["no", "no", "no", "yes"] * 20})
    settings = DatasetConfig.model_validate(
        {"source": "x.csv", "target": "y", "features": {"x": {"minimum": 0.0, "maximum": 1.0}}, "duplicates": "keep"}
        | {"classes": ["no", "yes"], "min_rows_per_class": 2}
    )
    for least, label in ((0.15, "yes"), (0.5, "no")):
        model = train_model.fit(frame, ModelConfig(estimator="logistic_regression", threshold=least), settings)
        shares = build_package(model, frame, frame, settings, iris_rule()).drift.predicted_shares
        assert shares[label] == 1


def test_version_is_registered_with_its_tags_so_that_a_kill_leaves_none_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def log(**kwargs: Any) -> SimpleNamespace:
        given.update(kwargs)
        kwargs["flavor"].manifest_sha256 = "m"
        return SimpleNamespace(registered_model_version=7)

    monkeypatch.setattr(Model, "log", log)
    assert log_package(iris_package(), "iris", {"zenml.run_id": "z"}) == ("7", "m")
    assert (given["registered_model_name"], given["tags"]) == ("iris", {"zenml.run_id": "z"})
    log_package(iris_package(), "o'brien's 5.5 %")
    assert (given["registered_model_name"], given["name"]) == ("o'brien's 5.5 %", "o_brien_s 5_5 _")
