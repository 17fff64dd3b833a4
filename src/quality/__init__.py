"""The engine of live quality: the prediction log, labels, and what they say about the served versions."""
