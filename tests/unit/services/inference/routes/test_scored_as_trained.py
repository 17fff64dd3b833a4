"""A table with ids, dates, whole numbers, gaps and odd categories: what was trained on can be scored as it is."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from mlflow.models import Model

from src.core.pipeline_config import PipelineConfig
from src.pipeline import data_preprocess, train_model
from src.services.inference.page.form import mark_of
from src.training.frames import table_of
from src.training.package_model import Flavours, build_package
from src.training.sklearn_engine import SklearnEngine
from src.training.splitting import split_rows
from tests.support.fake_mlflow import FakeMlflow
from tests.support.training import config

pytestmark = pytest.mark.anyio

ROWS = 300
URL = "/predict/batch"


def customers() -> pd.DataFrame:
    """Cells as people write them."""
    random = np.random.default_rng(5)
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 1500, ROWS), unit="D")
    region = random.choice(["NA", "EU", "None"], ROWS)
    calls = random.integers(0, 9, ROWS)
    paperless = random.random(ROWS) < 0.5
    left = (calls > 5) ^ (since < "2021-06-01") ^ (region == "NA")
    return pd.DataFrame(
        {
            "customer": [f"C{number:04}" for number in range(ROWS)],
            "since": np.where(random.random(ROWS) < 0.1, "", since.strftime("%Y-%m-%d")),
            "region": np.where(random.random(ROWS) < 0.1, " ", region),
            "calls": np.where(random.random(ROWS) < 0.1, "n/a", calls.astype(str)),
            "account": 2**53 + random.integers(0, 9, ROWS),
            "paperless": np.where(paperless, "Yes", "no"),
            "bill": random.normal(50, 9, ROWS).round(2),
            "left": np.where(left, "yes", "no"),
        }
    )


def config_of(file: Path) -> PipelineConfig:
    return config(
        dataset={
            "source": str(file),
            "target": "left",
            "id": ["customer"],
            "features": {
                "since": {"type": "date", "missing": True},
                "region": {"type": "category", "values": ["NA", "EU", "None"], "missing": True},
                "calls": {"type": "integer", "missing": True},
                "account": {"type": "integer"},
                "paperless": {"type": "boolean"},
                "bill": {},
            },
            "classes": ["no", "yes"],
            "min_rows_per_class": 20,
        },
        model={"n_estimators": 10},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """The model's directory and digest, and its answers to the rows of training."""
    folder = tmp_path_factory.mktemp("customers")
    customers().to_csv(folder / "customers.csv", index=False)
    settings = config_of(folder / "customers.csv")
    frame = data_preprocess.prepare(settings.dataset).frame
    split = split_rows(frame, settings, None)
    model = train_model.fit(split.train, settings.model, settings.dataset)
    flavours = Flavours(build_package(model, split.train, split.holdout, settings.dataset, split.rule))
    flavours.save_model(str(folder / "model"), mlflow_model=Model())
    engine = SklearnEngine(model, tuple(model.classes_))
    answers = engine.predict(table_of(frame, settings.dataset.feature_schema))
    return folder / "model", flavours.manifest_sha256, list(answers.values)


@pytest.fixture
def mlflow(trained: tuple[Path, str, list[str]]) -> FakeMlflow:
    """The model is champion."""
    fake = FakeMlflow()
    fake.add("1", *trained[:2])
    fake.promote("1")
    return fake


async def test_training_file_comes_back_with_its_ids_and_predictions(served: Any, trained: Any) -> None:
    body = customers().to_csv(index=False).encode()
    headers = {"Content-Type": "text/csv"}
    refused = await served.client.post(URL, content=body, headers=headers)
    assert "unknown columns: customer, left; the model takes since, region" in refused.json()["detail"][0]["msg"]
    answer = await served.client.post(f"{URL}?extra_columns=keep", content=body, headers=headers)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["customer"] for row in rows] == customers()["customer"].tolist()
    assert [row["left"] for row in rows] == customers()["left"].tolist()
    assert [row["prediction"] for row in rows] == trained[2]


async def test_every_way_in_gives_the_answers_of_training(served: Any, trained: Any) -> None:
    expected = trained[2]
    frame = customers()
    scored = await served.client.post(
        "/invocations", content=frame.to_csv(index=False), headers={"Content-Type": "text/csv"}
    )
    assert scored.json() == {"predictions": expected}

    sink = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pandas(frame), sink)  # texts throughout, as people may write them
    headers = {"Content-Type": "application/vnd.apache.parquet", "Accept": "application/x-ndjson"}
    answer = await served.client.post(f"{URL}?extra_columns=ignore", content=sink.getvalue(), headers=headers)
    assert predictions(answer) == expected

    records = frame.drop(columns=["customer", "left"]).assign(
        since=pd.Series([text or None for text in frame["since"]], dtype=object),
        calls=pd.Series([None if text == "n/a" else int(text) for text in frame["calls"]], dtype=object),
        paperless=frame["paperless"] == "Yes",
    )
    answer = await served.client.post("/predict", json=records.to_dict("records"))
    assert [row["prediction"] for row in answer.json()["predictions"]] == expected
    typed = pa.Table.from_pandas(records.assign(since=pd.to_datetime(records["since"])))
    sink = io.BytesIO()
    pa.parquet.write_table(typed, sink)
    answer = await served.client.post(URL, content=sink.getvalue(), headers=headers)
    assert predictions(answer) == expected


def predictions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [msgspec.json.decode(line)["prediction"] for line in answer.text.splitlines()]


async def test_page_and_document_show_dates_and_categories(served: Any) -> None:
    page = (await served.client.get("/")).text
    assert 'type="date" value="20' in page
    document = (await served.client.get("/openapi.json")).json()["components"]["schemas"]["Record"]
    assert document["properties"]["region"]["description"] == "training values NA, EU, None; may be null or left out"
    assert document["properties"]["since"]["format"] == "date"
    assert isinstance(document["examples"][0]["since"], str)
    example = await served.client.post("/predict", json=document["examples"][0])
    assert example.status_code == 200


async def test_form_reports_what_no_training_row_has(served: Any) -> None:
    form = mark_of(served.service.store.current)
    fields = {"form": form, "f0": "1970-01-01", "f1": "US", "f2": "3", "f3": "9007199254740993", "f4": "true"}
    answer = await served.client.post("/page/predict", data={**fields, "f5": "50"})
    assert "region has a value that does not occur in the training rows; known values: EU, NA, None." in answer.text
    assert "since is outside the training rows&#39; range, 2020-01-" in answer.text
    assert answer.text.count("notice doubt") == 2
