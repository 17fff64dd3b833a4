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
def test_changes_that_refuse_existing_requests_are_named(new: tuple[Column, ...], sentence: str) -> None:
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


def text(name: str, *, required: bool = True) -> Column:
    return Column(name, ColumnType.STRING, required, "string")


@pytest.mark.parametrize(
    ("served", "new", "names"),
    [
        ((NUMBER, OPTIONAL), (OPTIONAL, NUMBER), "b, a, and were a, b"),
        ((NUMBER, OPTIONAL, text("c", required=False)), (NUMBER, text("c", required=False), OPTIONAL), "a, c, b, and"),
    ],
    ids=["numbers", "a text before a number"],
)
def test_another_order_of_a_matrix_breaks_callers(
    served: tuple[Column, ...], new: tuple[Column, ...], names: str
) -> None:
    (found,) = breaking_changes(model(*served), model(*new))
    assert found.startswith(f"the columns are in another order: {names}")


@pytest.mark.parametrize("added", [Column("c", required=False), text("c", required=False)], ids=["number", "text"])
@pytest.mark.parametrize("place", [0, 1])
def test_added_column_before_those_of_a_matrix_breaks_callers(added: Column, place: int) -> None:
    columns = [NUMBER, OPTIONAL]
    columns.insert(place, added)
    sentence = "the new column c must come after b in dataset.features, as requests may send values by column order"
    assert breaking_changes(model(NUMBER, OPTIONAL), model(*columns)) == (sentence,)


def test_added_column_before_the_only_one_breaks_callers_who_send_a_list_of_values() -> None:
    added = Column("b", required=False)
    assert len(breaking_changes(model(text("a")), model(added, text("a")))) == 1
    assert breaking_changes(model(text("a")), model(text("a"), added)) == ()


def test_order_is_free_where_no_request_can_rely_on_it() -> None:
    boolean = Column("c", ColumnType.BOOLEAN, mlflow_type="boolean")
    for other in (text("c"), boolean):
        assert breaking_changes(model(NUMBER, other), model(other, NUMBER)) == ()
        assert breaking_changes(model(NUMBER, other), model(OPTIONAL, other, NUMBER)) == ()
    note, place = text("note", required=False), text("place", required=False)
    assert breaking_changes(model(NUMBER, note, place), model(NUMBER, place, OPTIONAL, note)) == ()


def test_order_of_classes_is_no_change_and_all_changes_are_named() -> None:
    assert breaking_changes(model(NUMBER), model(NUMBER, classes=("yes", "no"))) == ()
    found = breaking_changes(model(NUMBER, OPTIONAL), model(TEXT, classes=()))
    assert len(found) == 3
