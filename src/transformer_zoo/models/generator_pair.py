"""Two encoders: a small generator fills hidden tokens in, a discriminator tells which tokens are not the text's own (ELECTRA)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

from torch import Tensor, nn

from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.base import Model, TransformerConfig
from transformer_zoo.models.encoder import Encoder, EncoderConfig
from transformer_zoo.models.parts import Parts
from transformer_zoo.records import HeadNeed, Inputs, ReplacedTokenInputs, ReplacedTokenOutput, SequenceInputs
from transformer_zoo.settings import Range


@dataclass(kw_only=True)
class GeneratorPairConfig(TransformerConfig):
    """A discriminator of this shape beside a narrower generator as deep as it, which share their embeddings of tokens, positions and segments
    (Clark et al. 2020, https://arxiv.org/abs/2003.10555)."""

    accepts: ClassVar[type[Inputs]] = ReplacedTokenInputs
    causal: ClassVar[bool] = False

    generator_fraction: Annotated[float, Range(0, 1, open_minimum=True)] = 0.25
    """Width, heads and d_ff of the generator as a share of the discriminator's, rounded; the width to a multiple of the heads."""

    def generator(self) -> "GeneratorPairConfig":
        """The settings of the generator."""
        n_heads = max(round(self.n_heads * self.generator_fraction), 1)
        return replace(
            self,
            n_heads=n_heads,
            d_model=max(round(self.d_model * self.generator_fraction / n_heads), 1) * n_heads,
            d_ff=max(round(self.d_ff * self.generator_fraction), 1),
            embeddings=self.embeddings.at_width(self.embeddings.resolved_width(self.d_model)),
        )

    def sides(self) -> dict[str, Parts]:
        return {"encoder": self.parts()}

    def beside(self) -> str | None:
        return f"generator of width {self.generator().d_model}"

    def kept(self) -> EncoderConfig:
        return EncoderConfig(**{f.name: getattr(self, f.name) for f in fields(EncoderConfig)})

    def problems(self) -> list[str]:
        """What does not fit, in the discriminator or in the generator."""
        found, generator = super().problems(), self.generator()
        name = f"generator (d_model={generator.d_model} by generator_fraction={self.generator_fraction:g})"
        return found or generator.part_problems(name, generator.parts())

    def build(self, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> "GeneratorPair":
        return GeneratorPair(self, vocab_size=vocab_size, heads=heads)


class GeneratorPair(Model):
    """A text [B,T] with hidden tokens -> the discriminator's hidden states [B,T,D]. Heads over the vocabulary stand on the generator, all others
    on the discriminator, which is an `Encoder` like any other: it is what one keeps."""

    def __init__(self, config: GeneratorPairConfig, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> None:
        super().__init__()
        scoring = {name: need for name, need in heads.items() if need.kind == "vocabulary"}
        judging = {name: need for name, need in heads.items() if need.kind != "vocabulary"}
        self.discriminator = Encoder(config, vocab_size=vocab_size, heads=judging)
        self.generator = Encoder(config.generator(), vocab_size=vocab_size, heads=scoring, shares_with=self.discriminator)

    def stacks(self) -> Iterator[Stack]:
        yield from self.discriminator.stacks()
        yield from self.generator.stacks()

    def all_heads(self) -> dict[str, nn.Module]:
        return self.generator.all_heads() | self.discriminator.all_heads()

    @property
    def scorer(self) -> Model:
        return self.generator

    @property
    def kept(self) -> Encoder:
        return self.discriminator

    def read(self, text: SequenceInputs) -> Tensor:
        return self.discriminator.read(text)

    def forward(self, inputs: ReplacedTokenInputs) -> ReplacedTokenOutput:
        guessed = self.generator(replace(inputs.masked, predict_at=inputs.predict_at, only_predicted=True))
        (scores,) = guessed.heads.values()
        seen = filled_in(inputs.original_ids, inputs.filled, scores.sample(inputs.draws))  # [B,T]
        judged = self.discriminator(replace(inputs.masked, token_ids=seen))
        return ReplacedTokenOutput(hidden=judged.hidden, heads=guessed.heads | judged.heads, replaced=seen != inputs.original_ids)


def filled_in(token_ids: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Token ids [B,T] with the first of `tokens` [N] at the first of `places` [B,T] that is True, and so on; tokens left over are not used."""
    order = (places.flatten().cumsum(0) - 1).clamp(min=0)  # [B·T]: the number of the place
    return token_ids.where(~places, tokens[order].view_as(token_ids))
