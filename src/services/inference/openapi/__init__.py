"""The OpenAPI document for the served model."""
