import pytest
import torch

from transformer_zoo.benchmark import decoding
from transformer_zoo.benchmark.shapes import TINY
from transformer_zoo.benchmark.suites import SuiteSettings


@pytest.mark.parametrize(("make", "name"), [(decoding.gpt2, "GPT"), (decoding.marian, "translation")])
@pytest.mark.parametrize("beams", [1, 4])
def test_both_sides_write_the_same_tokens(make, name: str, beams: int) -> None:
    torch.manual_seed(0)
    (row,) = decoding.measure_row(name, make(TINY), TINY, 3, beams, SuiteSettings(rounds=1, quick=True))
    assert row.numbers["equal_tokens_share"] == 1
    assert row.target == (2.0 if beams == 1 else None)
    assert row.ratio > 0


def test_another_model_writes_other_tokens() -> None:
    ids = torch.randint(3, TINY.vocab_size, (2, 8))
    torch.manual_seed(0)
    written = [decoding.our_side(decoding.gpt2(TINY), ids, 4, 1, False)(), decoding.our_side(decoding.gpt2(TINY), ids, 4, 1, False)()]
    assert written[0] != written[1]
