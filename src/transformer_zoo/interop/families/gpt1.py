"""GPT-1 (Radford et al. 2018, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf): `model_type`
openai-gpt."""

import logging
from typing import ClassVar

from transformer_zoo.interop.base import Classes
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.last_token import LastTokenFamily
from transformer_zoo.interop.tensors import TRANSPOSED, Copy, Rule

logger = logging.getLogger(__name__)

WORDS = "transformer.tokens_embed.weight"
BLOCK, THEIR_BLOCK = "stack.blocks.{layer}", "transformer.h.{layer}"
ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
"""What `afn` may say → ours; its gelu is the tanh form."""
ACTIVATION_NAMES = {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}


class GPT1(LastTokenFamily):
    """A post-norm decoder with learned positions; its projections stand the other way round."""

    model_type = "openai-gpt"
    recipes = ("gpt1",)
    prefix = "transformer."
    architectures: ClassVar[Classes] = {
        "OpenAIGPTLMHeadModel": ("vocabulary",),
        "OpenAIGPTForSequenceClassification": ("classification",),
        "OpenAIGPTModel": (),
    }
    heads = ("vocabulary", "classification")
    buffers = (f"{THEIR_BLOCK}.attn.bias", "transformer.position_ids")

    def read(self, config: ConfigFile) -> Plain:
        config.passive("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj")
        config.passive("n_ctx", "n_special", "predict_special_tokens")
        d_model = config.count("n_embd", 768)
        dropout = config.rate("resid_pdrop", 0.1)
        if config.rate("embd_pdrop", dropout) != dropout:
            logger.warning("%s: embd_pdrop differs from resid_pdrop; training uses resid_pdrop=%g for both", config.where, dropout)
        return {
            "kind": "decoder",
            "d_model": d_model,
            "n_layers": config.count("n_layer", 12),
            "n_heads": config.count("n_head", 12),
            "d_ff": 4 * d_model,
            "max_length": config.count("n_positions", 512),
            "vocab_size": config.count("vocab_size", 40478),
            "dropout": dropout,
            "embeddings": {"kind": "token"},
            "positions": {"kind": "learned"},
            "attention": {
                "kind": "multihead",
                "kernel": {"kind": "sdpa"},
                "qk_norm": {"kind": "none"},
                "dropout": config.rate("attn_pdrop", 0.1),
            },
            "norm": {"kind": "layernorm", "eps": config.positive("layer_norm_epsilon", 1e-5)},
            "norm_placement": {"kind": "post"},
            "feedforward": {"kind": "dense", "activation": config.activation("afn", "gelu", ACTIVATIONS)},
            "stack": {"kind": "plain"},
            "initialization": {"kind": "normal", "std": config.positive("initializer_range", 0.02)},
            "vocabulary_head": {"kind": "lm", "tied": config.flag("tie_word_embeddings", True)},
            "classifier": {"pooling": "last", "transform": False, "bias": False, "dropout": 0.0},
        }

    def write(self, settings: Plain) -> Plain:
        return {
            "n_embd": settings["d_model"],
            "n_layer": settings["n_layers"],
            "n_head": settings["n_heads"],
            "n_positions": settings["max_length"],
            "vocab_size": settings["vocab_size"],
            "afn": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
            "resid_pdrop": settings["dropout"],
            "embd_pdrop": settings["dropout"],
            "attn_pdrop": at(settings, "attention.dropout"),
            "layer_norm_epsilon": at(settings, "norm.eps"),
            "initializer_range": at(settings, "initialization.std", 0.02),
            "tie_word_embeddings": at(settings, "vocabulary_head.tied", True),
        }

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule("stack.positions.table.weight", "transformer.positions_embed.weight"),
            Rule(f"{BLOCK}.attention.qkv.*", f"{THEIR_BLOCK}.attn.c_attn.*", TRANSPOSED),
            Rule(f"{BLOCK}.attention.out.*", f"{THEIR_BLOCK}.attn.c_proj.*", TRANSPOSED),
            Rule(f"{BLOCK}.around_attention.outer.*", f"{THEIR_BLOCK}.ln_1.*"),
            Rule(f"{BLOCK}.feedforward.inner.*", f"{THEIR_BLOCK}.mlp.c_fc.*", TRANSPOSED),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{THEIR_BLOCK}.mlp.c_proj.*", TRANSPOSED),
            Rule(f"{BLOCK}.around_feedforward.outer.*", f"{THEIR_BLOCK}.ln_2.*"),
            Rule("heads.vocabulary.weight", "lm_head.weight"),
            Rule("heads.classification.classifier.*", "score.*"),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return [Copy("lm_head.weight", WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else []
