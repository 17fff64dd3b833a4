"""The page in a real Chromium, on a loop of real processes."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, expect
from sklearn.datasets import load_iris

from src.core.audit_log import AuditLog, Entry, Event
from src.core.quality_report import REPORT_FILE, ClassCoverage, QualityReport, Score, VersionQuality, Window
from src.quality.report import write_report
from src.services.local.processes import REPOSITORY
from tests.support.browser import LAPTOP, PHONE, Tab, chromium, tab
from tests.support.inference_process import NOWHERE, Inference, without_mlflow
from tests.support.loop import Loop
from tests.support.models import COLUMNS
from tests.support.running import wait_until
from tests.support.wide_model import build_wide_model

pytestmark = pytest.mark.e2e

IMAGES = REPOSITORY / "docs" / "images"
# The README's pictures are taken anew only on demand: they differ a little each time.
TAKES_PICTURES = bool(os.environ.get("MLOPS_LOOP_SCREENSHOTS"))
TRAINING_MS = 120_000
KEY = "k" * 16


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop whose first model is served."""
    loop = Loop(tmp_path_factory.mktemp("page"))
    links = {"GRAFANA_PUBLIC_URL": "http://localhost:3000", "ZENML_PUBLIC_URL": "http://localhost:8080"}
    with loop.started(**links):
        yield loop


@pytest.fixture
def opened(browser: Browser, loop: Loop) -> Iterator[Tab]:
    """A tab that must have nothing to complain of at the end."""
    with tab(browser, loop.url) as opened:
        yield opened
        assert opened.complaints == []
        assert opened.strangers == []


def send_shifted_rows(loop: Loop) -> None:
    """300 flowers as live traffic, one of whose features is not as it was in training."""
    rows = load_iris().data
    records = [dict(zip(COLUMNS, row, strict=True)) for row in (*rows.tolist(), *rows.tolist())]
    for record in records:
        record["sepal_width"] += 0.5
    answer = httpx.post(f"{loop.url}/predict/batch", json=records, timeout=30)
    assert answer.status_code == 200, answer.text


def test_form_is_answered_by_keyboard_and_its_command_works(opened: Tab) -> None:
    page = opened.page
    expect(page.get_by_role("heading", name="Served model ready")).to_be_visible()
    typical = page.get_by_label("petal_length").input_value()
    page.get_by_label("petal_length").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("6.0")
    page.get_by_label("petal_width").fill("2.5")
    page.keyboard.press("Enter")
    answer = page.locator("#answer")
    expect(answer.locator("strong")).to_have_text("virginica")
    expect(answer.get_by_role("row", name="virginica")).to_contain_text("%")
    assert answer.locator("svg.chosen rect.fill").evaluate("bar => bar.getBoundingClientRect().width") > 50
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    told = subprocess.run(["bash", "-c", f"{command} --silent --fail"], capture_output=True, text=True, check=True)
    assert '"prediction":"virginica"' in told.stdout
    page.get_by_role("button", name="Typical row").click()
    expect(page.get_by_label("petal_length")).to_have_value(typical)
    expect(answer).to_be_empty()  # it was to other values
    page.get_by_role("button", name="Predict").click()
    expect(answer.locator("strong")).not_to_be_empty()
    page.get_by_label("petal_width").fill("2.4")
    expect(answer).to_be_empty()


def test_row_that_does_not_fit_is_told_where_it_stands(opened: Tab) -> None:
    page = opened.page
    page.get_by_label("petal_length").fill("1e300")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("alert")).to_contain_text("petal_length must be a finite number")


def test_first_champion_cannot_be_rolled_back(opened: Tab) -> None:
    expect(opened.page.locator("#roll-back")).to_be_disabled()
    expect(opened.page.get_by_text("Nothing to go back to: this is the first champion.")).to_be_visible()


def test_retraining_is_watched_to_its_verdict_and_rolled_back(opened: Tab, loop: Loop) -> None:
    page = opened.page
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Retrain now").click()
    expect(page.locator(".runs li")).to_have_count(1)

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Retrain now").click()
    newest = page.locator(".runs li").first
    expect(page.get_by_role("status")).to_contain_text("A training was requested")
    expect(page.get_by_role("status")).to_be_in_viewport()
    expect(newest.locator(".tag").last).to_have_text("running", timeout=TRAINING_MS)
    expect(newest.locator(".doing")).to_contain_text("step 3 of 5: train", timeout=TRAINING_MS)
    expect(newest).to_contain_text("champion version 1 has", timeout=TRAINING_MS)
    expect(newest.get_by_text("promoted")).to_be_visible()
    # The served model changes under the eyes of whoever looks, and the form keeps what was typed into it.
    expect(page.locator("#model .name")).to_have_text("iris version 2", timeout=20_000)

    confirmed = []

    def confirm(dialog: Dialog) -> None:
        confirmed.append(dialog.message)
        dialog.accept()

    page.once("dialog", confirm)
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_role("status")).to_contain_text(
        "version 1 is champion again, in place of version 2. It is served now."
    )
    assert confirmed == ["Roll back from version 2 to version 1?"]
    expect(page.locator("#model .name")).to_have_text("iris version 1")
    expect(newest.get_by_text("rolled back", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Return to version 2")).to_be_focused()
    assert loop.predict()["model"]["version"] == "1"


def test_roll_back_from_what_is_champion_no_more_is_refused(opened: Tab, loop: Loop) -> None:
    def overtaken(dialog: Dialog) -> None:
        httpx.post(f"{loop.url}/rollback", timeout=20).raise_for_status()
        dialog.accept()

    opened.page.once("dialog", overtaken)
    opened.page.get_by_role("button", name="Return to version 2").click()
    expect(opened.page.get_by_role("status")).to_contain_text("Not rolled back: the champion is version 2 now")
    assert loop.predict()["model"]["version"] == "2"


def test_drift_is_shown_as_it_comes(opened: Tab, loop: Loop) -> None:
    expect(opened.page.get_by_text("of 200 rows so far")).to_be_visible()
    send_shifted_rows(loop)
    row = opened.page.get_by_role("row", name="sepal_width")
    expect(row.locator(".level")).to_have_text("drifted", timeout=20_000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light", "viewport": LAPTOP}),
        ("dark", {"color_scheme": "dark", "viewport": LAPTOP}),
        ("phone", {"viewport": PHONE, "device_scale_factor": 1, "is_mobile": True, "has_touch": True}),
    ],
)
def test_page_is_accessible_and_fits(browser: Browser, loop: Loop, name: str, options: dict[str, object]) -> None:
    with tab(browser, loop.url, **options) as opened:
        page = opened.page
        page.get_by_label("petal_length").fill("5.0")
        page.get_by_label("petal_width").fill("1.7")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#answer svg")).to_have_count(3)
        assert opened.barriers() == []
        assert page.viewport_size
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        if TAKES_PICTURES:
            page.screenshot(path=IMAGES / f"page-{name}.png", full_page=True)
        assert opened.complaints == []
        assert opened.strangers == []


# Pixels below the last element of each card: its padding, or more where the card is stretched.
EMPTY = """() => [...document.querySelectorAll(".card")].map(
    card => card.getBoundingClientRect().bottom - card.lastElementChild.getBoundingClientRect().bottom)"""
FIELDS_IN_A_ROW = """() => {
    const tops = [...document.querySelectorAll(".field")].map(field => field.getBoundingClientRect().top);
    return tops.filter(top => top === tops[0]).length;
}"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    """A service with a model of 30 columns, six of them categories."""
    inference = without_mlflow(tmp_path_factory.mktemp("wide"), build_wide_model)
    with inference.serving():
        yield inference


@pytest.mark.parametrize(("viewport", "fields"), [(LAPTOP, 6), (PHONE, 2)], ids=["laptop", "phone"])
def test_page_of_thirty_columns_has_no_empty_card(
    browser: Browser, wide: Inference, viewport: dict[str, int], fields: int
) -> None:
    with tab(browser, wide.url, viewport=viewport) as opened:
        page = opened.page
        expect(page.locator(".field")).to_have_count(30)
        assert max(page.evaluate(EMPTY)) < 60
        assert page.evaluate(FIELDS_IN_A_ROW) == fields
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert opened.barriers() == []
        assert opened.complaints == []


def test_category_is_chosen_from_a_drop_down(browser: Browser, wide: Inference) -> None:
    with tab(browser, wide.url) as opened:
        page, answer = opened.page, opened.page.locator("#answer")
        page.get_by_label("contract").select_option("two years")
        page.get_by_label("channel").select_option("")
        page.get_by_role("button", name="Predict").click()
        expect(answer.locator("strong")).to_have_text("stays")
        expect(answer).not_to_contain_text("channel")
        page.get_by_label("contract").select_option("monthly")
        expect(answer).to_be_empty()
        page.get_by_role("button", name="Predict").click()
        expect(answer.locator("strong")).to_have_text("leaves")


def test_page_without_mlflow_asks_for_the_key_and_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    inference = without_mlflow(tmp_path)
    with inference.serving(WRITE_API_KEY=KEY), tab(browser, inference.url) as opened:
        page = opened.page
        expect(page.locator("#model")).to_contain_text("Start MLflow, or correct MLFLOW_TRACKING_URI")
        assert opened.barriers() == []
        assert opened.complaints == []
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Retrain now").click()
        expect(page.get_by_role("status")).to_contain_text("The key is missing or wrong; fill it in above.")
        page.get_by_label("Key for retraining").fill(KEY)
        page.get_by_role("button", name="Retrain now").click()
        expect(page.get_by_role("status")).to_contain_text("A training was requested")
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert KEY not in kept


def test_what_one_failed_look_has_told_goes_with_the_next_good_one(browser: Browser, tmp_path: Path) -> None:
    inference = without_mlflow(tmp_path)
    with inference.serving(WRITE_API_KEY=KEY), tab(browser, inference.url) as opened:
        page, notice = opened.page, opened.page.get_by_role("status")
        page.route("**/page/live?*", lambda route: route.fulfill(status=503, json={"detail": "busy"}))
        expect(notice).to_contain_text("The service answers 503: busy", timeout=20_000)
        page.unroute("**/page/live?*")
        expect(notice).to_be_empty(timeout=20_000)
        # What became of something that was asked for stays for longer than until the next look.
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Retrain now").click()
        expect(notice).to_contain_text("The key is missing or wrong")
        for _ in range(2):
            with page.expect_response("**/page/live?*"):
                pass
        expect(notice).to_contain_text("The key is missing or wrong")


def test_look_without_an_answer_is_given_up(browser: Browser, tmp_path: Path) -> None:
    inference = without_mlflow(tmp_path)
    with inference.serving(), tab(browser, inference.url) as opened:
        opened.page.route("**/page/live?*", lambda _: None)
        expect(opened.page.get_by_role("status")).to_contain_text("The service does not answer", timeout=30_000)
        opened.page.unroute("**/page/live?*")
        expect(opened.page.get_by_role("status")).to_be_empty(timeout=20_000)


def test_page_without_a_model_waits_for_one(browser: Browser, tmp_path: Path) -> None:
    inference = Inference(tmp_path, NOWHERE, "iris")
    with inference.started():
        wait_until("the service answers", inference.health)
        with tab(browser, inference.url) as opened:
            expect(opened.page.get_by_text("No model is served: predictions get 503 until one is.")).to_be_visible()
            assert opened.barriers() == []
            assert opened.complaints == []


NOW = datetime.now(UTC)
COVERAGE = {name: ClassCoverage(predicted=400, labelled=12) for name in ("setosa", "versicolor", "virginica")}
SCORES = {"neg_log_loss": Score(value=-0.12345, low=-0.2, high=-0.1), "f1_macro": Score(value=0.95, low=0.9, high=1)}
QUALITY = [
    Window(name=name, predicted=1200, labelled=36, delay_seconds=7200, scores=SCORES, coverage=COVERAGE)
    for name in ("newest", "day")
]
UNLABELLED = [Window(name=name, predicted=7, labelled=0) for name in ("newest", "day")]


@pytest.mark.parametrize("windows", [QUALITY, UNLABELLED], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_live_quality_is_accessible_and_fits(
    browser: Browser, tmp_path: Path, windows: list[Window], viewport: dict[str, int]
) -> None:
    inference = without_mlflow(tmp_path)
    served = VersionQuality(version="1", role="champion", first=NOW, last=NOW, windows=windows)
    report = QualityReport(model="iris", at=NOW, versions=[served], problems=["a problem"])
    write_report(tmp_path / "data" / "quality" / REPORT_FILE, report)
    with inference.serving(), tab(browser, inference.url, viewport=viewport) as opened:
        page = opened.page
        card = page.get_by_role("region", name="Live quality")
        expect(card).to_contain_text("a problem")
        expect(card.get_by_role("row", name="predicted")).to_have_count(3 if windows is QUALITY else 0)
        assert opened.barriers() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert opened.complaints == []


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_audit_log_is_accessible_fits_and_stays_open_while_it_grows(
    browser: Browser, tmp_path: Path, viewport: dict[str, int]
) -> None:
    inference = without_mlflow(tmp_path)
    log = AuditLog(tmp_path / "data" / "audit" / "audit.ndjson")
    by = "api, 127.0.0.1, request 0199f3c2-5a10-7c3e-9d57-0d1b5c1e8a42"
    log.append(
        Entry(event=Event.ROLLED_BACK, model="iris", version="3", previous="2", by=by, reason="callers complain")
    )
    with inference.serving(), tab(browser, inference.url, viewport=viewport) as opened:
        page = opened.page
        rows = page.locator("#audit tbody tr")
        expect(rows).to_be_hidden()
        page.get_by_text("Audit log").click()
        expect(rows).to_contain_text("callers complain")
        assert opened.barriers() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        log.append(Entry(event=Event.PROMOTED, model="iris", version="4"))
        expect(rows).to_have_count(2, timeout=15_000)
        expect(rows.first).to_be_visible()
        assert opened.complaints == []


def test_page_shows_everything_without_javascript(browser: Browser, loop: Loop) -> None:
    with tab(browser, loop.url, java_script_enabled=False) as opened:
        page = opened.page
        for name in ("Served model", "Predict", "Drift", "Versions", "Live quality", "Retraining"):
            expect(page.get_by_role("heading", name=name)).to_be_visible()
        expect(page.locator("noscript p")).to_be_visible()
        expect(page.locator(".runs li").first).to_be_visible()
