"""Files in an object store: scored from there and to there, against a real S3 server."""

import gzip
import logging
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest

from src.core.compute_settings import BatchSettings
from src.core.dataset_config import CsvFormat
from src.core.errors import ConfigError, ConnectionFailedError, DataError, LoopError
from src.core.feature_schema import FeatureSchema
from src.quality.bucket import Bucket, open_bucket
from src.services.batch.batch_run import Request, run
from src.services.batch.inputs import chunks_of, find_inputs
from src.services.batch.objects import ObjectPath, path_of
from src.serving.models.registry_client import RegistryClient
from tests.support.object_store import object_keys
from tests.support.running import free_port
from tests.unit.services.batch.conftest import SPECIES, World

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(store_address: str) -> Bucket:
    return open_bucket(store_address)


def put_flowers(world: World, bucket: Bucket, name: str, repeat: int = 1) -> None:
    content = world.flowers(name.removesuffix(".gz"), repeat).read_bytes()
    bucket.write(f"in/{name}", gzip.compress(content) if name.endswith(".gz") else content)


def score(world: World, source: str, output: Path | str) -> list[LoopError]:
    client = RegistryClient("http://mlflow", "iris", timeout=5, transport=world.mlflow.transport)
    settings = BatchSettings(_env_file=None, data_dir=world.folder / "data")
    return run(Request(source, path_of(str(output))), settings, CsvFormat(), client)


def test_objects_are_scored_to_objects_and_not_again(
    world: World, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("a.parquet", "b.csv", "c.csv.gz"):
        put_flowers(world, bucket, name)
    source, output = f"{bucket.address}/in", f"{bucket.address}/out/"
    assert score(world, source, output) == []
    assert object_keys(f"{bucket.address}/out") == ["a.parquet", "b.csv.parquet", "c.csv.gz.parquet"]
    for name in object_keys(f"{bucket.address}/out"):
        with bucket.open(f"out/{name}") as stream:
            assert pq.read_table(stream)["prediction"].to_pylist() == SPECIES
    assert "3 files, 0 of them scored already" in caplog.text
    put_flowers(world, bucket, "b.csv", repeat=2)
    assert score(world, source, output) == []
    assert "3 files, 2 of them scored already" in caplog.text
    with bucket.open("out/b.csv.parquet") as stream:
        assert pq.read_metadata(stream).num_rows == 6
    left = [path.name for path in (world.folder / "data" / "local" / "scoring").glob("*/*")]
    assert left == [".scoring.lock"]
    assert not world.outputs.exists()


def test_objects_are_scored_to_a_folder_and_files_to_objects(world: World, bucket: Bucket) -> None:
    put_flowers(world, bucket, "a.parquet")
    assert score(world, f"{bucket.address}/in/a.parquet", world.outputs) == []
    assert world.scored("a.parquet")["prediction"] == SPECIES
    assert score(world, str(world.inputs), bucket.address) == []
    with bucket.open("a.parquet") as stream:
        assert pq.read_table(stream)["prediction"].to_pylist() == SPECIES


def test_inputs_are_the_tables_directly_below_a_prefix(bucket: Bucket) -> None:
    for key in ("in/b.csv", "in/a.parquet", "in/.hidden.csv", "in/readme.txt", "in/deeper/c.csv", "into/d.csv"):
        bucket.write(key, b"12")
    found = find_inputs(f"{bucket.address}/in/")
    assert [str(file.path) for file in found] == [f"{bucket.address}/in/a.parquet", f"{bucket.address}/in/b.csv"]
    assert [(file.name, file.size) for file in found] == [("a.parquet", 2), ("b.csv", 2)]
    assert [file.name for file in find_inputs(f"{bucket.address}/in/deeper/c.csv")] == ["c.csv"]
    with pytest.raises(DataError, match=r"/nothing has no \.csv, \.tsv or \.parquet file"):
        find_inputs(f"{bucket.address}/nothing")
    with pytest.raises(DataError, match=r"readme\.txt has no \.csv"):
        find_inputs(f"{bucket.address}/in/readme.txt")
    bucket.write("in/b.csv.parquet", b"12")
    with pytest.raises(DataError, match=r"several files for the output b\.csv\.parquet"):
        find_inputs(f"{bucket.address}/in")


def test_time_of_change_is_that_of_the_object(bucket: Bucket) -> None:
    bucket.write("a.csv", b"12")
    (found,) = find_inputs(bucket.address)
    name, _, prefix = bucket.address.removeprefix("s3://").partition("/")
    changed = boto3.client("s3").head_object(Bucket=name, Key=f"{prefix}/a.csv")["LastModified"]
    assert found.changed_ns // 10**9 == changed.timestamp()


def test_object_that_cannot_be_read_is_refused_with_its_address(world: World, bucket: Bucket) -> None:
    put_flowers(world, bucket, "a.csv.gz", repeat=100)
    whole = bucket.read("in/a.csv.gz") or b""
    bucket.write("in/a.csv.gz", whole[:-20])
    bucket.write("in/b.parquet", b"no Parquet")
    put_flowers(world, bucket, "c.csv")
    errors = score(world, f"{bucket.address}/in", world.outputs)
    assert world.scored("c.csv.parquet")["prediction"] == SPECIES
    damaged, other = sorted(map(str, errors))
    assert damaged.startswith(f"{bucket.address}/in/a.csv.gz cannot be read: Compressed file ended")
    assert other.startswith(f"{bucket.address}/in/b.parquet is not a Parquet file that can be read")


def test_object_that_was_deleted_or_is_out_of_reach_may_be_tried_again(
    world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_flowers(world, bucket, "a.csv")
    (file,) = find_inputs(f"{bucket.address}/in")
    bucket.delete("in/a.csv")
    with pytest.raises(LoopError, match=r"/in/a\.csv was deleted before it was read; run again") as found:
        next(chunks_of(file, FeatureSchema.of_numbers("a"), (), CsvFormat()))
    assert not found.value.permanent
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionFailedError, match="check the network"):
        find_inputs("s3://another-bucket/in")


@pytest.mark.usefixtures("store_address")
def test_missing_bucket_is_named() -> None:
    with pytest.raises(ConfigError, match="the bucket of s3://no-such does not exist; create it or correct the addr"):
        find_inputs("s3://no-such/in")


def test_address_is_a_bucket_and_a_key() -> None:
    assert path_of("s3://bucket/a/b/") == ObjectPath("bucket", "a/b")
    assert str(ObjectPath.of("s3://bucket") / "a.csv") == "s3://bucket/a.csv"
    assert (ObjectPath("bucket", "a") / "b.csv").name == "b.csv"
    assert path_of("data/in") == Path("data/in")
