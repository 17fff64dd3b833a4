from src.core.retrain_record import new_id
from src.training.mlflow_run import cause_tags, request_ids_tag, run_link


def test_request_ids_tag_joins_them_with_commas() -> None:
    assert cause_tags("abc", ["1", "2"]) == {"data.sha256": "abc", "retrain.request_ids": "1,2"}


def test_request_ids_tag_holds_only_whole_ids_within_mlflow_s_limit() -> None:
    ids = [new_id() for _ in range(1000)]
    tag = request_ids_tag(ids)
    assert tag.split(",") == ids[: len(tag.split(","))]
    assert 4900 < len(tag) <= 5000


def test_run_link_is_the_page_of_mlflow_s_ui() -> None:
    assert run_link("http://localhost:5000", "3", "abc") == "http://localhost:5000/#/experiments/3/runs/abc"
