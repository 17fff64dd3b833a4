"""Asks the newest version of a registered model as scikit-learn runs it, for comparison with what is served.

A program of its own: it must run from the code that the model was trained with.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import mlflow.artifacts
import msgspec
import pandas as pd
from mlflow.tracking import MlflowClient

from src.core.model_registry import CHALLENGER, SKOPS_FILE, TAG_PARITY, TAG_VERDICT
from src.core.own_code import own_code_sha256
from src.core.pipeline_config import load_pipeline_config
from src.pipeline.data_preprocess import prepare
from src.training.sklearn_engine import load_skops

Value = float | int | bool | str | None


class Reference(msgspec.Struct, frozen=True):
    """What is known of a version, and what scikit-learn answers for every row of its table.

    Attributes:
        version: of the registered model.
        verdict: the tag; ``promoted`` or ``rejected``.
        parity: the tag; ``passed``, or why the model has no ONNX flavour.
        records: the features of each row, as a client sends them.
        values: a regression's answers, from ``predict``.
        labels: a classification's answers, from ``predict``.
        probabilities: by class for each label, from ``predict_proba``.
    """

    version: str
    verdict: str
    parity: str
    records: list[dict[str, Value]]
    values: list[float] = []
    labels: list[str] = []
    probabilities: list[dict[str, float]] = []


def find(mlflow_url: str, model_name: str, config: Path) -> Reference:
    """Download the newest version and ask it for the rows of the configured data set."""
    mlflow.set_tracking_uri(mlflow_url)
    dataset = load_pipeline_config(config).dataset
    version = MlflowClient(mlflow_url).get_model_version_by_alias(model_name, CHALLENGER)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{model_name}/{version.version}"
        found = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        model = load_skops(Path(found) / SKOPS_FILE, own_code_sha256())
    rows = prepare(dataset).frame[list(dataset.features)]
    known = str(version.version), version.tags[TAG_VERDICT], version.tags[TAG_PARITY], _records(rows)
    answers = model.predict(rows).tolist()
    if dataset.classes is None:
        return Reference(*known, values=answers)
    shares = model.predict_proba(rows).tolist()
    by_class = [dict(zip(model.classes_, row, strict=True)) for row in shares]
    return Reference(*known, labels=answers, probabilities=by_class)


def _records(rows: pd.DataFrame) -> list[dict[str, Value]]:
    values = rows.astype(object).where(rows.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in values.to_dict("records")]


def main() -> int:
    """Write the answers to a file, as JSON; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mlflow_url", "model_name"):
        parser.add_argument(name)
    for name in ("config", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    given.out.write_bytes(msgspec.json.encode(find(given.mlflow_url, given.model_name, given.config)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
