"""Builds the report of live quality from the stores, and writes it to the file that inference reads."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from src.core.durable_file import replace_durably
from src.core.folders import make_folder
from src.core.prediction_log import Sampling
from src.core.quality_report import QualityReport, VersionQuality
from src.core.rollout_record import Rollout
from src.core.version_comparison import VersionComparison
from src.quality.challenger_watch import ChallengerWatch
from src.quality.estimate import Estimator
from src.quality.labelled import Pairs, Scorer
from src.quality.live_quality import FATES, LiveQuality, Resources
from src.quality.stores import Stores
from src.quality.watch import Watch


@dataclass
class ReportBuilder:
    """Computes reports.

    Attributes:
        model: the registered model's name.
        stores: its log and labels.
        scorer: computes the scores.
        sampling: tells which ids the log samples.
        patience: how long after its receipt a label's row may still be on its way to the log.
        resources: for the join; the folder is deleted.
        watch: decides about a promotion that is being watched.
        estimator: estimates what the labels will show.
        challengers: decides about a version that answers as a shadow before a promotion.
    """

    model: str
    stores: Stores
    scorer: Scorer
    sampling: Sampling
    patience: timedelta
    resources: Resources
    watch: Watch | None = None
    estimator: Estimator | None = None
    challengers: ChallengerWatch | None = None
    _running: LiveQuality | None = field(default=None, init=False)

    def build(self, now: datetime, problems: Sequence[str] = ()) -> QualityReport:
        """The report with these problems and its own. While rows are read, no other process changes the stores.

        Raises:
            duckdb.Error, OSError, pyarrow.ArrowException: a file cannot be read, or the resources do not suffice.
            ConfigError: a manifest is damaged.
        """
        with self.stores.log.locked(), self.stores.labels.locked():
            report, watched, waiting = self._build(now, problems)
        # Without the locks, as a rollback or an approval may take a minute.
        decided: list[str] = []
        if self.watch is not None and watched is not None:
            self.watch.rollouts.compare(watched.rollout, watched.comparison)
            decided += self.watch.step(watched.rollout, watched.pairs, now)
        if self.challengers is not None and waiting is not None:
            self.challengers.watch.rollouts.compare(waiting.rollout, waiting.comparison)
            decided += self.challengers.step(waiting.rollout, waiting.pairs, waiting.answered)
        return report.model_copy(update={"problems": [*report.problems, *decided]})

    def interrupt(self) -> None:
        """Stop a report that another thread builds; there it raises duckdb.InterruptException."""
        running = self._running
        if running is not None:
            running.interrupt()

    def _build(
        self, now: datetime, problems: Sequence[str]
    ) -> tuple[QualityReport, "_Shadowed | None", "_Shadowed | None"]:
        """The report without decisions, the watched promotion, and the version that answers before one."""
        manifest = self.stores.log.manifest
        shutil.rmtree(self.resources.folder, ignore_errors=True)  # what a killed process has left
        quality = LiveQuality(self.stores.log.paths(), self.stores.labels.paths(), now, self.scorer, self.resources)
        self._running = quality
        try:
            with quality:
                versions = quality.versions()
                if self.estimator is not None:
                    versions = self.estimator.added(versions, quality.logged)
                labels = quality.label_counts(self.patience, self.sampling, manifest.lowest_rate(now - FATES))
                watched = _shadowed(quality, self.watch.watched() if self.watch else None, versions)
                waiting = _shadowed(quality, self.challengers.waiting() if self.challengers else None, versions)
        finally:
            self._running = None
        report = QualityReport(
            model=self.model,
            at=now,
            lower_is_better=list(self.scorer.lower_is_better),
            versions=versions,
            labels=labels,
            rows=manifest.rows,
            log_bytes=manifest.bytes,
            problems=[*problems, *quality.problems],
        )
        return report, watched, waiting


@dataclass(frozen=True)
class _Shadowed:
    """A record, what its versions have answered since its start, and how many rows the version itself has."""

    rollout: Rollout
    pairs: Pairs
    comparison: VersionComparison
    answered: int


def _shadowed(quality: LiveQuality, rollout: Rollout | None, versions: Sequence[VersionQuality]) -> _Shadowed | None:
    if rollout is None:
        return None
    pairs, comparison = quality.pairs(rollout), quality.compared(rollout, versions)
    return _Shadowed(rollout, pairs, comparison, quality.answered(rollout))


def write_report(path: Path, report: QualityReport) -> None:
    """Replace the report atomically and durably; its folder is created.

    Raises:
        SpoolFullError: the volume is full; the report is unchanged.
        OSError: writing fails for another reason.
    """
    make_folder(path.parent)
    replace_durably(path, report.model_dump_json(indent=1).encode())
