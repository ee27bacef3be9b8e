"""A checkpoint is whole or not there, and damage is found: every file, every kind of damage, a crash at every operation on the disk."""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from training.tiny import train
from transformer_zoo.errors import CheckpointError
from transformer_zoo.training import io
from transformer_zoo.training.checkpoints import (
    FORMAT_VERSION,
    CheckpointStore,
    Identity,
    Snapshot,
    _digest,
    config_differences,
    find_checkpoint,
    read_checkpoint,
    read_weights,
)
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.weights import load_model_weights, model_weights

IDENTITY = Identity(config={"model": {"width": 8}}, tokenizer="abc", data="def")


def snapshot(step: int, *, averaged: bool = False) -> Snapshot:
    weights = {"w": torch.full((3, 2), float(step)), "b": torch.arange(4.0)}
    return Snapshot(
        weights=weights,
        averaged={name: value + 1 for name, value in weights.items()} if averaged else None,
        optimizer={"w": {"step": torch.tensor(float(step)), "exp_avg": torch.ones(3, 2) * step}},
        rng={"ranks": [{"cpu": torch.get_rng_state(), "python": (3, (1, 2), None)}]},
        state={"step": step, "tokens": 10 * step, "stream": {"seed": 0, "epoch": 0, "consumed": step}},
    )


def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder, IDENTITY)


def save(folder: Path, *steps: int, best: int | None = None, keep_last: int = 10, **settings: Any) -> None:
    for step in steps:
        store(folder).save(snapshot(step, **settings), is_best=step == best, keep_last=keep_last)


def restored_step(folder: Path, resume: str = "auto") -> int | None:
    found = store(folder).restore(resume)
    if found is None:
        return None
    path, loaded = found
    assert float(loaded.weights["w"][0, 0]) == loaded.state["step"] == float(loaded.optimizer["w"]["step"])
    assert path.name == f"step-{loaded.state['step']:08d}"
    return int(loaded.state["step"])


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    save(tmp_path, 7, averaged=True, best=7)
    loaded, original = read_checkpoint(tmp_path / "step-00000007"), snapshot(7, averaged=True)
    torch.testing.assert_close(loaded.weights, original.weights, rtol=0, atol=0)
    torch.testing.assert_close(loaded.averaged, original.averaged, rtol=0, atol=0)
    torch.testing.assert_close(loaded.optimizer, original.optimizer, rtol=0, atol=0)
    assert loaded.state == original.state
    assert torch.equal(loaded.rng["ranks"][0]["cpu"], original.rng["ranks"][0]["cpu"])
    manifest = json.loads((tmp_path / "step-00000007" / "manifest.json").read_text())
    assert manifest["format_version"] == FORMAT_VERSION
    assert (manifest["step"], manifest["tokens"], manifest["tokenizer_hash"], manifest["data_fingerprint"]) == (7, 70, "abc", "def")
    assert set(manifest["files"]) == {"model.safetensors", "averaged.safetensors", "optim.pt", "rng.pt", "state.json"}
    torch.testing.assert_close(read_weights(tmp_path / "step-00000007"), original.averaged)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


FILES = ["model.safetensors", "averaged.safetensors", "optim.pt", "rng.pt", "state.json", "manifest.json"]
DAMAGES: list[Callable[[Path], None]] = [truncate, empty, flip, Path.unlink]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(tmp_path: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture) -> None:
    """`auto` goes back to the next older one and says so; a checkpoint that is named is never replaced by another."""
    save(tmp_path, 1, 2, 3, averaged=True)
    damage(tmp_path / "step-00000003" / name)
    with pytest.raises(CheckpointError, match=r"step-00000003: "):
        store(tmp_path).restore(str(tmp_path / "step-00000003"))
    before = store(tmp_path)
    found = before.restore("auto")
    assert found is not None
    assert found[1].state["step"] == 2
    assert "DAMAGED CHECKPOINT" in caplog.text
    assert "step-00000003" in before.notes[0]
    assert before.steps() == [1, 2]
    assert list(tmp_path.glob("damaged-step-00000003-*"))


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = tmp_path / "step-00000001" / "manifest.json"
    path.write_text(path.read_text().replace('"tokens": 10', '"tokens": 11'))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        read_checkpoint(path.parent)


def test_all_bad_is_no_fresh_start(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for step in (1, 2):
        flip(tmp_path / f"step-0000000{step}" / "model.safetensors")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is usable: .*step-00000002.*step-00000001"):
            store(tmp_path).restore("auto")


def test_none_yet_is_a_fresh_start(tmp_path: Path) -> None:
    assert restored_step(tmp_path / "nothing") is None
    assert restored_step(tmp_path) is None


def test_order_is_by_number_not_by_time(tmp_path: Path) -> None:
    save(tmp_path, 9, 10, 100000000, 2)
    for step, age in ((9, 5), (10, 900), (100000000, 9000), (2, 0)):
        path = store(tmp_path).path(step)
        os.utime(path, (10**9 - age, 10**9 - age))
    assert restored_step(tmp_path) == 100000000


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = tmp_path / "step-00000001" / "manifest.json"
    manifest = {**json.loads(path.read_text()), "format_version": FORMAT_VERSION + 1}
    path.write_text(json.dumps({**manifest, "sha256": _digest(manifest)}))
    with pytest.raises(CheckpointError, match=r"format 2 is newer than this version of transformer-zoo knows \(1\): upgrade it"):
        read_checkpoint(path.parent)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = CheckpointStore(tmp_path, Identity(config=IDENTITY.config, tokenizer="zzz", data="def"))
    with pytest.raises(CheckpointError, match=r"tokenizer \(fingerprint\): abc in the checkpoint, zzz now"):
        other.restore("auto")


def test_differences_leave_out_what_may_change() -> None:
    old = {"model": {"width": 8, "kind": "a"}, "training": {"steps": 5, "batch_size": 4}, "tracker": {"kind": "jsonl"}}
    new = {"model": {"width": 8, "kind": "b"}, "training": {"steps": 9, "batch_size": 8}, "tracker": {"kind": "wandb", "mode": "offline"}}
    assert config_differences(old, new) == [("model.kind", "a", "b"), ("training.batch_size", 4, 8)]


# --- malice -------------------------------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    """A pickle that runs code, with a manifest that is in order."""
    save(tmp_path, 1)
    path, canary = tmp_path / "step-00000001", tmp_path / "canary"
    torch.save({"w": Evil(canary)}, path / "optim.pt")
    manifest = json.loads((path / "manifest.json").read_text())
    data = (path / "optim.pt").read_bytes()
    manifest["files"]["optim.pt"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["sha256"] = _digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"optim\.pt cannot be read"):
        read_checkpoint(path)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["../../etc", "step-1/../..", "step-00000001/x", 7, None])
def test_a_pointer_cannot_lead_elsewhere(tmp_path: Path, name: Any) -> None:
    save(tmp_path / "checkpoints", 1)
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"name": name}))
    assert find_checkpoint(tmp_path, "best").name == "step-00000001"
    with pytest.raises(CheckpointError, match=r"there is no \.\./x checkpoint"):
        find_checkpoint(tmp_path, "../x")


# --- rotation -----------------------------------------------------------------------------------------------------------------------


def test_rotation_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5, 6, best=2, keep_last=2)
    assert store(tmp_path).steps() == [2, 5, 6]
    assert json.loads((tmp_path / "latest.json").read_text()) == {"name": "step-00000006", "step": 6}
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 2
    save(tmp_path, 7, best=7, keep_last=2)
    assert store(tmp_path).steps() == [6, 7]


def test_an_unplanned_checkpoint_does_not_outlive_the_next(tmp_path: Path) -> None:
    save(tmp_path, 2, 4, keep_last=2)
    store(tmp_path).save(snapshot(5), is_best=False, keep_last=2, planned=False)
    assert store(tmp_path).steps() == [2, 4, 5]
    save(tmp_path, 6, keep_last=2)
    assert store(tmp_path).steps() == [4, 6]


def test_best_and_latest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no best checkpoint"):
        find_checkpoint(tmp_path)
    save(tmp_path / "checkpoints", 1, 2, 3)
    assert find_checkpoint(tmp_path).name == "step-00000003"
    save(tmp_path / "checkpoints", 2, best=2)
    assert find_checkpoint(tmp_path).name == "step-00000002"
    assert find_checkpoint(tmp_path, "latest").name == "step-00000003"
    assert find_checkpoint(tmp_path, "step-00000001").name == "step-00000001"
    with pytest.raises(CheckpointError, match="there is no step-00000009 checkpoint"):
        find_checkpoint(tmp_path, "step-00000009")


# --- a crash, or a full disk, at every operation ------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: no clean-up of ours may run on it."""


def operations(action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many things an action does to the disk."""
    seen: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(io, "before", lambda operation, path: seen.append(operation))
        action()
    return len(seen)


def break_at(number: int, error: BaseException) -> Callable[[str, Path], None]:
    count = [0]

    def hook(operation: str, path: Path) -> None:
        count[0] += 1
        if count[0] == number or (count[0] > number and isinstance(error, Crash)):
            raise error

    return hook


def test_a_crash_at_any_operation_leaves_a_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two saves, rotation included: what is found afterwards is one of the two, whole; and the next start tidies up and goes on."""
    base = tmp_path / "base"
    save(base, 1, 2, 3, keep_last=2, best=1)
    shutil.copytree(base, tmp_path / "counted")
    total = operations(lambda: save(tmp_path / "counted", 4, keep_last=2, best=4), monkeypatch)
    assert total > 25
    found = []
    for number in range(1, total + 1):
        folder = tmp_path / f"crash-{number}"
        shutil.copytree(base, folder)
        with monkeypatch.context() as patch:
            patch.setattr(io, "before", break_at(number, Crash()))
            with pytest.raises(Crash):
                save(folder, 4, keep_last=2, best=4)
        store(folder).clean()
        assert not list(folder.glob(".t*"))
        step = restored_step(folder)
        assert step in (3, 4)
        found.append(step)
        save(folder, 4, 5, keep_last=2, best=4)
        assert store(folder).steps() == [4, 5]
    assert found == sorted(found)
    assert set(found) == {3, 4}


def test_a_crash_while_saving_the_same_step_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    save(base, 1, 2)
    shutil.copytree(base, tmp_path / "counted")
    total = operations(lambda: save(tmp_path / "counted", 2), monkeypatch)
    for number in range(1, total + 1):
        folder = tmp_path / f"crash-{number}"
        shutil.copytree(base, folder)
        with monkeypatch.context() as patch:
            patch.setattr(io, "before", break_at(number, Crash()))
            with pytest.raises(Crash):
                save(folder, 2)
        store(folder).clean()
        assert restored_step(folder) in (1, 2)


def test_a_full_disk_at_any_operation_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    save(base, 1, 2, 3, keep_last=2)
    shutil.copytree(base, tmp_path / "counted")
    total = operations(lambda: save(tmp_path / "counted", 4, keep_last=2), monkeypatch)
    for number in range(1, total + 1):
        folder = tmp_path / f"full-{number}"
        shutil.copytree(base, folder)
        with monkeypatch.context() as patch:
            patch.setattr(io, "before", break_at(number, OSError(errno.ENOSPC, "No space left on device")))
            with pytest.raises(CheckpointError) as caught:
                save(folder, 4, keep_last=2)
        message = str(caught.value)
        assert "step-00000004: could not be saved (the disk is full: free some space or lower training.keep_last)" in message
        assert "step-00000003 is intact" in message
        assert not list(folder.glob(".tmp-*"))
        assert restored_step(folder) in (3, 4)


def test_a_full_disk_ends_the_run_with_that_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = [0]

    def full(operation: str, path: Path) -> None:
        count[0] += path.name == "optim.pt" and operation == "open"
        if count[0] > 1 and path.name == "optim.pt":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io, "before", full)
    with pytest.raises(CheckpointError, match="the disk is full") as caught:
        train(tmp_path, training=TrainingConfig(steps=10, checkpoint_every=5, evaluate_every=100))
    assert "step-00000005 is intact" in str(caught.value)
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("mask", [0o022, 0o007])
def test_modes_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save(tmp_path / "c", 1)
    finally:
        os.umask(before)
    folder = tmp_path / "c" / "step-00000001"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask
    for path in [*folder.iterdir(), tmp_path / "c" / "latest.json"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path


# --- weights ------------------------------------------------------------------------------------------------------------------------


def test_tied_weights_are_saved_once(tmp_path: Path) -> None:
    from training.tiny import TinyModel

    model, other = TinyModel(), TinyModel()
    weights = model_weights(model)
    assert "heads.vocabulary.weight" not in weights
    assert safetensors.torch.load(safetensors.torch.save(weights)).keys() == weights.keys()
    assert load_model_weights(other, weights, "here") == []
    for (name, one), two in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert other.heads["vocabulary"].weight is other.embedding.weight


def test_misfits_are_named() -> None:
    model = torch.nn.Linear(3, 2)
    weights = {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(model, weights, "run x")
    assert str(caught.value) == (
        "run x does not fit the model: bias: not in the file; extra: not in the model; weight: [2, 4] in the file, [2, 3] in the model"
    )
    before = model.weight.clone()
    assert len(load_model_weights(model, {**weights, "bias": torch.ones(2)}, "run x", strict=False)) == 2
    assert torch.equal(model.bias, torch.ones(2))
    assert torch.equal(model.weight, before)
