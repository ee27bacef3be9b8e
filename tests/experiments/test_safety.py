"""Names that become folders, and secrets that must not reach a file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.safety import MASK, checked_name, inside, masked, name_problem, path_problem


@pytest.mark.parametrize("name", ["bert", "2026-11-22_bert=1,a+b", "a" * 100, "_x"])
def test_good_names(name: str) -> None:
    assert checked_name(name, "name") == name


@pytest.mark.parametrize("name", ["", "a" * 101, "..", "a..b", ".a", "-a", "a/b", "a\\b", "a b", "a\n", "é", "a\0", "~", "$HOME"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name: .* is no good name: use 1 to 100 letters"):
        checked_name(name, "name")


@given(st.text(max_size=30))
def test_a_good_name_stays_where_it_is_put(name: str) -> None:
    if name_problem(name) is None:
        assert (Path("/runs") / name).resolve().parent == Path("/runs")


@pytest.mark.parametrize("path", ["runs/a", "/tmp/x/run 1/a", "a", "./a"])
def test_good_folders(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize("path", ["", ".", "..", "../a", "a/../b", "a/..", "/", "runs/.hidden", "runs/-x", " a", "a\0b", "runs/a b"])
def test_bad_folders(path: str) -> None:
    assert path_problem(path) is not None


def test_inside_follows_links(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    assert inside(tmp_path / "root", tmp_path / "root" / "a")
    assert not inside(tmp_path / "root", tmp_path / "root" / "link" / "a")


def test_secrets_are_masked_and_settings_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-value")
    monkeypatch.setenv("SHORT_TOKEN", "1")
    tree = {
        "api_key": "abc",
        "tracker": {"password": "abc", "note": "my s3cr3t-value here", "entities": ["s3cr3t-value"]},
        "n_tokens": 1,
        "tokens": 100,
        "key": None,
        "mask_token": "[MASK]",
        "overrides": ["tracker.api_key=abc", "model/size=tiny", "training.tokens=100"],
        "seed": 1,
    }
    safe = masked(tree)
    assert safe["api_key"] == safe["tracker"]["password"] == MASK
    assert safe["tracker"]["note"] == f"my {MASK} here"
    assert safe["tracker"]["entities"] == [MASK]
    assert safe["overrides"] == [f"tracker.api_key={MASK}", "model/size=tiny", "training.tokens=100"]
    assert {name: safe[name] for name in ("n_tokens", "tokens", "key", "mask_token", "seed")} == {
        "n_tokens": 1,
        "tokens": 100,
        "key": None,
        "mask_token": "[MASK]",
        "seed": 1,
    }
    assert tree["api_key"] == "abc"
