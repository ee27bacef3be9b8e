"""Run folders and studies that nobody trained, for tests of reports."""

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

PARTS = ("embeddings", "attention", "feedforward", "norms", "vocabulary head")


def fabricated_study(folder: Path, groups: dict[str, dict[str, str]], *, seeds: int = 1, points: int = 60, failed: int = 0) -> Path:
    """A study with a run for every group (label → factor → level) and seed; the last `failed` ones have not finished."""
    cells, contestants = [], []
    total = len(groups) * seeds
    for number, (label, levels) in enumerate(groups.items()):
        size = 100_000 * (1 + number % 7)
        for seed in range(seeds):
            name = f"runs/run{number:02d}-seed{seed}"
            cells.append({"label": label, "seed": seed, "levels": levels, "run": name, "failure": "", "overrides": []})
            left = total - len(cells)
            if left == 0 and failed > 1:
                continue  # planned, not there
            fabricated_run(folder / name, levels, number=number, seed=seed, size=size, points=points, finished=left >= failed)
        parts = [
            {"name": part, "parameters": size // (n + 2), "forward": size * 3.0 / (n + 1), "backward": size * 6.0 / (n + 1)}
            for n, part in enumerate(PARTS)
        ]
        contestants.append({"name": label, "parameters": size, "overrides": [], "levels": levels, "costs": {"parts": parts}})
    plan = {
        "kind": "compare",
        "command": ["compare", f"seeds={seeds}", "optimizer.lr=1e-3", "title=it's"],
        "declared": sorted({factor for levels in groups.values() for factor in levels} | {"model"}),
        "matched": ["tokens"],
        "baseline": next(iter(groups)),
        "contestants": contestants,
        "cells": cells,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return folder


def fabricated_run(folder: Path, levels: dict[str, str], *, number: int, seed: int, size: int, points: int, finished: bool = True) -> None:
    """Losses that fall as powers of the steps, deterministic in `number` and `seed`."""
    draw = random.Random(100 * number + seed)
    folder.mkdir(parents=True)
    sections: dict[str, Any] = {"seed": seed, "run_dir": str(folder), "model": {"kind": "bert", "d_model": 64 + 8 * (number % 7)}}
    for factor, level in levels.items():
        sections.setdefault(factor.split(".")[0], {})
        if "." in factor:
            sections[factor.split(".")[0]][factor.split(".")[1]] = level
    (folder / "config.yaml").write_text(yaml.safe_dump(sections))
    words = [f"{factor}={level}" for factor, level in levels.items()]
    (folder / "overrides.txt").write_text("".join(f"{word}\n" for word in [*words, f"seed={seed}", f"run_dir={folder}"]))
    lines = []
    goal = 2.0 + 0.11 * (number % 11) + draw.gauss(0, 0.03)
    last = points if finished else points // 3
    for point in range(1, last + 1):
        step, wobble = 50 * point, draw.gauss(0, 0.02)
        loss = goal + 3.5 * point**-0.7 + wobble
        at = {"step": step, "tokens": 4096 * step, "seconds": round(step * (0.02 + 0.004 * (number % 5)), 3)}
        lines.append({**at, "train/loss": loss + 0.1})
        lines.append({**at, "validation/loss": loss, "validation/bits_per_byte": loss / 2.7, "validation/mlm_accuracy": math.exp(-loss / 2)})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = {"status": "done"} if finished else {"status": "failed", "reason": "loss is nan at step 1000; lower optimizer.lr"}
    (folder / "status.json").write_text(json.dumps(status))
    commit = {"commit": "0123456789abcdef", "changed": False}
    kernels = [{"attention": "stack: self-attention", "layers": "0-3", "kernel": "sdpa: flash, no mask"}]
    environment = {"versions": {"transformer-zoo": "0.1.0"}, "code": commit, "attention_kernels": kernels, "matrix_products": "oneDNN"}
    (folder / "environment.json").write_text(json.dumps(environment))
    if finished:
        end = lines[-1]
        sizes = {"parameters": size, "parameters_embedding": size // 2, "steps": end["step"], "tokens": end["tokens"], "seconds": end["seconds"]}
        costs = {"flops": 6.0 * size * end["tokens"], "tokens_per_second": end["tokens"] / end["seconds"], "peak_memory_bytes": 5e8 + 900 * size}
        (folder / "summary.json").write_text(json.dumps({"status": "done", **sizes, **costs}))


def three() -> dict[str, dict[str, str]]:
    return {f"model={name}": {"model": name} for name in ("bert", "modernbert", "gpt2")}


def sixty() -> dict[str, dict[str, str]]:
    """Combinations of three factors, with long labels."""
    groups = {}
    for positions in ("learned", "sinusoidal", "rotary", "alibi", "t5"):
        for ratio in ("0.15", "0.3", "0.4", "0.6"):
            for rate in ("0.0003", "0.001", "0.003"):
                levels = {"model/positions": positions, "objective.mask_ratio": ratio, "optimizer.lr": rate}
                groups[" ".join(f"{factor}={level}" for factor, level in levels.items())] = levels
    return groups
