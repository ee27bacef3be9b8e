import time

from transformer_zoo.benchmark.rounds import interleave


def test_a_round_runs_every_side_once_and_changes_its_direction() -> None:
    calls: list[str] = []
    seconds = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warm_up=1)
    assert "".join(calls) == "abbaabba"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_seconds_are_those_of_the_side() -> None:
    seconds = interleave({"short": lambda: None, "long": lambda: time.sleep(0.02)}, rounds=2, warm_up=0)
    assert min(seconds["long"]) >= 0.02 > max(seconds["short"])
