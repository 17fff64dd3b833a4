"""What a step of the quality service does before it reports: takes in rows and labels, and limits the stores."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from src.core.audit_log import AuditLog
from src.core.errors import DataError
from src.core.feedback import FEEDBACK_FOLDER
from src.core.pipeline_config import LabelsConfig, PipelineConfig, load_pipeline_config
from src.core.prediction_log import SEGMENTS_FOLDER, keyed_hash
from src.core.quality_settings import QualitySettings
from src.core.rollouts import Rollouts
from src.quality.bucket import open_bucket
from src.quality.ingest_labels import LabelRules, ingest_feedback, ingest_folder, ingest_query
from src.quality.label_rows import KEY, LABEL, REQUEST_ID, TIME_COLUMN, RawLabel
from src.quality.parquet_store import ParquetStore
from src.quality.segments import delete_unfinished, expire_bad, ingest_segments, waiting_models
from src.quality.stores import all_stores, expire_together, label_store, log_store
from src.quality.watch import end_without_log
from src.services.quality.quality_service import Task
from src.training.sql_source import stream_sql

HOUR = timedelta(hours=1)
QUERY_KEY = "labels.query"


class StoreTasks:
    """The tasks of a model's log and labels, and of those that former models have left.

    Args:
        settings: folders, limits, and the pipeline's configuration, which is read anew each time.
    """

    def __init__(self, settings: QualitySettings) -> None:
        self._settings = settings
        self._bucket = open_bucket(settings.prediction_log_store)
        self._labels: ParquetStore = label_store(settings.quality_dir, settings.model_name, self._bucket)

    def all(self) -> list[Task]:
        """All of them, in the order in which a step does them."""
        return [
            Task("taking in predictions", self.take_in_rows),
            Task("taking in feedback", self.take_in_feedback),
            Task("reading label files", self.read_files),
            Task(f"running {QUERY_KEY}", self.run_query, HOUR),
            Task("compacting the stores", self.compact, HOUR),
            Task("deleting old rows", self.expire),
        ]

    def without_log(self) -> list[Task]:
        """The tasks while the prediction log is off: what came before is kept no longer than it would be."""
        return [
            Task("taking in predictions", self._if_used(self.take_in_rows)),
            Task("taking in feedback", self._if_used(self.take_in_feedback)),
            Task("deleting old rows", self._if_used(self.expire)),
            Task("ending the watch of a promotion", self.end_watch),
        ]

    def take_in_rows(self, _: datetime) -> Sequence[str]:
        """Move closed segments to the log of their model, which may be a former one."""
        own, folder = self._settings.model_name, self._settings.quality_dir / SEGMENTS_FOLDER
        self._take_in(own, folder)
        for model in sorted(waiting_models(folder) - {own}):
            self._take_in(model, folder)
        return ()

    def take_in_feedback(self, _: datetime) -> Sequence[str]:
        """Move labels that were sent to the labels' store."""
        with self._labels.locked():
            self._labels.settle()
            ingest_feedback(self._labels, self._settings.quality_dir / FEEDBACK_FOLDER, self._rules(self._config()))
        return ()

    def read_files(self, now: datetime) -> Sequence[str]:
        """Store what is new in the folder of label files."""
        with self._labels.locked():
            self._labels.settle()
            return ingest_folder(self._labels, self._settings.labels_dir, self._rules(self._config()), now).problems

    def run_query(self, now: datetime) -> Sequence[str]:
        """Store what is new in the answer to ``labels.query``, if there is one."""
        config = self._config()
        if config.labels is None:
            return ()
        with self._labels.locked():
            self._labels.settle()
            return ingest_query(self._labels, self._rows(config.labels), self._rules(config), now).problems

    def compact(self, _: datetime) -> Sequence[str]:
        """Join small files."""
        for stores in all_stores(self._settings.quality_dir, self._bucket).values():
            for store in (stores.log, stores.labels):
                with store.locked():
                    store.compact()
        return ()

    def expire(self, now: datetime) -> Sequence[str]:
        """Delete unfinished files, and what is too old or too much: ``prediction_log_days`` and ``…_max_bytes``."""
        before = now - timedelta(days=self._settings.prediction_log_days)
        stores = all_stores(self._settings.quality_dir, self._bucket).values()
        for together in ([both.log for both in stores], [both.labels for both in stores]):
            expire_together(together, before, self._settings.prediction_log_max_bytes)
        for name in (SEGMENTS_FOLDER, FEEDBACK_FOLDER):
            expire_bad(self._settings.quality_dir / name, before)
            delete_unfinished(self._settings.quality_dir / name, now)
        return ()

    def end_watch(self, now: datetime) -> Sequence[str]:
        """End the watch of a promotion at its time, without a comparison."""
        rollouts = Rollouts(self._settings.rollouts_dir, AuditLog(self._settings.audit_file))
        end_without_log(rollouts, self._settings.model_name, now)
        return ()

    def _if_used(self, run: Callable[[datetime], Sequence[str]]) -> Callable[[datetime], Sequence[str]]:
        """A task that does nothing, and creates no folder, while there is nothing that was logged."""
        return lambda now: run(now) if self._settings.quality_dir.exists() else ()

    def _take_in(self, model: str, folder: Path) -> None:
        log = log_store(self._settings.quality_dir, model, self._bucket)
        with log.locked():
            log.settle()
            ingest_segments(log, folder, model)

    def _config(self) -> PipelineConfig:
        return load_pipeline_config(self._settings.pipeline_config)

    def _rules(self, config: PipelineConfig) -> LabelRules:
        return LabelRules(config.dataset.classes or (), _key_rule(self._settings, config))

    def _rows(self, labels: LabelsConfig) -> Iterator[RawLabel]:
        for row in stream_sql(labels.query, self._settings.dataset_url, QUERY_KEY):
            if LABEL not in row or not {REQUEST_ID, KEY} & set(row):
                raise DataError(f"{QUERY_KEY} must select {LABEL}, and {KEY} or {REQUEST_ID}; rename columns with AS")
            yield RawLabel(row.get(REQUEST_ID), row.get(KEY), row[LABEL], row.get(TIME_COLUMN))


def _key_rule(settings: QualitySettings, config: PipelineConfig) -> Callable[[str], str]:
    """What makes a key one as the log has it."""
    is_hashed = settings.hashed_columns.intersection(config.dataset.id)
    return partial(keyed_hash, settings.log_key) if is_hashed else str
