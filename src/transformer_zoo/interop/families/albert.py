"""ALBERT (Lan et al. 2020, https://arxiv.org/abs/1909.11942): `model_type` albert."""

from typing import ClassVar

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.post_norm import BLOCK, embedding_rules, read_encoder, vocabulary_copies, vocabulary_rules, write_encoder
from transformer_zoo.interop.tensors import REVERSED, Copy, Joined, Rule

VOCABULARY = "predictions"
DEFAULTS = {
    "vocab_size": 30000,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class Albert(Family):
    """BERT whose layers share parameters in groups, and whose tables are narrow."""

    model_type = "albert"
    recipes = ("albert",)
    prefix = "albert."
    architectures: ClassVar[Classes] = {
        "AlbertForPreTraining": ("vocabulary", "sop"),
        "AlbertForMaskedLM": ("vocabulary",),
        "AlbertForSequenceClassification": ("classification",),
        "AlbertForTokenClassification": ("tagging",),
        "AlbertModel": (),
    }
    heads = ("vocabulary", "sop", "classification", "tagging", "pooler")
    buffers = ("albert.embeddings.position_ids", "albert.embeddings.token_type_ids")
    reversed_classes = frozenset({"sop"})

    def read(self, config: ConfigFile) -> Plain:
        settings = read_encoder(config, own=DEFAULTS)
        config.only("inner_group_num", 1)
        n_layers, n_groups = settings["n_layers"], config.count("num_hidden_groups", 1)
        if [int(layer / (n_layers / n_groups)) for layer in range(n_layers)] != [layer * n_groups // n_layers for layer in range(n_layers)]:
            config.wrong("num_hidden_groups", n_groups, f"expected a number that divides num_hidden_layers={n_layers}")
        return settings | {
            "embeddings": settings["embeddings"] | {"width": config.count("embedding_size", 128), "always_project": True},
            "vocabulary_head": narrow(settings["vocabulary_head"]),
            "stack": {"kind": "shared", "n_groups": n_groups},
            "classifier": {"dropout": config.rate("classifier_dropout_prob", 0.1)},
        }

    def write(self, settings: Plain) -> Plain:
        written = write_encoder(settings)
        return written | {
            "classifier_dropout_prob": written.pop("classifier_dropout"),
            "embedding_size": at(settings, "embeddings.width"),
            "num_hidden_groups": at(settings, "stack.n_groups"),
            "inner_group_num": 1,
        }

    def rules(self, settings: Plain) -> list[Rule]:
        group = "albert.encoder.albert_layer_groups.{layer}.albert_layers.0"
        return [
            *embedding_rules(self.prefix),
            Rule("embeddings.projection.*", "albert.encoder.embedding_hidden_mapping_in.*"),
            Rule(f"{BLOCK}.attention.qkv.*", tuple(f"{group}.attention.{part}.*" for part in ("query", "key", "value")), Joined()),
            Rule(f"{BLOCK}.attention.out.*", f"{group}.attention.dense.*"),
            Rule(f"{BLOCK}.around_attention.outer.*", f"{group}.attention.LayerNorm.*"),
            Rule(f"{BLOCK}.feedforward.inner.*", f"{group}.ffn.*"),
            Rule(f"{BLOCK}.feedforward.outer.*", f"{group}.ffn_output.*"),
            Rule(f"{BLOCK}.around_feedforward.outer.*", f"{group}.full_layer_layer_norm.*"),
            *vocabulary_rules(settings, VOCABULARY, "dense", "LayerNorm"),
            *(Rule(f"heads.{head}.pooler.0.*", "albert.pooler.*") for head in ("sop", "classification", "pooler")),
            Rule("heads.sop.classifier.*", "sop_classifier.classifier.*", REVERSED),
            *(Rule(f"heads.{head}.classifier.*", "classifier.*") for head in ("classification", "tagging")),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return vocabulary_copies(settings, VOCABULARY, "albert.embeddings.word_embeddings.weight")


def narrow(head: Plain) -> Plain:
    """A head of the vocabulary that is as wide as the table, tied or not."""
    return head | {"narrow": not head["tied"]}
