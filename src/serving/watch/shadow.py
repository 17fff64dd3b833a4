"""The shadow: a second version that answers the logged rows too, for the log alone.

While a promotion is watched, it is the previous champion; before a promotion, it is the version that may follow. A
canary answers the champion's rows so, and the champion the canary's.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.prediction_log import Role
from src.core.prediction_log_settings import PredictionLogSettings
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.paired_checks import LATENCY_SECONDS, PairedChecks, PairMetrics
from src.serving.watch.segment_writer import SegmentWriter, SegmentWriters

# The shadow's share of a second: rows beyond it are skipped, so that a slow model does not slow down the served one.
MAX_SECONDS = 0.05
PREDICTED, SKIPPED, FAILED = "predicted", "skipped", "failed"

logger = logging.getLogger(__name__)


class _Used(NamedTuple):
    """The shadow, and the version beside which it answers."""

    predictor: Predictor
    layout: RowLayout
    served: Predictor
    checks: PairedChecks | None

    def takes(self, schema: FeatureSchema, version: str) -> bool:
        """Whether rows of this version and schema are its own."""
        return version == self.served.version.version and takes_rows(self.predictor.schema, schema)

    def check(self, blocks: Sequence[LoggedRows]) -> float:
        """Check errors and latency for a second, and return the seconds that are left for the shadow's answers."""
        if self.checks is None:
            return MAX_SECONDS
        tables = [block.table for block in blocks if self.takes(block.layout.schema, block.source.version)]
        return MAX_SECONDS - min(self.checks.run(tables), LATENCY_SECONDS)


class ShadowMetrics:
    """Counts what the shadows of one process do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pairs = PairMetrics(registry)
        name, documentation = "inference_shadow_rows", "Logged rows by what the shadow did with them"
        rows = Counter(name, documentation, ["result"], registry=registry)
        self.count = {result: rows.labels(result).inc for result in (PREDICTED, SKIPPED, FAILED)}
        self.shadows: list[Shadow] = []
        active = Gauge("inference_shadow_active", "1 while a second version answers as a shadow", registry=registry)
        active.set_function(lambda: float(any(shadow.version is not None for shadow in self.shadows)))


class Shadow:
    """Answers logged rows with a second version. Its methods may be called from different threads.

    Args:
        settings: of the prediction log.
        metrics: of all shadows.
    """

    def __init__(self, settings: PredictionLogSettings, metrics: ShadowMetrics) -> None:
        self._settings = settings
        self._used: _Used | None = None
        self._metrics = metrics.pairs
        self._count = metrics.count
        self._is_failing = False
        self._failure: str | None = None
        metrics.shadows.append(self)

    @property
    def version(self) -> str | None:
        """The shadow's version, while there is one."""
        used = self._used
        return used.predictor.version.version if used else None

    @property
    def checks(self) -> PairedChecks | None:
        """The comparison of errors and latency, while the previous champion is the shadow."""
        used = self._used
        return used.checks if used else None

    @property
    def failure(self) -> str | None:
        """The type of the error that the shadow has raised on a single row which the served version has answered."""
        return self._failure

    def use(self, predictor: Predictor, served: Predictor, max_slowdown: float | None) -> None:
        """Answer the served version's rows with the previous champion; compare errors and, if given, latency."""
        self._use(predictor, served, PairedChecks(served, predictor, max_slowdown, self._metrics))

    def use_challenger(self, predictor: Predictor, served: Predictor) -> None:
        """Answer the served version's rows with one that may follow it, without these comparisons."""
        self._use(predictor, served, None)

    def _use(self, predictor: Predictor, served: Predictor, checks: PairedChecks | None) -> None:
        layout = RowLayout(predictor, self._settings, Role.SHADOW)
        self._failure = None
        self._used = _Used(predictor, layout, served, checks)

    def release(self) -> None:
        """Answer no more rows."""
        self._used = None

    def add_failed(self, predictor: Predictor, table: FeatureTable, rate: float) -> None:
        """Keep rows on which a model has failed, at the log's sampling rate, if it is compared with the shadow."""
        used = self._used
        checks = used.checks if used is not None else None
        if used is not None and checks is not None and used.takes(table.schema, predictor.version.version):
            checks.add_failed(table, rate)

    def write(self, blocks: Sequence[LoggedRows], writer: SegmentWriter | SegmentWriters) -> list[OSError]:
        """Check a second's rows, and write the answers to them as far as there is time; return the errors."""
        errors: list[OSError] = []
        used = self._used
        seconds = used.check(blocks) if used is not None else 0.0
        for block in blocks if used is not None else ():
            answered, seconds = self.answers(block, seconds)
            if answered is not None:
                try:
                    writer.write(answered.source, answered.lines())
                except OSError as error:
                    errors.append(error)
        return errors

    def answers(self, block: LoggedRows, seconds: float) -> tuple[LoggedRows | None, float]:
        """The shadow's answers to as many of the rows as it has time for, and the seconds that are left."""
        used = self._used
        if used is None or not used.takes(block.layout.schema, block.source.version):
            return None, seconds
        predictor = used.predictor
        rows = min(len(block.ids), int(seconds / predictor.cost.of(1)))
        self._count[SKIPPED](len(block.ids) - rows)
        if not rows:
            return None, seconds
        seconds -= predictor.cost.of(rows)
        source, table = used.layout.source(block.source.rate), block.table.part(0, rows)
        try:
            found = predictor.engine.predict(table)
        except Exception as error:  # noqa: BLE001 - a model may raise errors of any type, and the served one must not mind
            if not self._is_failing:
                logger.warning("the shadow, version %s, fails: %s", predictor.version.version, type(error).__name__)
            self._is_failing = True
            return self._one_by_one(used, block, rows, seconds)
        self._is_failing = False
        self._count[PREDICTED](rows)
        ids, times, keys = block.ids[:rows], block.times[:rows], block.keys[:rows]
        return LoggedRows(used.layout, source, ids, times, table, found, keys), seconds

    def _one_by_one(self, used: _Used, block: LoggedRows, rows: int, seconds: float) -> tuple[LoggedRows | None, float]:
        """The answers to the rows of a block on which the shadow fails, without those on which it fails alone."""
        cost = used.predictor.cost.of(1)
        # A single row has failed alone already.
        tried = min(rows, int(max(0.0, seconds) / cost)) if rows > 1 else 1
        self._count[SKIPPED](rows - tried)
        answers: dict[int, Answer] = {}
        for place in range(tried):
            try:
                (answers[place],) = used.predictor.answer([block.table.row(place)])
            except Exception as error:  # noqa: BLE001 - as above
                self._count[FAILED](1)
                self._failure = type(error).__name__
        self._count[PREDICTED](len(answers))
        seconds -= tried * cost
        if not answers:
            return None, seconds
        table = FeatureTable.from_rows(block.layout.schema, [block.table.row(place) for place in answers])
        ids, times = [block.ids[place] for place in answers], [block.times[place] for place in answers]
        keys = [block.keys[place] for place in answers]
        source = used.layout.source(block.source.rate)
        return LoggedRows(used.layout, source, ids, times, table, list(answers.values()), keys), seconds


def takes_rows(schema: FeatureSchema, rows: FeatureSchema) -> bool:
    """Whether a model with this schema takes the rows of another one."""
    return [(column.name, column.type) for column in schema.columns] == [
        (column.name, column.type) for column in rows.columns
    ]
