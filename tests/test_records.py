"""Records move as one; settings' ranges say what they hold."""

import torch

from transformer_zoo.errors import ConfigError, StoppedError
from transformer_zoo.records import Example, Rows, SequenceInputs, SpecialTokens, TextBatch
from transformer_zoo.settings import OneOf, Range


def test_a_record_moves_with_everything_inside():
    inputs = SequenceInputs(token_ids=torch.zeros(1, 2, dtype=torch.int64))
    example = Example(inputs=inputs, targets={"a": torch.ones(1)}, counts={"a": 1}, tokens=2)
    moved = example.to("meta")
    assert moved.inputs.token_ids.device.type == moved.targets["a"].device.type == "meta"
    assert moved.inputs.valid is None
    assert moved.counts == {"a": 1}
    assert example.targets["a"].device.type == "cpu"


def test_a_batch_without_padding_gives_inputs_without_a_mask():
    rows = Rows(seed=0, epoch=torch.zeros(1), index=torch.zeros(1))
    ids = torch.arange(3).unsqueeze(0)
    assert TextBatch(rows=rows, token_ids=ids, valid=torch.ones(1, 3).bool()).sequence().valid is None
    padded = TextBatch(rows=rows, token_ids=ids, valid=torch.tensor([[True, True, False]])).sequence()
    assert padded.valid is not None


def test_special_tokens_are_listed_once():
    assert SpecialTokens(pad=3, begin=1, end=1, mask=9).ids() == (1, 3, 9)


def test_ranges_hold_what_they_say():
    half_open = Range(0, 1, open_maximum=True)
    assert half_open.holds(0)
    assert not half_open.holds(1)
    assert not half_open.holds(float("nan"))
    assert str(half_open) == "in [0, 1)"
    assert str(Range(1)) == "at least 1"
    assert str(Range(0, open_minimum=True)) == "greater than 0"
    assert OneOf("a", "b").holds("a")
    assert str(OneOf("a", "b")) == "one of a, b"


def test_errors_carry_exit_codes():
    assert ConfigError("a", "b").problems == ("a", "b")
    assert str(ConfigError("a", "b")) == "a\nb"
    assert StoppedError("stopped", 15).stopped_exit_code == 143
