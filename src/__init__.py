"""The project's own code: core contracts, the training pipeline and the services."""
