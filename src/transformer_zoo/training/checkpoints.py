"""Checkpoints: folders that are complete or not there, and that know when they are damaged.

`checkpoints/step-00001200/` holds `model.safetensors` (the weights), `averaged.safetensors` (where weights are averaged: what evaluation
and decoding use), `optim.pt`, `rng.pt`, `state.json` and, written last, `manifest.json` with the size and SHA-256 of each. All of it is
written and fsynced in a temporary folder that is then renamed. `latest.json` and `best.json` name a folder; neither is needed to find one.
"""

import contextlib
import errno
import hashlib
import io as stdio
import json
import logging
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.training import io

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
MODEL, AVERAGED, OPTIMIZER, RNG, STATE, MANIFEST = (
    "model.safetensors",
    "averaged.safetensors",
    "optim.pt",
    "rng.pt",
    "state.json",
    "manifest.json",
)
_NAME = re.compile(r"step-(\d{8,})")

MAY_CHANGE = (
    "device", "run_dir", "name", "resume", "init_from", "init_part", "evaluation", "final_evaluation", "tracker",
    "training.steps", "training.tokens", "training.epochs",
    "training.seconds", "training.log_every", "training.evaluate_every", "training.checkpoint_every", "training.keep_last",
    "training.micro_batch_size", "training.compile", "training.gradient_checkpointing", "training.parallel", "training.n_workers",
    "training.threads", "training.on_nan", "training.max_skipped", "training.patience",
)  # fmt: skip
"""Settings (or whole nodes) that may differ when a run is resumed: how long, how fast and how watched, not what is computed."""


@dataclass(kw_only=True)
class Identity:
    """What a checkpoint belongs to."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """The experiment's whole configuration as plain data."""
    tokenizer: str = ""
    """The tokenizer's fingerprint."""
    data: str = ""
    """The data's fingerprint."""
    world_size: int = 1

    def config_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.config, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(kw_only=True)
class Snapshot:
    """What a checkpoint holds, in memory."""

    weights: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, dict[str, Any]]
    rng: dict[str, Any]
    state: dict[str, Any]
    """JSON-able; `step`, `tokens` and `stream` (samples consumed) also stand in the manifest."""


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def _torch_bytes(value: Any) -> memoryview:
    buffer = stdio.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, default=str) + "\n").encode()


def _digest(manifest: Mapping[str, Any]) -> str:
    """The manifest's own hash: of all its entries but this one."""
    return hashlib.sha256(json.dumps({k: v for k, v in manifest.items() if k != "sha256"}, sort_keys=True).encode()).hexdigest()


class CheckpointStore:
    """The checkpoints of one run. One process writes; it must hold the run folder's lock."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        self.identity = identity
        self.notes: list[str] = []
        """What is wrong with checkpoints that `restore` had to pass over."""

    # --- finding -------------------------------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Steps of all checkpoint folders, damaged ones included, in order of their numbers (never of time stamps)."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self.folder.iterdir() if path.is_dir() and (match := _NAME.fullmatch(path.name)))

    def planned_steps(self) -> list[int]:
        """Steps of the checkpoints that were saved because they were due."""
        planned = []
        for step in self.steps():
            with contextlib.suppress(CheckpointError):
                if read_manifest(self.path(step)).get("planned"):
                    planned.append(step)
        return planned

    def path(self, step: int) -> Path:
        return self.folder / checkpoint_name(step)

    def best(self) -> Path | None:
        """The checkpoint of the best evaluation, where there is one."""
        return _named(self.folder, "best")

    # --- writing -------------------------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Remove what an interrupted process left half written or half removed."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name.startswith((".tmp-", ".trash-")):
                    io.remove_folder(path)
                elif path.name.startswith(".") and ".tmp-" in path.name:
                    path.unlink()

    def save(self, snapshot: Snapshot, *, is_best: bool, keep_last: int, planned: bool = True) -> Path:
        """Write a checkpoint whole, then point `latest.json` (and `best.json`) at it, then remove old ones.

        One that is not `planned` (a signal came) neither counts among the last ones nor outlives the next, so that what is kept and averaged
        is the same as without the interruption.

        Raises:
            CheckpointError: it could not be written; earlier checkpoints are untouched.
        """
        step = int(snapshot.state["step"])
        temporary = self.folder / f".tmp-{step}-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            io.remove_folder(temporary)
            io.make_folder(temporary)
            self._write(temporary, snapshot, step, planned)
            target = self.path(step)
            if target.exists():
                self._discard(target)
            io.rename(temporary, target)
            io.sync_folder(self.folder)
            pointer = _json_bytes({"name": target.name, "step": step})
            io.replace_bytes(self.folder / "latest.json", pointer)
            if is_best:
                io.replace_bytes(self.folder / "best.json", pointer)
            self._rotate(keep_last)
        except OSError as error:
            self._give_up(temporary)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            why = "the disk is full: free some space or lower training.keep_last" if full else str(error)
            kept = [checkpoint_name(s) for s in self.steps() if s != step]
            raise CheckpointError(
                f"{self.path(step)}: could not be saved ({why}); "
                + (f"{kept[-1]} is intact and the run resumes from it" if kept else "there is no earlier checkpoint")
            ) from error
        return target

    def _write(self, folder: Path, snapshot: Snapshot, step: int, planned: bool) -> None:
        entries: dict[str, dict[str, Any]] = {}

        def put(name: str, data: bytes | memoryview) -> None:
            io.write_bytes(folder / name, data)
            entries[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

        put(MODEL, safetensors.torch.save(snapshot.weights))
        if snapshot.averaged is not None:
            put(AVERAGED, safetensors.torch.save(snapshot.averaged))
        put(OPTIMIZER, _torch_bytes(snapshot.optimizer))
        put(RNG, _torch_bytes(snapshot.rng))
        put(STATE, _json_bytes(snapshot.state))
        manifest = {
            "format_version": FORMAT_VERSION,
            "step": step,
            "tokens": snapshot.state.get("tokens"),
            "stream": snapshot.state.get("stream"),
            "planned": planned,
            "world_size": self.identity.world_size,
            "config_hash": self.identity.config_hash(),
            "tokenizer_hash": self.identity.tokenizer,
            "data_fingerprint": self.identity.data,
            "config": self.identity.config,
            "files": entries,
        }
        manifest = json.loads(_json_bytes(manifest))
        io.write_bytes(folder / MANIFEST, _json_bytes({**manifest, "sha256": _digest(manifest)}))
        io.sync_folder(folder)

    def _discard(self, path: Path) -> None:
        """Rename first, so that a folder with a checkpoint's name is never half removed."""
        trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
        io.remove_folder(trash)
        io.rename(path, trash)
        io.remove_folder(trash)

    def _rotate(self, keep_last: int) -> None:
        """Remove all but the newest, the last planned ones and the best; called once the newest is durable."""
        steps = self.steps()
        kept = {steps[-1], *self.planned_steps()[-keep_last:]}
        best = self.best()
        for step in steps:
            if step not in kept and self.path(step) != best:
                self._discard(self.path(step))

    def _give_up(self, temporary: Path) -> None:
        try:
            io.remove_folder(temporary)
        except OSError:
            logger.warning("%s could not be removed", temporary)

    # --- reading -------------------------------------------------------------------------------------------------------------------

    def restore(self, resume: str) -> tuple[Path, Snapshot] | None:
        """The checkpoint to go on from; None to start afresh.

        `auto`: the newest good one, falling back to older ones with a warning; a fresh start only if there never was any. `must`: as `auto`,
        but there has to be one. `never`: there must not be any. Anything else is a checkpoint's path, and only that one is taken.

        Raises:
            CheckpointError: none is good, or it belongs to another configuration.
            ConfigError: `never`, and there are some.
        """
        if resume not in ("auto", "must", "never"):
            path = Path(resume)
            if not path.is_dir():
                raise CheckpointError(f"resume={resume}: no such checkpoint folder (looked for {path.absolute()})")
            self._compare(path)
            return path, read_checkpoint(path)
        steps = self.steps()
        if resume == "never" and steps:
            raise ConfigError(f"resume=never, but {self.folder} holds checkpoints: choose another run_dir, or resume=auto to go on")
        if not steps:
            if resume == "must":
                raise CheckpointError(f"resume=must: there is no checkpoint in {self.folder.absolute()}")
            return None
        damages: list[str] = []
        for step in reversed(steps):
            path = self.path(step)
            try:
                snapshot = read_checkpoint(path)
            except CheckpointError as error:
                damages.append(str(error))
                continue
            self._compare(path)
            self._set_aside(damages, newer_than=step)
            return path, snapshot
        raise CheckpointError(f"no checkpoint in {self.folder.absolute()} is usable: {'; '.join(damages)}")

    def _set_aside(self, damages: list[str], newer_than: int) -> None:
        for message in damages:
            self.notes.append(f"damaged checkpoint {message}; went back to {checkpoint_name(newer_than)}")
            logger.warning("DAMAGED CHECKPOINT %s; going back to %s", message, checkpoint_name(newer_than))
        for step in self.steps():
            if step > newer_than:
                aside = self.folder / f"damaged-{checkpoint_name(step)}-{os.getpid()}"
                io.rename(self.path(step), aside)

    def _compare(self, path: Path) -> None:
        """Refuse a checkpoint of another configuration, with a table of what differs."""
        manifest = read_manifest(path)
        config = json.loads(_json_bytes(self.identity.config))
        problems = [f"  {key}: {saved} in the checkpoint, {now} now" for key, saved, now in config_differences(manifest["config"], config)]
        for what, saved, now in (
            ("tokenizer", manifest["tokenizer_hash"], self.identity.tokenizer),
            ("data", manifest["data_fingerprint"], self.identity.data),
        ):
            if saved != now:
                problems.append(f"  {what} (fingerprint): {saved[:12]} in the checkpoint, {now[:12]} now")
        if problems:
            raise CheckpointError("\n".join([f"{path} belongs to another configuration (init_from={path} takes its weights alone):", *problems]))
        if manifest["world_size"] != self.identity.world_size:
            logger.warning(
                "resuming on %d processes what ran on %d: the same samples in the same steps, but not the same rounding",
                self.identity.world_size,
                manifest["world_size"],
            )


# --- one checkpoint -----------------------------------------------------------------------------------------------------------------


def _named(folder: Path, which: str) -> Path | None:
    try:
        name = json.loads((folder / f"{which}.json").read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / name if _NAME.fullmatch(str(name)) else None


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, its files' sizes checked.

    Raises:
        CheckpointError: it is missing or no manifest, of a newer format, or a file is missing or of another size.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        version, files = int(manifest["format_version"]), dict(manifest["files"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no {MANIFEST}: it was never finished") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: {MANIFEST} cannot be read ({error})") from error
    if manifest.get("sha256") != _digest(manifest):
        raise CheckpointError(f"{path}: {MANIFEST} is damaged (its SHA-256 is another)")
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: format {version} is newer than this version of transformer-zoo knows ({FORMAT_VERSION}): upgrade it")
    for name, entry in files.items():
        try:
            size = (path / name).stat().st_size
        except OSError:
            raise CheckpointError(f"{path}: {name} is missing") from None
        if size != entry["size"]:
            raise CheckpointError(f"{path}: {name} is damaged ({size} bytes instead of {entry['size']})")
    return manifest


def _verified(path: Path, manifest: dict[str, Any], name: str) -> bytes:
    if name not in manifest["files"]:
        raise CheckpointError(f"{path}: {MANIFEST} does not list {name}")
    data = (path / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["files"][name]["sha256"]:
        raise CheckpointError(f"{path}: {name} is damaged (its SHA-256 is another)")
    return data


def _parsed(path: Path, manifest: dict[str, Any], name: str) -> Any:
    """A file of the checkpoint as tensors or JSON. Nothing in it is ever executed."""
    data = _verified(path, manifest, name)
    try:
        if name.endswith(".safetensors"):
            return safetensors.torch.load(data)
        if name.endswith(".json"):
            return json.loads(data)
        return torch.load(stdio.BytesIO(data), map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: {name} cannot be read ({str(error).strip().splitlines()[0]})") from error


def read_checkpoint(path: Path) -> Snapshot:
    """Read a checkpoint, verifying every byte.

    Raises:
        CheckpointError: anything about it is wrong.
    """
    manifest = read_manifest(path)
    averaged = _parsed(path, manifest, AVERAGED) if AVERAGED in manifest["files"] else None
    return Snapshot(
        weights=_parsed(path, manifest, MODEL),
        averaged=averaged,
        optimizer=_parsed(path, manifest, OPTIMIZER),
        rng=_parsed(path, manifest, RNG),
        state=_parsed(path, manifest, STATE),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights to evaluate and decode with: the averaged ones where the run averages, verified.

    Raises:
        CheckpointError: anything about them is wrong.
    """
    manifest = read_manifest(path)
    name = AVERAGED if AVERAGED in manifest["files"] else MODEL
    return _parsed(path, manifest, name)


def read_raw_weights(path: Path) -> dict[str, Tensor]:
    """The weights as the optimiser left them, verified.

    Raises:
        CheckpointError: anything about them is wrong.
    """
    return _parsed(path, read_manifest(path), MODEL)


def find_checkpoint(run: Path, which: str = "best") -> Path:
    """A run's `best` or `latest` checkpoint, or the one named `step-…`; `best` falls to the latest where nothing was evaluated.

    Raises:
        CheckpointError: there is none.
    """
    folder = run / "checkpoints"
    found: Path | None = None
    if _NAME.fullmatch(which):
        found = folder / which
    elif which in ("best", "latest"):
        found = (_named(folder, "best") if which == "best" else None) or _newest_whole(folder)
    if found is None or not found.is_dir():
        raise CheckpointError(f"{run}: there is no {which} checkpoint in {folder.absolute()}")
    return found


def _newest_whole(folder: Path) -> Path | None:
    for step in reversed(CheckpointStore(folder, Identity()).steps()):
        path = folder / checkpoint_name(step)
        try:
            read_manifest(path)
        except CheckpointError as error:
            logger.warning("%s", error)
            continue
        return path
    return None


def config_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, saved value, value now) where two configurations differ in what may not change."""
    old, new = _flat(saved), _flat(now)
    keys = sorted(old.keys() | new.keys())
    return [
        (key, old.get(key, "(not set)"), new.get(key, "(not set)"))
        for key in keys
        if old.get(key, "(not set)") != new.get(key, "(not set)") and not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
