import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.errors import InvalidModelError, RegistryError
from src.serving.models.model_version import ModelVersion
from src.serving.models.registry_client import RegistryClient
from tests.support.fake_mlflow import ARTIFACTS, FakeMlflow

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("users")]


def client(mlflow: FakeMlflow, **options: Any) -> RegistryClient:
    return RegistryClient("http://mlflow:5000", "iris", timeout=5, transport=mlflow.transport, **options)


def save_tree(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)


# Of a model without an ONNX flavour.
MLMODEL = json.dumps(
    {
        "flavors": {"python_function": {}},
        "signature": {"inputs": json.dumps([{"name": "x", "type": "double"}])},
        "metadata": {"classes": []},
    }
)


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


async def test_version_without_our_tag_is_known_by_where_it_is_stored(mlflow: FakeMlflow) -> None:
    first = await champion_of(mlflow)
    assert (first.verified, first.manifest_sha256) == (False, None)
    assert await champion_of(mlflow) == first
    mlflow.versions["4"].delay = 1
    again = await champion_of(mlflow)
    assert again.key != first.key


async def test_reason_of_training_for_leaving_onnx_out_is_read(mlflow: FakeMlflow) -> None:
    mlflow.versions["4"].tags["onnx.parity"] = "labels differ"
    assert (await champion_of(mlflow)).onnx_parity == "labels differ"


async def test_model_without_onnx_is_fetched_whole(mlflow: FakeMlflow, users: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    await client(mlflow).download(await champion_of(mlflow), target)
    assert tree(target) == users


async def test_model_that_cannot_be_served_is_refused_before_it_is_fetched(mlflow: FakeMlflow, tmp_path: Path) -> None:
    (tmp_path / "users" / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {}}}))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InvalidModelError, match="infer_signature"):
        await client(mlflow).download(await champion_of(mlflow), target)
    assert [path.rpartition("/")[2] for path in mlflow.downloads] == ["MLmodel"]


async def test_folder_that_is_no_model_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    (tmp_path / "users" / "MLmodel").unlink()
    with pytest.raises(RegistryError, match="not an MLflow model"):
        await client(mlflow).download(await champion_of(mlflow), tmp_path)


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
    mlflow: FakeMlflow, tmp_path: Path, files: dict[str, str], says: str
) -> None:
    save_tree(tmp_path / "users", files)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(RegistryError, match=says):
        await client(mlflow, max_model_bytes=3000).download(await champion_of(mlflow), target)
    assert len(mlflow.downloads) == 1
    assert len(mlflow.paths) < 2100


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
    assert list(tree(target)) == ["MLmodel"]
