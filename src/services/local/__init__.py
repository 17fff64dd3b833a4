"""The whole loop as processes on one machine, without Docker."""
