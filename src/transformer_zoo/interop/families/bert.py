"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): `model_type` bert."""

from typing import ClassVar

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ACTIVATION_NAMES, ConfigFile, Plain, at
from transformer_zoo.interop.tensors import REVERSED, Copy, Joined, Rule

WORDS = "bert.embeddings.word_embeddings.weight"
BLOCK, THEIR_BLOCK = "stack.blocks.{layer}", "bert.encoder.layer.{layer}"


class Bert(Family):
    """A post-norm encoder with learned positions and segments."""

    model_type = "bert"
    recipes = ("bert",)
    prefix = "bert."
    architectures: ClassVar[Classes] = {
        "BertForPreTraining": ("vocabulary", "nsp"),
        "BertForMaskedLM": ("vocabulary",),
        "BertForNextSentencePrediction": ("nsp",),
        "BertForSequenceClassification": ("classification",),
        "BertForTokenClassification": ("tagging",),
        "BertModel": (),
    }
    heads = ("vocabulary", "nsp", "classification", "tagging", "pooler")
    buffers = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")
    reversed_classes = frozenset({"nsp"})

    def read(self, config: ConfigFile) -> Plain:
        config.only("is_decoder", False)
        config.only("add_cross_attention", False)
        config.only("position_embedding_type", "absolute")
        activation = config.activation("hidden_act", "gelu")
        dropout = config.rate("hidden_dropout_prob", 0.1)
        return {
            "kind": "encoder",
            "d_model": config.count("hidden_size", 768),
            "n_layers": config.count("num_hidden_layers", 12),
            "n_heads": config.count("num_attention_heads", 12),
            "d_ff": config.count("intermediate_size", 3072),
            "max_length": config.count("max_position_embeddings", 512),
            "vocab_size": config.count("vocab_size", 30522),
            "dropout": dropout,
            "embeddings": {"kind": "token", "n_segments": config.natural("type_vocab_size", 2), "normalize": True},
            "positions": {"kind": "learned"},
            "attention": {
                "kind": "multihead",
                "kernel": {"kind": "sdpa"},
                "qk_norm": {"kind": "none"},
                "dropout": config.rate("attention_probs_dropout_prob", 0.1),
            },
            "norm": {"kind": "layernorm", "eps": config.positive("layer_norm_eps", 1e-12)},
            "norm_placement": {"kind": "post"},
            "feedforward": {"kind": "dense", "activation": activation},
            "stack": {"kind": "plain"},
            "initialization": {"kind": "truncated_normal", "std": config.positive("initializer_range", 0.02)},
            "vocabulary_head": {"kind": "mlm", "activation": activation, "tied": config.flag("tie_word_embeddings", True)},
            "classifier": {"dropout": config.rate("classifier_dropout", dropout)},
        }

    def write(self, settings: Plain) -> Plain:
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

    def rules(self, settings: Plain) -> list[Rule]:
        attention = f"{THEIR_BLOCK}.attention"
        return [
            Rule("embeddings.token.weight", WORDS),
            Rule("embeddings.segment.weight", "bert.embeddings.token_type_embeddings.weight"),
            Rule("embeddings.norm.*", "bert.embeddings.LayerNorm.*"),
            Rule("stack.positions.table.weight", "bert.embeddings.position_embeddings.weight"),
            Rule(f"{BLOCK}.attention.qkv.*", tuple(f"{attention}.self.{part}.*" for part in ("query", "key", "value")), Joined()),
            Rule(f"{BLOCK}.attention.out.*", f"{attention}.output.dense.*"),
            Rule(f"{BLOCK}.around_attention.outer.*", f"{attention}.output.LayerNorm.*"),
            Rule(f"{BLOCK}.feedforward.inner.*", f"{THEIR_BLOCK}.intermediate.dense.*"),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{THEIR_BLOCK}.output.dense.*"),
            Rule(f"{BLOCK}.around_feedforward.outer.*", f"{THEIR_BLOCK}.output.LayerNorm.*"),
            Rule("heads.vocabulary.transform.dense.*", "cls.predictions.transform.dense.*"),
            Rule("heads.vocabulary.transform.norm.*", "cls.predictions.transform.LayerNorm.*"),
            Rule("heads.vocabulary.weight", "cls.predictions.decoder.weight"),
            Rule("heads.vocabulary.bias", "cls.predictions.bias" if at(settings, "vocabulary_head.tied", True) else "cls.predictions.decoder.bias"),
            *(Rule(f"heads.{head}.pooler.0.*", "bert.pooler.dense.*") for head in ("nsp", "classification", "pooler")),
            Rule("heads.nsp.classifier.*", "cls.seq_relationship.*", REVERSED),
            *(Rule(f"heads.{head}.classifier.*", "classifier.*") for head in ("classification", "tagging")),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        if at(settings, "vocabulary_head.tied", True):
            return [
                Copy("cls.predictions.decoder.weight", WORDS, head="vocabulary"),
                Copy("cls.predictions.decoder.bias", "cls.predictions.bias", head="vocabulary"),
            ]
        return [Copy("cls.predictions.bias", "cls.predictions.decoder.bias", head="vocabulary", written=True)]
