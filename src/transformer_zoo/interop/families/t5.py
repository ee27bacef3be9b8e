"""T5 and T5 1.1 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683): `model_type` t5."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ACTIVATIONS, ConfigFile, Plain, at
from transformer_zoo.interop.tensors import Copy, Joined, Rule

WORDS, HEAD = "shared.weight", "lm_head.weight"
GATED = "gated-"


class T5(Family):
    """A pre-norm encoder-decoder without biases, with one table of relative positions a stack. Version 1.1 gates its feed-forward networks."""

    model_type = "t5"
    recipes = ("t5", "t5_v1_1")
    prefix = ""
    architectures: ClassVar[Classes] = {
        "T5ForConditionalGeneration": ("vocabulary",),
        "T5WithLMHeadModel": ("vocabulary",),  # its name in older files
        "T5Model": (),
    }
    heads = ("vocabulary",)
    buffers = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
    special_ids: ClassVar[Mapping[str, int]] = {"pad_token_id": 0, "eos_token_id": 1}

    def read(self, config: ConfigFile) -> Plain:
        config.only("is_decoder", False)
        config.passive("initializer_factor", "classifier_dropout")
        dropout = config.rate("dropout_rate", 0.1)
        n_layers = config.count("num_layers", 6)
        gated, activation = _feedforward(config)
        # A file of version 1.1 says by tie_word_embeddings=false that its scores are not scaled; whether they are tied is seen in its tensors.
        tied = config.flag("tie_word_embeddings", True)
        scaled = config.flag("scale_decoder_outputs", tied)
        return {
            "kind": "encoder_decoder",
            "d_model": config.count("d_model", 512),
            "n_layers": n_layers,
            "n_heads": config.count("num_heads", 8),
            "d_ff": config.count("d_ff", 2048),
            "max_length": config.count("n_positions", 512),
            "vocab_size": config.count("vocab_size", 32128),
            "dropout": dropout,
            "decoder": {"n_layers": config.count("num_decoder_layers", n_layers)},
            "embeddings": {"kind": "token"},
            "positions": {
                "kind": "t5",
                "n_buckets": config.count("relative_attention_num_buckets", 32),
                "max_distance": config.count("relative_attention_max_distance", 128),
            },
            "attention": {
                "kind": "multihead",
                "kernel": {"kind": "sdpa"},
                "qk_norm": {"kind": "none"},
                "head_width": config.count("d_kv", 64),
                "bias": False,
                "scale": "none",
                "dropout": dropout,
            },
            "norm": {"kind": "rmsnorm", "eps": config.positive("layer_norm_epsilon", 1e-6)},
            "norm_placement": {"kind": "pre", "final_dropout": True},
            "feedforward": {"kind": "gated" if gated else "dense", "activation": activation, "bias": False, "dropout": dropout},
            "stack": {"kind": "plain"},
            "initialization": {"kind": "fan_in"},
            "vocabulary_head": {"kind": "lm", "tied": tied, "scale": "d_model" if scaled else "none"},
            "classifier": {},
        }

    def settle(self, settings: Plain, tensors: Mapping[str, Tensor]) -> Plain:
        """As the reference does: tied, unless there are two matrices that differ."""
        tied = HEAD not in tensors or WORDS not in tensors or torch.equal(tensors[HEAD], tensors[WORDS])
        return settings | {"vocabulary_head": settings["vocabulary_head"] | {"tied": tied}}

    def write(self, settings: Plain) -> Plain:
        gated, activation = at(settings, "feedforward.kind") == "gated", ACTIVATION_NAMES.get(at(settings, "feedforward.activation"))
        return {
            "d_model": settings["d_model"],
            "d_kv": at(settings, "attention.head_width") or settings["d_model"] // settings["n_heads"],
            "num_layers": at(settings, "encoder.n_layers") or settings["n_layers"],
            "num_decoder_layers": at(settings, "decoder.n_layers") or settings["n_layers"],
            "num_heads": settings["n_heads"],
            "d_ff": settings["d_ff"],
            "n_positions": settings["max_length"],
            "vocab_size": settings["vocab_size"],
            "relative_attention_num_buckets": at(settings, "positions.n_buckets"),
            "relative_attention_max_distance": at(settings, "positions.max_distance"),
            "dropout_rate": settings["dropout"],
            "layer_norm_epsilon": at(settings, "norm.eps"),
            "feed_forward_proj": f"{GATED}{'gelu' if activation == 'gelu_new' else activation}" if gated else activation,
            "dense_act_fn": activation,
            "is_gated_act": gated,
            "tie_word_embeddings": at(settings, "vocabulary_head.tied", True),
            "scale_decoder_outputs": at(settings, "vocabulary_head.scale") == "d_model",
        }

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            Rule("embeddings.token.weight", WORDS),
            *_stack("encoder", feedforward=1),
            *_stack("decoder", feedforward=2),
            *_attention("decoder", "cross_attention", "around_cross", 1, "EncDecAttention"),
            Rule("heads.vocabulary.weight", HEAD),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        found = [Copy(f"{side}.embed_tokens.weight", WORDS) for side in ("encoder", "decoder")]
        return [*found, Copy(HEAD, WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else found

    def recipe(self, settings: Plain) -> str:
        return "t5_v1_1" if at(settings, "feedforward.kind") == "gated" else "t5"


def _feedforward(config: ConfigFile) -> tuple[bool, str]:
    """Whether the feed-forward networks are gated, and our name of their activation."""
    kind = config.word("feed_forward_proj", "relu", [*ACTIVATIONS, *(GATED + name for name in ACTIVATIONS)])
    usual = "gelu_new" if kind == f"{GATED}gelu" else kind.removeprefix(GATED)
    return config.flag("is_gated_act", kind.startswith(GATED)), config.activation("dense_act_fn", usual)


def _stack(side: str, *, feedforward: int) -> list[Rule]:
    """One side's tensors but for attention to the other; its feed-forward network is the sub-layer of this number."""
    block, theirs = f"{side}.blocks.{{layer}}", f"{side}.block.{{layer}}.layer.{feedforward}"
    return [
        Rule(f"{side}.positions.table.weight", f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
        *_attention(side, "attention", "around_attention", 0, "SelfAttention"),
        Rule(f"{block}.around_feedforward.before.weight", f"{theirs}.layer_norm.weight"),
        Rule(f"{block}.feedforward.inner.weight", f"{theirs}.DenseReluDense.wi.weight"),
        Rule(f"{block}.feedforward.gate_and_inner.weight", tuple(f"{theirs}.DenseReluDense.wi_{part}.weight" for part in (0, 1)), Joined((1, 1))),
        Rule(f"{block}.feedforward.outer.weight", f"{theirs}.DenseReluDense.wo.weight"),
        Rule(f"{side}.final_norm.norm.weight", f"{side}.final_layer_norm.weight"),
    ]


def _attention(side: str, name: str, around: str, number: int, their_name: str) -> list[Rule]:
    block, theirs = f"{side}.blocks.{{layer}}", f"{side}.block.{{layer}}.layer.{number}"
    return [
        Rule(f"{block}.{around}.before.weight", f"{theirs}.layer_norm.weight"),
        Rule(f"{block}.{name}.qkv.weight", tuple(f"{theirs}.{their_name}.{part}.weight" for part in "qkv"), Joined()),
        Rule(f"{block}.{name}.out.weight", f"{theirs}.{their_name}.o.weight"),
    ]
