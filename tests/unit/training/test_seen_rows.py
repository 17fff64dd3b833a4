from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import zenml.client
from sklearn.model_selection import train_test_split

from src.core.dataset_config import DatasetConfig
from src.core.feature_schema import FeatureSchema
from src.training import seen_rows
from src.training.registry import FetchedModel
from src.training.row_keys import row_hashes
from src.training.seen_rows import UNKNOWN, random_training_rows, training_rows_of, unseen_rows
from src.training.splitting import Split, SplitRule, held_out, split_by, with_sketch
from tests.support.fake_models import FakeEngine, FakeRegistry, FakeVersion

RULE = SplitRule(by="hash", columns=["x", "y"], seed=1, share=0.3)
OTHERS = RULE.model_copy(update={"seed": 2})
DAY = 86_400_000


def dataset(**changes: Any) -> DatasetConfig:
    raw = {
        "source": "x.csv",
        "target": "label",
        "features": {"x": {}, "y": {}},
        "classes": ["a", "b"],
        "min_rows_per_class": 2,
        "duplicates": "keep",
    }
    return DatasetConfig.model_validate(raw | changes)


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    labels = random.choice(["a", "b"], 300)
    return pd.DataFrame(
        {"x": random.normal(size=300), "y": random.normal(size=300), "label": labels, "day": np.arange(300.0)}
    )


SPLIT = split_by(RULE, frame())


def registry_of(rule: SplitRule | None) -> tuple[FakeRegistry, FetchedModel]:
    model = FetchedModel("1", FeatureSchema.of_numbers("x", "y"), FakeEngine(lambda _: None, ("a", "b")), rule)
    return FakeRegistry({"1": model}, champion="1"), model


def unseen(
    registry: FakeRegistry, model: FetchedModel, split: Split = SPLIT, data: str | None = None, **changes: Any
) -> seen_rows.Unseen:
    """Of version 1, for a challenger that is version 2, of this data hash."""
    registry.versions_by_number["2"] = FakeVersion("2", {} if data is None else {"data.sha256": data}, "run", 300 * DAY)
    return unseen_rows(registry, model, split, dataset(**changes), "2")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, pd.DataFrame]:
    """The training rows that ZenML has, by run."""
    rows: dict[str | None, pd.DataFrame] = {}
    monkeypatch.setattr(seen_rows, "training_rows_of", rows.get)
    return rows


def test_rows_are_unseen_that_the_versions_own_rule_holds_out() -> None:
    same = unseen(*registry_of(RULE))
    assert same.mask is not None
    assert same.mask.all()
    other = unseen(*registry_of(OTHERS))
    assert other.mask is not None
    assert other.mask.tolist() == held_out(OTHERS, SPLIT.holdout).tolist()
    assert 0.15 < other.mask.mean() < 0.45
    assert other.why == "both models' split rules hold them out"


SKETCHED = with_sketch(RULE, frame())


def unseen_after(change: pd.DataFrame, rule: SplitRule = SKETCHED, **changes: Any) -> seen_rows.Unseen:
    """Of a version with this rule, where the whole data set is now another one."""
    return unseen(*registry_of(rule), split_by(RULE, change), **changes)


def aged(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as a later query returns them, which computes an age in days."""
    return rows.assign(x=rows["x"] + 1)


def test_rule_does_not_apply_to_rows_that_were_rewritten(stored: dict[str | None, pd.DataFrame]) -> None:
    stored[None] = SPLIT.train
    found = unseen_after(aged(frame()))
    assert found.mask is None
    assert found.why == (
        "its training rows are unknown: 96% of its rows are no longer found by their content, and as many others have "
        "appeared, which may be the same rows with other values; name an id column in dataset.id and set "
        "split.inherit: false"
    )


def test_rows_that_age_are_scored_where_an_id_identifies_them() -> None:
    whole = frame().assign(number=np.arange(300))
    by_id = RULE.model_copy(update={"columns": ["number"]})
    split = split_by(by_id, aged(whole))
    found = unseen(*registry_of(with_sketch(by_id, whole)), split, id=["number"])
    assert found.mask is not None
    assert found.mask.all()
    assert split.mask.tolist() == split_by(by_id, whole).mask.tolist()


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (frame(), SKETCHED),
        (frame().iloc[200:], SKETCHED),
        (pd.concat([frame(), aged(frame())]), SKETCHED),
        (pd.concat([frame().iloc[250:], aged(frame()).iloc[:60]]), SKETCHED),
        (aged(frame()), RULE),
    ],
    ids=["the same rows", "most are deleted", "as many are added", "old ones are replaced by fewer", "no sketch"],
)
def test_rule_applies_where_rows_are_deleted_or_added(rows: pd.DataFrame, rule: SplitRule) -> None:
    found = unseen_after(rows.reset_index(drop=True), rule)
    assert found.mask is not None
    assert found.mask.all()


@pytest.mark.parametrize(("changed", "applies"), [(64, True), (65, False)])
def test_a_quarter_of_the_rows_may_have_other_values(changed: int, *, applies: bool) -> None:
    hashes = row_hashes(frame(), RULE.columns, RULE.seed)
    some = np.isin(hashes, np.array(SKETCHED.sketch[:changed], dtype=np.uint64))
    others = pd.concat([aged(frame()), aged(aged(frame()))])
    rows = pd.concat([frame()[~some], others]).reset_index(drop=True)
    assert (unseen_after(rows).mask is not None) is applies


def test_keys_that_are_an_id_keep_their_meaning() -> None:
    whole = frame().assign(number=np.arange(300))
    by_id = RULE.model_copy(update={"columns": ["number"]})
    newer = whole.assign(number=np.arange(1000, 1300))
    found = unseen_after(newer, with_sketch(by_id, whole), id=["number"])
    assert found.mask is not None
    assert found.mask.tolist() == held_out(by_id, split_by(RULE, newer).holdout).tolist()


def test_rows_with_other_keys_that_are_newer_than_the_version_are_unseen() -> None:
    registry, model = registry_of(SKETCHED)
    registry.versions_by_number["1"].creation_timestamp = 200 * DAY
    split = split_by(RULE, aged(frame()))
    found = unseen(registry, model, split, time="day")
    assert found.mask is not None
    assert found.mask.tolist() == (split.holdout["day"] > 201).tolist()


def test_version_without_a_rule_has_seen_what_zenml_stored(stored: dict[str | None, pd.DataFrame]) -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["zenml.run_id"] = "that run"
    # Other types, and a row whose label has been corrected since.
    seen = SPLIT.holdout.head(20).assign(label=["b", *SPLIT.holdout["label"][1:20]], more=1)
    seen.loc[0, "label"] = "a" if SPLIT.holdout["label"][0] == "b" else "b"
    stored["that run"] = pd.concat([SPLIT.train, seen.astype({"x": str, "label": "category"})])
    found = unseen(registry, model)
    assert found.mask is not None
    assert found.mask.tolist() == [True, *[False] * 19, *[True] * (len(SPLIT.holdout) - 20)]
    assert found.why == "the training rows of version 1, as stored in ZenML, are left out"


def test_rule_whose_columns_are_gone_is_no_rule(stored: dict[str | None, pd.DataFrame]) -> None:
    registry, model = registry_of(RULE.model_copy(update={"columns": ["customer"]}))
    registry.versions_by_number["1"].tags["zenml.run_id"] = "that run"
    stored["that run"] = SPLIT.holdout.head(5)
    found = unseen(registry, model)
    assert found.mask is not None
    assert found.mask.sum() == len(SPLIT.holdout) - 5


def test_stored_rows_with_other_columns_are_not_used(stored: dict[str | None, pd.DataFrame]) -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["zenml.run_id"] = "that run"
    stored["that run"] = SPLIT.holdout.drop(columns="label")
    assert unseen(registry, model).mask is None


def test_stored_rows_of_a_column_that_is_gone_tell_nothing(stored: dict[str | None, pd.DataFrame]) -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["zenml.run_id"] = "that run"
    stored["that run"] = SPLIT.holdout.assign(gone=1.0)
    wider = replace(model, schema=FeatureSchema.of_numbers("x", "gone"))
    assert unseen(registry, wider).mask is None


OLD_RUN = {"split.holdout_fraction": "0.3", "split.seed": "7"}


def test_split_of_a_version_without_a_rule_is_made_again_on_the_same_data() -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["data.sha256"] = "same"
    registry.run_parameters = OLD_RUN
    found = unseen(registry, model, data="same")
    assert found.mask is not None
    whole = frame()
    train, _ = train_test_split(whole, test_size=0.3, random_state=7, stratify=whole["label"])
    expected = ~SPLIT.holdout["x"].isin(train["x"])
    assert found.mask.tolist() == expected.tolist()
    assert 0.15 < found.mask.mean() < 0.45
    assert found.why == "the training rows of version 1, from its repeated split, are left out"


def test_row_with_the_features_of_a_training_row_and_another_label_is_unseen() -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["data.sha256"] = "same"
    registry.run_parameters = OLD_RUN
    whole = pd.concat([frame(), frame().assign(label=lambda rows: rows["label"].map({"a": "b", "b": "a"}))])
    split = split_by(RULE, whole)
    train, _ = train_test_split(whole, test_size=0.3, random_state=7, stratify=whole["label"])
    seen = set(zip(train["x"], train["label"], strict=True))
    found = unseen(registry, model, split, data="same")
    assert found.mask is not None
    holdout = zip(split.holdout["x"], split.holdout["label"], strict=True)
    assert found.mask.tolist() == [row not in seen for row in holdout]


@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        ("other", OLD_RUN),
        (None, OLD_RUN),
        ("same", {}),
        ("same", {"split.seed": "7"}),
        ("same", OLD_RUN | {"split.by": "hash"}),
        ("same", OLD_RUN | {"split.seed": "None"}),
    ],
)
def test_split_is_not_made_again_from_other_data_or_without_its_parameters(
    data: str | None, parameters: dict[str, str]
) -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].tags["data.sha256"] = "same"
    registry.run_parameters = parameters
    assert unseen(registry, model, data=data) == seen_rows.Unseen(None, UNKNOWN)


def test_version_without_a_data_hash_is_not_taken_for_one_of_the_same_data() -> None:
    registry, model = registry_of(None)
    registry.run_parameters = OLD_RUN
    assert unseen(registry, model).mask is None


def test_rows_newer_than_a_version_of_unknown_data_are_unseen() -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].creation_timestamp = 200 * DAY
    found = unseen(registry, model, time="day")
    assert found.mask is not None
    assert found.mask.tolist() == (SPLIT.holdout["day"] > 201).tolist()
    assert found.why == "they are over a day newer than version 1, whose training rows are unknown"


def test_row_that_arrived_before_the_version_with_a_time_of_the_next_day_is_not_newer() -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].creation_timestamp = 200 * DAY
    whole = frame().assign(day=[201.0] * 150 + [201.5] * 150)
    found = unseen(registry, model, split_by(RULE.model_copy(update={"share": 1.0}), whole), time="day")
    assert found.mask is not None
    assert found.mask.tolist() == [False] * 150 + [True] * 150


def test_times_in_the_future_say_nothing_of_when_rows_arrived() -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].creation_timestamp = 200 * DAY
    for days_of_training_rows, known in ((301.0, True), (301.1, False)):
        whole = frame()
        whole.loc[~SPLIT.mask, "day"] = days_of_training_rows
        found = unseen(registry, model, Split(whole, SPLIT.mask, RULE), time="day")
        assert (found.mask is not None) is known


@pytest.mark.parametrize(("scale", "known"), [(1.0, True), (1.0034, True), (1.01, False), (86_400.0, False)], ids=str)
def test_numbers_that_cannot_be_days_say_nothing_of_what_is_newer(scale: float, *, known: bool) -> None:
    registry, model = registry_of(None)
    registry.versions_by_number["1"].creation_timestamp = 200 * DAY
    whole = frame()
    split = split_by(RULE.model_copy(update={"share": 1.0}), whole.assign(day=whole["day"] * scale))
    assert (unseen(registry, model, split, time="day").mask is not None) is known


def test_training_rows_of_a_regression_are_made_again_without_strata() -> None:
    prices = frame().assign(label=np.arange(300.0))
    regression = dataset(classes=None, min_rows_per_class=None, target_range={})
    found = random_training_rows(prices, regression, OLD_RUN)
    assert found is not None
    expected = train_test_split(prices, test_size=0.3, random_state=7)[0]
    assert found["label"].tolist() == expected["label"].tolist()


def test_split_of_a_classification_is_made_again_in_equal_shares() -> None:
    whole = pd.DataFrame({"x": np.arange(40.0), "y": 0.0, "label": ["a"] * 30 + ["b"] * 10})
    found = random_training_rows(whole, dataset(), OLD_RUN)
    assert found is not None
    assert found["label"].value_counts().to_dict() == {"a": 21, "b": 7}


class Stored:
    """What ZenML returns of a run with stored training rows."""

    def __init__(self, rows: object) -> None:
        self.rows = rows
        self.outputs = {"train": [self]}
        self.steps = {"split": self}

    def load(self) -> object:
        return self.rows


class FakeClient:
    """ZenML's client; ``runs`` holds the stored runs."""

    runs: ClassVar[dict[str, Stored]] = {}

    def get_pipeline_run(self, run_id: UUID) -> Stored:
        return self.runs[str(run_id)]


RUN = "0b2f1d0c-9a36-4c5e-8d0e-6f3c1c0b7a11"


@pytest.mark.parametrize("run", [None, "no id", RUN], ids=["no run", "no id", "a run that is gone"])
def test_training_rows_that_zenml_does_not_have_are_none(run: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zenml.client, "Client", FakeClient)
    assert training_rows_of(run) is None


def test_stored_training_rows_are_those_of_the_split_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zenml.client, "Client", FakeClient)
    rows = frame()
    monkeypatch.setitem(FakeClient.runs, RUN, Stored(rows))
    assert training_rows_of(RUN) is rows
    monkeypatch.setitem(FakeClient.runs, RUN, Stored("no table"))
    assert training_rows_of(RUN) is None
