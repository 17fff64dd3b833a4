"""Labelled live rows join a training: the commands of docs/learning.md are run, and their output is the page's."""

import json
import os
import re
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import numpy as np
import pandas as pd
import pytest
import yaml

from src.core.dataset_config import FEEDBACK_TIME
from src.core.feedback import Label
from src.core.retrain_record import Outcome
from src.pipeline.data_preprocess import prepare
from src.services.local.processes import REPOSITORY
from tests.support.labelled_log import DAY, LabelledLog, columns_of
from tests.support.training import config, run_training, training_environment, write_config
from tests.support.training_world import TrainingWorld

pytestmark = pytest.mark.integration

PAGE = (REPOSITORY / "docs" / "learning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
(SETTING,) = [yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"]
(SUMMARY,) = [block.strip() for kind, block in BLOCKS if kind == "text" and "live rows" in block]
(METRICS,) = re.findall(r"`(data_live_rows)`, `(data_live_share)` and `(data_live_left_out)`", PAGE)
NAME = "learning-test"
LIVE_ROWS, INVALID, UNLABELLED = 40, 2, 10


def log_rows(folder: Path) -> LabelledLog:
    """Iris, a little larger, as clients have sent it; two of the labels are no species."""
    dataset = config().dataset
    iris = prepare(dataset).frame.sample(LIVE_ROWS + INVALID + UNLABELLED, random_state=0)
    log = LabelledLog(folder, columns_of(dataset.feature_schema), NAME, datetime.now(UTC) - DAY)
    rows = iris[list(dataset.features)].to_numpy() + 0.015
    names = [f"r{place}" for place in range(len(rows))]
    log.add_rows(list(zip(names, rows.tolist(), strict=True)))
    labels = [*iris["species"].iloc[:LIVE_ROWS], *["rose"] * INVALID]
    log.add_labels(
        [Label(request_id=name, label=label, received=log.now) for name, label in zip(names, labels, strict=False)]
    )
    return log


class World(TrainingWorld):
    """A loop with labelled rows in its log, in which the commands of the page were run."""

    def __init__(self, folder: Path, mlflow_url: str) -> None:
        super().__init__(folder, mlflow_url, NAME)
        file = write_config(folder / "pipeline.yaml", dataset=SETTING["dataset"])
        self.environment |= {"PIPELINE_CONFIG": str(file)}
        self.checked = self.trained = ""

    def run(self, command: str) -> str:
        """The output of a command of the page."""
        here = re.sub(r"^make ", "make --silent --old-file=.venv/.ready ", command)
        ended = subprocess.run(
            shlex.split(here),
            cwd=REPOSITORY,
            env=training_environment(self.folder, self.mlflow_url) | self.environment | {"ENV_FILE": os.devnull},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> World:
    mlflow.set_tracking_uri(mlflow_url)
    world = World(tmp_path_factory.mktemp("learning"), mlflow_url)
    log_rows(world.folder / "quality")
    check, train = COMMANDS
    world.checked, world.trained = world.run(check), world.run(train)
    return world


def live_rows(file: Path) -> pd.DataFrame:
    frame = pd.read_csv(file)
    assert list(frame.columns) == [*config().dataset.columns, FEEDBACK_TIME]
    return frame[frame[FEEDBACK_TIME].notna()]


def test_labelled_rows_are_checked_learned_and_recorded_as_on_the_page(world: World) -> None:
    assert SUMMARY in world.checked.splitlines()
    assert f"preprocess: {SUMMARY}, sha256 " in world.trained
    version = world.client.get_model_version_by_alias(NAME, "champion")
    run = world.client.get_run(version.run_id)
    assert [run.data.metrics[name] for name in METRICS] == [LIVE_ROWS, LIVE_ROWS / (149 + LIVE_ROWS), INVALID]
    assert run.data.params["dataset.feedback.max_age_days"] == str(
        float(SETTING["dataset"]["feedback"]["max_age_days"])
    )
    report: dict[str, Any] = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/data_report.json"))
    assert (report["rows"], report["live_rows"], report["live_left_out"]) == (189, LIVE_ROWS, {"invalid": INVALID})
    assert run.data.metrics["data_live_train_rows"] + run.data.metrics["data_live_holdout_rows"] == LIVE_ROWS

    found = live_rows(world.folder / f"{NAME}_preprocessed.csv")
    assert len(found) == LIVE_ROWS
    days = (datetime.now(UTC) - DAY).timestamp() / 86_400
    np.testing.assert_allclose(found[FEEDBACK_TIME], days - 1 / 24, atol=1 / 24)


def test_request_without_new_labels_is_skipped(world: World) -> None:
    request_id = world.spool.submit("schedule").id
    world.spool.claim()
    ended = run_training(world.folder, world.mlflow_url, **world.environment)
    assert ended.returncode == 0, ended.stderr
    record = world.spool.get(request_id)
    assert record is not None
    assert record.result is not None
    assert record.result.outcome is Outcome.SKIPPED
