from src.core.retrain_record import new_id
from src.pipeline.mlflow_run import cause_tags, request_ids_tag


def test_request_ids_tag_joins_them_with_commas() -> None:
    assert cause_tags("abc", ["1", "2"]) == {"data.sha256": "abc", "retrain.request_ids": "1,2"}


def test_request_ids_tag_holds_only_whole_ids_within_mlflow_s_limit() -> None:
    ids = [new_id() for _ in range(1000)]
    tag = request_ids_tag(ids)
    assert tag.split(",") == ids[: len(tag.split(","))]
    assert 4900 < len(tag) <= 5000
