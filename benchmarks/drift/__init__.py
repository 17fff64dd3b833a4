"""Measures the drift test's false alarms and power."""
