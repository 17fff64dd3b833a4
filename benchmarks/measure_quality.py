"""Measures one report of live quality over a large log: its time, and the memory of the process that computes it.

The rows are Iris-like, with four numbers, three classes and a key, from three versions one after the other, over 30
days in one file a day, as they are once days are compacted. Each label belongs to a row of its own; nine of ten name
its id, the others its key. Every report is computed by a process of its own, with the scores and intervals of
``config/pipeline.yaml``; nothing else is cached but what the operating system keeps of the files.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.conditions import heading, make_command, tell
from src.core.pipeline_config import load_pipeline_config
from src.core.prediction_log import Sampling
from src.pipeline.metrics import METRICS
from src.quality.label_staging import LABEL_SCHEMA
from src.quality.live_quality import Resources
from src.quality.manifest import Manifest, StoredFile, write_manifest
from src.quality.parquet_files import TIME, write_rows
from src.quality.parquet_store import ParquetStore
from src.quality.report import ReportBuilder
from src.quality.stores import Stores, label_store, log_store
from src.services.local.processes import REPOSITORY
from src.services.quality.scorer import LiveScorer

PUBLISHED = REPOSITORY / "benchmarks/results/quality.md"
ROWS, LABELS, RUNS = 10_000_000, 1_000_000, 3
DAYS, VERSIONS = 30, 3
MEMORY_MB = 500
MODEL = "measured"
END = datetime(2026, 3, 31, tzinfo=UTC)
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CLASSES = ("setosa", "versicolor", "virginica")
SHARE_BY_KEY = 0.1
MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        seconds: from the start to the end of its computation.
        cpu_seconds: of all cores, so that other load on the machine does not count.
        memory_bytes: the most that its process held at once.
        matched: the labels that belong to rows.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    matched: int


@dataclass(frozen=True)
class Size:
    """What is stored: rows and labels, and their bytes."""

    rows: int
    labels: int
    log_bytes: int
    label_bytes: int


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-quality QUALITY_ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the log (%(default)s)")
    parser.add_argument("--labels", type=int, default=LABELS, help="labels (%(default)s)")
    parser.add_argument("--runs", type=int, default=RUNS, help="reports, one after the other (%(default)s)")
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help="MB for DuckDB's join (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    parser.add_argument("--compute", type=Path, help="compute one report over these stores, and print its figures")
    options = parser.parse_args(arguments)
    if options.compute is not None:
        print(json.dumps(asdict(compute(options.compute, options.memory))))  # noqa: T201 - the command's answer
        return 0
    how = heading(make_command("measure-quality", arguments))
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        size = write_stores(Path(folder), options.rows, options.labels)
        tell(f"{size.rows} rows and {size.labels} labels are written")
        found = [measure(Path(folder), options.memory) for _ in range(options.runs)]
    options.report.write_text(report(how, size, found, options.memory), encoding="utf-8")
    return 0


def measure(folder: Path, memory: int) -> Report:
    """Compute one report in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.measure_quality", "--compute", str(folder), "--memory", str(memory)]
    answer = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    found = Report(**json.loads(answer.stdout))
    used = f"{found.seconds:.1f} s, {found.cpu_seconds:.1f} s of processor time"
    tell(f"{used}, {found.memory_bytes / 1e6:.0f} MB, {found.matched} labels matched")
    return found


def compute(folder: Path, memory: int) -> Report:
    """Compute one report in this process."""
    builder = ReportBuilder(
        model=MODEL,
        stores=Stores(log_store(folder, MODEL), label_store(folder, MODEL)),
        scorer=LiveScorer(load_pipeline_config(REPOSITORY / "config/pipeline.yaml"), METRICS),
        sampling=Sampling(),
        patience=timedelta(hours=1),
        resources=Resources(memory * 1_000_000, folder / "spill", threads=2),
    )
    started, used = time.monotonic(), time.process_time()
    found = builder.build(END)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - used
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Report(seconds, cpu_seconds, memory_bytes, found.labels.matched)


def write_stores(folder: Path, rows: int, labels: int) -> Size:
    """Write a log and its labels; rows are spread evenly over the days, and labels over the rows."""
    random = np.random.default_rng(0)
    log, truth = log_store(folder, MODEL), label_store(folder, MODEL)
    for store in (log, truth):
        store.folder.mkdir(parents=True)
    log_files, label_files = list[StoredFile](), list[StoredFile]()
    for number, (day_rows, day_labels) in enumerate(zip(_shared(rows), _shared(labels), strict=True)):
        start = END - timedelta(days=DAYS - number)
        day = start.date().isoformat()
        table = _logged(random, start, day_rows, str(1 + number * VERSIONS // DAYS))
        log_files.append(write_rows(log.folder, day, [table], "time"))
        label_files.append(write_rows(truth.folder, day, [_labels(random, table, day_labels)], "received"))
    return Size(rows, labels, _committed(log, log_files), _committed(truth, label_files))


def _shared(count: int) -> Iterator[int]:
    """A count in nearly equal parts, one for each day."""
    return (count * (day + 1) // DAYS - count * day // DAYS for day in range(DAYS))


def _logged(random: np.random.Generator, start: datetime, rows: int, version: str) -> pa.Table:
    """Rows of one day, in the order of their times, with ids like those of the service."""
    times = np.sort(random.integers(0, MICROSECONDS_PER_DAY, rows)) + int(start.timestamp()) * 1_000_000
    rest = random.integers(0, 2**63, rows)
    ids = [
        str(UUID(int=(moment // 1000 << 80) | (0x7000 << 64) | (0b10 << 62) | (bits >> 1)))
        for moment, bits in zip(times.tolist(), rest.tolist(), strict=True)
    ]
    shares = random.dirichlet(np.ones(len(CLASSES)), rows).round(5)
    columns = {
        "request_id": pa.array(ids),
        "key": _numbered("customer-", np.arange(rows) + int(start.timestamp())),
        "time": pa.array(times).cast(TIME),
        "model_version": pa.array([version] * rows, pa.string()),
        "role": pa.array(["champion"] * rows, pa.string()),
        "rate": pa.array(np.ones(rows)),
        "prediction": pa.array(np.array(CLASSES)[shares.argmax(axis=1)]),
        **{f"probability_{name}": pa.array(shares[:, place]) for place, name in enumerate(CLASSES)},
        **{f"feature_{name}": pa.array(random.normal(5, 1, rows).round(1)) for name in FEATURES},
    }
    return pa.table(columns)


def _labels(random: np.random.Generator, table: pa.Table, labels: int) -> pa.Table:
    """Labels of some of the rows, received up to the end of their day; about one in ten differs from the prediction."""
    chosen = table.take(pa.array(np.sort(random.choice(len(table), labels, replace=False))))
    by_key = pa.array(random.random(labels) < SHARE_BY_KEY)
    by_id = pa.array(~np.asarray(by_key))
    wrong = random.random(labels) < 0.1  # noqa: PLR2004 - as the docstring says
    classes = np.where(wrong, random.choice(CLASSES, labels), chosen["prediction"].to_numpy())
    times = chosen["time"].cast(pa.int64()).to_numpy()
    left = MICROSECONDS_PER_DAY - times % MICROSECONDS_PER_DAY
    columns = [
        _where(by_id, chosen["request_id"]),
        _where(by_key, chosen["key"]),
        pa.array(classes, pa.string()),
        pa.nulls(labels, TIME),
        pa.array(times + (random.random(labels) * left).astype(np.int64)).cast(TIME),
        pa.nulls(labels, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=LABEL_SCHEMA)


def _where(mask: pa.Array, column: pa.ChunkedArray) -> pa.Array:
    """A column's values where the mask is set, null elsewhere."""
    values = zip(mask.to_pylist(), column.to_pylist(), strict=True)
    return pa.array([value if kept else None for kept, value in values], pa.string())


def _numbered(text: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array([f"{text}{number}" for number in numbers.tolist()])


def _committed(store: ParquetStore, files: list[StoredFile]) -> int:
    """Have some files count; return their bytes."""
    manifest = Manifest(files=files)
    write_manifest(store.folder, manifest)
    return manifest.bytes


def report(how: str, size: Size, found: Sequence[Report], memory: int) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    seconds = [one.seconds for one in found]
    median, least, most = statistics.median(seconds), min(seconds), max(seconds)
    cpu = statistics.median(one.cpu_seconds for one in found)
    megabytes = max(one.memory_bytes for one in found) / 1e6
    lines = [
        "# A report of live quality over a large log",
        "",
        how,
        "",
        f"{size.rows:,} rows ({size.log_bytes / 1e6:,.0f} MB in Parquet files) of {DAYS} days, with four numbers",
        f"and {len(CLASSES)} classes, from {VERSIONS} versions. {size.labels:,} labels, one in ten by key",
        f"({size.label_bytes / 1e6:,.0f} MB).",
        f"The join may take {memory} MB and spills the rest to disk.",
        "",
        f"Reports, each by a new process: {len(found)}; {median:.1f} s in the median ({least:.1f} to {most:.1f}),",
        f"with all scores and their intervals; {cpu:.1f} s of processor time, which other load does not change much.",
        f"The process held at most {megabytes:,.0f} MB.",
        f"{found[0].matched:,} labels belong to a row.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
