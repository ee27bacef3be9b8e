"""Imported runs: a public model as a folder of ours.

It holds `imported.yaml` (settings, heads and where all came from), `tokenizer.json`, a checkpoint as training writes them, and in `source/` the
small files of the original (with its tensors that nothing reads), so that an export gives back what was read.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from transformer_zoo import __version__
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.experiments.convert import from_dict, to_dict
from transformer_zoo.experiments.loaded import LoadedModel
from transformer_zoo.experiments.public import Facts, loaded, open_public, settings_from, wishes
from transformer_zoo.interop.families import family_of
from transformer_zoo.interop.files import CONFIG, GENERATION, KEPT, TOKENIZER, read_json, without_code, write_json, write_weights
from transformer_zoo.interop.special_ids import known_ids
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.records import HeadNeed
from transformer_zoo.settings import Config, PositiveInt
from transformer_zoo.training.checkpoints import CheckpointStore, Identity, Snapshot, find_checkpoint, read_weights

logger = logging.getLogger(__name__)

FILE, SOURCE, IDLE = "imported.yaml", "source", "idle.safetensors"
FORMAT_VERSION = 1


@dataclass(kw_only=True)
class ImportConfig(Config):
    """What `imported.yaml` holds."""

    format_version: PositiveInt = FORMAT_VERSION
    """Of this file."""
    made_by: str = ""
    """The version of this package."""
    model_type: str
    """The public family."""
    recipe: str
    """Our named model of that kind."""
    model: ModelConfig
    """Settings of the model."""
    heads: dict[str, HeadNeed]
    """Heads by our names."""
    primary: str | None = None
    """The head whose scores the original's class gives."""
    prefixed: bool = True
    """Whether the names of the original's body have the family's prefix."""
    dtype: str = "float32"
    """The type of the original's tensors."""
    dtypes: dict[str, str] = field(default_factory=dict)
    """Their tensors that have another type."""
    extras: list[str] = field(default_factory=list)
    """Their tensors that hold others once more, or constants, as far as the original has them."""
    special_tokens: dict[str, str] = field(default_factory=dict)
    """Special tokens as the files beside the tokenizer spell them, by our roles."""
    fingerprint: str = ""
    """SHA-256 of the original's weight files."""


def import_model(source: Path, target: Path) -> dict[str, Any]:
    """Makes an imported run at `target` from a folder in the public format; returns what was read, as plain data.

    Raises:
        ConfigError: `target` holds something already, or the model cannot be read.
        RunNotFoundError, CheckpointError, DataError: the folder is not there, its weights or its tokenizer are wrong.
    """
    refuse_taken(target)
    found = open_public(source)
    usual, others = found.dtypes()
    record = ImportConfig(
        made_by=f"transformer-zoo {__version__}",
        model_type=found.family.model_type,
        recipe=found.family.recipe(found.settings),
        model=settings_from(found.settings),
        heads=found.heads,
        primary=found.primary,
        prefixed=found.prefixed,
        dtype=usual,
        dtypes=others,
        extras=found.extras,
        special_tokens=found.folder.specials,
        fingerprint=found.folder.weights.fingerprint(),
    )
    weights = found.weights()
    with whole_folder(target) as folder:
        (folder / FILE).write_text(yaml.safe_dump(to_dict(record), sort_keys=False, allow_unicode=True), encoding="utf-8")
        (folder / SOURCE).mkdir()
        write_json(folder / SOURCE / CONFIG, found.folder.config)
        for name in KEPT:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / SOURCE / name)
        if idle := found.idle():
            write_weights(folder / SOURCE / IDLE, idle)
        if found.folder.tokenizer is not None:
            shutil.copyfile(source / TOKENIZER, folder / TOKENIZER)
        tokenizer = "" if found.folder.tokenizer is None else found.folder.tokenizer.fingerprint
        store = CheckpointStore(folder / "checkpoints", Identity(config=to_dict(record), tokenizer=tokenizer))
        state = {"step": 0, "tokens": 0}
        store.save(Snapshot(weights=weights, averaged=None, optimizer={}, rng={}, state=state), is_best=True, keep_last=1)
    return {
        "run": str(target),
        "model_type": record.model_type,
        "recipe": record.recipe,
        "heads": list(record.heads),
        "tensors": len(weights),
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "dtype": usual,
        "tokenizer": found.folder.tokenizer is not None,
    }


def is_imported(path: Path) -> bool:
    return (path / FILE).is_file()


def read_imported(path: Path) -> ImportConfig:
    """What `imported.yaml` says, rebuilt through the catalog."""
    file = path / FILE
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:  # which may have keys of its own
        raise ConfigError(f"{file}: format {version} is newer than this version of transformer-zoo knows ({FORMAT_VERSION}): upgrade it")
    try:
        return from_dict(ImportConfig, data)
    except ConfigError as error:
        raise ConfigError(*(f"{file}: {problem}" for problem in error.problems)) from None


def source_json(path: Path, name: str) -> dict[str, Any]:
    """One of the original's small files; empty where it had none.

    Raises:
        ConfigError: it cannot be read, or it is the one that every original has and is missing.
    """
    file = path / SOURCE / name
    if name == CONFIG and not file.is_file():
        raise ConfigError(f"{file} is missing, which an import writes: import the model again")
    return without_code(read_json(file, ConfigError)) if file.is_file() else {}


def source_idle(path: Path) -> dict[str, Tensor]:
    """The original's tensors that nothing reads, as far as they hold numbers of their own.

    Raises:
        CheckpointError: the file cannot be read.
    """
    file = path / SOURCE / IDLE
    try:
        return load_file(file) if file.is_file() else {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: not readable ({' '.join(str(error).split())}); import the model again") from error


def load_imported(path: Path, *, device: str = "auto", checkpoint: str = "best") -> LoadedModel:
    """An imported run as a model that computes in float32."""
    record = read_imported(path)
    where = find_checkpoint(path, checkpoint)
    tokenizer = Tokenizer.load(path / TOKENIZER, specials=record.special_tokens) if (path / TOKENIZER).is_file() else None
    family = family_of(record.model_type, str(path / FILE))
    config, generation = source_json(path, CONFIG), source_json(path, GENERATION)
    ids, _ = known_ids(family, config, generation, size=to_dict(record.model)["vocab_size"], folder=path / SOURCE)
    facts = Facts(
        config=record.model,
        heads=record.heads,
        primary=record.primary,
        family=family,
        tokenizer=tokenizer,
        ids=ids,
        wishes=wishes(config, generation),
    )
    return loaded(path, facts, read_weights(where), device=device, step=where.name, origin=f"imported from a model of type {record.model_type}")


# --- folders that are whole or not there --------------------------------------------------------------------------------------------


def refuse_taken(target: Path) -> None:
    """Raises ConfigError where `target` is a file or a folder with something in it."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ConfigError(f"{target}: there is something already; choose another name, or remove it")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `target` by one rename at the end; where something goes wrong, nothing of it stays."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    except OSError as error:
        raise ConfigError(f"{target}: no folder can be made there ({error.strerror}); choose another place") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.is_dir():
            target.rmdir()  # it is empty
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
