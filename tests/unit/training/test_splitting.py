from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from src.core.dataset_config import FEEDBACK_TIME
from src.core.errors import DataError
from src.core.pipeline_config import PipelineConfig
from src.training.row_keys import row_hashes
from src.training.splitting import (
    Split,
    SplitRule,
    clusters,
    held_out,
    share_changed,
    split_by,
    split_rows,
    with_sketch,
)
from tests.support.training import config, iris_parts


def settings(split: dict[str, Any] | None = None, **dataset: Any) -> PipelineConfig:
    """A regression on x and y, with the columns customer, order and day."""
    raw = {
        "dataset": {
            "source": "x.csv",
            "target": "price",
            "features": {"x": {}, "y": {"missing": True}},
            "target_range": {},
            "duplicates": "keep",
            **dataset,
        },
        "split": {"holdout_fraction": 0.25, "seed": 1, **(split or {})},
        "gate": {"metric": "r2", "tolerance": 0.01},
    }
    return PipelineConfig.model_validate(raw)


def table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": random.normal(size=rows),
            "y": random.normal(size=rows),
            "price": random.normal(size=rows),
            "order": np.arange(rows),
            "customer": [f"c{number}" for number in random.integers(0, rows // 5, rows)],
            "day": np.sort(random.integers(19_000, 19_500, rows)).astype(float),
        }
    )


BY_TIME = settings({"by": "time"}, time="day")
BY_GROUP = settings({"by": "group"}, group="customer")


def test_iris_is_split_as_shipped_with_every_class_in_both_parts() -> None:
    train, holdout = iris_parts()
    assert holdout["species"].value_counts().to_dict() == {"virginica": 18, "versicolor": 14, "setosa": 13}
    assert len(train) + len(holdout) == 149
    assert pd.concat([train, holdout]).duplicated().sum() == 0
    assert list(train.index) == list(range(len(train)))
    assert list(holdout.index) == list(range(len(holdout)))


@pytest.mark.parametrize("by_what", [settings(), settings(id=["order"]), BY_GROUP], ids=["features", "id", "group"])
def test_appended_rows_never_change_the_part_of_a_row(by_what: PipelineConfig) -> None:
    first = split_rows(table(), by_what, None)
    grown = pd.concat([table(100, seed=9), table()], ignore_index=True)
    second = split_rows(grown, by_what, first.rule)
    assert second.mask[100:].tolist() == first.mask.tolist()
    assert 0.18 < first.mask.mean() < 0.32
    assert second.rule == first.rule


def test_the_key_is_the_ids_or_all_features_and_never_the_target() -> None:
    assert split_rows(table(), settings(), None).rule.columns == ["x", "y"]
    by_id = split_rows(table(), settings(id=["order", "customer"]), None)
    assert by_id.rule == SplitRule(by="hash", columns=["order", "customer"], seed=1, share=0.25)
    changed = table().assign(price=0.0, x=1.0)
    assert split_by(by_id.rule, changed).mask.tolist() == by_id.mask.tolist()


def test_rows_of_one_group_are_on_one_side() -> None:
    split = split_rows(table(), BY_GROUP, None)
    assert set(split.train["customer"]).isdisjoint(split.holdout["customer"])
    assert split.rule.columns == ["customer"]


def test_seed_and_share_decide() -> None:
    whole = table(4000)
    first = split_rows(whole, settings(), None)
    other = split_rows(whole, settings({"seed": 2}), None)
    assert (first.mask == other.mask).mean() < 0.7
    more = split_rows(whole, settings({"holdout_fraction": 0.4}), None)
    assert abs(more.mask.mean() - 0.4) < 0.03
    assert more.mask[first.mask].all()


def test_time_holds_out_the_newest_rows_and_records_the_cutoff() -> None:
    split = split_rows(table(), BY_TIME, None)
    assert split.rule.cutoff == split.train["day"].max() < split.holdout["day"].min()
    assert abs(split.mask.mean() - 0.25) < 0.01


def test_cutoff_moves_forward_with_new_rows_and_never_back() -> None:
    first = split_rows(table(), BY_TIME, None).rule
    assert first.cutoff is not None
    newer = pd.concat([table(), table(100).assign(day=19_600.0 + np.arange(100))])
    moved = split_rows(newer, BY_TIME, first).rule
    assert moved.cutoff is not None
    assert moved.cutoff > first.cutoff
    older = pd.concat([table(), table(60).assign(day=18_000.0)])
    assert split_rows(older, BY_TIME, first).rule.cutoff == first.cutoff


def test_cutoff_is_the_time_whose_share_of_newer_rows_is_nearest() -> None:
    frame = table(100).assign(day=[1.0] * 50 + [2.0] * 20 + [3.0] * 20 + [4.0] * 10)
    assert split_rows(frame, BY_TIME, None).rule.cutoff == 2.0


def test_rows_without_a_time_are_refused_by_time() -> None:
    frame = table()
    frame.loc[3, "day"] = np.nan
    with pytest.raises(DataError, match="day: rows without a time cannot be split by time"):
        split_rows(frame, BY_TIME, None)


CHAMPIONS = SplitRule(by="hash", columns=["x"], seed=5, share=0.3)


def test_retrain_keeps_the_champions_columns_seed_and_share_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    split = split_rows(table(), settings(), CHAMPIONS)
    assert split.rule == CHAMPIONS
    note = (
        "the champion's rule is kept (hash of x, seed 5, share 0.3), not the configured one "
        "(hash of x, y, seed 1, share 0.25); set split.inherit: false to use the configured one"
    )
    assert split.note == note
    assert [record.getMessage() for record in caplog.records] == [f"split: {note}"]
    same = split_rows(table(), settings(), split_rows(table(), settings(), None).rule)
    assert (same.note, len(caplog.records)) == ("", 1)


@pytest.mark.parametrize(
    ("asked", "inherited", "note"),
    [
        (settings({"inherit": False}), CHAMPIONS, ""),
        (settings(), CHAMPIONS.model_copy(update={"by": "group"}), ""),
        (
            settings(),
            CHAMPIONS.model_copy(update={"columns": ["x", "gone"]}),
            (
                "the champion's rule (hash of x, gone, seed 5, share 0.3) cannot be kept without its columns gone; "
                "split by hash of x, y, seed 1, share 0.25"
            ),
        ),
    ],
    ids=["not inherited", "another kind", "a column is gone"],
)
def test_split_uses_a_new_rule(asked: PipelineConfig, inherited: SplitRule, note: str) -> None:
    split = split_rows(table(), asked, inherited)
    assert split.rule == SplitRule(by="hash", columns=["x", "y"], seed=1, share=0.25)
    assert split.note == note


def test_unchanged_time_split_is_no_news() -> None:
    first = split_rows(table(), BY_TIME, None)
    assert split_rows(table(), BY_TIME, first.rule).note == ""


def test_holdout_far_from_its_share_is_refused_with_the_heaviest_keys() -> None:
    frame = table(300).assign(customer=["big one"] * 270 + ["s" * 31] * 15 + ["m" * 32] * 6 + ["u"] * 4 + list("abcde"))
    with pytest.raises(DataError) as caught:
        split_rows(frame, BY_GROUP, None)
    assert caught.value.permanent
    message = str(caught.value)
    assert "cannot be split by group of customer, seed 1, share 0.25: the holdout has " in message
    assert "of 300 rows (" in message
    assert "not 25.0% ± a third of it" in message
    assert "split.inherit: false, or name an id with fewer rows per key" in message
    assert message.endswith(
        "; the keys with the most rows are customer big one: 270 rows; "
        f"customer {'s' * 31}: 15 rows; customer {'m' * 31}…: 6 rows"
    )


@pytest.mark.parametrize(("held", "refused"), [(14, False), (13, True), (5, True)], ids=str)
def test_inherited_cutoff_that_leaves_too_few_rows_is_refused(held: int, *, refused: bool) -> None:
    rule = SplitRule(by="time", columns=["day"], seed=1, share=0.2, cutoff=99.0 - held)
    asked = settings({"by": "time", "holdout_fraction": 0.2}, time="day")
    frame = table(100).assign(day=np.arange(100.0))
    if not refused:
        assert split_rows(frame, asked, rule).mask.sum() == held
        return
    with pytest.raises(DataError, match=rf"the holdout has {held} of 100 rows.*another split\.holdout_fraction"):
        split_rows(frame, asked, rule)


@pytest.mark.parametrize(("newest", "refused"), [(26, False), (27, True)], ids=str)
def test_holdout_may_be_too_large_by_a_third(newest: int, *, refused: bool) -> None:
    asked = settings({"by": "time", "holdout_fraction": 0.2}, time="day")
    frame = table(100).assign(day=[1.0] * (100 - newest) + [2.0] * newest)
    if not refused:
        assert split_rows(frame, asked, None).mask.sum() == newest
        return
    with pytest.raises(DataError, match=rf"the holdout has {newest} of 100 rows"):
        split_rows(frame, asked, None)


def test_a_single_training_row_is_too_few() -> None:
    asked = settings({"by": "time", "holdout_fraction": 0.9}, time="day")
    with pytest.raises(DataError, match="1 training row and 99 holdout rows are too few"):
        split_rows(table(100).assign(day=[1.0] + [2.0] * 99), asked, None)


def test_one_time_for_all_rows_is_refused_with_that_time() -> None:
    frame = table(30).assign(day=1.5)
    message = r"share 0\.25: 30 training rows and 0 holdout rows are too few; add rows.*1970-01-02T12:00:00: 30"
    with pytest.raises(DataError, match=message):
        split_rows(frame, BY_TIME, None)


def test_rare_class_without_a_holdout_row_is_refused_by_name() -> None:
    train, holdout = iris_parts()
    whole = pd.concat([train, holdout], ignore_index=True)
    for part, rest, name in ((train, "holdout lack", "holdout"), (holdout, "training rows lack", "training rows")):
        few = whole[(whole["species"] != "setosa")]
        few = pd.concat([few, part[part["species"] == "setosa"].head(3)], ignore_index=True)
        with pytest.raises(DataError, match=rf"the {name} lacks? the class setosa \(3 rows in all\)") as caught:
            split_rows(few, config(), None)
        assert "setosa" in str(caught.value)
        assert str(caught.value).endswith("an id with fewer rows per key")  # every key has one row
        assert rest.split()[0] in str(caught.value)


def test_held_out_by_hash_is_below_the_share() -> None:
    frame = table(50)
    none, everything = (SplitRule(by="hash", columns=["x"], seed=1, share=share) for share in (0.0, 1.0))
    assert not held_out(none, frame).any()
    assert held_out(everything, frame).all()
    assert not held_out(SplitRule(by="time", columns=["day"], seed=1, share=0.5), frame).any()


def test_clusters_are_equal_keys() -> None:
    rule = SplitRule(by="group", columns=["customer"], seed=1, share=0.5)
    found = clusters(rule, pd.DataFrame({"customer": ["b", "a", "b", None, "c", None]}))
    assert found[0] == found[2]
    assert found[3] == found[5]
    assert len(set(found.tolist())) == 4
    assert found.max() == 3


def test_clusters_by_time_are_blocks_of_consecutive_rows_that_no_time_is_split_by() -> None:
    rule = SplitRule(by="time", columns=["day"], seed=1, share=0.5, cutoff=0.0)
    moments = np.arange(64.0)
    random = np.random.default_rng(0).permutation(64)
    found = clusters(rule, pd.DataFrame({"day": moments[random]}))
    assert found.tolist() == (random // 4).tolist()
    tied = clusters(rule, pd.DataFrame({"day": np.repeat([1.0, 2.0, 3.0, 4.0], [1, 20, 1, 42])}))
    assert tied.tolist() == np.repeat([0, 0, 1, 1], [1, 20, 1, 42]).tolist()


def test_sketch_is_of_the_smallest_hashes_each_once_and_survives_the_file() -> None:
    doubled = pd.concat([table(), table()])
    rule = with_sketch(CHAMPIONS, doubled)
    hashes = sorted(set(row_hashes(table(), ["x"], 5).tolist()))
    assert rule.sketch == hashes[:256]
    assert rule.model_copy(update={"sketch": []}) == CHAMPIONS
    assert SplitRule.model_validate_json(rule.model_dump_json()) == rule
    assert len(with_sketch(CHAMPIONS, table(40)).sketch) == 40


def test_keys_that_another_version_of_the_code_has_recorded_are_ignored() -> None:
    recorded = CHAMPIONS.model_dump() | {"dataset_sha256": "0" * 64}
    assert SplitRule.model_validate(recorded) == CHAMPIONS


def test_rules_by_group_and_time_have_no_sketch() -> None:
    for by_what in (BY_GROUP, BY_TIME):
        rule = split_rows(table(), by_what, None).rule
        assert with_sketch(rule, table()) == rule


@pytest.mark.parametrize("rows", [100, 2000], ids=["whole", "sample"])
def test_share_changed_counts_neither_deleted_nor_added_rows(rows: int) -> None:
    rule, before, others = with_sketch(CHAMPIONS, table(rows)), table(rows), table(5 * rows, seed=9)
    sampling = 0.1 if rows > len(rule.sketch) else 1e-9
    assert share_changed(rule, pd.concat([before, others])) == 0
    assert share_changed(rule, before.iloc[rows // 2 :]) == 0
    rewritten = pd.concat([others.iloc[: rows // 2], before.iloc[rows // 2 :]])
    assert share_changed(rule, rewritten) == pytest.approx(0.5, abs=sampling)
    fewer = pd.concat([others.iloc[: rows // 5], before.iloc[rows // 2 :]])
    assert share_changed(rule, fewer) == pytest.approx(0.2, abs=sampling)
    assert share_changed(rule, pd.concat([rewritten, others])) == pytest.approx(0.5, abs=sampling)
    assert share_changed(rule, others) == 1
    assert share_changed(CHAMPIONS, others) == 0


def test_inherited_sketch_is_not_taken_for_one_of_the_new_rows() -> None:
    champions = with_sketch(split_rows(table(), settings(), None).rule, table())
    split = split_rows(table(), settings(), champions)
    assert (split.note, split.rule.sketch) == ("", [])


def with_live(source: pd.DataFrame, live: pd.DataFrame) -> pd.DataFrame:
    """Rows of the source and labelled live rows."""
    return pd.concat([source.assign(**{FEEDBACK_TIME: np.nan}), live.assign(**{FEEDBACK_TIME: 20_000.0})])


def test_live_rows_that_expire_do_not_look_like_rewritten_rows() -> None:
    rule = with_sketch(CHAMPIONS, with_live(table(), table(400, seed=3)))
    assert rule == with_sketch(CHAMPIONS, table())
    assert share_changed(rule, with_live(table(), table(400, seed=4))) == 0
    # Rewritten rows of the source are found behind any number of live rows.
    rewritten = pd.concat([table(400, seed=9).iloc[:200], table().iloc[200:]])
    assert share_changed(rule, with_live(rewritten, table(900, seed=3))) == pytest.approx(0.5, abs=0.1)


def test_rows_are_held_out_by_their_key_whether_they_are_live_or_not() -> None:
    frame = with_live(table(), table())
    split = split_rows(frame, settings(), None)
    assert split.mask[:400].tolist() == split.mask[400:].tolist()
    assert (split.rule, split.note) == (split_rows(table(), settings(), None).rule, "")


@pytest.mark.parametrize("held", [True, False])
def test_a_live_row_that_is_repeated_in_any_number_does_not_stop_a_training(*, held: bool) -> None:
    """Whichever side its key is on, and also with a group that sends most of the requests."""
    for chosen in (settings(), settings({"by": "group"}, group="customer")):
        split = split_rows(table(), chosen, None)
        one = (split.holdout if held else split.train).iloc[:1]
        flooded = split_rows(with_live(table(), pd.concat([one] * 5000)), chosen, None)
        assert flooded.mask[:400].tolist() == split.mask.tolist()
        assert set(flooded.mask[400:]) == {held}


def test_the_source_s_rows_must_have_their_share_in_the_holdout_whatever_the_live_rows_are() -> None:
    heavy = pd.concat([table(), *[table().iloc[:1]] * 1000])
    with pytest.raises(DataError, match=r"the holdout has \d+ of 1400 rows of the source "):
        split_rows(with_live(heavy, table(5000, seed=3)), settings(), None)


def test_by_time_the_newest_rows_are_held_out_and_it_is_noted_if_these_are_all_live_rows() -> None:
    newer = table(40, seed=2).assign(day=19_600.0 + np.arange(40))
    split = split_rows(with_live(table(), newer), BY_TIME, None)
    assert len(split.holdout) == pytest.approx(110, abs=3)
    assert split.note == "40 labelled live rows, all in the holdout: none is learned from yet"
    # Some days later, when they are more, the oldest ones are learned from.
    more = table(300, seed=2).assign(day=19_600.0 + np.arange(300) / 5)
    later = split_rows(with_live(table(), more), BY_TIME, split.rule)
    assert later.rule.cutoff is not None
    assert split.rule.cutoff is not None
    assert later.rule.cutoff > split.rule.cutoff
    assert (later.train[FEEDBACK_TIME].notna().sum(), later.note) == (125, "")
    assert split_rows(table(), BY_TIME, None).note == ""


BY_DATE = settings({"by": "time"}, features={"x": {}, "day": {"type": "date"}}, time="day")


def test_times_in_the_future_that_clients_send_do_not_move_the_cutoff() -> None:
    predicted = 20_000 + np.arange(600) / 600
    live = with_live(table(), table(600, seed=3))
    live[FEEDBACK_TIME] = np.concatenate([np.full(400, np.nan), predicted])

    def split(sent: NDArray[np.float64]) -> Split:
        return split_rows(live.assign(day=np.concatenate([live["day"][:400], sent])), BY_DATE, None)

    forged, honest = split(np.linspace(21_000, 2_900_000, 600)), split(predicted)
    assert forged.rule.is_date
    assert (forged.rule, forged.mask.tolist()) == (honest.rule, honest.mask.tolist())
    assert forged.rule.cutoff == pytest.approx(20_000 + 349 / 600)
    assert clusters(forged.rule, forged.holdout).tolist() == clusters(honest.rule, honest.holdout).tolist()
    earlier = split(np.full(600, 18_000.0))
    assert not earlier.mask[400:].any(), "earlier times count as they are"


def test_a_champion_s_rule_from_before_times_were_limited_is_kept() -> None:
    former = split_rows(table(), BY_DATE, None).rule.model_copy(update={"is_date": False})
    split = split_rows(table(), BY_DATE, former)
    assert (split.rule, split.note) == (former.model_copy(update={"is_date": True}), "")
    assert split_rows(table(), BY_DATE, split.rule).note == ""


def test_the_unit_of_numbers_is_not_known_so_that_they_count_as_they_are() -> None:
    by_number = settings({"by": "time"}, features={"x": {}, "day": {}}, time="day")
    live = table(100, seed=3).assign(day=30_000.0)
    split = split_rows(with_live(table(), live), by_number, None)
    assert not split.rule.is_date
    assert split.mask[400:].all()
