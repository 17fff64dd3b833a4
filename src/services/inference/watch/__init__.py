"""Metrics of the service and its traffic for Prometheus."""
