"""Files over HTTP from a local server, and from moto's S3 server."""

import gzip
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, ConnectionFailedError, DataError, LoopError
from src.training import remote_source
from src.training.check_rows import check_rows
from src.training.remote_source import fetched_files, shown_source
from src.training.sources import read
from tests.support.object_store import use_s3

pytestmark = pytest.mark.slow

CSV = b"x,y\n1,2\n3,4\n"


class Answers(BaseHTTPRequestHandler):
    """Serves a few paths and records the queries."""

    queries: list[str]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.queries.append(query)  # type: ignore[attr-defined]
        if path == "/short.csv":
            self._answer(200, CSV, length=len(CSV) + 1)
        elif path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/rows.csv")
            self.end_headers()
        elif path in {"/rows.csv", "/export"}:
            self._answer(200, CSV)
        elif path == "/unsized.csv":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CSV)
        elif path == "/noise":
            self.wfile.write(b"no HTTP\r\n")
        elif path == "/failing":
            self._answer(500, b"secret words")
        elif path == "/rows.csv.gz":
            self._answer(200, gzip.compress(CSV))
        elif path == "/broken":
            self._answer(503, b"secret words")
        else:
            self._answer(404, b"secret words")

    def do_HEAD(self) -> None:
        self._answer(403, b"")

    def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        found.queries = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def address(server: ThreadingHTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def dataset(source: str) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {"source": source, "target": "y", "features": {"x": {}}, "target_range": {}, "duplicates": "keep"}
    )


@pytest.mark.parametrize(
    "path", ["/rows.csv", "/rows.csv.gz", "/unsized.csv", "/export?format=csv&view=s3cret", "/moved"]
)
def test_http_address_is_fetched_and_read(
    server: ThreadingHTTPServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        raw = read(dataset(address(server, path)))
    assert raw.frame.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    shown = address(server, path.partition("?")[0])
    assert [(file.name, file.rows) for file in raw.files] == [(shown, 2)]
    assert f"{shown}: fetched 0.0 MB" in caplog.text
    assert "s3cret" not in caplog.text
    # The query itself is sent.
    assert server.queries[0] == path.partition("?")[2]  # type: ignore[attr-defined]


def test_scheme_may_be_in_upper_case(server: ThreadingHTTPServer) -> None:
    assert len(read(dataset(address(server, "/rows.csv").replace("http", "HTTP"))).frame) == 2


def test_downloads_are_gone_afterwards(server: ThreadingHTTPServer) -> None:
    with fetched_files(address(server, "/rows.csv")) as files:
        assert files[0].path.read_bytes() == CSV
    assert not files[0].path.parent.exists()


def test_progress_is_logged(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote_source, "CHUNK_BYTES", 2)
    monkeypatch.setattr(remote_source, "PROGRESS_BYTES", 6)
    with caplog.at_level(logging.INFO), fetched_files(address(server, "/rows.csv")):
        pass
    assert caplog.text.count("so far") == 2


@pytest.mark.parametrize(
    ("path", "failure", "message"),
    [
        ("/nothing.csv?view=s3cret", DataError, "/nothing.csv: the server answered 404 Not Found"),
        ("/failing", ConnectionFailedError, "/failing: the server answered 500 Internal Server Error"),
        ("/noise", ConnectionFailedError, "/noise cannot be fetched: no HTTP"),
        ("/broken", ConnectionFailedError, "/broken: the server answered 503 Service Unavailable"),
        ("/short.csv", ConnectionFailedError, "short.csv: the download ended after 12 of 13 bytes"),
    ],
)
def test_responses_that_are_not_a_file_are_distinguished(
    server: ThreadingHTTPServer, path: str, failure: type[LoopError], message: str
) -> None:
    with pytest.raises(failure, match=message) as caught:
        read(dataset(address(server, path)))
    assert "s3cret" not in str(caught.value)
    assert "secret words" not in str(caught.value)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a port on which nothing listens."""
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_server_that_does_not_answer_is_worth_another_try(nobody: str) -> None:
    with pytest.raises(ConnectionFailedError, match=r"rows\.csv cannot be fetched: .*Connection refused"):
        read(dataset(f"{nobody}/rows.csv"))


def test_silent_server_ends_in_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote_source, "TIMEOUT_SECONDS", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectionFailedError, match=r"cannot be fetched: .*timed out"),
    ):
        read(dataset(f"http://127.0.0.1:{silent.getsockname()[1]}/rows.csv"))


def test_https_needs_a_certificate_that_is_trusted(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    source = address(server, "/rows.csv").replace("http://", "https://")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
        read(dataset(source))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert len(read(dataset(source)).frame) == 2


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("data-file/a?.csv", "data-file/a?.csv"),
        ("https://example.com:8443/a.csv?sig=1#x", "https://example.com:8443/a.csv"),
        ("HTTPS://example.com/a.csv?sig=1", "https://example.com/a.csv"),
        ("s3://bucket/folder/", "s3://bucket/folder/"),
        ("iris", "iris"),
    ],
)
def test_source_is_shown_without_secrets(source: str, shown: str) -> None:
    assert shown_source(source) == shown


# -- S3


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    name = use_s3(s3_url, monkeypatch)
    client = boto3.client("s3")
    pd.DataFrame({"x": [5], "y": [6]}).to_parquet(tmp_path / "a.parquet")
    objects = {
        "day/b.csv": b"y,x\n4,3\n",
        "day/a.csv": b"x,y\n1,2\n",
        "day/deeper/c.csv.gz": gzip.compress(b"x,y\n5,6\n"),
        "day/notes.txt": b"hello",
        "other/a.parquet": (tmp_path / "a.parquet").read_bytes(),
    }
    for key, body in objects.items():
        client.put_object(Bucket=name, Key=key, Body=body)
    client.close()
    return name


@pytest.mark.parametrize(
    ("path", "names", "values"),
    [
        ("day/a.csv", ["day/a.csv"], [1]),
        ("day/", ["day/a.csv", "day/b.csv", "day/deeper/c.csv.gz"], [1, 3, 5]),
        ("day/*.csv", ["day/a.csv", "day/b.csv"], [1, 3]),
        ("day/?.csv", ["day/a.csv", "day/b.csv"], [1, 3]),
        ("day/[b-c].csv", ["day/b.csv"], [3]),
        ("other/a.parquet", ["other/a.parquet"], [5]),
    ],
)
def test_s3_addresses_are_an_object_a_prefix_or_a_glob(
    bucket: str, path: str, names: list[str], values: list[float]
) -> None:
    config = dataset(f"s3://{bucket}/{path}")
    raw = read(config)
    assert [file.name for file in raw.files] == [f"s3://{bucket}/{name}" for name in names]
    assert [float(value) for value in raw.frame["x"]] == values
    assert len(raw.frame) == len(values)
    if len(values) > 1:
        assert check_rows(raw, config).frame["x"].to_list() == values


def test_s3_scheme_may_be_in_upper_case(bucket: str) -> None:
    assert read(dataset(f"S3://{bucket}/day/a.csv")).files[0].name == f"s3://{bucket}/day/a.csv"


def test_s3_objects_are_read_as_they_are_now(bucket: str) -> None:
    config = dataset(f"s3://{bucket}/day/*.csv")
    assert len(read(config).files) == 2
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="day/c.csv", Body=b"x,y\n7,8\n")
    client.close()
    assert [float(value) for value in read(config).frame["x"]] == [1, 3, 7]


@pytest.mark.parametrize(
    ("path", "message"),
    [("day/z.csv", "cannot be read: FileNotFoundError"), ("no/", "has no .csv, .tsv or .parquet object")],
)
def test_s3_objects_that_are_missing_are_an_error(bucket: str, path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(dataset(f"s3://{bucket}/{path}"))


@pytest.mark.parametrize("path", ["a.csv", "day/", "*.csv"])
def test_s3_bucket_that_does_not_exist_is_an_error(bucket: str, path: str) -> None:
    with pytest.raises(DataError):
        read(dataset(f"s3://{bucket}-2/{path}"))


@pytest.mark.parametrize("path", ["day/", "day/*.csv"])
def test_s3_object_that_was_deleted_before_it_is_read_can_be_tried_again(
    bucket: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, copy = boto3.client("s3"), remote_source._copy  # noqa: SLF001 - called between listing and reading

    def delete(*given: Any) -> None:
        copy(*given)
        client.delete_object(Bucket=bucket, Key="day/b.csv")

    monkeypatch.setattr(remote_source, "_copy", delete)
    with pytest.raises(LoopError, match=r"was deleted before it was read .*; run again") as caught:
        read(dataset(f"s3://{bucket}/{path}"))
    client.close()
    assert not caught.value.permanent


def test_s3_object_that_is_there_compressed_and_not_is_refused(bucket: str) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="day/a.csv.gz", Body=gzip.compress(CSV))
    client.close()
    with pytest.raises(DataError, match=r"day/a\.csv and .*day/a\.csv\.gz are one file, compressed and not"):
        read(dataset(f"s3://{bucket}/day/"))


def test_s3_object_that_may_not_be_read_is_an_error(
    bucket: str, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address(server, ""))
    with pytest.raises(DataError, match="cannot be read: PermissionError"):
        read(dataset(f"s3://{bucket}/day/a.csv"))


def test_s3_server_that_does_not_answer_is_worth_another_try(
    bucket: str, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConnectionFailedError, match="cannot be fetched") as caught:
        read(dataset(f"s3://{bucket}/day/a.csv"))
    assert "s3cret" not in str(caught.value)


def test_missing_package_is_named_with_the_group_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"dependency group s3 is not installed; run .*TRAIN_EXTRA_GROUPS=s3"):
        read(dataset("s3://bucket/a.csv"))
