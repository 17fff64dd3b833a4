"""Reads and edits the text of a ``.env`` file by docker compose's rules, without changing anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*")
_BARE_VALUE = re.compile(r"(?:(?![ \t]* #|[ \t\r]*(?:\n|\Z)).)*", re.DOTALL)
# docker compose reads `NAME=  # words` as the value `# words`, but a comment is intended.
_COMMENT_ONLY = re.compile(r"(?<=[ \t])#[ \t]")
# As in docker compose: may span several lines, and a backslash escapes the quote.
_QUOTED_VALUE = {quote: re.compile(f"{quote}(?P<inner>.*?)(?<!\\\\){quote}", re.DOTALL) for quote in "'\""}


@dataclass(frozen=True)
class Assignment:
    """One ``NAME=value``: its value without quotes, and the value's position in the text, with quotes."""

    name: str
    value: str
    start: int
    end: int


def assignments(text: str) -> Iterator[Assignment]:
    """Every assignment of the text in its order; comments and other lines are skipped."""
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        head = _HEAD.match(text, position)
        if head is not None:
            found = _assignment(text, head)
            yield found
            position = found.end
        line_end = text.find("\n", position)
        position = len(text) if line_end < 0 else line_end + 1


def _assignment(text: str, head: re.Match[str]) -> Assignment:
    start = head.end()
    quoted = _QUOTED_VALUE.get(text[start : start + 1])
    match = quoted.match(text, start) if quoted else None
    if match is not None:
        return Assignment(head["name"], match["inner"], start, match.end())
    bare = None if _COMMENT_ONLY.match(text, start) else _BARE_VALUE.match(text, start)
    end = bare.end() if bare else start
    return Assignment(head["name"], text[start:end], start, end)


def values(text: str) -> dict[str, str]:
    """Every variable's value without quotes; if one is set twice, the later, as in docker compose."""
    return {assignment.name: assignment.value for assignment in assignments(text)}


def with_values(text: str, new: Mapping[str, str]) -> str:
    """The text with these variables set: existing ones in place, others in new lines at the end.

    The values are inserted without quotes, and must not need any.
    """
    for name, value in new.items():
        last = None
        for assignment in assignments(text):
            if assignment.name == name:
                last = assignment
        if last is None:
            text = _appended(text, f"{name}={value}")
        else:
            space = " " if text.startswith("#", last.end) else ""
            text = text[: last.start] + value + space + text[last.end :]
    return text


def _appended(text: str, line: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += newline
    return text + line + newline
