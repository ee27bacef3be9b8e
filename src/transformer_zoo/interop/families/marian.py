"""Marian (Junczys-Dowmunt et al. 2018, https://aclanthology.org/P18-4020): `model_type` marian."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.bart import BIAS, HEAD, SIDES, both_stacks, read_both_sides, written_both_sides
from transformer_zoo.interop.tensors import Copy, Rule

SHARED, SOURCE, TARGET = "model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"


class Marian(Family):
    """A post-norm encoder-decoder with sinusoidal positions, sines before cosines, and a trained bias of the scores."""

    model_type = "marian"
    recipes = ("marian",)
    prefix = "model."
    architectures: ClassVar[Classes] = {"MarianMTModel": ("vocabulary",), "MarianModel": ()}
    heads = ("vocabulary",)
    special_ids: ClassVar[Mapping[str, int]] = {"eos_token_id": 0, "pad_token_id": 58100, "decoder_start_token_id": 58100}

    def read(self, config: ConfigFile) -> Plain:
        shared = config.flag("share_encoder_decoder_embeddings", True)
        if shared:
            config.only("tie_word_embeddings", True)
        config.only("normalize_embedding", False)
        config.only("static_position_embeddings", True)
        config.passive("classifier_dropout", "classif_dropout", "extra_pos_embeddings", "add_bias_logits", "init_std")
        found = read_both_sides(config, vocab_size=58101)
        config.only("decoder_vocab_size", found["vocab_size"])
        return found | {
            "max_length": config.count("max_position_embeddings", 1024),
            "share_embeddings": shared,
            "embeddings": {"kind": "token", "scale": config.flag("scale_embedding", False)},
            "positions": {"kind": "sinusoidal", "layout": "halves"},
            "initialization": {"kind": "xavier"},
            "vocabulary_head": {"kind": "lm", "tied": config.flag("tie_word_embeddings", True), "bias": True},
        }

    def settle(self, settings: Plain, tensors: Mapping[str, Tensor]) -> Plain:
        """As the reference does: tied as told, unless there are two matrices that differ; without a bias where a file has none."""
        words = _target_words(settings)
        tied = at(settings, "vocabulary_head.tied") and (HEAD not in tensors or words not in tensors or torch.equal(tensors[HEAD], tensors[words]))
        return settings | {"vocabulary_head": settings["vocabulary_head"] | {"tied": tied, "bias": BIAS in tensors}}

    def write(self, settings: Plain) -> Plain:
        shared = settings["share_embeddings"]
        return written_both_sides(settings) | {
            "decoder_vocab_size": settings["vocab_size"],
            "share_encoder_decoder_embeddings": shared,
            "tie_word_embeddings": shared or at(settings, "vocabulary_head.tied", True),  # with a shared table, false would part that too
        }

    def rules(self, settings: Plain) -> list[Rule]:
        shared = settings["share_embeddings"]
        tables = [Rule("embeddings.token.weight", SHARED if shared else SOURCE), Rule("target_embeddings.token.weight", TARGET)]
        return tables + both_stacks()

    def copies(self, settings: Plain) -> list[Copy]:
        found = [Copy(SOURCE, SHARED), Copy(TARGET, SHARED)] if settings["share_embeddings"] else []
        return [*found, Copy(HEAD, _target_words(settings), head="vocabulary")] if at(settings, "vocabulary_head.tied", True) else found

    def constants(self, settings: Plain) -> dict[str, Tensor]:
        """The sinusoids, which some files hold."""
        return {f"model.{side}.embed_positions.weight": sinusoids(settings["max_length"], settings["d_model"]) for side in SIDES}


def _target_words(settings: Plain) -> str:
    return SHARED if settings["share_embeddings"] else TARGET


def sinusoids(length: int, width: int) -> Tensor:
    """[length, width]: all sines, then all cosines."""
    exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
    angles = rearrange(torch.arange(length, dtype=torch.float64), "t -> t 1") / 10000.0**exponents  # [T, ceil(W/2)]
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :width].float()
