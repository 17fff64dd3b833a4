"""Scores files with the registered model: the champion, or another version, predicts every row, to Parquet.

Exit code 0: every file has its output; 1: trying again may help; 2: fix the configuration or the data; 75: another run
writes to the same folder; 130: interrupted with Ctrl-C.
"""

import argparse
import logging
import os
import signal
from collections.abc import Sequence

from src.core.compute_settings import BatchSettings
from src.core.errors import LoopError, OutputBusyError
from src.core.exit_codes import SIGNALS, ExitCode
from src.core.log import configure_logging
from src.core.pipeline_config import load_pipeline_config
from src.core.settings import load_settings
from src.services.batch.batch_run import Request, run
from src.services.batch.objects import path_of

SERVICE = "batch"
# Workers on this machine inherit the environment, and need none of these.
SECRETS = ("DATASET_URL", "ZENML_STORE_API_KEY", "WRITE_API_KEY", "PREDICTION_LOG_KEY")

# As a process that SIGINT ends has it in shells.
INTERRUPTED = SIGNALS + signal.SIGINT

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and the settings, score, return the exit code."""
    parser = argparse.ArgumentParser(
        prog="run_batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "input",
        help="a .parquet, .csv or .tsv file (also .gz), a folder of them, or a glob; or an s3:// object or prefix",
    )
    parser.add_argument(
        "output", type=path_of, help="the folder, or s3:// prefix, of the outputs: a Parquet file per input"
    )
    parser.add_argument("--version", help="a version of the registered model (the champion)")
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        help="a column to copy to the output, as often as needed (the id columns of the data set, or the row's number)",
    )
    options = parser.parse_args(arguments)
    configure_logging(SERVICE, log_format="console", level="INFO")
    try:
        settings = load_settings(BatchSettings)
        configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
        csv = load_pipeline_config(settings.pipeline_config).dataset.csv
        for name in SECRETS:
            os.environ.pop(name, None)
        request = Request(options.input, options.output, options.version, tuple(options.id))
        return exit_code_of(run(request, settings, csv))
    except LoopError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says all
        return exit_code_of([error])
    except OSError as error:
        logger.error("a disk fails: %s; run again once it works", error)  # noqa: TRY400 - as above
        return ExitCode.FAILED
    except KeyboardInterrupt:
        logger.warning("interrupted; the same command goes on with the files that are not scored yet")
        return INTERRUPTED


def exit_code_of(errors: Sequence[LoopError]) -> ExitCode:
    """The exit code for the errors of a run."""
    if any(isinstance(error, OutputBusyError) for error in errors):
        return ExitCode.BUSY
    if any(error.permanent for error in errors):
        return ExitCode.PERMANENT
    return ExitCode.FAILED if errors else ExitCode.OK
