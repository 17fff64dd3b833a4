from pathlib import Path

import pytest

from src.core.settings import InferenceSettings
from src.serving.protocols.batch_limits import BatchLimits
from src.serving.tables.parts import TooManyRowsError, TooMuchTextError


def test_all_large_batches_share_half_a_body(tmp_path: Path) -> None:
    settings = InferenceSettings(data_dir=tmp_path, max_batch_bytes=64_000_000, max_large_batches=4)
    assert BatchLimits.of(settings).text == 8_000_000


def test_batch_of_more_is_refused_with_what_to_do() -> None:
    limits = BatchLimits(values=100, text=50)
    limits.require(rows=25, columns=4, text=50)
    with pytest.raises(TooManyRowsError, match="more than 25 rows; send several batches"):
        limits.require(rows=26, columns=4, text=0)
    with pytest.raises(TooMuchTextError, match="more than 50 bytes; send several batches, or drop other columns"):
        limits.require(rows=1, columns=4, text=51)
