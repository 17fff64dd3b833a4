"""The served app for the tests of its engine."""

from tests.support.served import anyio_backend, mlflow, models, served, serving, unready

__all__ = ["anyio_backend", "mlflow", "models", "served", "serving", "unready"]
