"""Measures how often the gate is wrong: ``make measure-gate``."""
