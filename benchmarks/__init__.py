"""Measures this service beside its peers: ``make bench``."""
