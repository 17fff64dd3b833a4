"""YOURS: cleaning, features, estimators, metrics, and the training pipeline of ZenML steps."""
