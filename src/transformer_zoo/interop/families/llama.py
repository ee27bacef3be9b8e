"""LLaMA (Touvron et al. 2023, https://arxiv.org/abs/2302.13971): `model_type` llama."""

from typing import ClassVar

from transformer_zoo.interop.base import Classes
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.families.last_token import LastTokenFamily
from transformer_zoo.interop.tensors import Copy, Joined, Rule

WORDS = "model.embed_tokens.weight"
BLOCK, THEIR_BLOCK = "stack.blocks.{layer}", "model.layers.{layer}"
SCALINGS = {"default": "none", "linear": "linear", "llama3": "llama3"}
"""Their types of rotary positions that can be done → ours."""


class Llama(LastTokenFamily):
    """A pre-norm decoder with rotary positions, grouped queries and a gated feed-forward network."""

    model_type = "llama"
    recipes = ("llama",)
    prefix = "model."
    architectures: ClassVar[Classes] = {
        "LlamaForCausalLM": ("vocabulary",),
        "LlamaForSequenceClassification": ("classification",),
        "LlamaModel": (),
    }
    heads = ("vocabulary", "classification")
    buffers = (f"{THEIR_BLOCK}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq")

    def read(self, config: ConfigFile) -> Plain:
        config.passive("pretraining_tp")  # cuts the same products into pieces
        max_length = config.count("max_position_embeddings", 2048)
        return {
            "kind": "decoder",
            "d_model": config.count("hidden_size", 4096),
            "n_layers": config.count("num_hidden_layers", 32),
            "n_heads": config.count("num_attention_heads", 32),
            "d_ff": config.count("intermediate_size", 11008),
            "max_length": max_length,
            "vocab_size": config.count("vocab_size", 32000),
            "dropout": 0.0,
            "embeddings": {"kind": "token"},
            "positions": read_rotary(config, max_length),
            "attention": {
                "kind": "multihead",
                "kernel": {"kind": "sdpa"},
                "qk_norm": {"kind": "none"},
                "n_kv_heads": config.count("num_key_value_heads", None),
                "head_width": config.count("head_dim", None),
                "bias": config.flag("attention_bias", False),
                "dropout": config.rate("attention_dropout", 0.0),
            },
            "norm": {"kind": "rmsnorm", "eps": config.positive("rms_norm_eps", 1e-6)},
            "norm_placement": {"kind": "pre"},
            "feedforward": {"kind": "gated", "activation": config.activation("hidden_act", "silu"), "bias": config.flag("mlp_bias", False)},
            "stack": {"kind": "plain"},
            "initialization": {"kind": "normal", "std": config.positive("initializer_range", 0.02)},
            "vocabulary_head": {"kind": "lm", "tied": config.flag("tie_word_embeddings", False)},
            "classifier": {"pooling": "last", "transform": False, "bias": False, "dropout": 0.0},
        }

    def write(self, settings: Plain) -> Plain:
        return {
            "hidden_size": settings["d_model"],
            "num_hidden_layers": settings["n_layers"],
            "num_attention_heads": settings["n_heads"],
            "num_key_value_heads": at(settings, "attention.n_kv_heads"),
            "head_dim": at(settings, "attention.head_width"),
            "intermediate_size": settings["d_ff"],
            "max_position_embeddings": settings["max_length"],
            "vocab_size": settings["vocab_size"],
            "hidden_act": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
            "attention_bias": at(settings, "attention.bias"),
            "attention_dropout": at(settings, "attention.dropout"),
            "mlp_bias": at(settings, "feedforward.bias"),
            "rms_norm_eps": at(settings, "norm.eps"),
            "rope_parameters": written_rotary(settings),
            "initializer_range": at(settings, "initialization.std", 0.02),
            "tie_word_embeddings": at(settings, "vocabulary_head.tied", False),
        }

    def rules(self, settings: Plain) -> list[Rule]:
        attention = f"{THEIR_BLOCK}.self_attn"
        n_heads = settings["n_heads"]
        n_kv_heads = at(settings, "attention.n_kv_heads") or n_heads
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule(f"{BLOCK}.around_attention.before.*", f"{THEIR_BLOCK}.input_layernorm.*"),
            Rule(f"{BLOCK}.attention.qkv.*", tuple(f"{attention}.{part}_proj.*" for part in "qkv"), Joined((n_heads, n_kv_heads, n_kv_heads))),
            Rule(f"{BLOCK}.attention.out.*", f"{attention}.o_proj.*"),
            Rule(f"{BLOCK}.around_feedforward.before.*", f"{THEIR_BLOCK}.post_attention_layernorm.*"),
            Rule(
                f"{BLOCK}.feedforward.gate_and_inner.*",
                (f"{THEIR_BLOCK}.mlp.gate_proj.*", f"{THEIR_BLOCK}.mlp.up_proj.*"),
                Joined((1, 1)),
            ),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{THEIR_BLOCK}.mlp.down_proj.*"),
            Rule("stack.final_norm.*", "model.norm.*"),
            Rule("heads.vocabulary.weight", "lm_head.weight"),
            Rule("heads.classification.classifier.*", "score.*"),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return [Copy("lm_head.weight", WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", False) else []


def read_rotary(config: ConfigFile, max_length: int) -> Plain:
    """Rotary positions as `rope_parameters` says them today, or `rope_theta` and `rope_scaling` in older files."""
    older, newer = config.get("rope_scaling"), config.get("rope_parameters")
    key, values = ("rope_scaling", older) if older else ("rope_parameters", newer or {})
    if not isinstance(values, dict):
        config.wrong(key, values, "expected a mapping")
        values = {}
    rope = ConfigFile(values, f"{config.where}: {key}")
    theta = rope.positive("rope_theta", config.positive("rope_theta", 10000.0))
    kind = rope.word("rope_type", rope.word("type", "default", SCALINGS), SCALINGS)
    found: Plain = {"kind": "rotary", "theta": theta, "scaling": SCALINGS[kind]}
    if kind != "default":
        found["factor"] = rope.positive("factor", 1.0)
    if kind == "llama3":
        found["original_length"] = rope.count("original_max_position_embeddings", config.count("original_max_position_embeddings", max_length))
        found["low_frequency"] = rope.positive("low_freq_factor", 1.0)
        found["high_frequency"] = rope.positive("high_freq_factor", 4.0)
    rope.only("partial_rotary_factor", 1.0)
    for name in [] if rope.problems else rope.unread():
        rope.wrong(name, values[name], f"a setting that is not known of rope_type {kind}")
    config.problems += rope.problems
    return found


def written_rotary(settings: Plain) -> Plain:
    """`rope_parameters` of our rotary positions."""
    scaling = at(settings, "positions.scaling", "none")
    kind = next(theirs for theirs, ours in SCALINGS.items() if ours == scaling)
    found: Plain = {"rope_type": kind, "rope_theta": at(settings, "positions.theta")}
    if kind != "default":
        found["factor"] = at(settings, "positions.factor")
    if kind == "llama3":
        found["original_max_position_embeddings"] = at(settings, "positions.original_length")
        found["low_freq_factor"] = at(settings, "positions.low_frequency")
        found["high_freq_factor"] = at(settings, "positions.high_frequency")
    return found
