"""Measures that each estimator is served as scikit-learn answers: ``make measure-estimators``."""
