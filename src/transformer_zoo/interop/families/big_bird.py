"""BigBird (Zaheer et al. 2020, https://arxiv.org/abs/2007.14062): `model_type` big_bird."""

from typing import ClassVar

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.post_norm import block_rules, embedding_rules, read_encoder, vocabulary_copies, vocabulary_rules, write_encoder
from transformer_zoo.interop.tensors import REVERSED, Copy, Rule

VOCABULARY = "cls.predictions"
DEFAULTS = {"vocab_size": 50358, "max_position_embeddings": 4096, "hidden_act": "gelu_new"}
DRAWN_FOR = 4096
"""For which length patterns are drawn where it makes no difference, because no sequence is as long as the shortest special length."""
SHORTEST_SPECIAL = 1024


class BigBird(Family):
    """BERT whose tokens see a window, a few global blocks and random ones."""

    model_type = "big_bird"
    recipes = ("bigbird",)
    prefix = "bert."
    architectures: ClassVar[Classes] = {
        "BigBirdForPreTraining": ("vocabulary", "nsp"),
        "BigBirdForMaskedLM": ("vocabulary",),
        "BigBirdForSequenceClassification": ("classification",),
        "BigBirdForTokenClassification": ("tagging",),
        "BigBirdModel": (),
    }
    heads = ("vocabulary", "nsp", "classification", "tagging", "pooler")
    buffers = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")
    reversed_classes = frozenset({"nsp"})

    def read(self, config: ConfigFile) -> Plain:
        settings = read_encoder(config, own=DEFAULTS)
        config.passive("sep_token_id")
        max_length, dropout = settings["max_length"], settings["classifier"]["dropout"]
        return settings | {
            "embeddings": settings["embeddings"] | {"scale": config.flag("rescale_embeddings", False)},
            "attention": settings["attention"]
            | {
                "kind": "bigbird",
                "bias": config.flag("use_bias", True),
                "out_bias": None if config.flag("use_bias", True) else True,
                "attention_type": config.word("attention_type", "block_sparse", ("block_sparse", "original_full")),
                "block_size": config.count("block_size", 64),
                "n_random": config.natural("num_random_blocks", 3),
                "drawn_for": max_length if max_length >= SHORTEST_SPECIAL else DRAWN_FOR,
            },
            "classifier": {
                "activation": settings["feedforward"]["activation"],
                "pair_activation": "tanh",
                "dropout": dropout,
                "input_dropout": dropout,
            },
        }

    def write(self, settings: Plain) -> Plain:
        return write_encoder(settings) | {
            "rescale_embeddings": at(settings, "embeddings.scale", False),
            "use_bias": at(settings, "attention.bias", True),
            "attention_type": at(settings, "attention.attention_type", "original_full"),
            "block_size": at(settings, "attention.block_size", 64),
            "num_random_blocks": at(settings, "attention.n_random", 3),
        }

    def remarks(self, settings: Plain) -> list[str]:
        if settings["attention"]["attention_type"] != "block_sparse" or not settings["attention"]["n_random"]:
            return []
        return [
            "in evaluation, too, tokens of long rows see the random blocks of training, where transformers sees the first block in their stead "
            "(docs/long_attention.md)"
        ]

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            *embedding_rules(self.prefix),
            *block_rules(self.prefix),
            *vocabulary_rules(settings, VOCABULARY, "transform.dense", "transform.LayerNorm"),
            *(Rule(f"heads.{head}.pooler.0.*", "bert.pooler.*") for head in ("nsp", "pooler")),
            Rule("heads.nsp.classifier.*", "cls.seq_relationship.*", REVERSED),
            Rule("heads.classification.pooler.0.*", "classifier.dense.*"),
            Rule("heads.classification.classifier.*", "classifier.out_proj.*"),
            Rule("heads.tagging.classifier.*", "classifier.*"),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return vocabulary_copies(settings, VOCABULARY, "bert.embeddings.word_embeddings.weight")
