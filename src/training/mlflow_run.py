"""Logs a training run to MLflow: parameters, data set, scores, pictures and links to its cause."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas
from sklearn.pipeline import Pipeline

from src.core.dataset_config import FEEDBACK_TIME
from src.core.model_registry import TAG_DATA_SHA256, TAG_REQUEST_IDS
from src.core.pipeline_config import PipelineConfig
from src.training.comparison import Comparison
from src.training.data_report import DataReport
from src.training.evaluate_model import Evaluation
from src.training.fitted_parts import parts_of
from src.training.live_rows import are_live
from src.training.pictures import draw, draw_importance, draw_search
from src.training.remote_source import shown_source

# MLflow's own limit is 8,000 for a run's tag.
MAX_TAG = 5000
REQUEST_IDS_FILE = "retrain_request_ids.json"
REPORT_FILE = "data_report.json"
# The report lists all files; MLflow limits the length of an input's source.
MAX_FILES = 200
DIGEST_LENGTH = 32


def log_cause(config: PipelineConfig, data_sha256: str, request_ids: Sequence[str], zenml_tags: dict[str, str]) -> None:
    """Log the configuration, the data set and the retrain requests of the active run."""
    data = config.dataset
    dataset: dict[str, str | float] = {
        "source": shown_source(data.source),
        "duplicates": data.duplicates,
        "invalid_rows": data.invalid_rows.policy,
    }
    if data.feedback.use:
        dataset |= {f"feedback.{key}": value for key, value in data.feedback.model_dump(exclude={"use"}).items()}
    sections = {
        "dataset": dataset,
        "split": config.split.model_dump(),
        "model": config.model.model_dump(),
        "gate": config.gate.model_dump(),
    }
    mlflow.log_params({f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()})
    mlflow.set_tags({**cause_tags(data_sha256, request_ids), **zenml_tags})
    if request_ids:
        mlflow.log_dict({"request_ids": list(request_ids)}, REQUEST_IDS_FILE)


def log_search(table: pd.DataFrame) -> None:
    """Log a parameter search to the active run: a table of the candidates, and a picture of their scores.

    Args:
        table: as ``search`` returns it, the best candidate first.
    """
    params = [name for name in table.columns if name not in {"score", "deviation", "rows"}]
    shown = table.astype(dict.fromkeys(params, str))
    mlflow.log_table(shown, "search.json")
    mlflow.log_figure(draw_search(shown, params), "search.png")


def log_estimator(model: Pipeline) -> None:
    """Log the estimator of a fitted model and all its parameters, defaults included, to the active run."""
    *_, estimator = parts_of(model)
    # The number of cores does not change the model.
    params = {f"estimator.{name}": value for name, value in estimator.get_params().items() if name != "n_jobs"}
    mlflow.log_params({"estimator": type(estimator).__name__, **params})


def log_data(train: pd.DataFrame, holdout: pd.DataFrame, target: str, report: DataReport, data_sha256: str) -> None:
    """Log both parts of the data set, with their files, as inputs of the active run.

    Their digest is the start of the data set's SHA-256.
    """
    files = {file.name: str(file.rows) for file in report.files[:MAX_FILES]}
    source = CodeDatasetSource(tags={"source": report.source, "rows": str(report.rows), **files})
    for frame, context in ((train, "training"), (holdout, "holdout")):
        # MLflow identifies inputs by name and digest.
        name, digest = f"{report.source} {context}", data_sha256[:DIGEST_LENGTH]
        with warnings.catch_warnings():
            # The model's own schema states which integers may be missing in requests.
            warnings.filterwarnings("ignore", ".*Inferred schema contains integer column")
            mlflow.log_input(from_pandas(frame, source, targets=target, name=name, digest=digest), context=context)


def log_live_rows(train: pd.DataFrame, holdout: pd.DataFrame) -> dict[str, int]:
    """Log how many rows of both parts are labelled live rows to the active run, and return the numbers by name.

    Nothing is logged for a data set without ``dataset.feedback``.
    """
    if FEEDBACK_TIME not in train.columns:
        return {}
    counts = {"live_train_rows": int(are_live(train).sum()), "live_holdout_rows": int(are_live(holdout).sum())}
    mlflow.log_metrics({f"data_{name}": float(count) for name, count in counts.items()})
    return counts


def log_report(report: DataReport, invalid_rows: Path) -> None:
    """Log the files that were read, the number of rows, and what was invalid or repeated, to the active run.

    ``invalid_rows`` is the file that lists invalid cells, if there are any.
    """
    counts = {"rows": report.rows, "files": len(report.files), "invalid_rows": report.invalid_rows}
    counts |= {"dropped_rows": report.dropped_rows, "duplicate_rows": report.duplicate_rows}
    metrics = {f"data_{name}": float(count) for name, count in counts.items()}
    if report.live_rows is not None:
        metrics["data_live_rows"] = float(report.live_rows)
        metrics["data_live_left_out"] = float(sum(report.live_left_out.values()))
        metrics["data_live_share"] = report.live_share
    mlflow.log_metrics(metrics)
    mlflow.log_dict(report.model_dump(), REPORT_FILE)
    if report.invalid_rows:
        mlflow.log_artifact(str(invalid_rows))


def log_evaluation(evaluation: Evaluation, comparison: Comparison, metric: str) -> None:
    """Log scores, intervals, slices, a classification's report by class, and the pictures to the active run.

    Args:
        evaluation: the challenger's.
        comparison: with its rivals.
        metric: the gate's.
    """
    mlflow.log_metrics(comparison_metrics(comparison))
    if comparison.slices:
        rows = [{**found.model_dump(), "difference": found.difference} for found in comparison.slices]
        mlflow.log_table(pd.DataFrame(rows), "slices.json")
    if evaluation.classes:
        mlflow.log_dict(evaluation.report, "classification_report.json")
    for name, figure in draw(evaluation, comparison, metric).items():
        mlflow.log_figure(figure, name)


def comparison_metrics(comparison: Comparison) -> dict[str, float]:
    """The challenger's scores by name, its rivals' with the rival as prefix, and the limits of the intervals."""
    metrics = dict(comparison.challenger)
    for rival, scores in (("champion", comparison.champion), ("best", comparison.best)):
        metrics |= {f"{rival}_{name}": value for name, value in (scores or {}).items()}
    differences = {"champion": comparison.champion_difference, "best": comparison.best_difference}
    if comparison.baseline is not None:
        metrics["baseline"] = comparison.baseline.score
        differences["baseline"] = comparison.baseline.difference
    for rival, difference in differences.items():
        if difference is not None:
            metrics |= {f"difference_{rival}_{end}": value for end, value in difference.model_dump().items()}
    if comparison.live_days is not None:
        metrics["compared_live_rows"] = float(comparison.rows or 0)
    if comparison.skipped:
        metrics["resamples_skipped"] = float(comparison.skipped)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def log_importance(importance: Mapping[str, float], metric: str) -> None:
    """Log the score lost by shuffling each column to the active run."""
    mlflow.log_dict(dict(importance), "feature_importance.json")
    mlflow.log_figure(draw_importance(importance, metric), "feature_importance.png")


def cause_tags(data_sha256: str, request_ids: Sequence[str]) -> dict[str, str]:
    """Tags of the run and the model version: the data set's hash and the ids of the retrain requests."""
    return {TAG_DATA_SHA256: data_sha256, TAG_REQUEST_IDS: request_ids_tag(request_ids)}


def request_ids_tag(request_ids: Sequence[str]) -> str:
    """The ids, comma-separated, truncated to whole ids that fit a tag; the run's artifact has all of them."""
    joined = ",".join(request_ids)
    return joined if len(joined) <= MAX_TAG else joined[: MAX_TAG + 1].rpartition(",")[0]


def run_link(base_url: str, experiment_id: str, run_id: str) -> str:
    """A run's page in MLflow's UI, as a browser reaches it."""
    return f"{base_url}/#/experiments/{experiment_id}/runs/{run_id}"
