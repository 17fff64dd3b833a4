"""Objects of a real S3 server, and the errors of servers that refuse, fail or are away."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.core.errors import ConfigError, ConnectionFailedError
from src.quality import bucket as module
from src.quality.bucket import Bucket, open_bucket
from tests.support.object_store import object_keys
from tests.support.running import free_port

pytestmark = pytest.mark.slow


class Refusal(BaseHTTPRequestHandler):
    """Answers every request with the server's ``status`` and ``code``."""

    def do_GET(self) -> None:
        status, code = self.server.answer  # type: ignore[attr-defined]
        body = f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "s3cret")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def at(server: ThreadingHTTPServer) -> Bucket:
    return Bucket("s3://bucket/prefix", f"http://127.0.0.1:{server.server_port}")


def test_no_address_is_no_bucket() -> None:
    assert open_bucket(None) is None


def test_object_is_read_as_it_was_last_written(bucket: Bucket) -> None:
    assert bucket.read("a/b") is None
    for content in (b"1", b"", b"22"):
        bucket.write("a/b", content)
        assert bucket.read("a/b") == content
    assert object_keys(bucket.address) == ["a/b"]


@pytest.mark.parametrize("key", ["labels/iris 2.0%25", "log/a%2F..%2Fb/day=2026-01-01/x.parquet", "log/ünique/x"])
def test_keys_may_have_the_characters_of_model_names(bucket: Bucket, key: str) -> None:
    bucket.write(key, b"1")
    assert bucket.read(key) == b"1"
    assert object_keys(bucket.address) == [key]


@pytest.mark.parametrize("size", [0, 10, 12_000_000])
def test_files_of_any_size_are_copied(bucket: Bucket, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(b"x" * size)
    bucket.upload(source, "file")
    for _ in range(2):
        bucket.download("file", target)
        assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_download_never_exists_in_part(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 4)
    bucket.write("file", b"12345678")
    (tmp_path / "file.tmp").write_bytes(b"of a killed process")
    sizes: list[int] = []
    real = module.write_durably

    def recording(temporary: Path, target: Path, pieces: Iterator[bytes], *, replaces: bool) -> None:
        real(temporary, target, (sizes.append(len(piece)) or piece for piece in pieces), replaces=replaces)  # type: ignore[func-returns-value]

    monkeypatch.setattr(module, "write_durably", recording)
    bucket.download("file", tmp_path / "file")
    assert sizes == [4, 4]
    with pytest.raises(FileNotFoundError):
        bucket.download("missing", tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_objects_and_folders_are_listed_relative_to_a_key(bucket: Bucket) -> None:
    assert (bucket.keys("log"), bucket.folders("log")) == ([], [])
    for key in ("log/b/day=2/x", "log/a/manifest.json", "log/file", "logs/c/x"):
        bucket.write(key, b"1")
    assert bucket.keys("log") == ["a/manifest.json", "b/day=2/x", "file"]
    assert bucket.folders("log") == ["a", "b"]


def test_deleted_are_an_object_or_all_of_a_folder_also_if_they_are_gone(bucket: Bucket) -> None:
    for key in ("a/x", "a/y", "b/x", "ab/x"):
        bucket.write(key, b"1")
    for _ in range(2):
        bucket.delete("b/x")
        bucket.delete_folder("a")
        assert bucket.keys("a") == bucket.keys("b") == []
    bucket.delete_folder("b")
    assert bucket.keys("ab") == ["x"]
    assert [key for key in object_keys(bucket.address) if key.startswith(("a/", "b/"))] == []


def test_address_may_be_a_bucket_alone_or_end_with_a_slash(bucket: Bucket) -> None:
    name = bucket.address.split("/")[2]
    for address in (f"s3://{name}", f"s3://{name}/", f"s3://{name}/deep/er/"):
        found = open_bucket(address)
        assert found is not None
        found.write("key", address.encode())
    assert object_keys(f"s3://{name}/deep/er") == ["key"]
    whole = open_bucket(f"s3://{name}")
    assert whole is not None
    assert whole.read("key") == f"s3://{name}/".encode()
    assert whole.folders("deep") == ["er"]


def test_objects_are_found_and_read_from_any_place(store_address: str) -> None:
    bucket = open_bucket(store_address)
    for key in ("in/b", "in/a", "in/deeper/c", "into"):
        bucket.write(key, b"0123456789")
    assert [(found.key, found.size) for found in bucket.find("in")] == [("in/a", 10), ("in/b", 10)]
    assert [found.key for found in bucket.find("")] == ["into"]
    assert [found.key for found in bucket.find("in/a")] == ["in/a"]
    assert bucket.find("nothing") == []
    with bucket.open("in/a") as stream:
        stream.seek(8)
        assert stream.read() == b"89"
        stream.seek(0)
        assert stream.read(2) == b"01"
    with pytest.raises(FileNotFoundError), bucket.open("nothing"):
        pass


def test_content_is_stored_as_it_is_whatever_the_name(store_address: str, tmp_path: Path) -> None:
    bucket, file = open_bucket(store_address), tmp_path / "file"
    bucket.write("a.gz", b"plain")
    with bucket.open("a.gz") as stream:
        assert stream.read() == b"plain"
    assert bucket.read("a.gz") == b"plain"
    bucket.download("a.gz", file)
    bucket.upload(file, "b.gz")
    with bucket.open("b.gz") as stream:
        assert stream.read() == b"plain"


def test_endpoint_for_s3_alone_counts_before_the_one_for_all_services(
    store_address: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = open_bucket(store_address)
    assert found is not None
    assert found.read("key") is None


@pytest.mark.usefixtures("store_address")
def test_missing_bucket_is_never_an_empty_one(tmp_path: Path) -> None:
    missing = open_bucket("s3://no-such-bucket/prefix")
    assert missing is not None
    message = "the bucket of s3://no-such-bucket/prefix does not exist; create it or correct PREDICTION_LOG_STORE"
    (tmp_path / "file").touch()
    for action in (
        lambda: missing.read("key"),
        lambda: missing.write("key", b"1"),
        lambda: missing.upload(tmp_path / "file", "key"),
    ):
        with pytest.raises(ConfigError, match=message):
            action()


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        (403, "AccessDenied", "ACCESS_DENIED"),
        (403, "InvalidAccessKeyId", "INVALID_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "SIGNATURE_DOES_NOT_MATCH"),
        (403, "NewKindOfRefusal", "403"),
        (401, "Unauthorized", "401"),
    ],
)
def test_refused_access_is_a_matter_of_credentials(
    refusing: ThreadingHTTPServer, status: int, code: str, shown: str
) -> None:
    refusing.answer = (status, code)  # type: ignore[attr-defined]
    with pytest.raises(
        ConfigError, match=rf"s3://bucket/prefix refuses access \({shown}\); check AWS_ACCESS_KEY_ID"
    ) as caught:
        at(refusing).keys("log")
    with pytest.raises(ConfigError, match=r"refuses access \(ACCESS_DENIED\)" if status == 403 else "refuses access"):
        at(refusing).read("key")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (500, "InternalError"), (503, "SlowDown")])
def test_server_that_fails_can_be_tried_again(refusing: ThreadingHTTPServer, status: int, code: str) -> None:
    refusing.answer = (status, code)  # type: ignore[attr-defined]
    messages = set[str]()
    for _ in range(2):
        with pytest.raises(ConnectionFailedError, match=r"s3://bucket/prefix cannot be used \(\w+\); check") as caught:
            at(refusing).delete("key")
        messages.add(str(caught.value))
    assert len(messages) == 1  # so that it is logged once
    assert "s3cret" not in messages.pop()


def test_server_that_is_away_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    away = Bucket("s3://bucket", f"http://127.0.0.1:{free_port()}")
    for action in (lambda: away.read("key"), lambda: away.write("key", b"1"), lambda: away.folders("log")):
        with pytest.raises(ConnectionFailedError, match=r"s3://bucket cannot be used \(NETWORK_CONNECTION\); check"):
            action()


def test_error_of_the_local_disk_is_not_one_of_the_object_store(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        bucket.upload(tmp_path / "missing", "key")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        bucket.download("key", tmp_path / "file" / "target")
