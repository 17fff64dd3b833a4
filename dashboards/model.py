"""The Model dashboard: the served version, its scores in training, and whether the data have drifted."""

from dashboards import glance
from dashboards.board import Board, Row
from dashboards.panels import BLUE, GREEN, RED, YELLOW, Bars, Gauges, Lines, Panel, Query, Stat, States
from dashboards.quality_panels import quality_panels
from dashboards.queries import increase, known, or_zero, quantile, rate, series
from src.serving.watch.drift import MIN_ROWS

DRIFT = "inference_drift_score"
PREDICTIONS = "inference_predictions_total"
DRIFTED = {"0": ("no drift", GREEN), "1": ("drifted", RED), **glance.FEW_ROWS}
APPROVAL = "inference_approval_waiting_since_timestamp_seconds"
TRAINED = "inference_model_trained_timestamp_seconds"


def model_board(limits: dict[str, float]) -> Board:
    """The dashboard.

    Args:
        limits: the limit of each alert, by the alert's name.
    """
    return Board(
        name="model",
        title="Model",
        description="The served model, its scores in training, and whether live rows still resemble the training rows.",
        span="now-6h",
        rows=[
            Row("", _glance(limits)),
            Row("Versions", _versions(limits)),
            Row("Predictions", _predictions()),
            Row("Features", _features(limits)),
            Row("Live quality", quality_panels(limits)),
        ],
    )


def _glance(limits: dict[str, float]) -> list[Panel]:
    age = Stat(
        title="Trained",
        description="How long ago the served model was registered by training. StaleModel fires at the red step.",
        unit="s",
        decimals=1,
        queries=(Query(f"time() - max({series(TRAINED)} != 0)"),),
        steps=((limits["StaleModel"], RED),),
        nothing="unknown",
    )
    loaded = Stat(
        title="Loaded",
        description="When the newest swap to another version was.",
        unit="dateTimeFromNow",
        queries=(Query(f"max({series('inference_model_loaded_timestamp_seconds')} != 0) * 1000"),),
        base=BLUE,
        nothing="never",
    )
    predictions = Stat(
        title="Prediction drift",
        description="Whether the predicted classes have the same distribution as the predictions for the holdout. "
        "PredictionDrift fires where they do not.",
        unit="none",
        queries=(Query(f"max({series('inference_prediction_drifted')})"),),
        words=DRIFTED,
        nothing="no reference",
    )
    rows = Stat(
        title="Rows compared",
        description=f"The number of newest rows that drift is computed from; at least {MIN_ROWS} are needed.",
        unit="none",
        queries=(Query(or_zero(f"min({series('inference_drift_window_rows')})")),),
        base=YELLOW,
        steps=((MIN_ROWS, GREEN),),
    )
    registry = Stat(
        title="MLflow",
        description="Whether each replica's last look-up of the champion succeeded. Without MLflow the loaded "
        "model stays in service.",
        unit="none",
        queries=(Query(f"min({series('inference_mlflow_reachable')})"),),
        base=RED,
        steps=((1, GREEN),),
        words={"0": ("unreachable", RED), "1": ("reachable", GREEN)},
    )
    return [glance.answering(), glance.served(), age, loaded, glance.drifted_features(), predictions, rows, registry]


def _versions(limits: dict[str, float]) -> list[Panel]:
    return [
        States(
            title="Versions served",
            description="Replicas by version and engine. Two rows at once are a swap, or a replica that still serves"
            " the previous version (PromotedNotServed).",
            unit="none",
            width=8,
            queries=(
                Query(
                    f"sum by (name, version, engine) ({series('inference_model_info')})",
                    "{{name}} {{version}} ({{engine}})",
                ),
            ),
            base=BLUE,
        ),
        Stat(
            title="Awaits approval",
            description="For how long a version that passed the gate has awaited approval. ApprovalWaiting fires at "
            "the red step.",
            unit="s",
            decimals=1,
            width=4,
            queries=(Query(f"time() - max({series(APPROVAL)} != 0)"),),
            steps=((limits["ApprovalWaiting"], RED),),
            nothing="none",
        ),
        Lines(
            title="Scores of the served model",
            description="Scores on the holdout when this version was promoted; greater is better.",
            unit="none",
            width=6,
            least=None,
            decimals=3,
            queries=(Query(known(f"max by (metric) ({series('inference_model_score')})"), "{{metric}}"),),
        ),
        Bars(
            title="Reloads",
            description="Attempts to load another version, by outcome. After a failure the current model stays in "
            "service, and loading is retried; last_error in /health has the reason.",
            unit="none",
            width=6,
            queries=(Query(f"sum by (outcome) ({increase('inference_model_reloads_total')})", "{{outcome}}"),),
        ),
    ]


def _predictions() -> list[Panel]:
    share = f"sum by (class) ({rate(PREDICTIONS)}) / on () group_left () sum({rate(PREDICTIONS)})"
    reference = f"avg by (class) ({series('inference_reference_class_ratio')})"
    return [
        Lines(
            title="Class shares",
            description="Share of each predicted class; dashed: its share in the training rows.",
            unit="percentunit",
            most=1,
            queries=(Query(share, "{{class}}"), Query(reference, "{{class}} in training")),
            dashed=".* in training$",
        ),
        Lines(
            title="Confidence",
            description="Probability of the predicted class: it is below p10 for a tenth of the predictions, and "
            "below p50 for half.",
            unit="percentunit",
            most=1,
            queries=(
                Query(quantile(0.1, "inference_prediction_confidence"), "p10"),
                Query(quantile(0.5, "inference_prediction_confidence"), "p50"),
            ),
        ),
        Lines(
            title="Prediction drift over time",
            description="Distance between the predicted classes and those of the holdout, in excess of chance. It is"
            " large from the line on; PredictionDrift fires where it is also significant.",
            unit="none",
            decimals=2,
            queries=(Query(f"max({series('inference_prediction_drift_score')})", "classes"),),
            steps=glance.DRIFT_STEPS,
        ),
    ]


def _features(limits: dict[str, float]) -> list[Panel]:
    outside = f"{rate('inference_out_of_range_total')} or {rate('inference_unknown_categories_total')}"
    return [
        Gauges(
            title="Drift now",
            description="Distance between each feature's newest values and training, in excess of chance (0: none).",
            unit="none",
            decimals=2,
            width=6,
            queries=(Query(f"sort_desc(max by (feature) ({series(DRIFT)}))", "{{feature}}"),),
            steps=glance.DRIFT_STEPS,
            words=glance.FEW_ROWS,
        ),
        Lines(
            title="Drift by feature",
            description="The same over time. It is large from the line on.",
            unit="none",
            decimals=2,
            width=9,
            queries=(Query(f"max by (feature) ({series(DRIFT)})", "{{feature}}"),),
            steps=glance.DRIFT_STEPS,
        ),
        States(
            title="Drifted over time",
            description="When the drift of a feature was large and, considering all features, significant. "
            "FeatureDrift then fires and requests a training.",
            unit="none",
            width=9,
            queries=(Query(f"max by (feature) ({series('inference_feature_drifted')})", "{{feature}}"),),
            words=DRIFTED,
        ),
        Lines(
            title="Rows compared over time",
            description="Rows in each replica's window, which is emptied by a swap.",
            unit="none",
            width=12,
            queries=(Query(series("inference_drift_window_rows"), "{{instance}}"),),
            steps=((MIN_ROWS, GREEN),),
            base=YELLOW,
        ),
        Lines(
            title="Out of range or unknown",
            description="Share of rows with a value outside the training range, or an unknown category, by feature. "
            "OutOfRange fires at the line.",
            unit="percentunit",
            width=12,
            queries=(
                Query(f"sum by (feature) ({outside}) / on () group_left () sum({rate(PREDICTIONS)})", "{{feature}}"),
            ),
            steps=((limits["OutOfRange"], RED),),
        ),
    ]
