"""Logging set-up, called once by each entry point: JSON in containers, plain lines on a terminal."""

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["console", "json"]


def configure_logging(service: str, *, log_format: LogFormat, level: str) -> None:
    """Send every logger's records to standard error in one format.

    Args:
        service: the process's name, on every record.
        log_format: ``console`` for people, ``json`` for collectors.
        level: a standard level name, such as ``INFO``.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                json_ensure_ascii=False,
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                static_fields={"service": service},
            )
        )
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {service}: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # Chatty at INFO: one line per request, poll or connection.
    for name in ("httpx", "httpcore", "watchfiles"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def show_progress() -> None:
    """Print this project's records, and other loggers' warnings, as plain text: for commands that people wait for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name.startswith("src.") or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
