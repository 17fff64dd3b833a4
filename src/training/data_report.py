"""The report on a data set's rows: where they came from, and which of them are not used."""

from pydantic import BaseModel, ConfigDict

from src.core.counting import counted
from src.training.sources import DataFile


class DataReport(BaseModel):
    """Where a data set's rows came from and which of them were not used.

    Attributes:
        source: as configured, without an address's query.
        files: what was read.
        skipped_files: files that had just changed; the next run reads them.
        rows: rows of the validated data set.
        invalid_rows: rows of the source with an invalid cell.
        dropped_rows: invalid rows that were left out.
        duplicate_rows: rows that were left out because they repeat another row.
        problems: one description for each kind of invalid cell, with counts.
        live_rows: those of ``rows`` that are labelled rows of the prediction log, not of the source; None
            where they were not asked for.
        live_left_out: how many labelled rows are not used, by reason.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    files: list[DataFile]
    skipped_files: list[str] = []
    rows: int
    invalid_rows: int = 0
    dropped_rows: int = 0
    duplicate_rows: int = 0
    problems: list[str] = []
    live_rows: int | None = None
    live_left_out: dict[str, int] = {}

    @property
    def live_share(self) -> float:
        """The share of labelled rows of the prediction log, in [0, 1)."""
        return (self.live_rows or 0) / max(1, self.rows)

    def summary(self) -> str:
        """The report in one line, for the log."""
        several = f"{len(self.files)} files" if len(self.files) > 1 else self.source
        text = f"{counted(self.rows - (self.live_rows or 0), 'row')} from {several}"
        if self.invalid_rows:
            kept = self.invalid_rows - self.dropped_rows
            text += f"; {counted(self.dropped_rows, 'invalid row')} left out, {kept} kept with missing values"
            text += f" ({'; '.join(self.problems)})"
        text += f"; {counted(self.duplicate_rows, 'repeated row')} left out" if self.duplicate_rows else ""
        text += f"; files left for the next run: {len(self.skipped_files)}" if self.skipped_files else ""
        if self.live_rows is not None:
            text += f"; {counted(self.live_rows, 'labelled live row')} ({self.live_share:.1%} of all)"
        if self.live_left_out:
            reasons = ", ".join(f"{rows} {reason}" for reason, rows in self.live_left_out.items())
            text += f"; live rows left out: {reasons}"
        return text
