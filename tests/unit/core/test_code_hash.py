from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.code_hash import code_sha256


def folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        file = path / name.replace("__", "/").replace("_py", ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
    return path


def test_hash_is_equal_for_equal_code_wherever_it_lies(tmp_path: Path) -> None:
    first = folder(tmp_path / "first", a_py="x = 1\n", sub__b_py="y = 2\n")
    # Made in another order, on a system with other line endings, and already run once.
    second = folder(tmp_path / "second", sub__b_py="y = 2\r\n", a_py="x = 1\n")
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"compiled")
    (second / "notes.txt").write_text("no code")
    assert code_sha256(first) == code_sha256(second)
    assert len(code_sha256(first)) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda path: folder(path, a_py="x = 2\n"),
        lambda path: folder(path, sub__b_py="y = 3\n"),
        lambda path: folder(path, sub__c_py=""),
        lambda path: (path / "sub/b.py").rename(path / "b.py"),
        lambda path: (path / "a.py").unlink(),
    ],
)
def test_hash_differs_for_other_content_other_names_and_other_files(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    code = folder(tmp_path, a_py="x = 1\n", sub__b_py="y = 2\n")
    before = code_sha256(code)
    change(code)
    assert code_sha256(code) != before


@pytest.mark.parametrize("end", ["b.py", "b.py\0" + "0\0"])
def test_hash_depends_on_where_one_file_ends(tmp_path: Path, end: str) -> None:
    one = folder(tmp_path / "one", a_py=f"x = 1\n{end}")
    two = folder(tmp_path / "two", a_py="x = 1\n", b_py="")
    assert code_sha256(one) != code_sha256(two)
