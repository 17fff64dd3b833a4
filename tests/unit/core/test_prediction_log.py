import pytest

from src.core.prediction_log import MAX_ROW_DIGITS, Sampling, canonical_id


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("abc", "abc"),
        ("abc/0", "abc"),
        ("abc/000", "abc"),
        ("abc/1", "abc/1"),
        ("abc/012", "abc/12"),
        ("abc/" + "9" * MAX_ROW_DIGITS, "abc/" + "9" * MAX_ROW_DIGITS),
        ("abc/", "abc/"),
        ("abc/x", "abc/x"),
        ("abc/-1", "abc/-1"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_canonical_id_is_the_one_in_the_log(given: str, canonical: str) -> None:
    assert canonical_id(given) == canonical


@pytest.mark.parametrize("row", ["0" * (MAX_ROW_DIGITS + 1), "9" * 5000, "٣", "²"])
def test_what_no_request_can_have_as_a_row_is_part_of_the_id(row: str) -> None:
    given = f"abc/{row}"
    assert canonical_id(given) == given
    assert Sampling().would_sample(given, 0.5) == Sampling().sampled([given], 0.5)[0]


@pytest.mark.parametrize("request_id", [f"r{number}" for number in range(20)])
def test_sampled_rows_and_would_sample_agree(request_id: str) -> None:
    sampling = Sampling("a key")
    rows = set(sampling.sampled_rows(request_id, 0, 50, 0.5).tolist())
    assert [sampling.would_sample(f"{request_id}/{row}", 0.5) for row in range(50)] == [
        row in rows for row in range(50)
    ]
    assert sampling.would_sample(request_id, 0.5) == (0 in rows)
    assert sampling.would_sample(f"{request_id}/{'9' * MAX_ROW_DIGITS}", 1)
