"""Live rows against the training rows, as a scrape reports it."""

import asyncio
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.core.category_keys import BUCKETS
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.model_registry import DriftReference
from src.core.predictions import Predictions
from src.serving.tables.answers import Answer
from src.serving.watch.live_traffic import BLOCK
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio
TOWNS = FeatureSchema(
    (
        Column("town", ColumnType.STRING, required=False, mlflow_type="string"),
        Column("street", ColumnType.STRING, mlflow_type="string"),
        Column("size"),
    )
)
TRAINED = DriftReference(
    rows=1000,
    edges={"size": [1.0]},
    shares={"size": [0.5, 0.5]},
    category_shares={"town": {"Bonn": 0.5, "Ulm": 0.5}},
    bucket_shares={"street": [1 / BUCKETS] * BUCKETS},
    minimum={"size": 0.0},
    maximum={"size": 2.0},
    class_shares=dict.fromkeys(CLASSES, 1 / 3),
)


async def post(served: Any, *records: dict[str, float]) -> None:
    for record in records:
        assert (await served.post_plainly(json.dumps(record).encode())).status_code == 200


async def each(served: Any, metric: str, names: Sequence[str] = COLUMNS, label: str = "feature") -> list[float]:
    """The metric's samples for these values of a label."""
    return [await served.metric(metric, **{label: name}) for name in names]


async def test_everything_is_there_from_the_start(served: Any) -> None:
    assert await each(served, "inference_predictions_total", CLASSES, "class") == [0, 0, 0]
    assert await each(served, "inference_out_of_range_total") == [0] * 4
    for metric in ("inference_drift_score", "inference_feature_drifted"):
        assert all(map(math.isnan, await each(served, metric)))
    for metric in ("inference_prediction_drift_score", "inference_prediction_drifted"):
        assert math.isnan(await served.metric(metric))
    assert await served.metric("inference_drift_window_rows") == 0
    assert await served.metric("inference_prediction_confidence_count") == 0
    assert await served.metric("inference_reference_class_ratio", **{"class": "setosa"}) == pytest.approx(1 / 3)


async def test_single_rows_lists_and_tables_count_alike(served: Any) -> None:
    await post(served, SETOSA, VIRGINICA)
    await served.client.post("/predict", json=SETOSA)
    await served.client.post("/predict", json=[SETOSA, VIRGINICA])
    await served.client.post("/invocations", json={"dataframe_records": [SETOSA]})
    counts = await each(served, "inference_predictions_total", CLASSES, "class")
    assert counts == [4, 0, 2]
    assert await served.metric("inference_prediction_confidence_count") == 6
    assert await served.metric("inference_drift_window_rows") == 6


async def test_notes_are_kept_for_a_full_block_or_a_replaced_model(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        traffic, current = served.service.metrics.traffic, served.service.store.require()
        row, answer = tuple(SETOSA.values()), Answer("setosa")
        unused = sys.getrefcount(row)
        for predictor, rows in ((current, BLOCK), (dataclasses.replace(current), 1)):
            for _ in range(rows - 1):
                traffic.note(predictor, row, answer, "id")
                await asyncio.sleep(0)
            assert sys.getrefcount(row) == unused + rows - 1
            traffic.note(predictor, row, answer, "id")
            await asyncio.sleep(0)
            assert sys.getrefcount(row) == unused


async def test_values_outside_the_training_range_are_counted_by_feature(served: Any) -> None:
    await post(served, {**SETOSA, "petal_width": 99.0}, {**SETOSA, "petal_width": -1.0}, SETOSA)
    await served.client.post("/predict", json=[{**SETOSA, "sepal_width": 99.0}])
    counts = await each(served, "inference_out_of_range_total")
    assert counts == [0, 1, 0, 2]


async def test_confidence_is_the_probability_of_the_predicted_class(served: Any) -> None:
    record = {**SETOSA, "petal_length": 4.9, "petal_width": 1.6}
    await post(served, record)
    shown = max((await served.client.post("/predict", json=record)).json()["probabilities"].values())
    assert shown < 1
    assert await served.metric("inference_prediction_confidence_sum") == pytest.approx(2 * shown)


async def test_prediction_drift_follows_the_predicted_classes(served: Any) -> None:
    await served.client.post("/predict", json=[SETOSA] * 300)
    assert await served.metric("inference_prediction_drift_score") > 0.5
    assert await served.metric("inference_prediction_drifted") == 1


async def test_a_swap_starts_the_comparison_anew_and_keeps_the_counters(served: Any) -> None:
    await served.client.post("/predict", json=[{**SETOSA, "petal_width": 99.0}] * 250)
    served.mlflow.promote("2")
    await served.look()
    assert await served.metric("inference_drift_window_rows") == 0
    assert math.isnan(await served.metric("inference_feature_drifted", feature="petal_width"))
    assert await served.metric("inference_out_of_range_total", feature="petal_width") == 250
    assert sum(await each(served, "inference_predictions_total", CLASSES, "class")) == 250


async def test_rows_that_the_model_before_answered_are_counted_and_not_compared(served: Any) -> None:
    before = served.service.store.require()
    served.mlflow.promote("2")
    await served.look()
    table = FeatureTable.from_rows(before.schema, [tuple(SETOSA.values())] * 3)
    served.service.metrics.traffic.note_table(before, table, before.engine.predict(table), "id")
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 3
    assert await served.metric("inference_drift_window_rows") == 0


async def test_labels_of_an_engine_s_own_count_as_those_that_probabilities_decide(served: Any) -> None:
    traffic, predictor = served.service.metrics.traffic, served.service.store.require()
    table = FeatureTable.from_rows(predictor.schema, [tuple(SETOSA.values())] * 300)
    traffic.note_table(predictor, table, Predictions(["virginica"] * 299 + ["other"]), "id")
    counts = await each(served, "inference_predictions_total", (*CLASSES, "other"), "class")
    assert counts == [0, 0, 299, 1]
    as_labels = await served.metric("inference_prediction_drift_score")
    traffic.follow(predictor)
    traffic.note_table(predictor, table, Predictions(None, np.array([[0.0, 0.0, 1.0]] * 300), CLASSES), "id")
    assert await served.metric("inference_predictions_total", **{"class": "virginica"}) == 599
    assert as_labels == pytest.approx(await served.metric("inference_prediction_drift_score"), rel=0.02)
    traffic.note_table(predictor, table, Predictions(["other"] * 300), "id")
    assert await served.metric("inference_prediction_drift_score") > 3  # unlike any class


def even_rows(rows: int) -> dict[str, list[float]]:
    """Rows as in training, which has half of each column's values on either side of 1; sorted by the first column."""
    random = np.random.default_rng(8)
    columns = {name: (2 * random.random(rows)).round(3).tolist() for name in COLUMNS}
    return columns | {COLUMNS[0]: sorted(columns[COLUMNS[0]])}


@pytest.mark.parametrize("path", ["/predict/batch", "/predict", "/invocations"])
async def test_a_sorted_batch_without_drift_does_not_alarm(served: Any, path: str) -> None:
    # In parts of fewer rows than these, of which the last ones hold the largest values only.
    columns = even_rows(8000)
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    body: Any = {"/predict/batch": columns, "/predict": records, "/invocations": {"dataframe_records": records}}[path]
    assert (await served.client.post(path, json=body)).status_code == 200
    assert await served.metric("inference_drift_window_rows") == 300
    assert await each(served, "inference_feature_drifted") == [0] * 4


async def test_sorted_batches_of_fewer_rows_than_the_window_do_not_alarm(served: Any) -> None:
    # Of the batch before the last only some rows are left: not the last, which are the largest.
    for _ in range(4):
        assert (await served.client.post("/predict/batch", json=even_rows(200))).status_code == 200
    assert await served.metric("inference_drift_window_rows") == 300
    assert await each(served, "inference_feature_drifted") == [0] * 4


async def test_a_drifted_batch_of_many_parts_alarms(served: Any) -> None:
    columns = even_rows(10_000)
    columns["petal_width"] = [value + 1 for value in columns["petal_width"]]
    await served.client.post("/predict/batch", json=columns)
    assert await each(served, "inference_feature_drifted") == [0, 0, 0, 1]
    scores = await each(served, "inference_drift_score")
    assert (scores[:3], scores[3] > 0.2) == ([0] * 3, True)


async def test_single_rows_and_batches_share_the_window(served: Any) -> None:
    await served.client.post("/predict/batch", json=even_rows(1000))
    await post(served, *[{**SETOSA, "petal_width": 1.9}] * 200)
    assert await served.metric("inference_drift_window_rows") == 300
    assert await served.metric("inference_feature_drifted", feature="petal_width") == 1
    await served.client.post("/predict/batch", json=even_rows(1000))
    assert await served.metric("inference_feature_drifted", feature="petal_width") == 0


async def test_a_batch_is_compared_once_it_is_whole(served: Any) -> None:
    traffic, predictor = served.service.metrics.traffic, served.service.store.require()
    table = FeatureTable.from_rows(predictor.schema, [tuple(SETOSA.values())] * 250)
    batch = traffic.batch(predictor, "id", 250)
    traffic.batch(predictor, "id", 250).end()
    for _ in range(2):
        traffic.note_part(batch, table, predictor.engine.predict(table))
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 500
    assert await served.metric("inference_drift_window_rows") == 0
    batch.end()
    assert await served.metric("inference_drift_window_rows") == 300


async def test_a_batch_that_a_swap_overtakes_is_compared_with_neither_model(served: Any) -> None:
    traffic, before = served.service.metrics.traffic, served.service.store.require()
    table = FeatureTable.from_rows(before.schema, [tuple({**SETOSA, "petal_width": 99.0}.values())] * 250)
    batch = traffic.batch(before, "id", 250)
    traffic.note_part(batch, table, before.engine.predict(table))
    served.mlflow.promote("2")
    await served.look()
    traffic.note_part(batch, table, before.engine.predict(table))
    batch.end()
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 500
    assert await served.metric("inference_out_of_range_total", feature="petal_width") == 250
    assert await served.metric("inference_drift_window_rows") == 0


async def test_unknown_categories_are_counted_by_feature(served: Any) -> None:
    traffic = served.service.metrics.traffic
    predictor = dataclasses.replace(served.service.store.require(), schema=TOWNS, reference=TRAINED)
    traffic.follow(predictor)
    assert await served.metric("inference_unknown_categories_total", feature="town") == 0
    text = (await served.client.get("/metrics")).text
    # No number has categories, and those of a column with very many are not known.
    assert text.count("inference_unknown_categories_total{") == 1
    assert text.count("inference_out_of_range_total{") == 1
    rows = [("Bonn", "a", 1.0), ("Rome", "b", 9.0), (None, "c", 1.0), ("Paris", "d", 1.0)]
    table = FeatureTable.from_rows(TOWNS, rows)
    traffic.note_table(predictor, table, Predictions(["setosa"] * 4), "id")
    assert await served.metric("inference_unknown_categories_total", feature="town") == 2
    assert await served.metric("inference_out_of_range_total", feature="size") == 1
    traffic.follow(predictor)
    assert await served.metric("inference_unknown_categories_total", feature="town") == 2
    traffic.follow(dataclasses.replace(predictor, reference=None))
    assert "inference_unknown_categories_total{" not in (await served.client.get("/metrics")).text
