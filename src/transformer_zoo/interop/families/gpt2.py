"""GPT-2 (Radford et al. 2019): `model_type` gpt2."""

import logging
from typing import ClassVar

from transformer_zoo.interop.base import Classes
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.families.last_token import LastTokenFamily
from transformer_zoo.interop.tensors import TRANSPOSED, Copy, Rule

logger = logging.getLogger(__name__)

WORDS = "transformer.wte.weight"
BLOCK, THEIR_BLOCK = "stack.blocks.{layer}", "transformer.h.{layer}"


class GPT2(LastTokenFamily):
    """A pre-norm decoder with learned positions; its projections stand the other way round."""

    model_type = "gpt2"
    recipes = ("gpt2",)
    prefix = "transformer."
    architectures: ClassVar[Classes] = {
        "GPT2LMHeadModel": ("vocabulary",),
        "GPT2ForSequenceClassification": ("classification",),
        "GPT2ForTokenClassification": ("tagging",),
        "GPT2Model": (),
    }
    heads = ("vocabulary", "classification", "tagging")
    buffers = (f"{THEIR_BLOCK}.attn.bias", f"{THEIR_BLOCK}.attn.masked_bias")

    def read(self, config: ConfigFile) -> Plain:
        config.only("scale_attn_weights", True, False)
        config.only("scale_attn_by_inverse_layer_idx", False)
        config.only("reorder_and_upcast_attn", False, True)  # another order of the same sums
        config.only("add_cross_attention", False)
        config.passive("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "n_ctx")
        d_model = config.count("n_embd", 768)
        dropout = config.rate("resid_pdrop", 0.1)
        if config.rate("embd_pdrop", dropout) != dropout:
            logger.warning("%s: embd_pdrop differs from resid_pdrop; training uses resid_pdrop=%g for both", config.where, dropout)
        return {
            "kind": "decoder",
            "d_model": d_model,
            "n_layers": config.count("n_layer", 12),
            "n_heads": config.count("n_head", 12),
            "d_ff": config.count("n_inner", 4 * d_model),
            "max_length": config.count("n_positions", 1024),
            "vocab_size": config.count("vocab_size", 50257),
            "dropout": dropout,
            "embeddings": {"kind": "token"},
            "positions": {"kind": "learned"},
            "attention": {
                "kind": "multihead",
                "kernel": {"kind": "sdpa"},
                "qk_norm": {"kind": "none"},
                "scale": "head_width" if config.flag("scale_attn_weights", True) else "none",
                "dropout": config.rate("attn_pdrop", 0.1),
            },
            "norm": {"kind": "layernorm", "eps": config.positive("layer_norm_epsilon", 1e-5)},
            "norm_placement": {"kind": "pre"},
            "feedforward": {"kind": "dense", "activation": config.activation("activation_function", "gelu_new")},
            "stack": {"kind": "plain"},
            "initialization": {
                "kind": "normal",
                "std": config.positive("initializer_range", 0.02),
                "position_std": 0.01,
                "scale_residual": True,
            },
            "vocabulary_head": {"kind": "lm", "tied": config.flag("tie_word_embeddings", True)},
            "classifier": {
                "pooling": "last",
                "transform": False,
                "bias": "GPT2ForTokenClassification" in config.get("architectures", []),  # their head of a whole text has none
                "dropout": config.rate("classifier_dropout", 0.1),
            },
        }

    def write(self, settings: Plain) -> Plain:
        return {
            "n_embd": settings["d_model"],
            "n_layer": settings["n_layers"],
            "n_head": settings["n_heads"],
            "n_inner": settings["d_ff"],
            "n_positions": settings["max_length"],
            "vocab_size": settings["vocab_size"],
            "activation_function": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
            "resid_pdrop": settings["dropout"],
            "embd_pdrop": settings["dropout"],
            "attn_pdrop": at(settings, "attention.dropout"),
            "classifier_dropout": at(settings, "classifier.dropout"),
            "scale_attn_weights": at(settings, "attention.scale") == "head_width",
            "layer_norm_epsilon": at(settings, "norm.eps"),
            "initializer_range": at(settings, "initialization.std", 0.02),
            "tie_word_embeddings": at(settings, "vocabulary_head.tied", True),
        }

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule("stack.positions.table.weight", "transformer.wpe.weight"),
            Rule(f"{BLOCK}.around_attention.before.*", f"{THEIR_BLOCK}.ln_1.*"),
            Rule(f"{BLOCK}.attention.qkv.*", f"{THEIR_BLOCK}.attn.c_attn.*", TRANSPOSED),
            Rule(f"{BLOCK}.attention.out.*", f"{THEIR_BLOCK}.attn.c_proj.*", TRANSPOSED),
            Rule(f"{BLOCK}.around_feedforward.before.*", f"{THEIR_BLOCK}.ln_2.*"),
            Rule(f"{BLOCK}.feedforward.inner.*", f"{THEIR_BLOCK}.mlp.c_fc.*", TRANSPOSED),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{THEIR_BLOCK}.mlp.c_proj.*", TRANSPOSED),
            Rule("stack.final_norm.*", "transformer.ln_f.*"),
            Rule("heads.vocabulary.weight", "lm_head.weight"),
            Rule("heads.classification.classifier.*", "score.*"),
            Rule("heads.tagging.classifier.*", "classifier.*"),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return [Copy("lm_head.weight", WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else []
