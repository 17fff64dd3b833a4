"""The retrain requests that a training serves, as passed to its steps: their ids, and where to report progress."""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from src.core.errors import LoopError
from src.core.retrain_record import State
from src.core.retrain_signal import RetrainSpool

# Each report writes one file per request; beyond this number, only the oldest requests show progress.
MAX_REPORTED = 50

logger = logging.getLogger(__name__)


class ServedRequests(BaseModel):
    """A parameter of ZenML's steps; ``ids`` is empty for a training without requests.

    ``retrain_dir`` is the retrain spool's folder. The process that runs the steps holds the trainer lock.
    """

    model_config = ConfigDict(frozen=True)

    ids: list[str] = []
    retrain_dir: str

    def report(self, progress: str) -> None:
        """Report the progress of the training to ``GET /retrain/{id}``, such as ``search: 12 candidates scored``.

        Failures are only logged.
        """
        spool = RetrainSpool(Path(self.retrain_dir))
        try:
            for request_id in self.ids[:MAX_REPORTED]:
                record = spool.get(request_id)
                if record is not None and record.state is State.RUNNING:
                    spool.update(record.with_progress(progress))
        except (LoopError, OSError) as error:
            logger.warning("could not report the progress %r: %s", progress, error)
