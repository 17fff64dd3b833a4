import json
import logging
from typing import Any

import pytest

from src.core.errors import ModelFailedError
from src.services.inference.page.form import mark_of
from tests.support.models import SETOSA
from tests.support.served import request

pytestmark = pytest.mark.anyio

ROW = list(SETOSA.values())
CSV = ",".join(SETOSA) + "\n" + ",".join(map(str, ROW)) + "\n"
TENSOR = {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": ROW}
# Each route that predicts, with a body that it accepts.
PREDICTING: dict[str, tuple[str, dict[str, Any]]] = {
    "record": ("/predict", {"json": SETOSA}),
    "records": ("/predict", {"json": [SETOSA]}),
    "batch": ("/predict/batch", {"json": [SETOSA]}),
    "csv": ("/invocations", {"content": CSV, "headers": {"Content-Type": "text/csv"}}),
    "mlflow": ("/invocations", {"json": {"dataframe_records": [SETOSA]}}),
    "tensor": ("/v2/models/iris/infer", {"json": {"inputs": [TENSOR]}}),
    "version": ("/v2/models/iris/versions/1/infer", {"json": {"inputs": [TENSOR]}}),
    "page": ("/page/predict", {"data": {f"f{place}": str(value) for place, value in enumerate(ROW)}}),
}


def with_mark(served: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The request of the page's form with the mark that it needs; other requests unchanged."""
    if "data" not in given:
        return given
    return {"data": {**given["data"], "form": mark_of(served.service.store.current)}}


@pytest.fixture
def failing(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ModelFailedError("the model fails on these values")

    monkeypatch.setattr(type(served.service.store.current.engine), "predict", fail)


def logged(caplog: pytest.LogCaptureFixture, request_id: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if request_id in record.getMessage()]


@pytest.mark.parametrize("name", PREDICTING)
@pytest.mark.usefixtures("failing")
async def test_failure_of_the_model_is_logged_once_with_traceback_and_request_id(
    served: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path, given = PREDICTING[name]
    answer = await served.client.post(path, **with_mark(served, given))
    assert answer.status_code == 500
    (record,) = logged(caplog, answer.headers["x-request-id"])
    assert (record.levelno, record.exc_info[0]) == (logging.ERROR, ModelFailedError)  # type: ignore[index]
    assert "fail" in caplog.text.partition("Traceback")[2]


@pytest.mark.usefixtures("failing")
async def test_failure_on_the_fast_route_is_logged_once_with_traceback_and_request_id(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await served.post_plainly(json.dumps(SETOSA).encode(), x_request_id="order-7")
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "order-7")
    (record,) = logged(caplog, "order-7")
    assert record.exc_info is not None


async def test_refusals_under_overload_are_not_logged(
    serving: Any, mlflow: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=0) as served:
        await served.service.admission.enter()
        for _ in range(3):
            assert (await served.client.post("/predict", json=SETOSA)).status_code == 503
        served.service.admission.leave()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_requests_without_a_model_are_not_logged(unready: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert (await unready.client.post("/predict", json=SETOSA)).status_code == 503
    async with await unready.connect() as connection:
        connection.send(request(b"{}"))
        assert (await connection.answer()).status_code == 503
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
