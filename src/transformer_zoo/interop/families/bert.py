"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): `model_type` bert."""

from typing import ClassVar

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain
from transformer_zoo.interop.families.post_norm import block_rules, embedding_rules, read_encoder, vocabulary_copies, vocabulary_rules, write_encoder
from transformer_zoo.interop.tensors import REVERSED, Copy, Rule

VOCABULARY = "cls.predictions"


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
        return read_encoder(config)

    def write(self, settings: Plain) -> Plain:
        return write_encoder(settings)

    def rules(self, settings: Plain) -> list[Rule]:
        return [
            *embedding_rules(self.prefix),
            *block_rules(self.prefix),
            *vocabulary_rules(settings, VOCABULARY, "transform.dense", "transform.LayerNorm"),
            *(Rule(f"heads.{head}.pooler.0.*", "bert.pooler.dense.*") for head in ("nsp", "classification", "pooler")),
            Rule("heads.nsp.classifier.*", "cls.seq_relationship.*", REVERSED),
            *(Rule(f"heads.{head}.classifier.*", "classifier.*") for head in ("classification", "tagging")),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return vocabulary_copies(settings, VOCABULARY, "bert.embeddings.word_embeddings.weight")
