"""Probes find what is there and nothing else. Models here have random weights; what is to be found is planted."""

import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.builders import config as model_config
from transformer_zoo.data.labelled_data import LabelledDataConfig
from transformer_zoo.data.module import build_data
from transformer_zoo.data.parallel_data import PairsDataConfig
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.data.text_data import TextDataConfig
from transformer_zoo.data.tokenizers import WordTokenizerConfig
from transformer_zoo.errors import ConfigError, DataError, NumericError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.probe import ProbeConfig
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import HeadNeed

LEFT, RIGHT = [f"l{i}" for i in range(8)], [f"r{i}" for i in range(8)]
"""Words for the two places of a text; the number of each is odd or even."""
Make = Callable[..., EvaluationContext]


def put(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pairs_of_words(n: int, seed: int) -> list[tuple[int, int]]:
    draws = np.random.default_rng(seed).integers(0, 8, (n, 2))
    return [(int(a), int(b)) for a, b in draws]


def texts(n: int, seed: int, label: Callable[[int, int], Any]) -> list[dict[str, Any]]:
    return [{"text": f"{LEFT[a]} {RIGHT[b]}", "label": label(a, b)} for a, b in pairs_of_words(n, seed)]


def data(folder: Path, label: Callable[[int, int], Any], n_train: int = 600, n_held_out: int = 600) -> LabelledDataConfig:
    train, held_out = put(folder / "train.jsonl", texts(n_train, 1, label)), put(folder / "held_out.jsonl", texts(n_held_out, 2, label))
    return LabelledDataConfig(train=train, validation=held_out, sequence_length=8)


def coin(seed: int) -> Callable[[int, int], str]:
    generator = np.random.default_rng(seed)
    return lambda *_: "heads" if generator.random() < 0.5 else "tails"


@pytest.fixture
def context(tmp_path: Path) -> Make:
    """Of a run on running text with the words of both places."""
    (tmp_path / "own.txt").write_text(" ".join([*LEFT, *RIGHT]) + "\n", encoding="utf-8")

    def make(objective: ObjectiveConfig | None = None, **settings: Any) -> EvaluationContext:
        chosen = objective or MaskedLMConfig()
        own = settings.pop("own", None) or TextDataConfig(train=str(tmp_path / "own.txt"), validation=str(tmp_path / "own.txt"), sequence_length=8)
        module = build_data(own, WordTokenizerConfig(), needs=chosen.needs(), cache_dir=tmp_path / "cache")
        return EvaluationContext(data=module, objective=chosen.build(vocabulary=module.vocabulary), **settings)

    return make


def model_for(context: EvaluationContext, shape: str = "encoder", **settings: Any) -> Model:
    torch.manual_seed(4)
    heads = {"vocabulary": HeadNeed(kind="vocabulary")}
    return model_config(shape, **settings).build(vocab_size=context.data.vocabulary.size, heads=heads).eval()


def chance_interval(n: int, share: float = 0.5) -> tuple[float, float]:
    """Where the accuracy of blind answers lies in 999 of 1000 cases."""
    half = 3.29 * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def accuracies(metrics: dict[str, float]) -> list[float]:
    n = sum(name.startswith("validation/probe/layer_") and name.endswith("/accuracy") for name in metrics)
    return [metrics[f"validation/probe/layer_{layer}/accuracy"] for layer in range(n)]


def test_labels_that_a_coin_has_drawn_stay_at_chance(context: Make, tmp_path: Path) -> None:
    here = context()
    metrics = ProbeConfig(data=data(tmp_path, coin(5), n_held_out=1500)).build(here)(model_for(here))
    low, high = chance_interval(1500)
    assert len(accuracies(metrics)) == 3
    assert all(low < accuracy < high for accuracy in [*accuracies(metrics), metrics["validation/probe/majority"]])


def test_random_weights_tell_which_words_there_are_and_no_more(context: Make, tmp_path: Path) -> None:
    """A word is read off its random vector. Whether two words agree is told right at most three times in four by any sum of vectors (by `or`)."""
    here = context()
    word = ProbeConfig(data=data(tmp_path, lambda a, _: a % 2)).build(here)(model_for(here))
    assert min(accuracies(word)) > 0.95
    agree = ProbeConfig(data=data(tmp_path, lambda a, b: (a + b) % 2, n_held_out=1500)).build(here)(model_for(here))
    assert agree["validation/probe/layer_0/accuracy"] < chance_interval(1500, 0.75)[1]


def planted(context: EvaluationContext, layer: int) -> Model:
    """A model of three layers, of which `layer` (1 to 3) writes into every token whether the words of the two places agree."""
    model = model_for(context, n_layers=3)
    parity = torch.zeros(context.data.vocabulary.size)
    for number, words in enumerate(zip(LEFT, RIGHT, strict=True)):
        for word in words:
            parity[context.data.tokenizer.id(word)] = number % 2
    read: list[torch.Tensor] = []

    def written(_: Any, __: Any, x: torch.Tensor) -> torch.Tensor:
        agree = parity[read[-1]].sum(dim=1) % 2  # [B]
        return x + 3 * (2 * agree - 1)[:, None, None] * torch.linspace(-1, 1, x.shape[-1])

    model.embeddings.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    model.stack.blocks[layer - 1].register_forward_hook(written)
    return model


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_planted_feature_is_found_where_it_is(context: Make, tmp_path: Path, layer: int) -> None:
    here = context()
    report = ProbeConfig(data=data(tmp_path, lambda a, b: (a + b) % 2)).build(here).report(planted(here, layer))
    found = accuracies(report.metrics)
    assert len(found) == 4
    assert min(found[layer:]) > 0.95, "where it was planted, and above"
    assert max(found[:layer]) < 0.95
    assert found[0] < chance_interval(600, 0.75)[1]
    assert report.metrics["validation/probe/best_layer"] >= layer
    assert report.metrics["validation/probe/accuracy"] == found[report.metrics["validation/probe/best_layer"]]
    assert "classification with 2 classes; fitted on 480 texts (mean of their tokens), layer chosen on 120, scored on 600" in report.notes["probe"]


def test_the_layer_is_not_chosen_by_the_figures_that_are_told(context: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out labels are turned around: layers that know best score worst, and the choice stays."""
    here = context()
    config = data(tmp_path, lambda a, b: (a + b) % 2)
    put(tmp_path / "held_out.jsonl", texts(600, 2, lambda a, b: (a + b + 1) % 2))
    metrics = ProbeConfig(data=config).build(here)(planted(here, 2))
    assert metrics["validation/probe/best_layer"] >= 2
    assert metrics["validation/probe/accuracy"] < 0.05


def tagged(n: int, seed: int) -> list[dict[str, Any]]:
    """Words of the left are names, also in two words, where the second goes on with the first."""
    rows = []
    for a, b in pairs_of_words(n, seed):
        tags = ["B-name", "O"] if a % 2 else ["B-name", "I-name"]
        rows.append({"tokens": [LEFT[a], RIGHT[b] if a % 2 else LEFT[b]], "tags": tags})
    return rows


def test_tags_are_told_at_the_first_tokens_of_words(context: Make, tmp_path: Path) -> None:
    here = context()
    files = [put(tmp_path / f"{name}.jsonl", tagged(300, seed)) for seed, name in enumerate(("train", "validation"))]
    config = ProbeConfig(data=LabelledDataConfig(train=files[0], validation=files[1], sequence_length=8))
    evaluation = config.build(here)
    assert evaluation.annotated.task == "tagging"
    report = evaluation.report(model_for(here))
    assert report.metrics["validation/probe/f1"] > 0.95
    assert report.metrics["validation/probe/accuracy"] > 0.95
    assert {"validation/probe/layer_0/f1", "validation/probe/layer_2/f1"} <= set(report.metrics)
    assert "scored on 600" in report.notes["probe"]
    assert "spans" in report.notes["probe"]
    majority = np.mean([tag == "B-name" for row in tagged(300, 1) for tag in row["tags"]])
    assert report.metrics["validation/probe/majority"] == pytest.approx(float(majority))


def test_twice_the_same_to_the_byte_and_any_batch_size(context: Make, tmp_path: Path) -> None:
    here, chosen = context(), data(tmp_path, lambda a, b: (3 * a + b) % 4)
    model = model_for(here)
    first, second = (json.dumps(ProbeConfig(data=chosen).build(here).report(model).metrics) for _ in range(2))
    assert first == second
    other = ProbeConfig(data=chosen, batch_size=7).build(here)(model)
    assert other == pytest.approx(json.loads(first), abs=0.01)
    assert first != json.dumps(ProbeConfig(data=chosen, seed=1).build(here)(model)), "other texts choose the layer"


@pytest.mark.parametrize(("shape", "objective"), [("decoder", CausalLMConfig()), ("encoder_decoder", TranslationConfig())])
def test_every_shape_is_probed(context: Make, tmp_path: Path, shape: str, objective: ObjectiveConfig) -> None:
    """On the built-in language, which is the data of the run too."""
    here = context(objective, own=PocketDataConfig(n_documents=60, n_held_out=20, sequence_length=32))
    seen: list[torch.Tensor] = []
    model = model_for(here, shape)
    model.embeddings.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    metrics = ProbeConfig(max_samples=60).build(here)(model)
    assert len(accuracies(metrics)) == 3
    begin = here.data.vocabulary.specials.begin
    assert all(bool((ids[:, 0] == begin).all()) == (shape == "decoder") for ids in seen), "sources of translations have no begin token"
    tagging = ProbeConfig(task="tagging", max_samples=60).build(here)(model)
    assert tagging["validation/probe/accuracy"] > tagging["validation/probe/majority"] + 0.2


def test_pooling(context: Make, tmp_path: Path) -> None:
    """The first token of a decoder sees none of the text, its last token all of it."""
    here = context(CausalLMConfig())
    chosen = data(tmp_path, lambda a, _: a % 2)
    model = model_for(here, "decoder")
    by_pooling = {pooling: ProbeConfig(data=chosen, pooling=pooling).build(here)(model) for pooling in ("first", "mean", "last")}
    low, high = chance_interval(600)
    assert low < by_pooling["first"]["validation/probe/layer_2/accuracy"] < high
    assert by_pooling["last"]["validation/probe/layer_0/accuracy"] < high, "the last word says nothing of the first"
    assert by_pooling["last"]["validation/probe/layer_2/accuracy"] > 0.9
    assert by_pooling["mean"]["validation/probe/layer_0/accuracy"] > 0.95


def test_newly_drawn_weights_beside(context: Make, tmp_path: Path) -> None:
    drawn: list[int] = []

    def untrained(seed: int) -> Model:
        drawn.append(seed)
        return model_for(here, n_layers=3)

    here = context(untrained=untrained)
    metrics = ProbeConfig(data=data(tmp_path, lambda a, b: (a + b) % 2), random_weights=True, seed=3).build(here)(planted(here, 1))
    assert drawn == [3]
    assert metrics["validation/probe/accuracy"] > 0.95
    assert metrics["validation/probe/random_weights/accuracy"] < 0.9
    assert "validation/probe/random_weights/best_layer" in metrics
    with pytest.raises(ConfigError, match=r"evaluation\.random_weights draws a finished run's model anew"):
        ProbeConfig(data=data(tmp_path, coin(1)), random_weights=True).build(context())


# --- refusals -----------------------------------------------------------------------------------------------------------------------


def test_data_without_classes_is_refused(context: Make, tmp_path: Path) -> None:
    here = context()
    with pytest.raises(
        ConfigError, match=r"the run's data \(text\) gives documents of sentences and running text, which name no classes: choose eva"
    ):
        ProbeConfig().build(here)
    sides = [str(tmp_path / "own.txt")] * 2
    with pytest.raises(ConfigError, match=r"evaluation\.data \(pairs\) gives parallel sentences, which name no classes"):
        ProbeConfig(data=PairsDataConfig(train=sides)).build(here)
    bare = LabelledDataConfig(train=put(tmp_path / "bare.jsonl", [{"text": "l1 r1", "stars": 2}] * 20))
    with pytest.raises(
        DataError, match=r"evaluation\.data: .*bare\.jsonl line 1: there is no field 'label' \(it has text, stars\); set data\.label_field"
    ):
        ProbeConfig(data=bare).build(here)


def test_the_wrong_task_is_refused(context: Make, tmp_path: Path) -> None:
    here = context()
    with pytest.raises(DataError, match=r"evaluation\.data: task=tagging, but the data holds labelled texts: choose task=classification or auto"):
        ProbeConfig(data=data(tmp_path, coin(1)), task="tagging").build(here)
    words = LabelledDataConfig(train=put(tmp_path / "tags.jsonl", tagged(20, 0)))
    with pytest.raises(DataError, match=r"task=classification, but the data holds tagged words: choose task=tagging or auto"):
        ProbeConfig(data=words, task="classification").build(here)


def test_splits(context: Make, tmp_path: Path) -> None:
    assert ProbeConfig(split="train").problems() == ["split=train is what the evaluation trains on: choose validation or test"]
    with pytest.raises(
        DataError, match=r"evaluation\.data: there is no split 'test': the data has train, validation; name its files with data\.test=…"
    ):
        ProbeConfig(data=data(tmp_path, coin(1)), split="test").build(context())


def test_too_few_of_a_class(context: Make, tmp_path: Path) -> None:
    here = context()
    labels: Iterator[str] = iter(["rare", *["common"] * 400])
    evaluation = ProbeConfig(data=data(tmp_path, lambda *_: next(labels), n_train=50, n_held_out=50)).build(here)
    message = (
        r"evaluation\.data: the class 'rare' has [01] of the 40 texts that probes are fitted on, and needs at least 2: give more training texts, or"
    )
    with pytest.raises(DataError, match=message):
        evaluation.report(model_for(here))
    same = [{"tokens": ["l1", "r1"], "tags": ["O", "O"]}] * 20
    tags = LabelledDataConfig(train=put(tmp_path / "tags.jsonl", same), sequence_length=8)
    with pytest.raises(DataError, match=r"the words of the 14 texts that probes are fitted on have 1 kinds of tags, and need at least 2"):
        ProbeConfig(data=tags).build(here).report(model_for(here))


def test_a_model_without_layers_or_places_for_the_rows(context: Make, tmp_path: Path) -> None:
    here = context()
    evaluation = ProbeConfig(data=data(tmp_path, coin(1))).build(here)
    with pytest.raises(ConfigError, match="evaluation=probe reads the layers of a stack of blocks, and this model has none"):
        evaluation.report(SimpleNamespace(stacks=lambda: iter(())))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"evaluation\.data\.sequence_length=8 is longer than the 4 positions of the model: choose at most 4"):
        evaluation.report(model_for(here, max_length=4))


def test_states_that_are_no_numbers(context: Make, tmp_path: Path) -> None:
    here = context()
    model = model_for(here)
    with torch.no_grad():
        for parameter in model.stack.blocks[1].parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(NumericError, match="hidden states of layer 2 are not finite: the model diverged"):
        ProbeConfig(data=data(tmp_path, coin(1))).build(here).report(model)


def test_without_scikit_learn(context: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "sklearn" else found(name, *rest))
    with pytest.raises(ConfigError, match=r"the package 'scikit-learn', which is not installed: pip install scikit-learn"):
        ProbeConfig(data=data(tmp_path, coin(1))).build(context())


def test_what_has_not_converged_or_is_longer_than_the_rows_is_logged(context: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = context()
    long = [{"text": f"{LEFT[a]} {RIGHT[b]} " * 8, "label": a % 2} for a, b in pairs_of_words(60, 1)]
    config = LabelledDataConfig(train=put(tmp_path / "long.jsonl", long), sequence_length=16)
    ProbeConfig(data=config, max_iterations=1).build(here).report(model_for(here))
    assert "the probe of layer 0 did not converge: raise evaluation.max_iterations" in caplog.text
    assert "texts of up to 16 tokens are read, longer than the run's own rows of 8" in caplog.text
