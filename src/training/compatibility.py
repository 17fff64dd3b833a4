"""Breaking changes between the served model and a new one, for their callers."""

from collections.abc import Iterator

from src.training.registry import Contract


def breaking_changes(served: Contract, new: Contract) -> tuple[str, ...]:
    """One sentence for each change after which existing requests are refused, misread or answered in another form.

    New optional columns break nothing unless they come before columns that requests may send by their order alone, and
    neither do columns that need no value any more.
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
    """Requests may send the values of leading columns without names: as a matrix, or as a list of one column."""
    before, now = served.schema.names, new.schema.names
    kept, left = [name for name in before if name in now], [name for name in now if name in before]
    by_order = [name for name in kept if name in served.schema.positional]
    if left[: len(by_order)] != by_order:
        yield f"the columns are in another order: {', '.join(left)}, and were {', '.join(kept)}"
    last = max((now.index(name) for name in by_order), default=0)
    for name in now[:last]:
        if name not in before:
            where = f"after {now[last]} in dataset.features"
            yield f"the new column {name} must come {where}, as requests may send values by column order"


def _answers(served: Contract, new: Contract) -> Iterator[str]:
    before, now = served.classes, new.classes
    if set(before) != set(now):
        yield f"the answers are {_described(now)} and were {_described(before)}"


def _described(classes: tuple[str, ...]) -> str:
    return f"the classes {', '.join(classes)}" if classes else "numbers"
