import re
from pathlib import Path

from benchmarks.intervals import CASES, KINDS, LEAST, MOST, PUBLISHED, SIZES, Coverage, main, report
from src.training.resampling import LEVEL


def test_report_counts_the_shares_within_the_promise() -> None:
    shares = (0.92, 0.95, 0.98, 0.919, 0.981)
    found = [Coverage("f1", "two_classes", "groups", 300, share, 0.95) for share in shares]
    text = report("measured so", 400, found)
    assert (
        "measured so\n\n3 of 5 shares lie from 92% to 98%.\nA share of 400 repeats has a standard error of 1.1%."
        in text
    )
    assert "| f1 | two_classes | 300 | groups | 91.9% | 95.0% |" in text


def test_published_intervals_are_of_all_cases_and_keep_the_promise() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    (repeats,) = re.findall(r"A share of (\d+) repeats", text)
    shares = [float(share) / 100 for share in re.findall(r"\| ([\d.]+)% \| [\d.]+% \|$", text, re.MULTILINE)]
    assert len(shares) == len(CASES) * len(KINDS) * len(SIZES)
    error = (LEVEL * (1 - LEVEL) / int(repeats)) ** 0.5
    assert min(shares) > LEAST - error
    assert max(shares) < MOST + error
    assert LEAST < sum(shares) / len(shares) < MOST


def test_measure_writes_a_share_for_every_case(tmp_path: Path) -> None:
    file = tmp_path / "intervals.md"
    assert main(["--repeats", "1", "--report", str(file)]) == 0
    rows = re.findall(r"^\| \w+ \| \w+ \| (\d+) \| ([\w ]+) \| (\d+)\.0% ", file.read_text(), re.MULTILINE)
    assert len(rows) == len(CASES) * len(KINDS) * len(SIZES)
    assert {kind for _, kind, _ in rows} == set(KINDS)
    assert {share for _, _, share in rows} <= {"0", "100"}
