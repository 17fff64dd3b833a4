"""config/pipeline.yaml: every mistake is reported by file and key, with what was meant."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from src.core.dataset_config import FEATURE_TYPES, CsvFormat, DatasetConfig, InvalidRows
from src.core.errors import ConfigError
from src.core.gate_config import GateConfig, RetentionConfig, RolloutConfig, SplitConfig
from src.core.model_config import ModelConfig, SearchConfig
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from tests.support.configuration import CONFIG_FILE

SEPALS = "sepal_length: { minimum: 0.1, maximum: 20.0 }"
Edit = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """The shipped file with one text replaced."""

    def edit(old: str, new: str) -> Path:
        text = CONFIG_FILE.read_text(encoding="utf-8")
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
    config = load_pipeline_config(CONFIG_FILE)
    assert list(config.dataset.features) == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert config.model.estimator == "random_forest"
    assert config.model.params == {"n_estimators": 100, "max_depth": None, "min_samples_leaf": 1, "random_state": 42}
    assert (config.split.by, config.split.holdout_fraction, config.split.inherit) == ("hash", 0.3, True)
    with pytest.raises(ValidationError, match="frozen"):
        config.gate.floor = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("gate:", "gates:", "unknown key 'gates'; did you mean 'gate'?"),
        ("  source:", "  sorce:", "unknown key 'dataset.sorce'; did you mean 'source'?"),
        (
            "  target: species",
            "  csv: { delimeter: ';' }\n  target: species",
            "'dataset.csv.delimeter'; did you mean 'delimiter'?",
        ),
        (
            "  target: species",
            "  invalid_rows: { max: 1 }\n  target: species",
            "'dataset.invalid_rows.max'; dataset.invalid_rows takes policy, max_share",
        ),
        ("minimum: 0.1", "minimun: 0.1", "'dataset.features.sepal_length.minimun'; did you mean 'minimum'?"),
        ("holdout_fraction:", "holdout_fracton:", "'split.holdout_fracton'; did you mean 'holdout_fraction'?"),
        ("seed:", "zzz:", "unknown key 'split.zzz'; split takes by, holdout_fraction, seed, inherit"),
        ("estimator:", "estimater:", "unknown key 'model.estimater'; did you mean 'estimator'?"),
        ("gate:", "  search: { params: { a: [1] }, fold: 3 }\ngate:", "'model.search.fold'; did you mean 'folds'?"),
        ("tolerance:", "tolerence:", "unknown key 'gate.tolerence'; did you mean 'tolerance'?"),
        ("gate:", "retention: { version: 3 }\ngate:", "'retention.version'; did you mean 'versions'?"),
        ("model:", "zzz: 1\nmodel:", "'zzz'; the top level takes dataset, split, model, gate, report, rollout"),
    ],
)
def test_misspelt_key_is_reported_first_with_what_was_meant(edited: Edit, old: str, new: str, problem: str) -> None:
    assert problem in problem_of(edited(old, new)).split("; missing")[0]


@pytest.mark.parametrize("key", ["n_estimators", "max_depth", "min_samples_leaf", "random_state"])
def test_key_of_the_former_layout_is_reported_with_its_new_place(edited: Edit, key: str) -> None:
    problem = problem_of(edited("  estimator: random_forest", f"  {key}: 1\n  estimator: random_forest"))
    assert (
        problem
        == f"unknown key 'model.{key}'; write '{key}' under 'model.params', where an estimator's own parameters are"
    )


def test_misspelt_key_of_the_former_layout_is_reported_with_its_new_place(edited: Edit) -> None:
    problem = problem_of(edited("  estimator: random_forest", "  n_estimator: 1\n  estimator: random_forest"))
    assert problem.startswith("unknown key 'model.n_estimator'; write 'n_estimators' under 'model.params'")


def test_unknown_parameter_in_the_model_section_is_sent_to_params(edited: Edit) -> None:
    problem = problem_of(edited("  estimator: random_forest", "  learning_rate: 1\n  estimator: random_forest"))
    assert "unknown key 'model.learning_rate'; model takes estimator, params, " in problem
    assert problem.endswith("; an estimator's own parameters are keys of 'model.params'")


@pytest.mark.parametrize(
    ("former", "present"),
    [("log_loss", "neg_log_loss"), ("rmse", "neg_root_mean_squared_error"), ("mae", "neg_mean_absolute_error")],
)
def test_former_name_of_a_score_is_reported_with_the_present_one(edited: Edit, former: str, present: str) -> None:
    expected = f"'{former}' is now written '{present}', and greater is better"
    assert problem_of(edited("metric: f1_macro", f"metric: {former}")) == f"gate.metric: {expected}"
    assert problem_of(edited("gate:", f"report: [{former}]\ngate:")) == f"report.0: {expected}"
    minimums = f"  minimums: {{ {former}: 0.5 }}\n  metric: f1_macro"
    assert problem_of(edited("  metric: f1_macro", minimums)) == f"gate.minimums.{former}: {expected}"


TWO_CLASSES = "classes: [setosa, other]"
CLASSES = "classes: [setosa, versicolor, virginica]"
LEAST = "  min_rows_per_class: 20 # fewer stop the run\n"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  tolerance: 0.01 #", "  #", "missing key 'gate.tolerance'"),
        ("  seed: 2\n", "", "missing key 'split.seed'"),
        ("floor: 0.85", "floor: .nan", "gate.floor: Input should be a finite number"),
        ("floor: 0.85", "floor: 8.5e-1x", "gate.floor: Input should be a valid number"),
        ("floor: 0.85", "floor: 85e-2", "gate.floor: '85e-2' is text in YAML; write 0.85"),
        ("seed: 2", "seed: '2'", "split.seed: '2' is text in YAML; write 2"),
        ("seed: 2", "seed: 4294967296", "split.seed: Input should be less than or equal to 4294967295"),
        ("seed: 2", "seed: -1", "split.seed: Input should be greater than or equal to 0"),
        ("seed: 2", "seed: true", "split.seed: Input should be a valid integer"),
        ("tolerance: 0.01", "tolerance: -0.01", "gate.tolerance: Input should be greater than or equal to 0"),
        ("metric: f1_macro", "metric: f1 macro", "gate.metric: String should match pattern"),
        ("metric: f1_macro", f"metric: {'x' * 65}", "gate.metric: String should have at most 64 characters"),
        ("holdout_fraction: 0.3", "holdout_fraction: 1", "split.holdout_fraction: Input should be less than 1"),
        ("holdout_fraction: 0.3", "holdout_fraction: 0", "split.holdout_fraction: Input should be greater than 0"),
        ("by: hash", "by: rows", "split.by: Input should be 'hash', 'group' or 'time'"),
        ("by: hash", "by: group", "split.by is group; name the column in dataset.group"),
        ("by: hash", "by: time", "split.by is time; name the column in dataset.time"),
        ("minimum: 0.1, maximum: 20.0", "minimum: 20, maximum: 20", "minimum must be less than maximum"),
        ("maximum: 20.0", "maximum: 1.0e+39", "maximum: Input should be less than or equal to 34"),
        ("minimum: 0.1", "minimum: -1.0e+39", "minimum: Input should be greater than or equal to -34"),
        (CLASSES, "classes: [setosa, setosa]", "dataset: classes must differ"),
        (CLASSES, "classes: [setosa]", "dataset.classes: List should have at least 2 items"),
        (f"  {CLASSES}", "  #", "dataset: give either classes, for a classification, or"),
        ("  duplicates:", "  target_range: { maximum: 1 }\n  duplicates:", "dataset: give either classes,"),
        (LEAST, "", "dataset: classes and min_rows_per_class go together"),
        (
            "min_rows_per_class: 20",
            "min_rows_per_class: 1",
            "min_rows_per_class: Input should be greater than or equal to 2",
        ),
        ("duplicates: drop", "duplicates: maybe", "dataset.duplicates: Input should be 'keep', 'drop' or 'error'"),
        ("source: iris", "source: ''", "dataset.source: String should have at least 1 character"),
        (
            "source: iris",
            "source: https://ann:s3cret@example.com/x.csv",
            "dataset.source: must not contain a user name or a password; use s3:// with keys from the environment",
        ),
        (
            "source: iris",
            "source: https://example.com/x.csv?year=2026&X-Amz-Signature=s3cret",
            "dataset.source: must not contain a secret such as X-Amz-Signature; use s3://",
        ),
        ("source: iris", "source: sql", "dataset: source: sql and query go together"),
        ("target: species", "query: SELECT 1\n  target: species", "dataset: source: sql and query go together"),
        (
            "target: species",
            "csv: { delimiter: ';;' }\n  target: species",
            "dataset.csv.delimiter: String should match",
        ),
        (
            "target: species",
            "csv: { delimiter: '\"' }\n  target: species",
            "dataset.csv.delimiter: String should match",
        ),
        (
            "target: species",
            "csv: { delimiter: ' ' }\n  target: species",
            "dataset.csv.delimiter: String should match",
        ),
        (
            "target: species",
            "csv: { decimal: '·' }\n  target: species",
            "dataset.csv.decimal: Input should be '.' or ','",
        ),
        (
            "target: species",
            "csv: { encoding: utf-9 }\n  target: species",
            "dataset.csv: Python has no text encoding 'utf-9'",
        ),
        (
            "target: species",
            "csv: { encoding: base64 }\n  target: species",
            "dataset.csv: Python has no text encoding 'base64'",
        ),
        (
            "target: species",
            "invalid_rows: { policy: skip }\n  target: species",
            "policy: Input should be 'fail', 'drop' or 'missing'",
        ),
        (
            "target: species",
            "invalid_rows: { policy: drpo }\n  target: species",
            "dataset.invalid_rows.policy: no such value 'drpo'; did you mean 'drop'?",
        ),
        (
            "target: species",
            "invalid_rows: drpo\n  target: species",
            "keys policy, max_share, got 'drpo'; did you mean { policy: drop }?",
        ),
        ("by: hash", "by: hsah", "split.by: no such value 'hsah'; did you mean 'hash'?"),
        ("by: hash", "by: Hash", "split.by: no such value 'Hash'; did you mean 'hash'?"),
        ("by: hash", "by: [hash]", "split.by: no such value ['hash']; did you mean 'hash'?"),
        (
            "estimator: random_forest",
            "threshold: tuned",
            "model.threshold: no such value 'tuned'; did you mean 'tune'?",
        ),
        (
            "target: species",
            "invalid_rows: { max_share: 1.01 }\n  target: species",
            "max_share: Input should be less than or equal to 1",
        ),
        (
            "target: species",
            "positive_class: rose\n  target: species",
            "dataset: positive_class must be one of classes",
        ),
        (
            "target: species",
            "positive_class: virginca\n  target: species",
            "dataset: positive_class must be one of classes; did you mean 'virginica'?",
        ),
        (
            "target: species",
            "positive_class: setosa\n  target: species",
            "dataset: positive_class needs exactly two classes",
        ),
        ("target: species", "target: petal_width", "dataset: the target 'petal_width' is also a feature"),
        (
            "target: species",
            "target: species\n  id: [species]",
            "dataset: the target 'species' cannot be an id, time, group or",
        ),
        (
            "target: species",
            "target: species\n  time: species",
            "dataset: the target 'species' cannot be an id, time, group or",
        ),
        (
            "target: species",
            "target: species\n  group: species",
            "dataset: the target 'species' cannot be an id, time, group",
        ),
        (
            "target: species",
            "target: species\n  ignored: [species]",
            "dataset: the target 'species' cannot be an id, time, group",
        ),
        ("target: species", "target: species\n  id: [a, b, a]", "dataset: the id columns must differ"),
        (
            "target: species",
            "target: species\n  id: [a]\n  ignored: [a]",
            "dataset: ignored columns are used elsewhere: a",
        ),
        (
            "target: species",
            "target: species\n  time: a\n  ignored: [a]",
            "dataset: ignored columns are used elsewhere: a",
        ),
        (
            "target: species",
            "target: species\n  ignored: [petal_width]",
            "dataset: ignored columns are used elsewhere: petal_width",
        ),
        (SEPALS, "sepal_length: { type: nubmer }", "sepal_length.type: no such type; did you mean 'number'?"),
        (SEPALS, "2020: { minimum: 1 }", "dataset.features.2020: 2020 is not text here; put it in quotes"),
        (SEPALS, "null: { minimum: 1 }", "None is not text here; put it in quotes"),
        ("estimator: random_forest", "estimator: ''", "model.estimator: String should have at least 1 character"),
        (
            "estimator: random_forest",
            "class_weight: heavy",
            "model.class_weight: Input should be 'balanced' or a valid dictionary",
        ),
        (
            "estimator: random_forest",
            "class_weight: { setosa: 0 }",
            "model.class_weight.setosa: Input should be greater than 0",
        ),
        (
            "estimator: random_forest",
            "class_weight: { setosa: 1 }",
            "model.class_weight needs one weight for each class: setosa,",
        ),
        ("estimator: random_forest", "calibrate: true", "model.calibrate: Input should be 'sigmoid' or 'isotonic'"),
        ("estimator: random_forest", "threshold: 1.0", "model.threshold: Input should be 'tune' or less than 1"),
        ("estimator: random_forest", "threshold: 0.5", "model.threshold needs exactly two classes"),
        (
            "estimator: random_forest",
            "target_transform: log",
            "model.target_transform is not for a classification; remove it",
        ),
        ("gate:", "  search: { params: {} }\ngate:", "model.search.params: Dictionary should have at least 1 item"),
        (
            "gate:",
            "  search: { params: { max_depth: [1] } }\ngate:",
            "model: max_depth: given in params and in search.params; keep one",
        ),
        (
            "gate:",
            "  search: { trials: 1, params: { a: [1] } }\ngate:",
            "model.search.trials: Input should be greater than or equal to 2",
        ),
        (
            "gate:",
            "  search: { trials: 1001, params: { a: [1] } }\ngate:",
            "model.search.trials: Input should be less than or equal to 1000",
        ),
        (
            "gate:",
            "  search: { folds: 21, params: { a: [1] } }\ngate:",
            "model.search.folds: Input should be less than or equal to 20",
        ),
        (
            "gate:",
            "  search: { folds: 1, params: { a: [1] } }\ngate:",
            "model.search.folds: Input should be greater than or equal to 2",
        ),
        ("floor:", "confidence: 0.5\n  floor:", "gate.confidence: Input should be greater than 0.5"),
        ("floor:", "confidence: 1\n  floor:", "gate.confidence: Input should be less than 1"),
        ("floor:", "slices: [colour]\n  floor:", "gate.slices: colour must be columns of dataset.features"),
        ("floor:", "slices: [petal_widht]\n  floor:", "columns of dataset.features; did you mean 'petal_width'?"),
        (
            "floor:",
            "slices: [petal_width]\n  floor:",
            "gate.slices: petal_width must be of the type category or boolean",
        ),
        ("floor:", "slices: [petal_width, petal_width]\n  floor:", "gate: slices must differ"),
        ("floor:", "minimums: { accuracy: .inf }\n  floor:", "gate.minimums.accuracy: Input should be a finite number"),
        (
            "gate:",
            "retention: { versions: 0 }\ngate:",
            "retention.versions: Input should be greater than or equal to 1",
        ),
        (
            "gate:",
            "retention: { request_days: 0 }\ngate:",
            "retention.request_days: Input should be greater than or equal to 1",
        ),
        (
            "gate:",
            f"report: [{', '.join(f'm{i}' for i in range(21))}]\ngate:",
            "report: List should have at most 20 items",
        ),
        (
            SEPALS,
            "sepal_length: { type: categry, values: [a] }",
            "dataset.features.sepal_length.type: no such type; did you mean 'category'?",
        ),
        (
            SEPALS,
            "sepal_length: { type: 7 }",
            "type: no such type; it is one of number, integer, boolean, category, date, ignore",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, values: [a, a] }",
            "dataset.features.sepal_length: values must differ",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, values: [] }",
            "dataset.features.sepal_length.values: List should have at least 1",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, values: [1] }",
            "sepal_length.values.0: 1 is not text here; put it in quotes",
        ),
        (
            SEPALS,
            "sepal_length: { type: category, valeus: [a] }",
            "'dataset.features.sepal_length.valeus'; did you mean 'values'?",
        ),
        ("seed: 2", "seed: 2\n  seed: 3", "the key 'seed' occurs twice"),
        ("gate: #", "gate: {metric: accuracy, floor: 0, tolerance: 1}\ngate: #", "the key 'gate' occurs twice"),
    ],
)
def test_wrong_value_is_reported_by_its_key(edited: Edit, old: str, new: str, problem: str) -> None:
    assert problem in problem_of(edited(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minimum: 0.1, maximum: 20.0", "minimum: 19.99, maximum: 20"),
        ("minimum: 0.1, maximum: 20.0", "minimum: -3.4028234e+38, maximum: 3.4028234e+38"),
        ("seed: 2", "seed: 4294967295"),
        ("seed: 2", "seed: 0"),
        ("tolerance: 0.01", "tolerance: 0"),
        ("floor: 0.85", "floor: null"),
        ("floor: 0.85", "floor: -1.0e+6"),
        ("metric: f1_macro", f"metric: {'x' * 64}"),
        ("min_rows_per_class: 20", "min_rows_per_class: 2"),
        ("target: species", "target: species\n  id: [machine, at]\n  time: at\n  group: machine"),
        ("target: species", "target: species\n  id: [petal_width]\n  time: petal_width\n  group: petal_width"),
        ("target: species", "invalid_rows: { policy: missing, max_share: 1 }\n  target: species"),
        ("target: species", "csv: { delimiter: \"\\t\", decimal: ',', encoding: UTF-16 }\n  target: species"),
        ("estimator: random_forest", "class_weight: { setosa: 1, virginica: 2, versicolor: 0.5 }"),
        ("gate:", "  search: { method: halving, trials: 1000, folds: 20, params: { a: [1] } }\ngate:"),
        ("gate:", "  search: { trials: 2, folds: 2, params: { a: [1] } }\ngate:"),
        ("gate:", "retention: { versions: 1, request_days: 1 }\ngate:"),
        ("gate:", f"report: [{', '.join(f'm{i}' for i in range(20))}]\ngate:"),
        ("gate:", "report: []\ngate:"),
    ],
)
def test_value_at_its_limit_is_valid(edited: Edit, old: str, new: str) -> None:
    load_pipeline_config(edited(old, new))


def test_several_mistakes_in_one_value_are_one_problem(edited: Edit) -> None:
    problem = problem_of(edited("estimator: random_forest", "threshold: never"))
    assert problem == "model.threshold: Input should be 'tune' or a valid number"


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("{ type: boolean, value: 1 }", "sepal_length takes type, missing"),
        ("{ minimum: 0.1, maximum: 20.0, missing: yes please }", "sepal_length.missing: "),
        ("{ type: date, minimum: 1 }", "unknown key 'dataset.features.sepal_length.minimum'; "),
        ("{ type: ignore, missing: true }", "sepal_length.type: no such type"),
        ("number", "keys minimum, maximum, type, missing, got 'number'; did you mean { type: number }?"),
        (
            "text",
            "dataset.features.sepal_length: expected a mapping with the keys minimum, maximum, type, missing, got str",
        ),
        (
            "null",
            "sepal_length: expected a mapping with the keys minimum, maximum, type, missing, got NoneType",
        ),
    ],
)
def test_wrong_column_is_reported_by_its_name(edited: Edit, column: str, problem: str) -> None:
    assert problem in problem_of(edited(SEPALS, f"sepal_length: {column}"))


def test_columns_of_every_type_make_the_schema_of_the_model(edited: Edit) -> None:
    columns = "\n    ".join(
        [
            "sepal_length: { minimum: 0.1, maximum: 20.0, missing: true }",
            "in bloom?: { type: boolean }",
            "colour: { type: category, values: [blue, white], missing: true }",
            "scent: { type: category }",
            "petals: { type: integer }",
            "picked: { type: date, missing: true }",
            "notes: { type: ignore }",
        ]
    )
    dataset = load_pipeline_config(edited(SEPALS, columns)).dataset
    found = [(item.name, item.type, item.mlflow_type, item.required) for item in dataset.feature_schema.columns]
    assert found[:7] == [
        ("sepal_length", "number", "double", False),
        ("in bloom?", "boolean", "boolean", True),
        ("colour", "string", "string", False),
        ("scent", "string", "string", True),
        ("petals", "integer", "long", True),
        ("picked", "date", "double", False),
        ("sepal_width", "number", "double", True),
    ]
    assert [item.values for item in dataset.feature_schema.columns[2:4]] == [("blue", "white"), ()]
    assert dataset.ignored == ["notes"]
    assert "notes" not in dataset.columns


def test_columns_that_are_no_features_come_last_and_once(edited: Edit) -> None:
    roles = "target: species\n  id: [plot, petal_width]\n  time: picked\n  group: plot"
    dataset = load_pipeline_config(edited("target: species", roles)).dataset
    assert dataset.columns == (*dataset.features, "species", "plot", "picked")


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        ("classes: [no deal, deal]", "deal"),
        ("classes: [no deal, deal]\n  positive_class: no deal", "no deal"),
        (CLASSES, None),
    ],
)
def test_positive_class_is_the_last_of_two_unless_named(edited: Edit, classes: str, positive: str | None) -> None:
    assert load_pipeline_config(edited(CLASSES, classes)).dataset.positive == positive


def test_metrics_are_the_gates_first_then_what_is_recorded(edited: Edit) -> None:
    assert load_pipeline_config(CONFIG_FILE).metrics == ("f1_macro", "accuracy", "neg_log_loss")
    limited = edited("  metric: f1_macro", "  minimums: { recall_macro: 0.1 }\n  metric: f1_macro")
    assert load_pipeline_config(limited).metrics == ("f1_macro", "recall_macro", "accuracy", "neg_log_loss")
    reported = edited("gate:", "report: [r2, f1_macro]\ngate:")
    assert load_pipeline_config(reported).metrics == ("f1_macro", "r2")
    houses = edited(f"{CLASSES} # the target's values; for a number, give target_range instead", "target_range: {}")
    regression = houses.read_text(encoding="utf-8").replace(LEAST, "").replace("metric: f1_macro", "metric: r2")
    houses.write_text(regression, encoding="utf-8")
    found = load_pipeline_config(houses)
    assert found.metrics == ("r2", "neg_root_mean_squared_error", "neg_mean_absolute_error")
    houses.write_text(regression.replace("estimator: random_forest", "calibrate: sigmoid"), encoding="utf-8")
    assert "model.calibrate is not for a regression; remove it" in problem_of(houses)


def examples_of_the_shipped_file() -> dict[str, dict[str, Any]]:
    """The optional keys in the file's comments, by section."""
    found: dict[str, dict[str, Any]] = {"": {}, "features": {}}
    section = ""
    for line in CONFIG_FILE.read_text(encoding="utf-8").splitlines():
        section = line.partition(":")[0] if re.match(r"[a-z]+:", line) else section
        if match := re.match(r"( *)# ([a-z_]+: [^…]*)$", line):
            place = {"": "", "  ": section, "    ": "features"}[match[1]]
            found.setdefault(place, {}).update(yaml.safe_load(match[2]))
    return found


def test_every_key_is_in_the_shipped_file() -> None:
    text = CONFIG_FILE.read_text(encoding="utf-8")
    sections = (
        DatasetConfig,
        CsvFormat,
        InvalidRows,
        SplitConfig,
        ModelConfig,
        SearchConfig,
        GateConfig,
        RetentionConfig,
    )
    names = [name for section in (PipelineConfig, *sections) for name in section.model_fields if name != "ignored"]
    assert [name for name in names if not re.search(rf"\b{name}:", text)] == []
    assert [name for name in FEATURE_TYPES if f"type: {name}" not in text] == []


def test_every_example_in_the_shipped_file_is_valid(tmp_path: Path) -> None:
    examples = examples_of_the_shipped_file()
    assert set(examples) == {"", "features", "dataset", "split", "model", "gate"}
    raw = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    numbers, log = examples["dataset"].pop("target_range"), examples["model"].pop("target_transform")
    raw["dataset"]["features"] |= examples["features"]
    raw |= examples[""]
    for section in ("dataset", "split", "model", "gate"):
        raw[section] |= examples[section]
    raw["dataset"]["classes"] = ["setosa", "versicolor"]
    del raw["model"]["params"]["max_depth"]
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    config = load_pipeline_config(path)
    assert (config.dataset.source, config.dataset.positive, config.gate.slices) == ("sql", "versicolor", ["region"])

    raw["dataset"] |= {"target_range": numbers, "classes": None, "min_rows_per_class": None, "positive_class": None}
    raw["model"] = {"target_transform": log}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert load_pipeline_config(path).dataset.task == "regression"


def test_optional_keys_with_a_default_show_it_in_the_shipped_file() -> None:
    examples = examples_of_the_shipped_file()
    assert examples["split"]["inherit"] == SplitConfig.model_fields["inherit"].default
    assert examples["gate"]["allow_breaking"] == GateConfig.model_fields["allow_breaking"].default
    assert examples[""]["rollout"] == RolloutConfig().model_dump(exclude={"canary"})
    assert examples[""]["retention"] == RetentionConfig().model_dump()
    search = SearchConfig.model_validate(examples["model"]["search"])
    assert search == SearchConfig(params=search.params)


def test_every_problem_is_reported_at_once(edited: Edit) -> None:
    problem = problem_of(edited("floor: 0.85 # least score; null for none\n  tolerance", "floor: .inf\n  tolerence"))
    assert problem.startswith("unknown key 'gate.tolerence'; did you mean 'tolerance'?; ")
    assert "missing key 'gate.tolerance'" in problem
    assert "gate.floor: " in problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"",
            "with the keys dataset, split, model, gate, report, rollout, retention, labels, got NoneType",
        ),
        (b"- 1", "got list"),
        (b"gate: 1", "gate: expected a mapping with the keys metric, floor, "),
        (b"a: [1", "not YAML: "),
        (b"\xff\xfe\xfa", "not YAML: "),
        (b"a:\n  b: 1\n\tc: 2", "line 3: tabs are not allowed in YAML, use spaces"),
        (b"\ta: 1", "line 1: tabs are not allowed in YAML, use spaces"),
        (b"a: 1\nb:\t2", "line 2: tabs are not allowed in YAML, use spaces"),
        (b"a: 2024-13-45", "not YAML: month must be in 1..12"),
        (b"a: !!python/object/apply:os.system ['true']", "not YAML: "),
    ],
)
def test_file_that_is_no_mapping_is_reported(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(content)
    assert problem in problem_of(path)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "absent.yaml") == "cannot be read: No such file or directory"


@pytest.mark.parametrize(("value", "shown"), [("no", "False"), ("1", "1"), ("1.5", "1.5")])
def test_value_that_yaml_does_not_read_as_text_needs_quotes(edited: Edit, value: str, shown: str) -> None:
    path = edited("[setosa, versicolor, virginica]", f"[{value}, versicolor, virginica]")
    with pytest.raises(ConfigError, match=rf"dataset\.classes\.0: {shown} is not text here; put it in quotes"):
        load_pipeline_config(path)
