"""The suites of a CUDA device, in miniature on a CPU, so that they run when there is one."""

import logging
from pathlib import Path

import pytest
import torch

from transformer_zoo.benchmark import gpu, gpu_quality
from transformer_zoo.benchmark.flops import TRAINING_PASSES, training_operations
from transformer_zoo.benchmark.gpu_sides import Marks, Stretches, hugging_face_t5, their_run, waits_of_steps
from transformer_zoo.benchmark.gpu_tasks import BERT_128, GPT2, PACKED, T5, TASKS, Task, rows_of
from transformer_zoo.benchmark.peers import parameters_of
from transformer_zoo.benchmark.suites import ON_REQUEST, SuiteSettings
from transformer_zoo.data.stream import StreamState
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.records import IGNORED, Example

CPU = torch.device("cpu")
QUICK = SuiteSettings(rounds=2, quick=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


def first(task: Task, folder: Path) -> Example:
    return next(iter(task.stream(folder).iterate(StreamState(seed=0)))).examples[0]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")  # of Hugging Face's Trainer
@pytest.mark.parametrize("task", [pytest.param(task, id=task.row, marks=[pytest.mark.slow] if number else []) for number, task in enumerate(TASKS)])
def test_both_trainers_run_and_the_data_side_is_told(task: Task, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "dense_bf16_peak", lambda name: 1e12)
    rows = {(one.row, one.peer): one for one in gpu.measure_task(task.quick(), QUICK, CPU)}
    share = rows[f"MFU: {task.row}", "dense bf16 peak of cpu"]
    assert share.ratio == pytest.approx(share.numbers["step_operations"] / 1e12 / share.numbers["ours_seconds"], rel=0.5)
    assert share.target == task.utilisation
    assert share.numbers["graphs_after_warm_up"] == 0
    assert rows[task.row, gpu.HUGGING_FACE_TRAINER].target == 1.3
    data_side = rows[f"data side: {task.row}", gpu.CONSUMED]
    assert data_side.ratio == pytest.approx(data_side.numbers["tokens_per_second"] / data_side.numbers["consumed_tokens_per_second"], rel=0.5)
    assert ((f"MFU: {task.row}", gpu.SMALL_TRAINER) in rows) is (task is GPT2)
    assert "train_runtime" not in capsys.readouterr().out, "tables alone are printed"


def test_packed_documents_run_by_both_kernels() -> None:
    (one,) = gpu.measure_packed(PACKED.quick(), QUICK, CPU)
    assert (one.row, one.peer) == (PACKED.row, gpu.PLAIN_KERNEL)


def test_packed_documents_are_told_apart(tmp_path: Path) -> None:
    assert first(PACKED.quick(), tmp_path).inputs.document_ids is not None  # type: ignore[attr-defined]
    assert first(GPT2.quick(), tmp_path).inputs.document_ids is None  # type: ignore[attr-defined]


def test_an_unknown_peak_is_no_share(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert gpu.shares(GPT2, [1.0], {"step_operations": 1e12}, CPU) == []
    assert "the dense bf16 peak of cpu is unknown" in caplog.text


def test_what_is_published_for_the_small_trainer() -> None:
    assert gpu.published_share() == pytest.approx(0.292, abs=0.001)


def test_ten_steps_are_a_stretch() -> None:
    marks = Marks(Stretches(warm_up=3, steps=2, count=2), CPU)
    for step in range(marks.stretches.total):
        marks.before(step)
    assert marks.stretches.total == 8
    assert len(marks.times) == 3
    assert len(marks.seconds) == 2
    assert [step for step in range(8) if marks.stretches.ends_at(step)] == [3, 5, 7]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.row)
def test_operations_are_six_for_a_parameter_and_a_token(task: Task, tmp_path: Path) -> None:
    """The usual rule, within what attention and a head at chosen places change: counted for the sizes that are measured, of one row."""
    small = Task(**{**task.__dict__, "shape": task.shape.__class__(**{**task.shape.__dict__, "batch_size": 1})})
    example = first(small, tmp_path)
    with torch.device("meta"):
        model = small.config().build(vocab_size=small.shape.vocab_size, heads=small.built().needs().heads)
    embeddings = small.shape.vocab_size * small.shape.d_model
    inner = parameters_of(model) - embeddings
    tokens = example.tokens if task is not T5 else (512 + 114) / 2 * 2
    scored = next(iter(example.counts.values()))
    rule = 2 * TRAINING_PASSES * (inner * tokens / (2 if task is T5 else 1) + embeddings * scored)
    assert training_operations(small.products(example)) == pytest.approx(rule, rel=0.35)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.row)
def test_rows_hold_the_same_targets(task: Task, tmp_path: Path) -> None:
    example = first(task.quick(), tmp_path)
    rows = rows_of(example)
    (count,) = example.counts.values()
    assert sum(int((row["labels"] != IGNORED).sum()) for row in rows) == count
    assert len(rows) == task.quick().shape.batch_size


def test_the_t5_of_the_peer_is_as_large_as_ours() -> None:
    with torch.device("meta"):
        ours = T5.config().build(vocab_size=T5.shape.vocab_size, heads=T5.built().needs().heads)
        theirs = hugging_face_t5(T5.shape, 0.1)
    assert parameters_of(ours) == parameters_of(theirs)


def test_without_a_cuda_device_one_line_says_so() -> None:
    for suite, name in ((gpu, "gpu"), (gpu_quality, "gpu_quality")):
        with pytest.raises(ConfigError) as caught:
            suite.measure(SuiteSettings(device="cpu"))
        assert str(caught.value) == f"suite={name} needs a CUDA device, and device=cpu is none: run it where there is one, with device=cuda"
        assert caught.value.exit_code == 2
    assert {"gpu", "gpu_quality"} <= ON_REQUEST


def test_quality_is_measured_in_miniature() -> None:
    loss, minute = gpu_quality.shakespeare(QUICK)
    assert loss.ratio == pytest.approx(1.4697 / loss.numbers["validation/loss"])
    assert minute.ratio == pytest.approx(60 / minute.numbers["seconds"])
    assert gpu_quality.books(4, QUICK).numbers["steps"] == 2


def test_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="experiment=books_mlm reads the folder books"):
        gpu_quality.text_of(gpu_quality.BOOKS, SuiteSettings(data=tmp_path))


def test_files_are_given_by_split(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    words = gpu_quality.text_of(gpu_quality.BOOKS, SuiteSettings(data=tmp_path))
    assert words[1] == f"data.validation='{tmp_path / 'books' / 'validation.jsonl.gz'}'"


@pytest.mark.gpu
@pytest.mark.parametrize("task", [BERT_128, GPT2, T5], ids=lambda task: task.row)
def test_the_host_does_not_wait_between_steps(task: Task, tmp_path: Path) -> None:
    assert waits_of_steps(task.quick(), torch.device("cuda"), tmp_path, n_steps=5) == []


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_the_peer_runs_compiled(tmp_path: Path) -> None:
    marks = Marks(Stretches(warm_up=2, steps=1, count=2), torch.device("cuda"))
    their_run(GPT2.quick(), marks.stretches, torch.device("cuda"), tmp_path, marks.before)
    assert marks.compiled[-1].graphs > 0
