import hashlib
import html
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.errors import ModelFailedError
from src.core.new_data import NewAmount, write_new_data
from src.core.retrain_record import Outcome, RetrainResult, Step
from src.core.retrain_signal import RetrainSpool
from src.services.inference.page.form import mark_of
from src.services.inference.routes.documentation import STATIC
from src.services.inference.routes.page import MAX_FORM_BYTES
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import COLUMNS, SETOSA, build_model
from tests.support.page_text import text_of
from tests.support.trained import finish
from tests.support.typed_model import build_typed_model
from tests.support.wide_model import build_wide_model

pytestmark = pytest.mark.anyio

KEY = "k" * 16
NASTY = '"><script>alert(1)</script>'


async def page_of(served: Any) -> str:
    answer = await served.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return str(answer.text)


def filled(served: Any, **values: str) -> dict[str, str]:
    row = {f"f{index}": str(SETOSA[name]) for index, name in enumerate(COLUMNS)}
    return {"form": mark_of(served.service.store.current), **row, **values}


def poll_of(markup: str) -> str:
    found = re.search(r'hx-get="([^"]+)"', markup)
    assert found
    return "/" + html.unescape(found[1])


async def test_page_shows_the_served_model_and_its_way_out(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.versions["1"].tags |= {"score.f1_macro": "0.91234", "zenml.run_id": "zr-1"}
    links = {
        "mlflow_public_url": "http://tracking.example/",
        "zenml_public_url": "http://zen.example/",
        "grafana_public_url": "http://graf.example/",
    }
    async with serving(tmp_path, mlflow, **links) as served:
        markup = await page_of(served)
    text = text_of(markup)
    assert "iris version 1" in text
    assert "f1_macro 0.9123 Engine" in text
    assert "Files verified as training registered them" in text
    assert "ONNX Runtime" in text
    for url in (
        "http://tracking.example/#/models/iris/versions/1",
        "http://tracking.example/#/runs/run1",
        "http://zen.example/projects/default/runs/zr-1",
        "http://graf.example",
        "docs",
    ):
        assert f'href="{url}"' in markup


async def test_page_links_only_to_what_is_configured_and_asks_for_no_key(served: Any) -> None:
    markup = await page_of(served)
    assert 'id="key"' not in markup
    assert "ZenML" not in markup
    assert "Grafana" not in markup


async def test_page_has_a_policy_that_it_keeps(served: Any) -> None:
    answer = await served.client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    form = await served.client.post("/page/predict", data=filled(served))
    for markup in (answer.text, form.text, (await served.client.post("/page/retrain")).text):
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on|<script(?! src=)", markup)
        assert not re.search(r'(?:src|href)="https?://(?!127\.0\.0\.1:\d)', markup.replace("http://inference", ""))
    assert '"allowEval": false' in answer.text
    assert '"includeIndicatorStyles": false' in answer.text


async def test_page_without_a_model_says_what_to_do(unready: Any) -> None:
    markup = await page_of(unready)
    text = text_of(markup)
    assert 'hx-trigger="every 1s"' in markup
    assert "Served model no model" in text
    assert "no version is champion yet" in text
    assert "Retrain now" in text
    assert "The form appears as soon as a model is served" in text
    answer = await unready.client.post("/page/predict", data={"form": "none"})
    assert "no model is loaded yet" in answer.text


async def test_page_without_mlflow_shows_the_model_and_what_is_wrong(served: Any) -> None:
    served.mlflow.down = True
    await served.look()
    text = text_of(await page_of(served))
    assert "iris version 1" in text
    assert "Start MLflow, or correct" in text
    assert "MLflow not reachable" in text
    assert "A rollback needs MLflow." in text


async def test_page_of_a_service_that_stops_says_so(served: Any) -> None:
    assert 'hx-trigger="every 4s"' in await page_of(served)
    served.service.stopping.begun = True
    markup = await page_of(served)
    assert "Served model stopping" in text_of(markup)
    assert 'hx-trigger="every 1s"' in markup


async def test_page_without_the_volume_says_so(served: Any) -> None:
    (served.service.spool.root / "new").rename(served.service.spool.root / "gone")
    text = text_of(await page_of(served))
    assert "the retrain spool cannot be used" in text
    assert "Nothing was requested" in text_of((await served.client.post("/page/retrain")).text)


async def test_names_that_are_markup_are_text(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    columns = (NASTY, "{{ 7*7 }}", "a b", "")
    folder = tmp_path / "nasty"
    mlflow.add("9", folder, build_model(folder, columns=columns, classes=(NASTY, "&amp;", "<i>")))
    mlflow.promote("9")
    mlflow.versions["9"].tags |= {"gate.verdict": NASTY, "zenml.run_id": NASTY}
    async with serving(tmp_path, mlflow, zenml_public_url="http://zen.example", ready=False) as served:
        served.service.spool.submit("alert", cause=NASTY)
        with served.service.spool.lock():
            (record,) = served.service.spool.claim()
            served.service.spool.update(record.with_error(NASTY))
        await served.look()
        markup = await page_of(served)
        for values in ({}, {"f0": ""}):
            answer = await served.client.post("/page/predict", data=filled(served, **values))
            assert "alert(1)" in answer.text
            markup += answer.text
    assert "<script>alert" not in markup
    assert html.escape(NASTY, quote=False).replace('"', "&#34;") in markup
    assert "49" not in text_of(markup).split()


async def test_form_is_answered_with_a_bar_per_class_and_a_command(served: Any) -> None:
    answer = await served.client.post("/page/predict", data=filled(served), headers={"Host": "localhost:8000"})
    assert answer.status_code == 200
    assert text_of(answer.text).startswith("setosa by version 1 Class Bar Probability setosa 100.0 % versicolor 0.0 %")
    command = html.unescape(re.search(r"<code[^>]*>(.*)</code>", answer.text)[1])  # type: ignore[index]
    assert command.endswith("http://localhost:8000/predict")
    assert '{"sepal_length":5.1,' in command


@pytest.mark.parametrize(
    ("current", "url"),
    [
        ("https://ml.example.com:8443/?a=b#c", "https://ml.example.com:8443/predict"),
        ("https://[", "https://[/predict"),
        ("javascript:alert(1)", "http://localhost:8000/predict"),
    ],
)
async def test_command_of_the_form_goes_to_where_the_browser_is(served: Any, current: str, url: str) -> None:
    headers = {"Host": "localhost:8000", "HX-Current-URL": current}
    answer = await served.client.post("/page/predict", data=filled(served), headers=headers)
    command = html.unescape(re.search(r"<code[^>]*>(.*)</code>", answer.text)[1])  # type: ignore[index]
    assert shlex.split(command)[-1] == url


async def test_prediction_of_the_form_counts_as_live_traffic(served: Any) -> None:
    await served.client.post("/page/predict", data=filled(served))
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 1
    await served.client.post("/page/predict", data=filled(served, f0=""))
    assert await served.metric("inference_prediction_errors_total", reason="missing") == 1


async def test_form_that_does_not_fit_is_answered_with_every_problem(served: Any) -> None:
    answer = await served.client.post("/page/predict", data=filled(served, f0="", f3="zq7marker"))
    assert answer.status_code == 200
    assert "sepal_length is required" in answer.text
    assert "petal_width must be a number" in answer.text
    assert "zq7marker" not in answer.text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"form=%zz&f0", b"a" * 5000])
async def test_form_with_any_body_is_answered(served: Any, body: bytes) -> None:
    answer = await served.client.post("/page/predict", content=body)
    assert "The model&#39;s columns have changed" in answer.text


async def test_form_with_more_fields_than_columns_is_refused_with_the_reason(served: Any) -> None:
    answer = await served.client.post("/page/predict", data=filled(served, f4="1"))
    assert answer.status_code == 200
    assert "more fields than the model has columns" in answer.text


async def test_form_takes_no_more_than_a_form_may_be_large(served: Any) -> None:
    assert (await served.client.post("/page/predict", content=b"a" * MAX_FORM_BYTES)).status_code == 200
    assert (await served.client.post("/page/predict", content=b"a" * (MAX_FORM_BYTES + 1))).status_code == 413
    assert await served.metric("inference_prediction_errors_total", reason="too_large") == 1


async def test_form_without_a_model_counts_as_the_apis_requests_do(unready: Any) -> None:
    await unready.client.post("/page/predict", data={"form": "none"})
    assert await unready.metric("inference_prediction_errors_total", reason="no_model") == 1


async def test_form_that_a_model_fails_on_counts_as_the_apis_requests_do(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ModelFailedError("the model fails on these rows")

    monkeypatch.setattr(served.service.scheduler, "answer", fail)
    answer = await served.client.post("/page/predict", data=filled(served))
    assert answer.status_code == 500
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


async def test_typed_form_may_leave_out_what_may_be_missing(tmp_path: Path, serving: Any) -> None:
    fake = FakeMlflow()
    fake.add("1", tmp_path / "model", build_typed_model(tmp_path / "model"))
    fake.promote("1")
    async with serving(tmp_path, fake) as served:
        markup = await page_of(served)
        given = filled(served, f0="Köln", f1="7", f2="true", f3="", f4="")
        answer = await served.client.post("/page/predict", data=given)
    assert '<select id="f2"' in markup
    assert "dear" in answer.text
    assert "area" not in answer.text


async def test_categories_are_chosen_and_may_be_empty_where_they_are_optional(tmp_path: Path, serving: Any) -> None:
    fake = FakeMlflow()
    fake.add("1", tmp_path / "model", build_wide_model(tmp_path / "model"))
    fake.promote("1")
    async with serving(tmp_path, fake) as served:
        markup = await page_of(served)
        row = {f"f{place}": "50" for place in range(24)}
        mark = mark_of(served.service.store.current)
        texts = {"f24": "monthly", "f25": "east", "f26": "card", "f27": "phone", "f28": "", "f29": "autumn"}
        answer = await served.client.post("/page/predict", data={"form": mark, **row, **texts})
    assert "leaves" in answer.text
    assert "&#34;channel&#34;" not in answer.text
    options = {
        name: re.findall(r'<option value="(.*?)"', inner)
        for name, inner in re.findall(r'<select id="(f\d+)".*?>(.*?)</select>', markup, re.DOTALL)
    }
    assert options["f24"] == ["monthly", "one year", "two years"]
    assert options["f29"] == ["", "autumn", "spring"]
    assert sorted(options) == sorted(texts)
    assert markup.count('class="bars"') == 3


async def test_news_come_only_when_there_are_some(served: Any) -> None:
    poll = poll_of(await page_of(served))
    assert (await served.client.get(poll)).status_code == 204
    await served.client.post("/predict", json=SETOSA)
    news = await served.client.get(poll)
    assert news.status_code == 200
    assert "1 of 200 rows so far" in news.text
    assert 'id="model"' in news.text
    assert (await served.client.get(poll_of(news.text))).status_code == 204


async def test_page_for_other_columns_is_loaded_anew(served: Any, tmp_path: Path) -> None:
    poll = poll_of(await page_of(served))
    folder = tmp_path / "other"
    served.mlflow.add("4", folder, build_model(folder, columns=("a", "b", "c", "d")))
    served.mlflow.promote("4")
    await served.look()
    answer = await served.client.get(poll)
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (204, "true")


async def test_model_that_comes_while_the_page_is_made_is_never_without_its_form(
    unready: Any, models: dict[str, tuple[Path, str]]
) -> None:
    directory, digest = models["first"]
    version = ModelVersion(name="iris", version="1", manifest_sha256=digest)
    predictor = load_predictor(directory, version, "cache")
    store = unready.service.store

    def come(_: str) -> None:
        store._swap(predictor)  # noqa: SLF001 - while MLflow is asked for the page

    unready.mlflow.before_answer = come
    poll = poll_of((await unready.client.post("/page/retrain")).text)
    assert (await unready.client.get(poll)).headers["HX-Refresh"] == "true"

    store.current = None  # as it was
    unready.service.page.forget()  # so that MLflow is asked
    markup = await page_of(unready)
    assert 'name="f0"' in markup
    assert (await unready.client.get(poll_of(markup))).status_code == 204

    store.current = None  # as it was
    unready.service.page.forget()  # so that MLflow is asked
    news = (await unready.client.get("/page/live?form=none")).text
    assert "form=none" in poll_of(news)


async def test_page_shows_how_much_is_new(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow) as served:
        assert "by amount" not in await page_of(served)
    amounts = [
        NewAmount(kind="rows", new=4, needed=1000, since="version 7"),
        NewAmount(kind="labels", new=0, needed=3, since="the last request"),
    ]
    write_new_data(served.service.settings.retrain_dir, "iris", amounts)
    async with serving(tmp_path, mlflow) as served:
        text = text_of(await page_of(served))
    both = "4 of 1,000 new rows since version 7; 0 of 3 new labels since the last request"
    assert f"Until the next training by amount: {both}." in text


async def test_retraining_is_requested_and_followed_to_its_verdict(served: Any) -> None:
    spool: RetrainSpool = served.service.spool
    asked = await served.client.post("/page/retrain")
    assert "A training was requested" in asked.text
    assert 'hx-trigger="every 1s"' in asked.text
    assert spool.has_waiting()
    with spool.lock():
        (record,) = spool.claim()
        spool.update(record.model_copy(update={"attempts": 1, "started_at": datetime.now(UTC)}))
        spool.update(spool.claimed()[0].at_step(Step.TRAIN).with_progress("search: 12 of 20 trials"))
        served.service.page.forget()  # else a second goes by
        running = (await served.client.get(poll_of(asked.text))).text
        assert "running" in running
        assert "for 0 s" in running
        assert "step 3 of 5: train; search: 12 of 20 trials" in running
        result = RetrainResult(outcome=Outcome.REJECTED, reason="too weak", finished_at=datetime.now(UTC))
        spool.finish(record, result)
    served.service.page.forget()
    news = (await served.client.get(poll_of(asked.text))).text
    assert "rejected" in news
    assert "too weak" in news
    assert 'hx-trigger="every 4s"' in news


async def test_open_pages_share_what_was_read_of_the_requests(
    serving: Any, mlflow: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.services.inference.page.page.VOLUME_SECONDS", 600.0)
    async with serving(tmp_path, mlflow) as served:
        poll = poll_of(await page_of(served))
        for _ in range(9):
            served.service.spool.submit("api")
        assert (await served.client.get(poll)).status_code == 204
        served.service.page.forget()
        assert (await served.client.get(poll)).text.count(">queued<") == 8


async def test_rolling_back_is_confirmed_and_reported(served: Any) -> None:
    spool: RetrainSpool = served.service.spool
    spool.submit("api")
    finish(spool, Outcome.PROMOTED, "2")
    served.mlflow.aliases |= {"champion": "2", "previous": "1"}
    await served.look()
    markup = await page_of(served)
    assert 'hx-confirm="Roll back from version 2 to version 1?"' in markup
    (path,) = re.findall(r'hx-post="(page/rollback[^"]+)"', markup)
    answer = await served.client.post(f"/{path}")
    assert 'done">Rolled back: version 1 is champion again, in place of version 2. It is served now.' in answer.text
    assert "iris</strong> version 1" in answer.text
    assert '<span class="tag failed">rolled back</span>' in answer.text
    assert 'hx-confirm="Return from version 1 to version 2?"' in answer.text
    again = await served.client.post(f"/{path}")
    assert again.status_code == 200
    assert '<p class="notice failed">Not rolled back: the champion is version 1 now' in again.text
    assert served.mlflow.aliases["champion"] == "1"
    assert served.mlflow.versions["2"].tags["rollback.by"].startswith("page, 127.0.0.1")


async def test_unfinished_roll_back_is_not_reported_as_none(served: Any) -> None:
    def do_it_silently(path: str) -> None:
        if path.endswith("registered-models/alias") and "rollback.by" in served.mlflow.versions["2"].tags:
            served.mlflow.before_answer = lambda _: None
            served.mlflow.promote("1")
            raise httpx.ReadTimeout("no answer")

    served.mlflow.aliases |= {"champion": "2", "previous": "1"}
    served.mlflow.before_answer = do_it_silently
    answer = await served.client.post("/page/rollback?champion=2")
    assert "Not rolled back" not in answer.text
    assert "The rollback is unfinished: version 1 may or may not be champion again" in answer.text
    # Version 1 says that it is becoming champion in place of version 2.
    assert 'hx-confirm="Roll back from version 1 to version 2?"' in answer.text
    again = await served.client.post("/page/rollback?champion=1")
    assert "Not rolled back: an interrupted promotion or rollback was completed" in again.text
    assert served.mlflow.aliases["previous"] == "2"


async def test_key_is_asked_for_where_one_is_set(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.aliases |= {"champion": "2", "previous": "1"}
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        assert '<input id="key" type="password"' in await page_of(served)
        for path in ("/page/retrain", "/page/rollback?champion=2"):
            assert (await served.client.post(path)).status_code == 401
            answer = await served.client.post(path, headers={"Authorization": f"Bearer {KEY}"})
            assert answer.status_code == 200
        assert mlflow.aliases["champion"] == "1"


async def test_pages_of_other_sites_predict_nothing(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        foreign = {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
        answer = await served.client.post("/page/predict", data=filled(served), headers=foreign)
        assert answer.status_code == 403
        assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 0
        assert (await served.client.post("/page/predict", data=filled(served))).status_code == 200  # without the key


async def test_pages_of_other_sites_change_nothing(served: Any) -> None:
    for path in ("/page/retrain", "/page/rollback?champion=1"):
        assert (await served.client.post(path, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert not served.service.spool.has_waiting()


async def test_page_is_answered_while_predictions_have_every_slot(
    serving: Any, mlflow: FakeMlflow, tmp_path: Path
) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=0) as served:
        before = await served.metric("inference_http_requests_shed_total", reason="queue_full")
        admission = next(layer.kwargs["admission"] for layer in served.app.user_middleware if "turns" in layer.kwargs)
        await admission.enter()
        assert (await served.client.get("/openapi.json")).status_code == 503
        assert (await served.client.get("/")).status_code == 200
        admission.leave()
        assert await served.metric("inference_http_requests_shed_total", reason="queue_full") == before + 1


@pytest.mark.parametrize("name", ["htmx.min.js", "pico.min.css", "page.css", "page.js"])
async def test_assets_are_the_services_own(served: Any, name: str) -> None:
    answer = await served.client.get(f"/page/assets/{name}")
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await served.client.get(f"/page/assets/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["nope.js", "docs.html", "docs.js", "README.md", "..%2Fdocs.html", "vendor/htmx.min.js"]
)
async def test_nothing_else_is_an_asset(served: Any, name: str) -> None:
    assert (await served.client.get(f"/page/assets/{name}")).status_code == 404


async def test_page_is_no_part_of_the_api(served: Any) -> None:
    document: httpx.Response = await served.client.get("/openapi.json")
    assert not [path for path in document.json()["paths"] if path == "/" or path.startswith("/page")]


def test_files_of_others_are_those_that_are_written_down() -> None:
    vendor = STATIC / "vendor"
    told = dict(re.findall(r"\| `([\w.]+)` .*`([0-9a-f]{64})` \|", (vendor / "README.md").read_text(encoding="utf-8")))
    found = {path.name for path in vendor.iterdir() if path.suffix in {".js", ".css"}}
    assert set(told) == found
    for name, digest in told.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
