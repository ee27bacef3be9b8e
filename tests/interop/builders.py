"""Small public models on disk for tests of the framework itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

from interop import parity

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"the old king queen sleeps sings loves a small dog and in his her garden".split()]  # noqa: SIM905


def bert(folder: Path, cls: Any = BertForMaskedLM, **others: Any) -> Path:
    """A BERT with a word tokenizer that frames texts by [CLS] and [SEP]."""
    sizes = {"vocab_size": len(WORDS) + 3, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    model = parity.reference(cls, BertConfig(**sizes | {"max_position_embeddings": 16} | others))
    word_tokenizer(folder)
    return parity.saved(model, folder)


def gpt2(folder: Path, cls: Any = GPT2LMHeadModel, **others: Any) -> Path:
    """A GPT-2 with the same words, not framed; [SEP] ends a text."""
    sizes = {"vocab_size": len(WORDS) + 3, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 16}
    model = parity.reference(cls, GPT2Config(**sizes | {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0} | others))
    word_tokenizer(folder, framed=False)
    return parity.saved(model, folder)


def word_tokenizer(folder: Path, *, framed: bool = True) -> None:
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(WORDS[:5])
    if framed:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))


def change_config(folder: Path, **values: Any) -> None:
    """Sets keys of config.json; `...` removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, metadata={"format": "pt"})
