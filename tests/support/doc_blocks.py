"""Follows a page of the docs: writes its files and makes its edits in a copy of the repository."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from src.services.local.processes import REPOSITORY


@dataclass(frozen=True)
class Block:
    """A code block: what it is written in, and the file that the text before it names."""

    language: str
    path: str
    text: str


def blocks_of(page: str, section: str) -> list[Block]:
    """The blocks below a heading that belong to a file; one without a file of its own belongs to the last one."""
    (body,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE)
    found, path = [], ""
    for before, language, text in re.findall(r"(.*?)^```(\w+)\n(.*?)^```", body, flags=re.DOTALL | re.MULTILINE):
        if named := re.findall(r"^In `([^`]+)`:$", before, flags=re.MULTILINE):
            path = named[-1]
        if path and language in {"python", "diff"}:
            found.append(Block(language, path, text))
    return found


def copy_of_the_repository(folder: Path) -> Path:
    """All files that git knows or would know, and the environment."""
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "src",
            "config",
            "run_pipeline.py",
            "uv.lock",
        ],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target)
    return folder


def apply(block: Block, folder: Path) -> None:
    """Write the block's file, or make its edit, which must fit in one place."""
    file = folder / block.path
    if block.language == "python":
        assert not file.exists(), f"{block.path} is there already"
        file.write_text(block.text, encoding="utf-8")
        return
    lines = block.text.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line.startswith(("-", " ")))
    new = "".join(line[1:] for line in lines if line.startswith(("+", " ")))
    text = file.read_text(encoding="utf-8")
    # A line of the page stands for the beginning of one in the file, which may have a comment behind it.
    pattern = "".join(rf"^{re.escape(line.rstrip())}(?=$| #)[^\n]*\n" for line in old.splitlines())
    assert len(re.findall(pattern, text, flags=re.MULTILINE)) == 1, f"{block.path}: {old!r} is not there once"
    file.write_text(re.sub(pattern, lambda _: new, text, flags=re.MULTILINE), encoding="utf-8")
