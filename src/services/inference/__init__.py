"""The inference service: follow the champion, answer predictions, take retrain requests."""
