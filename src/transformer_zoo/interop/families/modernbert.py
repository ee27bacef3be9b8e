"""ModernBERT (Warner et al. 2024, https://arxiv.org/abs/2412.13663): `model_type` modernbert."""

import logging
from typing import ClassVar

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.tensors import Copy, Rule

logger = logging.getLogger(__name__)

WORDS = "model.embeddings.tok_embeddings.weight"
BLOCK, THEIR_BLOCK = "stack.blocks.{layer}", "model.layers.{layer}"
KINDS = {"full_attention": "global", "sliding_attention": "local"}
"""Their kinds of layer → ours."""
THETAS = {"full_attention": ("global_rope_theta", 160000.0), "sliding_attention": ("local_rope_theta", 10000.0)}
"""The older key of a kind's base of angles, and its default."""
IDLE = (
    "cls_token_id", "deterministic_flash_attn", "initializer_cutoff_factor", "layer_norm_eps", "position_embedding_type", "reference_compile",
    "repad_logits_with_grad", "sparse_pred_ignore_index", "sparse_prediction",
)  # fmt: skip
"""Keys that change no score."""


class ModernBert(Family):
    """A pre-norm encoder with rotary positions and gated layers, of which some see a window only."""

    model_type = "modernbert"
    recipes = ("modernbert",)
    prefix = "model."
    architectures: ClassVar[Classes] = {
        "ModernBertForMaskedLM": ("vocabulary",),
        "ModernBertForSequenceClassification": ("classification",),
        "ModernBertForTokenClassification": ("tagging",),
        "ModernBertModel": (),
    }
    heads = ("vocabulary", "classification", "tagging")

    def read(self, config: ConfigFile) -> Plain:
        config.passive(*IDLE)
        n_layers = config.count("num_hidden_layers", 22)
        pattern = _pattern(config, n_layers)
        attention = {
            "kind": "multihead",
            "kernel": {"kind": "sdpa"},
            "qk_norm": {"kind": "none"},
            "bias": config.flag("attention_bias", False),
            "dropout": config.rate("attention_dropout", 0.0),
        }
        window = config.count("local_attention", 128) // 2
        if window < 1:
            config.wrong("local_attention", config.get("local_attention"), "expected at least 2 tokens, half of them on each side")
        rotary = {kind: {"kind": "rotary", "theta": theta} for kind, theta in _thetas(config).items()}
        kinds: Plain = {"global": {}, "local": {"positions": rotary["local"], "attention": attention | {"window": max(window, 1)}}}
        activation, head_bias = config.activation("classifier_activation", "gelu"), config.flag("classifier_bias", False)
        dropouts = {key: config.rate(key, 0.0) for key in ("embedding_dropout", "attention_dropout")}
        if any(dropouts.values()):
            told = ", ".join(f"{key}={value:g}" for key, value in dropouts.items())
            logger.warning("%s: %s; training drops embeddings and all residual branches alike, by embedding_dropout", config.where, told)
        return {
            "kind": "encoder",
            "d_model": config.count("hidden_size", 768),
            "n_layers": n_layers,
            "n_heads": config.count("num_attention_heads", 12),
            "d_ff": config.count("intermediate_size", 1152),
            "max_length": config.count("max_position_embeddings", 8192),
            "vocab_size": config.count("vocab_size", 50368),
            "dropout": dropouts["embedding_dropout"],
            "embeddings": {"kind": "token", "normalize": True},
            "positions": rotary["global"],
            "attention": attention,
            "norm": {"kind": "layernorm", "eps": config.positive("norm_eps", 1e-5), "bias": config.flag("norm_bias", False)},
            "norm_placement": {"kind": "pre", "skip_first": True},
            "feedforward": {
                "kind": "gated",
                "activation": config.activation("hidden_activation", "gelu"),
                "bias": config.flag("mlp_bias", False),
                "dropout": config.rate("mlp_dropout", 0.0),
            },
            "stack": {"kind": "plain"},
            "layers": {kind: kinds[kind] for kind in kinds if kind in pattern},
            "pattern": pattern,
            "initialization": {"kind": "truncated_normal", "std": config.positive("initializer_range", 0.02), "scale_residual": True},
            "vocabulary_head": {
                "kind": "mlm",
                "activation": activation,
                "transform_bias": head_bias,
                "tied": config.flag("tie_word_embeddings", True),
                "bias": config.flag("decoder_bias", True),
            },
            "classifier": {
                "pooling": {"cls": "first", "mean": "mean"}[config.word("classifier_pooling", "cls", ("cls", "mean"))],
                "activation": activation,
                "transform_bias": head_bias,
                "normalize": True,
                "transform_tokens": True,
                "dropout": config.rate("classifier_dropout", 0.0),
            },
        }

    def write(self, settings: Plain) -> Plain:
        pattern, n_layers = settings["pattern"], settings["n_layers"]
        theirs = {kind: name for name, kind in KINDS.items()}
        kinds = [theirs.get(pattern[layer % len(pattern)], "") for layer in range(n_layers)] if pattern else []
        local, thetas = at(settings, "layers.local", {}), {"full_attention": at(settings, "positions.theta")}
        thetas["sliding_attention"] = at(local, "positions.theta") or THETAS["sliding_attention"][1]
        counted = {"global_attn_every_n_layers": len(pattern)} if pattern and pattern == _every(len(pattern)) else {}
        return counted | {
            "hidden_size": settings["d_model"],
            "num_hidden_layers": n_layers,
            "num_attention_heads": settings["n_heads"],
            "intermediate_size": settings["d_ff"],
            "max_position_embeddings": settings["max_length"],
            "vocab_size": settings["vocab_size"],
            "layer_types": kinds,
            "local_attention": 2 * (at(local, "attention.window") or 64),
            "rope_parameters": {name: {"rope_type": "default", "rope_theta": theta} for name, theta in thetas.items()},
            "hidden_activation": ACTIVATION_NAMES.get(at(settings, "feedforward.activation")),
            "mlp_bias": at(settings, "feedforward.bias"),
            "mlp_dropout": at(settings, "feedforward.dropout"),
            "embedding_dropout": settings["dropout"],
            "attention_dropout": at(settings, "attention.dropout"),
            "attention_bias": at(settings, "attention.bias"),
            "norm_eps": at(settings, "norm.eps"),
            "norm_bias": at(settings, "norm.bias"),
            "classifier_activation": ACTIVATION_NAMES.get(at(settings, "vocabulary_head.activation")),
            "classifier_bias": at(settings, "vocabulary_head.transform_bias"),
            "classifier_pooling": {"first": "cls", "mean": "mean"}.get(at(settings, "classifier.pooling")),
            "classifier_dropout": at(settings, "classifier.dropout"),
            "decoder_bias": at(settings, "vocabulary_head.bias"),
            "initializer_range": at(settings, "initialization.std", 0.02),
            "tie_word_embeddings": at(settings, "vocabulary_head.tied", True),
        }

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule("embeddings.norm.*", "model.embeddings.norm.*"),
            Rule(f"{BLOCK}.around_attention.before.*", f"{THEIR_BLOCK}.attn_norm.*"),
            Rule(f"{BLOCK}.attention.qkv.*", f"{THEIR_BLOCK}.attn.Wqkv.*"),
            Rule(f"{BLOCK}.attention.out.*", f"{THEIR_BLOCK}.attn.Wo.*"),
            Rule(f"{BLOCK}.around_feedforward.before.*", f"{THEIR_BLOCK}.mlp_norm.*"),
            Rule(f"{BLOCK}.feedforward.gate_and_inner.*", f"{THEIR_BLOCK}.mlp.Wi.*"),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{THEIR_BLOCK}.mlp.Wo.*"),
            Rule("stack.final_norm.*", "model.final_norm.*"),
            Rule("heads.vocabulary.transform.dense.*", "head.dense.*"),
            Rule("heads.vocabulary.transform.norm.*", "head.norm.*"),
            Rule("heads.vocabulary.weight", "decoder.weight"),
            Rule("heads.vocabulary.bias", "decoder.bias"),
            Rule("heads.classification.pooler.0.*", "head.dense.*"),
            Rule("heads.classification.pooler.2.*", "head.norm.*"),
            Rule("heads.tagging.transform.0.*", "head.dense.*"),
            Rule("heads.tagging.transform.2.*", "head.norm.*"),
            *(Rule(f"heads.{head}.classifier.*", "classifier.*") for head in ("classification", "tagging")),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return [Copy("decoder.weight", WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else []


def _every(n: int) -> list[str]:
    """One layer that sees all, then n - 1 that see a window."""
    return ["global", *["local"] * (n - 1)]


def _pattern(config: ConfigFile, n_layers: int) -> list[str]:
    """The kinds of the first layers, which all others repeat: as the file counts them, or the shortest that gives its list."""
    every, types = _every(config.count("global_attn_every_n_layers", 3)), config.get("layer_types")
    if types is None:
        return every
    if not isinstance(types, list) or len(types) != n_layers or not {*map(str, types)} <= KINDS.keys():
        config.wrong("layer_types", types, f"expected a list of {n_layers} names, each {' or '.join(KINDS)}")
        return every
    kinds = [KINDS[name] for name in types]
    candidates = [every, *(kinds[:length] for length in range(1, n_layers + 1))]
    return next(one for one in candidates if [one[layer % len(one)] for layer in range(n_layers)] == kinds)


def _thetas(config: ConfigFile) -> dict[str, float]:
    """Our kind of layer → the base of its angles."""
    config.only("rope_scaling", None)
    thetas = {name: config.positive(*THETAS[name]) for name in KINDS}
    parameters = config.get("rope_parameters", {})
    if not isinstance(parameters, dict) or not all(name in KINDS and isinstance(own, dict | None) for name, own in parameters.items()):
        config.wrong("rope_parameters", parameters, f"expected settings for {' and '.join(KINDS)}")
        parameters = {}
    for name, own in parameters.items():
        inner = ConfigFile({f"rope_parameters.{name}.{key}": value for key, value in (own or {}).items()}, config.where)
        inner.only(f"rope_parameters.{name}.rope_type", "default")
        thetas[name] = inner.positive(f"rope_parameters.{name}.rope_theta", thetas[name])
        for key in inner.unread():
            inner.wrong(key, inner.get(key), "supported are rope_type and rope_theta")
        config.problems += inner.problems
    return {KINDS[name]: theta for name, theta in thetas.items()}
