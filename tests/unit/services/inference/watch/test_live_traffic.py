"""Live rows against training's, as a scrape tells it."""

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest

from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.services.inference.watch.live_traffic import BLOCK
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio
ALERT = 0.25


async def post(served: Any, *records: dict[str, float]) -> None:
    for record in records:
        assert (await served.post_plainly(json.dumps(record).encode())).status_code == 200


async def test_everything_is_there_from_the_start(served: Any) -> None:
    assert [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES] == [0, 0, 0]
    assert [await served.metric("inference_out_of_range_total", feature=name) for name in COLUMNS] == [0] * 4
    assert all([math.isnan(await served.metric("inference_drift_score", feature=name)) for name in COLUMNS])
    assert math.isnan(await served.metric("inference_prediction_drift_score"))
    assert await served.metric("inference_drift_window_rows") == 0
    assert await served.metric("inference_prediction_confidence_count") == 0
    assert await served.metric("inference_reference_class_ratio", **{"class": "setosa"}) == pytest.approx(1 / 3)


async def test_single_rows_lists_and_tables_count_alike(served: Any) -> None:
    await post(served, SETOSA, VIRGINICA)
    await served.client.post("/predict", json=SETOSA)
    await served.client.post("/predict", json=[SETOSA, VIRGINICA])
    await served.client.post("/invocations", json={"dataframe_records": [SETOSA]})
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert counts == [4, 0, 2]
    assert await served.metric("inference_prediction_confidence_count") == 6
    assert await served.metric("inference_drift_window_rows") == 6


async def test_a_full_block_is_worked_off_without_a_scrape(served: Any) -> None:
    traffic = served.service.metrics.traffic
    await post(served, *[SETOSA] * (BLOCK - 1))
    assert len(traffic._notes) == BLOCK - 1  # noqa: SLF001 - what this test is about
    await post(served, SETOSA)
    await asyncio.sleep(0)
    assert traffic._notes == []  # noqa: SLF001 - as above


async def test_values_outside_the_training_range_are_counted_by_feature(served: Any) -> None:
    await post(served, {**SETOSA, "petal_width": 99.0}, {**SETOSA, "petal_width": -1.0}, SETOSA)
    await served.client.post("/predict", json=[{**SETOSA, "sepal_width": 99.0}])
    counts = [await served.metric("inference_out_of_range_total", feature=name) for name in COLUMNS]
    assert counts == [0, 1, 0, 2]


async def test_confidence_is_the_probability_of_the_predicted_class(served: Any) -> None:
    await post(served, SETOSA)
    told = (await served.client.post("/predict", json=SETOSA)).json()["probabilities"]["setosa"]
    assert await served.metric("inference_prediction_confidence_sum") == pytest.approx(2 * told)


async def test_drift_names_the_feature_that_has_moved(served: Any) -> None:
    # The reference of these tests splits each column at 1, half of the rows on either side.
    random = np.random.default_rng(3)
    rows = [
        {name: float(value) for name, value in zip(COLUMNS, 2 * each, strict=True)} for each in random.random((300, 4))
    ]
    await served.client.post("/predict", json=rows)
    assert all([await served.metric("inference_drift_score", feature=name) < 0.1 for name in COLUMNS])
    moved = [{**row, "petal_width": row["petal_width"] + 1} for row in rows]
    await served.client.post("/predict", json=moved)
    scores = {name: await served.metric("inference_drift_score", feature=name) for name in COLUMNS}
    assert [name for name, score in scores.items() if score > ALERT] == ["petal_width"]


async def test_prediction_drift_follows_the_predicted_classes(served: Any) -> None:
    await served.client.post("/predict", json=[SETOSA] * 300)
    assert await served.metric("inference_prediction_drift_score") > ALERT


async def test_a_swap_starts_the_comparison_anew_and_keeps_the_counters(served: Any) -> None:
    await served.client.post("/predict", json=[{**SETOSA, "petal_width": 99.0}] * 250)
    served.mlflow.promote("2")
    await served.look()
    assert await served.metric("inference_drift_window_rows") == 0
    assert math.isnan(await served.metric("inference_drift_score", feature="petal_width"))
    assert await served.metric("inference_out_of_range_total", feature="petal_width") == 250
    assert sum([await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]) == 250


async def test_rows_that_the_model_before_answered_are_counted_and_not_compared(served: Any) -> None:
    before = served.service.store.require()
    served.mlflow.promote("2")
    await served.look()
    table = FeatureTable.from_rows(before.schema, [tuple(SETOSA.values())] * 3)
    served.service.metrics.traffic.note_table(before, table, before.predict(table))
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 3
    assert await served.metric("inference_drift_window_rows") == 0


async def test_labels_of_an_engine_s_own_count_as_those_that_probabilities_decide(served: Any) -> None:
    traffic, predictor = served.service.metrics.traffic, served.service.store.require()
    table = FeatureTable.from_rows(predictor.schema, [tuple(SETOSA.values())] * 300)
    traffic.note_table(predictor, table, Predictions(["virginica"] * 299 + ["other"]))
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in (*CLASSES, "other")]
    assert counts == [0, 0, 299, 1]
    as_labels = await served.metric("inference_prediction_drift_score")
    traffic.follow(predictor)
    traffic.note_table(predictor, table, Predictions(None, np.array([[0.0, 0.0, 1.0]] * 300), CLASSES))
    assert await served.metric("inference_predictions_total", **{"class": "virginica"}) == 599
    assert as_labels == pytest.approx(await served.metric("inference_prediction_drift_score"), rel=0.02)
