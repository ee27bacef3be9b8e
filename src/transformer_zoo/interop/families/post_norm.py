"""What BERT and its relatives have in common: settings and tensors of a post-norm encoder with learned positions."""

from collections.abc import Mapping
from typing import Any

from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.tensors import Copy, Joined, Rule

BLOCK = "stack.blocks.{layer}"
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
"""What an absent key means; a family gives those of its own that differ."""


def read_encoder(config: ConfigFile, *, law: str = "truncated_normal", own: Mapping[str, Any] | None = None) -> Plain:
    """Our settings; `own` are the family's defaults, `law` is how its weights are drawn."""
    default = {**DEFAULTS, **(own or {})}
    config.only("is_decoder", False)
    config.only("add_cross_attention", False)
    config.only("position_embedding_type", "absolute")
    activation = config.activation("hidden_act", default["hidden_act"])
    dropout = config.rate("hidden_dropout_prob", default["hidden_dropout_prob"])
    return {
        "kind": "encoder",
        "d_model": config.count("hidden_size", default["hidden_size"]),
        "n_layers": config.count("num_hidden_layers", default["num_hidden_layers"]),
        "n_heads": config.count("num_attention_heads", default["num_attention_heads"]),
        "d_ff": config.count("intermediate_size", default["intermediate_size"]),
        "max_length": config.count("max_position_embeddings", default["max_position_embeddings"]),
        "vocab_size": config.count("vocab_size", default["vocab_size"]),
        "dropout": dropout,
        "embeddings": {"kind": "token", "n_segments": config.natural("type_vocab_size", default["type_vocab_size"]), "normalize": True},
        "positions": {"kind": "learned"},
        "attention": {
            "kind": "multihead",
            "kernel": {"kind": "sdpa"},
            "qk_norm": {"kind": "none"},
            "dropout": config.rate("attention_probs_dropout_prob", default["attention_probs_dropout_prob"]),
        },
        "norm": {"kind": "layernorm", "eps": config.positive("layer_norm_eps", 1e-12)},
        "norm_placement": {"kind": "post"},
        "feedforward": {"kind": "dense", "activation": activation},
        "stack": {"kind": "plain"},
        "initialization": {"kind": law, "std": config.positive("initializer_range", 0.02)},
        "vocabulary_head": {"kind": "mlm", "activation": activation, "tied": config.flag("tie_word_embeddings", True)},
        "classifier": {"dropout": config.rate("classifier_dropout", dropout)},
    }


def write_encoder(settings: Plain) -> Plain:
    """Their keys."""
    return {
        "hidden_size": settings["d_model"],
        "num_hidden_layers": settings["n_layers"],
        "num_attention_heads": settings["n_heads"],
        "intermediate_size": settings["d_ff"],
        "max_position_embeddings": settings["max_length"],
        "vocab_size": settings["vocab_size"],
        "type_vocab_size": at(settings, "embeddings.n_segments"),
        "hidden_act": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
        "hidden_dropout_prob": settings["dropout"],
        "attention_probs_dropout_prob": at(settings, "attention.dropout"),
        "classifier_dropout": at(settings, "classifier.dropout"),
        "layer_norm_eps": at(settings, "norm.eps"),
        "initializer_range": at(settings, "initialization.std", 0.02),
        "tie_word_embeddings": at(settings, "vocabulary_head.tied", True),
    }


def embedding_rules(base: str) -> list[Rule]:
    """Tables and their norm; `base` is the family's prefix."""
    return [
        Rule("embeddings.token.weight", f"{base}embeddings.word_embeddings.weight"),
        Rule("embeddings.segment.weight", f"{base}embeddings.token_type_embeddings.weight"),
        Rule("embeddings.norm.*", f"{base}embeddings.LayerNorm.*"),
        Rule("stack.positions.table.weight", f"{base}embeddings.position_embeddings.weight"),
    ]


def block_rules(base: str) -> list[Rule]:
    """One block."""
    theirs = f"{base}encoder.layer.{{layer}}"
    attention = f"{theirs}.attention"
    return [
        Rule(f"{BLOCK}.attention.qkv.*", tuple(f"{attention}.self.{part}.*" for part in ("query", "key", "value")), Joined()),
        Rule(f"{BLOCK}.attention.out.*", f"{attention}.output.dense.*"),
        Rule(f"{BLOCK}.around_attention.outer.*", f"{attention}.output.LayerNorm.*"),
        Rule(f"{BLOCK}.feedforward.inner.*", f"{theirs}.intermediate.dense.*"),
        Rule(f"{BLOCK}.feedforward.outer.*", f"{theirs}.output.dense.*"),
        Rule(f"{BLOCK}.around_feedforward.outer.*", f"{theirs}.output.LayerNorm.*"),
    ]


def vocabulary_rules(settings: Plain, head: str, transform: str, norm: str) -> list[Rule]:
    """A head over the vocabulary whose projection is `transform` and whose norm is `norm`, and which has one bias where it is tied."""
    bias = "bias" if at(settings, "vocabulary_head.tied", True) else "decoder.bias"
    return [
        Rule("heads.vocabulary.transform.dense.*", f"{head}.{transform}.*"),
        Rule("heads.vocabulary.transform.norm.*", f"{head}.{norm}.*"),
        Rule("heads.vocabulary.weight", f"{head}.decoder.weight"),
        Rule("heads.vocabulary.bias", f"{head}.{bias}"),
    ]


def vocabulary_copies(settings: Plain, head: str, words: str) -> list[Copy]:
    """What ties such a head to the table `words`; untied, it has a second bias, which nothing reads."""
    if at(settings, "vocabulary_head.tied", True):
        return [
            Copy(f"{head}.decoder.weight", words, head="vocabulary"),
            Copy(f"{head}.decoder.bias", f"{head}.bias", head="vocabulary"),
        ]
    return [Copy(f"{head}.bias", f"{head}.decoder.bias", head="vocabulary", written=True, idle=True)]
