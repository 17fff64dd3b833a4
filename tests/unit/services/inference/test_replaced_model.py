"""A replaced model leaves memory at once, whatever was requested of it."""

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

PATHS = ("/", "/health", "/metrics", "/openapi.json", "/v2/models/iris")


async def test_replaced_model_leaves_memory(served: Any) -> None:
    for path in PATHS:
        assert (await served.client.get(path)).status_code == 200
    await served.post_plainly(json.dumps(SETOSA).encode())
    for path, body in (("/predict", [SETOSA]), ("/predict/batch", [SETOSA]), ("/invocations", {"inputs": [SETOSA]})):
        assert (await served.client.post(path, json=body)).status_code == 200
    gc.collect()
    gc.disable()
    try:
        old = weakref.ref(served.service.store.require())
        served.mlflow.promote("2")
        await served.look()
        await asyncio.sleep(0)
        assert old() is None
    finally:
        gc.enable()


async def test_row_that_a_replaced_model_answered_last_does_not_keep_it(served: Any) -> None:
    model = served.service.store.require()
    row = tuple(SETOSA.values())
    answer = model.answer([row])[0]
    served.mlflow.promote("2")
    await served.look()
    served.service.metrics.traffic.note(model, row, answer, "id")
    old = weakref.ref(model)
    del model
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert old() is None
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 1
