"""The rows on which challenger, champion and the best former champion are compared, and breaking changes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.errors import ConfigError, InvalidModelError, OtherCodeError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.pipeline_config import PipelineConfig
from src.training import seen_rows
from src.training.compare_models import compare
from src.training.comparison import Comparison
from src.training.evaluate_model import Evaluation
from src.training.gate import decide
from src.training.registry import Contract, FetchedModel
from src.training.scoring import Metric
from src.training.splitting import Split, SplitRule, held_out, split_by
from tests.support.fake_models import FakeEngine, FakeRegistry

pytestmark = pytest.mark.slow

RULE = SplitRule(by="hash", columns=["x"], seed=1, share=0.3)
OTHERS = RULE.model_copy(update={"seed": 2})
CLASSES = ("high", "low")
X, Z = Column("x"), Column("z", required=False)


def settings(**sections: Any) -> PipelineConfig:
    raw: dict[str, Any] = {
        "dataset": {
            "source": "x.csv",
            "target": "label",
            "features": {"x": {}, "z": {"missing": True}},
            "classes": list(CLASSES),
            "min_rows_per_class": 2,
            "duplicates": "keep",
        },
        "split": {"holdout_fraction": 0.3, "seed": 1},
        "gate": {"metric": "accuracy", "tolerance": 0.01},
    }
    return PipelineConfig.model_validate({name: value | sections.get(name, {}) for name, value in raw.items()})


ROWS = 800


def frame(rows: int = ROWS) -> pd.DataFrame:
    """The label is high where x is positive."""
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    z = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows))
    return pd.DataFrame({"x": x, "z": z, "label": np.where(x > 0, "high", "low"), "day": np.arange(float(rows))})


SPLIT = split_by(RULE, frame())


def high_above(limit: float) -> Callable[[FeatureTable], Any]:
    """Answers high where x is above a limit."""

    def answer(table: FeatureTable) -> Any:
        high = table.columns[table.schema.names.index("x")] > limit
        return np.column_stack([high, ~high]) * 0.8 + 0.1

    return answer


def model(
    version: str,
    limit: float = 0.0,
    *columns: Column,
    rule: SplitRule | None = RULE,
    classes: tuple[str, ...] = CLASSES,
) -> FetchedModel:
    return FetchedModel(version, FeatureSchema(columns or (X,)), FakeEngine(high_above(limit), classes), rule)


@pytest.fixture(autouse=True)
def no_zenml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_rows, "training_rows_of", lambda _: None)


def compared(
    *models: FetchedModel, split: Split = SPLIT, config: PipelineConfig | None = None, **aliases: str
) -> tuple[Evaluation, Comparison]:
    """The last model against those that the aliases name."""
    registry = FakeRegistry({found.version: found for found in models}, **aliases)
    return compare(registry, models[-1].version, split, config or settings(), {})  # type: ignore[arg-type]


def accuracy(split: Split, limit: float, mask: Any = slice(None)) -> float:
    rows = split.holdout[mask]
    return float((np.where(rows["x"] > limit, "high", "low") == rows["label"]).mean())


def test_without_a_champion_the_whole_holdout_is_scored() -> None:
    evaluation, found = compared(model("1", 0.1))
    assert (found.rows, found.champion, found.champion_version) == (len(SPLIT.holdout), None, None)
    assert found.challenger["accuracy"] == pytest.approx(accuracy(SPLIT, 0.1))
    assert evaluation.scores == found.challenger
    assert found.basis == "that it was not trained on"
    assert found.baseline is not None


def test_classifier_is_calibrated_on_the_rows_that_it_is_scored_on() -> None:
    evaluation, _ = compared(model("1", 0.1))
    assert evaluation.calibration is not None
    assert evaluation.calibration.reason == f"the holdout has {len(SPLIT.holdout)} rows, and 500 are needed"
    split = split_by(RULE, frame(2400))
    evaluation, found = compared(model("1", 0.1), split=split)
    assert evaluation.calibration is not None
    assert evaluation.calibration.rows == found.rows == len(split.holdout)
    # It is always right except just above 0, with the same confidence for all rows.
    assert evaluation.calibration.reason is not None
    assert evaluation.calibration.reason.startswith("calibration is bad for low values of x: 94% ")


def test_models_of_one_rule_are_compared_on_the_whole_holdout() -> None:
    _, found = compared(model("1", 0.4), model("2", 0.1), champion="1")
    assert (found.rows, found.champion_version, found.champion_problem) == (len(SPLIT.holdout), "1", None)
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4))
    assert found.basis == "that neither was trained on (both models' split rules hold them out)"
    assert (found.breaking, found.best, found.best_version) == ((), None, None)


def test_models_of_different_rules_are_compared_on_rows_that_both_hold_out() -> None:
    _, found = compared(model("1", 0.4, rule=OTHERS), model("2", 0.1), champion="1")
    both = held_out(OTHERS, SPLIT.holdout)
    assert found.rows == both.sum() < len(SPLIT.holdout)
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4, both))
    assert found.challenger["accuracy"] == pytest.approx(accuracy(SPLIT, 0.1, both))


def test_rows_are_resampled_by_the_clusters_of_the_splits_rule() -> None:
    one_customer = Split(frame().assign(customer="c"), SPLIT.mask, RULE.model_copy(update={"columns": ["customer"]}))
    _, by_row = compared(model("2", 0.1))
    _, by_customer = compared(model("2", 0.1), split=one_customer)
    assert by_row.baseline is not None
    assert by_customer.baseline is not None
    assert by_row.baseline.difference.low > 0
    assert by_customer.baseline.difference.low == -math.inf


def test_constant_answers_are_learned_from_the_training_rows() -> None:
    rare = frame()
    rare.loc[~SPLIT.mask, "label"] = "low"
    _, found = compared(model("2", 0.1), split=split_by(RULE, rare))
    assert found.baseline is not None
    assert found.baseline.name != "always 'high'"


def test_champion_that_has_seen_too_many_rows_is_left_out_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    small = split_by(RULE, frame(150))
    both = int(held_out(OTHERS, small.holdout).sum())
    assert 0 < both < 30 < len(small.holdout)
    _, found = compared(model("1", rule=OTHERS), model("2"), champion="1", split=small)
    reason = (
        f"only {both} holdout rows new to it and with the values that it requires; 30 are needed "
        "(both models' split rules hold them out)"
    )
    assert (found.champion, found.champion_version, found.champion_problem) == (None, "1", reason)
    assert found.rows == len(small.holdout)
    assert found.basis == "that it was not trained on"
    assert caplog.messages == [f"the champion is not compared: {reason}"]
    assert decide(settings().gate, found)[0]


@pytest.mark.parametrize(("rows", "compared_on"), [(30, True), (29, False)], ids=str)
def test_thirty_new_rows_are_enough(rows: int, *, compared_on: bool) -> None:
    by_time = SplitRule(by="time", columns=["day"], seed=1, share=0.3, cutoff=ROWS - 1.0 - rows)
    _, found = compared(model("1", rule=by_time), model("2"), champion="1", split=SPLIT_OF_ALL)
    assert (found.champion is not None) is compared_on
    assert found.rows == (rows if compared_on else ROWS)


SPLIT_OF_ALL = Split(frame(), np.ones(ROWS, dtype=bool), RULE.model_copy(update={"share": 1.0}))


@pytest.fixture(autouse=True)
def train_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # A split that holds out everything has no training rows to learn constant answers from.
    monkeypatch.setitem(SPLIT_OF_ALL.__dict__, "train", frame())


def test_a_whole_holdout_of_few_rows_is_compared() -> None:
    small = split_by(RULE, frame(60))
    assert len(small.holdout) < 30
    _, found = compared(model("1", 0.4), model("2"), champion="1", split=small)
    assert found.rows == len(small.holdout)
    assert found.champion is not None


def test_new_rows_without_one_of_the_classes_decide_nothing() -> None:
    sorted_days = frame().sort_values("x").assign(day=np.arange(float(ROWS)))
    split = split_by(RULE, sorted_days)
    newest = SplitRule(by="time", columns=["day"], seed=1, share=0.3, cutoff=500.0)
    _, found = compared(model("1", rule=newest), model("2"), champion="1", split=split)
    assert found.champion is None
    assert "holdout rows that are new to it lack the class low" in (found.champion_problem or "")
    assert found.rows == len(split.holdout)


def test_champion_of_unknown_training_rows_is_left_out() -> None:
    _, found = compared(model("1", rule=None), model("2"), champion="1")
    assert (found.champion, found.champion_problem) == (None, seen_rows.UNKNOWN)


def test_champion_without_a_rule_is_compared_without_its_stored_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_rows, "training_rows_of", lambda _: SPLIT.holdout.head(40))
    _, found = compared(model("1", 0.4, rule=None), model("2"), champion="1")
    assert found.rows == len(SPLIT.holdout) - 40
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4, slice(40, None)))
    assert found.basis == (
        "that neither was trained on (the training rows of version 1, as stored in ZenML, are left out)"
    )


def test_challengers_data_hash_decides_whether_an_old_split_is_made_again() -> None:
    registry = FakeRegistry({"1": model("1", 0.4, rule=None), "2": model("2")}, champion="1")
    registry.run_parameters = {"split.holdout_fraction": "0.5", "split.seed": "3"}
    for number in ("1", "2"):
        registry.versions_by_number[number].tags["data.sha256"] = "same"
    _, found = compare(registry, "2", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert "from its repeated split" in found.basis
    registry.versions_by_number["2"].tags["data.sha256"] = "other"
    _, found = compare(registry, "2", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert found.champion is None


def test_damaged_champion_does_not_prevent_the_comparison() -> None:
    registry = FakeRegistry({"1": None, "2": model("2")}, champion="1")
    _, found = compare(registry, "2", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert (found.champion, found.champion_version) == (None, "1")
    assert found.champion_problem == "version 1 lacks model.onnx"
    assert found.breaking == ()


def test_champion_that_cannot_be_loaded_has_callers_all_the_same() -> None:
    registry = FakeRegistry({"1": None, "2": model("2")}, champion="1")
    registry.contracts["1"] = Contract(FeatureSchema((X, Column("gone"))), ("high", "mid", "low"))
    _, found = compare(registry, "2", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert found.champion_problem == "version 1 lacks model.onnx"
    assert found.breaking == (
        "the column gone is removed",
        "the answers are the classes high, low and were the classes high, mid, low",
    )
    promoted, reason = decide(settings().gate, found)
    assert not promoted
    assert "only the floor and the best answer without features decide: version 1 lacks model.onnx" in reason


@pytest.mark.parametrize(("floor", "promoted"), [(None, False), (0.5, True)])
def test_champion_of_other_code_is_replaced_only_where_a_floor_limits_the_score(
    floor: float | None, *, promoted: bool
) -> None:
    registry = FakeRegistry({"1": OtherCodeError("edited"), "2": model("2")}, champion="1")
    chosen = settings(gate={"floor": floor})
    _, found = compare(registry, "2", SPLIT, chosen, {})  # type: ignore[arg-type]
    assert found.champion_of_other_code
    assert decide(chosen.gate, found)[0] is promoted


@pytest.mark.parametrize("problem", [None, InvalidModelError("damaged")], ids=["lacks a file", "damaged"])
def test_champion_that_is_damaged_is_not_of_other_code(problem: InvalidModelError | None) -> None:
    registry = FakeRegistry({"1": problem, "2": model("2")}, champion="1")
    _, found = compare(registry, "2", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert found.champion_problem is not None
    assert not found.champion_of_other_code


def test_champion_that_fails_does_not_prevent_the_comparison() -> None:
    broken = FetchedModel("1", FeatureSchema((X,)), FakeEngine(lambda _: [[np.nan] * 2], CLASSES), RULE)
    _, found = compared(broken, model("2"), champion="1")
    assert found.champion is None
    assert "version 1 does not return finite probabilities for each holdout row" in (found.champion_problem or "")
    assert found.basis.startswith("that it was not trained on")


def test_challenger_that_cannot_answer_is_an_error() -> None:
    broken = FetchedModel("2", FeatureSchema((X,)), FakeEngine(lambda _: [[np.nan] * 2], CLASSES), RULE)
    with pytest.raises(InvalidModelError, match="version 2"):
        compared(model("1"), broken, champion="1")


def test_a_new_optional_column_is_compared_on_the_champions_columns_and_can_be_promoted() -> None:
    _, found = compared(model("1", 0.4), model("2", 0.0, X, Z), champion="1")
    assert found.breaking == ()
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4))
    assert decide(settings().gate, found)[0]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ((Z,), "the column x is removed"),
        ((X, Column("day")), "the new column day may not be missing"),
        (
            (Column("x", ColumnType.INTEGER, mlflow_type="long"),),
            "the column x is of the type integer and was of the type number",
        ),
    ],
)
def test_breaking_columns_are_named_and_rejected_unless_allowed(columns: tuple[Column, ...], sentence: str) -> None:
    answer = high_above(0.0)
    challenger = FetchedModel(
        "2",
        FeatureSchema(columns),
        FakeEngine(lambda table: answer(table) if "x" in table.schema.names else [[0.4, 0.6]] * len(table), CLASSES),
        RULE,
    )
    _, found = compared(model("1", 2.0), challenger, champion="1")
    assert found.breaking == (sentence,)
    assert found.champion is not None
    promoted, reason = decide(settings().gate, found)
    assert not promoted
    assert sentence in reason
    allowed = settings(gate={"allow_breaking": True}).gate
    assert sentence in decide(allowed, found)[1]


def test_allowed_breaking_change_may_be_promoted() -> None:
    _, found = compared(model("1", 0.4), model("2", 0.0, X, Column("w")), champion="1", split=WITH_W)
    assert found.breaking == ("the new column w may not be missing",)
    assert decide(settings(gate={"allow_breaking": True}).gate, found)[0]


WITH_W = split_by(RULE, frame().assign(w=1.0))


def test_champion_whose_columns_are_gone_is_left_out() -> None:
    _, found = compared(model("1", 0.4, X, Column("gone")), model("2"), champion="1")
    assert found.breaking == ("the column gone is removed",)
    assert (found.champion, found.champion_problem) == (None, "version 1 takes columns that no longer exist: gone")


@pytest.mark.parametrize(
    ("classes", "answers", "message"),
    [
        (("high",), [[1.0]], "version 1 answers with high"),
        (("high", "low", "mid"), [[0.2, 0.3, 0.5]], "version 1 answers with high, low, mid"),
        ((), [1.0], "version 1 answers with numbers"),
    ],
)
def test_champion_of_other_classes_is_left_out_and_breaks(
    classes: tuple[str, ...], answers: list[Any], message: str
) -> None:
    other = FetchedModel(
        "1",
        FeatureSchema((X,)),
        FakeEngine(lambda table: np.resize(answers, (len(table), *np.shape(answers)[1:])), classes),
        RULE,
    )
    _, found = compared(other, model("2"), champion="1")
    assert len(found.breaking) == 1
    assert (found.champion, found.champion_problem) == (None, message)
    assert not decide(settings().gate, found)[0]


def test_rows_that_the_champion_would_refuse_are_not_put_to_it() -> None:
    strict = model("1", 0.4, X, Column("z"))
    _, found = compared(strict, model("2", 0.0, X, Z), champion="1")
    complete = SPLIT.holdout["z"].notna()
    assert found.breaking == ()
    assert found.rows == complete.sum() < len(SPLIT.holdout)
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4, complete.to_numpy()))
    dropped = int((~complete).sum())
    assert dropped > 1
    assert found.basis == (
        "that neither was trained on (both models' split rules hold them out; "
        f"{dropped} rows without a value that version 1 requires not counted)"
    )


def test_only_rows_that_are_new_to_the_champion_count_as_left_out() -> None:
    new = held_out(OTHERS, SPLIT.holdout)
    seen, unseen = int(np.flatnonzero(~new)[0]), int(np.flatnonzero(new)[0])
    holdout = SPLIT.holdout.assign(z=1.0)
    holdout.loc[[seen, unseen], "z"] = np.nan
    split = Split(pd.concat([SPLIT.train.assign(z=1.0), holdout], ignore_index=True), np.sort(SPLIT.mask), RULE)
    _, found = compared(model("1", 0.4, X, Column("z"), rule=OTHERS), model("2", 0.0, X, Z), champion="1", split=split)
    assert found.rows == new.sum() - 1
    assert "; 1 row without a value that version 1 requires not counted)" in found.basis


def undefined_above(limit: float) -> dict[str, Metric]:
    """An own metric that has no value for a model whose accuracy is above the limit."""

    def cost(truth: Any, answers: Any, *_: Any) -> float:
        right = float(np.mean(truth == answers))
        return right if right <= limit else math.nan

    return {"cost": Metric("cost", cost)}


@pytest.mark.parametrize("alias", ["champion", "best"])
def test_version_for_which_an_own_metric_has_no_value_is_left_out_by_name(alias: str) -> None:
    models = {"1": model("1", 0.0), "2": model("2", 0.5), "3": model("3", 0.4)}
    registry = FakeRegistry(models, **{"champion": "2", alias: "1"})  # type: ignore[arg-type]
    config = settings().model_copy(update={"report": ["cost"]})
    _, found = compare(registry, "3", SPLIT, config, undefined_above(0.99))  # type: ignore[arg-type]
    problem = (
        f"version 1 cannot be scored: the metric cost returns nan for {len(SPLIT.holdout)} rows; "
        "it must be a finite number"
    )
    assert getattr(found, alias) is None
    assert found.challenger["cost"] == pytest.approx(accuracy(SPLIT, 0.4))
    assert problem in ((found.champion_problem or "") if alias == "champion" else found.basis)
    with pytest.raises(ConfigError, match="the metric cost returns nan"):
        compare(registry, "3", SPLIT, config, undefined_above(0.1))  # type: ignore[arg-type]


def test_best_former_champion_is_compared_on_the_same_rows() -> None:
    best = model("1", 0.02, rule=OTHERS)
    _, found = compared(best, model("2", 0.4), model("3", 0.4), champion="2", best="1")
    both = held_out(OTHERS, SPLIT.holdout)
    assert (found.champion_version, found.best_version, found.rows) == ("2", "1", both.sum())
    assert found.best is not None
    assert found.champion is not None
    assert found.best["accuracy"] == pytest.approx(accuracy(SPLIT, 0.02, both))
    assert found.champion["accuracy"] == pytest.approx(accuracy(SPLIT, 0.4, both))
    assert found.basis == "that none of the three was trained on (both models' split rules hold them out)"
    promoted, reason = decide(settings().gate, found)
    assert not promoted
    assert "worse than the best former champion, version 1" in reason


def test_rows_that_the_champion_has_seen_stay_left_out_when_the_best_is_added() -> None:
    _, found = compared(model("1", 0.02), model("2", 0.4, rule=OTHERS), model("3"), champion="2", best="1")
    assert found.rows == held_out(OTHERS, SPLIT.holdout).sum()
    assert found.best is not None


def test_scores_cannot_slide_step_by_step_below_the_best_champion() -> None:
    limits = [0.0, 0.015, 0.03, 0.045, 0.06]
    gate = settings(gate={"tolerance": 0.02}).gate
    champion, served = "0", [0]
    models = [model(str(step), limit) for step, limit in enumerate(limits)]
    for step in range(1, len(limits)):
        registry = FakeRegistry({found.version: found for found in models}, champion=champion, best="0")
        _, found = compare(registry, str(step), SPLIT, settings(gate={"tolerance": 0.02}), {})  # type: ignore[arg-type]
        if decide(gate, found)[0]:
            champion = str(step)
            served.append(step)
    worst = min(accuracy(SPLIT, limits[step]) for step in served)
    assert len(served) > 1
    assert worst >= accuracy(SPLIT, 0.0) - 0.02
    assert accuracy(SPLIT, limits[-1]) < accuracy(SPLIT, 0.0) - 0.02


@pytest.mark.parametrize("best", ["1", "2"], ids=["the champion", "the challenger"])
def test_best_that_is_compared_already_is_no_third_model(best: str) -> None:
    _, found = compared(model("1", 0.4), model("2"), champion="1", best=best)
    assert (found.best, found.best_version) == (None, None)
    assert found.basis.startswith("that neither was trained on")


def test_best_that_was_rolled_back_is_not_compared() -> None:
    registry = FakeRegistry({"1": model("1"), "2": model("2", 0.4), "3": model("3")}, champion="2", best="1")
    registry.versions_by_number["1"].tags = {"rollback.at": "2026-11-01T00:00:00Z", "rollback.to": "2"}
    _, found = compare(registry, "3", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert (found.best, found.best_version) == (None, None)


def test_best_of_unknown_training_rows_is_left_out_and_does_not_narrow_the_rows() -> None:
    best = model("1", rule=None)
    _, found = compared(best, model("2", 0.4), model("3"), champion="2", best="1")
    assert (found.best, found.rows) == (None, len(SPLIT.holdout))
    assert found.champion is not None
    assert found.champion_problem is None
    assert found.basis.endswith(f"; the best former champion is not compared: {seen_rows.UNKNOWN}")


@pytest.mark.parametrize(
    ("best", "unscored"),
    [
        (model("1"), False),
        (model("1", rule=None), False),
        (model("1", rule=OTHERS.model_copy(update={"share": 0.01})), True),
        (FetchedModel("1", FeatureSchema((X,)), FakeEngine(lambda _: [[np.nan] * 2], CLASSES), RULE), True),
        (model("1", 0.0, X, Column("gone")), False),
        (model("1", classes=("high", "mid")), False),
    ],
    ids=["scored", "rows unknown", "few new rows", "cannot answer", "columns gone", "other classes"],
)
def test_best_may_be_scored_again_unless_it_answers_another_question(best: FetchedModel, *, unscored: bool) -> None:
    _, former = compared(best, model("2", 0.4), model("3"), champion="2", best="1")
    assert former.best_unscored is unscored
    _, present = compared(best, model("3"), champion="1", best="1")
    assert present.best_unscored is unscored
    _, without = compared(best, model("3"), champion="1")
    assert not without.best_unscored


@pytest.mark.parametrize(("problem", "unscored"), [(OtherCodeError("edited"), False), (None, True)], ids=str)
def test_best_of_other_code_is_not_waited_for(problem: InvalidModelError | None, *, unscored: bool) -> None:
    registry = FakeRegistry({"1": problem, "2": model("2", 0.4), "3": model("3")}, champion="2", best="1")
    _, found = compare(registry, "3", SPLIT, settings(), {})  # type: ignore[arg-type]
    assert found.best is None
    assert found.best_unscored is unscored


def test_changes_compared_with_the_best_are_not_breaking() -> None:
    best = model("1", 0.0, X, Column("gone"))
    _, found = compared(best, model("2", 0.4), model("3"), champion="2", best="1")
    assert (found.breaking, found.best) == ((), None)
