"""The last row of the Model dashboard: scores over labelled rows, the labels, the prediction log and the shadow."""

from dashboards.panels import BLUE, GREEN, RED, Bars, Lines, Panel, Query, Stat
from dashboards.queries import increase, series

# Of six figures side by side.
FIGURE_WIDTH = 4
LIMITS = (("", ""), ("_low", " low"), ("_high", " high"))


def quality_panels(limits: dict[str, float]) -> list[Panel]:
    """The live scores of each version, and where they come from."""
    return [
        _scores("newest", "Scores of the newest labels", "The newest 1000 labels"),
        _scores("week", "Scores of the last week", "Predictions of the last seven days that have a label"),
        Lines(
            title="Labelled rows",
            description="Logged rows of the last week by version, and those of them with a true label.",
            unit="none",
            queries=tuple(
                Query(
                    f"sum by (model_version) ({series(f'quality_{kind}_rows', _window('week'))})",
                    f"{{{{model_version}}}} {kind}",
                )
                for kind in ("labelled", "predicted")
            ),
            dashed=".* predicted$",
        ),
        Lines(
            title="Label delay",
            description="Median time from a prediction to its label, over the predictions of the last week.",
            unit="s",
            queries=(
                Query(
                    f"max by (model_version) ({series('quality_label_delay_seconds', _window('week'))})",
                    "{{model_version}}",
                ),
            ),
        ),
        Lines(
            title="Labels by fate",
            description="Labels of the last 30 days: matched belong to a logged row, waiting arrived recently, the row "
            "of not_sampled was not kept, and there is no row for unmatched.",
            unit="none",
            queries=(Query(f"sum by (fate) ({series('quality_labels')})", "{{fate}}"),),
        ),
        Lines(
            title="Estimate without labels",
            description="What the scores of the last day's predictions are by the model's own calibrated confidence, "
            "dashed: the limits of the 95 % interval. It cannot see that the relation of rows and classes has changed. "
            "EstimatedQualityLow compares the upper limit with the score in training while there are few labels.",
            unit="none",
            width=12,
            least=None,
            decimals=3,
            queries=tuple(
                Query(
                    f"max by (metric, model_version) ({series(f'quality_estimate{end}', _window('day'))})",
                    f"{{{{metric}}}} {{{{model_version}}}}{name}",
                )
                for end, name in LIMITS
            ),
            dashed=".* (low|high)$",
        ),
        Stat(
            title="Last promotion",
            description="Whether labels prove that the version of the newest promotion is worse than the one before. "
            "QualityDropAfterPromotion fires while it is, and is still served.",
            unit="none",
            width=12,
            queries=(Query(f"max({series('quality_promotion_is_worse')})"),),
            words={"0": ("not proved worse", GREEN), "1": ("worse", RED)},
            nothing="none",
        ),
        Bars(
            title="Rows logged",
            description="Predicted rows by what became of them in the prediction log. PredictionLogDropping fires when "
            "rows are dropped, and PredictionLogColumnsUnknown while columns to hide are not columns of the model.",
            unit="none",
            width=12,
            queries=(
                Query(f"sum by (result) ({increase('inference_prediction_log_rows_total')})", "{{result}}"),
                Query(f"max({series('inference_prediction_log_unknown_columns')})", "unknown columns to hide"),
            ),
        ),
        Bars(
            title="Rows of the shadow and of a canary",
            description="Logged rows by what the shadow did with them: the previous champion while a promotion is "
            "watched, or a version that waits for rollout.minimum_rows; it skips rows that "
            "would take more than 50 ms of a second. A canary and the champion are each other's shadow. Beside them, "
            "all rows that the canary has answered; the panels of predictions and of drift leave these out.",
            unit="none",
            width=12,
            queries=(
                Query(f"sum by (result) ({increase('inference_shadow_rows_total')})", "{{result}}"),
                Query(f"sum({increase('inference_canary_rows_total')})", "answered by a canary"),
            ),
        ),
        Bars(
            title="Errors and latency of a watch",
            description="Rows on which both versions of a watched promotion were checked, by what was compared and by "
            "which result the new version had. Enough rows that are worse roll it back.",
            unit="none",
            width=12,
            queries=(
                Query(
                    f"sum by (criterion, result) ({increase('inference_rollout_pairs_total')})",
                    "{{criterion}}: {{result}}",
                ),
            ),
        ),
        Stat(
            title="Automatic rollback",
            description="When the last rollback without a person was. AutomaticRollback fires for an hour after it.",
            unit="dateTimeFromNow",
            width=12,
            queries=(Query(f"max({series('quality_automatic_rollback_timestamp_seconds')}) * 1000"),),
            base=BLUE,
            nothing="none",
        ),
        *_figures(limits),
    ]


def _scores(window: str, title: str, rows: str) -> Panel:
    return Lines(
        title=title,
        description=f"{rows}: each metric by version and role, dashed: the limits of its 95 % interval. "
        "LiveQualityLow compares the upper limit of a week with the score in training.",
        unit="none",
        width=12,
        least=None,
        decimals=3,
        queries=tuple(
            Query(
                f"max by (metric, model_version, role) ({series(f'quality_score{end}', _window(window))})",
                f"{{{{metric}}}} {{{{model_version}}}} {{{{role}}}}{name}",
            )
            for end, name in LIMITS
        ),
        dashed=".* (low|high)$",
    )


def _figures(limits: dict[str, float]) -> list[Panel]:
    return [
        Stat(
            title="Newest label",
            description="How long ago the newest label arrived. LabelsMissing fires at the red step.",
            unit="s",
            width=FIGURE_WIDTH,
            decimals=0,
            queries=(Query(f"time() - max({series('quality_last_label_timestamp_seconds')})"),),
            steps=((limits["LabelsMissing"], RED),),
            nothing="no label",
        ),
        Stat(
            title="Last report",
            description="How long ago the live quality was computed. QualityReportOld fires at the red step.",
            unit="s",
            width=FIGURE_WIDTH,
            decimals=0,
            queries=(Query(f"time() - max({series('quality_last_report_timestamp_seconds')})"),),
            steps=((limits["QualityReportOld"], RED),),
            nothing="off",
        ),
        Stat(
            title="Rows kept",
            description="Rows in the prediction log, from PREDICTION_LOG_DAYS at most.",
            unit="short",
            width=FIGURE_WIDTH,
            queries=(Query(f"sum({series('quality_log_rows')})"),),
            nothing="none",
        ),
        Stat(
            title="Size of the log",
            description="Bytes of the prediction log, PREDICTION_LOG_MAX_BYTES at most.",
            unit="bytes",
            width=FIGURE_WIDTH,
            queries=(Query(f"sum({series('quality_log_bytes')})"),),
            nothing="none",
        ),
        Stat(
            title="Problems",
            description="Problems in the last report, such as a file of labels that is unreadable; see GET /quality.",
            unit="none",
            width=FIGURE_WIDTH,
            queries=(Query(f"sum({series('quality_problems')})"),),
            steps=((1, RED),),
            nothing="no report",
        ),
        Stat(
            title="Shadows",
            description="Replicas in which a second version answers logged rows as a shadow: there is one in each "
            "while a promotion is watched or a version waits for rollout.minimum_rows. GET /rollouts has "
            "the comparison.",
            unit="none",
            width=FIGURE_WIDTH,
            queries=(Query(f"sum({series('inference_shadow_active')})"),),
            base=BLUE,
            nothing="off",
        ),
    ]


def _window(name: str) -> str:
    return f'window="{name}"'
