"""Measures attention at length: `python benchmarks/long_attention.py [rounds=N] [lengths=512,1024,…]`; `table` and `figure` draw what was kept.

One attention layer (width 256, 4 heads, one sequence, single precision) with full attention, a window (as a tensor of all pairs, and along its
band), Longformer and BigBird, forward and backward, masks included. Times are medians of interleaved rounds: every round runs every attention once,
so that whatever else the machine does hits all alike; the fastest round is kept too. Short rows get more rounds. Memory is what one forward and
backward adds to a fresh process at its peak: the high-water mark of resident memory, reset after a tiny first pass (`/proc/self`, Linux only).
Writes `benchmarks/results/long_attention.json` and `docs/figures/long_attention.svg`.
"""

import sys
from pathlib import Path

sys.path.sort(key=lambda folder: folder == str(Path(__file__).parent))  # last: profile.py here is not the standard library's

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.layers.attention.base import Attention, AttentionConfig
from transformer_zoo.layers.attention.bigbird import BigBirdConfig, BigBirdMask
from transformer_zoo.layers.attention.kernels import SDPAConfig, SDPAKernel
from transformer_zoo.layers.attention.longformer import LongformerConfig
from transformer_zoo.layers.attention.multihead import MultiheadConfig
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering, given
from transformer_zoo.layers.masks import Mask, MaskOperands
from transformer_zoo.layers.norms import NoNormConfig
from transformer_zoo.layers.positions import Site
from transformer_zoo.records import SequenceInputs
from transformer_zoo.reports.svg import Series, figure, line_chart
from transformer_zoo.training.environment import environment

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "long_attention.json"
FIGURE = ROOT / "docs" / "figures" / "long_attention.svg"
WIDTH, HEADS, THREADS, WINDOW = 256, 4, 2, 256
LENGTHS = (512, 1024, 2048, 4096, 8192)
ROUNDS = 7
MODEL_LENGTH = 4096


@dataclass(kw_only=True)
class AllPairsConfig(SDPAConfig):
    """The fused kernel with the window as a tensor of all pairs: what the band is to be compared with."""

    def build(self) -> "AllPairs":
        return AllPairs()


class AllPairs(SDPAKernel):
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        dense = mask.dense
        assert dense is not None
        return super().__call__(q, k, v, mask=given(dense), bias=bias, scale=scale, dropout=dropout)


_SLOTS: dict[str, Any] = {"kernel": SDPAConfig(), "qk_norm": NoNormConfig()}
ATTENTIONS: dict[str, AttentionConfig] = {
    "full": MultiheadConfig(**_SLOTS),
    "window, all pairs": MultiheadConfig(kernel=AllPairsConfig(), qk_norm=NoNormConfig(), window=WINDOW),
    "window": MultiheadConfig(**_SLOTS, window=WINDOW),
    "longformer": LongformerConfig(**_SLOTS, window=WINDOW),
    "bigbird": BigBirdConfig(**_SLOTS, block_size=64, n_random=3),
}


@dataclass
class Layer:
    """One attention and an input, ready to run."""

    module: Attention
    x: Tensor  # [1, T, D]
    operands: MaskOperands

    def forward(self) -> Tensor:
        return self.module(self.x, mask=MaskLowering(self.operands)(self.module.own_mask), positions=Site())

    def backward(self, out: Tensor) -> None:
        self.x.grad = None
        self.module.zero_grad()
        out.square().mean().backward()


def layer(name: str, length: int) -> Layer:
    torch.manual_seed(0)
    slots = torch.arange(length)
    chosen = ((slots == 0) | (slots == length // 2)).unsqueeze(0) if name == "longformer" else None  # two global tokens
    operands = MaskOperands(query_slots=slots, key_slots=slots, query_global=chosen, key_global=chosen)
    module = ATTENTIONS[name].build(d_model=WIDTH, n_heads=HEADS)
    return Layer(module, torch.randn(1, length, WIDTH, requires_grad=True), operands)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure_times(length: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of forward and of backward by attention, and those of both in the fastest round."""
    layers = {name: layer(name, length) for name in ATTENTIONS}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for number in range(rounds + 1):  # the first round warms up
        for name, one in layers.items():
            forward, out = seconds(one.forward)
            backward, _ = seconds(lambda one=one, out=out: one.backward(out))  # type: ignore[misc]
            if number:
                taken[name].append((forward, backward))
    return {
        name: {
            "forward": statistics.median(f for f, _ in pairs),
            "backward": statistics.median(b for _, b in pairs),
            "fastest": min(f + b for f, b in pairs),
        }
        for name, pairs in taken.items()
    }


def resident(field: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` the most since it was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def own_peak(name: str, length: int) -> float:
    """MiB that a forward and backward add to this process."""
    small = layer(name, 64)
    small.backward(small.forward())
    one = layer(name, length)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    one.backward(one.forward())
    return resident("VmHWM") - before


def measure_memory(name: str, length: int) -> float:
    """The same in a fresh process."""
    words = [sys.executable, __file__, "memory", name, str(length)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def measure_model(rounds: int, length: int = MODEL_LENGTH) -> dict[str, float]:
    """Median seconds of forward and backward of a whole BERT of 4 layers (width 256), with full attention and with a window."""
    settings = ("model/size=mini", f"model.max_length={length}", "model.attention.dropout=0")
    chosen = {"full": settings, "window": (*settings, f"model.attention.window={WINDOW}")}
    models = {name: recipe("bert", *words).build(vocab_size=8000, heads={}) for name, words in chosen.items()}
    inputs = SequenceInputs(token_ids=torch.randint(7, 8000, (1, length)))

    def step(model: nn.Module) -> None:
        model.zero_grad()
        model(inputs).hidden.square().mean().backward()

    taken: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, model in models.items():
            spent, _ = seconds(lambda model=model: step(model))  # type: ignore[misc]
            if number:
                taken[name].append(spent)
    return {name: statistics.median(values) for name, values in taken.items()}


@dataclass(frozen=True)
class FirstBlockMask(BigBirdMask):
    """BigBird's pattern with the first block in the place of every random one, as transformers has it in evaluation."""

    def key_blocks(self) -> Tensor:
        blocks = super().key_blocks()
        blocks[:, :, 5:] = 0
        return blocks


def evaluation_difference(length: int = 4096) -> float:
    """How far one layer's output moves where random blocks are replaced by the first one: root mean square difference over root mean square."""
    one = layer("bigbird", length)
    own = one.module.own_mask
    assert isinstance(own, BigBirdMask)
    other: Mask = FirstBlockMask(**vars(own))
    with torch.no_grad():
        ours, theirs = (one.module(one.x, mask=MaskLowering(one.operands)(mask), positions=Site()) for mask in (own, other))
    return float((ours - theirs).square().mean().sqrt() / ours.square().mean().sqrt())


def measure(lengths: tuple[int, ...], rounds: int, words: list[str]) -> dict[str, Any]:
    facts = environment(device=torch.device("cpu"), world_size=1)
    times = {str(length): measure_times(length, rounds * max(1, LENGTHS[-2] // length)) for length in lengths}
    memory = {str(length): {name: measure_memory(name, length) for name in ATTENTIONS} for length in lengths}
    return {
        "command": " ".join(["python benchmarks/long_attention.py", *words]),
        "machine": {**facts["machine"], "threads": facts["threads"], "versions": facts["versions"]},
        "rounds": rounds,
        "seconds": times,
        "peak_mib": memory,
        "model": {"length": MODEL_LENGTH, "seconds": measure_model(rounds)},
        "bigbird_evaluation_difference": evaluation_difference(),
    }


def table(kept: dict[str, Any]) -> str:
    """Milliseconds of forward + backward (in brackets both in the fastest round) and MiB, as Markdown."""
    lines = [f"| tokens | {' | '.join(ATTENTIONS)} |", "|---" * (len(ATTENTIONS) + 1) + "|"]
    for length, found in kept["seconds"].items():
        cells = []
        for name in ATTENTIONS:
            one = found[name]
            forward, backward, fastest = (round(one[key] * 1e3) for key in ("forward", "backward", "fastest"))
            cells.append(f"{forward} + {backward} ({fastest}) ms, {kept['peak_mib'][length][name]:.0f} MiB")
        lines.append(f"| {length} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drawing(kept: dict[str, Any]) -> str:
    """Time and memory over the length."""

    def lines(value: Callable[[str, str], float]) -> list[Series]:
        points = {name: [(float(length), value(length, name)) for length in kept["seconds"]] for name in ATTENTIONS}
        return [Series(label=name, points=points[name], colour=number) for number, name in enumerate(ATTENTIONS)]

    def titled(title: str, value: Callable[[str, str], float]) -> tuple[str, str]:
        return title, line_chart(lines(value), name=title, x_label="tokens")

    return figure(
        [
            titled("seconds, forward and backward, fastest round", lambda length, name: kept["seconds"][length][name]["fastest"]),
            titled("MiB at the peak", lambda length, name: kept["peak_mib"][length][name]),
        ]
    )


def main() -> None:
    torch.set_num_threads(THREADS)
    words = sys.argv[1:]
    if words[:1] == ["memory"]:
        print(own_peak(words[1], int(words[2])))
        return
    if words not in (["table"], ["figure"]):
        given = dict(word.split("=") for word in words)
        lengths = tuple(int(length) for length in given.get("lengths", ",".join(map(str, LENGTHS))).split(","))
        RESULT.write_text(json.dumps(measure(lengths, int(given.get("rounds", ROUNDS)), words), indent=1) + "\n")
    kept = json.loads(RESULT.read_text())
    FIGURE.write_text(drawing(kept))
    print(table(kept))


if __name__ == "__main__":
    main()
