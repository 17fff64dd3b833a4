"""Files of the quality service as inference and people write them: segments of predictions, and labels."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uuid_utils

from src.core.feedback import Label
from src.core.prediction_log import Role, SegmentHeader

CLASSES = ["setosa", "versicolor", "virginica"]


def write_segment(
    quality_dir: Path, rows: Iterable[tuple[str, str]], at: datetime, *, key: str | None = None, **changes: str
) -> Path:
    """A closed segment of the model iris, version 1, without columns; each row is an id and a predicted class."""
    given = {"model": "iris", "version": "1", **changes}
    header = SegmentHeader(role=Role.CHAMPION, columns=[], classes=CLASSES, rate=1.0, started=at, **given)
    lines: list[Any] = [header.model_dump(mode="json")]
    for row_id, prediction in rows:
        shares = [0.8 if name == prediction else 0.1 for name in CLASSES]
        line = {"id": row_id, "key": key, "time": int(at.timestamp() * 1e6), "values": [], "prediction": prediction}
        lines.append({**line, "probabilities": shares})
    return _write(quality_dir / "segments" / f"{uuid_utils.uuid7()}.ndjson", lines)


def write_feedback(quality_dir: Path, labels: dict[str, str], received: datetime | None = None) -> Path:
    """What ``POST /feedback`` writes for labels by id."""
    at = received or datetime.now(UTC)
    lines = [Label(request_id=row_id, label=label, received=at) for row_id, label in labels.items()]
    file = quality_dir / "feedback" / f"{uuid_utils.uuid7()}.ndjson"
    return _write(file, [line.model_dump(mode="json") for line in lines])


def _write(file: Path, lines: list[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file
