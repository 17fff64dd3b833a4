"""The quality service: takes in predictions and true labels, and reports the live quality of the served versions."""
