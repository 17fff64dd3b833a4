"""Requests a training when the source has enough new rows, or enough new labels have come in."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from src.core.counting import counted
from src.core.durable_file import replace_durably
from src.core.new_data import Kind, NewAmount, write_new_data
from src.core.pipeline_config import load_pipeline_config
from src.core.quality_settings import QualitySettings
from src.core.retrain_queue import RetrainQueue
from src.core.training_baseline import TrainingBaseline, read_baseline
from src.quality.bucket import open_bucket
from src.quality.label_count import labels_since
from src.quality.live_quality import Resources
from src.quality.stores import label_store
from src.services.quality.quality_service import Task
from src.services.quality.reporter import SPILL_FOLDER
from src.training.count_rows import RowCounter

ASKED_FILE = "amounts.json"
# A count may read large files or a large table.
ROWS_EVERY = timedelta(minutes=5)
COUNT_MEMORY_BYTES = 256_000_000

logger = logging.getLogger(__name__)


class _Asked(BaseModel):
    """What was new at the last request of each kind since a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    trained_at: AwareDatetime
    new: dict[Kind, int] = {}


class AmountRequests:
    """Counts what is new since the last training, and requests another one for each further threshold.

    While a retrain request waits or runs, nothing is counted: its training may read what is new. A training with a
    verdict counts anew from its start. After one that failed or was skipped, a request follows when as much has come in
    again. What is new is recorded for the page and ``GET /retrain``. If the service is killed after it has submitted a
    request and before it has recorded that, and that request fails or is skipped, it submits another one.

    Args:
        settings: thresholds, folders, and the pipeline's configuration, which is read anew each time.
        spool: the retrain spool, whose folders exist.
    """

    def __init__(self, settings: QualitySettings, spool: RetrainQueue) -> None:
        self._settings = settings
        self._spool = spool
        bucket = open_bucket(settings.prediction_log_store)
        self._labels = label_store(settings.quality_dir, settings.model_name, bucket)
        self._resources = Resources(COUNT_MEMORY_BYTES, settings.quality_dir / SPILL_FOLDER, threads=1)
        self._counter = RowCounter()
        self._file = spool.root / ASKED_FILE
        self._asked: _Asked | None = None
        self._amounts: dict[Kind, NewAmount] = {}
        self._recorded: list[NewAmount] | None = None
        self._told = set[Kind]()

    def tasks(self) -> list[Task]:
        """The counts whose threshold is set; labels only while the prediction log is on."""
        settings, found = self._settings, list[Task]()
        if settings.retrain_min_new_rows:
            found.append(Task("counting new rows", self.consider_rows, ROWS_EVERY))
        if settings.retrain_min_new_labels and settings.prediction_log:
            found.append(Task("counting new labels", self.consider_labels))
        elif settings.retrain_min_new_labels:
            logger.warning("RETRAIN_MIN_NEW_LABELS has no effect, because PREDICTION_LOG=false: no label is taken in")
        return found

    def consider_rows(self, _: datetime) -> Sequence[str]:
        """Request a training if the source has enough new rows; return sentences about problems.

        Raises:
            LoopError, OSError: the source, the configuration or a record cannot be read or written.
        """
        return self._consider("rows", self._settings.retrain_min_new_rows, self._new_rows)

    def consider_labels(self, _: datetime) -> Sequence[str]:
        """Request a training if enough labels have come in; return sentences about problems.

        Raises:
            LoopError, OSError: a record cannot be read or written.
            duckdb.Error: a file of labels cannot be read.
        """
        return self._consider("labels", self._settings.retrain_min_new_labels, self._new_labels)

    def _consider(self, kind: Kind, threshold: int, count: Callable[[TrainingBaseline], int]) -> Sequence[str]:
        # Before the baseline: a training records it before its requests end.
        if self._spool.unfinished():
            return ()
        baseline = read_baseline(self._spool.root, self._settings.model_name)
        if baseline is None:
            self._show(kind, None)
            return self._without_baseline(kind)
        new, asked = count(baseline), self._asked_since(baseline)
        if new - asked.new.get(kind, 0) >= threshold:
            cause = f"{counted(new, f'new {kind[:-1]}')} since version {baseline.version}"
            record = self._spool.submit("schedule", cause=cause, by="quality service")
            logger.info("%s: retrain request %s", cause, record.id)
            # In memory first: while the volume is full, the same amount must not be requested again.
            self._asked = asked = asked.model_copy(update={"new": {**asked.new, kind: new}})
            replace_durably(self._file, asked.model_dump_json().encode())
        since = "the last request" if kind in asked.new else f"version {baseline.version}"
        further = max(0, new - asked.new.get(kind, 0))
        self._show(kind, NewAmount(kind=kind, new=further, needed=threshold, since=since))
        return ()

    def _show(self, kind: Kind, amount: NewAmount | None) -> None:
        """Record how much is new of one kind; None: that is not known."""
        self._amounts.pop(kind, None)
        if amount is not None:
            self._amounts[kind] = amount
        found = [self._amounts[name] for name in ("rows", "labels") if name in self._amounts]
        if found != self._recorded:
            write_new_data(self._spool.root, self._settings.model_name, found)
            self._recorded = found

    def _without_baseline(self, kind: Kind) -> Sequence[str]:
        problem = f"no training has recorded yet what it has read; new {kind} are counted from the next one on"
        if kind not in self._told:
            logger.warning("%s: POST /retrain requests one", problem)
            self._told.add(kind)
        return (problem,)

    def _new_rows(self, baseline: TrainingBaseline) -> int:
        dataset = load_pipeline_config(self._settings.pipeline_config).dataset
        return baseline.new_rows(self._counter.count(dataset, self._settings.dataset_url))

    def _new_labels(self, baseline: TrainingBaseline) -> int:
        with self._labels.locked():
            return labels_since(self._labels, baseline.started_at, self._resources)

    def _asked_since(self, baseline: TrainingBaseline) -> _Asked:
        """What was requested since this training."""
        asked = self._asked or self._read()
        if asked is not None and (asked.model, asked.trained_at) == (baseline.model, baseline.started_at):
            return asked
        return _Asked(model=baseline.model, trained_at=baseline.started_at)

    def _read(self) -> _Asked | None:
        try:
            return _Asked.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            logger.warning("%s is damaged; what is new may be requested once more", self._file)
            return None
