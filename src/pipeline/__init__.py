"""Training: plain functions, the thin ZenML steps over them, and their wiring."""
