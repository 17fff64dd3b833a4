"""Metric families from counts that other objects hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString


def counter(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    """A counter with one label."""
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family


def gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A gauge with one label."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class Buckets:
    """A histogram that counts arrays of values.

    Args:
        edges: the buckets' upper bounds, ascending.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.array(edges)
        self._counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, values: Sequence[float] | NDArray[np.floating[Any]]) -> None:
        """Count values."""
        numbers = np.asarray(values, dtype=np.float64)
        self._counts += np.bincount(np.searchsorted(self._edges, numbers), minlength=len(self._counts))
        self._sum += float(numbers.sum())

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """The histogram as Prometheus reads it."""
        bounds = [*map(floatToGoString, self._edges), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum)
