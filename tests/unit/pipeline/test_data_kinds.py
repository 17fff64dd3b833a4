"""Every kind of data set, from its CSV file to a model's directory that serving's engine loads."""

from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model

from src.core.feature_table import FeatureTable
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import read_mlmodel
from src.core.model_registry import GOLDEN_FILE, ONNX_FILE
from src.core.onnx_engine import OnnxEngine
from src.core.pipeline_config import PipelineConfig
from src.pipeline import data_preprocess, train_model
from src.training.dataset_file import to_csv
from src.training.frames import table_of
from src.training.package_model import Flavours, ModelPackage, build_package
from src.training.sklearn_engine import SklearnEngine, load_skops
from src.training.splitting import split_rows
from tests.support.datasets import houses, passengers, readings

pytestmark = pytest.mark.slow

Kind = Callable[[Path], PipelineConfig]


class Trained:
    """One data set and the model of it, saved."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.config = kind(folder / "data.csv")
        self.frame = data_preprocess.prepare(self.config.dataset).frame
        split = split_rows(self.frame, self.config, None)
        train, self.holdout = split.train, split.holdout
        model = train_model.fit(train, self.config.model, self.config.dataset)
        self.package: ModelPackage = build_package(model, train, self.holdout, self.config.dataset, split.rule)
        self.directory = folder / "model"
        Flavours(self.package).save_model(str(self.directory), mlflow_model=Model())
        self.schema, self.classes = read_mlmodel(self.directory)

    def engine(self) -> OnnxEngine:
        return OnnxEngine(self.directory / ONNX_FILE, self.schema, self.classes)


@pytest.fixture(scope="module", params=[passengers, houses, readings], ids=lambda kind: kind.__name__)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("kind"), request.param)


def test_model_passes_parity_and_its_signature_states_types_and_what_may_be_missing(trained: Trained) -> None:
    assert trained.package.parity == "passed"
    assert trained.schema == trained.config.dataset.feature_schema
    assert trained.classes == tuple(trained.config.dataset.classes or ())


def test_engines_of_both_flavours_answer_the_holdout_and_the_golden_rows_alike(trained: Trained) -> None:
    golden = GoldenRows.model_validate_json((trained.directory / GOLDEN_FILE).read_bytes())
    loaded = SklearnEngine(load_skops(trained.directory / "model.skops"), trained.classes)
    table = table_of(trained.holdout, trained.schema)
    for engine in (loaded, trained.engine()):
        golden.verify(engine, trained.schema)
    if trained.classes:
        assert loaded.predict(table).values == trained.engine().predict(table).values
    else:
        assert np.allclose(loaded.predict(table).values, trained.engine().predict(table).values, rtol=1e-5)


def test_python_function_answers_through_its_signature(trained: Trained) -> None:
    rows = trained.holdout.drop(columns=trained.config.dataset.target)
    found = mlflow.pyfunc.load_model(str(trained.directory)).predict(rows)
    expected = trained.engine().predict(table_of(rows, trained.schema)).values
    if trained.classes:
        assert (found == np.array(expected)).mean() > 0.98  # it breaks exact ties in its own way
    else:
        assert np.allclose(found, expected, rtol=1e-5)


def test_preprocessed_file_is_read_to_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    dataset = trained.config.dataset
    (tmp_path / "again.csv").write_bytes(to_csv(trained.frame, dataset))
    again = data_preprocess.prepare(dataset.model_copy(update={"source": str(tmp_path / "again.csv")})).frame
    assert to_csv(again, dataset) == to_csv(trained.frame, dataset)
    assert again.dtypes.to_dict() == trained.frame.dtypes.to_dict()


def test_model_answers_the_same_after_the_rows_went_through_parquet(trained: Trained, tmp_path: Path) -> None:
    # As ZenML passes them between steps: text comes back as pandas' own type.
    trained.holdout.to_parquet(tmp_path / "rows.parquet")
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    first, second = (
        trained.engine().predict(table_of(frame, trained.schema)).values for frame in (trained.holdout, rows)
    )
    assert first == second


@pytest.fixture(scope="module")
def travellers(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("kind"), passengers)


def test_probabilities_of_two_classes_lie_between_0_and_1(travellers: Trained) -> None:
    probabilities = travellers.engine().predict(table_of(travellers.frame, travellers.schema)).probabilities
    assert probabilities is not None
    assert (probabilities.min(), probabilities.max()) == (0, 1)


def test_unknown_category_counts_as_a_missing_one(travellers: Trained) -> None:
    rows = [(30.0, port, True, None, 20.0) for port in ("Mars", None, "")]
    table = FeatureTable.from_rows(travellers.schema, rows)
    probabilities = travellers.engine().predict(table).probabilities
    assert probabilities is not None
    assert (probabilities == probabilities[0]).all()


def test_missing_values_and_a_value_called_na_survive_preprocessing(travellers: Trained) -> None:
    frame = travellers.frame
    assert set(frame["port, of call"].dropna()) == {"North", "South", "NA"}
    missing = frame.isna().mean()
    assert all(0.05 < missing[name] < 0.15 for name in ("age (years)", "port, of call", "has cabin?"))
    assert set(frame["has cabin?"].dropna()) == {True, False}
    assert (missing["fare"], missing["is member"]) == (0, 0)


def test_synthetic_rows_have_unknown_categories_and_missing_values(travellers: Trained) -> None:
    golden = travellers.package.golden
    assert len({row[1] for row in golden.rows}) > 3
    assert any(None in row for row in golden.rows)
