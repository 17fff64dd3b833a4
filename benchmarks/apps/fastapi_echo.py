"""A FastAPI route that validates a record with pydantic and returns it."""

from fastapi import FastAPI
from pydantic import BaseModel


class Iris(BaseModel):
    """One flower, in cm."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI()

    @app.post("/predict")
    async def predict(record: Iris) -> Iris:
        return record

    return app
