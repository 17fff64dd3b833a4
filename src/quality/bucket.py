"""Objects below a prefix of a bucket in an object store (S3)."""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast, overload

import pyarrow as pa
from pyarrow import fs

from src.core.durable_file import write_durably
from src.core.errors import ConfigError, ConnectionFailedError
from src.core.folders import make_folder

SCHEME = "s3://"
SETTING = "PREDICTION_LOG_STORE"
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 30.0
# Of each request, the first one included.
ATTEMPTS = 3
PIECE_BYTES = 4_000_000
# In pyarrow's messages; others, such as the id of the request, differ each time.
_CODE = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))?")
_NO_BUCKET = "NO_SUCH_BUCKET"
_REFUSED = frozenset(
    {
        "ACCESS_DENIED",
        "INVALID_ACCESS_KEY_ID",
        "INVALID_CLIENT_TOKEN_ID",
        "INVALID_SIGNATURE",
        "MISSING_AUTHENTICATION_TOKEN",
        "REQUEST_EXPIRED",
        "SIGNATURE_DOES_NOT_MATCH",
        "UNRECOGNIZED_CLIENT",
        "401",
        "403",
    }
)


class ObjectInfo(NamedTuple):
    """An object: its key, its size in bytes, and when it changed, in nanoseconds since 1970-01-01 UTC."""

    key: str
    size: int
    changed_ns: int


class Bucket:
    """Reads and writes whole objects. Credentials and region come from AWS's environment variables.

    Every method raises ConfigError if the bucket does not exist or access is refused, and ConnectionFailedError if the
    object store does not answer. An object is replaced in one step: readers see the old content or the new one.

    Args:
        address: ``s3://bucket`` or ``s3://bucket/prefix``; keys are relative to it.
        endpoint: the server's URL; None: AWS.
        setting: what to correct if the bucket does not exist.
    """

    def __init__(self, address: str, endpoint: str | None = None, setting: str = SETTING) -> None:
        self.address = address.rstrip("/")
        self._setting = setting
        self._root = self.address.removeprefix(SCHEME)
        self._system = fs.S3FileSystem(
            endpoint_override=endpoint,
            connect_timeout=CONNECT_SECONDS,
            request_timeout=REQUEST_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            allow_delayed_open=True,  # small objects take one request
        )

    def read(self, key: str) -> bytes | None:
        """An object's content; None if there is none."""
        with self._explaining():
            try:
                with self._reading(key) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                self._require_bucket()
                return None

    def write(self, key: str, content: bytes) -> None:
        """Write or replace an object."""
        with self._explaining(), self._writing(key) as stream:
            stream.write(content)

    def upload(self, path: Path, key: str) -> None:
        """Write an object with a file's content, which need not fit into memory."""
        with self._explaining(), path.open("rb") as file, self._writing(key) as stream:
            shutil.copyfileobj(file, stream, PIECE_BYTES)

    def download(self, key: str, path: Path) -> None:
        """Write a file with an object's content; it never exists in part. Raises FileNotFoundError: no such object."""
        make_folder(path.parent)
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)  # of a killed process
        with self._explaining(), self._reading(key) as stream:
            write_durably(temporary, path, iter(lambda: stream.read(PIECE_BYTES), b""), replaces=True)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """An object's content, read in pieces as needed, in any order. Raises FileNotFoundError: no such object."""
        with self._explaining(), self._system.open_input_file(self._path(key)) as stream:
            yield cast("BinaryIO", io.BufferedReader(stream, PIECE_BYTES))

    def find(self, key: str) -> list[ObjectInfo]:
        """The object of a key or, where there is none, those directly below it, sorted by their keys."""
        path = self._path(key).rstrip("/")
        with self._explaining():
            (info,) = self._system.get_file_info([path])
            is_one = info.type is fs.FileType.File
            found = [info] if is_one else self._system.get_file_info(fs.FileSelector(path, allow_not_found=True))
            if not found:
                self._require_bucket()
        files = [info for info in found if info.type is fs.FileType.File]
        return sorted(ObjectInfo(info.path.removeprefix(f"{self._root}/"), info.size, info.mtime_ns) for info in files)

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        with self._explaining(), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(self._path(key))

    def delete_folder(self, key: str) -> None:
        """Delete all objects below a key, and the empty one that stands for the folder itself."""
        with self._explaining(), contextlib.suppress(FileNotFoundError):
            self._system.delete_dir(self._path(key))

    def keys(self, folder: str) -> list[str]:
        """The keys of all objects below a key, relative to it, sorted."""
        return [path for path, is_file in self._entries(folder, recursive=True) if is_file]

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly below a key, sorted."""
        return [path for path, is_file in self._entries(folder, recursive=False) if not is_file]

    def _entries(self, folder: str, *, recursive: bool) -> list[tuple[str, bool]]:
        base = self._path(folder)
        with self._explaining():
            found = self._system.get_file_info(fs.FileSelector(base, allow_not_found=True, recursive=recursive))
        return sorted((info.path.removeprefix(f"{base}/"), info.type is fs.FileType.File) for info in found)

    # Without compression, which pyarrow would otherwise choose by the name.
    def _reading(self, key: str) -> pa.NativeFile:
        return self._system.open_input_stream(self._path(key), compression=None)

    def _writing(self, key: str) -> pa.NativeFile:
        return self._system.open_output_stream(self._path(key), compression=None)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _require_bucket(self) -> None:
        """A missing bucket looks as if it had no objects."""
        name = self._root.partition("/")[0]
        if self._system.get_file_info(name).type is fs.FileType.NotFound:
            raise self._no_bucket()

    def _no_bucket(self) -> ConfigError:
        return ConfigError(f"the bucket of {self.address} does not exist; create it or correct {self._setting}")

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Convert the errors of the object store, which are plain OSErrors; others are those of the local disk."""
        try:
            yield
        except OSError as error:
            found = _CODE.search(str(error))
            if found is None:
                raise
            code = found[2] or found[1]
            if code == _NO_BUCKET:
                raise self._no_bucket() from error
            if code in _REFUSED:
                raise ConfigError(
                    f"{self.address} refuses access ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                    "AWS_SESSION_TOKEN, and that they may list, read, write and delete objects there"
                ) from error
            raise ConnectionFailedError(
                f"{self.address} cannot be used ({code}); check the network, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION, "
                "and try again"
            ) from error


@overload
def open_bucket(address: str, setting: str = SETTING) -> Bucket: ...
@overload
def open_bucket(address: str | None, setting: str = SETTING) -> Bucket | None: ...
def open_bucket(address: str | None, setting: str = SETTING) -> Bucket | None:
    """The bucket at an address, at the endpoint of the environment; nothing is sent yet."""
    if address is None:
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    return Bucket(address, endpoint, setting)
