"""The gauges of the served model and of its drift, as Prometheus reads them."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from src.serving.models.predictor import Predictor
from src.serving.watch.drift import DriftReport

SCORE = "Distance of the newest rows from those of training beyond what chance gives (0: none); NaN with too few rows"
FLAG = "1 where the drift is significant and large, else 0; NaN with too few rows"

Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


def model_gauges(model: Predictor | None, report: DriftReport) -> Iterator[Metric]:
    """The gauges of the served model, if any, and of a comparison of its newest rows with those of training."""
    info = GaugeMetricFamily("inference_model_info", "1 for the model served", labels=["name", "version", "engine"])
    scores, classes = dict[str, float](), dict[str, float]()
    trained_at = loaded_at = 0.0
    if model is not None:
        version, loaded_at = model.version, model.loaded_at.timestamp()
        info.add_metric([version.name, version.version, model.engine.name], 1)
        scores, classes = version.scores, model.reference.class_shares if model.reference is not None else {}
        trained_at = version.registered_at.timestamp() if version.registered_at is not None else 0.0
    yield info
    drift = {name: found.score for name, found in report.features.items()}
    drifted = {name: found.flag for name, found in report.features.items()}
    for name, documentation, label, values in (
        ("inference_model_score", "Scores on the holdout by name, greater is better", "metric", scores),
        ("inference_reference_class_ratio", "Share of the class among the training rows", "class", classes),
        ("inference_drift_score", SCORE, "feature", drift),
        ("inference_feature_drifted", FLAG, "feature", drifted),
    ):
        yield by_label(GaugeMetricFamily, name, documentation, label, values)
    for name, documentation, value in (
        ("inference_model_loaded", "1 if a model can answer", float(model is not None)),
        ("inference_model_trained_timestamp_seconds", "When the model was registered; 0 if unknown", trained_at),
        ("inference_model_loaded_timestamp_seconds", "When the model was loaded", loaded_at),
        ("inference_prediction_drift_score", SCORE, report.predictions.score),
        ("inference_prediction_drifted", FLAG, report.predictions.flag),
        ("inference_drift_window_rows", "Rows that are compared", report.rows),
    ):
        yield GaugeMetricFamily(name, documentation, value=value)


def by_label(kind: Family, name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    """A metric with one label, by its values."""
    family = kind(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
