from benchmarks.load.figures import Figures
from benchmarks.machine import Machine
from benchmarks.replicas import Measured, SetUp, markdown

MACHINE = Machine("a processor", 2, 2**33, "a system", "3.13", 1.0, "now")


def figures(per_second: float, p50: float, **errors: int) -> Figures:
    return Figures(
        answers=100, per_second=per_second, p50=p50, p90=None, p99=2 * p50, maximum=None, errors=errors, client_cpu=0.5
    )


def test_page_has_the_medians_and_every_error_of_each_set_up() -> None:
    measured: Measured = {
        (SetUp(1, gateway=False), 16): [figures(1000, 1), figures(3000, 3), figures(2000, 2)],
        (SetUp(1, gateway=True), 16): [figures(500, 4, lost=1), figures(500, 4), figures(500, 4, lost=2)],
        (SetUp(4, gateway=True), 64): [figures(700, 5)] * 3,
    }
    table = [line for line in markdown(MACHINE, 3, 5.0, measured).splitlines() if line.startswith("|")][2:]
    assert table == [
        "| one container | 16 | 2,000 | 2.00 | 4.00 | 0 | 50% |",
        "| 1 replica behind the gateway | 16 | 500 | 4.00 | 8.00 | 3 | 50% |",
        "| 4 replicas behind the gateway | 64 | 700 | 5.00 | 10.00 | 0 | 50% |",
    ]


def test_page_says_that_the_machine_was_busy() -> None:
    assert "not idle: the figures mean little" in markdown(MACHINE, 1, 1.0, {})
