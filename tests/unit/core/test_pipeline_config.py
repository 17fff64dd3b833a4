"""config/pipeline.yaml: every mistake is told by file, key and what was meant."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from src.core.errors import ConfigError
from src.core.pipeline_config import load_pipeline_config
from src.services.local.processes import REPOSITORY

SHIPPED = REPOSITORY / "config" / "pipeline.yaml"
SEPALS = "sepal_length: { minimum: 0.1, maximum: 20.0 }"
Edit = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """The shipped file with one text replaced."""

    def edit(old: str, new: str) -> Path:
        text = SHIPPED.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "pipeline.yaml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return edit


def problem_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pipeline_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_shipped_file_is_valid_and_frozen() -> None:
    config = load_pipeline_config(SHIPPED)
    assert list(config.dataset.features) == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert config.model.max_depth is None
    with pytest.raises(ValidationError, match="frozen"):
        config.gate.floor = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("n_estimators:", "n_estimator:", "unknown key 'model.n_estimator'; did you mean 'n_estimators'?"),
        ("gate:", "gates:", "unknown key 'gates'; did you mean 'gate'?"),
        ("minimum: 0.1", "minimun: 0.1", "'dataset.features.sepal_length.minimun'; did you mean 'minimum'?"),
        ("seed:", "zzz:", "unknown key 'split.zzz'; split takes holdout_fraction, seed"),
        ("model:", "zzz: 1\nmodel:", "unknown key 'zzz'; the top level takes dataset, split, model, gate"),
    ],
)
def test_misspelt_key_is_told_first_with_what_was_meant(edited: Edit, old: str, new: str, problem: str) -> None:
    assert problem in problem_of(edited(old, new)).split("; missing")[0]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  floor: 0.85\n", "", "missing key 'gate.floor'"),
        ("n_estimators: 100", "n_estimators: '100'", "model.n_estimators: "),
        ("n_estimators: 100", "n_estimators: true", "model.n_estimators: "),
        ("n_estimators: 100", "n_estimators: 0", "model.n_estimators: "),
        ("max_depth: null", "max_depth: 2.5", "model.max_depth"),
        ("floor: 0.85", "floor: 1.5", "gate.floor: "),
        ("floor: 0.85", "floor: .nan", "gate.floor: "),
        ("metric: f1_macro", "metric: recall", "gate.metric: "),
        ("holdout_fraction: 0.3", "holdout_fraction: 1", "split.holdout_fraction: "),
        ("minimum: 0.1, maximum: 20.0", "minimum: 20, maximum: 20", "minimum must be less than maximum"),
        ("target: species", "target: petal_width", "the target 'petal_width' is also a feature"),
        ("[setosa, versicolor, virginica]", "[setosa, setosa]", "classes must differ"),
        ("[setosa, versicolor, virginica]", "[setosa]", "dataset.classes: "),
        ("duplicates: drop", "duplicates: maybe", "dataset.duplicates: "),
        ("maximum: 20.0", "maximum: 1.0e+39", "maximum: Input should be less than or equal to 34"),
        ("metric: f1_macro", "metric: r2", "gate.metric is r2; a classification takes accuracy or f1_macro"),
        ("  classes: [setosa, versicolor, virginica]\n", "", "dataset: give either classes, for a classification, or"),
        ("  min_rows_per_class: 20 # fewer stop the run\n", "", "dataset: classes and min_rows_per_class go together"),
        (
            "  duplicates:",
            "  target_range: { minimum: 0.0, maximum: 1.0 }\n  duplicates:",
            "dataset: give either classes,",
        ),
        (
            SEPALS,
            "sepal_length: { type: categry, values: [a] }",
            "sepal_length.type: no such type; did you mean 'category'?",
        ),
        (
            SEPALS,
            "sepal_length: { type: 7 }",
            "sepal_length.type: no such type; it is one of number, boolean, category",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, values: [a, a] }",
            "dataset.features.sepal_length: values must differ",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, values: [1] }",
            "sepal_length.values.0: 1 is no text here; put it in quotes",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, valeus: [a] }",
            "'dataset.features.sepal_length.valeus'; did you mean 'values'?",
        ),
        ("seed: 42", "seed: 42\n  seed: 43", "the key 'seed' stands there twice"),
        ("gate: #", "gate: {metric: accuracy, floor: 0, tolerance: 1}\ngate: #", "the key 'gate' stands there twice"),
    ],
)
def test_wrong_value_is_told_by_its_key(edited: Edit, old: str, new: str, problem: str) -> None:
    assert problem in problem_of(edited(old, new))


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("{ type: category }", "missing key 'dataset.features.sepal_length.values'"),
        ("{ type: boolean, value: 1 }", "sepal_length takes type, missing"),
        ("{ minimum: 0.1, maximum: 20.0, missing: yes please }", "sepal_length.missing: "),
        ("number", "sepal_length: "),
    ],
)
def test_wrong_column_is_told_by_its_name(edited: Edit, column: str, problem: str) -> None:
    assert problem in problem_of(edited(SEPALS, f"sepal_length: {column}"))


def test_columns_of_every_type_make_the_schema_of_the_model(edited: Edit) -> None:
    columns = "\n    ".join(
        [
            "sepal_length: { minimum: 0.1, maximum: 20.0, missing: true }",
            "in bloom?: { type: boolean }",
            "colour: { type: category, values: [blue, white], missing: true }",
        ]
    )
    dataset = load_pipeline_config(edited(SEPALS, columns)).dataset
    found = [(column.name, column.type, column.required) for column in dataset.feature_schema.columns]
    assert found[:4] == [
        ("sepal_length", "number", False),
        ("in bloom?", "boolean", True),
        ("colour", "string", False),
        ("sepal_width", "number", True),
    ]
    assert [column.mlflow_type for column in dataset.feature_schema.columns[:3]] == ["double", "boolean", "string"]


def test_example_of_a_regression_in_the_shipped_file_is_valid(tmp_path: Path) -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    (start,) = [index for index, line in enumerate(lines) if line.startswith("# dataset:")]
    example = [line.removeprefix("# ") for line in lines[start:]]
    (end,) = [index for index, line in enumerate(lines) if line.startswith("split:")]
    rest = "\n".join(lines[end:start]).replace("metric: f1_macro", "metric: r2")
    path = tmp_path / "pipeline.yaml"
    path.write_text("\n".join([*example, rest]), encoding="utf-8")
    assert load_pipeline_config(path).dataset.task == "regression"


def test_every_problem_is_told_at_once(edited: Edit) -> None:
    problem = problem_of(edited("floor: 0.85\n  tolerance: 0.01", "floor: 2\n  tolerence: 0.01"))
    assert problem.startswith("unknown key 'gate.tolerence'; did you mean 'tolerance'?; ")
    assert "missing key 'gate.tolerance'" in problem
    assert "gate.floor: " in problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected a mapping with the keys dataset, split, model, gate, got NoneType"),
        (b"- 1", "got list"),
        (b"a: [1", "not YAML: "),
        (b"\xff\xfe\xfa", "not YAML: "),
        (b"a: 2024-13-45", "not YAML: month must be in 1..12"),
        (b"a: !!python/object/apply:os.system ['true']", "not YAML: "),
    ],
)
def test_file_that_is_no_mapping_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(content)
    assert problem in problem_of(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "absent.yaml") == "cannot be read: No such file or directory"


@pytest.mark.parametrize(("value", "shown"), [("no", "False"), ("1", "1"), ("1.5", "1.5")])
def test_what_yaml_does_not_read_as_text_wants_quotes(edited: Edit, value: str, shown: str) -> None:
    path = edited("[setosa, versicolor, virginica]", f"[{value}, versicolor, virginica]")
    with pytest.raises(ConfigError, match=rf"dataset\.classes\.0: {shown} is no text here; put it in quotes"):
        load_pipeline_config(path)
