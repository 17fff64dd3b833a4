"""With enough labelled live rows in the holdout, models are compared on them alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.feature_schema import Column, FeatureSchema
from src.core.pipeline_config import PipelineConfig
from src.training import seen_rows
from src.training.compare_models import compare
from src.training.compared_rows import MIN_LIVE_ROWS, MIN_LIVE_ROWS_PER_CLASS, baseline_target, choose_rows
from src.training.comparison import Comparison
from src.training.gate import decide
from src.training.live_rows import are_live, source_rows
from src.training.registry import FetchedModel
from src.training.splitting import Split, SplitRule, clusters, held_out, split_by
from tests.support.fake_models import FakeEngine, FakeRegistry

pytestmark = pytest.mark.slow

RULE = SplitRule(by="hash", columns=["x", "u"], seed=1, share=0.3)
CLASSES = ("high", "low")
DATASET: dict[str, Any] = {
    "source": "x.csv",
    "target": "label",
    "features": {"x": {}, "u": {}, "part": {"type": "category", "values": ["a", "b"]}},
    "classes": list(CLASSES),
    "min_rows_per_class": 2,
    "duplicates": "keep",
    "feedback": {"use": True, "max_age_days": 60.0},
}


def settings(**gate: Any) -> PipelineConfig:
    raw = {
        "dataset": DATASET,
        "split": {"holdout_fraction": 0.3, "seed": 1},
        "gate": {"metric": "accuracy", "tolerance": 0.01} | gate,
        "report": [],
    }
    return PipelineConfig.model_validate(raw)


def rows(source: int, live: int, *, flipped: bool = True, seed: int = 0) -> pd.DataFrame:
    """The label is high where x is positive; in live rows of a world that has changed, where it is negative."""
    random = np.random.default_rng(seed)
    count = source + live
    x, u = random.normal(size=count), random.random(count)
    recent = np.arange(count) >= source
    high = np.where(recent & flipped, x < 0, x > 0)
    return pd.DataFrame(
        {
            "x": x,
            "u": u,
            "part": random.choice(["a", "b"], count),
            "label": np.where(high, "high", "low"),
            FEEDBACK_TIME: np.where(recent, 20_000.0 + np.arange(count) / 100, np.nan),
        }
    )


def everything(frame: pd.DataFrame, rule: SplitRule = RULE) -> Split:
    """A split whose holdout has every row, and whose training rows are those of the frame, too."""
    return Split(frame, np.ones(len(frame), dtype=bool), rule)


def dataset(**keys: Any) -> DatasetConfig:
    return DatasetConfig.model_validate(DATASET | keys)


def chosen(frame: pd.DataFrame, rule: SplitRule = RULE, mask: Any = None, **keys: Any) -> Any:
    mask = np.ones(len(frame), dtype=bool) if mask is None else mask
    return choose_rows(everything(frame, rule), mask, dataset(**keys))


@pytest.mark.parametrize("live", [MIN_LIVE_ROWS - 1, MIN_LIVE_ROWS, MIN_LIVE_ROWS + 1])
def test_comparison_is_on_live_rows_if_there_are_enough(live: int) -> None:
    frame = rows(100, live)
    found = chosen(frame)
    if live < MIN_LIVE_ROWS:
        assert found.mask.all()
        assert (found.live, found.note) == (False, "not on labelled live rows alone: 299 are there, 300 are needed")
    else:
        assert found.mask.tolist() == are_live(frame).tolist()
        assert (found.live, found.note) == (True, "")


def test_only_rows_on_which_the_models_can_be_compared_count() -> None:
    frame = rows(100, 2 * MIN_LIVE_ROWS)
    mask = np.arange(len(frame)) % 2 == 0
    found = chosen(frame, mask=mask)
    assert found.live
    assert found.mask.tolist() == (mask & are_live(frame)).tolist()
    fewer = mask & (np.arange(len(frame)) > 101)
    assert not chosen(frame, mask=fewer).live
    assert chosen(frame, mask=fewer).mask.tolist() == fewer.tolist()


@pytest.mark.parametrize("few", [0, MIN_LIVE_ROWS_PER_CLASS - 1, MIN_LIVE_ROWS_PER_CLASS])
def test_every_class_needs_some_live_rows(few: int) -> None:
    frame = rows(100, 400)
    live = np.flatnonzero(are_live(frame))
    frame.loc[live, "label"] = "low"
    frame.loc[live[:few], "label"] = "high"
    found = chosen(frame)
    assert found.live == (few >= MIN_LIVE_ROWS_PER_CLASS)
    assert found.note == ("" if found.live else "not on labelled live rows alone: the class high has fewer than 10")


def test_regression_has_no_classes() -> None:
    frame = rows(10, MIN_LIVE_ROWS).assign(label=1.0)
    assert chosen(frame, classes=None, min_rows_per_class=None, target_range={}).live


def test_repeated_requests_count_once() -> None:
    frame = rows(100, MIN_LIVE_ROWS)
    live = np.flatnonzero(are_live(frame))
    frame.loc[live[1], ["x", "u"]] = frame.loc[live[0], ["x", "u"]]
    assert "299 are there" in chosen(frame).note
    # By time, rows of one time are different rows.
    by_time = RULE.model_copy(update={"by": "time", "columns": [FEEDBACK_TIME], "cutoff": 0.0})
    assert chosen(frame.assign(**{FEEDBACK_TIME: 20_000.0}), by_time).live


def test_repeated_requests_count_once_for_a_class() -> None:
    frame = rows(100, 2 * MIN_LIVE_ROWS)
    live = np.flatnonzero(are_live(frame))
    frame.loc[live, "label"] = "low"
    frame.loc[live[:MIN_LIVE_ROWS_PER_CLASS], "label"] = "high"
    assert chosen(frame).live
    frame.loc[live[1], ["x", "u"]] = frame.loc[live[0], ["x", "u"]]
    assert "the class high has fewer than 10" in chosen(frame).note
    # One key with both labels counts for both.
    frame.loc[live[-1], ["x", "u", "label"]] = [*frame.loc[live[-2], ["x", "u"]], "high"]
    assert chosen(frame).live
    by_time = RULE.model_copy(update={"by": "time", "columns": [FEEDBACK_TIME], "cutoff": 0.0})
    frame.loc[live[-1], "label"] = "low"
    assert chosen(frame, by_time).live


def test_data_set_without_live_rows_is_compared_as_a_whole() -> None:
    for frame in (rows(400, 0), rows(400, 0).drop(columns=FEEDBACK_TIME)):
        found = chosen(frame)
        assert (found.mask.all(), found.live, found.note) == (True, False, "")
        assert len(source_rows(frame)) == 400
    assert not are_live(rows(2, 0)).any()
    assert source_rows(rows(3, 2)).index.tolist() == [0, 1, 2]


def test_constant_answers_are_those_of_the_present() -> None:
    split = split_by(RULE, rows(300, 300))
    live = split.train[are_live(split.train)]["label"]
    assert baseline_target(split, "label", live=True).tolist() == live.tolist()
    assert baseline_target(split, "label", live=False).tolist() == split.train["label"].tolist()
    held = Split(split.frame, are_live(split.frame), RULE)
    assert len(baseline_target(held, "label", live=True)) == 300


@pytest.fixture(autouse=True)
def no_zenml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_rows, "training_rows_of", lambda _: None)


def model(version: str, sign: int, *, rule: SplitRule = RULE, wrong: float = 0.0) -> FetchedModel:
    """Answers high where x has the sign, and is wrong where u is below a share."""

    def answer(table: Any) -> Any:
        x, u = (table.columns[table.schema.names.index(name)] for name in ("x", "u"))
        high = (sign * x > 0) ^ (u < wrong)
        return np.column_stack([high, ~high]) * 0.8 + 0.1

    schema = FeatureSchema((Column("x"), Column("u")))
    return FetchedModel(version, schema, FakeEngine(answer, CLASSES), rule)


def compared(
    frame: pd.DataFrame, *models: FetchedModel, gate: dict[str, Any] | None = None, **aliases: str
) -> Comparison:
    registry = FakeRegistry({found.version: found for found in models}, **aliases)
    rule = models[-1].split_rule
    assert rule is not None
    config = settings(**gate or {})
    return compare(registry, models[-1].version, split_by(rule, frame), config, {})[1]  # type: ignore[arg-type]


CHANGED = rows(3000, 2000)
HELD = held_out(RULE, CHANGED)
LIVE = int((HELD & are_live(CHANGED)).sum())
OLD_WORLD, NEW_WORLD = 1, -1


def test_model_of_the_new_world_replaces_the_champion_of_the_old_one_by_the_live_rows() -> None:
    found = compared(CHANGED, model("1", OLD_WORLD), model("2", NEW_WORLD), champion="1")
    assert (found.rows, found.live_days) == (LIVE, 60.0)
    assert found.challenger["accuracy"] == 1
    assert found.champion is not None
    assert found.champion["accuracy"] == 0
    passed, reason = decide(settings().gate, found)
    assert passed
    assert f"on {LIVE} labelled live rows of the last 60 days that neither was trained on (both" in reason
    # The same rows, of which none is known to be of the present.
    old = compared(CHANGED.drop(columns=FEEDBACK_TIME), model("1", OLD_WORLD), model("2", NEW_WORLD), champion="1")
    assert (old.rows, old.live_days) == (HELD.sum(), None)
    assert not decide(settings().gate, old)[0]


def test_too_few_live_rows_are_reported_and_all_rows_decide() -> None:
    frame = rows(1000, 200)
    found = compared(frame, model("1", OLD_WORLD), model("2", NEW_WORLD), champion="1")
    passed, reason = decide(settings().gate, found)
    held = int((held_out(RULE, frame) & are_live(frame)).sum())
    assert not passed
    assert f"(both models' split rules hold them out); not on labelled live rows alone: {held} are there, 300" in reason


def test_first_version_is_judged_on_the_whole_holdout() -> None:
    found = compared(CHANGED, model("1", NEW_WORLD))
    assert (found.rows, found.live_days) == (HELD.sum(), None)


def test_champion_of_another_split_is_compared_on_live_rows_that_both_hold_out() -> None:
    theirs = RULE.model_copy(update={"seed": 7})
    frame = rows(3000, 5000)
    found = compared(frame, model("1", OLD_WORLD, rule=theirs), model("2", NEW_WORLD), champion="1")
    both = held_out(RULE, frame) & held_out(theirs, frame) & are_live(frame)
    assert (found.rows, found.live_days) == (both.sum(), 60.0)


def test_floor_minimums_slices_and_constant_answers_use_the_live_rows() -> None:
    gate = {"floor": 0.9, "minimums": {"f1_macro": 0.9}, "slices": ["part"]}
    found = compared(CHANGED, model("1", OLD_WORLD), model("2", NEW_WORLD), gate=gate, champion="1")
    assert sum(part.rows for part in found.slices) == LIVE
    assert decide(settings(**gate).gate, found)[0]
    assert found.baseline is not None
    live = CHANGED[HELD & are_live(CHANGED)]["label"]
    assert found.baseline.score == pytest.approx(max((live == name).mean() for name in CLASSES))


def test_clusters_are_those_of_the_live_rows() -> None:
    """One row a cluster: the interval is that of so many rows."""
    found = compared(CHANGED, model("1", NEW_WORLD, wrong=0.1), model("2", NEW_WORLD), champion="1")
    live = CHANGED[HELD & are_live(CHANGED)]
    assert len(np.unique(clusters(RULE, live))) == LIVE
    assert found.champion_difference is not None
    width = found.champion_difference.high - found.champion_difference.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / LIVE), rel=0.15)
