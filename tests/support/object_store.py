"""A real S3 server in the test's process, and a bucket of it."""

import contextlib
import uuid
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer


@contextlib.contextmanager
def s3_server(port: int = 0) -> Iterator[str]:
    """The URL of moto's server while the block runs; its objects stay in the process."""
    server = ThreadedMotoServer(port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def use_s3(url: str, patch: pytest.MonkeyPatch) -> str:
    """Have the environment lead to a server; return the name of a new bucket there."""
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("no_proxy", "*")
    name = f"bucket-{uuid.uuid4()}"
    with contextlib.closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket=name)
    return name


def object_keys(address: str) -> list[str]:
    """The keys of all objects below ``s3://bucket/prefix``, relative to it."""
    name, _, prefix = address.removeprefix("s3://").partition("/")
    with contextlib.closing(boto3.client("s3")) as client:
        found = client.list_objects_v2(Bucket=name, Prefix=f"{prefix}/").get("Contents", [])
    return [entry["Key"].removeprefix(f"{prefix}/") for entry in found]
