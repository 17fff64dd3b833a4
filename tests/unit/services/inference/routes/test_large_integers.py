"""An integer that a column with missing values cannot hold exactly is refused on every route."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import COLUMNS, build_model

pytestmark = pytest.mark.anyio

INEXACT = 2**53 + 1
EXACT = 2**53 - 1
COUNT = COLUMNS[-1]
CSV, NDJSON = "text/csv", "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model whose last column is a whole number that may be missing."""
    directory = tmp_path_factory.mktemp("models") / "counting"
    inputs = [{"name": name, "type": "double", "required": True} for name in COLUMNS[:-1]]
    inputs.append({"name": COUNT, "type": "long", "required": False})
    return directory, build_model(directory, mlmodel={"signature": {"inputs": json.dumps(inputs)}})


@pytest.fixture
def mlflow(counting: tuple[Path, str]) -> FakeMlflow:
    fake = FakeMlflow()
    fake.add("1", *counting)
    fake.promote("1")
    return fake


def parquet(*counts: float | None) -> bytes:
    file = io.BytesIO()
    columns: dict[str, Any] = {name: [1.0] * len(counts) for name in COLUMNS[:-1]}
    pa.parquet.write_table(pa.table({**columns, COUNT: counts}), file)
    return file.getvalue()


def bodies(count: str) -> list[tuple[str, bytes, str]]:
    """Path, body and content type of requests for a row with a missing count and one with this count."""
    record = "{" + ",".join(f'"{name}":1' for name in COLUMNS[:-1]) + f',"{COUNT}":%s}}'
    records = f"[{record % 'null'},{record % count}]"
    names = json.dumps(COLUMNS)
    line = ",".join(["1"] * (len(COLUMNS) - 1))
    table = f"{','.join(COLUMNS)}\n{line},\n{line},{count}\n"
    rows = f"[[1,1,1,null],[1,1,1,{count}]]"
    columns = ",".join(f'"{name}":[1,1]' for name in COLUMNS[:-1]) + f',"{COUNT}":[null,{count}]'
    json_type = "application/json"
    return [
        ("/predict", (record % count).encode(), json_type),
        ("/predict", records.encode(), json_type),
        ("/predict/batch", records.encode(), json_type),
        ("/predict/batch", f"{record % 'null'}\n{record % count}\n".encode(), NDJSON),
        ("/predict/batch", f"{{{columns}}}".encode(), json_type),
        ("/predict/batch", table.encode(), CSV),
        ("/invocations", table.encode(), CSV),
        ("/invocations", f'{{"dataframe_records":{records}}}'.encode(), json_type),
        ("/invocations", f'{{"inputs":{{{columns}}}}}'.encode(), json_type),
        ("/invocations", f'{{"dataframe_split":{{"columns":{names},"data":{rows}}}}}'.encode(), json_type),
    ]


def tensors(count: str) -> list[str]:
    """Inference requests for a row with this count."""
    rest = ",".join(f'{{"name":"{name}","datatype":"FP64","shape":[1,1],"data":[1]}}' for name in COLUMNS[:-1])
    inputs = [
        f'{rest},{{"name":"{COUNT}","datatype":"{datatype}","shape":[1,1],"data":[{count}]}}'
        for datatype in ("INT64", "FP64")
    ]
    inputs.append(f'{{"name":"features","datatype":"FP64","shape":[1,4],"data":[1,1,1,{count}]}}')
    return [f'{{"inputs":[{each}]}}' for each in inputs]


async def statuses(served: Any, count: str) -> list[tuple[str, int, str]]:
    requests = [
        *bodies(count),
        *(("/v2/models/iris/infer", body.encode(), "application/json") for body in tensors(count)),
    ]
    found = []
    for path, body, kind in requests:
        answer = await served.client.post(path, content=body, headers={"Content-Type": kind})
        found.append((f"{path} {body[:60]!r}", answer.status_code, answer.text))
    return found


@pytest.mark.parametrize("count", [INEXACT, -INEXACT])
@pytest.mark.parametrize("form", ["{}", "{}.0"])
async def test_inexact_integer_is_refused(served: Any, count: int, form: str) -> None:
    for request, status, text in await statuses(served, form.format(count)):
        assert status in {400, 422}, request
        assert str(EXACT) in text or "whole number" in text, request


@pytest.mark.parametrize("count", [EXACT, -EXACT])
async def test_largest_exact_integer_is_taken(served: Any, count: int) -> None:
    assert {status for _, status, _ in await statuses(served, str(count))} == {200}


async def test_inexact_integer_in_parquet_is_refused(served: Any) -> None:
    for counts, status in (((INEXACT, None), 422), ((float(INEXACT), None), 422), ((EXACT, None), 200)):
        answer = await served.client.post("/predict/batch", content=parquet(*counts), headers={"Content-Type": PARQUET})
        assert answer.status_code == status, (counts, answer.text)
