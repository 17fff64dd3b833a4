"""A classifier's calibration: what is fitted, and when it is refused."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.calibration import Calibration, calibrated, calibration_file, read_calibration
from src.training.answers import Answers
from src.training.calibrate import calibrate, store_calibration

NOTHING = pd.DataFrame(index=range(4000))


def answers(rows: int, odds: Any, shown: Any, seed: int = 0) -> Answers:
    """Answers of a model of two classes that shows other probabilities than the true ones.

    Args:
        rows: their number.
        odds: the true log odds of the class yes, of a random number for each row.
        shown: the log odds that the model has, of the true ones.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    true = odds(random.normal(size=rows))
    truth = np.where(random.random(rows) < 1 / (1 + np.exp(-true)), "yes", "no")
    share = 1 / (1 + np.exp(-shown(true)))
    values = np.where(share > 0.5, "yes", "no")
    return Answers("1", ("no", "yes"), truth, values, np.column_stack([1 - share, share]))


def fitted(given: Answers, columns: pd.DataFrame | None = None, clusters: Any = None) -> Calibration:
    count = len(given)
    features = NOTHING.iloc[:count] if columns is None else columns
    return calibrate(given, features, np.arange(count) if clusters is None else clusters, {"accuracy": 0.8})


def expected_yes(calibration: Calibration, share: float) -> float:
    """The mean calibrated probability of yes."""
    shares = np.array([[1 - share, share]])
    curves = np.array(calibration.curves)
    return float(np.mean([calibrated(shares, shares.argmax(axis=1), curve)[0, 1] for curve in curves]))


def test_overconfident_model_is_calibrated() -> None:
    found = fitted(answers(4000, lambda x: 1.5 * x, lambda true: 2 * true))
    assert (found.reason, found.rows, found.classes) == (None, 4000, ("no", "yes"))
    assert found.scores == {"accuracy": 0.8}
    for shown, true in ((0.95, 0.813), (0.8, 0.667), (0.2, 0.333), (0.05, 0.187)):
        assert expected_yes(found, shown) == pytest.approx(true, abs=0.03)


def test_expected_confusion_is_right_where_the_probabilities_are_not_even_monotone() -> None:
    # Of the predictions, 70 % are right, whatever the probability.
    random = np.random.default_rng(1)
    share = random.uniform(0.02, 0.98, 4000)
    values = np.where(share > 0.5, "yes", "no")
    truth = np.where(random.random(4000) < 0.7, values, np.where(values == "yes", "no", "yes"))
    given = Answers("1", ("no", "yes"), truth, values, np.column_stack([1 - share, share]))
    found = fitted(given)
    assert found.reason is None
    predicted = (share > 0.5).astype(int)
    means = [calibrated(given.probabilities, predicted, curve) for curve in np.array(found.curves)]
    for place, name in enumerate(given.classes):
        mine = predicted == place
        right = (truth[mine] == name).mean()
        assert np.mean([shares[mine, place].mean() for shares in means]) == pytest.approx(right, abs=0.005)


def test_resamples_differ_as_much_as_chance_does() -> None:
    curves = np.array(fitted(answers(1000, lambda x: x, lambda true: true)).curves)
    assert curves.shape == (100, 1, 4)
    shares = np.full((1, 2), 0.5)
    spread = np.std([calibrated(shares, np.array([1]), curve)[0, 1] for curve in curves])
    assert 0.01 < spread < 0.08
    again = np.array(fitted(answers(4000, lambda x: x, lambda true: true)).curves)
    narrower = np.std([calibrated(shares, np.array([1]), curve)[0, 1] for curve in again])
    assert narrower < 0.8 * spread


def test_rows_of_a_cluster_are_resampled_together() -> None:
    one = answers(600, lambda x: x, lambda true: true)
    many = one.take(np.repeat(np.arange(600), 4))
    shares, place = np.full((1, 2), 0.5), np.array([1])

    def spread(clusters: Any) -> float:
        curves = np.array(fitted(many, clusters=clusters).curves)
        return float(np.std([calibrated(shares, place, curve)[0, 1] for curve in curves]))

    assert spread(np.repeat(np.arange(600), 4)) > 1.5 * spread(np.arange(2400))


@pytest.mark.parametrize(("rows", "reason"), [(499, "the holdout has 499 rows, and 500 are needed"), (500, None)])
def test_small_holdout_has_no_calibration(rows: int, reason: str | None) -> None:
    found = fitted(answers(rows, lambda x: x, lambda true: true))
    assert (found.reason, found.rows, bool(found.curves)) == (reason, rows, reason is None)


@pytest.mark.parametrize("size", [20, 21])
def test_many_classes_have_no_calibration(size: int) -> None:
    names = tuple(f"c{place:02}" for place in range(size))
    truth = np.resize(np.array(names), 600)
    shares = np.full((600, size), 0.1 / (size - 1))
    shares[np.arange(600), np.arange(600) % size] = 0.9
    found = fitted(Answers("1", names, truth, truth, shares))
    assert found.reason == (None if size == 20 else "the model has 21 classes, and at most 20 are supported")
    assert len(found.model_dump_json()) < 100_000


def test_model_that_is_always_right_is_not_certain() -> None:
    truth = np.resize(np.array(["no", "yes"]), 600)
    shares = np.where(truth[:, None] == ["no", "yes"], 1.0, 0.0)
    found = fitted(Answers("1", ("no", "yes"), truth, truth, shares))
    assert found.reason is None
    assert 0.98 < expected_yes(found, 1.0) < 1


def test_bad_calibration_within_a_column_is_refused_with_the_worst_group() -> None:
    # As often right as expected, for each confidence, but not for low and for high values of a column.
    random = np.random.default_rng(2)
    x = random.normal(size=2000)
    right = random.random(2000) < np.where(x < np.quantile(x, 1 / 3), 0.6, 0.9)
    values = np.resize(np.array(["no", "yes"]), 2000)
    truth = np.where(right, values, np.where(values == "yes", "no", "yes"))
    given = Answers("1", ("no", "yes"), truth, values, np.where(values[:, None] == ["no", "yes"], 0.8, 0.2))
    found = fitted(given, pd.DataFrame({"noise": random.normal(size=2000), "x": x}))
    assert found.reason is not None
    assert found.reason.startswith("calibration is bad for low values of x: 80% of the predictions are expected")
    assert " of 667 are" in found.reason
    assert found.curves == []
    assert fitted(given, pd.DataFrame({"noise": random.normal(size=2000)})).reason is None


@pytest.mark.parametrize("kind", [str, "category", bool])
def test_categories_are_groups(kind: Any) -> None:
    random = np.random.default_rng(3)
    group = random.random(2000) < 0.5
    right = random.random(2000) < np.where(group, 0.65, 0.95)
    values = np.resize(np.array(["no", "yes"]), 2000)
    truth = np.where(right, values, np.where(values == "yes", "no", "yes"))
    given = Answers("1", ("no", "yes"), truth, values, np.where(values[:, None] == ["no", "yes"], 0.8, 0.2))
    found = fitted(given, pd.DataFrame({"kind": pd.Series(group).astype(kind)}))
    assert found.reason is not None
    assert found.reason.startswith("calibration is bad for kind = ")


def test_small_gap_and_a_gap_that_may_be_chance_are_no_problem() -> None:
    random = np.random.default_rng(4)
    values = np.resize(np.array(["no", "yes"]), 4000)
    shares = np.where(values[:, None] == ["no", "yes"], 0.8, 0.2)

    def reason(rows: int, low: float, high: float) -> str | None:
        x = np.linspace(0, 1, rows)
        right = random.permutation(rows) % 1000 < 1000 * np.where(x > 0.5, high, low)
        truth = np.where(right, values[:rows], np.where(values[:rows] == "yes", "no", "yes"))
        given = Answers("1", ("no", "yes"), truth, values[:rows], shares[:rows])
        return fitted(given, pd.DataFrame({"x": x})).reason

    assert reason(4000, 0.79, 0.82) is None
    assert reason(500, 0.76, 0.84) is None
    assert reason(4000, 0.7, 0.9) is not None


def test_calibrated_models_are_hardly_ever_refused() -> None:
    columns = pd.DataFrame(np.random.default_rng(5).normal(size=(600, 4)), columns=list("abcd"))
    refused = [fitted(answers(600, lambda x: 1.5 * x, lambda t: t, seed), columns).reason for seed in range(20)]
    assert sum(reason is not None for reason in refused) <= 1


def test_calibration_is_stored_and_a_regression_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store_calibration(tmp_path / "c", "iris", "3", None)
    assert not (tmp_path / "c").exists()
    found = Calibration(rows=3, reason="few")
    store_calibration(tmp_path / "c", "iris", "3", found)
    assert read_calibration(calibration_file(tmp_path / "c", "iris", "3")) == found
    (tmp_path / "file").touch()
    with caplog.at_level(logging.ERROR):
        store_calibration(tmp_path / "file", "iris", "4", found)
    assert "the quality of version 4 will not be estimated" in caplog.text
