"""Trains on real text and keeps what came out: `python benchmarks/real_text.py shakespeare|multi30k|books [label=WORD] [run_dir=DIR] [key=value …]`.

Reads `$TRANSFORMER_ZOO_DATA` (README says what lies there). Writes `benchmarks/results/NAME.json`, or NAME_WORD with a label: the command, the
machine, the seconds, the curve, held-out figures on the whole validation and test splits, and what the model says. With `run_dir=DIR` the run is
kept in DIR/NAME, and a finished one is only measured. Without arguments it prints the table of all results.
"""

import sys
from pathlib import Path

sys.path.sort(key=lambda folder: folder == str(Path(__file__).parent))  # last: profile.py here is not the standard library's

import json
import logging
import tempfile
from typing import Any

from transformer_zoo.evaluation.bleu import BleuConfig
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.loaded_run import LoadedRun, load_run
from transformer_zoo.experiments.run import train
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.fill_mask import fill_mask
from transformer_zoo.generation.sampling import SamplingConfig
from transformer_zoo.generation.text import continue_prompts, translate

RESULTS = Path(__file__).parent / "results"
EXPERIMENTS = {"shakespeare": "shakespeare_gpt", "multi30k": "multi30k_transformer", "books": "books_bert"}
SHOWN = ("loss", "perplexity", "bits_per_byte", "mlm_accuracy", "nsp_accuracy", "bleu")

MASKED = (
    "He opened the [MASK] and went into the room.",
    "She looked at [MASK] with tears in her eyes.",
    "I do not [MASK] what you mean, said he.",
    "The captain of the [MASK] gave the order to his men.",
    "It was a cold winter [MASK], and the snow lay deep.",
)
SOURCES = ("A man in a blue shirt is standing on a ladder.", "Two young girls are playing in the park.", "A dog runs through the snow.")


def samples(name: str, run: LoadedRun) -> list[str]:
    """What a reader would like to see of the trained model."""
    model: Any = run.model
    if name == "shakespeare":
        generator = SamplingConfig(temperature=0.8, max_new_tokens=300).build(seed=0)
        window = run.config.data.sequence_length
        return continue_prompts(model, run.tokenizer, ["ROMEO:\n"], generator, begins_document=False, window=window, device=run.device)
    if name == "multi30k":
        return [
            f"{s} -> {t}"
            for s, t in zip(SOURCES, translate(model, run.tokenizer, list(SOURCES), BeamConfig().build(), device=run.device), strict=True)
        ]
    filled = [fill_mask(model, run.tokenizer, text, top_k=5, device=run.device) for text in MASKED]
    return [f"{text} -> {', '.join(f'{c.token} {c.probability:.2f}' for c in one.candidates[0])}" for text, one in zip(MASKED, filled, strict=True)]


def measure(name: str, overrides: list[str]) -> dict[str, Any]:
    """Trains experiment `name` and evaluates its best checkpoint."""
    places = [word.partition("=")[2] for word in overrides if word.startswith("run_dir=")]
    overrides = [word for word in overrides if not word.startswith("run_dir=")]
    given = [f"experiment={EXPERIMENTS[name]}", *overrides]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(places[0] if places else folder) / name
        result = train(experiment([*given, f"run_dir='{path}'"]), given)
        metrics: dict[str, float] = {}
        splits = ["validation"] if name == "shakespeare" else ["validation", "test"]
        for split in splits:
            metrics |= evaluate_run(path, LossConfig(split=split))["metrics"]
        notes: dict[str, str] = {}
        if name == "multi30k":
            found = evaluate_run(path, BleuConfig(split="test"))
            metrics |= found["metrics"]
            notes = found["notes"]
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        environment = json.loads((path / "environment.json").read_text())
        summary = result.summary
        return {
            "command": f"python benchmarks/real_text.py {' '.join([name, *overrides])}",
            "machine": {**environment["machine"], "threads": environment["threads"], "versions": environment["versions"]},
            "parameters": summary["parameters"],
            "steps": summary["steps"],
            "tokens": summary["tokens"],
            "seconds": summary["seconds"],
            "tokens_per_second": summary["tokens_per_second"],
            "metrics": metrics,
            "notes": notes,
            "curve": [
                {key: line[key] for key in line if key in ("step", "seconds") or key.startswith("validation/")}
                for line in lines
                if "validation/loss" in line
            ],
            "samples": samples(name, load_run(path)),
        }


def table() -> str:
    """All kept results as Markdown."""
    rows = ["| command | seconds | parameters | held-out figures |", "|---|---|---|---|"]
    for file in sorted(RESULTS.glob("*.json")):
        kept = json.loads(file.read_text())
        if "metrics" not in kept:
            continue
        figures = ", ".join(f"{key} {value:.4g}" for key, value in kept["metrics"].items() if key.rpartition("/")[2] in SHOWN)
        rows.append(f"| `{kept['command']}` | {kept['seconds']:.0f} | {kept['parameters'] / 1e6:.1f} M | {figures} |")
    return "\n".join(rows)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) == 1:
        print(table())
        return
    name, *overrides = sys.argv[1:]
    if name not in EXPERIMENTS:
        sys.exit(f"{name}: choose one of {', '.join(EXPERIMENTS)}")
    labels = [word for word in overrides if word.startswith("label=")]
    result = measure(name, [word for word in overrides if word not in labels])
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{'_'.join([name, *(word.partition('=')[2] for word in labels)])}.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{file}\n{table()}")


if __name__ == "__main__":
    main()
