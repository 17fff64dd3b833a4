import json
import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.tree import DecisionTreeClassifier

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_table import FeatureTable
from src.core.mlmodel import describe
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.core.predictions import labels_from
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.pyfunc_engine import PyfuncEngine
from tests.support.mlflow_models import (
    as_numbers,
    boosting,
    forest,
    iris,
    save_function,
    save_sklearn,
    typed_binary,
    typed_regression,
)

pytestmark = pytest.mark.slow

XY = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def engine(directory: Path, *, verified: bool = False) -> PyfuncEngine:
    return PyfuncEngine(directory, describe(directory), verified=verified)


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


def test_common_rule_takes_the_label_from_the_probabilities_as_the_gate_does(tmp_path: Path) -> None:
    rows, names = iris()
    # Votes that tie: scikit-learn's own label depends on their last bits.
    model = RandomForestClassifier(n_estimators=6, max_depth=2, random_state=1).fit(rows, names)
    save_sklearn(tmp_path / "model", model, rows)
    served = engine(tmp_path / "model", verified=True)
    found = served.predict(table(tmp_path / "model", rows))
    shares = model.predict_proba(rows)
    assert found.values == model.classes_[labels_from(shares)].tolist()
    assert np.array_equal(np.asarray(found.probabilities), shares)


def test_label_is_what_the_model_predicts_though_another_class_is_likelier(tmp_path: Path) -> None:
    rows, names = iris()
    model = FixedThresholdClassifier(LogisticRegression(max_iter=1000), threshold=0.9, pos_label="setosa")
    two = names != "virginica"
    save_sklearn(tmp_path / "model", model.fit(rows[two], names[two]), rows, serialization_format="cloudpickle")
    between = pd.DataFrame([[5.2, 3.0, 2.4, 0.7]], columns=rows.columns)
    found = engine(tmp_path / "model").predict(table(tmp_path / "model", between))
    assert found.values == model.predict(between).tolist() == ["versicolor"]
    assert np.asarray(found.probabilities)[0].argmax() == 0
    by_rule = engine(tmp_path / "model", verified=True).predict(table(tmp_path / "model", between))
    assert by_rule.values == ["setosa"]


def test_binary_model_takes_every_type_of_column_with_missing_values(tmp_path: Path) -> None:
    model, frame = typed_binary()
    save_sklearn(tmp_path / "model", model, frame)
    served = engine(tmp_path / "model")
    found = served.predict(table(tmp_path / "model", frame))
    assert served.classes == ("False", "True")
    assert found.values == model.predict(as_numbers(frame)).tolist()
    assert np.array_equal(np.asarray(found.probabilities), model.predict_proba(as_numbers(frame)))


def test_regression_takes_every_type_of_column_and_answers_each_row_as_alone(tmp_path: Path) -> None:
    model, frame = typed_regression()
    save_sklearn(tmp_path / "model", model, frame)
    served, rows = engine(tmp_path / "model"), table(tmp_path / "model", frame)
    found = served.predict(rows)
    assert (served.classes, found.probabilities) == ((), None)
    assert found.values == model.predict(as_numbers(frame)).tolist()
    assert [served.predict(rows.part(row, row + 1)).values[0] for row in range(20)] == found.values[:20]


def labels(frame: pd.DataFrame) -> Any:
    return np.where(frame["x"] > 1, "high", "low")


def test_python_model_has_the_classes_of_its_metadata(tmp_path: Path) -> None:
    save_function(tmp_path / "model", labels, XY, ["low"], metadata={"classes": ["low", "high"]})
    served = engine(tmp_path / "model")
    found = served.predict(table(tmp_path / "model", XY))
    assert (served.classes, found.values, found.probabilities) == (("low", "high"), ["low", "high"], None)


def test_loader_sees_whether_answers_have_probabilities(tmp_path: Path) -> None:
    save_function(tmp_path / "bare", labels, XY, ["low"], metadata={"classes": ["low", "high"]})
    model, frame = forest()
    save_sklearn(tmp_path / "full", model, frame)
    version = ModelVersion(name="trees", version="1", origin_sha256="0" * 64)
    for folder, expected in (("bare", False), ("full", True)):
        write_manifest(tmp_path / folder, LOCAL_MANIFEST_FILE)
        assert load_predictor(tmp_path / folder, version, "registry").gives_probabilities is expected


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
    assert served.predict(table(tmp_path / "model", XY)).values == [False, True]


@pytest.mark.parametrize(
    ("target", "labels"),
    [([3, 1, 2], (1, 2, 3)), ([0.0, 1.0, 0.0], (0.0, 1.0)), ([True, False, True], (False, True))],
)
@pytest.mark.parametrize("verified", [False, True])
def test_labels_have_the_type_that_the_model_gives_them(
    tmp_path: Path, target: list[Any], labels: tuple[Any, ...], *, verified: bool
) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = DecisionTreeClassifier().fit(frame, target)
    save_sklearn(tmp_path / "model", model, frame)
    served = engine(tmp_path / "model", verified=verified)
    found = list(served.predict(table(tmp_path / "model", frame)).values)
    assert (served.labels, served.classes) == (labels, tuple(map(str, labels)))
    assert found == target
    assert {type(label) for label in found} == {type(labels[0])}


def test_names_in_the_metadata_are_text_even_if_they_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    model = DecisionTreeClassifier().fit(frame, [0, 1])
    save_sklearn(tmp_path / "model", model, frame, metadata={"classes": ["0", "1"]})
    assert engine(tmp_path / "model").predict(table(tmp_path / "model", frame)).values == ["0", "1"]


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
        (lambda frame: frame["x"].head(1), "one value per row"),
        (lambda frame: frame, "one value per row"),
        (lambda _: 5.0, "one value per row"),
        (lambda _: None, "one value per row"),
        (lambda _: "hid" + "den", "one value per row"),
        (lambda frame: ["hid" + "den"] * len(frame), "failed on these values"),
        (lambda frame: {"x": frame["x"].tolist()}, "one value per row"),
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
        (lambda frame: ["low"] * (len(frame) + 1), "one value per row"),
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


def test_a_call_can_be_timed_without_the_wait_for_others(tmp_path: Path) -> None:
    save_function(tmp_path / "model", lambda frame: frame["x"], XY, [1.0])
    served, rows, free = engine(tmp_path / "model"), table(tmp_path / "model", XY), list[bool]()

    def take() -> None:
        """In another thread, find out whether the model is free."""
        lock: Any = served.exclusive()
        free.append(lock.acquire(blocking=False))
        if free[-1]:
            lock.release()

    class Watched:
        def predict(self, frame: Any) -> Any:
            other = threading.Thread(target=take)
            other.start()
            other.join()
            return frame["x"]

    served._model = Watched()  # noqa: SLF001 - as above
    served.predict(rows)
    with served.exclusive():  # the thread that has the model may predict
        served.predict(rows)
    take()
    assert free == [False, False, True]


def test_model_says_no_more_than_the_log(tmp_path: Path) -> None:
    save_sklearn(tmp_path / "model", *forest())
    served = engine(tmp_path / "model")
    assert served.name == "pyfunc"
    assert logging.getLogger("mlflow").propagate
    assert json.dumps(served.predict(table(tmp_path / "model", forest()[1].head(1))).values) == '["setosa"]'
