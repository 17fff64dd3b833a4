import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import infer_signature
from mlflow.models.utils import _enforce_named_col_schema
from mlflow.types import ColSpec, DataType, Schema

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import TYPES, Column, FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.core.mlmodel import describe
from src.services.inference.pyfunc_engine import PyfuncEngine, frame_of
from tests.support.mlflow_models import (
    QUICKLY,
    as_numbers,
    boosting,
    forest,
    quietly,
    save_function,
    save_sklearn,
    typed_binary,
    typed_regression,
)

XY = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def engine(directory: Path) -> PyfuncEngine:
    return PyfuncEngine(directory, describe(directory))


def table(directory: Path, frame: pd.DataFrame) -> FeatureTable:
    """As records of these values are decoded."""
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in frame.astype(object).to_numpy()]
    return FeatureTable.from_rows(describe(directory).schema, rows)


@pytest.mark.parametrize("make", [forest, boosting])
def test_classifier_answers_as_its_library_does(tmp_path: Path, make: Callable[[], tuple[Any, pd.DataFrame]]) -> None:
    model, frame = make()
    save_sklearn(tmp_path / "model", model, frame)
    served = engine(tmp_path / "model")
    found = served.predict(table(tmp_path / "model", frame))
    assert served.classes == ("setosa", "versicolor", "virginica")
    assert found.values == model.predict(frame).tolist()
    assert np.array_equal(np.asarray(found.probabilities), model.predict_proba(frame))


def test_binary_model_takes_every_type_of_column_with_missing_values(tmp_path: Path) -> None:
    model, frame = typed_binary()
    save_sklearn(tmp_path / "model", model, frame)
    served = engine(tmp_path / "model")
    found = served.predict(table(tmp_path / "model", frame))
    assert served.classes == ("False", "True")
    assert found.values == [str(value) for value in model.predict(as_numbers(frame))]
    assert np.array_equal(np.asarray(found.probabilities), model.predict_proba(as_numbers(frame)))


def test_regression_takes_every_type_of_column_and_answers_each_row_as_alone(tmp_path: Path) -> None:
    model, frame = typed_regression()
    save_sklearn(tmp_path / "model", model, frame)
    served, rows = engine(tmp_path / "model"), table(tmp_path / "model", frame)
    found = served.predict(rows)
    assert (served.classes, found.probabilities) == ((), None)
    assert found.values == model.predict(as_numbers(frame)).tolist()
    assert [served.predict(rows.part(row, row + 1)).values[0] for row in range(20)] == found.values[:20]


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_frame_is_what_mlflow_makes_of_its_columns(kind: str, *, required: bool) -> None:
    values: dict[str, Row] = {"string": ("a", "b"), "boolean": (True, False), "long": (1, 2), "integer": (1, 2)}
    schema = FeatureSchema((Column("a column", TYPES[kind], required, kind),))
    given = frame_of(FeatureTable.from_rows(schema, [(value,) for value in values.get(kind, (1.5, 2.5))]))
    spec = Schema([ColSpec(DataType[kind], "a column", required=required)])
    if kind in {"long", "integer"} and not required:
        # MLflow takes no missing integer in any form: NaN it is, and MLflow is not asked.
        assert given["a column"].dtype == np.float64
        return
    enforced = _enforce_named_col_schema(given, spec)
    assert enforced["a column"].tolist() == given["a column"].tolist()
    if not (kind == "boolean" and not required):  # MLflow's type of these depends on the rows
        assert enforced["a column"].dtype == given["a column"].dtype


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_missing_value_keeps_the_type_of_its_column(kind: str) -> None:
    schema = FeatureSchema((Column("a", TYPES[kind], required=False, mlflow_type=kind),))
    present: Any = {"string": "a", "boolean": True}.get(kind, 1)
    mixed, alone = (
        frame_of(FeatureTable.from_rows(schema, rows))["a"] for rows in ([(present,), (None,)], [(present,)])
    )
    assert mixed.isna().tolist() == [False, True]
    assert mixed[0] == present
    assert mixed.dtype == alone.dtype == frame_of(FeatureTable.from_rows(schema, [(None,)]))["a"].dtype


def labels(frame: pd.DataFrame) -> Any:
    return np.where(frame["x"] > 1, "high", "low")


def test_python_model_has_the_classes_of_its_metadata(tmp_path: Path) -> None:
    save_function(tmp_path / "model", labels, XY, ["low"], metadata={"classes": ["low", "high"]})
    served = engine(tmp_path / "model")
    found = served.predict(table(tmp_path / "model", XY))
    assert (served.classes, found.values, found.probabilities) == (("low", "high"), ["low", "high"], None)


def test_model_that_answers_with_probabilities_alone_gets_labels_by_the_common_rule(tmp_path: Path) -> None:
    save_function(
        tmp_path / "model",
        lambda frame: pd.DataFrame({"a": 1 - frame["x"] / 4, "b": frame["x"] / 4}),
        XY,
        [[0.5, 0.5]],
        metadata={"classes": ["low", "high"]},
    )
    found = engine(tmp_path / "model").predict(table(tmp_path / "model", XY.assign(x=[1.0, 3.0])))
    assert found.values == ["low", "high"]
    assert np.asarray(found.probabilities).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_numbered_classes_are_named_by_the_metadata(tmp_path: Path) -> None:
    model, frame = forest()
    numbers = np.unique(model.predict(frame), return_inverse=True)[1]
    model.fit(frame, numbers)
    save_sklearn(tmp_path / "model", model, frame, metadata={"classes": ["a", "b", "c"]})
    served = engine(tmp_path / "model")
    assert served.classes == ("a", "b", "c")
    assert served.predict(table(tmp_path / "model", frame)).values == ["abc"[number] for number in numbers]


def test_boolean_answers_of_a_python_model_are_classes(tmp_path: Path) -> None:
    save_function(tmp_path / "model", lambda frame: (frame["x"] > 1).tolist(), XY, [True])
    served = engine(tmp_path / "model")
    assert served.classes == ("False", "True")
    assert served.predict(table(tmp_path / "model", XY)).values == ["False", "True"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda frame: frame["x"],
        lambda frame: frame[["x"]],
        lambda frame: frame["x"].tolist(),
        lambda frame: frame["x"].to_numpy().reshape(-1, 1),
        lambda frame: frame["x"].astype("Float64"),
        lambda frame: frame["x"].astype("int8"),
    ],
)
def test_numbers_are_taken_in_every_form(tmp_path: Path, answer: Any) -> None:
    save_function(tmp_path / "model", answer, XY, [1.0])
    found = engine(tmp_path / "model").predict(table(tmp_path / "model", XY))
    assert found.values == [1.0, 2.0]
    assert all(type(value) is float for value in found.values)


def fail(frame: pd.DataFrame) -> Any:
    raise ValueError(f"cannot take {frame.to_dict()}")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (fail, r"failed on these values \(ValueError\)"),
        (lambda frame: frame["x"] * np.nan, "not a finite number"),
        (lambda frame: frame["x"] * np.inf, "not a finite number"),
        (lambda frame: frame["x"].head(1), "one each"),
        (lambda frame: frame, "one each"),
        (lambda _: 5.0, "one each"),
        (lambda _: None, "one each"),
        (lambda _: "hid" + "den", "one each"),
        (lambda frame: ["hid" + "den"] * len(frame), "failed on these values"),
        (lambda frame: {"x": frame["x"].tolist()}, "one each"),
    ],
)
def test_failing_regression_says_so_and_repeats_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Any, says: str
) -> None:
    save_function(tmp_path / "model", answer, XY, [1.0], input_example=None)
    rows = table(tmp_path / "model", XY.assign(x=[777.25, 888.5]))
    served = engine(tmp_path / "model")
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelFailedError, match=says) as caught:
        served.predict(rows)
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in ("777.25", "888.5", "hidden") if secret in told]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda frame: ["unknown"] * len(frame), "not one of its classes"),
        (lambda frame: [None] * len(frame), "not one of its classes"),
        (lambda frame: np.full((len(frame), 2), np.nan), "not finite"),
        (lambda frame: np.full((len(frame), 3), 1 / 3), "have the shape"),
        (lambda frame: ["low"] * (len(frame) + 1), "one each"),
    ],
)
def test_failing_classifier_says_so(tmp_path: Path, answer: Any, says: str) -> None:
    save_function(tmp_path / "model", answer, XY, ["low"], input_example=None, metadata={"classes": ["low", "high"]})
    with pytest.raises(ModelFailedError, match=says):
        engine(tmp_path / "model").predict(table(tmp_path / "model", XY))


def test_labels_that_nobody_has_named_are_refused(tmp_path: Path) -> None:
    save_function(tmp_path / "model", labels, XY, ["low"])
    with pytest.raises(InvalidModelError, match="metadata="):
        engine(tmp_path / "model")


@pytest.mark.parametrize("classes", [["setosa", "virginica", "versicolor"], ["a", "b", "c"], ["setosa", "versicolor"]])
def test_metadata_that_contradict_the_model_are_refused(tmp_path: Path, classes: list[str]) -> None:
    save_sklearn(tmp_path / "model", *forest(), metadata={"classes": classes})
    with pytest.raises(InvalidModelError, match="setosa, versicolor, virginica"):
        engine(tmp_path / "model")


def change_description(directory: Path, **keys: Any) -> None:
    path = directory / "MLmodel"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))


def test_model_whose_library_is_missing_names_it(tmp_path: Path) -> None:
    save_function(tmp_path / "model", labels, XY, ["low"], metadata={"classes": ["low", "high"]})
    change_description(tmp_path / "model", flavors={"python_function": {"loader_module": "no_such_library.mlflow"}})
    with pytest.raises(InvalidModelError, match="module no_such_library"):
        engine(tmp_path / "model")


def test_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    save_sklearn(tmp_path / "model", *forest())
    (tmp_path / "model" / "model.skops").write_bytes(b"damaged")
    with pytest.raises(InvalidModelError, match=r"cannot load the model \(BadZipFile"):
        engine(tmp_path / "model")


def test_calls_from_several_threads_wait_for_each_other(tmp_path: Path) -> None:
    save_function(tmp_path / "model", lambda frame: frame["x"], XY, [1.0])
    served, rows = engine(tmp_path / "model"), table(tmp_path / "model", XY)
    inside, most = 0, 0
    lock = threading.Lock()

    class Watched:
        def predict(self, frame: Any) -> Any:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.001)
            with lock:
                inside -= 1
            return frame["x"]

    served._model = Watched()  # noqa: SLF001 - the model inside is what is watched
    threads = [threading.Thread(target=served.predict, args=(rows,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def save_with_code(directory: Path, code: Path, answer: int) -> None:
    """A model whose answer stands in a module that it brings, and is imported when it is asked."""
    code.mkdir(parents=True)
    (code / "brought_module.py").write_text(f"ANSWER = {answer}\n")
    (code / "brought_model.py").write_text(
        "import mlflow.pyfunc\n"
        "class Brought(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        import brought_module\n"
        "        return [brought_module.ANSWER] * len(model_input)\n"
    )
    sys.path.insert(0, str(code))
    try:
        with quietly():
            from brought_model import Brought  # type: ignore[import-not-found] # noqa: PLC0415

            mlflow.pyfunc.save_model(
                str(directory),
                python_model=Brought(),
                code_paths=[str(code / "brought_module.py"), str(code / "brought_model.py")],
                signature=infer_signature(XY, np.array([1.0])),
                **QUICKLY,
            )
    finally:
        sys.path.remove(str(code))
        for name in ("brought_module", "brought_model"):
            sys.modules.pop(name, None)


def test_each_version_runs_the_code_that_it_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for version in (1, 2):
        save_with_code(tmp_path / "cache" / str(version), tmp_path / "code" / str(version), version)
    for version in (1, 2, 1):
        directory = tmp_path / "cache" / str(version)
        assert engine(directory).predict(table(directory, XY)).values == [version, version]
    assert len([entry for entry in sys.path if str(tmp_path) in entry]) == 1


def test_model_says_no_more_than_the_log(tmp_path: Path) -> None:
    save_sklearn(tmp_path / "model", *forest())
    served = engine(tmp_path / "model")
    assert served.name == "pyfunc"
    assert logging.getLogger("mlflow").propagate
    assert json.dumps(served.predict(table(tmp_path / "model", forest()[1].head(1))).values) == '["setosa"]'
