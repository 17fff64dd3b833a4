"""Which columns are read of files that differ in them, and of files and columns with odd names."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from src.quality.labelled import Labelled
from src.quality.live_quality import LiveQuality, Resources
from tests.support.quality_rows import NOW, CountingScorer, Given, Row, write_labels, write_log

HOSTILE = ["a b", 'quo"te', "it's", "a.*[x]?", "; DROP TABLE log; --", "{0}", "$late", "", "ünïcode"]


def seen(folder: Path, log: list[str], ids: list[str]) -> dict[str, Labelled]:
    """The labelled rows by version."""
    scorer = CountingScorer()
    labels = write_labels(folder, [Given("a", id=name) for name in ids])
    with LiveQuality(log, labels, NOW, scorer, Resources(200_000_000, folder / "spilled", 2)) as quality:
        quality.versions()
    return {rows.version: rows for rows in scorer.seen}


def shares_of(rows: Labelled) -> dict[str, list[float]]:
    """The probabilities by class."""
    assert rows.probabilities is not None
    return dict(zip(rows.classes, rows.probabilities.T.tolist(), strict=True))


def test_versions_have_the_classes_of_their_own_files(tmp_path: Path) -> None:
    log = write_log(tmp_path, [Row("1", shares={"b": 0.75, "a": 0.25})])
    log += write_log(tmp_path, [Row("2", version="2", shares={"c": 0.5, "b": 0.4, "a": 0.1})])
    log += write_log(tmp_path, [Row("3", version="3")])
    found = seen(tmp_path, log, ["1", "2", "3"])
    assert shares_of(found["1"]) == {"a": [0.25], "b": [0.75]}
    assert found["1"].classes == ("a", "b")
    assert shares_of(found["2"]) == {"a": [0.1], "b": [0.4], "c": [0.5]}
    assert (found["3"].classes, found["3"].probabilities) == ((), None)


def test_row_without_probabilities_has_nan(tmp_path: Path) -> None:
    log = write_log(tmp_path, [Row("1", shares={"a": 0.25, "b": 0.75}), Row("2")])
    # The same version, compacted with a file that has a class more.
    log += write_log(tmp_path, [Row("3", shares={"a": 0.1, "b": 0.2, "c": 0.7})])
    rows = seen(tmp_path, log, ["1", "2", "3"])["1"]
    found = dict(
        zip(rows.keys.tolist(), rows.probabilities.tolist() if rows.probabilities is not None else [], strict=True)
    )
    assert found["1"] == [0.25, 0.75, 0.0]
    assert np.isnan(found["2"]).all()
    assert found["3"] == [0.1, 0.2, 0.7]


def test_names_that_differ_in_case_are_different_classes(tmp_path: Path) -> None:
    log = write_log(tmp_path, [Row("1", shares={"A": 0.25, "a": 0.75})])
    log += write_log(tmp_path, [Row("2", version="2", shares={"a": 0.9, "A": 0.1})])
    log += write_log(tmp_path, [Row("3", version="3", shares={"a": 0.6, "b": 0.4})])
    found = seen(tmp_path, log, ["1", "2", "3"])
    assert shares_of(found["1"]) == {"A": [0.25], "a": [0.75]}
    assert shares_of(found["2"]) == {"A": [0.1], "a": [0.9]}
    assert shares_of(found["3"]) == {"a": [0.6], "b": [0.4]}


def test_any_name_may_be_a_class_or_a_feature(tmp_path: Path) -> None:
    shares = {name: 1 / (place + 2) for place, name in enumerate(HOSTILE)}
    features = {f"feature_{name}": pa.array([1.0]) for name in [*HOSTILE, "x", "X"]}
    log = write_log(tmp_path, [Row("1", shares=shares)], **features)
    assert shares_of(seen(tmp_path, log, ["1"])["1"]) == {name: [share] for name, share in shares.items()}


def test_features_may_change_their_type(tmp_path: Path) -> None:
    log = write_log(tmp_path, [Row("1", shares={"a": 1.0})], feature_x=pa.array([1.0]))
    log += write_log(tmp_path, [Row("2", shares={"a": 0.5})], feature_x=pa.array(["text"]))
    log += write_log(tmp_path, [Row("3", shares={"a": 0.5})], feature_x=pa.array([True]))
    assert len(seen(tmp_path, log, ["1", "2", "3"])["1"]) == 3


@pytest.mark.parametrize("name", ["a[b]c", "what?", "st*r", "it's", 'quo"te', "{0}", "day=2026-11-30"])
def test_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    log = write_log(folder, [Row("1"), Row("2", version="2")])
    # What a pattern would match.
    for other in ("abc", "whats", "stir"):
        (tmp_path / other).mkdir()
        write_log(tmp_path / other, [Row("1", version="9")])
    assert set(seen(folder, log, ["1", "2"])) == {"1", "2"}


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        seen(tmp_path, [str(tmp_path / "missing.parquet")], [])


def test_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    path.write_bytes(b"not Parquet")
    with pytest.raises(pa.ArrowInvalid):
        seen(tmp_path, [str(path)], [])
