"""The retrain requests that a training serves, as passed to its steps: their ids, and where to report progress."""

import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from src.core.errors import LoopError
from src.core.retrain_queue import open_queue
from src.core.retrain_record import RetrainRecord, State, Step
from src.core.retrain_signal import RetrainSpool
from src.core.settings import CommonSettings, load_settings

# Each report writes one file per request; beyond this number, only the oldest requests show progress.
MAX_REPORTED = 50

logger = logging.getLogger(__name__)


class ServedRequests(BaseModel):
    """A parameter of ZenML's steps; ``ids`` is empty for a training without requests.

    The process that runs the steps holds the trainer lock. ``retrain_dir`` is the retrain spool's folder. A database
    that carries the requests is that of the environment: its URL is a secret, and ZenML stores parameters.
    """

    model_config = ConfigDict(frozen=True)

    ids: list[str] = []
    retrain_dir: str

    def report_step(self, step: Step) -> None:
        """Report the start of a step to ``GET /retrain/{id}``. Failures are only logged."""
        self._update(lambda record: record.at_step(step), step)

    def report(self, progress: str) -> None:
        """Report the progress of a step to ``GET /retrain/{id}``, such as ``search: 12 candidates scored``.

        Failures are only logged.
        """
        self._update(lambda record: record.with_progress(progress), progress)

    def _update(self, change: Callable[[RetrainRecord], RetrainRecord], progress: str) -> None:
        try:
            settings = load_settings(CommonSettings)
            in_files = settings.retrain_queue == "file"
            spool = RetrainSpool(Path(self.retrain_dir)) if in_files else open_queue(settings)
            for request_id in self.ids[:MAX_REPORTED]:
                record = spool.get(request_id)
                if record is not None and record.state is State.RUNNING:
                    spool.update(change(record))
        except (LoopError, OSError) as error:
            logger.warning("could not report the progress %r: %s", progress, error)
