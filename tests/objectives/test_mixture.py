"""Mixtures: which part a batch is given to, what counts how much, and what is told of each part."""

import pytest
import torch

from contracts.objective_batches import VOCABULARY, batch, built, configured, without_dropout
from transformer_zoo.data.stream import deal
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.combined import CombinedConfig
from transformer_zoo.objectives.denoising import DenoisingConfig
from transformer_zoo.objectives.fill_in_the_middle import FillInTheMiddleConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.mixture import Mixture, MixtureConfig
from transformer_zoo.objectives.prefix_lm import PrefixLMConfig
from transformer_zoo.objectives.replaced_token import ReplacedTokenConfig
from transformer_zoo.objectives.span_corruption import SpanCorruptionConfig
from transformer_zoo.records import Example, Rows, SpecialTokens, TranslationInputs, Vocabulary
from transformer_zoo.training.scored import Scored, weighted_loss

DECODER: dict[str, ObjectiveConfig] = {"plain": CausalLMConfig(), "prefix": PrefixLMConfig(), "middle": FillInTheMiddleConfig()}
SPANS: dict[str, ObjectiveConfig] = {"short": SpanCorruptionConfig(sentinels=20), "rest": PrefixLMConfig()}


def mixture(config: MixtureConfig) -> Mixture:
    assert config.problems() == []
    made = config.build(vocabulary=VOCABULARY)
    assert isinstance(made, Mixture)
    return made


def rows(indices: list[int], epoch: int = 0) -> Rows:
    return Rows(seed=0, epoch=torch.full((len(indices),), epoch), index=torch.tensor(indices))


def part(example: Example) -> str:
    return next(key for key in example.counts if key != "mixture").split("/")[0]


def test_parts_are_drawn_by_their_weights():
    made = mixture(MixtureConfig(parts=DECODER, part_weights={"plain": 3.0, "prefix": 0.5, "middle": 0.5}))
    assert made.shares == {"plain": 0.75, "prefix": 0.125, "middle": 0.125}
    n = 4000
    drawn = [made.drawn(rows([number, number + 1])) for number in range(n)]
    for name, share in made.shares.items():
        assert abs(drawn.count(name) - n * share) < 3.3 * (n * share * (1 - share)) ** 0.5


def test_the_first_row_decides_whatever_follows():
    made = mixture(MixtureConfig(parts=DECODER))
    drawn = [made.drawn(rows([number])) for number in range(60)]
    assert drawn == [made.drawn(rows([number, 7, 9])) for number in range(60)]
    assert drawn != [made.drawn(rows([number], epoch=1)) for number in range(60)]
    assert len(set(drawn)) == 3


def test_processes_that_share_micro_batches_share_the_turns():
    """A step of 32 rows in micro-batches of 8, by one process or by four."""
    made = mixture(MixtureConfig(parts=DECODER))
    for step in range(20):
        indices = torch.randperm(1000, generator=torch.Generator().manual_seed(step))[:32].numpy()
        alone, _ = deal(32, 0, 1, 8)
        shared = [deal(32, rank, 4, 8)[0][0] for rank in range(4)]
        assert [made.drawn(rows(indices[one].tolist())) for one in alone] == [made.drawn(rows(indices[one].tolist())) for one in shared]


def test_an_example_is_its_parts_own():
    made = mixture(MixtureConfig(parts=DECODER))
    seen = set()
    for number in range(12):
        read = batch(made, number, ragged=True)
        example = made.prepare(read)
        name = part(example)
        own = made.parts[name].prepare(read)
        seen.add(name)
        targets = dict(example.targets)
        del targets[f"mixture/{name}"]
        assert {key: value.tolist() for key, value in targets.items()} == {key: value.tolist() for key, value in own.targets.items()}
        assert torch.equal(example.inputs.token_ids, own.inputs.token_ids)
        assert example.counts == {"mixture": 4} | {f"{name}/{term}": count for term, count in own.counts.items()}
        assert example.tokens == own.tokens
        again = made.prepare(read)
        assert part(again) == name
    assert seen == set(DECODER)


def test_a_step_of_several_batches_is_the_mean_over_their_rows():
    """As the trainer adds it up: Σ weight · sum / count, over two batches of different parts and sizes."""
    config = configured("mixture", "gpt2")
    torch.manual_seed(0)
    model, made = built(config)
    assert isinstance(made, Mixture)
    scored = Scored(without_dropout(model), made)
    batches = {}
    for number in range(20):
        read = batch(made, number, ragged=True)
        batches.setdefault(made.drawn(read.rows), read)
    first, second = batches["a"], batches["b"]
    second = type(second)(
        rows=Rows(seed=0, epoch=second.rows.epoch[:3], index=second.rows.index[:3]), token_ids=second.token_ids[:3], valid=second.valid[:3]
    )
    examples = [made.prepare(one) for one in (first, second)]
    counts = {term: sum(example.counts.get(term, 0) for example in examples) for term in made.weights}
    assert counts["mixture"] == 7
    scales = {term: weight / max(1, counts[term]) for term, weight in made.weights.items()}
    reports = [scored(example) for example in examples]
    loss = sum(weighted_loss(report, scales) for report in reports)
    means = []
    for name, term, one in (("a", "clm", first), ("b", "prefix_lm", second)):
        own = made.parts[name].prepare(one)
        means.append(made.parts[name].loss(model(own.inputs), own).sums[term] / own.counts[term])
    expected = (4 * means[0] + 3 * means[1]) / 7
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-4)
    # What is told of each part is its own mean, and trains nothing.
    assert set(reports[0].sums) == set(made.weights) == {"mixture", "a/clm", "b/prefix_lm", "c/fill_in_the_middle"}
    told = reports[0].sums["a/clm"] / examples[0].counts["a/clm"]
    torch.testing.assert_close(told, means[0])
    assert not told.requires_grad
    assert reports[0].sums["b/prefix_lm"] == 0


def test_parts_with_the_same_loss_are_one_to_a_compiled_graph():
    halved = SpanCorruptionConfig(density=0.5, sentinels=20)
    made = mixture(MixtureConfig(parts={"a": SpanCorruptionConfig(sentinels=20), "b": PrefixLMConfig(), "c": halved}))
    read = batch(made, 0, ragged=True)
    keys = [next(key for key in made.example(name, read, training=True).targets if key.startswith("mixture/")) for name in made.parts]
    assert keys == ["mixture/a", "mixture/b", "mixture/a"]
    model, _ = built(configured("ul2", "t5"))
    third = made.example("c", read, training=True)
    sums = {term: total.item() for term, total in made.loss(model(third.inputs), third).sums.items()}
    assert sums["a/span_corruption"] == sums["b/prefix_lm"] == 0
    assert sums["mixture"] == pytest.approx(4 * sums["c/span_corruption"] / third.counts["c/span_corruption"])


def test_every_part_is_measured_on_all_held_out_samples():
    made = mixture(MixtureConfig(parts=DECODER, part_weights={"plain": 2.0}))
    assert made.held_out_weights == {"plain/clm": 0.5, "prefix/prefix_lm": 0.25, "middle/fill_in_the_middle": 0.25}
    read = batch(made, 3, ragged=True)
    model, _ = built(configured("mixture", "gpt2"))
    model.eval()
    names = set()
    for view, (name, config) in zip(made.views(), DECODER.items(), strict=True):
        example, own = view.prepare(read, training=False), config.build(vocabulary=VOCABULARY)
        alone = own.prepare(read, training=False)
        ours, theirs = view.evaluate(model(example.inputs), example).sums, own.evaluate(model(alone.inputs), alone).sums
        for key, pair in theirs.items():
            found = f"loss/{name}/{key[5:]}" if key.startswith("loss/") else f"{name}/{key}"
            assert torch.equal(ours[found], pair)
        names |= set(ours)
    assert {f"loss/{term}" for term in made.held_out_weights} <= names


def test_modes_are_tokens_in_front_of_what_is_read():
    config = MixtureConfig(parts=SPANS | {"more": SpanCorruptionConfig(sentinels=9)}, modes={"more": "X", "short": "R", "rest": "S"})
    assert config.needs().sentinels == 23
    assert config.longest(40) == 1 + max(config.parts["short"].longest(40), 40)
    made = mixture(config)
    assert made.marks == {"short": VOCABULARY.sentinels[20], "rest": VOCABULARY.sentinels[21], "more": VOCABULARY.sentinels[22]}
    read = batch(made, 0, ragged=True)
    for name, own in made.parts.items():
        example, alone = made.example(name, read, training=True), own.prepare(read)
        assert isinstance(example.inputs, TranslationInputs)
        assert (example.inputs.source.token_ids[:, 0] == made.marks[name]).all()
        assert torch.equal(example.inputs.source.token_ids[:, 1:], alone.inputs.source.token_ids)
        assert torch.equal(example.inputs.target.token_ids, alone.inputs.target.token_ids)
        assert torch.equal(example.inputs.predict_at, alone.inputs.predict_at)
        assert example.tokens == alone.tokens + 4
        if alone.inputs.source.valid is not None:
            assert torch.equal(example.inputs.source.valid.sum(dim=1), alone.inputs.source.valid.sum(dim=1) + 1)


@pytest.mark.parametrize("name", list(DECODER))
def test_a_mode_before_one_sequence_moves_everything_by_one(name: str):
    made = mixture(MixtureConfig(parts=DECODER, modes=dict.fromkeys(DECODER, "only")))
    for number in range(4):
        read = batch(made, number, ragged=number > 0)
        marked, alone = made.example(name, read, training=True), made.parts[name].prepare(read)
        inputs, plain = marked.inputs, alone.inputs
        assert torch.equal(inputs.token_ids[:, 1:], plain.token_ids)
        assert (inputs.token_ids[:, 0] == made.marks[name]).all()
        term = next(iter(made.parts[name].weights))
        targets = alone.targets[term]
        at = torch.arange(len(targets)) if plain.predict_at is None else plain.predict_at
        scored = targets != -100
        assert torch.equal(inputs.token_ids.flatten()[inputs.predict_at[scored]], plain.token_ids.flatten()[at[scored]])
        if plain.prefix_length is not None:
            assert torch.equal(inputs.prefix_length, plain.prefix_length + 1)
        assert made.views()[list(DECODER).index(name)].language_term is None


def test_predicted_tokens_are_those_of_whichever_part_has_the_turn():
    made = mixture(MixtureConfig(parts=DECODER))
    for name in DECODER:
        example = made.example(name, batch(made, 0, ragged=False), training=True)
        alone = made.parts[name].prepare(batch(made, 0, ragged=False))
        (term,) = made.parts[name].weights
        assert sum(example.counts.get(one, 0) for one in made.predicted_terms) == alone.counts[term] > len(alone.targets), "tokens, not rows"


def test_it_needs_what_any_part_needs():
    assert MixtureConfig(parts={"plain": CausalLMConfig(), "middle": FillInTheMiddleConfig()}).needs().reorders
    assert not MixtureConfig(parts={"plain": CausalLMConfig()}).needs().reorders
    # A prompt is read as a prefix only where nothing was learnt otherwise.
    assert MixtureConfig(parts={"a": PrefixLMConfig(), "b": PrefixLMConfig(target_share=0.25)}).needs().prefix
    assert not MixtureConfig(parts=DECODER).needs().prefix


def test_what_leaves_it_to_the_model_does_as_the_other_parts():
    config = MixtureConfig(parts=SPANS)
    assert config.problems() == []
    assert config.needs().inputs is TranslationInputs
    assert config.fitted(TranslationInputs).parts["rest"] == PrefixLMConfig(form="source_and_target")
    assert MixtureConfig(parts={"rest": PrefixLMConfig()}).fitted(TranslationInputs).needs().inputs is TranslationInputs


def test_ul2_is_the_papers_seven_denoisers():
    config = configured("ul2", "t5").objective
    assert isinstance(config, MixtureConfig)
    spans = {(one.mean_span, one.density) for one in config.parts.values() if isinstance(one, SpanCorruptionConfig)}
    assert spans == {(3, 0.15), (8, 0.15), (3, 0.5), (8, 0.5), (64, 0.15), (64, 0.5)}
    assert config.parts["s"] == PrefixLMConfig(target_share=0.25, form="source_and_target")
    assert {mode for name, mode in config.modes.items() if name.startswith("x")} == {"X"}
    assert config.needs().sentinels == 103


def test_parts_that_cannot_take_turns_are_told_one_line_each():
    def told(**parts: ObjectiveConfig) -> list[str]:
        return MixtureConfig(parts=parts).problems()

    ending = "train them one after another"
    assert told(a=CausalLMConfig(), b=PrefixLMConfig()) == []
    [start] = told(a=SpanCorruptionConfig(), b=DenoisingConfig())
    assert start == f"parts cannot take turns, since they start what is written by the token different kinds (a: pad, b: end); {ending}"
    given, heads = told(a=MaskedLMConfig(), b=ReplacedTokenConfig())
    assert "give a model different kinds (a: SequenceInputs, b: ReplacedTokenInputs)" in given
    assert "need the heads different kinds (a: vocabulary, b: detector and vocabulary)" in heads
    assert told() == ["parts is empty; give at least one objective"]
    [nested] = told(a=MixtureConfig(parts={"b": CausalLMConfig()}))
    assert nested == "the part 'a' is a mixture itself: put its parts here, with their weights"
    [slash] = MixtureConfig(parts={"a/b": CausalLMConfig()}).problems()
    assert slash.startswith("the part name 'a/b' holds a '/', which divides names of metrics")
    assert told(a=CombinedConfig(parts={"c": CausalLMConfig()}), b=PrefixLMConfig()) == []
    [modes] = MixtureConfig(parts={"a": ReplacedTokenConfig()}, modes={"a": "R"}).problems()
    assert modes.startswith("modes puts a token in front of what is read")


def test_what_a_tokenizer_lacks_is_told_for_each_part_and_for_the_modes():
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0, end=3), sentinels=(8, 9))
    spans, modes = MixtureConfig(parts=SPANS, modes={"short": "R", "rest": "S"}).vocabulary_problems(bare)
    assert spans.startswith("has a part 'short', which marks missing spans by 20 sentinel tokens")
    assert spans.endswith("or a smaller objective.parts.short.sentinels")
    assert modes.startswith("marks its modes R, S by sentinel tokens up to <extra_id_21>, of which the tokenizer has 2: train a tokenizer")
    assert MixtureConfig(parts=SPANS, modes={"short": "R"}).vocabulary_problems(VOCABULARY) == []
