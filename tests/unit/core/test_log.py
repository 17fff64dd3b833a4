"""Logging: JSON for collectors, plain lines on a terminal."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from src.core.log import configure_logging, show_progress


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "watchfiles")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)


def test_json_lines_have_time_level_service_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("monitor", log_format="json", level="INFO")
    logging.getLogger("a.b").warning("hello %s", "wörld\nline 2")
    captured = capsys.readouterr()
    assert captured.out == ""
    line = json.loads(captured.err)
    assert line.pop("time")
    assert line == {"level": "WARNING", "service": "monitor", "logger": "a.b", "message": "hello wörld\nline 2"}
    assert captured.err.count("\n") == 1


def test_json_lines_carry_a_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("monitor", log_format="json", level="INFO")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("a").exception("broken")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ZeroDivisionError" in json.loads(error)["exc_info"]


def test_console_lines_name_level_and_service(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("monitor", log_format="console", level="INFO")
    logging.getLogger("a").info("hello")
    assert capsys.readouterr().err.rstrip().endswith(" INFO    monitor: hello")


@pytest.mark.parametrize(("level", "seen"), [("DEBUG", "diwe"), ("INFO", "iwe"), ("WARNING", "we"), ("ERROR", "e")])
def test_level_drops_what_is_below(capsys: pytest.CaptureFixture[str], level: str, seen: str) -> None:
    configure_logging("x", log_format="console", level=level)
    logger = logging.getLogger("a")
    for text in ("debug", "info", "warning", "error"):
        getattr(logger, text)("said %s", text[0])
    assert "".join(line[-1] for line in capsys.readouterr().err.splitlines()) == seen


def test_chatty_libraries_log_from_warning_up(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("x", log_format="console", level="DEBUG")
    logging.getLogger("httpx").info("GET /")
    logging.getLogger("watchfiles.main").info("3 changes")
    logging.getLogger("httpx").warning("odd")
    assert capsys.readouterr().err.count("\n") == 1


def test_second_call_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    for service in ("first", "second"):
        configure_logging(service, log_format="console", level="INFO")
    logging.getLogger("a").info("once")
    assert capsys.readouterr().err.count("once") == 1
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


def test_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging("x", log_format="json", level="INFO")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
        assert "old way" in json.loads(capsys.readouterr().err)["message"]
        logging.captureWarnings(capture=False)


def test_progress_is_this_project_s_messages_and_warnings_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()
    show_progress()
    for name in ("src.training.data_files", "botocore"):
        logging.getLogger(name).info("%s goes on", name)
        logging.getLogger(name).warning("%s warns", name)
    assert capsys.readouterr().err.splitlines() == [
        "src.training.data_files goes on",
        "src.training.data_files warns",
        "botocore warns",
    ]
