import gzip
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from src.core.dataset_config import CsvFormat
from src.core.errors import DataError
from src.training import csv_source
from src.training.csv_source import read_csv
from src.training.data_files import TableFile


def read(
    tmp_path: Path, content: bytes | str, *columns: str, name: str = "data.csv", **options: Any
) -> list[list[Any]]:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    frame = read_csv(TableFile(name, file, "csv"), columns, CsvFormat(**options))
    assert list(frame.columns) == list(columns)
    assert {str(dtype) for dtype in frame.dtypes} <= {"str"}
    return frame.to_numpy().tolist()


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,2\n", [["2", "1"]]),
        ("a,b\r\n1,2", [["2", "1"]]),
        ("a,b\r1,2\r", [["2", "1"]]),
        ("\n\nb,c,a\n1,2,3\n\n4,5,6\n", [["1", "3"], ["4", "6"]]),
        ('a,b\n"1, 0", "say ""hi"""\n', [['say "hi"', "1, 0"]]),
        ('a,b\n"line\nbreak",\n', [["", "line\nbreak"]]),
        (" a , b \n 1 , NA\n", [["NA", "1 "]]),
        ('a,b\n5" pipe,2\n', [["2", '5" pipe']]),
        ('"a",b\n1,2\n', [["2", "1"]]),
        ("a,b\n", []),
    ],
)
def test_cells_are_read_as_the_text_that_they_are(tmp_path: Path, content: str, rows: list[list[str]]) -> None:
    assert read(tmp_path, content, "b", "a") == rows


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_byte_order_marks_are_no_part_of_the_header(tmp_path: Path, mark: str, encoding: str) -> None:
    content = f'{mark}"größe",b\nä,2\n'.encode(encoding)
    assert read(tmp_path, content, "größe", encoding=encoding) == [["ä"]]


def test_configured_encoding_and_delimiter_are_used(tmp_path: Path) -> None:
    assert read(tmp_path, "größe;b\n1,5;2\n".encode("cp1252"), "größe", encoding="cp1252", delimiter=";") == [["1,5"]]
    assert read(tmp_path, "größe|b\n1,5|2\n".encode("utf-16"), "größe", encoding="utf-16", delimiter="|") == [["1,5"]]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("A.TSV", "\t"), ("a.tsv.gz", "\t"), ("a.csv.GZ", ","), ("A.CSV", ",")]
)
def test_tabs_separate_the_cells_of_tsv_files(tmp_path: Path, name: str, delimiter: str) -> None:
    content = f"a{delimiter}b\n1{delimiter}2\n".encode()
    compressed = gzip.compress(content) if name.lower().endswith(".gz") else content
    assert read(tmp_path, compressed, "b", name=name) == [["2"]]


def test_rows_beyond_a_part_are_read_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_source, "PART_ROWS", 2)
    assert read(tmp_path, "a\n1\n2\n3\n4\n5\n", "a") == [["1"], ["2"], ["3"], ["4"], ["5"]]
    with pytest.raises(DataError, match="row 5 has 2 cells"):
        read(tmp_path, "a\n1\n2\n3\n4\n5,\n", "a")


def test_empty_cell_after_every_row_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, "y,x1,x2,id\n1,101,201,301,\n2,102,202,302, \n", "y", "x1", "x2") == [
        ["1", "101", "201"],
        ["2", "102", "202"],
    ]
    assert read(tmp_path, "a,b\n1,2,\t\n3,4,\n", "b") == [["2"], ["4"]]
    assert read(tmp_path, "a,b,\n1,2,\n", "b") == [["2"]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b\n1,2,3\n", "data.csv: row 1 has 3 cells, the header has 2; fix the row, or quote cells"),
        ("a,b\n1,2\n\n1\n", "row 2 has 1 cell,"),
        ("a,b\n1,2,\n3,4\n", "row 2 has 2 cells"),
        ("a,b\n1,2\n3,4,\n", "row 2 has 3 cells"),
        ("a,b\n1,2,\n3,4,5\n", "row 2 has 3 cells"),
        ("a,b\n1,2,,\n", "row 1 has 4 cells"),
        ("b,a,a\n1,2,3\n", "data.csv has the columns a more than once; rename one in the header"),
        ("b, a,a \n1,2,3\n", "columns a more than once"),
        ("", "data.csv is empty; it needs a header"),
        ("\n\n", "is empty"),
        ('a,b\n1,2\n3,"4\n5,6\n', "^data.csv: line 3: a quote in this row is not closed, .*; fix the quotes"),
        ('a,b\n1,"2\n3,4\n5,"6"\n', "line 2: a quote in this row is not closed"),
        ('\n"a",b\n"1\n2",3\n4,"5" 6\n7,8\n', 'line 5: .* a quote inside a quoted cell is not written ""'),
        ('\ufeff"a",b\r\n1,"2\r\n', "line 2: "),
        ('a,b\n1,2\n3,"4\n' + "5,6\n" * 40_000, "line 3: a quote in this row is not closed, or a cell"),
        ("a,b\n1,2\n3," + "x" * 131_073 + "\n", "line 3: .*, or a cell has more than 131,072 characters; fix"),
        ('"a";"b"\n1;2\n', r"line 1: .*, or set dataset.csv.delimiter \(it is ','\)"),
        (
            "a,c,d\n1,2,3\n",
            r"data.csv lacks the columns b \(it has a, c, d\); fix its header or the names in the dataset",
        ),
    ],
)
def test_rows_and_headers_that_do_not_fit_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, content, "a", "b")


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("a,contrct", r"; contract: did you mean 'contrct'\?; fix its header"),
        ("a,Contract", r"; contract: did you mean 'Contract'\?; fix its header"),
        ("a,zzz", r"\(it has a, zzz\); fix its header"),
    ],
)
def test_missing_column_is_reported_with_the_one_that_was_meant(tmp_path: Path, header: str, hint: str) -> None:
    with pytest.raises(DataError, match=f"lacks the columns contract .*{hint}"):
        read(tmp_path, f"{header}\n1,2\n", "a", "contract")


def test_column_name_in_another_unicode_normalization_is_explained(tmp_path: Path) -> None:
    header = unicodedata.normalize("NFD", "größe")
    with pytest.raises(DataError, match=r"größe: did you mean .*the same letters in another Unicode normalization"):
        read(tmp_path, f"a,{header}\n1,2\n", "a", unicodedata.normalize("NFC", "größe"))


def test_columns_without_a_name_may_be_there_twice(tmp_path: Path) -> None:
    assert read(tmp_path, "a,,\n1,2,3\n", "a") == [["1"]]


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        (b"a;b\n1;2\n", {}, r"lacks the columns a, b .*header matches with dataset.csv.delimiter: ';'$"),
        (b"x;" * 20_000 + b"a;b\n1;2\n", {}, "matches with dataset.csv.delimiter: ';'$"),
        ("a:b\n1:ü\n".encode("cp1252"), {"delimiter": ":"}, "matches with dataset.csv.encoding: cp1252$"),
        (b"a\tb\n1\t2\n", {}, r"matches with dataset.csv.delimiter: '\\t'"),
        (b" a | b \n1|2\n", {}, r"matches with dataset.csv.delimiter: '\|'"),
        (b"a,b\n1,2\n", {"delimiter": ";"}, "matches with dataset.csv.delimiter: ','$"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "is not utf-8 text; .*matches with dataset.csv.encoding: utf-16$"),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "matches with dataset.csv.encoding: utf-16-le$"),
        ("a,b\n1,2\n".encode("utf-16-be"), {}, "matches with dataset.csv.encoding: utf-16-be$"),
        ("\ufeffa;b\n1;2\n".encode(), {}, "matches with dataset.csv.delimiter: ';'$"),
        ("a,b\n1,ü\n".encode("cp1252"), {}, "is not utf-8 text; .*matches with dataset.csv.encoding: cp1252$"),
        (
            "a;b\n1;ü\n".encode("cp1252"),
            {},
            "matches with dataset.csv.delimiter: ';' and dataset.csv.encoding: cp1252$",
        ),
        (
            "a,b\n1,ā\n".encode(),
            {"encoding": "cp1252"},
            "is utf-8 text, and dataset.csv.encoding is cp1252; .*set dataset.csv.encoding: utf-8$",
        ),
        (b"a,b\n1,2\n", {"encoding": "utf-16"}, "is not utf-16 text; .*matches with dataset.csv.encoding: utf-8$"),
        ("x,b\n1,ü\n".encode("cp1252"), {}, "is not utf-8 text; set dataset.csv.encoding$"),
    ],
)
def test_options_that_fit_are_named(tmp_path: Path, content: bytes, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, content, "a", "b", **options)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "CP1252"])
def test_utf_8_text_is_not_read_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DataError, match=f"data.csv is utf-8 text, and dataset.csv.encoding is {encoding}; save all"):
        read(tmp_path, "a,b\n" + "1,2\n" * 600_000 + "ä,2\n", "a", encoding=encoding)
    assert read(tmp_path, "a,b\nä,2\n", "a", encoding="U8") == [["ä"]]
    assert read(tmp_path, b"a,b\n\xe4,2\n", "a", encoding=encoding) == [["ä"]]
    assert read(tmp_path, b"a,b\n\xc3\xa4,\xe4\n", "a", encoding=encoding) == [["Ã¤"]]
    assert read(tmp_path, b"a,b\n1,2\n", "a", encoding=encoding) == [["1"]]


def test_header_of_another_encoding_is_recognised_by_its_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the columns größe .*matches with dataset.csv.encoding: cp1252$"):
        read(tmp_path, "größe,b\n1,2\n".encode("cp1252"), "größe", encoding="cp1251")


def test_late_byte_of_another_encoding_is_found(tmp_path: Path) -> None:
    content = b"a\n" + b"1\n" * 50_000 + b"\xe9\n"
    with pytest.raises(DataError, match=r"is not utf-8 text; .*encoding: cp1252"):
        read(tmp_path, content, "a")
