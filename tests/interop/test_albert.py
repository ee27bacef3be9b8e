"""ALBERT as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.albert.configuration_albert import AlbertConfig
from transformers.models.albert.modeling_albert import (
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
)

from interop import builders, parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError

CLASSES = (AlbertForMaskedLM, AlbertForPreTraining, AlbertForSequenceClassification, AlbertForTokenClassification, AlbertModel)


def config(**others: Any) -> AlbertConfig:
    sizes = {"vocab_size": 37, "embedding_size": 7, "hidden_size": 18, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 22}
    return AlbertConfig(**sizes | {"max_position_embeddings": 13} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    labels = {} if cls is AlbertForPreTraining else {"num_labels": 5}
    parity.check_all(parity.reference(cls, config(**labels)), tmp_path, segments=2)


@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 35, "num_attention_heads": 7, "intermediate_size": 11, "num_hidden_layers": 5, "num_hidden_groups": 2},
        {"num_hidden_layers": 4, "num_hidden_groups": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-3, "type_vocab_size": 1},
        {"embedding_size": 18, "hidden_act": "relu", "pad_token_id": 4},
        {"tie_word_embeddings": False, "num_hidden_layers": 6, "num_hidden_groups": 3, "classifier_dropout_prob": 0.3, "hidden_dropout_prob": 0.2},
    ],
    ids=["two_groups", "no_sharing", "equal_widths", "untied"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    model = parity.reference(AlbertForMaskedLM, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size)


def test_the_order_of_sentences_is_counted_as_theirs(tmp_path: Path):
    model = parity.reference(AlbertForPreTraining, config())
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batch = parity.batches(model, segments=2)["segments"]
    with torch.no_grad():
        expected = model(**batch).sop_logits
        record = ours.model(ours.inputs(**batch))
    # Theirs: 0 where segments stand in order, 1 where they are swapped. Ours says whether the second follows.
    torch.testing.assert_close(record.heads["sop"].flip(1), expected, atol=parity.OUTPUT, rtol=parity.OUTPUT)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"inner_group_num": 2}, "inner_group_num=2 is not supported: supported is 1"),
        (
            {"num_hidden_layers": 18, "num_hidden_groups": 14},
            "num_hidden_groups=14 is not supported: expected a number that divides num_hidden_layers=18",
        ),
        ({"num_hidden_groups": 5}, "stack.n_groups=5 is more than n_layers=3"),
    ],
    ids=["inner", "uneven", "more"],
)
def test_other_sharing_is_refused(values: dict[str, Any], told: str, tmp_path: Path):
    parity.saved(parity.reference(AlbertForMaskedLM, config()), tmp_path)
    builders.change_config(tmp_path, **values)
    with pytest.raises(ConfigError, match=told):
        from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"vocabulary_head.activation": "gelu"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.normalize": False},
        {"n_layers": 2},
        {"positions.offset": 1, "max_length": 12},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(AlbertForMaskedLM, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)
