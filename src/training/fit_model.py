"""Fits the configured model: the estimator with the options of the section ``model``."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, DataError, first_line
from src.core.memory import MEGABYTE, memory_limit
from src.core.model_config import ModelConfig
from src.training.fitted_parts import answer_on_one_core, with_threshold
from src.training.folds import folds_of
from src.training.row_weights import Weights, live_weights, weighted
from src.training.scoring import Metric
from src.training.search import FoldScore, candidates_of, search
from src.training.size_estimate import estimate_of, require_room
from src.training.thresholds import best_threshold, out_of_fold

FOLDS = 5
TUNE = "tune"
HEARTBEAT_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """The context of a fit.

    Attributes:
        by: how the holdout was split off, as in ``split.by``; folds respect it.
        metric: the gate's, by which parameters and thresholds are chosen.
        report: called with the progress.
        record: called with the table of a search.
        minimums: the gate's, by metric; thresholds reach them.
    """

    by: str = "hash"
    metric: Metric | None = None
    report: Callable[[str], None] = logger.debug
    record: Callable[[pd.DataFrame], None] = logger.debug
    minimums: Mapping[Metric, float] = field(default_factory=dict)


def fit_model(
    model: Pipeline, train: pd.DataFrame, config: ModelConfig, dataset: DatasetConfig, study: Study
) -> Pipeline:
    """Fit a model with the configured search, class weights, calibration, target transformation and threshold.

    Args:
        model: not fitted; the last step is the estimator.
        train: the data set's columns; labelled live rows count ``dataset.feedback.weight`` times.
        config: the options, which ``require_options`` has passed.
        dataset: names the columns, and has the weight of labelled live rows.
        study: the context of the fit.

    Raises:
        ConfigError: the fit fails on these valid rows: a parameter or a step of the model is wrong.
        DataError: an option cannot be applied to the rows.
    """
    # Weights are found by the rows' numbers.
    train = train.reset_index(drop=True)
    # Python strings: otherwise the saved classes have pandas' string type.
    target = train[dataset.target].to_numpy(dtype=object if dataset.classes else np.float64)
    rows, name = train[list(dataset.features)], type(model[-1]).__name__
    counts = live_weights(train, dataset)
    model, given = weighted(model, config, target, counts)
    if config.target_transform is not None:
        if target.min() <= -1:
            raise DataError(f"model.target_transform: log needs targets above -1; the least is {target.min():g}")
        model = _with_last(model, TransformedTargetRegressor(model[-1], func=np.log1p, inverse_func=np.expm1))
    with _errors_of(name, model, rows, target):
        if config.search is not None:
            folds = folds_of(train, dataset, study.by, config.search.folds, each_row_once=False)
            score = FoldScore(_metric_of(study), len(folds), candidates_of(config.search), study.report, counts)
            model, table = search(model, rows, target, given, config.search, folds, score)
            study.record(table)
        _require_room(model, rows, target, config)
        with _heartbeat(f"fitting {name} on {len(rows):,} rows", study.report):
            return _fitted(model, train, target, given, counts, config, dataset, study)


def _fitted(  # noqa: PLR0913, PLR0917 - all inputs of a fit
    model: Pipeline,
    train: pd.DataFrame,
    target: NDArray[Any],
    given: dict[str, Any],
    counts: Weights | None,
    config: ModelConfig,
    dataset: DatasetConfig,
    study: Study,
) -> Pipeline:
    rows, least, folds = train[list(dataset.features)], config.threshold, []
    if config.calibrate is not None or least == TUNE:
        folds = folds_of(train, dataset, study.by, FOLDS, each_row_once=True)
    if config.calibrate is not None:
        # One estimator fitted on all rows, calibrated on the out-of-fold predictions of its clones.
        model = _with_last(model, CalibratedClassifierCV(model[-1], method=config.calibrate, cv=folds, ensemble=False))
    if least == TUNE:
        found = out_of_fold(_without_folds(model), rows, target, given, folds)
        least = best_threshold(found, target, str(dataset.positive), _metric_of(study), study.minimums, counts)
        logger.info("threshold: predicting %s from a probability of %.5f is best", dataset.positive, least)
    model.fit(rows, target, **given)
    if config.calibrate is not None:
        model[-1].set_params(cv=None)  # otherwise the folds' rows are saved with the model
    answer_on_one_core(model)
    return model if least is None else with_threshold(model, str(dataset.positive), float(least), rows, target)


def _require_room(model: Pipeline, rows: pd.DataFrame, target: NDArray[Any], config: ModelConfig) -> None:
    estimate = estimate_of(model, rows, target)
    if estimate is not None:
        logger.info("the model will take about %.0f MB in the registry", estimate.version_bytes / MEGABYTE)
        require_room(estimate, config.max_megabytes * MEGABYTE, memory_limit())


def _metric_of(study: Study) -> Metric:
    if study.metric is None:
        raise ConfigError("model.search and model.threshold: tune need the gate's metric")
    return study.metric


@contextlib.contextmanager
def _errors_of(name: str, model: Pipeline, rows: pd.DataFrame, target: NDArray[Any]) -> Iterator[None]:
    """Convert errors on valid rows to ConfigError: the configuration or the adopter's code is wrong."""
    try:
        yield
    except (ValueError, TypeError) as error:
        gaps = _gaps(model, rows, target) if "NaN" in str(error) else ""
        raise ConfigError(f"{name} cannot be fitted: {first_line(error)}{gaps}") from error


def _gaps(model: Pipeline, rows: pd.DataFrame, target: NDArray[Any]) -> str:
    """The columns with missing values after the steps before the estimator; empty where they cannot be computed."""
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        steps = clone(model[:-1])
        made = steps.fit_transform(rows, target)
        if not isinstance(made, pd.DataFrame):
            made = pd.DataFrame(made, columns=steps[-1].get_feature_names_out())
        if names := [str(name).removeprefix("remainder__") for name in made.columns[made.isna().any()]]:
            return (
                f"; values are missing in {', '.join(names)}: a transformer must fill missing values in the columns "
                "that it adds"
            )
    return ""


def _without_folds(model: Pipeline) -> Pipeline:
    """The model for a fit on a part of the rows, without a calibration's folds over all rows."""
    last = model[-1]
    if not isinstance(last, CalibratedClassifierCV):
        return model
    return _with_last(model, clone(last).set_params(cv=FOLDS))


def _with_last(model: Pipeline, last: Any) -> Pipeline:
    return Pipeline([*model.steps[:-1], (model.steps[-1][0], last)])


@contextlib.contextmanager
def _heartbeat(what: str, report: Callable[[str], None]) -> Iterator[None]:
    """Log and report every few seconds that a long operation is running."""
    ended, started = threading.Event(), time.monotonic()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            line = f"{what}, {time.monotonic() - started:.0f} s so far"
            logger.info("%s", line)
            report(line)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
