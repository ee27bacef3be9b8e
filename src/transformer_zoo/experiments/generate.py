"""What a trained model writes: a decoder continues a prompt, an encoder-decoder translates, an encoder fills masks."""

from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import GenerateConfig
from transformer_zoo.experiments.run import LoadedRun, load_run
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.fill_mask import fill_mask
from transformer_zoo.generation.sampling import SamplingConfig
from transformer_zoo.generation.text import continue_prompts, translate
from transformer_zoo.records import TranslationBatch, TranslationInputs

WANTED = {"prompt": 'prompt="…" to continue', "source": 'source="…" to translate', "text": 'text="… [MASK] …" to fill in'}


def generate(run: Path, given: dict[str, str], config: GenerateConfig) -> dict[str, Any]:
    """One answer of a run's model. `given` holds exactly one of `prompt`, `source` and `text`, the one its model can use.

    Returns plain data: `texts` for a prompt, `translation` for a source, `text` and the `masks`' candidates for a text.

    Raises:
        ConfigError: nothing or the wrong thing is given.
        RunNotFoundError: there is no such run.
        CheckpointError: it has no whole checkpoint.
    """
    if len(given) != 1:
        raise ConfigError(f"generate: give one of {', '.join(WANTED.values())}" + (f", not {' and '.join(given)}" if given else ""))
    loaded = load_run(run, device=config.device, checkpoint=config.checkpoint)
    ((what, text),) = given.items()
    fitting = _fitting(loaded)
    if what != fitting:
        model = f"{run} holds a model of kind {kind_of(type(loaded.config.model))}"
        raise ConfigError(f"{what}=: {model} trained with objective={kind_of(type(loaded.config.objective))}: give {WANTED[fitting]}")
    return {"prompt": _continued, "source": _translated, "text": _filled}[what](loaded, text, config)


def _fitting(loaded: LoadedRun) -> str:
    """What the model can be given."""
    needs = loaded.config.objective.needs()
    if "vocabulary" not in needs.heads:
        objective = kind_of(type(loaded.config.objective))
        raise ConfigError(f"{loaded.path} was trained with objective={objective}, which scores no tokens: there is nothing to generate")
    if needs.inputs is TranslationInputs:
        return "source"
    return "prompt" if needs.causal else "text"


def _continued(loaded: LoadedRun, prompt: str, config: GenerateConfig) -> dict[str, Any]:
    generator = (config.generation or SamplingConfig()).build(seed=config.seed)
    model: Any = loaded.model
    data = loaded.config.data
    texts = continue_prompts(
        model,
        loaded.tokenizer,
        [prompt] * config.samples,
        generator,
        begins_document=data.packing == "separate",  # rows then begin where documents do; elsewhere a row begins anywhere
        window=data.sequence_length,
        device=loaded.device,
    )
    return {"prompt": prompt, "texts": texts}


def _translated(loaded: LoadedRun, source: str, config: GenerateConfig) -> dict[str, Any]:
    generator = (config.generation or BeamConfig()).build(seed=config.seed)
    model: Any = loaded.model
    needs = loaded.config.objective.needs()
    spelled = needs.batch is not TranslationBatch  # a text with [MASK] or sentinels in it
    (translation,) = translate(model, loaded.tokenizer, [source], generator, start=needs.start, reads_specials=spelled, device=loaded.device)
    return {"source": source, "translation": translation}


def _filled(loaded: LoadedRun, text: str, config: GenerateConfig) -> dict[str, Any]:
    framed = loaded.config.objective.needs().framed
    filled = fill_mask(loaded.model.scorer, loaded.tokenizer, text, top_k=config.top_k, framed=framed, device=loaded.device)
    masks = [[{"token": one.token, "probability": round(one.probability, 6)} for one in candidates] for candidates in filled.candidates]
    return {"text": filled.text, "masks": masks}
