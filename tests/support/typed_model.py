"""A model whose columns are of every type, some of which may be missing, in scikit-learn and as serving takes it."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from src.core.feature_schema import FeatureSchema
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    ONNX_FILE,
    DriftReference,
    write_manifest,
)

INPUTS = [
    {"name": "city", "type": "string", "required": True},
    {"name": "rooms", "type": "long", "required": True},
    {"name": "furnished", "type": "boolean", "required": True},
    {"name": "area (m²)", "type": "double", "required": False},
    {"name": "heating", "type": "string", "required": False},
]
SCHEMA = FeatureSchema.from_signature(json.dumps(INPUTS))
COLUMNS = list(SCHEMA.names)
CLASSES = ("cheap", "dear", "fair")
FLAT: dict[str, Any] = {"city": "Ulm", "rooms": 2, "furnished": False, "area (m²)": 50.5, "heating": "gas"}
HOUSE: dict[str, Any] = {"city": "Köln", "rooms": 7, "furnished": True, "area (m²)": None, "heating": None}


@functools.cache
def pipeline() -> tuple[Any, pd.DataFrame]:
    """A fitted scikit-learn pipeline, and its rows."""
    # Slow to import, and only a few tests need them.
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "city": rng.choice(["Ulm", "Köln", "Bonn"], 200),
            "rooms": rng.integers(1, 9, 200),
            "furnished": rng.choice([True, False], 200),
            "area (m²)": rng.uniform(20, 200, 200).round(1),
            "heating": rng.choice(["gas", "heat pump"], 200),
        }
    )
    price = rows["rooms"] + 2 * (rows["city"] == "Köln") + 2 * rows["furnished"] + (rows["heating"] == "gas")
    prepare = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city", "heating"]),
            ("area", SimpleImputer(), ["area (m²)"]),
            ("rooms", SimpleImputer(), ["rooms"]),
            ("furnished", "passthrough", ["furnished"]),
        ]
    )
    model = Pipeline([("prepare", prepare), ("tree", DecisionTreeClassifier(max_depth=6, random_state=3))])
    return model.fit(rows, pd.cut(price, [-1, 5, 8, 99], labels=["cheap", "fair", "dear"]).astype(str)), rows


def build_typed_model(directory: Path) -> str:
    """Write it as the registry contract has it, for serving; return its manifest's digest."""
    model, rows = pipeline()
    return write_model(directory, INPUTS, CLASSES, model, rows.head(20))


def write_model(  # noqa: PLR0913, PLR0917 - what a model directory consists of
    directory: Path,
    inputs: list[dict[str, Any]],
    classes: tuple[str, ...],
    model: Any,
    some: pd.DataFrame,
    drift: DriftReference | None = None,
) -> str:
    """Write a fitted pipeline with one ONNX input per column; ``some`` rows become the golden ones."""
    from skl2onnx import to_onnx  # noqa: PLC0415
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: PLC0415

    types = [
        (item["name"], (StringTensorType if item["type"] == "string" else FloatTensorType)([None, 1]))
        for item in inputs
    ]
    graph = to_onnx(model, initial_types=types, options={"zipmap": False})
    golden = {
        "rows": some.to_numpy().tolist(),
        "labels": model.predict(some).tolist(),
        "probabilities": model.predict_proba(some).tolist(),
    }
    directory.mkdir(parents=True)
    (directory / ONNX_FILE).write_bytes(graph.SerializeToString())
    (directory / GOLDEN_FILE).write_text(json.dumps(golden))
    drift = drift or DriftReference(rows=200, edges={}, shares={}, minimum={}, maximum={}, class_shares={})
    (directory / DRIFT_FILE).write_text(drift.model_dump_json())
    mlmodel = {
        "flavors": {"onnx": {"data": ONNX_FILE}},
        "signature": {"inputs": json.dumps(inputs)},
        "metadata": {METADATA_CLASSES: list(classes)},
    }
    (directory / MLMODEL_FILE).write_text(yaml.safe_dump(mlmodel))
    return write_manifest(directory)
