"""A random sample of a batch's rows, independent of their order and of the number of parts."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]


class BatchSample:
    """The rows with the smallest random ranks: bottom-k sampling (Cohen and Kaplan, PODC 2007).

    Args:
        size: the largest number of rows.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ranks: NDArray[np.float64] = np.empty(0)
        self._keys: Keys | None = None

    def add(self, ranks: NDArray[np.float64], keys_of: Callable[[NDArray[np.intp]], Keys]) -> None:
        """Consider the next rows of the batch.

        Args:
            ranks: (n,) independent and uniform, one for each row.
            keys_of: the keys of the rows at these positions, shape (columns, positions); called once.
        """
        chosen = np.argpartition(ranks, self._size)[: self._size] if len(ranks) > self._size else np.arange(len(ranks))
        keys = keys_of(chosen)
        if self._keys is not None:
            keys = np.concatenate([self._keys, keys], axis=1)
        self._ranks = np.concatenate([self._ranks, ranks[chosen]])
        order = np.argsort(self._ranks)[: self._size]
        self._ranks, self._keys = self._ranks[order], keys[:, order]

    @property
    def keys(self) -> Keys | None:
        """(columns, rows) the sample in random order, so that each slice of it is a random sample; None if empty."""
        return self._keys
