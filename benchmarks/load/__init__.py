"""The load generator: an HTTP client that is a process of its own."""
