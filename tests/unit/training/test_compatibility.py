import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.training.compatibility import breaking_changes
from src.training.registry import Contract

NUMBER, OPTIONAL = Column("a"), Column("b", required=False)
TEXT = Column("a", ColumnType.STRING, mlflow_type="string")


def model(*columns: Column, classes: tuple[str, ...] = ("no", "yes")) -> Contract:
    return Contract(FeatureSchema(columns), classes)


@pytest.mark.parametrize(
    "new",
    [
        (NUMBER, OPTIONAL),
        (NUMBER, OPTIONAL, Column("c", ColumnType.STRING, required=False, mlflow_type="string")),
        (Column("a", required=False), OPTIONAL),
    ],
    ids=["the same", "a new optional column", "a column that may be missing now"],
)
def test_additive_changes_break_nothing(new: tuple[Column, ...]) -> None:
    assert breaking_changes(model(NUMBER, OPTIONAL), model(*new)) == ()


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ((NUMBER,), "the column b is removed"),
        ((TEXT, OPTIONAL), "the column a is of the type string and was of the type number"),
        ((NUMBER, Column("b")), "the column b may no longer be missing"),
        ((NUMBER, OPTIONAL, Column("c")), "the new column c may not be missing"),
    ],
    ids=["removed", "retyped", "required now", "new and required"],
)
def test_what_refuses_requests_of_before_is_named(new: tuple[Column, ...], sentence: str) -> None:
    assert breaking_changes(model(NUMBER, OPTIONAL), model(*new)) == (sentence,)


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (("no", "yes", "maybe"), "the answers are the classes no, yes, maybe and were the classes no, yes"),
        (("no",), "the answers are the classes no and were the classes no, yes"),
        ((), "the answers are numbers and were the classes no, yes"),
    ],
)
def test_answers_of_another_shape_break_callers(classes: tuple[str, ...], sentence: str) -> None:
    assert breaking_changes(model(NUMBER), model(NUMBER, classes=classes)) == (sentence,)


def test_another_order_of_numbers_misreads_a_matrix() -> None:
    third = Column("c", required=False)
    sentence = "the columns are in another order: b, a, and were a, b"
    assert breaking_changes(model(NUMBER, OPTIONAL), model(OPTIONAL, third, NUMBER)) == (sentence,)
    assert breaking_changes(model(NUMBER, OPTIONAL), model(third, NUMBER, OPTIONAL)) == ()
    # Columns of texts are sent by their names.
    text = Column("c", ColumnType.STRING, mlflow_type="string")
    assert breaking_changes(model(text, NUMBER), model(NUMBER, text)) == ()


def test_order_of_classes_is_no_change_and_all_changes_are_named() -> None:
    assert breaking_changes(model(NUMBER), model(NUMBER, classes=("yes", "no"))) == ()
    found = breaking_changes(model(NUMBER, OPTIONAL), model(TEXT, classes=()))
    assert len(found) == 3
