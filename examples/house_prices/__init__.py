"""A worked example: see README.md."""
