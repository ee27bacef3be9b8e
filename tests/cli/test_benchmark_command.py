"""`transformer-zoo benchmark` on suites that are made up here."""

import json
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.benchmark import running, suites
from transformer_zoo.benchmark.records import Comparison
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.cli.completion import candidates
from transformer_zoo.errors import DataError

Zoo = Any


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, SuiteSettings]]:
    """Suites answer at once; what each was asked."""
    calls: list[tuple[str, SuiteSettings]] = []

    def load(name: str) -> Any:
        def measure(settings: SuiteSettings) -> list[Comparison]:
            calls.append((name, settings))
            if name == "translation":
                raise DataError("there is no text")
            return [Comparison(row=f"a row of {name}", what="seconds", ours="ours", peer="them", ratio=3.0, low=2.5, high=3.5, target=2.0)]

        return measure

    monkeypatch.setattr(running, "load", load)
    monkeypatch.delenv("TRANSFORMER_ZOO_DATA", raising=False)
    return calls


def test_suites_are_measured_kept_and_shown(zoo: Zoo, asked: list[tuple[str, SuiteSettings]]) -> None:
    told = zoo("benchmark", "suite=step,memory", "rounds=3", "output=here", "threads=1")
    assert told.code == 0, told.err
    assert [(name, settings.rounds, settings.threads, settings.quick) for name, settings in asked] == [("step", 3, 1, False), ("memory", 3, 1, False)]
    assert "| a row of memory | them | 3.00× | 2.50–3.50 | 2× | met |" in told.out
    document = json.loads(Path("here/speed.json").read_text())["suites"]
    assert list(document) == ["step", "memory"]
    assert document["step"]["machine"]["threads"] == 1
    assert "command" not in document["step"]["machine"], "no places of the machine"
    again = zoo("benchmark", "table", "output=here", "suite=memory")
    assert "a row of memory" in again.out
    assert "a row of step" not in again.out
    assert len(asked) == 2, "a table measures nothing"
    assert set(json.loads(zoo("benchmark", "table", "output=here", "--json").out)) == {"step", "memory"}


def test_without_names_all_run_but_those_on_request_and_one_failure_stops_no_other(
    zoo: Zoo, asked: list[tuple[str, SuiteSettings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = zoo("benchmark", "--quick", "--json")
    assert [name for name, _ in asked] == [name for name in suites.SUITES if name not in suites.ON_REQUEST]
    assert {(settings.rounds, settings.quick) for _, settings in asked} == {(1, True)}
    assert told.code == DataError.exit_code
    assert told.lines[-1] == "transformer-zoo: suite translation was not measured: there is no text"
    assert "translation" not in json.loads(told.out)
    assert Path("benchmarks/results/speed.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=steps"], "suite=steps: there is no such suite; did you mean step? (there are step"),
        (["suite="], "suite=: name at least one of step"),
        (["rounds=0"], "rounds=0: expected a whole number at least 1"),
        (["threads=two"], "threads=two: expected a whole number at least 1"),
        (["device=tpu"], "device=tpu"),
        (["data=nowhere"], "data=nowhere: there is no such folder"),
        (["all"], "benchmark all: unknown; it takes suite=, rounds=, output=, device=, threads=, data= or the word table"),
        (["table"], "nothing is kept in benchmarks/results/speed.json: run `transformer-zoo benchmark` first, or name its output=DIR"),
    ],
)
def test_what_cannot_be_is_said(zoo: Zoo, asked: list[tuple[str, SuiteSettings]], words: list[str], message: str) -> None:
    told = zoo("benchmark", *words)
    assert told.code in (2, 3)
    assert message in told.lines[-1]
    assert asked == []


def test_completion_and_help(zoo: Zoo) -> None:
    assert candidates(["benchmark"], "t") == ["table ", "threads="]
    assert candidates(["benchmark"], "suite=step,mem") == ["suite=step,memory "]
    assert candidates(["benchmark"], "rounds=") == []
    assert all(name in zoo("benchmark", "--help").out for name in suites.SUITES)
