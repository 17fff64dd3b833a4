"""The OpenAPI document, made for the model that is served."""
