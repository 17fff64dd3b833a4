"""ENGINE: a model server for tabular models."""
