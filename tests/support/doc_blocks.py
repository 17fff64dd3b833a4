"""Follows a page of the docs: writes its files and makes its edits in a copy of the repository."""

import re
from dataclasses import dataclass
from pathlib import Path

IN, AT_THE_END = "In", "At the end of"


@dataclass(frozen=True)
class Block:
    """A code block: its language, and the place and the file that the text before it names."""

    language: str
    place: str
    path: str
    text: str


def sections_of(page: str) -> dict[str, str]:
    """The text below each heading of the second level; a heading in a code block is none."""
    sections, name, in_block = dict[str, str](), "", False
    for line in page.splitlines(keepends=True):
        in_block ^= line.startswith("```")
        if line.startswith("## ") and not in_block:
            name = line.removeprefix("## ").strip()
        sections[name] = sections.get(name, "") + line
    return sections


def blocks_of(page: str, section: str) -> list[Block]:
    """The blocks of a section that belong to a file; a block that names none belongs to the last one."""
    found, place, path = [], "", ""
    fences = re.findall(r"(.*?)^```(\w+)\n(.*?)^```", sections_of(page)[section], flags=re.DOTALL | re.MULTILINE)
    for before, language, text in fences:
        if named := re.findall(rf"^({IN}|{AT_THE_END}) `([^`]+)`:$", before, flags=re.MULTILINE):
            place, path = named[-1]
        if path:
            found.append(Block(language, place, path, text))
    return found


def apply(block: Block, folder: Path) -> None:
    """Write the block's file, append to it, or make its edit, which must fit in one place."""
    file = folder / block.path
    if block.place == AT_THE_END:
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{block.text}", encoding="utf-8")
    elif block.language == "diff":
        _edit(block, file)
    else:
        assert not file.exists(), f"{block.path} is there already"
        file.write_text(block.text, encoding="utf-8")


def _edit(block: Block, file: Path) -> None:
    lines = block.text.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line.startswith(("-", " ")))
    new = "".join(line[1:] for line in lines if line.startswith(("+", " ")))
    text = file.read_text(encoding="utf-8")
    # A line of the page is the start of one in the file, which may end with a comment.
    pattern = "".join(rf"^{re.escape(line.rstrip())}(?=$| #)[^\n]*\n" for line in old.splitlines())
    assert len(re.findall(pattern, text, flags=re.MULTILINE)) == 1, f"{block.path}: {old!r} is not there once"
    file.write_text(re.sub(pattern, lambda _: new, text, flags=re.MULTILINE), encoding="utf-8")
