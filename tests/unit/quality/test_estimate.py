"""The estimate without labels: what is drawn, what is left out, and that its interval keeps its promise."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.core.calibration import Calibration
from src.core.errors import ConfigError
from src.core.quality_report import Estimate, VersionQuality
from src.quality.estimate import Estimator, answerable, estimated_scores
from src.quality.labelled import Labelled
from tests.support.quality_rows import DAY, HOUR, NOW, CountingScorer, Row, joined

SAME = (1.0, 1.0, 0.0, 0.0)
CALIBRATED = Calibration(rows=600, classes=("a", "b"), scores={"accuracy": 0.8}, curves=[[SAME]] * 100)


class Accuracy(CountingScorer):
    """The weighted accuracy, and a metric that is undefined every other time."""

    def simulate(self, rows: Labelled, truths: Iterable[NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Score each truth."""
        self.seen.append(rows)
        found = np.array([np.average(truth == rows.predictions, weights=rows.weights) for truth in truths])
        half = np.where(np.arange(len(found)) % 2, np.nan, 0.25)
        return {"accuracy": found, "half": half, "never": np.full(len(found), np.nan), "unknown": found}


def rows_of(shares: Any, **given: Any) -> Labelled:
    """Rows whose class a has these probabilities, and is predicted from 0.5 on."""
    first = np.array(shares, dtype=np.float64)
    values = np.where(first >= 0.5, "a", "b").astype(object)
    usual = {"weights": np.ones(len(first)), "keys": np.arange(len(first))}
    return Labelled("1", values, values, ("a", "b"), np.column_stack([first, 1 - first]), **usual | given)


def scores(rows: Labelled, **given: Any) -> dict[str, Any]:
    return estimated_scores(rows, CALIBRATED.model_copy(update=given), Accuracy())


def test_estimate_is_the_mean_confidence_with_the_spread_of_the_labels() -> None:
    found = scores(rows_of([0.9, 0.3] * 500))["accuracy"]
    assert found.value == pytest.approx(0.8, abs=0.002)
    spread = 1.96 * np.sqrt((0.9 * 0.1 + 0.7 * 0.3) / 2 / 1000)
    assert found.value - found.low == pytest.approx(spread, rel=0.2)
    assert found.high - found.value == pytest.approx(spread, rel=0.2)


def test_rows_count_by_their_weights() -> None:
    found = scores(rows_of([0.9, 0.3] * 500, weights=np.resize([3.0, 1.0], 1000)))["accuracy"]
    assert found.value == pytest.approx((3 * 0.9 + 0.7) / 4, abs=0.003)


def test_interval_has_the_uncertainty_of_the_calibration_too() -> None:
    curves = [[(1.0, 1.0, shift, 0.0)] for shift in np.random.default_rng(0).normal(0, 0.5, 100)]
    wide, narrow = (scores(rows_of([0.8] * 1000), curves=found)["accuracy"] for found in (curves, [[SAME]] * 100))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("holdout", "below", "above"), [(0.9, 1.5, 0.5), (0.7, 0.5, 1.5)])
def test_interval_reaches_from_half_to_two_and_a_half_times_the_change_since_the_holdout(
    holdout: float, below: float, above: float
) -> None:
    rows = rows_of([0.8] * 1000)
    same, moved = (scores(rows, scores={"accuracy": score})["accuracy"] for score in (0.8, holdout))
    change = same.value - holdout
    assert same.value == moved.value
    assert moved.value - moved.low == pytest.approx(np.hypot(same.value - same.low, below * change), abs=1e-3)
    assert moved.high - moved.value == pytest.approx(np.hypot(same.high - same.value, above * change), abs=1e-3)


@pytest.mark.parametrize(("drop", "alerts"), [(0.10, False), (0.12, True)])
def test_alert_needs_an_estimated_drop_of_about_eleven_points(drop: float, *, alerts: bool) -> None:
    found = scores(rows_of([0.8] * 1000), scores={"accuracy": 0.8 + drop})["accuracy"]
    assert (0.8 + drop - found.high > 0.05) == alerts


class Drawn(Accuracy):
    """Other scores in each draw."""

    def simulate(self, rows: Labelled, truths: Iterable[NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """As many as there are truths, less one, in falling order."""
        return {"accuracy": np.arange(len(list(truths)) - 1.0, 0.0, -1.0) * rows.weights[0]}


def test_nineteen_of_twenty_further_draws_are_expected_in_the_interval() -> None:
    found = estimated_scores(
        rows_of([0.8] * 100), CALIBRATED.model_copy(update={"scores": {"accuracy": 100.0}}), Drawn()
    )["accuracy"]
    # Among the scores 1 to 199, another one has 200 places: five below the interval, and five above it.
    assert (found.value, found.low, found.high) == pytest.approx((100.0, 5.0, 195.0))


def test_undefined_scores_are_left_out_and_metrics_without_a_holdout_score_too() -> None:
    found = scores(rows_of([0.8] * 200), scores={"accuracy": 0.8, "half": 0.25, "never": 0.5})
    assert set(found) == {"accuracy", "half"}
    assert (found["half"].value, found["half"].low, found["half"].high) == (0.25, 0.25, 0.25)


def test_rows_without_all_probabilities_and_predictions_of_no_class_are_left_out() -> None:
    rows = rows_of([0.9, 0.8, 0.2, 0.7])
    assert rows.probabilities is not None
    shares = rows.probabilities.copy()
    shares[1] = np.nan
    predictions = np.array(["a", "a", "z", "a"], dtype=object)
    wider = np.column_stack([np.zeros(4), shares[:, ::-1]])
    given = replace(rows, predictions=predictions, probabilities=wider, classes=("0", "b", "a"))
    found = answerable(given, CALIBRATED)
    assert found.probabilities is not None
    assert found.classes == ("a", "b")
    assert found.probabilities.tolist() == [[0.9, pytest.approx(0.1)], [0.7, pytest.approx(0.3)]]
    assert len(answerable(replace(rows, probabilities=None, classes=()), CALIBRATED)) == 0
    assert len(answerable(replace(rows, classes=("a", "c")), CALIBRATED)) == 0


# -- which versions and windows ----------------------------------------------------------------------


def version(name: str, role: str = "champion") -> VersionQuality:
    return VersionQuality(version=name, role=role, first=NOW, last=NOW, windows=[])


def estimator(calibration: Calibration | None = CALIBRATED, *, by_class: bool = True) -> Estimator:
    return Estimator(lambda _: calibration, Accuracy(by_class=by_class))


def logged(sizes: dict[str, int]) -> Any:
    return lambda _, window, limit: rows_of([0.8] * min(limit, sizes.get(window, 0)))


def test_newest_champion_alone_has_an_estimate() -> None:
    given = [version("4", "shadow"), version("3"), version("2")]
    found = estimator().added(given, logged({"newest": 5000, "day": 100, "week": 99}))
    assert [found[0], found[2]] == [given[0], given[2]]
    estimate = found[1].estimate
    assert estimate is not None
    assert (estimate.reason, estimate.holdout) == (None, {"accuracy": 0.8})
    assert [(window.name, window.rows) for window in estimate.windows] == [("newest", 1000), ("day", 100)]
    assert estimate.windows[0].scores["accuracy"].value == pytest.approx(0.8, abs=0.01)


def test_regression_and_a_log_of_shadows_have_no_estimate() -> None:
    shadow, served = [version("4", "shadow")], [version("3")]
    assert estimator().added(shadow, logged({})) == shadow
    assert estimator(by_class=False).added(served, logged({})) == served


def test_reason_why_there_is_none_is_said() -> None:
    def damaged(_: str) -> Calibration:
        raise ConfigError("damaged")

    for found, reason in (
        (estimator(Calibration(rows=3, reason="few rows")), "few rows"),
        (estimator(None), "version 3 was registered without a calibration; train again"),
        (Estimator(damaged, Accuracy()), "damaged"),
    ):
        (one,) = found.added([version("3")], logged({"newest": 1000}))
        assert one.estimate == Estimate(reason=reason)


def test_rows_of_a_window_are_the_newest_or_those_of_the_period(tmp_path: Path) -> None:
    shares = {"a": 0.75, "b": 0.25}
    rows = [
        Row("new", HOUR, shares=shares, rate=0.5),
        Row("older", 2 * DAY, shares=shares),
        Row("oldest", 8 * DAY, shares=shares),
        Row("other", HOUR, version="2"),
        Row("shadow", HOUR, role="shadow"),
    ]
    with joined(tmp_path, rows, []) as quality:
        found = {name: quality.logged("1", name, 10) for name in ("newest", "day", "week")}
        assert {name: sorted(rows.keys) for name, rows in found.items()} == {
            "newest": ["new", "older", "oldest"], "day": ["new"], "week": ["new", "older"],
        }  # fmt: skip
        assert list(quality.logged("1", "newest", 2).keys) == ["new", "older"]
        day = found["day"]
        assert day.probabilities is not None
        assert (day.classes, day.probabilities.tolist(), day.weights.tolist()) == (("a", "b"), [[0.75, 0.25]], [2.0])


# -- the promise -------------------------------------------------------------------------------------


def test_interval_covers_the_realised_score_as_often_as_promised() -> None:
    random, covered, errors = np.random.default_rng(0), 0, []
    for _ in range(100):
        share = random.beta(2, 1, 400)
        truth = np.where(random.random(400) < share, "a", "b")
        rows = rows_of(share)
        found = scores(rows, scores={"accuracy": np.maximum(share, 1 - share).mean()})["accuracy"]
        realised = (truth == rows.predictions).mean()
        covered += found.low <= realised <= found.high
        errors.append(found.value - realised)
    assert 0.91 <= covered / 100 <= 0.99
    assert abs(np.mean(errors)) < 0.01
