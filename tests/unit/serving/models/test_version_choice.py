"""Which requests are a canary's: a share of the keys, the same ones in every replica."""

import math
from typing import Any

import pytest

from src.core.canary_config import CanaryConfig
from src.core.errors import ModelNotLoadedError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Row
from src.core.prediction_log import POSITIONS, Role
from src.serving.models.predictor import Predictor
from src.serving.models.version_choice import Canary, VersionChoice, position

KEYS = 4000
UNTIL = 1000.0
ROLLOUT = "019ad3a0-0000-7000-8000-000000000000"
SCHEMA = FeatureSchema((Column("x"), Column("customer", ColumnType.STRING, required=False)))


class Store:
    """Serves a model, if any."""

    def __init__(self, current: Any) -> None:
        self.current = current

    def require(self) -> Any:
        if self.current is None:
            raise ModelNotLoadedError("nothing")
        return self.current


def predictor(schema: FeatureSchema = SCHEMA) -> Predictor:
    given: dict[str, Any] = dict.fromkeys(
        ("version", "engine", "engine_reason", "decoder", "example", "reference", "source", "loaded_at", "cost")
    )
    return Predictor(schema=schema, **given)


def no_row(_: Predictor) -> Row | None:
    raise AssertionError("only a column as the key needs the row")


class Replica:
    """One process with a canary."""

    def __init__(self, rollout_id: str = ROLLOUT, **config: Any) -> None:
        self.now = 0.0
        self.champion = predictor()
        self.store: Any = Store(self.champion)
        self.choice = VersionChoice(self.store, lambda: self.now)
        chosen = CanaryConfig(**{"share": 0.1} | config)
        self.choice.canary = Canary.of(rollout_id, predictor(), self.champion, chosen, UNTIL)

    def is_canary(self, request_id: str = "r", row: Row | None = None, **headers: str) -> bool:
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        found = self.choice.of(given, request_id, no_row if row is None else lambda _: row)
        assert found.role is (Role.CHAMPION if found is self.champion else Role.CANARY)
        return found is not self.champion


def keys(replica: Replica) -> set[int]:
    return {key for key in range(KEYS) if replica.is_canary(f"id-{key}")}


def test_all_replicas_choose_the_same_requests_and_the_share_is_that_of_the_settings() -> None:
    first, second = keys(Replica()), keys(Replica())
    assert first == second
    deviation = math.sqrt(KEYS * 0.1 * 0.9)
    assert abs(len(first) - KEYS * 0.1) < 5 * deviation


def test_a_larger_share_of_the_same_rollout_has_the_same_keys_and_more() -> None:
    assert keys(Replica(share=0.1)) < keys(Replica(share=0.2))


def test_another_rollout_chooses_other_requests() -> None:
    other = keys(Replica("019ad3a0-0000-7000-8000-000000000001"))
    assert 0 < len(keys(Replica()) & other) < KEYS * 0.1 / 2


def test_a_key_is_the_canarys_if_its_position_is_below_the_share() -> None:
    key = next(str(n) for n in range(KEYS) if position(ROLLOUT, str(n)) < POSITIONS / 2)
    share = position(ROLLOUT, key) / POSITIONS
    assert not Replica(share=math.nextafter(share, 0)).is_canary(key)
    assert Replica(share=math.nextafter(share, 1)).is_canary(key)


def test_a_header_chooses_and_the_request_id_does_not() -> None:
    replica = Replica(key_header="X-Customer", share=0.5)
    by_customer = {name: {replica.is_canary(f"id-{n}", x_customer=name) for n in range(20)} for name in "abcdefgh"}
    assert {len(found) for found in by_customer.values()} == {1}
    assert set().union(*by_customer.values()) == {True, False}


def test_without_the_header_a_request_is_the_champions() -> None:
    replicas = [Replica(f"rollout {n}", key_header="x-customer", share=0.5) for n in range(20)]
    assert not any(replica.is_canary(x_other="a") for replica in replicas)


@pytest.mark.parametrize("key", [{"key_header": "x-customer"}, {"key_column": "customer"}])
def test_with_an_empty_key_a_request_is_the_champions(key: dict[str, str]) -> None:
    replicas = [Replica(f"rollout {n}", share=0.5, **key) for n in range(20)]
    assert not any(replica.is_canary(row=(1.0, ""), x_customer="") for replica in replicas)


def test_a_header_that_is_sent_twice_is_one_value() -> None:
    replica = Replica(key_header="x-customer", share=0.5)
    for names in ("ab", "cd", "ef", "gh", "ij"):
        once = [(b"x-customer", ", ".join(names).encode())]
        twice = [(b"x-customer", name.encode()) for name in names]
        chosen = [replica.choice.of(given, "r", no_row) for given in (once, twice)]
        assert chosen[0] is chosen[1]


def test_a_column_chooses_and_the_request_id_does_not() -> None:
    replica = Replica(key_column="customer", share=0.5)
    found = {name: {replica.is_canary(f"id-{n}", (float(n), name)) for n in range(20)} for name in "abcdefgh"}
    assert {len(versions) for versions in found.values()} == {1}
    assert set().union(*found.values()) == {True, False}


def test_a_number_may_be_the_key() -> None:
    replica = Replica(key_column="x", share=0.5)
    assert {replica.is_canary(row=(float(n), None)) for n in range(20)} == {True, False}


def test_a_missing_value_and_a_batch_are_the_champions() -> None:
    replica = Replica(key_column="customer", share=0.5)
    assert not any(replica.is_canary(f"id-{n}", (float(n), None)) for n in range(50))
    assert replica.choice.of([], "r", lambda _: None) is replica.champion


def test_after_a_swap_the_new_champion_answers_everything() -> None:
    replica = Replica(share=0.5)
    assert keys(replica)
    replica.store.current = replica.champion = predictor()
    assert keys(replica) == set()


def test_after_its_time_a_canary_answers_nothing() -> None:
    replica = Replica(share=0.5)
    replica.now = math.nextafter(UNTIL, 0)
    assert keys(replica)
    replica.now = UNTIL
    assert keys(replica) == set()


def test_without_a_canary_the_champion_answers() -> None:
    replica = Replica(share=0.5)
    replica.choice.canary = None
    assert keys(replica) == set()


def test_without_a_champion_there_is_no_answer() -> None:
    replica = Replica()
    replica.store.current = None
    with pytest.raises(ModelNotLoadedError):
        replica.choice.of([], "r", no_row)
