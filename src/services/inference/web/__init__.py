"""The HTTP layer in front of the routes: server, limits, guards and error responses."""
