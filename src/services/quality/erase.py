"""Entry point of ``make erase``: deletes all that the logs and the labels of all models have about an id.

``python -m src.services.quality.erase ID``; the id of a request stands for all its rows.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from src.core.counting import counted
from src.core.errors import LoopError
from src.core.prediction_log import keyed_hash
from src.core.quality_settings import QualitySettings
from src.core.settings import load_settings
from src.quality.bucket import open_bucket
from src.quality.erase import erase
from src.quality.stores import all_stores
from src.services.quality.tasks import StoreTasks

USAGE = "error: give one id: of a request, of a row (<request id>/3), or your own (dataset.id)"
NOTHING = (
    "nothing is stored about this id; check the id, and that DATA_DIR and PREDICTION_LOG_KEY have the values that the "
    "services have"
)


def main(arguments: Sequence[str]) -> int:
    """Erase and print how much; return 0, 1 after an error, or 2 without an id."""
    if len(arguments) != 1 or not arguments[0].strip():
        print(USAGE, file=sys.stderr)  # noqa: T201 - the command's own output
        return 2
    try:
        settings = load_settings(QualitySettings)
        now, given = datetime.now(UTC), arguments[0].strip()
        StoreTasks(settings).take_in_rows(now)
        stores = all_stores(settings.quality_dir, open_bucket(settings.prediction_log_store))
        # Rows that were logged under an earlier PREDICTION_LOG_HASH may have hashed keys, too.
        hashed = keyed_hash(settings.log_key, given) if settings.log_key else None
        done = erase(stores.values(), given, now, hashed)
    except (LoopError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    models = ", ".join(stores)
    print(f"erased {counted(done.rows, 'row')} and {counted(done.labels, 'label')}; models: {models}")  # noqa: T201 - as above
    if not done.rows and not done.labels:
        print(NOTHING)  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
