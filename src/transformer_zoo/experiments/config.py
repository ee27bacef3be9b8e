"""The settings of one experiment: what `configs/train.yaml` composes and a run's `config.yaml` holds."""

from dataclasses import dataclass, field
from typing import Annotated

from transformer_zoo.data.base import DataConfig
from transformer_zoo.data.tokenizers import TokenizerConfig
from transformer_zoo.evaluation.base import EvaluationConfig
from transformer_zoo.experiments.safety import name_problem, path_problem
from transformer_zoo.generation.base import GenerationConfig
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.settings import Config, NaturalInt, OneOf, PositiveInt
from transformer_zoo.training.optimizers import OptimizerConfig
from transformer_zoo.training.schedules import ScheduleConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.trackers import TrackerConfig

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(kw_only=True)
class RecipeConfig(Config):
    """What a named model was when it was published: for `describe` without data, and for choices nobody made."""

    name: str = ""
    """As its paper calls it."""
    model: str | None = None
    """What was chosen by `model=`."""
    size: str | None = None
    """What was chosen by `model/size=`."""
    paper: str | None = None
    """Where it was published."""
    ancestor: str | None = None
    """The recipe it descends from; `describe` shows the difference."""
    objective: str | None = None
    """The objective used where none is chosen."""
    tokenizer: str | None = None
    """The tokenizer used where none is chosen."""
    sizes: list[str] = field(default_factory=list)
    """The sizes its paper names."""
    parity: str | None = None
    """The implementation that tests hold it equal to."""


@dataclass(kw_only=True)
class ExperimentConfig(Config):
    """One training run from end to end."""

    model: ModelConfig
    """What is trained."""
    objective: ObjectiveConfig
    """What it is trained to do."""
    data: DataConfig
    """What it is trained on."""
    tokenizer: TokenizerConfig
    """How text becomes tokens."""
    optimizer: OptimizerConfig
    """What turns gradients into updates."""
    schedule: ScheduleConfig
    """How the learning rate moves."""
    training: TrainingConfig
    """How long, in what batches and how to train."""
    evaluation: EvaluationConfig
    """What is measured on held-out data during training."""
    final_evaluation: EvaluationConfig | None = None
    """What is measured once more at the end; null: nothing more. Choose with evaluation@final_evaluation=…; where nobody does, it is the mask grid
    for an objective that hides tokens, and nothing for others."""
    tracker: TrackerConfig
    """Where metrics go besides the run's own files."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """What is known of the named model."""
    name: str = "run"
    """Begins the name of the run's folder: letters, digits and . _ = , + -."""
    seed: NaturalInt = 0
    """Fixes initial weights, masks, shuffles and dropout."""
    device: Annotated[str, OneOf(*DEVICES)] = "auto"
    """Where to compute; auto: CUDA, else MPS, else CPU."""
    run_dir: str | None = None
    """The run's folder; null: a new one under runs/."""
    init_from: str | None = None
    """A run or checkpoint whose weights the model starts with."""
    init_part: str | None = None
    """The part of that model to take, by its name, such as discriminator; null: the whole of it."""
    resume: Annotated[str, OneOf("auto", "must", "never")] = "auto"
    """Whether to go on from checkpoints in `run_dir`: auto where there are any, must or fail, or never."""

    def __post_init__(self) -> None:
        self.objective = self.objective.fitted(self.model.accepts)

    def problems(self) -> list[str]:
        """Names that cannot become folders, parts of nothing."""
        found = []
        if problem := name_problem(self.name):
            found.append(f"name: {problem}")
        if self.run_dir is not None and (problem := path_problem(self.run_dir)):
            found.append(f"run_dir: {problem}")
        if self.init_part is not None and self.init_from is None:
            found.append(f"init_part={self.init_part} is a part of nothing: name a run by init_from")
        return found


@dataclass(kw_only=True)
class EvaluateConfig(Config):
    """How a trained model is measured."""

    evaluation: EvaluationConfig
    """What is measured."""
    checkpoint: str = "best"
    """Which weights: best, latest, or the name of a checkpoint."""
    device: Annotated[str, OneOf(*DEVICES)] = "auto"
    """Where to compute."""


@dataclass(kw_only=True)
class GenerateConfig(Config):
    """How a trained model continues, translates or fills in."""

    generation: GenerationConfig | None = None
    """How tokens are chosen; null: sampling for a prompt, beam search for a translation."""
    checkpoint: str = "best"
    """Which weights: best, latest, or the name of a checkpoint."""
    device: Annotated[str, OneOf(*DEVICES)] = "auto"
    """Where to compute."""
    seed: NaturalInt = 0
    """Fixes what is drawn."""
    samples: PositiveInt = 1
    """Continuations of a prompt."""
    top_k: PositiveInt = 5
    """Candidates shown for every mask."""
