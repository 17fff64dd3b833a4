"""The two-sample test: exact figures, symmetric treatment of rare and unseen values, and its rate of false alarms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, hypergeom

from src.serving.watch.two_sample import MIN_EXPECTED, Comparison, chi_square_tail, compare

pytestmark = pytest.mark.slow


def of(first: list[int], second: list[int], *, ordered: bool = False) -> Comparison:
    return compare(np.array(first), np.array(second), ordered=ordered)


@given(st.floats(0, 400), st.integers(1, 300))
def test_chi_square_tail_is_scipy_s(value: float, freedom: int) -> None:
    assert chi_square_tail(value, freedom) == pytest.approx(chi2.sf(value, freedom), rel=1e-9, abs=1e-300)


def test_chi_square_tail_holds_at_its_ends() -> None:
    assert chi_square_tail(0.0, 1) == chi_square_tail(0.0, 2) == 1.0
    assert chi_square_tail(1e-12, 7) == pytest.approx(1.0)
    assert chi_square_tail(5000.0, 3) == 0.0


def test_equal_shares_differ_by_nothing() -> None:
    assert of([500, 300, 200], [50, 30, 20]) == Comparison(0.0, 1.0)


def test_p_value_and_excess_are_what_the_formulas_say() -> None:
    # 2 x 2: 600 of 1,000 against 120 of 300.
    pearson = (600 * 180 - 400 * 120) ** 2 / (1000 * 300 * 720) * 1300 / 580
    found = of([600, 400], [120, 180])
    likelihood = 2 * sum(
        o * np.log(o / e) for o, e in ((600, 720 / 1.3), (400, 580 / 1.3), (120, 720 * 3 / 13), (180, 580 * 3 / 13))
    )
    assert likelihood < pearson * 1299 / 1300
    assert found.p_value == pytest.approx(chi2.sf(likelihood, 1), rel=1e-9, abs=0)
    distance = 2 * 0.2**2 / (0.6 + 0.4) + 2 * 0.2**2 / (0.4 + 0.6)
    assert found.excess == pytest.approx(distance - (1 / 1000 + 1 / 300))


def test_pearson_decides_where_a_rare_cell_has_lost_its_values() -> None:
    # None of the 11 values expected in the window: G2 alone would call this ten times as rare as it is.
    pearson = (367 * 300) ** 2 * 10_300 / (10_000 * 300 * 9933 * 367)
    found = of([9633, 367], [300, 0])
    assert found.p_value == pytest.approx(chi2.sf(pearson * 10_299 / 10_300, 1), rel=1e-9)


def test_what_chance_gives_is_no_excess() -> None:
    slightly = of([500, 500], [160, 140])
    assert slightly.p_value > 0.05
    assert slightly.excess == 0
    more = of([500, 500], [172, 128])
    assert more.p_value < 0.05
    assert more.excess > 0


def test_excess_lies_between_nothing_and_four() -> None:
    found = of([0, 1000], [300, 0])
    assert found.excess == pytest.approx(4.0, abs=0.01)
    assert found.p_value < 1e-50


@pytest.mark.parametrize("ordered", [True, False])
def test_one_cell_is_no_difference(*, ordered: bool) -> None:
    assert of([1000], [300], ordered=ordered) == of([0, 1000, 0], [0, 300, 0], ordered=ordered) == Comparison(0.0, 1.0)


@pytest.mark.parametrize("gained", [39, 40])
def test_cells_are_rare_below_ten_expected_values_in_the_smaller_sample(gained: int) -> None:
    # A quarter of all rows is in the window: 10 of 40. A rare cell is compared by the bound, and shares the chance of a
    # false alarm with the chi-square test, which has one cell left.
    found = of([1005, 0], [335 - gained, gained])
    bound = min(1.0, 2 * (2 * 2 * 0.25**gained))
    exact = of([1005, 0], [295, 40]).p_value
    assert found.p_value == pytest.approx(bound if gained < 4 * MIN_EXPECTED else exact, rel=1e-9, abs=0)
    assert bound > 10 * exact


def test_rare_cells_are_compared_by_the_bound_of_hoeffding() -> None:
    # Of the 20 values of the last cell a hundredth is expected in the window, and 6 are there.
    found = of([49_500, 49_486, 14], [500, 494, 6])
    divergence = 0.3 * np.log(0.3 / 0.01) + 0.7 * np.log(0.7 / 0.99)
    # Two tests, two sides, and two rare cells: this one, and the last ones, which are the same.
    assert found.p_value == pytest.approx(2 * 2 * 2 * np.exp(-20 * divergence), rel=1e-6, abs=0)
    p, q = 14 / 99_000, 6 / 1000
    distance = 2 * (p - q) ** 2 * (1 / (p + q) + 1 / (2 - p - q))
    assert found.excess == pytest.approx(distance - 1 / 99_000 - 1 / 1000, rel=1e-6)


def test_a_new_category_is_found_however_large_the_reference() -> None:
    found = of([50_000, 50_000, 0], [120, 120, 60])
    assert found.p_value < 1e-100
    assert found.excess > 0.2


def test_a_rare_cell_without_values_of_one_sample_is_no_difference() -> None:
    assert of([50_000, 49_980, 20], [150, 150, 0]) == Comparison(0.0, 1.0)


def test_numbers_are_merged_with_their_neighbours_and_categories_with_those_as_rare() -> None:
    # Cells 1 and 3 are too rare. As bins, each joins a neighbour; as categories they join each other, and differ.
    first, second = [460, 4, 460, 4, 72], [135, 18, 135, 18, 12]
    as_bins, as_categories = of(first, second, ordered=True), of(first, second)
    assert as_categories.p_value < 0.1 * as_bins.p_value < 0.1


def test_last_cells_that_are_too_few_join_the_one_before() -> None:
    few, none = of([500, 400, 95, 5], [180, 90, 29, 1], ordered=True), of([500, 400, 100], [180, 90, 30], ordered=True)
    # Their bound is a test of its own.
    assert few.p_value == pytest.approx(2 * none.p_value, rel=1e-9)
    assert few.excess == none.excess > 0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=30), st.booleans())
def test_samples_change_places_without_a_difference(cells: list[tuple[int, int]], ordered: bool) -> None:  # noqa: FBT001
    first, second = np.array(cells).T
    if first.sum() and second.sum():
        one, other = (compare(*pair, ordered=ordered) for pair in ((first, second), (second, first)))
        assert one.p_value == pytest.approx(other.p_value, rel=1e-9)
        assert one.excess == pytest.approx(other.excess, abs=1e-12)
        assert 0 <= one.p_value <= 1
        assert 0 <= one.excess <= 4


def _exact_rate(total: int, cell: int, window: int, level: float) -> float:
    """How often two cells differ at this level, by the exact distribution of their counts."""
    counts = np.arange(max(0, cell + window - total), min(cell, window) + 1)
    found = [
        compare(np.array([cell - n, total - window - cell + n]), np.array([n, window - n]), ordered=False).p_value
        for n in counts.tolist()
    ]
    return float(hypergeom.pmf(counts, total, cell, window)[np.array(found) <= level].sum())


@pytest.mark.parametrize("level", [1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize(
    ("total", "cell", "window"),
    [(1300, 44, 300), (1300, 650, 300), (100_300, 3400, 300), (100_300, 7000, 300), (6000, 80, 5000), (600, 22, 300)],
)
def test_p_value_is_never_much_too_small_for_two_cells(total: int, cell: int, window: int, level: float) -> None:
    # By the exact distribution, far below what a simulation could see; X2 alone is up to 20 times too frequent here.
    assert _exact_rate(total, cell, window, level) <= 1.35 * level


def _p_values(shares: NDArray[np.float64], rows: int, window: int, times: int) -> NDArray[np.float64]:
    random = np.random.default_rng(11)
    first = random.multinomial(rows, shares, times)
    second = random.multinomial(window, shares, times)
    return np.array([compare(a, b, ordered=False).p_value for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("categories", [2, 20, 100, 500])
@pytest.mark.parametrize(("rows", "window"), [(1000, 300), (1000, 2000), (100_000, 300)])
def test_p_values_of_equal_distributions_are_not_too_small(categories: int, rows: int, window: int) -> None:
    shares = 1 / np.arange(1, categories + 1)
    found = _p_values(shares / shares.sum(), rows, window, 1000)
    # Of 1,000 at the level 0.01, 10 are expected; 20 have the probability 0.003.
    assert (found <= 0.01).sum() <= 20
    # Twice as large where there are rare cells: the bound takes half of the chance.
    assert 0.35 < np.mean(found) < 0.8
    assert (found <= 0.1).sum() >= 20
