"""Trains one estimator after the other, and compares what is served with scikit-learn."""

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.estimators.cases import PROMOTED, TABLES, Case, Outcome
from benchmarks.estimators.reference import Reference
from benchmarks.loop import complete, copy_code, inference, train
from src.services.local.processes import REPOSITORY

OWN_FILE = REPOSITORY / "benchmarks/estimators/own_estimator.py"
# Rows of a request, whose body is limited.
PART_ROWS = 500
PROBABILITY_TOLERANCE, VALUE_TOLERANCE = 1e-5, 1e-4


class Measurement:
    """A copy of the code with the own estimators, the tables, and one ZenML store.

    Args:
        folder: must exist; keeps everything.
        mlflow_url: a running server.
    """

    def __init__(self, folder: Path, mlflow_url: str) -> None:
        self._folder, self._mlflow_url = folder, mlflow_url
        self._code = copy_code(folder / "code")
        shutil.copy2(OWN_FILE, self._code / "src/pipeline")

    def run(self, case: Case) -> Outcome:
        """Train, and compare what is served with scikit-learn."""
        folder = self._folder / case.model_name
        folder.mkdir()
        config = folder / "pipeline.yaml"
        config.write_text(self._configuration(case), encoding="utf-8")
        variables = {
            "DATA_DIR": str(self._folder / "data"),
            "MLFLOW_TRACKING_URI": self._mlflow_url,
            "PIPELINE_CONFIG": str(config),
            "MODEL_NAME": case.model_name,
        }
        done = train(variables, folder / "training.log", self._code)
        verdict = done.end.partition(":")[0]
        if verdict != PROMOTED:
            return Outcome(case, done.seconds, done.end)
        reference = self._reference(case, config, folder / "reference.json")
        with inference(variables, folder / "inference.log", self._code) as service:
            served = service.get("/health")["model"]
            if served["version"] != reference.version:
                raise ValueError(f"version {served['version']} is served, not {reference.version}")
            rows = reference.records
            parts = (rows[start : start + PART_ROWS] for start in range(0, len(rows), PART_ROWS))
            answers = [answer for part in parts for answer in service.predict(part)["predictions"]]
        equal = sum(is_equal(answer, reference, row) for row, answer in enumerate(answers))
        return Outcome(case, done.seconds, verdict, reference.parity, served["engine"], len(answers), equal)

    def _configuration(self, case: Case) -> str:
        """The table's own configuration with this estimator, whose parameters are the defaults."""
        table = TABLES[case.table]
        raw = yaml.safe_load(table.config.read_text(encoding="utf-8"))
        if table.write is not None:
            file = self._folder / f"{case.table}.csv"
            if not file.exists():
                table.write(file)
                complete(file)
            raw["dataset"]["source"] = str(file)
        raw["model"] |= {"estimator": case.estimator, "params": {}}
        return yaml.safe_dump(raw, sort_keys=False)

    def _reference(self, case: Case, config: Path, out: Path) -> Reference:
        module = (sys.executable, "-m", "benchmarks.estimators.reference")
        arguments = (self._mlflow_url, case.model_name, str(config), str(out))
        subprocess.run([*module, *arguments], cwd=self._code, check=True)  # noqa: S603 - its own arguments
        return msgspec.json.decode(out.read_bytes(), type=Reference)


def is_equal(answer: dict[str, Any], reference: Reference, row: int) -> bool:
    """Whether an answer of ``/predict`` is scikit-learn's for this row.

    A number may differ by one part in 10,000 and a probability by 0.00001, as ONNX computes with 32 bits. Where
    scikit-learn has two classes as the most probable ones, within that, either may be answered.
    """
    found = answer["prediction"]
    if reference.values:
        return math.isclose(found, reference.values[row], rel_tol=VALUE_TOLERANCE)
    shares, label = reference.probabilities[row], reference.labels[row]
    is_near = all(abs(answer["probabilities"][name] - share) <= PROBABILITY_TOLERANCE for name, share in shares.items())
    return is_near and shares[found] >= shares[label] - 2 * PROBABILITY_TOLERANCE
