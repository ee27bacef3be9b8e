"""Three small models on the built-in language: trained, measured against the best possible loss, and asked to show what they learnt."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from transformer_zoo.data.base import Source
from transformer_zoo.evaluation.base import EvaluationConfig, EvaluationContext
from transformer_zoo.evaluation.bleu import BleuConfig
from transformer_zoo.evaluation.floor import best_possible
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments.loaded_run import LoadedRun, load_run
from transformer_zoo.experiments.results import RunRecord, read_run
from transformer_zoo.experiments.run import train
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.fill_mask import MASK, fill_mask
from transformer_zoo.generation.sampling import SamplingConfig
from transformer_zoo.generation.text import continue_prompts, translate
from transformer_zoo.reports.curves import axis_choice, by_axis
from transformer_zoo.reports.page import page, table
from transformer_zoo.reports.svg import Series, figure, line_chart, short_number

logger = logging.getLogger(__name__)

COMMON = ("training.log_every=20", "final_evaluation=null", "resume=never")
"""For all three: the demo measures by itself, and begins anew every time. How long to train is the experiments' own choice: together they
take less than three minutes on two cores."""
BLEU_SENTENCES = 300
VERBS = {"VERB", "AUX"}
HEADER = ("model", "objective", "parameters", "held-out loss", "best possible", "task score", "tokens/s")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One of the demo's models. `score` and `sample` are given what is known of the trained model."""

    name: str
    title: str
    objective: str
    overrides: tuple[str, ...]
    score: Callable[["Outcome"], str]
    sample: Callable[[LoadedRun, Source], list[str]]
    evaluations: tuple[EvaluationConfig, ...] = ()
    """What is measured besides the loss."""


@dataclass(kw_only=True)
class Outcome:
    """One trained model on the test split."""

    contestant: Contestant
    record: RunRecord
    metrics: dict[str, float]
    best: float
    """The best possible loss of the test split."""
    best_on_validation: float
    samples: list[str]

    def row(self) -> list[str]:
        """Its line of the table."""
        summary = self.record.summary
        sizes = [short_number(summary["parameters"]), short_number(summary["tokens_per_second"] or 0.0)]
        losses = [f"{self.metrics['test/loss']:.3f}", f"{self.best:.3f}"]
        return [self.contestant.name, self.contestant.objective, sizes[0], *losses, self.contestant.score(self), sizes[1]]


def _bert_score(outcome: Outcome) -> str:
    mask, pairs = outcome.metrics["test/mlm_accuracy"], outcome.metrics["test/nsp_accuracy"]
    return f"masks {mask:.1%}, next sentence {pairs:.1%}"


def _gpt_score(outcome: Outcome) -> str:
    return f"next word {outcome.metrics['test/clm_accuracy']:.1%}"


def _translation_score(outcome: Outcome) -> str:
    return f"BLEU {outcome.metrics['test/bleu']:.1f}"


def _filled(run: LoadedRun, source: Source) -> list[str]:
    """A held-out sentence whose verb is hidden: its form depends on a subject that stands a whole clause before it."""
    words, tags = next((words, tags) for words, tags in _tagged(source) if "that" in words[1:-5] and VERBS & set(tags[-5:]))
    place = next(i for i in range(len(words) - 5, len(words)) if tags[i] in VERBS)
    shown = " ".join([*words[:place], MASK, *words[place + 1 :]])
    filled = fill_mask(run.model, run.tokenizer, shown, top_k=3, device=run.device)
    found = ", ".join(f"{one.token} {one.probability:.0%}" for one in filled.candidates[0])
    return [f"text       {shown}", f"{MASK}     {found}", f"truth      {words[place]}"]


def _tagged(source: Source) -> Iterator[tuple[list[str], list[str]]]:
    names = source.tag_names or []
    return ((words, [names[tag] for tag in tags]) for words, tags in source.tagged("test"))


def _continued(run: LoadedRun, _: Source) -> list[str]:
    """The beginning of a document, from nothing."""
    generator = SamplingConfig(temperature=0.8, max_new_tokens=40).build(seed=0)
    (text,) = continue_prompts(run.model, run.tokenizer, [""], generator, begins_document=True, device=run.device)  # type: ignore[arg-type]
    whole = text.rpartition(" .")[0]
    return [f"generated  {whole + ' .' if whole else text}"]


def _translated(run: LoadedRun, source: Source) -> list[str]:
    """The first held-out sentence that is long."""
    text, reference = next(pair for pair in source.parallel("test") if len(pair[0].split()) > 10)
    (translation,) = translate(run.model, run.tokenizer, [text], BeamConfig().build(), device=run.device)  # type: ignore[arg-type]
    return [f"source     {text}", f"model      {translation}", f"reference  {reference}"]


CONTESTANTS = (
    Contestant(
        name="BERT",
        title="BERT: hidden words, next sentence",
        objective="mlm_nsp",
        overrides=("experiment=pocket_bert",),
        score=_bert_score,
        sample=_filled,
    ),
    Contestant(
        name="GPT",
        title="GPT: next word",
        objective="clm",
        overrides=("experiment=pocket_gpt",),
        score=_gpt_score,
        sample=_continued,
    ),
    Contestant(
        name="Transformer",
        title="Transformer: translation",
        objective="translation",
        overrides=("experiment=pocket_transformer",),
        score=_translation_score,
        sample=_translated,
        evaluations=(BleuConfig(split="test", max_samples=BLEU_SENTENCES),),
    ),
)


def demo(output: Path, show: Callable[[str], None], overrides: Sequence[str] = ()) -> Path:
    """Train, measure and show the three models; returns the path of `report.html` in `output`, where the runs are kept, too.

    `show` gets the lines for the reader, the table last; `overrides` are added to every model's settings.
    """
    from transformer_zoo.experiments.compose import experiment

    outcomes = []
    for number, contestant in enumerate(CONTESTANTS, start=1):
        folder = output / contestant.name.lower()
        given = [*contestant.overrides, *COMMON, *overrides, f"run_dir={json.dumps(str(folder))}"]
        show(f"\n[{number}/{len(CONTESTANTS)}] {contestant.title}")
        show(f"transformer-zoo train {' '.join(contestant.overrides)}")
        train(experiment(given), given)
        outcomes.append(_measured(contestant, folder))
    rows = [outcome.row() for outcome in outcomes]
    show("\n" + "\n".join(aligned([HEADER, *rows])))
    for outcome in outcomes:
        show(f"\n{outcome.contestant.name}\n" + "\n".join(f"  {line}" for line in outcome.samples))
    (output / "report.html").write_text(_page(outcomes, rows), encoding="utf-8")
    (output / "curves.svg").write_text(figure([(one.contestant.title, _chart(one, "steps")) for one in outcomes]), encoding="utf-8")
    return output / "report.html"


def _measured(contestant: Contestant, folder: Path) -> Outcome:
    """The best checkpoint on the test split, beside what is possible there."""
    run = load_run(folder)
    data, objective = run.context()
    context = EvaluationContext(data=data, objective=objective, device=run.device)
    metrics: dict[str, float] = {}
    for evaluation in (LossConfig(split="test"), *contestant.evaluations):
        metrics |= evaluation.build(context).report(run.model).metrics
    floors = [(best_possible(LossConfig(split=split), context) or {})[f"{split}/loss"] for split in ("test", "validation")]
    samples = contestant.sample(run, data.source)
    return Outcome(contestant=contestant, record=read_run(folder), metrics=metrics, best=floors[0], best_on_validation=floors[1], samples=samples)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in plain text with a rule under its first row; numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = {0, 1, 5}
    lines = [
        "  ".join(cell.ljust(width) if i in words else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _chart(outcome: Outcome, axis: str) -> str:
    series = [
        Series(label=name, points=outcome.record.curve(metric, axis), colour=colour)
        for metric, name, colour in (("train/loss", "training", 1), ("validation/loss", "held out", 0))
    ]
    name = f"{outcome.contestant.name}: loss over {axis}"
    return line_chart(series, name=name, x_label=axis, reference=("best possible", outcome.best_on_validation))


def _page(outcomes: Sequence[Outcome], rows: Sequence[Sequence[str]]) -> str:
    charts = [f"<figure><h3>{escape(one.contestant.title)}</h3>{by_axis(partial(_chart, one))}</figure>" for one in outcomes]
    lines = ((1, "training (with label smoothing in translation)"), (0, "held out"))
    legend = "".join(f'<li><i class="c{colour}"></i>{text}</li>' for colour, text in lines)
    samples = "".join(
        f"<h3>{escape(one.contestant.name)}</h3><blockquote>{'<br>'.join(_labelled(line) for line in one.samples)}</blockquote>" for one in outcomes
    )
    explained = (
        "Three models on a small language that is built in. It is made by known rules, so the best loss that any model could reach on the "
        "held-out text is known exactly. Losses are in nats: per predicted word, and for BERT the answer on the pair of sentences besides."
    )
    return page(
        "transformer_zoo: three models on the built-in language",
        f"<section><p>{escape(explained)}</p>{table(HEADER, rows)}</section>"
        f"<section><h2>Curves</h2>{axis_choice()}"
        f'<ul class="legend">{legend}</ul>'
        f'<div class="grid-of-charts">{"".join(charts)}</div></section><section><h2>What they learnt</h2>{samples}</section>',
    )


def _labelled(line: str) -> str:
    label, _, text = line.partition("  ")
    return f'<span class="soft">{escape(label)}</span> {escape(text.strip())}'
