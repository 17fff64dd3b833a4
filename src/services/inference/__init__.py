"""The inference service: follows the champion, answers predictions, accepts retrain requests."""
