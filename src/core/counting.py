"""Counts in messages that people read."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, which has a regular plural: ``1 row``, ``0 rows``, ``1,204 invalid rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
