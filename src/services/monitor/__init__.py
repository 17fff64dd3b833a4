"""The monitor: turns waiting retrain signals into training runs."""
