"""Converts a fitted model to the ONNX graph that serving runs, and proves that both give the same answers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from src.core.errors import ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.onnx_engine import INPUT_NAME, PROBABILITIES_OUTPUT, OnnxEngine
from src.core.pipeline_config import FeatureConfig
from src.core.predictions import TOLERANCE, labels_from
from src.pipeline.frames import table_of

RANDOM_ROWS = 2000
SEED = 0


def export_onnx(model: Pipeline, columns: int) -> bytes:
    """The graph of a fitted classifier: ``features`` (n, columns) float32 to ``probabilities`` (n, classes).

    Raises:
        ModelParityError: the model has no such graph.
    """
    try:
        graph = to_onnx(
            model, initial_types=[(INPUT_NAME, FloatTensorType([None, columns]))], options={"zipmap": False}
        )
    except Exception as error:  # the converters raise errors of many kinds, all meaning this
        raise ModelParityError(f"the model cannot be converted to ONNX: {error}") from error
    outputs = [output.name for output in graph.graph.output]
    if PROBABILITIES_OUTPUT not in outputs:
        raise ModelParityError(f"the model's graph has the outputs {outputs}, not {PROBABILITIES_OUTPUT!r}")
    return bytes(graph.SerializeToString())


def probe_rows(features: pd.DataFrame, limits: Mapping[str, FeatureConfig], model: Pipeline) -> pd.DataFrame:
    """Rows that try a model: random ones where the data lie, random ones in the whole range, and on its thresholds.

    Args:
        features: (n, features) the rows that show where the data lie.
        limits: each column's believable range.
        model: whose decision thresholds are tried, where its last step is an ensemble of trees.

    Returns:
        (3 * RANDOM_ROWS, features), the same for the same arguments.
    """
    random = np.random.default_rng(SEED)
    near = features.to_numpy(dtype=np.float64)
    low, high = near.min(axis=0), near.max(axis=0)
    wide_low = np.array([limits[name].minimum for name in features.columns])
    wide_high = np.array([limits[name].maximum for name in features.columns])
    shape = (RANDOM_ROWS, features.shape[1])
    rows = [random.uniform(low, high, shape), random.uniform(wide_low, wide_high, shape)]
    on_edge = random.uniform(low, high, shape)
    edges = _thresholds(model)
    if len(edges):
        chosen = edges[random.integers(len(edges), size=RANDOM_ROWS)]
        on_edge[np.arange(RANDOM_ROWS), chosen[:, 0].astype(int)] = chosen[:, 1]
    return pd.DataFrame(np.concatenate([*rows, on_edge]), columns=features.columns)


def check_parity(model: Pipeline, engine: OnnxEngine, schema: FeatureSchema, rows: pd.DataFrame) -> None:
    """Require the same label and, within ``TOLERANCE``, the same probabilities for every row.

    Raises:
        ModelParityError: saying for how many rows they differ, and by how much.
    """
    expected = model.predict_proba(rows)
    found = np.asarray(engine.predict(table_of(rows, schema)).probabilities)
    if found.shape != expected.shape:
        raise ModelParityError(f"ONNX answers in the shape {found.shape}, scikit-learn in {expected.shape}")
    # Labels of both sides by the same rule: scikit-learn's own argmax breaks exact ties by the last bits.
    wrong_labels = int((labels_from(expected) != labels_from(found)).sum())
    worst = float(np.abs(expected - found).max())
    if wrong_labels or worst > TOLERANCE:
        raise ModelParityError(
            f"ONNX and scikit-learn disagree on {wrong_labels} of {len(rows)} labels and by up to {worst:.2g} in "
            "probability; a model must be served as it was trained, so this one is not registered"
        )


def classes_of(model: Pipeline) -> tuple[str, ...]:
    """Class names in the order of the probabilities."""
    return tuple(str(name) for name in model.classes_)


def _thresholds(model: Pipeline) -> NDArray[np.float64]:
    """(n, 2): column index and threshold of every decision in the model's trees."""
    trees: Sequence[object] = getattr(model[-1], "estimators_", ())
    if len(model) > 1:
        trees = ()  # steps before the trees change the scale
    found = [
        np.column_stack([tree.tree_.feature, tree.tree_.threshold])[tree.tree_.feature >= 0]
        for tree in trees
        if hasattr(tree, "tree_")
    ]
    return np.concatenate(found) if found else np.empty((0, 2))
