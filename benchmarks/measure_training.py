"""Measures whole trainings of a large table: time, memory, and the size of the version.

Each is one ``run_pipeline.py`` against an MLflow server and a ZenML store of its own, from the start of the process to
the gate's verdict. With the file that ``make config`` writes, the whole way from the CSV file to a served prediction
is measured.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.datasets import make_classification

from benchmarks.conditions import heading, make_command
from benchmarks.loop import complete, inference, mlflow_server, step_seconds, train
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results/training.md"
ROWS, COLUMNS, CLASSES = 200_000, 30, 8
TARGET = "y"
# The measured parameters, by their name in the report.
SETTINGS: dict[str, dict[str, Any]] = {
    "n_estimators: 100, max_depth: 12": {"n_estimators": 100, "max_depth": 12},
    "shipped settings": {"n_estimators": 100, "max_depth": None, "min_samples_leaf": 1},
}
# Also measured: the file that `make config` writes for the table.
PROPOSED = "as make config proposes"


@dataclass(frozen=True)
class WholeWay:
    """From a CSV file to a served prediction, in seconds.

    Attributes:
        config: of ``make config``, whose file is used as it is.
        training: of the training.
        serving: from the start of the inference service to its first answer.
        answer: the prediction of the table's first row.
    """

    config: float
    training: float
    serving: float
    answer: str


@dataclass(frozen=True)
class Measured:
    """One training.

    Attributes:
        settings: by its name in the report.
        exit_code: of ``run_pipeline.py``.
        seconds: from its start to its end.
        cpu_seconds: of all cores, so that other load on the machine does not count.
        steps: seconds by step.
        memory_bytes: the most that its processes held at once.
        version_bytes: the size of the registered model.
        end: the verdict, or why there is none.
        whole_way: where the configuration is that of ``make config`` and the model was promoted.
    """

    settings: str
    exit_code: int
    seconds: float
    cpu_seconds: float
    steps: dict[str, float]
    memory_bytes: int
    version_bytes: int
    end: str
    whole_way: WholeWay | None = None


def main(arguments: Sequence[str]) -> int:
    """Measure each of the settings and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-training TRAINING_ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the table (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    parser.add_argument("--only", choices=[*SETTINGS, PROPOSED], action="append", help="one of the settings")
    options = parser.parse_args(arguments)
    how = heading(make_command("measure-training", arguments))
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        table = write_table(Path(folder) / "table.csv", options.rows)
        found = [
            measure(Path(folder) / f"run{index}", table, name)
            for index, name in enumerate(options.only or [*SETTINGS, PROPOSED])
        ]
    options.report.write_text(report(how, options.rows, found), encoding="utf-8")
    return 0


def write_table(file: Path, rows: int) -> Path:
    """A CSV file of ``COLUMNS`` numbers and a class, which a forest predicts at about 0.8."""
    numbers, classes = make_classification(
        rows, COLUMNS, n_informative=15, n_redundant=5, n_classes=CLASSES, n_clusters_per_class=2, random_state=0
    )
    frame = pd.DataFrame(numbers.round(4), columns=[f"x{index}" for index in range(COLUMNS)])
    frame.assign(y=np.char.add("c", classes.astype(str))).to_csv(file, index=False)
    return complete(file)


def write_configuration(file: Path, table: Path, settings: str) -> None:
    """Write the configuration to measure, by its name in the report."""
    if settings == PROPOSED:
        make_config = (sys.executable, "-m", "src.services.local.make_config")
        arguments = ("--csv", str(table), "--target", TARGET, "--out", str(file))
        subprocess.run([*make_config, *arguments], cwd=REPOSITORY, check=True, capture_output=True)  # noqa: S603 - ours
    else:
        file.write_text(yaml.safe_dump(configuration(table, SETTINGS[settings])), encoding="utf-8")


def configuration(table: Path, params: dict[str, Any]) -> dict[str, Any]:
    """``pipeline.yaml`` for this table."""
    limits = {"minimum": -1000.0, "maximum": 1000.0}
    return {
        "dataset": {
            "source": str(table),
            "target": TARGET,
            "features": {f"x{index}": limits for index in range(COLUMNS)},
            "classes": [f"c{index}" for index in range(CLASSES)],
            "min_rows_per_class": 20,
            "duplicates": "keep",
        },
        "split": {"by": "hash", "holdout_fraction": 0.3, "seed": 42},
        "model": {"estimator": "random_forest", "params": params},
        "gate": {"metric": "f1_macro", "tolerance": 0.01},
    }


def measure(folder: Path, table: Path, settings: str) -> Measured:
    """Train once with these settings; ``folder`` must not exist and keeps all that the training writes."""
    (folder / "mlflow").mkdir(parents=True)
    config = folder / "pipeline.yaml"
    started = time.monotonic()
    write_configuration(config, table, settings)
    config_seconds = time.monotonic() - started
    with mlflow_server(folder / "mlflow") as url:
        variables = {
            "DATA_DIR": str(folder / "data"),
            "MLFLOW_TRACKING_URI": url,
            "PIPELINE_CONFIG": str(config),
            "MODEL_NAME": "table",
        }
        done = train(variables, folder / "log")
        whole_way = None
        if settings == PROPOSED and done.end.startswith("promoted:"):
            serving, answer = first_answer(variables, table, folder / "inference.log")
            whole_way = WholeWay(config_seconds, done.seconds, serving, answer)
    version = sum(file.stat().st_size for file in (folder / "mlflow/artifacts").rglob("models/**/*") if file.is_file())
    return Measured(
        settings=settings,
        exit_code=done.exit_code,
        seconds=done.seconds,
        cpu_seconds=done.cpu_seconds,
        steps=step_seconds(done.lines),
        memory_bytes=done.memory_bytes,
        version_bytes=version,
        end=done.end,
        whole_way=whole_way,
    )


def first_answer(variables: dict[str, str], table: Path, log: Path) -> tuple[float, str]:
    """Start inference; return the seconds until it has predicted the table's first row, and the prediction."""
    (row,) = pd.read_csv(table, nrows=1).drop(columns=TARGET).to_dict("records")
    with inference(variables, log) as service:
        answer = str(service.predict(row)["prediction"])
        return time.monotonic() - service.started, answer


def report(how: str, rows: int, found: Sequence[Measured]) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    lines = [
        "# Training a large table",
        "",
        how,
        "",
        f"{rows:,} rows of {COLUMNS} numbers, {CLASSES} classes; a random forest. From the trainer's start to the",
        "gate's verdict, with an MLflow server and ZenML's local store. Memory is the trainer's largest resident size.",
        "",
        "| settings | seconds | CPU seconds | memory MB | version MB | exit code | end |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {item.settings} | {item.seconds:.0f} | {item.cpu_seconds:.0f} | {item.memory_bytes / 1e6:,.0f} "
        f"| {item.version_bytes / 1e6:,.0f} | {item.exit_code} | {item.end} |"
        for item in found
    ]
    lines += ["", "Seconds by step:", ""]
    lines += [
        f"- {item.settings}: " + ", ".join(f"{k} {v:g}" for k, v in item.steps.items()) for item in found if item.steps
    ]
    for item in found:
        lines += _whole_way(item.whole_way) if item.whole_way is not None else []
    return "\n".join(lines) + "\n"


def _whole_way(way: WholeWay) -> list[str]:
    return [
        "",
        "From the CSV file to a served prediction, with the file that `make config` writes, unedited:",
        "",
        "| step | seconds |",
        "| --- | ---: |",
        f"| `make config` | {way.config:.1f} |",
        f"| training, from its start to its end | {way.training:.1f} |",
        f"| inference, from its start to the first prediction (`{way.answer}`) | {way.serving:.1f} |",
        f"| all | {way.config + way.training + way.serving:.1f} |",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
