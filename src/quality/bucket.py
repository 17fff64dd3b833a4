"""Objects below a prefix of a bucket in an object store (S3)."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

from src.core.durable_file import write_durably
from src.core.errors import ConfigError, ConnectionFailedError
from src.core.folders import make_folder

SCHEME = "s3://"
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


class Bucket:
    """Reads and writes whole objects. Credentials and region come from AWS's environment variables.

    Every method raises ConfigError if the bucket does not exist or access is refused, and ConnectionFailedError if the
    object store does not answer. An object is replaced in one step: readers see the old content or the new one.

    Args:
        address: ``s3://bucket`` or ``s3://bucket/prefix``; keys are relative to it.
        endpoint: the server's URL; None: AWS.
    """

    def __init__(self, address: str, endpoint: str | None = None) -> None:
        self.address = address.rstrip("/")
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
                with self._system.open_input_stream(self._path(key)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                self._require_bucket()
                return None

    def write(self, key: str, content: bytes) -> None:
        """Write or replace an object."""
        with self._explaining(), self._system.open_output_stream(self._path(key)) as stream:
            stream.write(content)

    def upload(self, path: Path, key: str) -> None:
        """Write an object with a file's content, which need not fit into memory."""
        with self._explaining(), path.open("rb") as file, self._system.open_output_stream(self._path(key)) as stream:
            shutil.copyfileobj(file, stream, PIECE_BYTES)

    def download(self, key: str, path: Path) -> None:
        """Write a file with an object's content; it never exists in part. Raises FileNotFoundError: no such object."""
        make_folder(path.parent)
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)  # of a killed process
        with self._explaining(), self._system.open_input_stream(self._path(key)) as stream:
            write_durably(temporary, path, iter(lambda: stream.read(PIECE_BYTES), b""), replaces=True)

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

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _require_bucket(self) -> None:
        """A missing bucket looks as if it had no objects."""
        name = self._root.partition("/")[0]
        if self._system.get_file_info(name).type is fs.FileType.NotFound:
            raise self._no_bucket()

    def _no_bucket(self) -> ConfigError:
        return ConfigError(f"the bucket of {self.address} does not exist; create it or correct PREDICTION_LOG_STORE")

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


def open_bucket(address: str | None) -> Bucket | None:
    """The bucket of ``PREDICTION_LOG_STORE``, at the endpoint of the environment; nothing is sent yet."""
    if address is None:
        return None
    return Bucket(address, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None)
