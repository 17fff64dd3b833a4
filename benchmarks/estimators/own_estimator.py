"""Estimators as an adopter writes them; the measurement copies this file to ``src/pipeline``."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Discriminant(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """Linear discriminant analysis: each class is a normal distribution, all of one covariance.

    Args:
        shrinkage: added to the variance of each column.
    """

    def __init__(self, shrinkage: float = 0.01) -> None:
        self.shrinkage = shrinkage

    def fit(self, rows: ArrayLike, target: ArrayLike) -> "Discriminant":
        """Learn the classes' means and their common covariance."""
        values = np.asarray(rows, dtype=float)
        self.classes_, codes = np.unique(np.asarray(target), return_inverse=True)
        means = np.stack([values[codes == code].mean(axis=0) for code in range(len(self.classes_))])
        covariance = np.cov((values - means[codes]).T) + self.shrinkage * np.eye(values.shape[1])
        self.weights_ = np.linalg.solve(covariance, means.T)
        self.offsets_ = np.log(np.bincount(codes) / len(codes)) - (means.T * self.weights_).sum(axis=0) / 2
        return self

    def predict_proba(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Shape (rows, classes)."""
        scores = np.asarray(rows, dtype=float) @ self.weights_ + self.offsets_
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, rows: ArrayLike) -> NDArray[np.object_]:
        """The most probable class of each row."""
        return np.asarray(self.classes_[self.predict_proba(rows).argmax(axis=1)])


class LeastSquares(RegressorMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """Linear regression.

    Args:
        penalty: on squared weights.
    """

    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def fit(self, rows: ArrayLike, target: ArrayLike) -> "LeastSquares":
        """Learn a weight for each column."""
        values, wanted = np.asarray(rows, dtype=float), np.asarray(target, dtype=float)
        self.means_, self.scales_ = values.mean(axis=0), values.std(axis=0) + 1e-9
        scaled = (values - self.means_) / self.scales_
        gram = scaled.T @ scaled + self.penalty * np.eye(values.shape[1])
        self.weights_ = np.linalg.solve(gram, scaled.T @ (wanted - wanted.mean()))
        self.offset_ = wanted.mean()
        return self

    def predict(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Shape (rows,)."""
        scaled = (np.asarray(rows, dtype=float) - self.means_) / self.scales_
        return np.asarray(scaled @ self.weights_ + self.offset_)
