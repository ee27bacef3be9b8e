"""From text to columns: bounded batches, ahead of time, stoppable, and the sample a tokenizer is trained on."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.data import preparing
from transformer_zoo.data.preparing import Progress, ahead, batched, training_sample, utf8_bytes, word_tags
from transformer_zoo.errors import DataError
from transformer_zoo.records import IGNORED


def progress() -> Progress:
    return Progress("reading", lambda: None)


@given(st.lists(st.text(max_size=5)), st.integers(1, 12), st.integers(1, 4))
def test_batches_hold_everything_in_order(texts: list[str], characters: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "BATCH_CHARACTERS", characters)
        patch.setattr(preparing, "BATCH_TEXTS", most)
        batches = list(batched(texts, len))
    assert [text for batch in batches for text in batch] == texts
    assert all(batch and len(batch) <= most and sum(map(len, batch[:-1])) < characters for batch in batches)


def test_what_is_made_ahead_keeps_its_errors_and_stops_when_closed() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    made = ahead(broken())
    assert next(made) == 1
    with pytest.raises(KeyError, match="two"):
        next(made)
    threads = threading.active_count()
    endless = ahead(iter(range(10**9)))
    assert [next(endless), next(endless)] == [0, 1]
    endless.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_a_poll_that_raises_stops_the_preparation() -> None:
    class Stop(BaseException):
        pass

    def poll() -> None:
        raise Stop

    with pytest.raises(Stop):
        Progress("reading", poll).add(1)
    with pytest.raises(Stop):
        training_sample(iter(["text"]), 10, Progress("reading", poll))


def test_progress_is_logged_every_few_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = iter([0.0, 1.0, 6.0, 7.0])
    monkeypatch.setattr(preparing.time, "monotonic", lambda: next(clock))
    shown = progress()
    for _ in range(3):
        shown.add(3_000_000)
    assert caplog.messages == ["reading: 6.0 million characters (1.0 million/s)"]


@pytest.mark.parametrize("limit", [1, 10, 99, 1000])
def test_the_sample_is_limited_and_spread_over_the_text(limit: int) -> None:
    texts = [f"{i:010}" for i in range(500)]
    sample = training_sample(iter(texts), limit, progress())
    assert sum(map(len, sample)) <= max(limit, 10)
    assert sum(map(len, sample)) >= min(limit, 5000) / 2 - 10
    steps = {int(b) - int(a) for a, b in pairwise(sample)}
    assert len(steps) <= 1
    assert int(sample[0]) == 0
    assert not sample[1:] or int(sample[-1]) >= 500 - 2 * max(steps)


def test_endless_words_are_broken_for_training() -> None:
    (text,) = training_sample(iter(["x" * 5000]), 10_000, progress())
    assert max(map(len, text.split())) <= 200
    assert text.replace(" ", "") == "x" * 5000


def test_blank_text_cannot_train_a_tokenizer() -> None:
    with pytest.raises(DataError, match="0 usable sequences: 0 tokens"):
        training_sample(iter(["", " \n"]), 10, progress())


@given(st.lists(st.text(max_size=8)))
def test_bytes_are_counted_as_utf8(texts: list[str]) -> None:
    assert utf8_bytes(texts) == sum(len(text.encode()) for text in texts)


def test_tags_follow_the_first_token_of_a_word() -> None:
    # "ab c" in characters: ab(0,1), space(2), c(3)
    assert word_tags(["ab", "c"], [7, 8], [(0, 1), (1, 2), (2, 3), (3, 4)]) == ([7, IGNORED, IGNORED, 8], 0)
    assert word_tags(["ab", "c"], [7, 8], [(0, 2), (2, 4)]) == ([7, 8], 0)
    assert word_tags(["ab", "c"], [7, 8], [(0, 2)]) == ([7], 1)
    assert word_tags(["ab"], [7], [(0, 0), (0, 2)]) == ([IGNORED, 7], 0)
