"""Reports sent to W&B: a table and the page, or one line that says why not."""

import sys
from pathlib import Path
from typing import Any

import pytest
from fabricated import fabricated_study, three

from transformer_zoo.errors import ConfigError
from transformer_zoo.reports.publishing import publish
from transformer_zoo.reports.report import report


class FakeWandb:
    """Stands in for the package: remembers what it was given."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.arguments: dict[str, Any] = {}
        self.logged: dict[str, Any] = {}
        self.files: list[str] = []
        self.finished = False

    def Settings(self, **settings: Any) -> dict[str, Any]:  # noqa: N802
        return settings

    def Table(self, dataframe: Any) -> Any:  # noqa: N802
        return dataframe

    def Html(self, text: str, inject: bool) -> str:  # noqa: N802
        return text

    def Artifact(self, name: str, type: str) -> "FakeWandb":  # noqa: N802
        return self

    def add_file(self, path: str) -> None:
        self.files.append(path)

    def init(self, **arguments: Any) -> "FakeWandb":
        if self.broken:
            raise RuntimeError("no\nroute")
        self.arguments = arguments
        return self

    def log(self, values: dict[str, Any]) -> None:
        self.logged |= values

    def log_artifact(self, artifact: Any) -> None:
        assert artifact is self

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return report([fabricated_study(tmp_path / "study", three(), points=3)], tmp_path / "out" / "report.html")


def test_table_and_page_are_logged(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "offline")
    publish("wandb", [page.parents[1] / "study"], page)
    assert (fake.arguments["project"], fake.arguments["job_type"], fake.arguments["name"]) == ("transformer-zoo", "report", "out")
    assert list(fake.logged["runs"]["group"]) == list(three())
    assert fake.logged["report"] == page.read_text(encoding="utf-8")
    assert fake.files == [str(page)]
    assert fake.finished


def test_where_it_is_not_set_up_one_line_says_so(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb())
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"W&B is not set up here: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline; the report is"):
        publish("wandb", [page.parents[1] / "study"], page)


def test_a_failure_there_is_one_line_here(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(broken=True))
    monkeypatch.setenv("WANDB_API_KEY", "key")
    with pytest.raises(ConfigError, match=r"^--publish wandb failed \(no route\); the report is in .*report.html$"):
        publish("wandb", [page.parents[1] / "study"], page)


def test_an_unknown_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--publish mlflow: expected wandb"):
        publish("mlflow", [tmp_path], tmp_path / "report.html")
