"""Explains what is wrong with a configuration file: by key, with what was meant or what to write now."""

import contextlib
import difflib
import math
import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from src.core.dataset_config import FEATURE_TYPES, IGNORE
from src.core.former_layout import FORMER_KEYS
from src.core.misspelt import did_you_mean
from src.core.model_config import ModelConfig

Location = tuple[int | str, ...]
# The length of a column's location in ``dataset.features``; pydantic appends the column's type.
FEATURE_DEPTH = 3
NUMBER_TYPES: dict[str, type[int | float]] = {"float_type": float, "int_type": int}
PREFIX = "Input should be "
NO_SUCH = "no such value"
# The values in pydantic's text of a literal.
QUOTED = re.compile(r"'(.*?)'")


def explain(error: ValidationError, raw: object, root: type[BaseModel]) -> list[str]:
    """One line per problem, unknown keys first.

    A misspelt key causes two errors, an unknown key and a missing one; the first names the key that was meant.

    Args:
        error: what pydantic found.
        raw: the parsed YAML.
        root: the model of the whole file.
    """
    errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problems: dict[Location, list[str]] = {}
    for item in errors:
        place = _place(item, raw)
        problems.setdefault(place, []).append(_message(item, place, root))
    return [_line(_key(place), messages) for place, messages in problems.items()]


def _key(place: Location) -> str:
    return ".".join(map(str, place))


def _line(key: str, messages: list[str]) -> str:
    """A key's messages in one: a value of a union type has an error for each of its types."""
    if suggestion := next((message for message in messages if message.startswith(NO_SUCH)), None):
        return f"{key}: {suggestion}"
    text = messages[0] + "".join(f" or {message.removeprefix(PREFIX)}" for message in dict.fromkeys(messages[1:]))
    return f"{key}: {text}" if key and not text.startswith(("unknown key", "missing key")) else text


def _message(error: ErrorDetails, place: Location, root: type[BaseModel]) -> str:
    kind, value, message = error["type"], error["input"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = f"unknown key {_key(place)!r}; {_remedy(place, _model_of(error['loc'][:-1], root))}"
    elif kind == "missing":
        message = f"missing key {_key(place)!r}"
    elif kind == "union_tag_invalid":
        known = [*FEATURE_TYPES, IGNORE]
        message = f"no such type; {did_you_mean(str(error['ctx']['tag']), known) or 'it is one of ' + ', '.join(known)}"
    elif kind == "literal_error" and (meant := did_you_mean(str(value), QUOTED.findall(error["ctx"]["expected"]))):
        message = f"{NO_SUCH} {value!r}; {meant}"
    elif kind == "string_type" and not isinstance(value, dict | list):
        # YAML reads no, yes, 1 and 2024-01-31 as other types than text.
        message = f"{value!r} is not text here; put it in quotes"
    elif kind in NUMBER_TYPES and isinstance(value, str) and _is_number(value):
        message = f"{value!r} is text in YAML; write {NUMBER_TYPES[kind](float(value))!r}"
    elif kind == "model_type":
        model = _model_of(error["loc"], root)
        message = f"expected a mapping with the keys {', '.join(model.model_fields)}, got {_shorthand(value, model)}"
    return message


def _shorthand(value: object, model: type[BaseModel]) -> str:
    """What was given for a whole section, with the key that the value belongs to where one is likely."""
    for key, field in model.model_fields.items():
        options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if close := difflib.get_close_matches(str(value), options, n=1):
            return f"{value!r}; did you mean {{ {key}: {close[0]} }}?"
    return type(value).__name__


def _remedy(place: Location, model: type[BaseModel]) -> str:
    """What to do about an unknown key of a model."""
    name, known = str(place[-1]), list(model.model_fields)
    takes = f"{_key(place[:-1]) or 'the top level'} takes {', '.join(known)}"
    if model is not ModelConfig:
        return did_you_mean(name, known) or takes
    close = difflib.get_close_matches(name, [*known, *FORMER_KEYS], n=1)
    if close and close[0] in FORMER_KEYS:
        return f"write {close[0]!r} under 'model.params', where an estimator's own parameters are"
    return did_you_mean(name, known) or f"{takes}; an estimator's own parameters are keys of 'model.params'"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _place(error: ErrorDetails, raw: object) -> Location:
    """The error's place in the file, without the types that pydantic inserts for unions."""
    place: list[int | str] = []
    here: Any = raw
    for part in error["loc"]:
        with contextlib.suppress(KeyError, IndexError, TypeError):
            here = here[part]
            place.append(part)
    if error["type"] == "union_tag_invalid":
        place.append("type")
    elif error["type"] == "missing":
        place.append(error["loc"][-1])
    return tuple(place)


def _is_feature(location: Location) -> bool:
    return location[:2] == ("dataset", "features") and len(location) > FEATURE_DEPTH


def _model_of(location: Location, root: type[BaseModel]) -> type[BaseModel]:
    """The model at this place of the file, or the innermost one that contains it."""
    if _is_feature(location):
        return FEATURE_TYPES[str(location[FEATURE_DEPTH])]
    model = root
    for part in location:
        inner: Any = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        found = next((kind for kind in (inner, *get_args(inner)) if isinstance(kind, type)), None)
        if found is None or not issubclass(found, BaseModel):
            return model
        model = found
    return model
