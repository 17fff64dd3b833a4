import pytest

from benchmarks.load.figures import Tally


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    tally = Tally(0.0, 10.0)
    for number in range(1, 101):
        tally.add(1.0, number / 1000, 200)
    figures = tally.figures(0.25)
    assert (figures.p50, figures.p90, figures.p99, figures.maximum) == pytest.approx((50, 90, 99, 100))
    assert (figures.per_second, figures.client_cpu) == (10.0, 0.25)


def test_what_lies_outside_the_window_is_not_counted() -> None:
    tally = Tally(1.0, 2.0)
    for at, latency in ((0.9, 5.0), (1.0, 0.001), (1.999, 0.002), (2.0, 5.0)):
        tally.add(at, latency, 200)
        tally.add(at, latency, 500)
        tally.add_unanswered(at, latency)
    figures = tally.figures(0.0)
    assert figures.answers == 2
    assert figures.errors == {"status 500": 2, "unanswered": 2}
    assert figures.maximum == pytest.approx(2.0)


def test_nothing_answered_has_no_percentiles() -> None:
    figures = Tally(0.0, 1.0).figures(0.0)
    assert (figures.p50, figures.p99, figures.maximum, figures.sent_late_p99) == (None, None, None, None)
