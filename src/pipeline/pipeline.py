"""The training pipeline's wiring."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from src.core.pipeline_config import PipelineConfig
from src.pipeline.steps import evaluate_on_holdout, preprocess, promote, split, train

PIPELINE = "training"


# Cached, a retrain on unchanged data would do nothing at all. Failing fast lets a step's own error reach the caller.
@pipeline(name=PIPELINE, enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST)
def training_pipeline(  # noqa: PLR0913, PLR0917 - what a run depends on is what ZenML shows of it
    config: PipelineConfig,
    dataset_file: str,
    model_name: str,
    mlflow_url: str,
    request_ids: list[str],
    alias_lock: str,
) -> None:
    """Preprocess, split, train and register, evaluate on the holdout, and pass the gate or not."""
    target = config.dataset.target
    frame, data_sha256 = preprocess(dataset=config.dataset, dataset_file=dataset_file)
    train_rows, holdout = split(frame=frame, dataset=config.dataset, config=config.split)
    candidate = train(
        train_rows=train_rows,
        holdout=holdout,
        data_sha256=data_sha256,
        config=config,
        model_name=model_name,
        mlflow_url=mlflow_url,
        request_ids=request_ids,
    )
    comparison = evaluate_on_holdout(candidate=candidate, holdout=holdout, target=target, model_name=model_name)
    promote(
        candidate=candidate,
        comparison=comparison,
        gate=config.gate,
        model_name=model_name,
        alias_lock=alias_lock,
    )
