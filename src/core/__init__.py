"""Contracts between processes: settings, configuration, the retrain queue, the model registry and its models."""
