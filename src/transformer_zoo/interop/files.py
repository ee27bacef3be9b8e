"""A folder in the Hugging Face format: `config.json`, weights in safetensors, `tokenizer.json` and what stands beside them. Nothing in it is
ever executed: no pickle is read, no code of the folder is loaded."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, ConfigError, DataError, RunNotFoundError, ZooError

CONFIG, WEIGHTS, INDEX, TOKENIZER, GENERATION = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "generation_config.json",
)
TOKENIZER_CONFIG, SPECIAL_TOKENS = "tokenizer_config.json", "special_tokens_map.json"
KEPT = (TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS, GENERATION)
"""Files that are handed on as they are."""
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROLES = {
    "pad_token": "pad",
    "unk_token": "unknown",
    "bos_token": "begin",
    "eos_token": "end",
    "cls_token": "cls",
    "sep_token": "sep",
    "mask_token": "mask",
}
"""Their name of a special token → ours."""


class WeightFiles:
    """Tensors of one file or several, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _weight_files(folder)
        """Tensor → the file it stands in."""
        self.handles = {path: _opened(path) for path in sorted(set(self.files.values()))}
        for name, path in self.files.items():
            if name not in self.handles[path].keys():  # noqa: SIM118 - a handle is no mapping
                raise CheckpointError(f"{folder / INDEX}: {name} should stand in {path.name}, which does not hold it")

    @property
    def label(self) -> str:
        """The file an error is about."""
        return str(self.folder / (WEIGHTS if len(self.handles) == 1 else INDEX))

    def shape(self, name: str) -> list[int]:
        return list(self.handles[self.files[name]].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The type as safetensors names it: F32, F16, BF16 …"""
        return self.handles[self.files[name]].get_slice(name).get_dtype()

    def tensor(self, name: str) -> Tensor:
        try:
            return self.handles[self.files[name]].get_tensor(name)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.files[name]}: {name} cannot be read ({_line(error)})") from error

    def fingerprint(self) -> str:
        """SHA-256 of all files."""
        digest = hashlib.sha256()
        for path in self.handles:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


@dataclass(kw_only=True)
class Folder:
    """What stands in a folder."""

    path: Path
    config: dict[str, Any]
    """`config.json` without references to code."""
    weights: WeightFiles
    generation: dict[str, Any] = field(default_factory=dict)
    """`generation_config.json`, empty where there is none."""
    specials: dict[str, str] = field(default_factory=dict)
    """Special tokens that files beside the tokenizer name: our role → spelling."""
    tokenizer: Tokenizer | None = None
    notes: list[str] = field(default_factory=list)
    """What the user should know of it, a line each."""


def is_public(path: Path) -> bool:
    """Whether a folder looks like one in this format."""
    return (path / CONFIG).is_file()


def read_folder(path: Path) -> Folder:
    """Reads everything but the tensors themselves.

    Raises:
        RunNotFoundError: there is no such folder.
        ConfigError: `config.json` is missing or no mapping.
        CheckpointError: there are no weights that can be read, or a file is damaged.
        DataError: the tokenizer cannot be read.
    """
    if not path.is_dir():
        raise RunNotFoundError(f"{path}: there is no such folder (looked for {path.absolute()})")
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path}: there is no {CONFIG} in this folder, so it is no model in the Hugging Face format")
    config = read_json(path / CONFIG, ConfigError)
    notes = [f"{path / CONFIG}: auto_map names code that comes with the model; it is not run and left out"] if "auto_map" in config else []
    specials = _special_tokens(path)
    tokenizer = Tokenizer.load(path / TOKENIZER, specials=specials) if (path / TOKENIZER).is_file() else None
    notes += [_without_tokenizer(path)] if tokenizer is None else _unknown_specials(path, specials, tokenizer)
    return Folder(
        path=path,
        config=without_code(config),
        weights=WeightFiles(path),
        generation=read_json(path / GENERATION, ConfigError) if (path / GENERATION).is_file() else {},
        specials=specials,
        tokenizer=tokenizer,
        notes=notes,
    )


def read_json(path: Path, error: type[ZooError]) -> dict[str, Any]:
    """A file that holds one JSON mapping; anything else is an `error`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path}: not readable as JSON ({_line(problem)})") from problem
    if not isinstance(values, dict):
        raise error(f"{path}: expected a JSON mapping of keys to values")
    return values


def without_code(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without `auto_map`, which names code to be loaded."""
    return {key: value for key, value in values.items() if key != "auto_map"}


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file, as transformers writes it."""
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


# --- weights ------------------------------------------------------------------------------------------------------------------------


def _weight_files(folder: Path) -> dict[str, Path]:
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.is_file():
        return dict.fromkeys(_opened(whole).keys(), whole)
    if index.is_file():
        return _shards(folder, read_json(index, CheckpointError))
    pickled = sorted(path.name for pattern in ("pytorch_model*.bin", "*.pt", "*.pth", "tf_model.h5", "flax_model*") for path in folder.glob(pattern))
    if pickled:
        raise CheckpointError(
            f"{folder}: there is no {WEIGHTS}, only {pickled[0]}, which can run code when it is read and therefore is not: convert it where "
            f"you trust it, with transformers: AutoModel.from_pretrained(…).save_pretrained(…)"
        )
    raise CheckpointError(f"{folder}: there are no weights in this folder (no {WEIGHTS}, no {INDEX})")


def _shards(folder: Path, index: Mapping[str, Any]) -> dict[str, Path]:
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{folder / INDEX}: there is no weight_map in it, which says where each tensor stands")
    for name in sorted(set(map(str, files.values()))):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / INDEX}: {name!r} is no safetensors file of this folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / INDEX}: {name} is missing, which the index names")
    return {tensor: folder / str(name) for tensor, name in files.items()}


def _opened(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({_line(error)})") from error


# --- tokenizer ----------------------------------------------------------------------------------------------------------------------


def _without_tokenizer(folder: Path) -> str:
    other = [name for name in ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "source.spm") if (folder / name).is_file()]
    way_out = f"; {other[0]} becomes one by transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)" if other else ""
    return f"{folder}: there is no {TOKENIZER}, so the model comes without a tokenizer and reads token ids only{way_out}"


def _unknown_specials(folder: Path, specials: Mapping[str, str], tokenizer: Tokenizer) -> list[str]:
    unknown = {role: spelling for role, spelling in specials.items() if tokenizer.id(spelling) is None}
    return [
        f"{folder}: the tokenizer's {role} token is named {spelling!r}, which its vocabulary does not have: it counts as not named"
        for role, spelling in unknown.items()
    ]


def _special_tokens(folder: Path) -> dict[str, str]:
    """What the files beside the tokenizer call its special tokens."""
    found: dict[str, str] = {}
    for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        values = read_json(folder / name, DataError) if (folder / name).is_file() else {}
        for key, role in ROLES.items():
            value = values.get(key)
            spelling = value.get("content") if isinstance(value, dict) else value
            if isinstance(spelling, str):
                found[role] = spelling
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
