from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_zoo.benchmark import translating
from transformer_zoo.benchmark.shapes import TINY
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import DataError
from transformer_zoo.experiments.assemble import build_model, open_data
from transformer_zoo.records import IGNORED

QUICK = SuiteSettings(rounds=2, quick=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


def test_a_row_counts_seconds_per_token() -> None:
    rows = translating.measure_row(0.1, QUICK)
    (one,) = rows
    assert (one.row, one.peer, one.target) == ("the built-in language, tiny, dropout 0.1", "MarianMTModel", 2.0)
    assert one.numbers["ours_tokens_per_second"] > 0
    assert one.numbers["pairs_per_batch"] >= 2


def test_rounds_are_divided_by_their_own_tokens() -> None:
    tokens = iter([5, 5, 10, 20])
    side = translating.Counted(lambda: next(tokens), 2)
    side()
    side()
    assert side.tokens == [10, 30]
    assert side.seconds_per_token([6.0]) == [0.2], "the warm-up round came first"


def test_the_peer_reads_the_same_pairs_in_padded_batches_of_like_lengths() -> None:
    config = translating._experiment(TINY, 0.0, QUICK)
    data = open_data(config)
    objective = config.objective.build(vocabulary=data.vocabulary)
    reader = data.reader("train", objective.needs())
    pairs = translating.features(reader)
    assert len(pairs) == len(reader)
    assert sum(len(pair["input_ids"]) + len(pair["labels"]) for pair in pairs) == int(reader.sizes.sum()) - len(reader), "no begin token"
    assert all(pair[side][-1] == data.vocabulary.specials.end for pair in pairs for side in ("input_ids", "labels"))
    module = translating.marian(TINY, data.tokenizer, 0.0)
    batches = translating.grouped_batches(pairs, data.tokenizer, module, 8)
    n_batches = -(-len(pairs) // 8)
    epoch = [next(batches) for _ in range(n_batches)]
    assert sum(int((batch["labels"] != IGNORED).sum()) for batch in epoch) == sum(len(pair["labels"]) for pair in pairs)
    assert sum(int(batch["attention_mask"].sum()) for batch in epoch) == sum(len(pair["input_ids"]) for pair in pairs)
    first = epoch[3]
    assert torch.equal(first["decoder_input_ids"][:, 0], torch.full((8,), data.vocabulary.specials.begin))
    assert float(first["attention_mask"].float().mean()) > 0.8, "like lengths go together"


def test_both_models_have_the_same_parameters() -> None:
    config = translating._experiment(TINY, 0.0, QUICK)
    data = open_data(config)
    ours: Any = build_model(config.model, data.vocabulary.size, config.objective.needs().heads)
    theirs = translating.marian(TINY, data.tokenizer, 0.0)
    bias = data.vocabulary.size  # of the vocabulary: a buffer there, a parameter here
    assert translating.parameters_of(ours) == translating.parameters_of(theirs) + bias


def test_real_text_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"suite translation reads multi30k_en_de/train.jsonl.gz: name the folder .* by data=DIR or TRANSFORMER_ZOO_DATA"
    ):
        translating.measure_row(0.0, SuiteSettings(data=tmp_path))
