"""The prediction log of a served application, as its readers find it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from src.core.prediction_log import SegmentHeader


class Segment(NamedTuple):
    """A closed segment."""

    header: SegmentHeader
    rows: list[dict[str, Any]]


def segments_in(folder: Path) -> list[Segment]:
    """The closed segments, oldest first."""
    found = []
    for path in sorted(folder.glob("*.ndjson")):
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        found.append(Segment(SegmentHeader.model_validate_json(head), [json.loads(line) for line in lines]))
    return found


def logged(served: Any) -> list[Segment]:
    """All segments, after everything that waits is written."""
    served.service.metrics.traffic.work_off()
    served.service.log.close()
    return segments_in(served.service.settings.quality_dir / "segments")


def logged_rows(served: Any) -> list[dict[str, Any]]:
    """The rows of all segments, after everything that waits is written."""
    return [row for segment in logged(served) for row in segment.rows]
