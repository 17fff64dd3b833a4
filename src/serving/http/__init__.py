"""Limits, guards, errors and the fast route."""
