"""What both carriers of the retrain queue, files and a database, do alike."""

import threading
import time
from collections.abc import Callable

from pydantic import ValidationError

from src.core.errors import SpoolBusyError, TrainerBusyError
from src.core.retrain_record import RetrainRecord


def require_room(pending: int, max_pending: int) -> None:
    """Raise SpoolBusyError if as many requests are pending as may be."""
    if pending >= max_pending:
        raise SpoolBusyError(f"{pending} retrain requests are pending; one training run will serve them all")


def take_trainer_lock(take: Callable[[], bool], patience: float, pause: float) -> None:
    """Call ``take`` until it returns true, every ``pause`` seconds.

    Raises:
        TrainerBusyError: it has not within ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    waiting = threading.Event()
    while not take():
        if time.monotonic() >= deadline:
            raise TrainerBusyError("a training or a backup is running; wait for it to end")
        waiting.wait(pause)


def parse_record(content: str | bytes) -> RetrainRecord:
    """A record from its JSON. Raises ValueError, without the content, if it is not valid."""
    try:
        return RetrainRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not a retrain record: {where} {first['msg']}".replace("  ", " ")) from None
