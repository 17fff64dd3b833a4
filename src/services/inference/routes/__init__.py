"""HTTP routes, which translate between HTTP and the service's objects."""
