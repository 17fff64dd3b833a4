"""The retrain queue in a database: the command that creates and updates its tables."""
