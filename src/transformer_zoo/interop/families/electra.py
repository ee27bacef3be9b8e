"""ELECTRA (Clark et al. 2020, https://arxiv.org/abs/2003.10555): `model_type` electra. One file holds one half of the pair; a pair of ours is written
as its discriminator."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.albert import narrow
from transformer_zoo.interop.families.post_norm import block_rules, embedding_rules, read_encoder, write_encoder
from transformer_zoo.interop.tensors import Copy, Rule

WORDS = "electra.embeddings.word_embeddings.weight"
DEFAULTS = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
IDLE = ("summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj")
"""Keys of a class that is not read."""


class Electra(Family):
    """BERT with narrower tables and without a pooler; the discriminator tells replaced tokens, the generator fills in masks."""

    model_type = "electra"
    recipes = ("electra",)
    prefix = "electra."
    architectures: ClassVar[Classes] = {
        "ElectraForPreTraining": ("detector",),
        "ElectraForMaskedLM": ("vocabulary",),
        "ElectraForSequenceClassification": ("classification",),
        "ElectraForTokenClassification": ("tagging",),
        "ElectraModel": (),
    }
    heads = ("detector", "vocabulary", "classification", "tagging")
    buffers = ("electra.embeddings.position_ids", "electra.embeddings.token_type_ids")

    def read(self, config: ConfigFile) -> Plain:
        config.passive(*IDLE)
        settings = read_encoder(config, own=DEFAULTS)
        width, dropout = config.count("embedding_size", 128), settings["classifier"]["dropout"]
        # The head for classes of texts has the exact GELU whatever the layers have; the detector has the layers'.
        classifies = "ElectraForSequenceClassification" in config.get("architectures", [])
        return settings | {
            "embeddings": settings["embeddings"] | {"width": None if width == settings["d_model"] else width},
            "vocabulary_head": narrow(settings["vocabulary_head"] | {"activation": "gelu"}),
            "classifier": {
                "activation": "gelu" if classifies else settings["feedforward"]["activation"],
                "dropout": dropout,
                "input_dropout": dropout,
            },
        }

    def write(self, settings: Plain) -> Plain:
        return write_encoder(settings) | {"embedding_size": at(settings, "embeddings.width") or settings["d_model"]}

    def fitted(self, settings: Plain, weights: Mapping[str, Tensor], pad: int) -> tuple[Plain, Mapping[str, Tensor]]:
        as_wide = at(settings, "embeddings.width") == settings["d_model"]
        return settings | ({"embeddings": settings["embeddings"] | {"width": None}} if as_wide else {}), weights

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            *embedding_rules(self.prefix),
            Rule("embeddings.projection.*", "electra.embeddings_project.*"),
            *block_rules(self.prefix),
            Rule("heads.detector.transform.0.*", "discriminator_predictions.dense.*"),
            Rule("heads.detector.detector.*", "discriminator_predictions.dense_prediction.*"),
            Rule("heads.vocabulary.transform.dense.*", "generator_predictions.dense.*"),
            Rule("heads.vocabulary.transform.norm.*", "generator_predictions.LayerNorm.*"),
            Rule("heads.vocabulary.weight", "generator_lm_head.weight"),
            Rule("heads.vocabulary.bias", "generator_lm_head.bias"),
            Rule("heads.classification.pooler.0.*", "classifier.dense.*"),
            Rule("heads.classification.classifier.*", "classifier.out_proj.*"),
            Rule("heads.tagging.classifier.*", "classifier.*"),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return [Copy("generator_lm_head.weight", WORDS, head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else []
