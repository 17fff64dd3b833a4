"""What a new model would break for the callers of the served one."""

from collections.abc import Iterator

from src.core.feature_schema import ColumnType
from src.training.registry import Contract


def breaking_changes(served: Contract, new: Contract) -> tuple[str, ...]:
    """A sentence for each change that refuses requests of before, misreads them or answers them in another shape.

    New optional columns, and columns that need no value any more, break nothing.
    """
    return (*_columns(served, new), *_order(served, new), *_answers(served, new))


def _columns(served: Contract, new: Contract) -> Iterator[str]:
    columns = {column.name: column for column in new.schema.columns}
    for before in served.schema.columns:
        now = columns.pop(before.name, None)
        if now is None:
            yield f"the column {before.name} is removed"
        elif now.type is not before.type:
            yield f"the column {before.name} is of the type {now.type} and was of the type {before.type}"
        elif now.required and not before.required:
            yield f"the column {before.name} may no longer be missing"
    for now in columns.values():
        if now.required:
            yield f"the new column {now.name} may not be missing"


def _order(served: Contract, new: Contract) -> Iterator[str]:
    """Open Inference requests may send all columns but texts as one matrix, by their order alone."""
    common = set(served.schema.names) & set(new.schema.names)
    before, now = ([name for name in model.schema.names if name in common] for model in (served, new))
    if before != now and all(column.type is not ColumnType.STRING for column in served.schema.columns):
        yield f"the columns are in another order: {', '.join(now)}, and were {', '.join(before)}"


def _answers(served: Contract, new: Contract) -> Iterator[str]:
    before, now = served.classes, new.classes
    if set(before) != set(now):
        yield f"the answers are {_described(now)} and were {_described(before)}"


def _described(classes: tuple[str, ...]) -> str:
    return f"the classes {', '.join(classes)}" if classes else "numbers"
