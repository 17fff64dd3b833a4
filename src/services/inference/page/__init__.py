"""The service's page: view models, and templates that render them."""
