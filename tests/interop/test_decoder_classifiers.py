"""Decoders that classify a text take the last token whose id is not the padding token's, whatever a mask says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2ForSequenceClassification
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForSequenceClassification
from transformers.models.openai.configuration_openai import OpenAIGPTConfig
from transformers.models.openai.modeling_openai import OpenAIGPTForSequenceClassification

from interop import parity
from transformer_zoo import from_pretrained
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model

GPT: dict[str, Any] = {"n_embd": 18, "n_layer": 2, "n_head": 3, "n_positions": 16}
LLAMA: dict[str, Any] = {"hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22}
COMMON: dict[str, Any] = {"vocab_size": 30, "num_labels": 5, "bos_token_id": 1, "eos_token_id": 2}
KINDS = pytest.mark.parametrize(
    "cls, config",
    [
        (GPT2ForSequenceClassification, GPT2Config(**COMMON | GPT)),
        (OpenAIGPTForSequenceClassification, OpenAIGPTConfig(**COMMON | GPT)),
        (LlamaForSequenceClassification, LlamaConfig(**COMMON | LLAMA)),
    ],
    ids=["gpt2", "openai-gpt", "llama"],
)


@KINDS
def test_padding_is_told_by_ids(cls: Any, config: Any, tmp_path: Path):
    config.pad_token_id = 3
    model = parity.reference(cls, config)
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    ids = torch.randint(4, 30, (4, 9), generator=torch.Generator().manual_seed(0))
    ids[1, 6:], ids[2, :4], ids[3, [2, 8]] = 3, 3, 3
    hidden_end = torch.ones_like(ids)
    hidden_end[0, 5:] = 0  # real tokens that a mask hides are classified all the same
    for batch in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": hidden_end}):
        with torch.no_grad():
            expected = model(**batch).logits
        torch.testing.assert_close(ours.logits(**batch), expected, atol=parity.OUTPUT, rtol=parity.OUTPUT)


@KINDS
def test_a_model_without_a_padding_token(cls: Any, config: Any, tmp_path: Path):
    config.pad_token_id = None
    model = parity.reference(cls, config)
    import_model(parity.saved(model, tmp_path / "theirs"), tmp_path / "run")
    assert "equal" in export_model(tmp_path / "run", tmp_path / "out")["checks"]["transformers"]
