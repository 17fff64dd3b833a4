"""Automatic rollbacks on real services: versions that are as good as the one before, and versions that are worse.

MLflow, inference and the process `quality` run as real processes, under load. In each run a new version is trained and
promoted, rows are predicted, and their true labels are sent. A version that was trained on mislabelled rows must be
rolled back; one that was trained on other rows with the right labels must be kept at the end of its watch. Both kinds
alternate, because a rollback without a person never follows another one directly.
"""

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.conditions import heading, make_command, tell
from benchmarks.loop import mlflow_server
from benchmarks.rollback_run import ROWS, STATES, WATCH_SECONDS, Run, promoted
from benchmarks.rollback_versions import TEST_ROWS, TRAINING_ROWS, Flowers, versions_of
from benchmarks.running import free_ports
from benchmarks.services import Service
from src.core.pipeline_config import load_pipeline_config
from src.core.rollout_record import RolloutState
from src.core.settings import CommonSettings
from src.services.local.processes import REPOSITORY, without_proxy

PUBLISHED = REPOSITORY / "benchmarks/results/real_rollbacks.md"
RUNS, SEED = 10, 20261130


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0, or 1 with the list of what did not go as it must."""
    parser = argparse.ArgumentParser(prog="make measure-real-rollbacks ROLLBACKS_ARGS=...", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the rows (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions, runs = heading(make_command("measure-real-rollbacks", arguments)), list[Run]()
    os.environ.update(without_proxy(os.environ) | {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"})
    with TemporaryDirectory(prefix="rollbacks-") as folder:
        for run in measure(Path(folder), 2 * options.runs, options.seed):
            runs.append(run)
            tell(f"{len(runs)} of {2 * options.runs}: {run.rollout.state} after {run.seconds:.1f} s; {run.faults}")
    options.report.write_text(report(conditions, options.seed, runs), encoding="utf-8")
    return 1 if any(run.faults for run in runs) else 0


def measure(folder: Path, count: int, seed: int) -> Iterator[Run]:
    """Run the services, and one promotion after the other; all state is below ``folder``."""
    config, random = load_pipeline_config(REPOSITORY / "config/pipeline.yaml"), np.random.default_rng(seed)
    flowers, settings = Flowers(config), CommonSettings(data_dir=folder / "data")
    (folder / "mlflow").mkdir()
    with mlflow_server(folder / "mlflow") as url:
        versions = versions_of(url, config, settings, flowers.draw(TEST_ROWS, random))
        champion, accuracy = versions.register(flowers.draw(TRAINING_ROWS, random))
        versions.promote(champion, None, None)
        with _services(folder, settings, url) as inference:
            for number in range(count):
                is_worse, rows = number % 2 == 0, flowers.draw(TRAINING_ROWS, random)
                version, reached = versions.register(flowers.mislabelled(rows) if is_worse else rows)
                labelled = flowers.draw(ROWS, random)
                rollout, seconds, answers = promoted(inference, versions, (version, champion), labelled)
                yield Run(is_worse, reached - accuracy, rollout, seconds, answers)
                if rollout.state is RolloutState.KEPT:
                    champion, accuracy = version, reached


@contextlib.contextmanager
def _services(folder: Path, settings: CommonSettings, mlflow_url: str) -> Iterator[Service]:
    """Inference and the process `quality`, ready; gives inference."""
    inference, quality = free_ports(2)
    url = f"http://127.0.0.1:{inference}"
    shared = {"DATA_DIR": str(settings.data_dir), "MODEL_NAME": settings.model_name, "MLFLOW_TRACKING_URI": mlflow_url}
    serving = {"INFERENCE_PORT": str(inference), "MODEL_POLL_SECONDS": "0.2", "PREDICTION_LOG_RATE": "2000"}
    reporting = {"QUALITY_PORT": str(quality), "QUALITY_SECONDS": "1", "INFERENCE_URL": url}
    services = (
        Service("inference", f"{url}/health", {**shared, **serving, "DRAIN_SECONDS": "0"}, folder),
        Service("quality", f"http://127.0.0.1:{quality}/metrics", {**shared, **reporting}, folder),
    )
    with contextlib.ExitStack() as ending:
        for service in services:
            ending.callback(service.stop)
            service.start()
            service.wait()
        yield services[0]


def report(conditions: str, seed: int, runs: Sequence[Run]) -> str:
    """The runs as Markdown, below the lines that say how they were measured."""
    requests, succeeded = sum(run.answers.total() for run in runs), sum(run.answers["200"] for run in runs)
    right = Counter(run.is_worse for run in runs if run.rollout.state is STATES[run.is_worse])
    kinds, faults = Counter(run.is_worse for run in runs), [fault for run in runs for fault in run.faults]
    lines = [
        "# Automatic rollbacks on real services",
        "",
        conditions,
        "",
        f"{right[True]} of {kinds[True]} versions that are worse were rolled back; {right[False]} of {kinds[False]} as",
        f"good ones were kept. {requests - succeeded:,} of {requests:,} requests failed meanwhile.",
        "",
        "MLflow, inference and the process `quality` are real processes, which serve all runs. In each run, a version",
        f"is trained on {TRAINING_ROWS:,} rows like Iris, registered, and promoted by the project's own code, without",
        "the gate, which would see the same wrong labels. Under a steady load of single rows, its watch lasts at most",
        f"{WATCH_SECONDS:g} s; {ROWS:,} rows with true labels are sent once the shadow answers. A worse version was",
        "trained on rows in which some virginica are called versicolor; one that is as good, on other rows. Both kinds",
        "alternate, as a rollback without a person never follows another one directly. The column `difference` is that",
        f"of the accuracies of both versions on {TEST_ROWS:,} further rows; rows, drop and evidence are those of the",
        f"watch; the seconds count from the promotion to the end of the watch. The seed is {seed}.",
        "",
        "Faults:",
        "",
        *(f"- {fault}" for fault in faults or ["none"]),
        "",
        "| version | before | trained on | difference | end | after s | rows | drop | evidence |",
        "| ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |",
        *map(_line, runs),
    ]
    return "\n".join(lines) + "\n"


def _line(run: Run) -> str:
    record, rows = run.rollout, "wrong labels" if run.is_worse else "other rows"
    return (
        f"| {record.version} | {record.previous} | {rows} | {run.difference:+.1%} | {record.state} | "
        f"{run.seconds:.1f} | {record.rows:,} | {record.drop:+.1%} | {record.e_value:,.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
