"""What README and the contributor's tour show is run: every `transformer-zoo …` line (trainings cut to two steps) and every Python block."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING = {"train", "compare", "ablate"}
CUT = ["training.steps=2", "training.batch_size=4"]
LITTLE = ["data.n_documents=100", "data.n_held_out=20"]
"""Besides two steps, the built-in language is cut so that most time is not spent on generating it."""
FEW = ["objective.mask_ratio=0.15,0.4", "seeds=1"]
"""Of a study with a name, which says how many runs it takes."""
WORDS = ["the", "old", "man", "saw", "a", "small", "dog", "near", "her", "river", "and", "his", "sister", "gave", "it", "some", "bread"]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[list[str]]:
    """The arguments of every line that calls the console command."""
    lines = [line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0] == "transformer-zoo"]


def cut_short(arguments: list[str]) -> list[str]:
    if arguments[0] not in TRAINING:
        return arguments
    return [*arguments, *CUT, *(LITTLE if "data=pocket" in arguments else []), *(FEW if "study=mask_ratio" in arguments else [])]


def sentence(number: int) -> str:
    words = [WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(6 + number % 9)]
    return " ".join(words).capitalize() + "."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README's commands read."""
    paragraphs = [" ".join(sentence(8 * p + s) for s in range(8)) for p in range(60)]
    (tmp_path / "my_text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("\n".join(f"{sentence(n)} {language}" for n in range(200)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_readme_has_commands_and_only_known_ones() -> None:
    shown = {arguments[0] for arguments in commands("README.md")}
    assert {"train", "evaluate", "generate", "compare", "ablate", "describe"} <= shown


def test_the_readme_s_commands_work_in_order_and_the_python_after_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformer_zoo.cli.main import main

    for arguments in map(cut_short, commands("README.md")):
        code = main(arguments)
        told = capsys.readouterr()
        assert code == 0, f"transformer-zoo {shlex.join(arguments)}\n{told.err}"
        if arguments[0] in {"evaluate", "generate", "describe"}:  # after two steps a translation may be an empty line
            assert told.out if arguments[0] == "generate" else told.out.strip(), f"transformer-zoo {shlex.join(arguments)} printed nothing"
    for code in blocks("README.md", "python"):
        result = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)


USE = """
import torch
import transformer_zoo
from my_kernel import SigmoidConfig
from transformer_zoo.records import HeadNeed, SequenceInputs

transformer_zoo.register("model/attention/kernel", {"sigmoid": SigmoidConfig})
settings = transformer_zoo.recipe("gpt2", "model/size=tiny", "model/attention/kernel=sigmoid")
model = settings.build(vocab_size=50, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()
tokens = torch.randint(50, (1, 9))
changed = tokens.clone()
changed[0, 6] = (tokens[0, 6] + 1) % 50
before, after = (model(SequenceInputs(token_ids=ids)).hidden[0] for ids in (tokens, changed))
assert torch.equal(before[:6], after[:6]), "the past must not see the future"
assert not torch.equal(before[6:], after[6:])
"""


def test_the_tour_s_new_attention_works(tmp_path: Path) -> None:
    (code,) = blocks("docs/architecture.md", "python")
    (tmp_path / "my_kernel.py").write_text(code, encoding="utf-8")
    result = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if not target.startswith(("http", "mailto"))]
    missing = [target for target in targets if not ((ROOT / document).parent / target).exists()]
    assert missing == []


def test_the_tour_names_files_that_exist() -> None:
    """Every `package/file.py` in the tour is there."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = {path.name for path in (ROOT / "src/transformer_zoo").iterdir() if path.is_dir()}
    named = {name for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text) if name.split("/")[0] in packages}
    missing = {name for name in named if not (ROOT / "src/transformer_zoo" / name).exists()}
    assert named
    assert missing == set()
