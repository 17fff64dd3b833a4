"""The drift measure at a reduced size, with the seeds of the whole one; and its published page."""

import msgspec
import numpy as np
import pytest

from benchmarks.drift import measures
from benchmarks.drift.columns import COLUMNS, MODEL, MOVED, RARE
from benchmarks.drift.measures import FEATURES, Days, measure_cell, measure_days, measure_whole
from benchmarks.drift.report import Results, markdown
from benchmarks.drift.run_drift import PUBLISHED, WINDOWS

# What must be found once the window holds 300 drifted rows and nothing else.
FOUND = {
    "numbers, normal": "1 standard deviation",
    "numbers, normal, 5 % missing": "1 standard deviation",
    "numbers, half of them 0": "1 standard deviation",
    "numbers, 92 % at the maximum": "a fifth at one value",
    "2 categories": "onto one category",
    RARE: "onto one category",
    "20 categories": "onto one category",
    "20 categories, Zipf": "onto one category",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_no_drift_is_no_alarm_and_drift_is_found(name: str) -> None:
    cell = measure_cell(name, 1000, 300, windows=100)
    # 0.05 are expected; two have a probability of 0.001.
    assert cell.alarms <= 1
    # 5 are expected at most; 14 have a probability of 0.0005.
    assert cell.positive < 14
    if name in FOUND:
        assert cell.power[FOUND[name]][0] >= 0.95


@pytest.mark.parametrize(
    "name", ["2 categories", RARE, "100 categories, Zipf", "numbers, half of them 0", "numbers, 92 % at the maximum"]
)
def test_a_large_reference_hides_no_drift(name: str) -> None:
    cell = measure_cell(name, 100_000, 300, windows=20)
    assert cell.alarms == 0
    for kind in ("onto one category", "onto a new category", "1 standard deviation", "a fifth missing"):
        assert cell.power.get(kind, (1.0, 1.0)) == (1.0, 1.0), kind


def test_a_model_of_thirty_features_alarms_as_seldom() -> None:
    assert len(MODEL) == FEATURES
    assert measure_whole(1000, 300, windows=30).alarms == 0


def test_alarms_of_a_model_are_those_of_any_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COLUMNS[RARE], "draw", COLUMNS[RARE].drifts["onto one category"])
    assert measure_whole(1000, 300, windows=5, names=(RARE, "2 categories")).alarms == 5


@pytest.mark.parametrize("name", [name for name in COLUMNS if "categories" in name and "5,000" not in name])
def test_drift_of_categories_moves_a_fifth_of_the_mass(name: str) -> None:
    random, column, rows = np.random.default_rng(4), COLUMNS[name], 50_000
    before = dict(zip(*np.unique(column.draw(random, rows), return_counts=True), strict=True))
    for kind, draw in column.drifts.items():
        after = dict(zip(*np.unique(draw(random, rows), return_counts=True), strict=True))
        moved = sum(max(0, count - before.get(value, 0)) for value, count in after.items()) / rows
        assert moved == pytest.approx(MOVED, abs=0.02), kind


def test_drift_of_numbers_is_what_its_name_says() -> None:
    random, column = np.random.default_rng(5), COLUMNS["numbers, normal"]
    shifted, gathered, missing = (draw(random, 20_000) for draw in column.drifts.values())
    assert shifted.mean() == pytest.approx(1, abs=0.03)
    assert np.unique(gathered, return_counts=True)[1].max() / 20_000 == pytest.approx(MOVED, abs=0.01)
    assert np.isnan(missing).mean() == pytest.approx(MOVED, abs=0.01)


def test_days_count_when_drift_begins_and_when_the_alert_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [np.array([1, 12, 13]), np.array([14]), np.array([], dtype=int), np.array([], dtype=int)]
    monkeypatch.setattr(measures, "FEATURES", 2)
    monkeypatch.setattr(measures, "_runs", lambda _: runs.pop())
    assert measure_days(1000, 300, days=2) == Days(1000, 60.0, 2, drifted=2.0, fired=1.0)


def test_runs_are_counted_at_both_ends() -> None:
    alarms = np.array([1, 0, 0, 1, 1, 0, 1, 1, 1], dtype=bool)
    assert measures._runs(alarms).tolist() == [1, 2, 3]  # noqa: SLF001 - what the days are counted by
    assert measures._runs(np.zeros(3, dtype=bool)).tolist() == []  # noqa: SLF001


def test_a_day_s_looks_are_judged_as_serving_does() -> None:
    training, calm, moved = np.full(10, 100), np.full(10, 30), np.array([75, 70, 65, 60, 30, 0, 0, 0, 0, 0])
    limit = measures._critical_value(0.0005 / FEATURES, 9)  # noqa: SLF001 - as above
    assert limit == pytest.approx(38.11, abs=0.01)
    assert measures._alarms(training, np.stack([calm, moved]), limit).tolist() == [False, True]  # noqa: SLF001


# -- published ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> Results:
    return msgspec.json.decode((PUBLISHED / "drift.json").read_bytes(), type=Results)


def test_published_page_is_that_of_the_published_results(results: Results) -> None:
    assert (PUBLISHED / "drift.md").read_text(encoding="utf-8") == markdown(results)


def test_published_results_keep_what_is_promised(results: Results) -> None:
    assert results.command == "make measure-drift"
    # A column that was added later is measured with the next run.
    measured = {cell.column for cell in results.cells}
    assert {"2 categories", "numbers, normal"} <= measured <= set(COLUMNS)
    assert {(cell.column, cell.rows, cell.window) for cell in results.cells} == {
        (name, rows, window) for name in measured for rows in (1000, 100_000) for window in (300, 5000)
    }
    assert all(cell.windows == WINDOWS and cell.alarms <= 10 for cell in results.cells)
    assert all(cell.power[FOUND[cell.column]][0] >= 0.95 for cell in results.cells if cell.column in FOUND)
    assert sum(whole.alarms for whole in results.wholes) <= 0.001 * sum(whole.windows for whole in results.wholes)
