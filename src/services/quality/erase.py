"""Entry point of ``make erase``: deletes all that the prediction log and the labels have about an id.

``python -m src.services.quality.erase ID``; the id of a request stands for all its rows.
"""

import functools
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from src.core.errors import LoopError
from src.core.quality_settings import QualitySettings
from src.core.settings import load_settings
from src.quality.erase import erase
from src.quality.stores import label_store, log_store
from src.services.quality.tasks import StoreTasks, logged_key_of

USAGE = "error: give one id: of a request, of a row (<request id>/3), or your own (dataset.id)"
NOTHING = (
    "nothing is stored about this id; check the id, and that MODEL_NAME, DATA_DIR, PREDICTION_LOG_HASH and "
    "PREDICTION_LOG_KEY have the values that the services have"
)


def main(arguments: Sequence[str]) -> int:
    """Erase and print how much; return 0, 1 after an error, or 2 without an id."""
    if len(arguments) != 1 or not arguments[0].strip():
        print(USAGE, file=sys.stderr)  # noqa: T201 - the command's own output
        return 2
    try:
        settings = load_settings(QualitySettings)
        folder, model = settings.quality_dir, settings.model_name
        now = datetime.now(UTC)
        StoreTasks(settings).take_in_rows(now)
        done = erase(
            log_store(folder, model),
            label_store(folder, model),
            arguments[0].strip(),
            now,
            functools.partial(logged_key_of, settings),
        )
    except (LoopError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    print(f"erased {done.rows} rows and {done.labels} labels of the model {model}")  # noqa: T201 - as above
    if not done.rows and not done.labels:
        print(NOTHING)  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
