"""MLflow scoring, Open Inference v2 and batch formats."""
