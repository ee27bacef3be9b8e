"""One experiment from settings to a finished run folder."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
import yaml

from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.stream import TrainingStream
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, StoppedError, ZooError
from transformer_zoo.evaluation.base import Evaluation, EvaluationContext
from transformer_zoo.experiments import assemble, plugins
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.initial_weights import Start, open_start, start_from
from transformer_zoo.experiments.loaded_run import read_config
from transformer_zoo.experiments.results import ATTENTION_KERNELS, COMPILATION, FINAL_EVALUATION, STARTED_FROM
from transformer_zoo.experiments.safety import masked
from transformer_zoo.layers.attention.watching import watched
from transformer_zoo.layers.linear import library
from transformer_zoo.models.base import Model
from transformer_zoo.training.checkpoints import Identity, config_differences
from transformer_zoo.training.environment import environment
from transformer_zoo.training.parallel import Replica, World
from transformer_zoo.training.precision import Precision, resolve_device
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.setup import build_trainer, load_weights
from transformer_zoo.training.signals import StopFlag, StopRequested
from transformer_zoo.training.trainer import Verdict

logger = logging.getLogger(__name__)

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to."""

    path: Path
    summary: dict[str, Any]
    """As in `summary.json`."""
    notes: dict[str, str] = field(default_factory=dict)


def train(config: ExperimentConfig, overrides: Sequence[str] = (), *, start: Start | None = None, verdict: Verdict | None = None) -> RunResult:
    """Trains, evaluates and writes a run folder; goes on from its checkpoints where `run_dir` has some. `start` holds weights to begin with that are
    at hand already, in the place of `init_from`. `verdict` is asked after every evaluation on the way whether the run shall end.

    Raises:
        ZooError: what the user can put right, with the exit code of its class; the folder's `status.json` says the same.
    """
    assemble.check(config)
    if start is None and config.init_from is not None:
        start = open_start(Path(config.init_from))  # before anything is written or prepared
    world = World.from_environment()
    device = resolve_device(config.device, world)
    assemble.check_device(config.model, device)
    world.join(device)
    try:
        with StopFlag() as stop, _run_folder(config, world) as run, _log_file(run, world):
            try:
                return _Experiment(config, list(overrides), world, device, run, stop, start).fit(verdict)
            except StopRequested as request:
                if world.is_main:
                    run.set_status("preempted", f"stopped by {request} while preparing")
                raise StoppedError(f"stopped by {request} before training began; nothing was lost", request.signal_number) from None
            except (ZooError, OSError) as error:
                if world.is_main and run.status() in (None, "running"):
                    run.set_status("failed", str(error))
                raise
    finally:
        world.leave()


class _Experiment:
    """The parts of one run, made in the order in which they depend on each other."""

    def __init__(
        self,
        config: ExperimentConfig,
        overrides: list[str],
        world: World,
        device: torch.device,
        run: RunFolder,
        stop: StopFlag,
        start: Start | None,
    ) -> None:
        self.config, self.overrides, self.world, self.device, self.run, self.stop = config, overrides, world, device, run, stop
        if config.training.threads is not None:
            torch.set_num_threads(config.training.threads)
        self._write_settings()
        assemble.check_tokenizer(config)
        self.data = self._open_data()
        self.objective = assemble.build_objective(config.objective, self.data, self.data.vocabulary)
        self.started_from: dict[str, Any] | None = None
        self.model = self._build_model(start)
        self.stream = self._build_stream()
        self._write_environment()

    def fit(self, verdict: Verdict | None = None) -> RunResult:
        """Train to the end, then evaluate once more as `final_evaluation` says."""
        config = self.config
        evaluation = config.evaluation.build(self._context())
        final = None if config.final_evaluation is None else config.final_evaluation.build(self._context())  # refuses before any step is taken
        trainer = build_trainer(
            training=config.training,
            optimizer=config.optimizer,
            schedule=config.schedule,
            tracker=config.tracker,
            model=self.model,
            objective=self.objective,
            stream=self.stream,
            run=self.run,
            identity=self._identity(),
            world=self.world,
            device=self.device,
            evaluate=partial(evaluation, self.model),
            seed=config.seed,
            stop=self.stop,
            tracked_config=masked(to_dict(config)),
            observe=self._watch_kernels,
            verdict=verdict,
        )
        summary = trainer.fit(config.resume)
        self._add_operations(summary)
        notes = {} if final is None else self._evaluate_finally(final, summary)
        return RunResult(path=self.run.path, summary=summary, notes=notes)

    def _add_operations(self, summary: dict[str, Any]) -> None:
        """What training cost in floating-point operations, beside seconds, which depend on the machine."""
        from transformer_zoo.experiments.costs import costs_of

        if "flops" in summary:
            return  # the run was complete before
        summary["flops"] = costs_of(self.config, self.data).flops_per_step * summary["steps"]
        if self.world.is_main:
            self.run.write_json("summary.json", summary)

    def _evaluate_finally(self, final: Evaluation, summary: dict[str, Any]) -> dict[str, str]:
        """Adds what `final_evaluation` finds of the best weights (those that `evaluate` takes) to the summary; returns its notes."""
        load_weights(self.model, self.run.path)
        try:
            report = final.report(self.model.eval())
        except StopRequested as request:
            self.run.set_status("preempted", f"stopped by {request} in the final evaluation")
            message = f"stopped by {request} in the final evaluation; training is done and saved, the same command evaluates again"
            raise StoppedError(message, request.signal_number) from None
        summary["metrics"]["final"] |= report.metrics
        chosen = self.config.final_evaluation
        assert chosen is not None
        summary[FINAL_EVALUATION] = kind_of(type(chosen))
        if report.notes:
            summary["notes"] = report.notes
        if self.world.is_main:
            self.run.write_json("summary.json", summary)
        return report.notes

    def _open_data(self) -> DataModule:
        """Data and tokenizer; the first process prepares, the others find it prepared. A run that goes on keeps its tokenizer."""
        saved = self.run.path / "tokenizer.json"
        tokenizer = Tokenizer.load(saved) if saved.is_file() and self.config.resume != "never" else None
        config = self.config

        def build() -> DataModule:
            data = build_data(
                config.data,
                config.tokenizer,
                needs=config.objective.needs(),
                cache_dir=assemble.cache_folder(),
                tokenizer=tokenizer,
                poll=self.stop.check,
            )
            data.reader("train", config.objective.needs())
            return data

        data = build() if self.world.is_main else None
        self.world.barrier()
        data = data or build()
        if self.world.is_main and tokenizer is None:
            data.tokenizer.save(saved)
        return data

    def _build_model(self, start: Start | None) -> Model:
        torch.manual_seed(self.config.seed)
        model = assemble.build_model(self.config.model, self.data.vocabulary.size, self.objective.needs().heads)
        if start is not None:
            taken = start_from(model, start, settings=to_dict(self.config.model), tokenizer=self.data.tokenizer, part=self.config.init_part)
            self.started_from = {"source": taken.source, "taken": len(taken.taken), "drawn": len(taken.drawn), "unused": len(taken.unused)}
            if self.world.is_main:
                self.run.write_json(f"{STARTED_FROM}.json", asdict(taken))
        return model

    def _build_stream(self) -> TrainingStream:
        training, needs = self.config.training, self.objective.needs()
        return TrainingStream(
            self.data.reader("train", needs),
            self.objective.prepare,
            seed=self.config.seed,
            batch_size=training.batch_size if training.batch_tokens is None else None,
            batch_tokens=training.batch_tokens,
            micro_batch_size=training.micro_batch_size,
            rank=self.world.rank,
            world_size=self.world.size,
            n_workers=training.n_workers,
            budget=training.budget if needs.progress else None,
        )

    def _context(self) -> EvaluationContext:
        precision = Precision(self.config.training.precision, self.device)
        return EvaluationContext(
            data=self.data,
            objective=self.objective,
            device=self.device,
            rank=self.world.rank,
            world_size=self.world.size,
            total=self.world.sum,
            autocast=precision.autocast,
            guard=partial(self.stop.guard, world=self.world),
        )

    def _identity(self) -> Identity:
        return Identity(
            config=masked(to_dict(self.config)),
            tokenizer=self.data.tokenizer.fingerprint,
            data=self.data.fingerprint,
            world_size=self.world.size,
        )

    # --- what stands in the folder -------------------------------------------------------------------------------------------------

    def _write_settings(self) -> None:
        """Checks first that a run that goes on is the same run, so that nothing of another one is written over."""
        if self.world.is_main:
            self._check_same_run()
            self.run.set_status("running", "preparing")
            self.run.write_text("config.yaml", yaml.safe_dump(masked(to_dict(self.config)), sort_keys=False, allow_unicode=True))
            self.run.write_text("overrides.txt", "".join(f"{masked(line)}\n" for line in self.overrides))

    def _check_same_run(self) -> None:
        path = self.run.path
        if not (path / "config.yaml").is_file() or not any(self.run.checkpoints.glob("step-*")):
            return
        before = read_config(path)
        differences = config_differences(to_dict(before), to_dict(self.config))
        if differences:
            table = "; ".join(f"{key}: {saved} before, {now} now" for key, saved, now in differences)
            raise CheckpointError(
                f"run_dir={path} holds a run with other settings ({table}): choose another run_dir, or start from its weights by init_from={path}"
            )
        if before.training.budget != self.config.training.budget:
            (unit, amount), (new_unit, new_amount) = before.training.budget, self.config.training.budget
            logger.warning("the budget changes from %g %s to %g %s, and the schedule with it", amount, unit, new_amount, new_unit)

    def _write_environment(self) -> None:
        if self.world.is_main:
            facts = environment(
                device=self.device,
                world_size=self.world.size,
                seed=self.config.seed,
                text_fingerprint=self.data.source.fingerprint,
                data_fingerprint=self.data.fingerprint,
                tokenizer_fingerprint=self.data.tokenizer.fingerprint,
                plugins=plugins.loaded(),
                matrix_products=library(self.device),
            )
            before = self.run.read_json("environment.json") or {}  # of an earlier start, which may have been the last one to take a step
            facts |= {ATTENTION_KERNELS: before.get(ATTENTION_KERNELS, []), COMPILATION: before.get(COMPILATION)}
            facts |= {STARTED_FROM: self.started_from} if self.started_from else {}
            self.run.write_json("environment.json", masked(facts))

    @contextlib.contextmanager
    def _watch_kernels(self, replica: Replica) -> Iterator[None]:
        """Adds to `environment.json` which kernels attention ran by, in words, and whether the model was compiled; says what would be faster."""
        dtype = torch.bfloat16 if Precision(self.config.training.precision, self.device).name == "bf16" else torch.float32
        with watched(self.model, compiled=replica.compiled, dtype=dtype) as watch:
            yield
        if not self.world.is_main:
            return
        ran = watch.found()
        seen = {ATTENTION_KERNELS: [asdict(one) for one in ran], COMPILATION: asdict(replica.compilation)}
        self.run.write_json("environment.json", (self.run.read_json("environment.json") or {}) | seen)
        for one in ran:
            logger.info("%s", one)
        for advice, slow in groupby(sorted((one.advice, one.attention) for one in ran if one.advice), key=itemgetter(0)):
            logger.warning("%s: %s", ", ".join(where for _, where in slow), advice)


@contextlib.contextmanager
def _run_folder(config: ExperimentConfig, world: World) -> Iterator[RunFolder]:
    """The run's folder, held by the first process."""
    if not world.is_main:
        yield RunFolder.shared(Path(world.broadcast(None)))
        return
    try:
        run = RunFolder.create(RUNS, config.name) if config.run_dir is None else RunFolder.claim(Path(config.run_dir))
    except ZooError:
        world.broadcast(str(RUNS))  # the others wait for a path; they end with this process
        raise
    with run:
        world.broadcast(str(run.path))
        yield run


@contextlib.contextmanager
def _log_file(run: RunFolder, world: World) -> Iterator[None]:
    """Everything logged also goes to `train.log`."""
    if not world.is_main:
        yield
        return
    handler = logging.FileHandler(run.path / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package = logging.getLogger("transformer_zoo")
    level = package.level
    package.setLevel(min(package.getEffectiveLevel(), logging.INFO))
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
