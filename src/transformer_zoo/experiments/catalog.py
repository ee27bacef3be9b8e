"""The one table of everything that can be chosen: slot → {name: settings class}.

A new component is one line here and one YAML file of the same name in `configs/<slot>/`. A researcher's own package adds its
entries by calling `register` (see `experiments/plugins.py`); nothing is ever imported because a configuration names it.
"""

from collections.abc import Mapping

from transformer_zoo.data import hub_data, labelled_data, parallel_data, pocket_data, text_data, tokenizers
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation import bleu, continuation, fine_tune, gap, longer_windows, loss, mask_grid, probe, pseudo_perplexity
from transformer_zoo.generation import beam, greedy, sampling
from transformer_zoo.layers import blocks, embeddings, feedforward, heads, initialization, norms, positions, stacks
from transformer_zoo.layers.attention import auto, bigbird, flex, kernels, longformer, multihead
from transformer_zoo.models import decoder, encoder, encoder_decoder, generator_pair
from transformer_zoo.objectives import (
    causal_lm,
    classes,
    combined,
    denoising,
    fill_in_the_middle,
    masked_lm,
    mixture,
    prefix_lm,
    replaced_token,
    span_corruption,
    translation,
)
from transformer_zoo.objectives.masking import collocations, lengths, phrases, ratio_schedules, spans, units
from transformer_zoo.settings import Config
from transformer_zoo.training import optimizers, schedules, trackers

SLOTS: dict[str, dict[str, type[Config]]] = {
    "model": {
        "encoder": encoder.EncoderConfig,
        "decoder": decoder.DecoderConfig,
        "encoder_decoder": encoder_decoder.EncoderDecoderConfig,
        "generator_pair": generator_pair.GeneratorPairConfig,
    },
    "model/embeddings": {"token": embeddings.TokenEmbeddingsConfig},
    "model/positions": {
        "none": positions.NoPositionsConfig,
        "learned": positions.LearnedConfig,
        "sinusoidal": positions.SinusoidalConfig,
        "rotary": positions.RotaryConfig,
        "alibi": positions.AlibiConfig,
        "t5": positions.T5Config,
    },
    "model/attention": {"multihead": multihead.MultiheadConfig, "longformer": longformer.LongformerConfig, "bigbird": bigbird.BigBirdConfig},
    "model/attention/kernel": {"sdpa": kernels.SDPAConfig, "reference": kernels.ReferenceConfig, "flex": flex.FlexConfig, "auto": auto.AutoConfig},
    "model/norm": {"layernorm": norms.LayerNormConfig, "rmsnorm": norms.RMSNormConfig, "none": norms.NoNormConfig},
    "model/norm_placement": {"pre": blocks.PreNormConfig, "post": blocks.PostNormConfig, "sandwich": blocks.SandwichNormConfig},
    "model/feedforward": {"dense": feedforward.DenseConfig, "gated": feedforward.GatedConfig},
    "model/stack": {"plain": stacks.PlainStackConfig, "shared": stacks.SharedStackConfig},
    "model/initialization": {
        "normal": initialization.NormalConfig,
        "truncated_normal": initialization.TruncatedNormalConfig,
        "xavier": initialization.XavierConfig,
        "fan_in": initialization.FanInConfig,
    },
    "model/vocabulary_head": {"lm": heads.LMHeadConfig, "mlm": heads.MLMHeadConfig},
    "objective": {
        "mlm": masked_lm.MaskedLMConfig,
        "nsp": classes.NextSentenceConfig,
        "mlm_nsp": combined.MaskedPairsConfig,
        "mlm_sop": combined.MaskedOrderConfig,
        "clm": causal_lm.CausalLMConfig,
        "prefix_lm": prefix_lm.PrefixLMConfig,
        "fill_in_the_middle": fill_in_the_middle.FillInTheMiddleConfig,
        "replaced_token": replaced_token.ReplacedTokenConfig,
        "denoising": denoising.DenoisingConfig,
        "span_corruption": span_corruption.SpanCorruptionConfig,
        "translation": translation.TranslationConfig,
        "classification": classes.ClassificationConfig,
        "tagging": classes.TaggingConfig,
        "combined": combined.CombinedConfig,
        "mixture": mixture.MixtureConfig,
    },
    "objective/unit": {
        "token": units.TokenUnitConfig,
        "whole_word": units.WholeWordUnitConfig,
        "span": spans.SpanUnitConfig,
        "pmi": collocations.PMIUnitConfig,
        "phrases": phrases.PhraseUnitConfig,
    },
    "objective/unit/lengths": {
        "geometric": lengths.GeometricLengthsConfig,
        "poisson": lengths.PoissonLengthsConfig,
        "fixed": lengths.FixedLengthsConfig,
        "harmonic": lengths.HarmonicLengthsConfig,
    },
    "objective/ratio_schedule": {
        "constant": ratio_schedules.ConstantRatioConfig,
        "linear": ratio_schedules.LinearRatioConfig,
        "cosine": ratio_schedules.CosineRatioConfig,
        "steps": ratio_schedules.StepsRatioConfig,
        "uniform": ratio_schedules.UniformRatioConfig,
    },
    "data": {
        "pocket": pocket_data.PocketDataConfig,
        "text": text_data.TextDataConfig,
        "pairs": parallel_data.PairsDataConfig,
        "labelled": labelled_data.LabelledDataConfig,
        "hub": hub_data.HubDataConfig,
    },
    "tokenizer": {
        "word": tokenizers.WordTokenizerConfig,
        "char": tokenizers.CharTokenizerConfig,
        "byte": tokenizers.ByteTokenizerConfig,
        "wordpiece": tokenizers.WordPieceTokenizerConfig,
        "bpe": tokenizers.BPETokenizerConfig,
        "unigram": tokenizers.UnigramTokenizerConfig,
        "file": tokenizers.FileTokenizerConfig,
    },
    "optimizer": {
        "adamw": optimizers.AdamWConfig,
        "adafactor": optimizers.AdafactorConfig,
        "muon": optimizers.MuonConfig,
        "sgd": optimizers.SGDConfig,
    },
    "schedule": {
        "linear": schedules.LinearConfig,
        "cosine": schedules.CosineConfig,
        "inverse_sqrt": schedules.InverseSqrtConfig,
        "wsd": schedules.WSDConfig,
        "constant": schedules.ConstantConfig,
    },
    "tracker": {"jsonl": trackers.JSONLConfig, "wandb": trackers.WandbConfig, "tensorboard": trackers.TensorBoardConfig},
    "evaluation": {
        "loss": loss.LossConfig,
        "mask_grid": mask_grid.MaskGridConfig,
        "pseudo_perplexity": pseudo_perplexity.PseudoPerplexityConfig,
        "bleu": bleu.BleuConfig,
        "probe": probe.ProbeConfig,
        "fine_tune": fine_tune.FineTuneConfig,
        "lengths": longer_windows.LengthsConfig,
        "gap": gap.GapConfig,
        "continuation": continuation.ContinuationConfig,
    },
    "generation": {"greedy": greedy.GreedyConfig, "sampling": sampling.SamplingConfig, "beam": beam.BeamConfig},
}

ALSO_CHOSEN_AS = {"model/attention/qk_norm": "model/norm", "evaluation/data": "data"}
"""Groups that fill a slot of another name: group → slot."""

_registered: dict[str, dict[str, type[Config]]] = {}


def register(slot: str, entries: Mapping[str, type[Config]]) -> None:
    """Add components of your own to a slot, for example `register("model/attention", {"linear": LinearAttentionConfig})`.

    Registering the same class again changes nothing; another class under a name that is taken is an error.
    """
    for name, config in entries.items():
        taken = options(slot).get(name)
        if taken is config:
            continue
        if taken is not None:
            raise ConfigError(f"{slot}={name} is taken by {taken.__module__}.{taken.__qualname__}: choose another name for {config.__qualname__}")
        if not (isinstance(config, type) and issubclass(config, Config)) or config.slot != slot:
            raise ConfigError(f"{slot}={name}: {config!r} is no settings class with slot = {slot!r}")
        _registered.setdefault(slot, {})[name] = config


def registered() -> dict[str, dict[str, type[Config]]]:
    """What plugins have added: slot → {name: class}."""
    return _registered


def options(slot: str) -> dict[str, type[Config]]:
    """The choices of a slot by name; empty for a slot that nobody fills."""
    return {**SLOTS.get(slot, {}), **_registered.get(slot, {})}


def kind_of(config: type[Config]) -> str:
    """The name under which a settings class stands in its slot."""
    assert config.slot is not None, f"{config.__qualname__} fills no slot"
    for name, candidate in options(config.slot).items():
        if candidate is config:
            return name
    raise ConfigError(f"{config.__module__}.{config.__qualname__} stands in no catalog line of {config.slot}: add it with transformer_zoo.register")


def groups() -> dict[str, str]:
    """Every configuration group that fills a slot: group → slot."""
    return {slot: slot for slot in [*SLOTS, *_registered]} | ALSO_CHOSEN_AS


def common_settings(group: str) -> set[str]:
    """The settings that every choice of a group has: the fields of its base class."""
    base = next(iter(options(groups()[group]).values()), Config)
    while "slot" not in vars(base):
        base = base.__bases__[0]
    return set(getattr(base, "__dataclass_fields__", {})) - {"slot"}
