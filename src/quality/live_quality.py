"""Joins the prediction log with labels, and computes the live quality of each served version.

DuckDB reads the Parquet files, and spills what does not fit into its memory.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import duckdb
import numpy as np

from src.core.prediction_log import Role, Sampling
from src.core.quality_report import NEWEST, ClassCoverage, LabelCounts, VersionQuality, Window
from src.core.rollout_record import Rollout
from src.core.version_comparison import VersionComparison
from src.quality import join_queries as queries
from src.quality.compare_answers import AnswersQuery, roles_of
from src.quality.labelled import Columns, Labelled, Pairs, Scored, Scorer, Shares

# Labels in the window ``newest``.
NEWEST_LABELS = 1000
PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
WINDOWS = (NEWEST, *PERIODS)
# Labels received in this period are counted by what became of them.
FATES = PERIODS["month"]
# Scores are computed over at most so many rows of a period, drawn at random: more change them little, and take long.
MAX_SCORED = 5000
# Rows on which two versions are compared, those labelled first: they fit into memory, and later ones rarely matter.
MAX_PAIRS = 200_000
# Pairs have probabilities of so many classes at most, of all versions: 64 MB for the most pairs.
MAX_PAIRED_SHARES = 20
# Versions in the report, those with the newest predictions.
MAX_VERSIONS = 6
# Late labels that are examined one by one; counts of more are extrapolated from them.
MAX_EXAMINED = 20_000
# The most classes with a coverage of their own.
MAX_CLASSES = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Resources:
    """What a join may use: bytes of memory, a folder for what does not fit, and threads."""

    memory_bytes: int
    folder: Path
    threads: int

    def connect(self) -> duckdb.DuckDBPyConnection:
        """An empty database with these limits."""
        return duckdb.connect(
            config={
                "memory_limit": f"{self.memory_bytes}B",
                "temp_directory": str(self.folder),
                "threads": self.threads,
                "preserve_insertion_order": False,
            }
        )


class Served(NamedTuple):
    """A model version in a role."""

    version: str
    role: str


@dataclass
class _Counts:
    """Rows of a version in one window, by predicted class, and their median delay in microseconds."""

    predicted: dict[str, int] = field(default_factory=dict)
    labelled: dict[str, int] = field(default_factory=dict)
    delay: float | None = None


class LiveQuality:
    """Answers questions about one log and its labels. Use it as a context, which joins them.

    Args:
        log: Parquet files of the log.
        labels: Parquet files of the labels.
        now: the end of all windows.
        scorer: computes the scores.
        resources: for the join.

    Raises:
        duckdb.Error, OSError, pyarrow.ArrowInvalid: a file cannot be read, or the resources do not suffice.
    """

    def __init__(
        self, log: Sequence[str], labels: Sequence[str], now: datetime, scorer: Scorer, resources: Resources
    ) -> None:
        rows, self._shares = queries.log_query(log)
        self._views = f"CREATE VIEW log AS {rows}; CREATE VIEW labels AS {queries.labels_query(labels)};"
        self._now = now
        self._scorer = scorer
        self._problems: dict[str, None] = {}
        self._interrupted = False
        self._connection = resources.connect()

    def __enter__(self) -> Self:
        """Join log and labels."""
        try:
            self._execute(self._views + queries.JOIN)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Release the memory."""
        self._connection.close()

    def interrupt(self) -> None:
        """Stop the work of another thread: its query, or else its next one, raises duckdb.InterruptException."""
        self._interrupted = True
        with contextlib.suppress(duckdb.ConnectionException):  # closed in between
            self._connection.interrupt()

    @property
    def problems(self) -> list[str]:
        """Sentences about labels and metrics that ``versions`` could not use."""
        return list(self._problems)

    def versions(self) -> list[VersionQuality]:
        """The quality of the versions with the newest predictions, newest first."""
        found = self._rows(queries.VERSIONS, limit=MAX_VERSIONS)
        served = [Served(version, role) for version, role, *_ in found]
        newest = {one: self._labelled(queries.NEWEST_ROWS, one, limit=NEWEST_LABELS) for one in served}
        starts = {one: self._starts(columns) for one, columns in newest.items()}
        counts = self._counts(starts)
        return [
            VersionQuality(
                version=one.version,
                role=one.role,
                first=EPOCH + first * MICROSECOND,
                last=EPOCH + last * MICROSECOND,
                windows=self._windows(one, starts[one], counts[one], newest[one]),
            )
            for one, (*_, first, last) in zip(served, found, strict=True)
        ]

    def label_counts(self, patience: timedelta, sampling: Sampling, lowest_rate: float) -> LabelCounts:
        """What became of the labels received in the last month.

        Args:
            patience: how long after its receipt a label's row may still be on its way to the log.
            sampling: tells which ids are sampled.
            lowest_rate: the lowest sampling rate of the log.
        """
        limits = {"late": self._ago(patience), "since": self._ago(FATES)}
        ((matched, waiting, late_keys, late_ids),) = self._rows(queries.FATE_COUNTS, **limits)
        not_sampled = 0
        if lowest_rate < 1:
            some = self._rows(queries.LATE_IDS, **limits, limit=MAX_EXAMINED)
            left_out = sum(not sampling.would_sample(given, lowest_rate) for (given,) in some)
            # Whether a key's row was sampled depends on its request's id, which is unknown.
            not_sampled = late_keys + round(late_ids * left_out / max(1, len(some)))
        unmatched = late_keys + late_ids - not_sampled
        return LabelCounts(matched=matched, waiting=waiting, not_sampled=not_sampled, unmatched=unmatched)

    def pairs(self, rollout: Rollout) -> Pairs:
        """The labelled rows that both versions of a record have answered while it is judged, once a key."""
        role, previous_role = roles_of(rollout)
        of = {"version": rollout.version, "previous": rollout.previous, "role": role, "previous_role": previous_role}
        parameters = {**of, "start": _microseconds(rollout.judged_since), "limit": MAX_PAIRS}
        shares = self._shares if len(self._shares) <= MAX_PAIRED_SHARES else {}
        columns = cast("Columns", self._execute(queries.paired_rows(shares.values()), parameters).fetchnumpy())
        truth, new, previous = (np.ma.getdata(columns[name]).astype(object) for name in ("truth", "new", "previous"))
        both = [{name: f"{side}_{column}" for name, column in shares.items()} for side in ("new", "previous")]
        return Pairs(truth, new, previous, Shares.of(columns, both[0]), Shares.of(columns, both[1]))

    def logged(self, version: str, window: str, limit: int) -> Labelled:
        """Rows that a version answered as champion, in a window; instead of labels, they have the predictions.

        Args:
            version: the version.
            window: ``newest`` or a period.
            limit: the most rows: the newest ones, or of a period a random sample.
        """
        parameters: dict[str, Any] = {"version": version, "limit": limit}
        query = queries.NEWEST_LOGGED
        if window != NEWEST:
            query, parameters = queries.SAMPLED_LOGGED, parameters | {"start": self._ago(PERIODS[window])}
        columns = cast("Columns", self._execute(query, parameters).fetchnumpy())
        return Labelled.of(version, columns, self._shares)

    def answered(self, rollout: Rollout) -> int:
        """How many rows the version of a record has answered in its role since the record's start."""
        start, (role, _) = _microseconds(rollout.started), roles_of(rollout)
        ((rows,),) = self._rows(queries.ANSWERED, version=rollout.version, role=role, start=start)
        return int(rows)

    def compared(self, rollout: Rollout, scored: Sequence[VersionQuality]) -> VersionComparison:
        """How both versions of a record have answered the same rows since its start, with their scores."""
        query = AnswersQuery(self._shares, by_class=self._scorer.by_class)
        role, previous_role = roles_of(rollout)
        of = {role: rollout.version, previous_role: rollout.previous}
        start = _microseconds(rollout.judged_since)
        (found,) = self._rows(
            query.text(), shadow=of[Role.SHADOW], served=of[Role.CHAMPION], start=start, limit=MAX_PAIRS
        )
        return query.comparison(found, rollout, scored)

    def _starts(self, newest: Columns) -> dict[str, int]:
        """The starts of a version's windows; without labels, the newest ones start now."""
        oldest = int(newest["time"].min()) if len(newest["time"]) else self._ago(timedelta())
        return {NEWEST: oldest, **{name: self._ago(period) for name, period in PERIODS.items()}}

    def _counts(self, starts: Mapping[Served, Mapping[str, int]]) -> dict[Served, dict[str, _Counts]]:
        """Rows by version and window."""
        found = {one: {name: _Counts() for name in WINDOWS} for one in starts}
        self._execute(queries.starts_table(WINDOWS))
        for one, of in starts.items():
            self._execute(queries.insertion(WINDOWS), [*one, *(of[name] for name in WINDOWS)])
        for table in ("log", "labelled"):
            query = queries.counts_query(table, WINDOWS, by_class=self._scorer.by_class)
            for version, role, prediction, *numbers in self._rows(query):
                for name, number in zip(WINDOWS, numbers, strict=True):
                    counts = found[Served(version, role)][name]
                    if number:
                        (counts.predicted if table == "log" else counts.labelled)[prediction] = number
        for version, role, *delays in self._rows(queries.delays_query(WINDOWS)):
            for name, delay in zip(WINDOWS, delays, strict=True):
                found[Served(version, role)][name].delay = delay
        return found

    def _windows(
        self, one: Served, starts: Mapping[str, int], counts: Mapping[str, _Counts], newest: Columns
    ) -> list[Window]:
        """The windows of a version. Periods with equally many labels have the same ones, and are scored once."""
        windows = [self._window(NEWEST, counts[NEWEST], self._scored(one, newest))]
        scored: dict[int, Scored] = {}
        for name in PERIODS:
            labelled = sum(counts[name].labelled.values())
            if labelled not in scored:
                columns = self._labelled(queries.SAMPLED_ROWS, one, start=starts[name], limit=MAX_SCORED)
                scored[labelled] = self._scored(one, columns)
            windows.append(self._window(name, counts[name], scored[labelled]))
        return windows

    def _window(self, name: str, counts: _Counts, scored: Scored) -> Window:
        coverage = {}
        if self._scorer.by_class and len(counts.predicted) <= MAX_CLASSES:
            coverage = {
                label: ClassCoverage(predicted=number, labelled=counts.labelled.get(label, 0))
                for label, number in sorted(counts.predicted.items())
            }
        return Window(
            name=name,
            predicted=sum(counts.predicted.values()),
            labelled=sum(counts.labelled.values()),
            scored=scored.rows,
            delay_seconds=None if counts.delay is None else counts.delay / 1e6,
            scores=scored.scores,
            coverage=coverage,
            unlabelled=list(scored.unlabelled),
        )

    def _scored(self, one: Served, columns: Columns) -> Scored:
        """The scores of some rows; what the metrics could not use becomes a problem."""
        rows = Labelled.of(one.version, columns, self._shares)
        if not len(rows):
            return Scored()
        scored = self._scorer(rows)
        if scored.unknown:
            kind = "no class of config/pipeline.yaml" if self._scorer.by_class else "no number"
            self._problems[f"version {one.version}: labels that are {kind} are left out"] = None
        for name, message in scored.failures.items():
            self._problems[f"version {one.version}: the metric {name} cannot be computed: {message}"] = None
        return scored

    def _labelled(self, query: str, one: Served, **given: int) -> Columns:
        """Columns of labelled rows of a version, masked where null."""
        parameters = {"version": one.version, "role": one.role, **given}
        return cast("Columns", self._execute(query, parameters).fetchnumpy())

    def _rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._execute(query, parameters or None).fetchall()

    def _execute(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> duckdb.DuckDBPyConnection:
        if self._interrupted:
            raise duckdb.InterruptException("interrupted")
        return self._connection.execute(query, parameters)

    def _ago(self, period: timedelta) -> int:
        """The microseconds since the epoch, a period ago."""
        return _microseconds(self._now - period)


def _microseconds(at: datetime) -> int:
    """The microseconds since the epoch."""
    return (at - EPOCH) // MICROSECOND
