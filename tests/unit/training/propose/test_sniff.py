"""The encoding, delimiter and decimal sign of a CSV file are found from its bytes."""

import io

import pytest

from src.core.errors import DataError
from src.training.csv_source import CHUNK_BYTES
from src.training.propose.sniff import Dialect, sniff

PLAIN = "name,size,price\nMüller,3,1.5\nSøren,4,2.25\n"


def of(content: bytes | str, encoding: str = "utf-8") -> Dialect:
    return sniff(io.BytesIO(content if isinstance(content, bytes) else content.encode(encoding)), "data.csv")


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_encoding_is_found(encoding: str, found: str) -> None:
    dialect = of(PLAIN, encoding)
    assert (dialect.encoding, dialect.delimiter, dialect.decimal) == (found, ",", ".")
    assert dialect.columns == ["name", "size", "price"]


def test_byte_that_cp1252_does_not_know_means_latin_1() -> None:
    assert of(b"a,b\n\x81,\xe4\n\xe4,1\n").encoding == "latin-1"


def test_first_byte_that_is_not_utf_8_may_come_late() -> None:
    rows = b"alpha,12\n" * (CHUNK_BYTES // 9 + 100)
    assert of(b"name,size\n" + rows).encoding == "utf-8"
    dialect = of(b"name,size\n" + rows + b"M\xfcller,3\n")
    assert dialect.encoding == "cp1252"
    assert "0xfc" in dialect.why["encoding"]


def test_character_that_is_cut_at_the_end_is_not_utf_8() -> None:
    assert of("a,b\n1,x\n2,ü".encode()[:-1]).encoding == "cp1252"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found(delimiter: str) -> None:
    dialect = of(PLAIN.replace(",", delimiter))
    assert dialect.delimiter == delimiter
    assert dialect.why["delimiter"] == "3 cells in the header and in the rows"


def test_decimal_commas_are_no_delimiters() -> None:
    dialect = of("a;b\n1,5;2,5\n-3,25;1\n+0,5;x\n")
    assert (dialect.delimiter, dialect.decimal) == (";", ",")
    assert dialect.why["decimal"] == "numbers such as 1,5"


def test_quoted_decimal_commas_between_commas_are_decimals() -> None:
    dialect = of('a,b\n"1,5",x\n"2,25",y\n')
    assert (dialect.delimiter, dialect.decimal) == (",", ",")


def test_thousands_separators_are_no_decimals() -> None:
    assert of('a,b\n"1,500",x\n"12,250",y\n"1,234,567",z\n').decimal == "."


def test_more_points_than_commas_mean_a_point() -> None:
    assert of("a;b\n1.5;1,5\n2.5;x\n3.5;y\n").decimal == "."
    assert of("a;b\n1;2\n").why["decimal"] == "no number has a fraction"


def test_rows_that_end_in_a_delimiter_fit_the_header() -> None:
    assert of("a;b;c\n1;2;3;\n4;5;6;\n").delimiter == ";"


@pytest.mark.parametrize(("header", "end"), [("a,b,c,", ","), ("a,b,c,,", ",,"), ("a,b,c, ", ", "), ("a,b,c", ",")])
def test_delimiter_at_the_end_of_every_row_makes_no_column(header: str, end: str) -> None:
    rows = "".join(f"{row},x,{row * 2}{end}\n" for row in range(20))
    assert of(f"{header}\n{rows}").columns == ["a", "b", "c"]


def test_column_without_a_name_counts_where_it_has_a_value() -> None:
    assert of("a,b,\n1,x,\n2,y,3\n").columns == ["a", "b", ""]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('a,b,"c\n' + "1,2,3\n" * 20, 1),
        ('a,b,c\n1,"2,3\n' + "1,2,3\n" * 20, 2),
        ('a;b;c\n1;2;3\n1;"2;3\n', 3),
        ("a,b,c\n" + "1,2,3\n" * 5 + '1,"2,3\n' + "1,2,3\n" * 200_000, 7),
    ],
)
def test_quote_that_is_not_closed_is_reported_with_its_line(content: str, line: int) -> None:
    with pytest.raises(DataError, match=f"^data.csv: line {line}: a quote in this row is not closed"):
        of(content)


def test_quoted_cells_may_hold_delimiters_and_line_ends() -> None:
    dialect = of('a;b\n"x, y, z\nmore";1\n"u, v, w";2\n')
    assert dialect.delimiter == ";"


def test_few_rows_of_other_lengths_do_not_matter() -> None:
    assert of("a;b\n" + "1;2\n" * 9 + "1;2;3\n").delimiter == ";"
    with pytest.raises(DataError, match="no delimiter fits"):
        of("a;b\n" + "1;2\n" * 8 + "1;2;3\n" * 2)


def test_large_file_is_judged_by_its_beginning() -> None:
    wide = ",".join(f"c{index}" for index in range(400)) + "\n"
    row = ",".join(["1234567.5"] * 400) + "\n"
    assert len(of(wide + row * 600).columns) == 400


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a,b\n", "no rows below the first line"),
        (b"a\n1\n2\n", "no delimiter fits .*'a"),
        (b"1,2.5,-3\n1,2,3\n", "no header: its first line is 1, 2.5, -3"),
        (b"PK\x03\x04xxxx", "an Excel or zip file; save it as CSV"),
        (b"\xd0\xcf\x11\xe0xxxx", "an old Excel file"),
        (b"%PDF-1.4\n", "a PDF file"),
        (b"a,b\n1\x00,2\n" + b"3,4\n" * 9, "not a text file"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=f"^data.csv.*{problem}"):
        of(content)
