"""What one batch may take in memory, whatever the length of its body."""

from typing import NamedTuple

from src.core.settings import InferenceSettings
from src.serving.tables.parts import TooManyRowsError, TooMuchTextError


class BatchLimits(NamedTuple):
    """The limits of a batch.

    Attributes:
        values: most values, rows times columns.
        text: most bytes of strings and kept columns, as ``Rows.text_bytes`` counts them.
    """

    values: int
    text: int

    @classmethod
    def of(cls, settings: InferenceSettings) -> "BatchLimits":
        """The limits of the settings: all large batches together have half as much text as a body may be long."""
        text = settings.max_batch_bytes // 2 // settings.max_large_batches
        return cls(settings.max_batch_values, max(1, text))

    def require(self, rows: int, columns: int, text: int) -> None:
        """Check a batch of so many rows, columns and bytes of text.

        Raises:
            TooManyRowsError: there are too many values.
            TooMuchTextError: there is too much text.
        """
        max_rows = max(1, self.values // columns)
        if rows > max_rows:
            raise TooManyRowsError(max_rows)
        if text > self.text:
            raise TooMuchTextError(self.text)
