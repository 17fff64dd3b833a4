"""Names that are nearly known ones, such as variables in ``.env`` that no process reads.

On the standard library alone, as the stack's set-up has nothing else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# As .env.example names them: given a value, or in the list of what the set-up writes.
_NAMED = re.compile(r"\b([A-Z][A-Z0-9_]+)(?:=|  |$)", re.MULTILINE)
# How alike two names must be: other tools' variables may stand in the file, too.
_ALIKE = 0.8


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The question ``did you mean …?`` with the known name most like this one, in any case; None if none is."""
    folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    return f"did you mean {folded[close[0]]!r}?" if close else None


def example_text(repository: Path) -> str:
    """The list of all variables, which a copy of parts of the repository, or somebody who renamed it, may lack."""
    path = repository / ".env.example"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def misspelt(names: Iterable[str], example: str, file: str = ".env") -> list[str]:
    """A sentence for each name that may be meant for another one.

    Args:
        names: of the variables that ``.env`` sets.
        example: the text of ``.env.example``, which lists all that are read.
        file: where the names stand, as people call it.
    """
    known = set(_NAMED.findall(example))
    told = []
    for name in dict.fromkeys(names):
        alike = [] if name in known else difflib.get_close_matches(name.upper(), known, n=1, cutoff=_ALIKE)
        if alike:
            told.append(f"nothing reads {name} in {file}; did you mean {alike[0]}?")
    return told
