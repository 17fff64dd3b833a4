from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.core.errors import InvalidModelError, UntrustedModelError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.training.frames import table_of
from src.training.sklearn_engine import SklearnEngine, load_skops
from tests.support.training import iris_package, iris_parts

MODEL = iris_package().model
CLASSES = iris_package().classes
FEATURES = iris_parts()[1].drop(columns="species")
SCHEMA = FeatureSchema.of_numbers(*FEATURES.columns)


def double(values: object) -> object:
    return values


def test_engine_gives_the_model_s_probabilities_and_labels_by_the_common_rule() -> None:
    found = SklearnEngine(MODEL, CLASSES).predict(table_of(FEATURES, SCHEMA))
    assert found.probabilities is not None
    assert np.array_equal(found.probabilities, MODEL.predict_proba(FEATURES))
    assert [CLASSES[index] for index in np.argmax(np.round(found.probabilities, 5), axis=1)] == found.values


def test_loaded_model_answers_as_before(tmp_path: Path) -> None:
    skops.io.dump(MODEL, tmp_path / "model.skops")
    table = FeatureTable.from_rows(SCHEMA, [(5.1, 3.5, 1.4, 0.2)])
    assert SklearnEngine(load_skops(tmp_path / "model.skops"), CLASSES).predict(table).values == ["setosa"]


def test_model_of_an_untrusted_type_is_not_loaded(tmp_path: Path) -> None:
    skops.io.dump(Pipeline([("double", FunctionTransformer(double)), *MODEL.steps]), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match=r"test_sklearn_engine\.double, .*add them to SKOPS_TRUSTED_TYPES"):
        load_skops(tmp_path / "model.skops")


def test_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"PK")
    with pytest.raises(InvalidModelError, match=r"model\.skops cannot be loaded"):
        load_skops(tmp_path / "model.skops")
