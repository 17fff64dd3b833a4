"""A prediction log with labels, stored as the quality service stores what inference has written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uuid_utils

from src.core.feature_schema import FeatureSchema
from src.core.feedback import FEEDBACK_FOLDER, Label
from src.core.prediction_log import SEGMENT_SUFFIX, SEGMENTS_FOLDER, LoggedColumn, Role, SegmentHeader
from src.quality.bucket import Bucket
from src.quality.ingest_labels import LabelRules, ingest_feedback
from src.quality.segments import ingest_segments
from src.quality.stores import label_store, log_store
from tests.support.quality_files import logged

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def columns_of(schema: FeatureSchema) -> list[tuple[str, str]]:
    """The names and types with which the rows of a model are logged."""
    return [(column.name, str(column.type)) for column in schema.columns]


@dataclass
class LabelledLog:
    """The stores of one model below a folder."""

    folder: Path
    columns: Sequence[tuple[str, str]]
    model: str = "iris"
    now: datetime = NOW
    bucket: Bucket | None = None

    def add(self, name: str, values: Sequence[Any], label: str | None, *, ago: timedelta = HOUR, **more: Any) -> None:
        """One logged row, and its label by its request's id, received now."""
        self.add_rows([(name, values)], ago=ago, **more)
        if label is not None:
            self.label(label, request_id=name)

    def add_rows(  # noqa: PLR0913 - what segments differ in
        self,
        rows: Sequence[tuple[str, Sequence[Any]]],
        *,
        ago: timedelta = HOUR,
        key: str | None = None,
        version: str = "1",
        role: Role = Role.CHAMPION,
        columns: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        """Logged rows of one segment: their ids and values."""
        header = SegmentHeader(
            model=self.model,
            version=version,
            role=role,
            columns=[LoggedColumn(name=name, type=kind) for name, kind in columns or self.columns],
            classes=[],
            rate=1.0,
            started=self.now - ago,
        )
        lines = [
            json.dumps(logged(name, self.now - ago, values=list(values), key=key, probabilities=None))
            for name, values in rows
        ]
        segments = self.folder / SEGMENTS_FOLDER
        segments.mkdir(parents=True, exist_ok=True)
        file = segments / f"{uuid_utils.uuid7()}{SEGMENT_SUFFIX}"
        file.write_text("".join(f"{line}\n" for line in [header.model_dump_json(), *lines]), encoding="utf-8")
        store = log_store(self.folder, self.model, self.bucket)
        with store.locked():
            ingest_segments(store, segments, self.model)

    def label(self, label: str, *, ago: timedelta = timedelta(), **given: Any) -> None:
        """A label by ``request_id`` or ``key``, received some time ago."""
        self.add_labels([Label(label=label, received=self.now - ago, **given)])

    def add_labels(self, labels: Sequence[Label]) -> None:
        """Labels as ``POST /feedback`` accepts them."""
        inbox = self.folder / FEEDBACK_FOLDER
        inbox.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{label.model_dump_json()}\n" for label in labels)
        (inbox / f"{uuid_utils.uuid7()}.ndjson").write_text(lines, encoding="utf-8")
        store = label_store(self.folder, self.model, self.bucket)
        with store.locked():
            ingest_feedback(store, inbox, LabelRules())
