"""The live quality of the served versions, as the quality service last computed it; inference and the page show it."""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from src.core.errors import DamagedReportError

# In ``CommonSettings.quality_dir``.
REPORT_FILE = "report.json"
# The window of the newest labels.
NEWEST = "newest"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Score(_Frozen):
    """A metric over labelled rows, in its own direction, with the limits of its 95 % interval (None if undefined)."""

    value: float
    low: float | None = None
    high: float | None = None


class ClassCoverage(_Frozen):
    """How many rows were predicted as one class, and how many of them have a label."""

    predicted: int
    labelled: int


class Window(_Frozen):
    """The quality over some rows of a version.

    Attributes:
        name: ``newest`` for the newest labels, else the period: ``day``, ``week`` or ``month``.
        predicted: logged rows in the period; for ``newest``, from the oldest of its rows on.
        labelled: those of them with a label.
        scored: those of them that the scores are about: at most 1,000 for ``newest``, else 5,000 drawn at random.
        delay_seconds: the median time from prediction to label; None without labels.
        scores: by metric; empty without labels.
        coverage: by predicted class; empty for a regression.
        unlabelled: the classes that are no scored row's label, which a macro average counts as 0; empty without labels.
    """

    name: str
    predicted: int
    labelled: int
    scored: int = 0
    delay_seconds: float | None = None
    scores: dict[str, Score] = {}
    coverage: dict[str, ClassCoverage] = {}
    unlabelled: list[str] = []


class EstimatedWindow(_Frozen):
    """What the scores over some logged rows would be, estimated without labels.

    Attributes:
        name: ``newest`` for the newest 1,000 rows, else the period: ``day`` or ``week``.
        rows: the rows that the estimate is about: of a period, at most 1,000 drawn at random.
        scores: by metric, with 95 % intervals for the scores that the labels of these rows will show.
    """

    name: str
    rows: int
    scores: dict[str, Score]


class Estimate(_Frozen):
    """The quality that a version's own, calibrated probabilities suggest.

    Attributes:
        reason: why there is no estimate, in a sentence; None if there is one.
        holdout: the scores on the holdout, by metric.
        windows: those with enough rows.
    """

    reason: str | None = None
    holdout: dict[str, float] = {}
    windows: list[EstimatedWindow] = []


class VersionQuality(_Frozen):
    """One model version in one role; the newest champion of a classification has an estimate."""

    version: str
    role: str
    first: AwareDatetime
    last: AwareDatetime
    windows: list[Window]
    estimate: Estimate | None = None


class LabelCounts(_Frozen):
    """The fate of the stored labels of the last month, each id counted once.

    Attributes:
        matched: they belong to a logged row.
        waiting: they arrived a short time ago; their row may not be in the log yet.
        not_sampled: their row was not sampled.
        unmatched: there is no such row.
    """

    matched: int = 0
    waiting: int = 0
    not_sampled: int = 0
    unmatched: int = 0


class QualityReport(_Frozen):
    """Everything the quality service knows about the live model.

    Attributes:
        model: the registered model's name.
        at: when it was computed.
        lower_is_better: the metrics where lower is better.
        versions: the newest prediction first.
        labels: what became of the labels.
        rows: rows in the log.
        log_bytes: its size.
        problems: sentences about what went wrong, such as a label file that cannot be read.
    """

    model: str
    at: AwareDatetime
    lower_is_better: list[str] = []
    versions: list[VersionQuality] = []
    labels: LabelCounts = LabelCounts()
    rows: int = 0
    log_bytes: int = 0
    problems: list[str] = []


def read_report(path: Path, model: str) -> QualityReport | None:
    """The last report; None before the first, or if it is about another model, whose quality service uses the volume.

    Raises:
        DamagedReportError: the file cannot be read.
    """
    try:
        report = QualityReport.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise DamagedReportError(
            f"the report of live quality cannot be read ({reason}); the quality service will replace it"
        ) from error
    return report if report.model == model else None
