"""Annotated data for asking what a model has learned: texts with a class, or words with a tag each, which need not be the run's own."""

from abc import ABC
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from transformer_zoo.data.base import FORM_OF, WORDS_FOR, DataConfig, Form, Source
from transformer_zoo.data.batching import Reader
from transformer_zoo.data.module import DataModule
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.evaluation.base import EvaluationConfig
from transformer_zoo.records import Batch, LabelledBatch, Needs, SequenceInputs, TaggedBatch
from transformer_zoo.settings import OneOf

BATCH_OF: dict[str, type[Batch]] = {"classification": LabelledBatch, "tagging": TaggedBatch}
"""What each task reads."""
TASK_OF = {FORM_OF[batch]: task for task, batch in BATCH_OF.items()}
"""The task that each form of annotation is for."""
FIELD_OF = {"classification": "labels", "tagging": "tags"}
"""Where a batch has the classes."""
CHOOSE = "choose evaluation/data=labelled evaluation.data.train=FILE"


@dataclass(kw_only=True)
class AnnotatedEvaluationConfig(EvaluationConfig, ABC):
    """Base of the evaluations that train something on annotated data and score it on another split of it."""

    data: DataConfig | None = None
    """Texts with a class, or words with tags; null: the run's own data. Texts become tokens by the run's tokenizer."""
    task: Annotated[str, OneOf("auto", *BATCH_OF)] = "auto"
    """classification: tell the class of a text; tagging: tell the tag of every word; auto: what the data holds, classification where both."""

    def problems(self) -> list[str]:
        """Nothing is scored on what it was trained on."""
        return ["split=train is what the evaluation trains on: choose validation or test"] if self.split == "train" else []


@dataclass(frozen=True, kw_only=True)
class AnnotatedData:
    """Data whose rows are classified or tagged."""

    task: str
    module: DataModule
    label: str
    """What errors call it."""

    def reader(self, split: str, *, framed: bool) -> Reader:
        """One split as one sequence a row.

        Raises:
            DataError: the split is not there, holds too little, or its annotations cannot be read.
        """
        with _told_of(self.label):
            return self.module.reader(split, Needs(batch=BATCH_OF[self.task], inputs=SequenceInputs, causal=False, framed=framed))

    def classes(self, batch: Batch) -> Tensor:
        """What is to be told of a batch: [B] of texts, or [B,T] of words, IGNORED where none begins."""
        found: Tensor = getattr(batch, FIELD_OF[self.task])
        return found

    @property
    def names(self) -> list[str]:
        """The classes or tags by number; a reader must have been opened."""
        names = self.module.label_names if self.task == "classification" else self.module.tag_names
        assert names is not None, "a reader was opened"
        return names


def open_annotated(config: AnnotatedEvaluationConfig, own: DataModule) -> AnnotatedData:
    """The data and the task these settings mean, for a run with the data `own`.

    Raises:
        ConfigError: it holds no annotations, or none for the task.
        DataError: files are missing or unreadable.
    """
    chosen = config.data or own.config
    label = "the run's data" if config.data is None else "evaluation.data"
    given = {FORM_OF[batch] for batch in chosen.provides()}
    if not given & TASK_OF.keys():
        held = " and ".join(sorted(WORDS_FOR[form] for form in given))
        raise ConfigError(f"{label} ({chosen.option}) gives {held}, which name no classes: {CHOOSE}")
    with _told_of(label):
        module = own if config.data is None else own.beside(config.data)
        return AnnotatedData(task=_task(config.task, module.source), module=module, label=label)


def _task(wanted: str, source: Source) -> str:
    held = [form for form in source.annotations() if form in TASK_OF]
    if wanted == "auto":
        return TASK_OF[held[0] if held else Form.LABELLED]  # where nothing is held, reading it tells which field is missing
    if held and wanted not in {TASK_OF[form] for form in held}:
        raise DataError(f"task={wanted}, but the data holds {WORDS_FOR[held[0]]}: choose task={TASK_OF[held[0]]} or auto")
    return wanted


@contextmanager
def _told_of(label: str) -> Iterator[None]:
    """Errors about settings of data that stand below another key."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(f"{label}: {problem}" for problem in error.problems)) from error
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
