import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.errors import ConnectionFailedError, InvalidModelError, RegistryError
from src.serving.models import registry_client
from src.serving.models.model_version import ModelVersion
from src.serving.models.registry_client import RegistryClient
from tests.support.fake_mlflow import ARTIFACTS, FakeMlflow

pytestmark = pytest.mark.anyio

URI = "/api/2.0/mlflow/model-versions/get-download-uri"
NEEDED = ("MLmodel", "manifest.json", "model.onnx", "golden_rows.json", "drift_reference.json")
# Of a model without an ONNX flavour.
MLMODEL = json.dumps(
    {
        "flavors": {"python_function": {}},
        "signature": {"inputs": json.dumps([{"name": "x", "type": "double"}])},
        "metadata": {"classes": []},
    }
)


def client(mlflow: FakeMlflow) -> RegistryClient:
    return RegistryClient("http://mlflow:5000", "iris", timeout=5, transport=mlflow.transport)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def save_tree(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)


@pytest.fixture
def version(models: Any) -> ModelVersion:
    return ModelVersion(name="iris", version="1", manifest_sha256=models["first"][1], run_id="run1")


async def test_download_brings_the_files_byte_for_byte(
    mlflow: FakeMlflow, version: ModelVersion, models: Any, tmp_path: Path
) -> None:
    await client(mlflow).download(version, tmp_path)
    expected = contents(models["first"][0])
    assert contents(tmp_path) == {name: expected[name] for name in NEEDED}


@pytest.mark.parametrize(
    "name", ["../evil", "..", "/etc/passwd", "a/b", "a\\b", "", ".", "nul\0", None, 5, "models/../../x"]
)
async def test_download_refuses_names_that_leave_the_folder(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, name: Any
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json={"files": [{"path": name, "is_dir": False, "file_size": 1}]})
    with pytest.raises(RegistryError, match="refused"):
        await client(mlflow).download(version, tmp_path)
    assert mlflow.downloads == []


@pytest.mark.parametrize(
    "listing", [{"files": 5}, {"files": [5]}, {"files": [{}]}, {"files": [{"path": "a", "file_size": "x"}]}]
)
async def test_download_with_a_wrong_listing_is_refused(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, listing: Any
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json=listing)
    with pytest.raises(RegistryError, match="listing"):
        await client(mlflow).download(version, tmp_path)


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/model",
        "file:///models/m-1",
        "/models/m-1",
        "http://elsewhere/m-1",
        "mlflow-artifacts://elsewhere:5000/1/models/m-1/artifacts",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/1/../2",
        "mlflow-artifacts:/",
        "",
        None,
        5,
    ],
)
async def test_download_from_outside_the_proxy_is_refused(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, location: Any
) -> None:
    mlflow.override[URI] = httpx.Response(200, json={"artifact_uri": location})
    with pytest.raises(RegistryError, match=r"artifact proxy|unusable"):
        await client(mlflow).download(version, tmp_path)
    assert not [path for path in mlflow.paths if path.startswith(ARTIFACTS)]


async def test_download_takes_a_location_that_names_the_server_itself(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    mlflow.override[URI] = httpx.Response(
        200, json={"artifact_uri": "mlflow-artifacts://mlflow:5000/1/models/m-1/artifacts"}
    )
    await client(mlflow).download(version, tmp_path)


async def test_download_is_capped_by_what_is_announced(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_client, "MAX_MODEL_BYTES", 5000)
    with pytest.raises(RegistryError, match="larger than 5000 bytes"):
        await client(mlflow).download(version, tmp_path)
    assert mlflow.downloads == [f"{ARTIFACTS}/1/models/m-1/artifacts/MLmodel"]


async def test_download_is_capped_by_what_comes(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_client, "MAX_MODEL_BYTES", 5000)
    listing = {"files": [{"path": name, "is_dir": False, "file_size": 1} for name in NEEDED]}
    mlflow.override[ARTIFACTS] = httpx.Response(200, json=listing)
    with pytest.raises(RegistryError, match="larger than 5000 bytes"):
        await client(mlflow).download(version, tmp_path)
    assert sum(map(len, contents(tmp_path).values())) <= 5000


async def test_download_of_a_version_without_a_needed_file_names_it(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json={"files": [{"path": "MLmodel", "is_dir": False}]})
    with pytest.raises(
        RegistryError, match=r"lacks manifest\.json, model\.onnx, golden_rows\.json, drift_reference\.json"
    ):
        await client(mlflow).download(version, tmp_path)


async def test_download_that_breaks_off_is_a_failed_connection(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    def fail(path: str) -> None:
        if path.endswith("model.onnx"):
            raise httpx.ReadError("connection reset")

    mlflow.before_answer = fail
    with pytest.raises(ConnectionFailedError, match="ReadError"):
        await client(mlflow).download(version, tmp_path)


@pytest.fixture
def users(mlflow: FakeMlflow, tmp_path: Path) -> dict[str, str]:
    """The files of version 4, which is champion and was registered without our pipeline."""
    files = {"MLmodel": MLMODEL, "model.pkl": "pickled", "code/a.py": "a", "code/deep/er/b.py": "b", "empty": ""}
    save_tree(tmp_path / "users", files)
    save_tree(tmp_path / "users", {"code/__pycache__/a.pyc": "compiled", "__pycache__/b.pyc": "compiled"})
    mlflow.add("4", tmp_path / "users", "")
    mlflow.versions["4"].tags.clear()
    mlflow.promote("4")
    return files


def tree(directory: Path) -> dict[str, str]:
    return {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}


async def champion_of(mlflow: FakeMlflow) -> ModelVersion:
    found = await client(mlflow).champion()
    assert found is not None
    return found


async def test_model_without_onnx_is_fetched_whole(mlflow: FakeMlflow, users: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    await client(mlflow).download(await champion_of(mlflow), target)
    assert tree(target) == users


@pytest.mark.usefixtures("users")
async def test_model_that_cannot_be_served_is_refused_before_it_is_fetched(mlflow: FakeMlflow, tmp_path: Path) -> None:
    (tmp_path / "users" / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {}}}))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InvalidModelError, match="infer_signature"):
        await client(mlflow).download(await champion_of(mlflow), target)
    assert [path.rpartition("/")[2] for path in mlflow.downloads] == ["MLmodel"]


@pytest.mark.usefixtures("users")
async def test_folder_that_is_no_model_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    (tmp_path / "users" / "MLmodel").unlink()
    with pytest.raises(RegistryError, match="not an MLflow model"):
        await client(mlflow).download(await champion_of(mlflow), tmp_path)


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({f"code/{number}.py": "" for number in range(1001)}, "more than 1000 files"),
        ({f"{number}/x": "" for number in range(1001)}, "more than 1000 files"),
        ({"/".join("abcdefghi") + "/x": ""}, "deeper than 8"),
        ({"code/big": "x" * 4000}, "larger than 3000 bytes"),
    ],
)
async def test_model_of_unreasonable_size_is_refused(
    mlflow: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(registry_client, "MAX_MODEL_BYTES", 3000)
    save_tree(tmp_path / "users", files)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(RegistryError, match=says):
        await client(mlflow).download(await champion_of(mlflow), target)
    assert {path.rpartition("/")[2] for path in mlflow.downloads} <= {"MLmodel"}
    assert len(mlflow.paths) < 2100


@pytest.mark.usefixtures("users")
async def test_name_that_leaves_a_folder_below_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    version = await champion_of(mlflow)

    def spoil_listing(_: str) -> None:
        if mlflow.paths.count(ARTIFACTS) == 2:
            listing = {"files": [{"path": "../../evil", "is_dir": False, "file_size": 1}]}
            mlflow.override[ARTIFACTS] = httpx.Response(200, json=listing)

    mlflow.before_answer = spoil_listing
    with pytest.raises(RegistryError, match="refused"):
        await client(mlflow).download(version, target)
    assert mlflow.downloads == []
