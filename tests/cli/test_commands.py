"""What the commands print, on one small run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.cli.main import main

Zoo = Any
SMALL = ["model/size=tiny", "data.n_documents=24", "data.n_held_out=6", "data.sequence_length=32", "tokenizer=word", "training.batch_size=4"]
"""A training of seconds."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one step in `runs/gpt` and the prepared data in `cache`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(folder / "cache"))
        assert main(["train", "model=gpt2", *SMALL, "training.steps=1", "run_dir=runs/gpt"]) == 0
    return folder


@pytest.fixture
def run(zoo: Zoo, trained: Path, tmp_path: Path) -> str:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return "runs/gpt"


def test_a_run_is_measured_the_same_to_the_byte(zoo: Zoo, run: str) -> None:
    first, second = zoo("evaluate", f"run={run}", "--json"), zoo("evaluate", f"run={run}", "--json")
    assert first.code == 0
    assert first.out == second.out
    document = json.loads(first.out)
    assert set(document) == {"evaluation", "metrics"}
    assert document["evaluation"] == "loss"
    assert {"validation/loss", "validation/perplexity", "validation/bits_per_byte"} <= set(document["metrics"])
    lines = zoo("evaluate", f"run={run}", "evaluation.split=test").out.splitlines()
    assert any(line.startswith("test/loss ") for line in lines)


def test_masked_models_are_measured_on_the_same_masks(zoo: Zoo) -> None:
    for seed, words in enumerate((["objective=mlm"], ["objective=mlm_nsp", "objective.mask_ratio=0.4"])):
        assert zoo("train", "model=bert", *SMALL, *words, f"seed={seed}", "training.steps=1", f"run_dir=runs/bert{seed}").code == 0
    told = [zoo("evaluate", f"run=runs/bert{run}", "evaluation=mask_grid", "--json").out for run in (0, 0, 1)]
    assert told[0] == told[1]
    one, _, other = (json.loads(text) for text in told)
    ratios = ["0.15", "0.3", "0.4", "0.5", "0.8"]
    assert list(one) == ["evaluation", "metrics", "notes", *ratios]
    assert one["evaluation"] == "mask_grid"
    for ratio in ratios:
        assert {"loss", "accuracy", "bits_per_byte", "predicted", "positions_sha256", "floor"} == set(one[ratio])
        assert one["metrics"][f"validation/mask_grid/{ratio}/loss"] == one[ratio]["loss"] != other[ratio]["loss"]
        assert [one[ratio][key] for key in ("predicted", "positions_sha256", "floor")] == [
            other[ratio][key] for key in ("predicted", "positions_sha256", "floor")
        ]
    # at the end of training the same was measured, of the same weights and, since the split is small, of all of it
    summary = json.loads(Path("runs/bert1/summary.json").read_text())
    assert other["metrics"].items() <= summary["metrics"]["final"].items()
    assert summary["notes"] == other["notes"]
    assert zoo("report", "runs", "--output", "r.html").code == 0
    assert "## Mask grid (validation)" in Path("r.md").read_text(encoding="utf-8")


def test_each_token_hidden_alone(zoo: Zoo) -> None:
    assert zoo("train", "model=bert", *SMALL, "training.steps=1", "final_evaluation=null", "run_dir=runs/bert").code == 0
    assert "mask_grid" not in Path("runs/bert/summary.json").read_text()
    words = ["evaluate", "run=runs/bert", "evaluation=pseudo_perplexity", "evaluation.max_samples=3"]
    lines = zoo(*words).out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == [f"validation/pseudo_{name}" for name in ("loss", "perplexity", "bits_per_byte", "accuracy")]
    assert re.fullmatch(r"pseudo_perplexity: \d+ tokens of 3 samples, each hidden alone", lines[4])
    assert zoo(*words, "--json").out == zoo(*words, "--json").out


@pytest.mark.parametrize("evaluation", ["mask_grid", "pseudo_perplexity"])
def test_a_decoder_hides_no_tokens(zoo: Zoo, run: str, evaluation: str) -> None:
    told = zoo("evaluate", f"run={run}", f"evaluation={evaluation}", "--json")
    assert told.code == 2
    assert told.out == ""
    assert told.lines[-1] == (
        f"transformer-zoo: evaluation={evaluation} hides tokens, and this model was not trained to predict hidden ones from both sides "
        "(as by objective=mlm, mlm_nsp, mlm_sop or replaced_token): use evaluation=loss"
    )


def test_a_run_continues_a_prompt(zoo: Zoo, run: str) -> None:
    told = zoo("generate", f"run={run}", "prompt=the dog, (and) 'more' = text", "generation=greedy", "generation.max_new_tokens=3", "--json")
    assert told.code == 0, told.err
    document = json.loads(told.out)
    assert document["prompt"] == "the dog, (and) 'more' = text", "a prompt is taken as it is typed"
    again = zoo("generate", f"run={run}", "prompt=the dog", "samples=2", "seed=1", "generation=sampling", "generation.max_new_tokens=3")
    assert again.code == 0
    assert len(again.out.split("\n\n")) == 2


@pytest.mark.parametrize(("given", "way_out"), [("source=a", 'prompt="…" to continue'), ("text=a [MASK]", 'prompt="…" to continue')])
def test_what_does_not_fit_the_model_is_refused(zoo: Zoo, run: str, given: str, way_out: str) -> None:
    told = zoo("generate", f"run={run}", given)
    assert told.code == 2
    assert "objective=clm" in told.err
    assert way_out in told.err


def test_a_missing_plugin_is_named(zoo: Zoo, run: str) -> None:
    path = Path(run) / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"plugins": ["my_lab.attention"]}))
    for words in (["evaluate", f"run={run}"], ["generate", f"run={run}", "prompt=a"]):
        told = zoo(*words)
        assert told.code == 2
        assert told.lines[-1] == (
            "transformer-zoo: run=runs/gpt was made with the plugin my_lab.attention, which is not loaded: add --plugin my_lab.attention"
        )


def test_several_jobs_run_one_after_another(zoo: Zoo) -> None:
    told = zoo("train", "--multirun", "model=gpt2", "seed=1,-1,2", "training.steps=1", *SMALL)
    assert told.code == 2
    assert len(told.out.splitlines()) == 2, "the other two ran"
    assert len(list(Path("runs").glob("*/summary.json"))) == 2
    assert "transformer-zoo: [2/3] model=gpt2 seed=-1" in told.err
    assert "seed: expected a whole number at least 0, got -1" in told.err
    assert told.lines[-1] == "transformer-zoo: 1 of 3 jobs failed"


def test_several_jobs_cannot_share_a_folder(zoo: Zoo) -> None:
    told = zoo("train", "--multirun", "seed=1,2", "run_dir=runs/a")
    assert told.code == 2
    assert told.lines == ["transformer-zoo: run_dir=runs/a names one folder for 2 jobs: leave it out, or give every job one of its own"]
    shown = zoo("train", "--multirun", "seed=1,2", "--cfg", "job")
    assert shown.out.count("\nseed: ") == 2


def test_a_folder_outside_is_refused(zoo: Zoo) -> None:
    for folder in ("../escape", "runs/../../x", ".hidden", "runs/-x"):
        told = zoo("train", f"run_dir={folder}", *SMALL)
        assert told.code == 2
        assert told.lines[0].startswith("transformer-zoo: run_dir: ")
    assert zoo("train", "name=../x").lines[0].startswith("transformer-zoo: name: '../x' is no good name")


def test_secrets_stay_out_of_the_run(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    told = zoo("train", "model=gpt2", *SMALL, "training.steps=1", "run_dir=runs/a", "init_from=null", "name=${oc.env:HF_TOKEN}")
    assert told.code == 0
    found = [path for path in Path("runs").rglob("*") if path.is_file() and b"hf_0123456789" in path.read_bytes()]
    assert found == []


# --- studies ------------------------------------------------------------------------------------------------------------------------


def test_a_comparison_is_planned(zoo: Zoo) -> None:
    told = zoo("compare", "model=bert,gpt2", "seeds=2", *SMALL, "--plan", "--json")
    assert told.code == 0, told.err
    plan = json.loads(told.out)
    assert [one["name"] for one in plan["contestants"]] == ["bert", "gpt2"]
    assert all(isinstance(one["parameters"], int) for one in plan["contestants"])
    assert len(plan["runs"]) == 4
    assert not Path("studies").exists()


def test_an_ablation_runs_and_reports(zoo: Zoo) -> None:
    told = zoo("ablate", "model/norm=layernorm,rmsnorm", "model=gpt2", *SMALL, "training.steps=1", "study_dir=studies/norm")
    assert told.code == 0, told.err
    assert Path("studies/norm/report.html").is_file()
    assert "rmsnorm" in told.out
    assert zoo("report", "studies/norm", "--output", "page.html").out == "page.html\n"
    assert Path("page.html").is_file()


# --- describe, list, tokenizer -------------------------------------------------------------------------------------------------------


def test_describe_tells_parts_masks_and_ancestry(zoo: Zoo) -> None:
    told = zoo("describe", "model=gpt2", "data.sequence_length=16")
    lines = told.out.splitlines()
    assert told.code == 0, told.err
    assert lines[1].split() == ["which", "encoder", "none"]
    assert lines[2].startswith("which decoder          12 layers of width 768, 12 heads, feed-forward 3072; attention multihead; positions learned; ")
    assert lines[3] == "which training layers  vocabulary (vocabulary, 0 parameters)"
    assert lines[4].startswith("parameters             124,439,808: body 124,439,808")
    assert "what gpt2 changed in its ancestor gpt1:" in lines
    assert "what gpt1 changed in its ancestor transformer:" in lines
    assert any(line.split()[:2] == ["stack.blocks.*.attention", "12"] for line in lines)
    assert any(line.split() == ["norm_placement.kind", "post", "pre"] for line in lines)
    assert "  █···············" in lines


def test_describe_draws_the_first_of_many_masks(zoo: Zoo) -> None:
    told = zoo("describe", "model=bigbird", "model.n_layers=6", "model.attention.block_size=4", "data.sequence_length=64").out
    assert told.count("stack: self-attention (1 layer, 64 tokens)") == 4
    assert "and 2 more (--json has all of them)" in told


def test_describe_counts_a_chosen_tokenizer(zoo: Zoo) -> None:
    sizes = {}
    for words in (["tokenizer=byte"], ["tokenizer=bpe", "tokenizer.vocab_size=1000"], []):
        document = json.loads(zoo("describe", "model=gpt2", "model/size=tiny", "--json", *words).out)
        sizes[words[0] if words else "published"] = document["vocabulary"]
    assert sizes == {"tokenizer=byte": 263, "tokenizer=bpe": 1000, "published": 50257}


def test_describe_refuses_what_train_would_refuse(zoo: Zoo) -> None:
    told = zoo("describe", "model=gpt2", "objective=mlm")
    assert told.code == 2
    assert "objective=mlm" in told.err


def test_list_tells_groups_choices_and_settings(zoo: Zoo) -> None:
    assert "model/positions" in zoo("list").out
    lines = zoo("list", "model/size").out.splitlines()
    assert [line.split()[0] for line in lines] == ["tiny", "mini", "small", "medium", "base", "large"]
    assert "groups below: " in zoo("list", "model").out
    settings = json.loads(zoo("list", "optimizer=adamw", "--json").out)["settings"]
    (lr,) = [one for one in settings if one["key"] == "lr"]
    assert lr == {"key": "lr", "default": "0.001", "takes": "a number greater than 0", "meaning": "Learning rate at the schedule's peak."}
    assert "positions=learned " in zoo("list", "model=bert").out
    assert "n_layers=2" in zoo("list", "model/size=tiny").out
    assert "n_workers=4" in zoo("list", "training=gpu").out.replace("  ", "")


def test_tokenizers_are_trained_and_compared(zoo: Zoo) -> None:
    data = ["data.n_documents=24", "data.n_held_out=6", "tokenizer.vocab_size=300"]
    told = zoo("tokenizer", "train", "tokenizer=bpe", "output=out", *data)
    assert told.code == 0, told.err
    assert told.out == "out/tokenizer.json\n"
    assert zoo("tokenizer", "train", "tokenizer=bpe", "output=out", *data).code == 2, "nothing is overwritten"
    rows = json.loads(zoo("tokenizer", "compare", "tokenizer=word,bpe,byte", "--json", *data).out)
    assert [row["name"] for row in rows] == ["word", "bpe", "byte"]
    assert rows[2]["bytes_per_token"] == 1.0
    table = zoo("tokenizer", "compare", "tokenizer=word,byte", *data).out.splitlines()
    assert "tokens per word" in table[0]
    assert [line.split()[0] for line in table[1:]] == ["word", "byte"]
