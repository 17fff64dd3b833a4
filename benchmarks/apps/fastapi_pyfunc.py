"""The server of a tutorial: a FastAPI route around ``mlflow.pyfunc``, in FastAPI's thread pool."""

import os

import mlflow.pyfunc
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel


class Iris(BaseModel):
    """One flower, in cm."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


class Answer(BaseModel):
    """A class's name."""

    prediction: str


def create_app() -> FastAPI:
    """The application, with the model loaded."""
    app = FastAPI()
    model = mlflow.pyfunc.load_model(os.environ["BENCH_MODEL"])

    @app.post("/predict")
    def predict(records: Iris | list[Iris]) -> Answer | list[Answer]:
        rows = records if isinstance(records, list) else [records]
        answers = [
            Answer(prediction=label) for label in model.predict(pd.DataFrame([row.model_dump() for row in rows]))
        ]
        return answers if isinstance(records, list) else answers[0]

    return app
