"""Metrics, drift and live traffic."""
