"""A whole training run on a folder of files with every type of column, some rows of which are invalid."""

from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from src.core.mlmodel import read_mlmodel
from tests.support.training import config, run_training

pytestmark = pytest.mark.integration

NAME = "customers-test"
ROWS = 600


def deliver(folder: Path) -> None:
    """Customers in two files with other delimiters than a comma; three rows of the second are invalid."""
    random = np.random.default_rng(0)
    months, plan = random.integers(0, 60, ROWS), random.choice(["basic", "plus", "NA?"], ROWS)
    churned = random.random(ROWS) < np.where(months < 12, 0.8, 0.1)
    frame = pd.DataFrame(
        {
            "customer": [f"C{index:04}" for index in range(ROWS)],
            "joined": (pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 1500, ROWS), "D")).strftime(
                "%Y-%m-%d"
            ),
            "months": months.astype(str),
            "plan": np.where(random.random(ROWS) < 0.1, "", plan),
            "bill": pd.Series(random.lognormal(3, 1, ROWS).round(2)).astype(str).str.replace(".", ","),
            "paperless": np.where(random.random(ROWS) < 0.5, "yes", "no"),
            "note": "not read",
            "churned": np.where(churned, "yes", "no"),
        }
    )
    frame.loc[[400, 401], "months"] = "many"
    frame.loc[402, "joined"] = "2020-02-30"
    folder.mkdir()
    frame.iloc[:300].to_csv(folder / "1.csv", sep=";", index=False)
    frame.iloc[300:, ::-1].to_csv(folder / ".2.csv", sep=";", index=False)
    (folder / ".2.csv").rename(folder / "2.csv")


def settings(folder: Path) -> dict[str, Any]:
    dataset = {
        "source": str(folder),
        "csv": {"delimiter": ";", "decimal": ","},
        "target": "churned",
        "id": ["customer"],
        "features": {
            "joined": {"type": "date"},
            "months": {"type": "integer"},
            "plan": {"type": "category", "missing": True},
            "bill": {},
            "paperless": {"type": "boolean"},
        },
        "classes": ["no", "yes"],
        "min_rows_per_class": 20,
        "invalid_rows": {"policy": "drop", "max_share": 0.01},
    }
    return config(dataset=dataset, model={"n_estimators": 20}, gate={"floor": 0.5}).model_dump()


def test_folder_of_files_is_learned_and_what_was_dropped_is_in_mlflow(mlflow_url: str, tmp_path: Path) -> None:
    deliver(tmp_path / "incoming")
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(settings(tmp_path / "incoming"), sort_keys=False), encoding="utf-8")
    environment = {"MODEL_NAME": NAME, "MLFLOW_EXPERIMENT": NAME, "PIPELINE_CONFIG": str(file)}
    process = run_training(tmp_path / "data", mlflow_url, **environment)
    assert process.returncode == 0, process.stderr
    assert "597 rows from 2 files; 3 invalid rows left out, 0 kept with missing values" in process.stderr

    mlflow.set_tracking_uri(mlflow_url)
    client = MlflowClient(mlflow_url)
    version = client.get_model_version_by_alias(NAME, "champion")
    run = client.get_run(version.run_id)
    counts = {name: run.data.metrics[f"data_{name}"] for name in ("rows", "files", "invalid_rows", "dropped_rows")}
    assert counts == {"rows": 597, "files": 2, "invalid_rows": 3, "dropped_rows": 3}
    listed = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{NAME}_invalid_rows.csv").splitlines()
    second = tmp_path / "incoming" / "2.csv"
    assert listed == [
        "file,row,column,problem",
        f"{second},101,months,not a whole number of 64 bits",
        f"{second},102,months,not a whole number of 64 bits",
        f"{second},103,joined,not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z",
    ]
    assert (tmp_path / "data" / f"{NAME}_invalid_rows.csv").read_text().splitlines() == listed
    assert all(str(second) in used.dataset.source for used in run.inputs.dataset_inputs)

    directory = mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path))
    schema, classes = read_mlmodel(Path(directory))
    assert classes == ("no", "yes")
    assert {column.name: column.values for column in schema.columns}["plan"] == ("NA?", "basic", "plus")
