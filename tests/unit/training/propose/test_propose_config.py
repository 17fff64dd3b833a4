"""From a table to a configuration that a training accepts, whatever its columns are called."""

import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.core.column_rules import MISSING_TEXTS
from src.core.errors import ConfigError, DataError
from src.core.model_registry import PARITY_PASSED
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.pipeline.data_preprocess import prepare
from src.pipeline.train_model import fit
from src.training.learned_columns import learn_columns
from src.training.package_model import build_package
from src.training.propose.propose_config import IS_IT_THE_TIME, NO_ID, Wanted, Written, propose, require_overwritable
from src.training.propose.seal import is_unchanged, sealed
from src.training.sources import read
from src.training.splitting import split_rows

pytestmark = pytest.mark.slow

ROWS = 120
CLASSES = ["no", "yes"] * 60


def table(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"size": [row % 37 + 0.5 for row in range(ROWS)], **columns, "sold": CLASSES})


def write_csv(frame: pd.DataFrame, file: Path, **options: Any) -> Path:
    frame.to_csv(file, index=False, **options)
    return file


def proposed(file: Path, target: str = "sold", **wanted: Any) -> tuple[PipelineConfig, Written]:
    written = propose(Wanted(str(file), target, **wanted), clock=lambda: time.time() + 60)
    out = file.parent / "proposed.yaml"
    out.write_text(written.text, encoding="utf-8")
    return load_pipeline_config(out), written


def test_proposal_is_what_a_training_needs(tmp_path: Path) -> None:
    frame = table(
        customerID=[f"c{row}" for row in range(ROWS)],
        region=["north", "south", "", "east"] * 30,
        visits=[row % 7 for row in range(ROWS)],
        member=["true", "false"] * 60,
        born=["1990-01-31", "1985-06-01", "2001-12-24"] * 40,
        empty=[""] * ROWS,
    )
    file = write_csv(frame, tmp_path / "shop.csv")
    config, written = proposed(file)
    dataset = config.dataset
    assert {name: (item.type, item.missing) for name, item in dataset.features.items()} == {
        "size": ("number", False),
        "region": ("category", True),
        "visits": ("integer", False),
        "member": ("boolean", False),
        "born": ("date", False),
    }
    assert (dataset.source, dataset.target, dataset.id, dataset.ignored) == (
        str(file),
        "sold",
        ["customerID"],
        ["empty"],
    )
    assert (dataset.classes, dataset.positive, dataset.min_rows_per_class) == (["no", "yes"], "yes", 20)
    assert (dataset.duplicates, dataset.invalid_rows.policy) == ("drop", "fail")
    assert (config.split.by, config.split.holdout_fraction) == ("hash", 0.3)
    assert (config.gate.metric, config.gate.floor, config.gate.tolerance) == ("accuracy", None, 0.01)
    assert is_unchanged(written.text)
    assert NO_ID not in written.checks
    assert written.summary[:2] == [
        f"{file}: 120 rows, 8 columns",
        "target sold: one of 2 classes ('no' 50.0 %, 'yes' 50.0 %); metric accuracy",
    ]
    assert "id: customerID" in written.summary
    assert "ignore: empty" in written.summary


def test_each_guess_has_a_comment_with_its_reason(tmp_path: Path) -> None:
    file = write_csv(table(region=["north", "south", "", "east"] * 30), tmp_path / "shop.csv")
    lines = propose(Wanted(str(file), "sold")).text.splitlines()
    guessed = [line for line in lines if line.startswith("    ") and "{ type:" in line]
    assert len(guessed) == 2
    assert all(" # " in line for line in guessed)
    assert "    region: { type: category, missing: true } # 3 values: 'north' 33.3 %" in "\n".join(guessed)
    for key in (
        "delimiter",
        "decimal",
        "encoding",
        "target",
        "min_rows_per_class",
        "duplicates",
        "by",
        "metric",
        "floor",
    ):
        (line,) = [line for line in lines if line.strip().startswith(f"{key}:")]
        assert " # " in line


def test_way_the_file_is_written_is_proposed(tmp_path: Path) -> None:
    file = write_csv(
        table(ort=["Köln", "Bonn", "Trier"] * 40), tmp_path / "a.csv", sep=";", decimal=",", encoding="cp1252"
    )
    config, _ = proposed(file)
    assert config.dataset.csv.model_dump() == {"delimiter": ";", "decimal": ",", "encoding": "cp1252"}
    assert config.dataset.features["size"].type == "number"
    assert config.dataset.features["ort"].type == "category"


@pytest.mark.parametrize("name", ["shop.tsv", "shop.csv.gz", "shop.parquet", "incoming"])
def test_every_kind_of_source_is_read(tmp_path: Path, name: str) -> None:
    frame, file = table(visits=[row % 7 for row in range(ROWS)]), tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(file)
    elif name == "incoming":
        file.mkdir()
        for part, half in enumerate((frame[:60], frame[60:])):
            write_csv(half, tmp_path / "part.csv").rename(file / f"{part}.csv")
    else:
        write_csv(frame, file, sep="\t" if name.endswith(".tsv") else ",")
    config, written = proposed(file)
    assert {key: item.type for key, item in config.dataset.features.items()} == {"size": "number", "visits": "integer"}
    assert config.dataset.csv.delimiter == {".parquet": None, ".tsv": "\t"}.get(file.suffix, ",")
    assert written.summary[0] == f"{file}: 120 rows, 3 columns" + (", 2 files" if name == "incoming" else "")


def test_columns_of_any_parquet_type_are_proposed_or_left_out(tmp_path: Path) -> None:
    odd = {
        "plan": pa.DictionaryArray.from_arrays(pa.array([0, 1] * 60, pa.uint32()), ["free", "paid"]),
        "ends": pa.array([1, 10**13] * 60, pa.timestamp("s")),
        "tags": pa.array([["a"], None] * 60),
        "took": pa.array([1, 2**62] * 60, pa.duration("s")),
        "half": pa.array(np.arange(ROWS, dtype=np.float16) / 2),
    }
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({**odd, "sold": CLASSES}), file)
    config, _ = proposed(file)
    kinds = {name: feature.type for name, feature in config.dataset.features.items()}
    assert kinds == {"plan": "category", "half": "number"}


def folder_of(tmp_path: Path, *parts: tuple[str, str]) -> Path:
    """A folder of files, each with these towns in this encoding."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for index, (town, encoding) in enumerate(parts):
        write_csv(table(town=[town, "Bonn"] * 60), folder / f"{index}.csv", encoding=encoding)
    return folder


@pytest.mark.parametrize("encodings", [("utf-8", "cp1252"), ("cp1252", "utf-8"), ("utf-8-sig", "cp1252")])
def test_files_of_different_encodings_are_named(tmp_path: Path, encodings: tuple[str, str]) -> None:
    folder = folder_of(tmp_path, *(("Köln", encoding) for encoding in encodings))
    first, second = (encoding.removesuffix("-sig") for encoding in encodings)
    with pytest.raises(DataError) as caught:
        proposed(folder)
    assert str(caught.value) == (
        f"the files differ in encoding: {folder}/0.csv in {first} and {folder}/1.csv in {second}; save all of them in "
        "one, such as utf-8"
    )


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_plain_ascii_files_fit_any_encoding(tmp_path: Path, encoding: str) -> None:
    config, _ = proposed(folder_of(tmp_path, ("Trier", "ascii"), ("Köln", encoding), ("Mainz", "ascii")))
    assert config.dataset.csv.encoding == encoding
    assert "Köln" in set(read(config.dataset).frame["town"])


@pytest.mark.parametrize("role", ["ids", "time", "group"])
def test_rows_that_something_else_than_their_content_identifies_need_no_check(tmp_path: Path, role: str) -> None:
    rows = table(
        day=[f"2026-01-{1 + row % 28:02} 10:{row // 28:02}" for row in range(ROWS)],
        user_id=[f"u{row % 60}" for row in range(ROWS)],
    )
    frame = rows if role == "group" else rows.drop(columns="user_id")
    given = {"ids": ["day"]} if role == "ids" else {"time": "day"} if role == "time" else {}
    config, written = proposed(write_csv(frame, tmp_path / "a.csv"), **given)
    assert config.split.by == ("hash" if role == "ids" else role)
    assert NO_ID not in written.checks


def test_delimiter_at_the_end_of_every_row_makes_no_feature(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    lines = table(visits=[row % 7 for row in range(ROWS)]).to_csv(index=False).splitlines()
    file.write_text("\n".join(f"{line}," for line in lines), encoding="utf-8")
    config, written = proposed(file)
    assert list(config.dataset.features) == ["size", "visits"]
    assert written.checks == [NO_ID]


@pytest.mark.parametrize(
    ("mark", "others", "old", "new"),
    [
        ("NA", ["north", "it's"], "type: category, missing: true }", "type: category, missing: true, {0} }}"),
        ("None", ["paved", "gravel"], "type: category, missing: true }", "type: category, missing: true, {0} }}"),
        ("n/a", ["pool", "pool"], "type: ignore }", "{0} }}"),
    ],
)
def test_text_that_counts_as_missing_can_be_kept_as_a_category(
    tmp_path: Path, mark: str, others: list[str], old: str, new: str
) -> None:
    file = write_csv(table(region=[mark, *others] * 40), tmp_path / "a.csv")
    _, written = proposed(file)
    (line,) = [line for line in written.text.splitlines() if line.startswith("    region:")]
    remark = f"'{mark}' in 40 cells counts as missing; to keep it as a category, set "
    assert remark in line
    check, _ = written.checks
    assert check.startswith(f"region: {remark}")
    edited = written.text.replace(old, new.format(check.partition(" set ")[2]))
    dataset = PipelineConfig.model_validate(yaml.safe_load(edited)).dataset
    assert (prepare(dataset).frame["region"] == mark).sum() == 40


def test_long_list_of_categories_is_not_repeated(tmp_path: Path) -> None:
    streets = [f"street {row % 11}" for row in range(ROWS)]
    streets[0] = "NA"
    check, _ = proposed(write_csv(table(street=streets), tmp_path / "a.csv"))[1].checks
    assert check == ("street: 'NA' in 1 cell counts as missing; to keep it as a category, set values: [all 12 of them]")


def test_plain_missing_marks_need_no_check(tmp_path: Path) -> None:
    frame = table(region=["NULL", "nan", "north"] * 40, visits=["NA", "1", "2"] * 40)
    assert proposed(write_csv(frame, tmp_path / "a.csv"))[1].checks == [NO_ID]


def test_names_beyond_ascii_work_from_the_table_to_the_served_model(tmp_path: Path) -> None:
    size, sold = [row % 37 + 0.5 for row in range(ROWS)], ["größer", "kleiner"] * 60
    frame = pd.DataFrame({"Größe (m²)": size, "街": ["Straße", "Köln", "Z"] * 40, "Mögliche Klasse": sold})
    config, _ = proposed(write_csv(frame, tmp_path / "a.csv"), "Mögliche Klasse")
    parts = split_rows(prepare(config.dataset).frame, config, None)
    dataset = learn_columns(parts.train, config.dataset)
    package = build_package(fit(parts.train, config.model, dataset), parts.train, parts.holdout, dataset, parts.rule)
    assert package.parity == PARITY_PASSED
    assert package.schema.names == ("Größe (m²)", "街")
    assert package.classes == ("größer", "kleiner")


def test_gzip_needs_no_suffix(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_bytes(gzip.compress(table().to_csv(index=False).encode()))
    assert list(proposed(file)[0].dataset.features) == ["size"]


def test_regression_is_proposed(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": [row % 37 + 0.5 for row in range(ROWS)], "price": [row * 1.5 for row in range(ROWS)]})
    config, _ = proposed(write_csv(frame, tmp_path / "a.csv"), "price")
    assert (config.dataset.task, config.gate.metric, config.dataset.min_rows_per_class) == ("regression", "r2", None)


def test_mistakes_are_counted_as_missing_up_to_twice_their_share(tmp_path: Path) -> None:
    sizes: list[Any] = [row % 37 + 0.5 for row in range(ROWS)]
    sizes[3] = sizes[9] = "?"
    sold: list[Any] = [*CLASSES]
    sold[5] = ""
    file = write_csv(pd.DataFrame({"size": sizes, "sold": sold}), tmp_path / "a.csv")
    config, written = proposed(file)
    assert config.dataset.invalid_rows.model_dump() == {"policy": "missing", "max_share": 0.06}
    assert config.dataset.features["size"].missing
    assert [check for check in written.checks if check.startswith("size: 2 cells")]


def test_repeated_rows_are_kept_where_nothing_identifies_them(tmp_path: Path) -> None:
    few = pd.DataFrame({"size": ["1.5", "2.5", "3.5", "4.5"] * 30, "sold": CLASSES})
    config, written = proposed(write_csv(few, tmp_path / "a.csv"))
    assert config.dataset.duplicates == "keep"
    assert "116 rows, each the same as another one" in written.text
    config, _ = proposed(write_csv(few.assign(id=[*range(7, 7 * 120, 7), 826]), tmp_path / "b.csv"), ids=["id"])
    assert config.dataset.duplicates == "drop"


def test_group_keeps_its_rows_on_one_side(tmp_path: Path) -> None:
    frame = table(user_id=[f"u{row % 60}" for row in range(ROWS)])
    config, _ = proposed(write_csv(frame, tmp_path / "a.csv"))
    assert (config.split.by, config.dataset.group) == ("group", "user_id")


def test_named_time_holds_out_the_newest_rows(tmp_path: Path) -> None:
    days = [str(day.date()) for day in pd.date_range("2024-01-01", periods=ROWS)]
    frame = table(born=days, created_at=days, user_id=[f"u{row % 60}" for row in range(ROWS)])
    file = write_csv(frame, tmp_path / "a.csv")
    config, _ = proposed(file, time="born")
    assert (config.split.by, config.dataset.time) == ("time", "born")
    assert set(config.dataset.features) == {"size", "created_at"}
    config, written = proposed(write_csv(frame.drop(columns="user_id"), file))
    assert (config.split.by, config.dataset.time) == ("hash", "created_at")
    assert "by: time holds out the newest rows by 'created_at'" in written.text


@pytest.mark.parametrize(
    ("rows", "fraction", "depth", "leaf"),
    [(1998, 0.3, None, 1), (2000, 0.2, None, 2), (20_000, 0.2, None, 2), (20_002, 0.2, 12, 2), (100_000, 0.1, 12, 2)],
)
def test_holdout_and_trees_follow_the_number_of_rows(
    tmp_path: Path, rows: int, fraction: float, depth: int | None, leaf: int
) -> None:
    frame = pd.DataFrame({"size": [row % 37 for row in range(rows)], "sold": CLASSES[:2] * (rows // 2)})
    config, _ = proposed(write_csv(frame, tmp_path / "a.csv"))
    assert config.split.holdout_fraction == fraction
    assert config.model.params["max_depth"] == depth
    assert config.model.params["min_samples_leaf"] == leaf


def test_leak_and_doubts_are_to_be_checked(tmp_path: Path) -> None:
    frame = table(refund=["none", "full"] * 60, flag=[row % 2 for row in range(ROWS)][::-1])
    _, written = proposed(write_csv(frame, tmp_path / "a.csv"))
    assert "refund: determines the target; is it known when a prediction is made?" in written.checks
    assert any(check.startswith("flag: only 0 and 1") for check in written.checks)


def test_column_that_cannot_be_named_is_left_out_and_reported(tmp_path: Path) -> None:
    frame = table(**{"": [row % 7 for row in range(ROWS)], "x" * 101: [row % 7 for row in range(ROWS)]})
    config, written = proposed(write_csv(frame, tmp_path / "a.csv"))
    assert list(config.dataset.features) == ["size"]
    assert len([check for check in written.checks if check.startswith("a column cannot be used")]) == 2


@pytest.mark.parametrize(
    ("wanted", "kind", "problem"),
    [
        ({"target": "Sold"}, ConfigError, "TARGET: there is no column 'Sold'; did you mean 'sold'?"),
        ({"ids": ["sizes"]}, ConfigError, "ID: there is no column 'sizes'; did you mean 'size'?"),
        ({"time": "sizes"}, ConfigError, "TIME: there is no column 'sizes'"),
        ({"time": "size"}, ConfigError, "TIME='size' does not hold ISO 8601 dates: 0.5 to 36.5"),
        ({"time": "sold"}, ConfigError, "the target 'sold' cannot be ID or TIME"),
        ({"ids": ["sold"]}, ConfigError, "the target 'sold' cannot be ID or TIME"),
        ({"ids": ["gaps"]}, ConfigError, "'gaps' cannot be ID or TIME: 60 of 120 rows have no value"),
    ],
)
def test_column_that_cannot_be_used_so_is_refused(
    tmp_path: Path, wanted: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    file = write_csv(table(gaps=["a", ""] * 60), tmp_path / "a.csv")
    with pytest.raises(kind) as caught:
        propose(Wanted(str(file), **({"target": "sold"} | wanted)))
    assert problem in str(caught.value)


def test_table_with_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    file = write_csv(pd.DataFrame({"id": range(ROWS), "same": ["x"] * ROWS, "sold": CLASSES}), tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"no column to predict 'sold' from .*same: the same value in every row"):
        propose(Wanted(str(file), "sold"))
    (tmp_path / "a.parquet").write_bytes(b"sold,size\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        propose(Wanted(str(tmp_path / "a.parquet"), "sold"))
    pd.DataFrame({"sold": CLASSES}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="no column besides the target"):
        propose(Wanted(str(tmp_path / "b.parquet"), "sold"))
    pd.DataFrame({"sold": CLASSES[:0], "size": []}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="has no rows"):
        propose(Wanted(str(tmp_path / "c.parquet"), "sold"))


def test_edited_file_is_overwritten_by_force_only(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    require_overwritable(file, force=False)
    for free in ("", "\n", sealed("a: 1\n")):
        file.write_text(free, encoding="utf-8")
        require_overwritable(file, force=False)
    file.write_text(sealed("a: 1\n").replace("1", "2", 1), encoding="utf-8")
    require_overwritable(file, force=True)
    with pytest.raises(ConfigError, match="has been edited and would be overwritten: nothing was written"):
        require_overwritable(file, force=False)
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot be read"):
        require_overwritable(file, force=False)


ODD_NAMES = ["it's", 'say "so"', "größe (m²)", "a: b", "2024", "1_floor", "yes", "no", "null", "~", "- x", "#1", "a #b"]
ODD_NAMES += [
    "{x}",
    "[x]",
    "&x",
    "*x",
    "!x",
    "%x",
    "@x",
    "`x`",
    "?",
    "|",
    ">",
    "1e3",
    "0x10",
    "1:30",
    "=",
    "<<",
    "true",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_survive(tmp_path: Path, name: str) -> None:
    odd = name if name not in MISSING_TEXTS else f"{name}!"
    frame = pd.DataFrame({name: [row % 37 + 0.5 for row in range(ROWS)], "class": [odd, "other"] * 60})
    config, _ = proposed(write_csv(frame, tmp_path / "a.csv"), "class")
    assert list(config.dataset.features) == [name]
    assert config.dataset.classes == sorted([odd, "other"])
    config, _ = proposed(write_csv(frame.rename(columns={name: "size", "class": name}), tmp_path / "b.csv"), name)
    assert config.dataset.target == name


@st.composite
def names(draw: st.DrawFn) -> list[str]:
    text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
    return draw(st.lists(text, min_size=4, max_size=4, unique_by=lambda name: name.strip()).filter(all))


@given(names())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_of_a_column_and_a_class_survives(tmp_path: Path, found: list[str]) -> None:
    feature, target, *classes = found
    frame = pd.DataFrame({feature: [row % 37 + 0.5 for row in range(ROWS)], target: classes * 60})
    frame.to_parquet(tmp_path / "a.parquet")
    try:
        config, written = proposed(tmp_path / "a.parquet", target)
    except DataError:  # such as a class that means a missing value
        return
    assert list(config.dataset.features) == [feature]
    assert config.dataset.target == target
    assert config.dataset.classes == sorted(name.strip() for name in classes)
    assert is_unchanged(written.text)


def test_comments_cannot_hold_line_ends(tmp_path: Path) -> None:
    file = write_csv(table(region=["a\nsplit: 1", "b\u2028x", "c\x7f"] * 40), tmp_path / "a.csv")
    config, written = proposed(file)
    assert config.split.by == "hash"
    assert "'a?split: 1'" in written.text


def test_written_text_is_plain_yaml(tmp_path: Path) -> None:
    file = write_csv(table(), tmp_path / "a.csv")
    raw = yaml.safe_load(propose(Wanted(str(file), "sold")).text)
    assert list(raw) == ["dataset", "split", "model", "gate"]
    assert raw["dataset"]["classes"] == ["no", "yes"]


def test_date_among_the_features_may_be_the_time(tmp_path: Path) -> None:
    days = [str(day.date()) for day in pd.date_range("2024-01-01", periods=ROWS)]
    _, written = proposed(write_csv(table(born=days), tmp_path / "a.csv"))
    assert IS_IT_THE_TIME.format("born") in written.checks
    _, written = proposed(write_csv(table(born=days, created_at=days), tmp_path / "a.csv"))
    assert IS_IT_THE_TIME.format("born") not in written.checks
