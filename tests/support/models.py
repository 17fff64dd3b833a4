"""Build registered models' directories without the training pipeline."""

import functools
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    ONNX_FILE,
    TAG_MANIFEST_SHA256,
    DriftReference,
    write_manifest,
)

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CLASSES = ("setosa", "versicolor", "virginica")
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}


@functools.cache
def forest(seed: int) -> tuple[bytes, list[list[float]], list[list[float]]]:
    """A small forest on Iris: its ONNX graph, some of the rows, and sklearn's own probabilities for them."""
    # Slow to import, and only a few tests need them.
    from skl2onnx import to_onnx  # noqa: PLC0415
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415
    from sklearn.datasets import load_iris  # noqa: PLC0415
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    rows, target = load_iris(return_X_y=True)
    model = RandomForestClassifier(n_estimators=20, random_state=seed).fit(rows, target)
    graph = to_onnx(
        model, initial_types=[("features", FloatTensorType([None, rows.shape[1]]))], options={"zipmap": False}
    )
    some = rows[::15]
    return graph.SerializeToString(), some.tolist(), model.predict_proba(some).tolist()


def drift_reference(columns: tuple[str, ...], rows: list[list[float]]) -> DriftReference:
    """Two bins per column, split at 1; the shares are made up, as if of 1,000 rows."""
    low, high = np.min(rows, axis=0).tolist(), np.max(rows, axis=0).tolist()
    return DriftReference(
        rows=1000,
        edges={name: [1.0] for name in columns},
        shares={name: [0.5, 0.5] for name in columns},
        minimum=dict(zip(columns, low, strict=False)),
        maximum=dict(zip(columns, high, strict=False)),
        class_shares=dict.fromkeys(CLASSES, 1 / 3),
    )


def build_model(  # noqa: PLR0913 - each is named where it is given
    directory: Path,
    *,
    seed: int = 0,
    columns: tuple[str, ...] = COLUMNS,
    classes: tuple[str, ...] = CLASSES,
    spoil_golden: bool = False,
    mlmodel: dict[str, Any] | None = None,
) -> str:
    """Write a model's directory as the registry contract has it; return its manifest's digest.

    Args:
        directory: must not exist.
        spoil_golden: claim other answers than the graph gives; the manifest vouches for them all the same.
        mlmodel: replaces keys of the MLmodel file.
    """
    graph, rows, probabilities = forest(seed)
    directory.mkdir(parents=True)
    (directory / ONNX_FILE).write_bytes(graph)
    labels = [classes[index] for index in np.argmax(np.round(probabilities, 5), axis=1)]
    if spoil_golden:
        labels.reverse()
    golden = {"rows": rows, "labels": labels, "probabilities": probabilities}
    (directory / GOLDEN_FILE).write_text(json.dumps(golden))
    (directory / DRIFT_FILE).write_text(drift_reference(columns, rows).model_dump_json())
    inputs = [{"name": name, "type": "double", "required": True} for name in columns]
    content = {
        "flavors": {"onnx": {"data": ONNX_FILE}},
        "signature": {"inputs": json.dumps(inputs)},
        "metadata": {METADATA_CLASSES: list(classes)},
        **(mlmodel or {}),
    }
    (directory / MLMODEL_FILE).write_text(yaml.safe_dump(content))
    # Something that serving does not need and must not fetch.
    (directory / "skops").mkdir()
    (directory / "skops" / "model.skops").write_bytes(b"for other clients")
    return write_manifest(directory)


class CopyFlavour:
    """The smallest flavour that ``mlflow.models.Model.log`` takes: it copies a built directory."""

    __name__ = "copy"

    @staticmethod
    def save_model(path: str, mlflow_model: Any, source: Path) -> None:
        """Copy ``source``, add MLflow's own description to its MLmodel, and renew the manifest in both."""
        shutil.copytree(source, path)
        built = yaml.safe_load((Path(path) / MLMODEL_FILE).read_text())
        content = {**mlflow_model.to_dict(), **built}
        (Path(path) / MLMODEL_FILE).write_text(yaml.safe_dump(content))
        write_manifest(Path(path))
        shutil.copy(Path(path) / MANIFEST_FILE, source / MANIFEST_FILE)


def register_model(tracking_url: str, name: str, source: Path) -> str:
    """Log a built directory to a real MLflow server and register it, tagged with its digest; return the version."""
    import mlflow  # noqa: PLC0415 - slow to import
    from mlflow.models import Model  # noqa: PLC0415

    mlflow.set_tracking_uri(tracking_url)
    info = Model.log(None, CopyFlavour(), name="model", registered_model_name=name, source=source)
    version = str(info.registered_model_version)
    digest = hashlib.sha256((source / MANIFEST_FILE).read_bytes()).hexdigest()
    mlflow.MlflowClient(tracking_url).set_model_version_tag(name, version, TAG_MANIFEST_SHA256, digest)
    return version
