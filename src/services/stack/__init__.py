"""The Compose stack from outside, on the host's bare Python 3.9+: its secrets and its ZenML service account."""
