"""Proposes a configuration for a table: `make config`."""
