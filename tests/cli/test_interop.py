"""`import`, `export` and what the other commands do with an imported run."""

import json
from pathlib import Path

from cli.conftest import Zoo
from interop.builders import bert, change_config, change_weights, gpt2

SIZES = ("model.d_model=12", "model.n_layers=2", "model.n_heads=3", "model.d_ff=48", "model.max_length=16", "device=cpu")
DATA = ("data.n_documents=40", "data.n_held_out=4", "data.sequence_length=16", "training.batch_size=8", "training.steps=2")


def test_there_and_back(zoo: Zoo):
    bert(Path("public"))
    told = zoo("import", "public", "runs/bert")
    assert (told.code, told.out) == (0, "runs/bert: bert with 3,087 parameters (float32); heads: vocabulary\n")
    told = zoo("export", "runs/bert", "back")
    assert told.code == 0
    first, *checks = told.out.splitlines()
    assert first == "back: BertForMaskedLM with 3,087 parameters (float32)"
    assert [line.split(":")[0] for line in checks] == ["checked weights", "checked scores", "checked transformers"]
    assert Path("back/tokenizer.json").read_bytes() == Path("public/tokenizer.json").read_bytes()
    assert zoo("import", "public", "runs/bert").lines == ["transformer-zoo: runs/bert: there is something already; choose another name, or remove it"]


def test_json_is_one_document(zoo: Zoo):
    gpt2(Path("public"))
    found = json.loads(zoo("import", "public", "run", "--json").out)
    assert {key: found[key] for key in ("run", "model_type", "recipe", "heads", "dtype", "tokenizer")} == {
        "run": "run",
        "model_type": "gpt2",
        "recipe": "gpt2",
        "heads": ["vocabulary"],
        "dtype": "float32",
        "tokenizer": True,
    }
    written = json.loads(zoo("export", "run", "back", "--json").out)
    assert written["architectures"] == ["GPT2LMHeadModel"]
    assert set(written["checks"]) == {"weights", "scores", "transformers"}


def test_an_imported_run_writes_and_fills(zoo: Zoo):
    gpt2(Path("gpt2"))
    bert(Path("bert"))
    zoo("import", "gpt2", "writer")
    zoo("import", "bert", "filler")
    greedy = ("generation=greedy", "generation.max_new_tokens=3", "device=cpu")
    found = json.loads(zoo("generate", "run=writer", "prompt=the king", *greedy, "--json").out)
    assert found["texts"][0].startswith("the king")
    assert zoo("generate", "run=writer", "prompt=the king", *greedy).out.strip() == found["texts"][0]
    filled = json.loads(zoo("generate", "run=filler", "text=the [MASK] sleeps", "device=cpu", "--json").out)
    assert len(filled["masks"][0]) == 5
    told = zoo("generate", "run=filler", "prompt=the king", "device=cpu")
    assert told.code == 2
    assert "prompt=: filler holds a model of kind encoder imported from a model of type bert: give text=" in told.err


def test_an_imported_run_is_not_measured(zoo: Zoo):
    bert(Path("public"))
    zoo("import", "public", "run")
    told = zoo("evaluate", "run=run")
    assert told.code == 2
    assert "run=run: this is an imported model, which has no data and no training settings of its own" in told.lines[0]


def test_training_goes_on_from_it(zoo: Zoo):
    gpt2(Path("public"))
    zoo("import", "public", "run")
    for source, tokenizer in (("run", "run"), ("public", "run")):
        told = zoo(
            "train",
            "model=gpt2",
            *SIZES,
            *DATA,
            f"init_from={source}",
            "tokenizer=file",
            f"tokenizer.path={tokenizer}/tokenizer.json",
            f"run_dir=on_{source}",
        )
        assert told.code == 0, told.err
        assert ": 28 of the model's 28 tensors are taken" in told.err
    told = zoo("train", "model=gpt2", *SIZES, *DATA, "model.d_ff=20", "init_from=run", "tokenizer=file", "tokenizer.path=run/tokenizer.json")
    assert told.code == 5
    assert "init_from=run: its tensors have other shapes than the model's" in told.lines[-1]
    told = zoo("train", "model=gpt2", *SIZES, *DATA, "init_from=nowhere", "tokenizer=word")
    assert told.code == 2
    assert "init_from=nowhere: there is nothing there" in told.lines[-1]


def test_a_wrong_start_leaves_nothing(zoo: Zoo):
    gpt2(Path("public"))
    Path("cut").mkdir()
    Path("cut/config.json").write_text("{")
    gpt2(Path("missing"))
    change_weights(Path("missing"), lambda tensors: dict(list(tensors.items())[1:]))
    gpt2(Path("large"), vocab_size=12)
    before = sorted(Path().rglob("*"))
    for source, code, message in (
        ("nowhere", 2, "init_from=nowhere: there is nothing there"),
        ("public/config.json", 2, "init_from=public/config.json: this is a file; looked for a run"),
        ("cut", 2, "cut/config.json: not readable as JSON"),
        ("missing", 5, "missing: "),
        ("large", 3, "the tokenizer has ids up to 19, but the model has a vocabulary of 12"),
    ):
        told = zoo("train", "model=gpt2", *SIZES, *DATA, f"init_from={source}", "tokenizer=word", "run_dir=run")
        assert told.code == code
        assert message in told.lines[-1]
        assert sorted(Path().rglob("*")) == before


def test_folders_that_are_no_runs_point_to_import(zoo: Zoo):
    gpt2(Path("public"))
    for words in (("generate", "run=public", "prompt=the king"), ("evaluate", "run=public"), ("export", "public", "back")):
        told = zoo(*words)
        assert told.code == 2
        expected = (
            "transformer-zoo: run=public: this is a folder in the Hugging Face format and no run: `transformer-zoo import public RUN` makes one"
        )
        assert told.lines == [expected]


def test_words_that_are_too_many_are_named(zoo: Zoo):
    assert "transformer-zoo: export: foo=1 is too much; name the run and the folder to make: " in zoo("export", "run", "back", "foo=1").lines[0]
    assert "import: more, words are too much; name the folder of the model and the run" in zoo("import", "a", "b", "more", "words").lines[0]
    assert "import: x=1 is too much; name " in zoo("import", "a", "x=1").lines[0]
    assert "transformer-zoo: import: name the folder of the model and the run to make: " in zoo("import", "a").lines[0]


def test_an_imported_run_that_is_newer_or_not_whole(zoo: Zoo):
    gpt2(Path("public"))
    zoo("import", "public", "run")
    Path("run/source/config.json").rename("config.json")
    for words in (("export", "run", "back"), ("generate", "run=run", "prompt=the king")):
        told = zoo(*words)
        assert (told.code, told.lines) == (2, ["transformer-zoo: run/source/config.json is missing, which an import writes: import the model again"])
    Path("config.json").rename("run/source/config.json")
    file = Path("run/imported.yaml")
    file.write_text(file.read_text().replace("format_version: 1", "format_version: 2") + "newer: 1\n")
    told = zoo("export", "run", "back")
    expected = "transformer-zoo: run/imported.yaml: format 2 is newer than this version of transformer-zoo knows (1): upgrade it"
    assert (told.code, told.lines) == (2, [expected])


def test_exit_codes(zoo: Zoo):
    bert(Path("public"))
    change_weights(Path("public"), lambda tensors: dict(list(tensors.items())[1:]))
    assert zoo("import", "public", "run").code == 5
    change_config(Path("public"), hidden_act="mish")
    assert zoo("import", "public", "run").code == 2
    Path("public/tokenizer.json").write_text("{")
    assert zoo("import", "public", "run").code == 3
    assert zoo("import", "nothing", "run").code == 2
    assert not Path("run").exists()
