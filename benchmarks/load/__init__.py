"""The load generator: an HTTP client in its own process."""
