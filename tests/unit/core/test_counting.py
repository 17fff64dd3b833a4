import pytest

from src.core.counting import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 invalid rows"), (1, "1 invalid row"), (2, "2 invalid rows"), (1204, "1,204 invalid rows")],
)
def test_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert counted(number, "invalid row") == text
