"""BART (Lewis et al. 2020, https://arxiv.org/abs/1910.13461): `model_type` bart."""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.tensors import ROW, Copy, Joined, Rule

logger = logging.getLogger(__name__)

WORDS, HEAD, BIAS = "model.shared.weight", "lm_head.weight", "final_logits_bias"
SIDES = ("encoder", "decoder")
THEIR_SIZES = {"n_layers": "layers", "n_heads": "attention_heads", "d_ff": "ffn_dim"}
"""Our name of a size that the two sides may have of their own → the end of theirs."""


class Bart(Family):
    """A post-norm encoder-decoder with learned positions and normalised embeddings."""

    model_type = "bart"
    recipes = ("bart",)
    prefix = "model."
    architectures: ClassVar[Classes] = {"BartForConditionalGeneration": ("vocabulary",), "BartModel": ()}
    heads = ("vocabulary",)
    buffers = ("model.encoder.version", "model.decoder.version")
    special_ids: ClassVar[Mapping[str, int]] = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}

    def read(self, config: ConfigFile) -> Plain:
        config.only("tie_word_embeddings", True)
        config.only("normalize_embedding", True)
        config.only("static_position_embeddings", False)
        config.passive("classifier_dropout", "classif_dropout", "extra_pos_embeddings", "add_bias_logits")
        return read_both_sides(config, vocab_size=50265) | {
            "max_length": config.count("max_position_embeddings", 1024),
            "embeddings": {"kind": "token", "normalize": True, "scale": config.flag("scale_embedding", False)},
            "positions": {"kind": "learned", "offset": 2},
            "initialization": {"kind": "normal", "std": config.positive("init_std", 0.02)},
            "vocabulary_head": {"kind": "lm"},
        }

    def settle(self, settings: Plain, tensors: Mapping[str, Tensor]) -> Plain:
        """As the reference does: tied, unless there are two matrices that differ. A bias only where it is more than the zeros that all files have."""
        tied = HEAD not in tensors or WORDS not in tensors or torch.equal(tensors[HEAD], tensors[WORDS])
        biased = BIAS in tensors and bool(tensors[BIAS].any())
        return settings | {"vocabulary_head": settings["vocabulary_head"] | {"tied": tied, "bias": biased}}

    def write(self, settings: Plain) -> Plain:
        return written_both_sides(settings) | {
            "init_std": at(settings, "initialization.std", 0.02),
            "tie_word_embeddings": True,  # false would part all three tables; a head of its own is seen in the tensors
        }

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule("embeddings.norm.*", "model.encoder.layernorm_embedding.*"),
            Rule("target_embeddings.norm.*", "model.decoder.layernorm_embedding.*"),
            *(Rule(f"{side}.positions.table.weight", f"model.{side}.embed_positions.weight") for side in SIDES),
            *both_stacks(),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        found = [Copy(f"model.{side}.embed_tokens.weight", WORDS) for side in SIDES]
        return [*found, Copy(HEAD, WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else found

    def constants(self, settings: Plain) -> dict[str, Tensor]:
        return {} if at(settings, "vocabulary_head.bias", False) else {BIAS: torch.zeros(1, settings["vocab_size"])}

    def targets(self, token_ids: Tensor, ids: Mapping[str, Any]) -> Tensor | None:
        """The source itself, behind the token with which targets begin: to be written again without its noise."""
        start = ids.get("decoder_start_token_id")
        if start is None:
            return None
        return torch.cat((torch.full_like(token_ids[:, :1], start), token_ids[:, :-1]), dim=1)


def read_both_sides(config: ConfigFile, *, vocab_size: int) -> Plain:
    """What post-norm encoder-decoders whose sides may differ in size have in common."""
    encoder, decoder = (
        {
            "n_layers": config.count(f"{side}_layers", 12),
            "n_heads": config.count(f"{side}_attention_heads", 16),
            "d_ff": config.count(f"{side}_ffn_dim", 4096),
        }
        for side in SIDES
    )
    config.only("is_decoder", False)
    config.only("normalize_before", False)
    config.only("add_final_layer_norm", False)
    config.only("num_hidden_layers", encoder["n_layers"])  # other names of the encoder's sizes
    config.only("num_attention_heads", encoder["n_heads"])
    dropped = [f"{side}_layerdrop" for side in SIDES if config.rate(f"{side}_layerdrop", 0.0)]
    if dropped:
        logger.warning("%s: %s: layers are not left out here in training", config.where, ", ".join(dropped))
    return {
        "kind": "encoder_decoder",
        "d_model": config.count("d_model", 1024),
        **encoder,
        "vocab_size": config.count("vocab_size", vocab_size),
        "dropout": config.rate("dropout", 0.1),
        "decoder": decoder,
        "attention": {
            "kind": "multihead",
            "kernel": {"kind": "sdpa"},
            "qk_norm": {"kind": "none"},
            "dropout": config.rate("attention_dropout", 0.0),
        },
        "norm": {"kind": "layernorm", "eps": 1e-5},
        "norm_placement": {"kind": "post"},
        "feedforward": {
            "kind": "dense",
            "activation": config.activation("activation_function", "gelu"),
            "dropout": config.rate("activation_dropout", 0.0),
        },
        "stack": {"kind": "plain"},
        "classifier": {},
    }


def written_both_sides(settings: Plain) -> Plain:
    """The keys of `read_both_sides`, and those of the length and of the scale of embeddings."""
    sizes = {f"{side}_{end}": at(settings, f"{side}.{name}") or settings[name] for side in SIDES for name, end in THEIR_SIZES.items()}
    return sizes | {
        "d_model": settings["d_model"],
        "num_hidden_layers": sizes["encoder_layers"],
        "max_position_embeddings": settings["max_length"],
        "vocab_size": settings["vocab_size"],
        "scale_embedding": at(settings, "embeddings.scale"),
        "activation_function": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
        "dropout": settings["dropout"],
        "attention_dropout": at(settings, "attention.dropout"),
        "activation_dropout": at(settings, "feedforward.dropout"),
    }


def both_stacks() -> list[Rule]:
    """The tensors of the blocks of both sides, and of the head."""
    return [
        *(rule for side in SIDES for rule in _attention(side, "attention", "around_attention", "self_attn")),
        *_attention("decoder", "cross_attention", "around_cross", "encoder_attn"),
        *(
            Rule(f"{side}.blocks.{{layer}}.{ours}.*", f"model.{side}.layers.{{layer}}.{theirs}.*")
            for side in SIDES
            for ours, theirs in (("feedforward.inner", "fc1"), ("feedforward.outer", "fc2"), ("around_feedforward.outer", "final_layer_norm"))
        ),
        Rule("heads.vocabulary.weight", HEAD),
        Rule("heads.vocabulary.bias", BIAS, ROW),
    ]


def _attention(side: str, name: str, around: str, their_name: str) -> list[Rule]:
    block, theirs = f"{side}.blocks.{{layer}}", f"model.{side}.layers.{{layer}}.{their_name}"
    return [
        Rule(f"{block}.{name}.qkv.*", tuple(f"{theirs}.{part}_proj.*" for part in "qkv"), Joined()),
        Rule(f"{block}.{name}.out.*", f"{theirs}.out_proj.*"),
        Rule(f"{block}.{around}.outer.*", f"{theirs}_layer_norm.*"),
    ]
