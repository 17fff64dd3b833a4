import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from src.core.errors import InvalidModelError
from src.core.feature_table import FeatureTable
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.serving.models.model_loader import choose_engine, load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import UNKNOWN_COST, Predictor
from tests.support.mlflow_models import boosting, forest, save_function, save_sklearn, typed_regression
from tests.support.models import CLASSES, COLUMNS, build_model

pytestmark = pytest.mark.slow

VERIFIED = ModelVersion(name="iris", version="1", manifest_sha256="0" * 64)
UNVERIFIED = ModelVersion(name="iris", version="1", origin_sha256="0" * 64)
XY = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def load_unverified(directory: Path) -> Predictor:
    """As it is loaded after its download."""
    write_manifest(directory, LOCAL_MANIFEST_FILE)
    return load_predictor(directory, UNVERIFIED, "registry")


def describe_as(directory: Path, **keys: Any) -> None:
    directory.mkdir(exist_ok=True)
    path = directory / "MLmodel"
    content = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.write_text(yaml.safe_dump({**content, **keys}))


def signature(*types: str) -> dict[str, str]:
    return {"inputs": json.dumps([{"name": f"column {kind}", "type": kind} for kind in types])}


def test_onnx_flavour_decides_for_onnx(tmp_path: Path) -> None:
    describe_as(tmp_path, flavors={"onnx": {}, "python_function": {}}, signature=signature("double"))
    choice = choose_engine(tmp_path, UNVERIFIED)
    assert (choice.engine.name, choice.reason) == ("onnx", "the model has an ONNX flavour")


def test_any_other_model_goes_through_pyfunc_with_the_reason_of_its_training(tmp_path: Path) -> None:
    describe_as(tmp_path, flavors={"python_function": {}}, signature=signature("double", "string"))
    assert choose_engine(tmp_path, UNVERIFIED).reason == "the model has no ONNX flavour"
    told = UNVERIFIED.model_copy(update={"onnx_parity": "labels differ on 3 rows"})
    choice = choose_engine(tmp_path, told)
    assert (choice.engine.name, choice.reason) == ("pyfunc", "the model has no ONNX flavour: labels differ on 3 rows")


def test_without_the_dependency_group_the_refusal_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    describe_as(tmp_path, flavors={"python_function": {}}, signature=signature("double"))
    with pytest.raises(InvalidModelError, match="INFERENCE_EXTRA_GROUPS=pyfunc"):
        choose_engine(tmp_path, UNVERIFIED)
    describe_as(tmp_path, flavors={"onnx": {}})
    assert choose_engine(tmp_path, UNVERIFIED).engine.name == "onnx"


TENSOR = {"inputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}])}
NAMED_TENSOR = {"inputs": json.dumps([{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1]}}])}
UNNAMED = {"inputs": json.dumps([{"type": "double"}, {"type": "double"}])}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"signature": None}, "no signature; log it again with signature=mlflow.models.infer_signature"),
        ({}, "no signature"),
        ({"signature": {}}, "no signature"),
        ({"signature": {"inputs": None}}, "no signature"),
        ({"signature": TENSOR}, "named columns; log it again"),
        ({"signature": NAMED_TENSOR}, "named columns; log it again"),
        ({"signature": UNNAMED}, "named columns; log it again"),
        ({"signature": {"inputs": "[]"}}, "named columns; log it again"),
        ({"signature": {"inputs": "{"}}, "named columns; log it again"),
        ({"signature": {"inputs": "[5]"}}, "named columns; log it again"),
        ({"signature": signature("double", "datetime")}, "columns of type datetime; serving takes"),
        ({"signature": signature("double"), "flavors": {}}, "neither of MLflow's flavours"),
        ({"signature": signature("double"), "flavors": None}, "neither of MLflow's flavours"),
        ({"signature": signature("double"), "flavors": {"spark": {}}}, "neither of MLflow's flavours"),
        ({"signature": signature("double"), "metadata": {"classes": "abc"}}, "must be a list"),
        ({"signature": "text"}, "not MLflow's description"),
        ({"metadata": "text"}, "not MLflow's description"),
    ],
)
def test_model_that_serving_cannot_take_is_refused_with_what_to_do(
    tmp_path: Path, keys: dict[str, Any], says: str
) -> None:
    describe_as(tmp_path, **{"flavors": {"python_function": {}}, **keys})
    with pytest.raises(InvalidModelError, match=says):
        choose_engine(tmp_path, UNVERIFIED)


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "a: [", "\x00"])
def test_file_that_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(InvalidModelError, match="MLmodel is not MLflow's description"):
        choose_engine(tmp_path, UNVERIFIED)


def test_model_of_our_pipeline_must_list_its_classes(tmp_path: Path) -> None:
    describe_as(tmp_path, flavors={"onnx": {}}, signature=signature("double"), metadata={})
    with pytest.raises(InvalidModelError, match="lacks classes"):
        choose_engine(tmp_path, VERIFIED)


@pytest.mark.parametrize("make", [forest, boosting, typed_regression])
def test_model_of_a_user_is_measured_and_shown_with_its_own_example(
    tmp_path: Path, make: Callable[[], tuple[Any, pd.DataFrame]]
) -> None:
    model, frame = make()
    save_sklearn(tmp_path / "model", model, frame)
    predictor = load_unverified(tmp_path / "model")
    first = {name: None if pd.isna(value) else value for name, value in frame.iloc[0].items()}
    assert predictor.example == first
    assert predictor.task == ("regression" if make is typed_regression else "classification")
    assert predictor.cost.of(1) > 0
    assert predictor.cost != UNKNOWN_COST
    assert (predictor.reference, predictor.version.verified) == (None, False)


def test_model_without_an_example_is_served_with_a_made_up_one_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, frame = typed_regression()
    save_sklearn(tmp_path / "model", model, frame, input_example=None)
    predictor = load_unverified(tmp_path / "model")
    assert predictor.example == {"age": 0.0, "fare": 0.0, "siblings": 0, "alone": False, "port": ""}
    assert predictor.cost == UNKNOWN_COST
    assert not predictor.gives_probabilities
    assert "log it with input_example=" in caplog.text


@pytest.mark.parametrize("name", ["../elsewhere.json", "/etc/hostname", "lost.json", "a/b.json"])
def test_example_outside_the_model_is_not_read(tmp_path: Path, name: str) -> None:
    save_function(tmp_path / "model", lambda frame: frame["x"], XY, [1.0])
    (tmp_path / "elsewhere.json").write_text((tmp_path / "model" / "input_example.json").read_text())
    info = {"type": "dataframe", "pandas_orient": "split", "artifact_path": name}
    describe_as(tmp_path / "model", saved_input_example_info=info)
    assert load_unverified(tmp_path / "model").example == {"x": 0.0, "y": 0.0}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"columns": ["x", "y"]}',
        '{"columns": ["x", "y"], "data": [[1]]}',
        '{"columns": ["x", "y"], "data": [["a", 1]]}',
        '{"columns": ["x", "y"], "data": [[null, 1]]}',
        '{"columns": ["x", "y"], "data": [[NaN, 1]]}',
        '{"columns": ["x", "y"], "data": 5}',
        '{"columns": ["x", "y"], "data": []}',
        '{"columns": ["x"], "data": [[1]]}',
        '{"columns": [["x"], "y"], "data": [[1, 2]]}',
    ],
)
def test_example_that_does_not_fit_the_signature_is_none(tmp_path: Path, content: str) -> None:
    save_function(tmp_path / "model", lambda frame: frame["x"], XY, [1.0])
    (tmp_path / "model" / "input_example.json").write_text(content)
    assert load_unverified(tmp_path / "model").example == {"x": 0.0, "y": 0.0}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda frame: frame, "one value per row"),
        (lambda frame: frame["x"] * np.nan, "not a finite number"),
        (lambda frame: frame["no such column"], r"failed on these values \(KeyError\)"),
    ],
)
def test_model_that_cannot_answer_its_own_example_is_refused(tmp_path: Path, answer: Any, says: str) -> None:
    save_function(tmp_path / "model", answer, XY, [1.0])
    with pytest.raises(InvalidModelError, match=says):
        load_unverified(tmp_path / "model")


@pytest.mark.parametrize("spoil", ["lose", "change", "cut the manifest", "lose the manifest"])
def test_torn_copy_is_noticed(tmp_path: Path, spoil: str) -> None:
    directory = tmp_path / "model"
    save_sklearn(directory, *forest())
    load_unverified(directory)
    manifest = directory / LOCAL_MANIFEST_FILE
    if spoil == "lose":
        (directory / "model.skops").unlink()
    elif spoil == "change":
        (directory / "conda.yaml").write_bytes(b"")
    elif spoil == "cut the manifest":
        manifest.write_bytes(manifest.read_bytes()[:100])
    else:
        manifest.unlink()
    with pytest.raises(InvalidModelError):
        load_predictor(directory, UNVERIFIED, "cache")


def test_what_python_compiles_of_a_models_code_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    save_sklearn(directory, *forest())
    load_unverified(directory)
    (directory / "code" / "__pycache__").mkdir(parents=True)
    (directory / "code" / "__pycache__" / "module.cpython-313.pyc").write_bytes(b"compiled")
    load_predictor(directory, UNVERIFIED, "cache")


def test_user_model_with_an_onnx_graph_of_our_form_is_served_on_onnx(tmp_path: Path) -> None:
    build_model(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").unlink()
    predictor = load_unverified(tmp_path / "model")
    assert (predictor.engine.name, predictor.classes, predictor.schema.names) == ("onnx", CLASSES, COLUMNS)


def test_verified_model_without_onnx_must_answer_its_golden_rows(tmp_path: Path) -> None:
    """As our pipeline registers what ONNX cannot follow."""
    model, frame = boosting()
    directory = tmp_path / "model"
    save_sklearn(directory, model, frame, metadata={"classes": list(CLASSES)})
    rows = frame.iloc[::15]
    golden = {
        "rows": rows.to_numpy().tolist(),
        "labels": model.predict(rows).tolist(),
        "probabilities": model.predict_proba(rows).tolist(),
    }
    drift = {"rows": 150, "edges": {}, "shares": {}, "minimum": {}, "maximum": {}, "class_shares": {}}
    (directory / "drift_reference.json").write_text(json.dumps(drift))
    for spoilt in (False, True):
        golden["labels"] = golden["labels"][::-1] if spoilt else golden["labels"]
        (directory / "golden_rows.json").write_text(json.dumps(golden))
        version = ModelVersion(name="iris", version="1", manifest_sha256=write_manifest(directory))
        if spoilt:
            with pytest.raises(InvalidModelError, match="golden rows"):
                load_predictor(directory, version, "registry")
            continue
        predictor = load_predictor(directory, version, "registry")
        assert predictor.engine.name == "pyfunc"
        found = predictor.engine.predict(
            FeatureTable.from_rows(predictor.schema, [tuple(row) for row in golden["rows"]])
        )
        assert found.values == golden["labels"]
