"""Fixtures for the tests of `data`: a tokenizer of a few words, and stores of given documents."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_data import WORDS, GivenSource

from transformer_zoo.data.base import Form
from transformer_zoo.data.preparing import write_split
from transformer_zoo.data.store import Store, open_or_build
from transformer_zoo.data.tokenizers import Tokenizer, WordTokenizerConfig

settings.register_profile("patient", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("patient")


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    return WordTokenizerConfig().build([" ".join(WORDS)])


@pytest.fixture
def given(tmp_path: Path, words: Tokenizer) -> Callable[..., Store]:
    """Prepares documents of sentences of words in one form."""

    def build(documents: list[list[list[str]]], form: Form = Form.RUNNING, name: str = "given") -> Store:
        def write(writer: object) -> None:
            write_split(GivenSource(documents), "train", form, words, writer, lambda: None)  # type: ignore[arg-type]

        return open_or_build(tmp_path / "stores", name, write)

    return build
