"""How a family is held equal to its reference in `transformers`: outputs, loss, gradients, files. A family's test names classes and shapes.

Everything here is random but fixed, tiny, and in evaluation mode; references attend in the plain way (`eager`).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from torch import Tensor

from transformer_zoo import from_pretrained
from transformer_zoo.experiments.assemble import build_model
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.pretrained import Pretrained
from transformer_zoo.experiments.public import filled_model, open_public, settings_from
from transformer_zoo.interop.config_file import ConfigFile
from transformer_zoo.interop.reading import FileTensors, today
from transformer_zoo.interop.tensors import to_theirs
from transformer_zoo.training.weights import own_tensors

OUTPUT, GRADIENT, DIFFERENT = 1e-5, 1e-4, 1e-4
"""Largest difference of outputs; of loss and gradients; and what a changed setting must exceed."""
ROWS, LENGTH, TARGETS = 3, 9, 5
Batch = dict[str, Tensor]


def reference(cls: Any, config: Any, std: float = 0.3) -> Any:
    """A model of transformers whose every parameter is drawn, gains and biases too, so that each one matters. What their config ties stays tied."""
    config._attn_implementation = "eager"
    model = cls(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(gain + std * torch.randn(parameter.shape, generator=generator))
    return model


def saved(model: Any, folder: Path) -> Path:
    """The reference as transformers writes it."""
    with silent():
        model.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the bars that transformers draws."""
    transformers.utils.logging.disable_progress_bar()
    yield


# --- batches ------------------------------------------------------------------------------------------------------------------------


def batches(model: Any, *, segments: int = 0, length: int = LENGTH, left: bool = True, sees_all: tuple[int, ...] = ()) -> dict[str, Batch]:
    """Rows without padding, padded at the end, padded at the beginning (`left`), and with segments where there are any. Real tokens are never the
    padding token; padding always is. `sees_all` are places of tokens that see all, where the model knows such."""
    config, encoder_decoder = model.config, bool(getattr(model.config, "is_encoder_decoder", False))
    pad = config.pad_token_id or 0
    generator = torch.Generator().manual_seed(2)

    def ids(width: int) -> Tensor:
        drawn = torch.randint(0, config.vocab_size - 1, (ROWS, width), generator=generator)
        return drawn + (drawn >= pad)

    right = torch.arange(length).expand(ROWS, length) < torch.tensor([[length], [length - 4], [2]])
    found = {"plain": {"input_ids": ids(length)}}
    for name, mask in (("right", right), ("left", right.flip(1))):
        found[name] = {"input_ids": torch.where(mask, ids(length), pad), "attention_mask": mask.long()}
    if not left:
        del found["left"]
    if segments > 1:
        found["segments"] = found["right"] | {"token_type_ids": torch.randint(0, segments, (ROWS, length), generator=generator)}
    if sees_all:
        flags = torch.zeros(ROWS, length, dtype=torch.int64).index_fill(1, torch.tensor(sees_all), 1)
        found = {name: batch | {"global_attention_mask": flags * batch.get("attention_mask", 1)} for name, batch in found.items()}
    if encoder_decoder:
        found = {name: batch | {"decoder_input_ids": ids(TARGETS)} for name, batch in found.items()}
    return found


def seen(batch: Batch, like: Tensor) -> Tensor:
    """Which of the values [B,T,…] belong to real tokens; all of them where values belong to rows, or to a target."""
    mask = batch.get("attention_mask")
    if mask is None or "decoder_input_ids" in batch or like.shape[:2] != mask.shape:
        return torch.ones(like.shape[:-1], dtype=torch.bool)
    return mask.bool()


# --- outputs ------------------------------------------------------------------------------------------------------------------------


def their_scores(output: Any) -> Tensor | None:
    return next((output[name] for name in ("logits", "prediction_logits", "seq_relationship_logits") if name in output), None)


def their_hidden(model: Any, batch: Batch) -> Tensor:
    """The last hidden states, of an encoder-decoder those of the target."""
    body = getattr(model, model.base_model_prefix, None)
    if body is not None or not hasattr(model, "lm_head"):
        return (body or model)(**batch).last_hidden_state
    memory = model.encoder(batch["input_ids"], attention_mask=batch.get("attention_mask")).last_hidden_state  # T5, which has no body of its own
    return model.decoder(
        batch["decoder_input_ids"], encoder_hidden_states=memory, encoder_attention_mask=batch.get("attention_mask")
    ).last_hidden_state


def check_outputs(
    model: Any, ours: Pretrained, *, segments: int = 0, length: int = LENGTH, left: bool = True, sees_all: tuple[int, ...] = ()
) -> None:
    """Hidden states and scores of every batch."""
    for name, batch in batches(model, segments=segments, length=length, left=left, sees_all=sees_all).items():
        with torch.no_grad():
            expected = {"hidden": their_hidden(model, batch), "logits": their_scores(model(**batch))}
        found = {"hidden": ours.hidden(**batch), "logits": None if expected["logits"] is None else ours.logits(**batch)}
        for what, theirs in expected.items():
            if theirs is not None:
                mine, at = found[what], seen(batch, theirs)
                assert mine.shape == theirs.shape, (name, what, mine.shape, theirs.shape)
                assert not mine.requires_grad
                torch.testing.assert_close(mine[at], theirs[at], atol=OUTPUT, rtol=OUTPUT, msg=lambda text, n=name, w=what: f"{n} {w}: {text}")


def check_gradients(model: Any, folder: Path, *, length: int = LENGTH, sees_all: tuple[int, ...] = ()) -> None:
    """The loss on padded rows, and its gradient for every one of their tensors, mapped through the family's own table."""
    found = open_public(folder)
    ours = from_pretrained(folder, device="cpu")
    batch = batches(model, length=length, sees_all=sees_all)["right"]
    output = model(**batch)
    theirs = their_scores(output) if their_scores(output) is not None else output.last_hidden_state
    record = ours.model(ours.inputs(**batch))
    primary = ours.loaded.primary
    mine = record.hidden if primary is None else record.heads[primary]
    mine = mine.logits().unflatten(0, theirs.shape[:2]) if hasattr(mine, "logits") else mine
    mine = mine.flip(-1) if primary in found.family.reversed_classes else mine
    at = seen(batch, theirs)
    losses = [loss(scores[at]) for scores in (theirs, mine)]
    for one in losses:
        one.backward()
    torch.testing.assert_close(losses[1], losses[0], atol=GRADIENT, rtol=GRADIENT)
    gradients = {name: tensor.grad if tensor.grad is not None else torch.zeros_like(tensor) for name, tensor in own_tensors(ours.model).items()}
    # Two heads of ours may hold one tensor of theirs, whose gradient is then the sum of both; only the first head's is looked at here.
    mapped, _ = to_theirs([one for one in found.links if not _idle(one.ours, primary)], gradients)
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    expected = {now: expected[given] for now, given in today(found.family, found.settings, expected, "gradients").items()}
    assert expected.keys() <= mapped.keys(), expected.keys() - mapped.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(mapped[name], gradient, atol=GRADIENT, rtol=GRADIENT, msg=lambda text, n=name: f"{n}: {text}")


def loss(scores: Tensor) -> Tensor:
    """Cross-entropy of scores [N,C] against fixed classes; of hidden states as if they were scores; of yes or no [N] by turns."""
    if scores.dim() == 1:
        return F.binary_cross_entropy_with_logits(scores, torch.arange(len(scores)) % 2.0)
    classes = torch.arange(len(scores)) % scores.shape[-1]
    return F.cross_entropy(scores, classes)


def _idle(name: str, primary: str | None) -> bool:
    return name.startswith("heads.") and not name.startswith(f"heads.{primary}.")


# --- files --------------------------------------------------------------------------------------------------------------------------


def check_round_trip(model: Any, folder: Path, places: Path) -> None:
    """Import, then export: every tensor bitwise the same under the same name, the same config.json, and the same scores in transformers."""
    import_model(folder, places / "run")
    told = export_model(places / "run", places / "out")
    before, after = load_file(folder / "model.safetensors"), load_file(places / "out" / "model.safetensors")
    assert sorted(before) == sorted(after)
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype, name
        assert torch.equal(tensor.view(torch.uint8), after[name].view(torch.uint8)), name
    assert json.loads((folder / "config.json").read_text()) == json.loads((places / "out" / "config.json").read_text())
    assert "equal" in told["checks"]["transformers"]
    with silent(), torch.no_grad():
        loaded = type(model).from_pretrained(places / "out", attn_implementation="eager", dtype=torch.float32).eval()
        batch = batches(model)["plain"]
        # Not bitwise: how a product with a single row is summed depends on where its tensors lie in memory.
        for one, other in zip(_tensors(model(**batch)), _tensors(loaded(**batch)), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    # The run answers as the folder does.
    assert torch.equal(from_pretrained(places / "run", device="cpu").hidden(**batch), from_pretrained(folder, device="cpu").hidden(**batch))


def _tensors(output: Any) -> list[Tensor]:
    return [value for value in output.values() if isinstance(value, Tensor)]


def check_all(model: Any, places: Path, *, segments: int = 0, length: int = LENGTH, left: bool = True, sees_all: tuple[int, ...] = ()) -> None:
    """All of the above."""
    folder = saved(model, places / "theirs")
    check_outputs(model, from_pretrained(folder, device="cpu"), segments=segments, length=length, left=left, sees_all=sees_all)
    check_gradients(model, folder, length=length, sees_all=sees_all)
    check_round_trip(model, folder, places)
    check_written(folder)


def check_written(folder: Path) -> None:
    """What the family writes of the settings it read is read as the same settings."""
    found = open_public(folder)
    settings = to_dict(settings_from(found.settings))
    written = found.family.write(settings) | {"architectures": found.folder.config["architectures"]}
    again = ConfigFile(written)
    settled = found.family.settle(found.family.read(again), FileTensors(found.folder, found.names))
    assert to_dict(settings_from(settled)) == settings
    again.check()


# --- settings that matter -----------------------------------------------------------------------------------------------------------


def check_changes_matter(model: Any, folder: Path, changes: Mapping[str, Any], *, length: int = LENGTH) -> None:
    """With settings changed (dotted keys of the model's settings; a part is replaced whole), the same weights give other scores than theirs."""
    found = open_public(folder)
    plain = to_dict(settings_from(found.settings))
    for key, value in changes.items():
        *parents, last = key.split(".")
        node: Any = plain
        for parent in parents:
            node = node[parent]
        assert node[last] != value, f"{key} is {value!r} already"
        node[last] = value
    config = settings_from(plain)
    ours = from_pretrained(folder, device="cpu")
    ours.loaded.model = filled_model(config, found.heads, _fitting(found.weights(), config, found.heads), str(changes)).eval()
    batch = batches(model, length=length)["right"]
    with torch.no_grad():
        expected = their_scores(model(**batch))
    assert expected is not None
    at = seen(batch, expected)
    difference = float((ours.logits(**batch)[at] - expected[at]).abs().max())
    assert difference > DIFFERENT, f"{changes} changes nothing (largest difference {difference:.2g})"


def _fitting(weights: dict[str, Tensor], config: Any, heads: Any) -> dict[str, Tensor]:
    """The weights for a model whose norms stand in other places: what it has more is as it would be drawn, what it has less is left out."""
    torch.manual_seed(0)
    own = own_tensors(build_model(config, config.vocab_size, heads))
    return {name: weights.get(name, tensor.detach()) for name, tensor in own.items()}
