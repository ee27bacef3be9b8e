"""Runs of ours, trained or imported, as folders in the public format. What was written is read again and compared before anybody is told."""

import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.imported import (
    SOURCE,
    is_imported,
    load_imported,
    read_imported,
    refuse_taken,
    source_idle,
    source_json,
    whole_folder,
)
from transformer_zoo.experiments.loaded import LoadedModel
from transformer_zoo.experiments.loaded_run import LoadedRun, load_run
from transformer_zoo.experiments.pretrained import Pretrained
from transformer_zoo.experiments.public import load_public, settings_from, skeleton
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families import family_for
from transformer_zoo.interop.files import (
    CONFIG,
    DTYPES,
    GENERATION,
    KEPT,
    ROLES,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    read_folder,
    write_json,
    write_weights,
)
from transformer_zoo.interop.precision import InDouble
from transformer_zoo.interop.reading import PublicModel, listed, read_model
from transformer_zoo.interop.reference import reference_output
from transformer_zoo.interop.tensors import link, to_theirs
from transformer_zoo.interop.writing import their_tensors
from transformer_zoo.records import TranslationInputs
from transformer_zoo.training.checkpoints import config_differences
from transformer_zoo.training.weights import model_weights, own_tensors

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of scores, computed in float64, between a model and what was written of it, of the largest score where that is above 1."""
FREE = ("initialization", "recipe")
"""Settings of a model that do not decide what it computes."""


@dataclass(kw_only=True)
class Export:
    """What goes into the folder."""

    family: Family
    config: Plain
    settings: Plain
    weights: Mapping[str, Tensor]
    prefixed: bool
    dtype: str = "float32"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    extras: Collection[str] | None = None
    """Copies and constants to write; None: those that usually are."""
    idle: Mapping[str, Tensor] = field(default_factory=dict)
    """Copies that nothing reads and that hold numbers of their own."""


def export_model(run: Path, target: Path, *, checkpoint: str = "best") -> dict[str, Any]:
    """Writes a run's model to `target` in the public format; returns what was written and which checks it passed, as plain data.

    Raises:
        ConfigError: `target` holds something already, or the format cannot express the model.
        CheckpointError: the run has no whole checkpoint, or what was written does not give the same scores.
    """
    refuse_taken(target)
    loaded: LoadedModel
    if is_imported(run):
        loaded = load_imported(run, device="cpu", checkpoint=checkpoint)
        export = _of_imported(run, loaded)
    else:
        loaded = trained = load_run(run, device="cpu", checkpoint=checkpoint).kept()
        export = _of_trained(trained)
    tensors = their_tensors(
        export.family,
        export.settings,
        export.weights,
        prefixed=export.prefixed,
        dtype=export.dtype,
        dtypes=export.dtypes,
        extras=export.extras,
        idle=export.idle,
    )
    with whole_folder(target) as folder:
        write_weights(folder / WEIGHTS, tensors)
        write_json(folder / CONFIG, export.config)
        if isinstance(loaded, LoadedRun):
            _write_texts(folder, loaded)
        else:
            for name in KEPT:
                if (run / SOURCE / name).is_file():
                    shutil.copyfile(run / SOURCE / name, folder / name)
        checks = checked(loaded, export.weights, folder, export.config["architectures"][0])
    return {
        "folder": str(target),
        "model_type": export.family.model_type,
        "architectures": export.config["architectures"],
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in export.weights.values()),
        "dtype": export.dtype,
        "tokenizer": loaded.tokenizer is not None,
        "checks": checks,
    }


# --- what is written ----------------------------------------------------------------------------------------------------------------


def _of_imported(run: Path, loaded: LoadedModel) -> Export:
    """The original's own `config.json`: an import has changed nothing that it says."""
    record, config = read_imported(run), source_json(run, CONFIG)
    assert loaded.family is not None
    config.setdefault("architectures", loaded.family.classes(record.heads))
    return Export(
        family=loaded.family,
        config=config,
        settings=to_dict(record.model),
        weights=model_weights(loaded.model),
        prefixed=record.prefixed,
        dtype=record.dtype,
        dtypes=record.dtypes,
        extras=record.extras,
        idle=source_idle(run),
    )


def _of_trained(run: LoadedRun) -> Export:
    """Our settings in their words."""
    where = f"run={run.path}"
    family = family_for(run.config.recipe.model, where)
    classes = family.classes(run.heads)
    if classes is None:
        raise ConfigError(
            f"{where}: model_type {family.model_type} has no class with the heads {', '.join(run.heads)}; it has {', '.join(family.architectures)}"
        )
    settings = to_dict(run.model_config) | {"vocab_size": run.tokenizer.vocabulary.size}
    settings, weights = family.fitted(settings, model_weights(run.model), run.tokenizer.vocabulary.specials.pad)
    written = family.write(settings) | {"model_type": family.model_type, "architectures": classes}
    written |= _labels(run) | _ids(run)
    _refuse_what_differs(where, family, settings, weights, written, run)
    bare = not any(family.architectures[name] for name in classes)
    return Export(family=family, config=written | {"dtype": "float32"}, settings=settings, weights=weights, prefixed=not bare)


def _refuse_what_differs(where: str, family: Family, settings: Plain, weights: Mapping[str, Tensor], written: Plain, run: LoadedRun) -> None:
    """Reads the config back, and refuses where that would be another model."""
    links, _ = link(family.rules(settings), weights)
    theirs, _ = to_theirs(links, weights)
    back = spelt_out(to_dict(settings_from(family.settle(family.read(ConfigFile(written, where)), theirs))))
    settings = spelt_out(settings)
    kinds = {need.kind for need in run.heads.values()}
    unused = [*FREE, *(() if "vocabulary" in kinds else ("vocabulary_head",)), *(() if kinds - {"vocabulary"} else ("classifier",))]
    differing = {
        key: (here, there)
        for key, here, there in config_differences(settings, back)
        if not any(key == free or key.startswith(f"{free}.") for free in unused) and not key.endswith("kernel.kind")
    }
    # A setting of a part that is another part there says nothing of its own.
    other_parts = {key.removesuffix("kind") for key in differing if key.endswith(".kind")}
    told = {key: pair for key, pair in differing.items() if key.endswith("kind") or not any(key.startswith(part) for part in other_parts)}
    training = {key: pair for key, pair in told.items() if key.endswith("dropout")}
    refused = [f"model.{key}={_shown(here)} (it has {_shown(there)})" for key, (here, there) in told.items() if key not in training]
    if refused:
        raise ConfigError(f"{where}: the format of model_type {family.model_type} cannot express {listed(refused)}")
    if training:
        named = ", ".join(f"model.{key}={_shown(here)}" for key, (here, _) in training.items())
        logger.warning("%s: the format has no place for %s; it matters in training only", where, named)


def spelt_out(settings: Plain) -> Plain:
    """The settings in one of the spellings that a model may have: what the sides of an encoder-decoder can have of their own stands on the sides, and
    numbers that follow from others are named."""
    sides = {side: settings[side] for side in ("encoder", "decoder") if side in settings}
    common = {key: value for key, value in settings.items() if not any(key in own for own in sides.values())}
    found = common | {side: {key: settings[key] if value is None else value for key, value in own.items()} for side, own in sides.items()}
    for part in [found[side] for side in sides] or [found]:
        attention, n_heads = part["attention"], part["n_heads"]
        derived = {"head_width": settings["d_model"] // n_heads, "n_kv_heads": n_heads}
        part["attention"] = attention | {key: value for key, value in derived.items() if attention.get(key, 0) is None}
    return found


def _labels(run: LoadedRun) -> Plain:
    """The names of classes, where a head gives some."""
    if not {"sequence", "token"} & {need.kind for need in run.heads.values()}:
        return {}
    data, _ = run.context()
    names = data.label_names or data.tag_names or []
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {name: i for i, name in enumerate(names)}}


def _ids(run: LoadedRun) -> Plain:
    """The special ids that decoding and classifying look for."""
    specials, needs = run.tokenizer.vocabulary.specials, run.config.objective.needs()
    end = specials.end if specials.end is not None else specials.sep
    begin = specials.begin if specials.begin is not None else specials.cls
    ids: Plain = {"pad_token_id": specials.pad, "bos_token_id": begin, "eos_token_id": end}
    return ids | ({"decoder_start_token_id": getattr(specials, needs.start)} if needs.inputs is TranslationInputs else {})


def _write_texts(folder: Path, run: LoadedRun) -> None:
    """The tokenizer, framed as in training, with the names of its special tokens; and for a model that writes where it begins and ends."""
    tokenizer, specials = run.tokenizer, run.tokenizer.vocabulary.specials
    write_tokenizer(folder / TOKENIZER, tokenizer, *_frame(run))
    named = {key: tokenizer.token(token) for key, role in ROLES.items() if (token := getattr(specials, role)) is not None}
    write_json(folder / SPECIAL_TOKENS, named)
    limit = {"model_max_length": run.model.max_length} if run.model.max_length is not None else {}
    segments = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if _knows_segments(run) else {}
    general = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    write_json(folder / TOKENIZER_CONFIG, general | named | limit | segments)
    if "vocabulary" in run.heads and run.model_config.causal:
        write_json(folder / GENERATION, _ids(run))


def _knows_segments(run: LoadedRun) -> bool:
    return at(to_dict(run.model_config), "embeddings.n_segments", 0) > 1


def _frame(run: LoadedRun) -> tuple[int | None, int | None]:
    """The tokens that training sets before and after a text."""
    specials, needs = run.tokenizer.vocabulary.specials, run.config.objective.needs()
    if needs.framed:
        return specials.cls, specials.sep
    if needs.inputs is TranslationInputs:
        return None, specials.end
    return (specials.begin if run.config.data.packing == "separate" else None), None


def write_tokenizer(path: Path, tokenizer: Tokenizer, first: int | None, last: int | None) -> None:
    """A `tokenizer.json` that puts these tokens around a text by itself."""
    tokenizer.save(path)
    if first is None and last is None:
        return
    from tokenizers import Tokenizer as Backend
    from tokenizers.processors import TemplateProcessing

    before, after = ("" if token is None else tokenizer.token(token) for token in (first, last))
    pair = f"{before} $A {after} $B:1 {after + ':1' if after else ''}"
    backend = Backend.from_file(str(path))
    backend.post_processor = TemplateProcessing(
        single=" ".join(f"{before} $A {after}".split()),
        pair=" ".join(pair.split()),
        special_tokens=[(tokenizer.token(token), token) for token in {first, last} if token is not None],
    )
    backend.save(str(path))


# --- checks -------------------------------------------------------------------------------------------------------------------------


def checked(loaded: LoadedModel, ours: Mapping[str, Tensor], folder: Path, class_name: str) -> dict[str, str]:
    """Reads the folder again, with our own importer and with the package transformers where it is installed; check → what it found. `ours` are the
    tensors that went into it.

    Raises:
        CheckpointError: the scores or weights differ.
    """
    found = read_model(read_folder(folder), skeleton)
    again = load_public(found, device="cpu")
    theirs = own_tensors(again.model)
    different = [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]
    if different:
        raise CheckpointError(f"{folder}: read again, what was written differs in {listed(different)}")
    inputs = _fixed_batch(loaded)
    wanted, reference = _scores(loaded, inputs), reference_output(folder, class_name, inputs)
    tolerance, because = _allowance(found)
    return {
        "weights": f"{len(ours)} tensors bitwise equal",
        "scores": _compared(folder, "our own reading", wanted, _scores(again, inputs)),
        "transformers": "not run: the package or this class is not installed"
        if reference is None
        else _compared(folder, f"transformers.{class_name}", wanted, reference, tolerance) + because,
    }


def _allowance(written: PublicModel) -> tuple[float, str]:
    """What scores of transformers may differ by, and why it is more than usual, if it is: they compute with constants as coarse as the file holds
    them, we with the exact ones."""
    weights, constants = written.folder.weights, written.family.constants(written.settings)
    coarse = {weights.dtype(written.names[name]) for name in written.extras if name in constants}
    coarsest = max((DTYPES[one] for one in coarse), key=lambda dtype: torch.finfo(dtype).eps, default=torch.float32)
    if torch.finfo(coarsest).eps <= TOLERANCE:
        return TOLERANCE, ""
    return torch.finfo(
        coarsest
    ).eps, f"; the file holds constants rounded to {str(coarsest).removeprefix('torch.')}, and transformers computes with these"


def _fixed_batch(loaded: LoadedModel) -> dict[str, Tensor]:
    """Token ids [2, T] of no meaning, the same every time, without the padding token; one row where none is known, as transformers then classifies
    no more at once. No longer than `max_length` says, which a table of theirs may be even where ours are computed for any length."""
    settings = to_dict(loaded.model_config)
    size, length, rows = settings["vocab_size"], min(settings["max_length"], 12), 1 if loaded.pad is None else 2
    size = loaded.tokenizer.vocabulary.size if isinstance(loaded, LoadedRun) else size
    ids = torch.randint(size, (rows, length), generator=torch.Generator().manual_seed(0))
    if loaded.pad is not None:
        ids = torch.where(ids == loaded.pad, (loaded.pad + 1) % size, ids)
    targets = {"decoder_input_ids": ids.flip(1)} if loaded.model_config.accepts is TranslationInputs else {}
    return {"input_ids": ids} | targets


def _scores(loaded: LoadedModel, inputs: dict[str, Tensor]) -> Tensor:
    """In float64, where two orders of the same sums differ by nothing that counts; the model's weights are as before when it returns."""
    model = Pretrained(loaded)
    loaded.model.double()
    try:
        with InDouble():
            return model.hidden(**inputs) if loaded.primary is None else model.logits(**inputs)
    finally:
        loaded.model.float()


def _compared(folder: Path, who: str, wanted: Tensor, found: Tensor, tolerance: float = TOLERANCE) -> str:
    if wanted.shape != found.shape:
        raise CheckpointError(f"{folder}: {who} gives scores of shape {list(found.shape)} for what was written, the model {list(wanted.shape)}")
    difference, allowed = float((wanted - found).abs().max()), tolerance * max(1.0, float(wanted.abs().max()))
    if not difference <= allowed:
        raise CheckpointError(f"{folder}: {who} gives scores that differ by {difference:.2g} from the model's (allowed: {allowed:.2g})")
    return f"scores equal within {allowed:.2g} (largest difference {difference:.1e})"


def _shown(value: Any) -> str:
    return {True: "true", False: "false", None: "null"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
