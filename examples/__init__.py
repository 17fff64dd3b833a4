"""Worked examples: from a table to a served prediction."""
