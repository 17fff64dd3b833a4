"""Sets up the Compose stack from the host, with Python 3.9+ alone: its secrets and its ZenML service account."""
