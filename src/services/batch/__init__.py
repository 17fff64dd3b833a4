"""Batch scoring: the registered model's predictions for the rows of files."""
