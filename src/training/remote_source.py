"""Fetches files from https:// and s3:// addresses into a temporary folder."""

import contextlib
import http.client
import importlib
import logging
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from src.core.errors import ConfigError, ConnectionFailedError, DataError, LoopError
from src.core.memory import MEGABYTE
from src.training.data_files import TableFile, format_of, kind_of_content, refuse_copies

REMOTE = ("https://", "http://", "s3://")
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20
PROGRESS_BYTES = 100 << 20
SERVER_FAILS = 500

logger = logging.getLogger(__name__)


def shown_source(source: str) -> str:
    """A source for logs and records: without a URL's query, which may be a signature."""
    if not source.lower().startswith(REMOTE):
        return source
    return urlsplit(source)._replace(query="", fragment="").geturl()


@contextlib.contextmanager
def fetched_files(source: str) -> Iterator[list[TableFile]]:
    """Download the files of an address; they are deleted when the context ends.

    ``https://`` is one file. ``s3://`` is an object, all data files below a prefix that ends in ``/``, or the objects
    that match a glob; credentials, region and ``AWS_ENDPOINT_URL`` come from AWS's environment variables.

    Raises:
        DataError: there is no such file, access is denied, or an object is there compressed and not.
        ConnectionFailedError: the server does not answer or fails.
        LoopError: an object was deleted after it was listed; trying again may help.
        ConfigError: the package for s3 is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        fetch = _from_s3 if source.lower().startswith("s3://") else _from_http
        yield fetch(source, Path(folder))


def _from_http(source: str, folder: Path) -> list[TableFile]:
    name, path = shown_source(source), folder / "file"
    request = urllib.request.Request(source, headers={"User-Agent": "mlops-loop"})  # noqa: S310 - REMOTE lists the schemes
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, path.open("wb") as stream:  # noqa: S310 - as above
            _copy(answer, stream, name)
            # Chunked reads do not detect that the server closed the connection early.
            expected = answer.headers.get("Content-Length")
            if expected is not None and stream.tell() != int(expected):
                raise ConnectionFailedError(f"{name}: the download ended after {stream.tell()} of {expected} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        failure = ConnectionFailedError if error.code >= SERVER_FAILS else DataError
        raise failure(f"{name}: the server answered {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionFailedError(f"{name} cannot be fetched: {getattr(error, 'reason', error)}") from None
    return [TableFile(name, path, kind_of_content(path))]


def _copy(answer: Any, stream: BinaryIO, name: str) -> None:
    """Copy a response's body, and log the progress every 100 MB."""
    shown = PROGRESS_BYTES
    while chunk := answer.read(CHUNK_BYTES):
        stream.write(chunk)
        if stream.tell() >= shown:
            logger.info("%s: %.0f MB so far", name, stream.tell() / MEGABYTE)
            shown += PROGRESS_BYTES
    logger.info("%s: fetched %.1f MB", name, stream.tell() / MEGABYTE)


def _from_s3(source: str, folder: Path) -> list[TableFile]:
    try:
        s3fs = importlib.import_module("s3fs")
        failures = importlib.import_module("botocore.exceptions")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "dataset.source is an s3:// address, and the dependency group s3 is not installed; run "
            "`uv sync --group s3`, or with Docker set TRAIN_EXTRA_GROUPS=s3 and build again"
        ) from error
    # A new instance without cached listings, so that each run sees the current objects.
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    names: list[str] = []
    try:
        names = _objects(system, source)
        files = []
        for index, name in enumerate(names):
            path = folder / str(index)
            with path.open("wb") as stream, system.open(name, "rb") as answer:
                _copy(answer, stream, f"s3://{name}")
            files.append(TableFile(f"s3://{name}", path, kind_of_content(path)))
    except (FileNotFoundError, PermissionError) as error:
        if isinstance(error, FileNotFoundError) and names and _is_many(source):
            raise LoopError(f"{source}: an object was deleted before it was read ({error}); run again") from None
        raise DataError(f"{source} cannot be read: {type(error).__name__}: {error}") from None
    except (OSError, failures.BotoCoreError) as error:
        raise ConnectionFailedError(f"{source} cannot be fetched: {type(error).__name__}: {error}") from None
    return files


def _is_many(source: str) -> bool:
    """Whether an address is a prefix or a glob."""
    return source.endswith("/") or any(sign in source for sign in "*?[")


def _objects(system: Any, source: str) -> list[str]:
    """The names, as ``bucket/key``, of the objects at an address, sorted."""
    path = source[len("s3://") :]
    if not _is_many(source):
        return [path]
    found = system.find(path) if path.endswith("/") else system.glob(path)
    names = sorted(name for name in found if format_of(PurePosixPath(name).name))
    if not names:
        raise DataError(f"{source} has no .csv, .tsv or .parquet object (also .gz)")
    refuse_copies(names)
    return names
