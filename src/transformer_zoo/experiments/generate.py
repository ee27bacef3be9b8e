"""What a model writes: a decoder continues a prompt, an encoder-decoder translates, an encoder fills masks."""

from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import GenerateConfig
from transformer_zoo.experiments.imported import is_imported, load_imported
from transformer_zoo.experiments.loaded import WANTED, LoadedModel
from transformer_zoo.experiments.loaded_run import load_run
from transformer_zoo.generation.base import GenerationConfig, Generator
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.sampling import SamplingConfig


def generate(run: Path, given: dict[str, str], config: GenerateConfig) -> dict[str, Any]:
    """One answer of a run's model. `given` holds exactly one of `prompt`, `source` and `text`, the one its model can use.

    Returns plain data: `texts` for a prompt, `translation` for a source, `text` and the `masks`' candidates for a text.

    Raises:
        ConfigError: nothing or the wrong thing is given.
        RunNotFoundError: there is no such run.
        CheckpointError: it has no whole checkpoint.
        DataError: it was imported without a tokenizer.
    """
    if len(given) != 1:
        raise ConfigError(f"generate: give one of {', '.join(WANTED.values())}" + (f", not {' and '.join(given)}" if given else ""))
    load = load_imported if is_imported(run) else load_run
    loaded: LoadedModel = load(run, device=config.device, checkpoint=config.checkpoint)
    ((what, text),) = given.items()
    wanted = loaded.wanted()
    if what != wanted:
        model = f"{run} holds a model of kind {kind_of(type(loaded.model_config))}"
        raise ConfigError(f"{what}=: {model} {loaded.origin}: give {WANTED[wanted]}")
    return {"prompt": _continued, "source": _translated, "text": _filled}[what](loaded, text, config)


def _continued(loaded: LoadedModel, prompt: str, config: GenerateConfig) -> dict[str, Any]:
    generator = _generator(loaded, config, SamplingConfig())
    return {"prompt": prompt, "texts": loaded.texts.continued([prompt] * config.samples, generator)}


def _translated(loaded: LoadedModel, source: str, config: GenerateConfig) -> dict[str, Any]:
    generator = _generator(loaded, config, BeamConfig())
    (translation,) = loaded.texts.answered([source], generator)
    return {"source": source, "translation": translation}


def _generator(loaded: LoadedModel, config: GenerateConfig, usual: GenerationConfig) -> Generator:
    settings = config.generation or usual
    loaded.say_what_is_not_done(settings)
    return settings.build(seed=config.seed)


def _filled(loaded: LoadedModel, text: str, config: GenerateConfig) -> dict[str, Any]:
    filled = loaded.texts.filled(text, config.top_k)
    masks = [[{"token": one.token, "probability": round(one.probability, 6)} for one in candidates] for candidates in filled.candidates]
    return {"text": filled.text, "masks": masks}
