"""What Prometheus is told of the service and its traffic."""
