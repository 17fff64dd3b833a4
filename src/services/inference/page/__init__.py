"""The service's page: view models that decide what is shown, and templates that show it."""
