"""A sample of a batch: of all its rows alike, in random order, whatever its parts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from src.serving.watch.batch_sample import BatchSample


def sampled(size: int, parts: list[int], seed: int = 1) -> NDArray[np.int64]:
    """The positions of a batch's rows that a sample of it holds, in its order."""
    random, sample, start = np.random.default_rng(seed), BatchSample(size), 0
    for rows in parts:
        places = np.arange(start, start + rows)
        sample.add(random.random(rows), lambda chosen, places=places: np.array([places[chosen], -places[chosen]]))
        start += rows
    assert sample.keys is not None
    assert (sample.keys[1] == -sample.keys[0]).all()
    return sample.keys[0]


def test_a_small_batch_is_taken_whole_and_shuffled() -> None:
    found = sampled(300, [200, 0, 50])
    assert sorted(found) == list(range(250))
    assert (np.diff(found) < 0).sum() > 80


@pytest.mark.parametrize("parts", [[10_000], [1000] * 10, [9999, 1], [1, 9999], [9000, 1000]])
def test_a_large_batch_is_sampled_evenly(parts: list[int]) -> None:
    rows = np.concatenate([sampled(300, parts, seed) for seed in range(20)])
    assert len(rows) == 20 * 300
    counts = np.bincount(rows // 1000, minlength=10)
    # Binomial: 600 expected, standard deviation 23.
    assert counts.min() > 500
    assert counts.max() < 700


def test_no_row_is_drawn_twice_and_each_end_of_the_sample_is_a_sample() -> None:
    found = sampled(300, [1000] * 10)
    assert len(set(found.tolist())) == 300
    assert 3000 < found[-100:].mean() < 7000


def test_nothing_is_sampled_of_no_part() -> None:
    assert BatchSample(5).keys is None
