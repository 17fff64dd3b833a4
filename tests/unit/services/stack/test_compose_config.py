from src.services.stack.compose_config import Port, Stack
from tests.unit.services.stack.fakes import compose_config


def test_ports_are_those_with_a_number() -> None:
    config = compose_config(zenml=8080)
    config["services"]["docker-proxy"] = {
        "ports": [{"target": 1, "published": "8000-8010"}, {"target": 2}, {"target": 3, "published": "9000"}]
    }
    config["services"]["monitor"] = {"ports": None}
    proxy = Port("docker-proxy", "", 9000, 3)
    assert Stack(config).ports() == [Port("zenml", "127.0.0.1", 8080, 8080), proxy]
    assert proxy.variable == "DOCKER_PROXY_PORT"


def test_variable_is_what_the_container_gets() -> None:
    config = compose_config(zenml=8080)
    config["services"]["zenml"]["environment"] = {"A": "pa$$word", "B": None}
    stack = Stack(config)
    assert [stack.variable("zenml", name) for name in "ABC"] == ["pa$word", "", ""]
    assert stack.variable("mysql", "A") == stack.variable("nobody", "A") == ""


def test_volumes_are_the_named_ones() -> None:
    config = compose_config(zenml=8080)
    config["services"]["mysql"]["volumes"] += [{"type": "bind", "source": "/etc"}, {"type": "volume", "target": "/x"}]
    assert Stack(config).volumes("mysql") == ["loop_mysql"]
    assert Stack(config).volumes("zenml") == Stack(config).volumes("nobody") == []
