"""What the commands do that train, measure, use and describe models; all heavy imports are inside the functions."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.cli.arguments import Arguments, is_first_process
from transformer_zoo.errors import ConfigError, StoppedError, ZooError

STUDY_KEYS = ("seeds", "match", "tune", "study")


def train(arguments: Arguments) -> int:
    """One run, or with --multirun one for every combination of comma lists."""
    from transformer_zoo.experiments.compose import experiment

    for key in STUDY_KEYS:
        if arguments.take(key) is not None:
            raise ConfigError(f"{key}= belongs to `compare` and `ablate`; train makes one run with seed=…, or several with --multirun seed=0,1,2")

    def job(overrides: list[str]) -> None:
        config = experiment(overrides, config_dirs=arguments.config_dirs)
        if _shown(arguments, config):
            return
        from transformer_zoo.experiments.run import train as run

        result = run(config, overrides)
        if is_first_process():
            print(result.path)

    return _jobs(arguments, job)


def evaluate(arguments: Arguments) -> int:
    """One measurement of one run."""
    from transformer_zoo.experiments.compose import evaluation

    run = _run_of(arguments)

    def job(overrides: list[str]) -> None:
        config = evaluation(overrides, config_dirs=arguments.config_dirs)
        if _shown(arguments, config):
            return
        from transformer_zoo.experiments.catalog import kind_of
        from transformer_zoo.experiments.evaluating import evaluate_run

        _require_plugins(run)
        found = evaluate_run(run, config.evaluation, device=config.device, checkpoint=config.checkpoint)
        if arguments.has("--json"):
            print(json.dumps({"evaluation": kind_of(type(config.evaluation))} | {k: v for k, v in found.items() if v}, ensure_ascii=False))
            return
        width = max(map(len, found["metrics"]), default=0)
        for name, value in found["metrics"].items():
            print(f"{name:<{width}}  {value:.6g}")
        for name, note in found["notes"].items():
            print(f"{name}: {note}")

    return _jobs(arguments, job)


def generate(arguments: Arguments) -> int:
    """One answer of one run's model."""
    from transformer_zoo.experiments.compose import generation

    given = {key: value for key in ("prompt", "source", "text") if (value := arguments.take(key)) is not None}
    run = _run_of(arguments)
    if any(word.startswith("generation.") for word in arguments.words) and not any(word.startswith("generation=") for word in arguments.words):
        arguments.words.insert(0, "generation=beam" if "source" in given else "generation=sampling")  # what is used where nothing is chosen
    config = generation(arguments.words, config_dirs=arguments.config_dirs)
    if _shown(arguments, config):
        return 0
    from transformer_zoo.experiments.generate import generate as answer

    _require_plugins(run)
    found = answer(run, given, config)
    if arguments.has("--json"):
        print(json.dumps(found, ensure_ascii=False))
    elif "masks" in found:
        print(found["text"])
        for number, candidates in enumerate(found["masks"], start=1):
            print(f"[MASK] {number}: " + ", ".join(f"{one['token']} {one['probability']:.3f}" for one in candidates))
    else:
        print("\n\n".join(found.get("texts") or [found["translation"]]))
    return 0


def describe(arguments: Arguments) -> int:
    """What would be built."""
    from transformer_zoo.experiments.compose import experiment

    config = experiment(arguments.words, config_dirs=arguments.config_dirs)
    if _shown(arguments, config):
        return 0
    from transformer_zoo.cli.describing import text
    from transformer_zoo.experiments.describe import describe as description
    from transformer_zoo.experiments.describe import vocabulary_of

    chosen = any(word.lstrip("+~").startswith(("tokenizer=", "tokenizer.")) for word in arguments.words)
    found = description(config, vocab_size=vocabulary_of(config.tokenizer, config.objective.needs()) if chosen else None)
    print(json.dumps(found.document(), indent=2, ensure_ascii=False) if arguments.has("--json") else text(found))
    return 0


def tokenizer(arguments: Arguments) -> int:
    """Training or comparing tokenizers."""
    from transformer_zoo.experiments import tokenizing
    from transformer_zoo.experiments.compose import experiment

    what = arguments.words.pop(0) if arguments.words else ""
    output = arguments.take("output")

    def compose(overrides: list[str]) -> Any:
        return experiment(overrides, config_dirs=arguments.config_dirs)

    if what == "train":
        path = tokenizing.train(compose(arguments.words), Path(output or "tokenizer.json"))
        print(json.dumps({"output": str(path)}) if arguments.has("--json") else path)
        return 0
    if what == "compare":
        named = arguments.take("tokenizer")
        names = named.strip("[]").split(",") if named else list(tokenizing.COMPARED)
        rows = tokenizing.compare([(name, compose([f"tokenizer={name}", *tokenizing.fitting(arguments.words, name, names)])) for name in names])
        print(json.dumps(rows, indent=2, ensure_ascii=False) if arguments.has("--json") else tokenizing.table(rows))
        return 0
    raise ConfigError(f"tokenizer {what}: choose `tokenizer train` or `tokenizer compare`".replace("tokenizer :", "tokenizer:"))


def demo(arguments: Arguments) -> int:
    """The three small models of the demonstration."""
    from transformer_zoo.studies.demo import demo as show

    output = Path(arguments.take("output") or "demo")
    print(show(output, partial(print, flush=True), arguments.words))
    return 0


def import_model(arguments: Arguments) -> int:
    """A public model as a run."""
    source, target = _two(arguments, "import", "DIR RUN", "the folder of the model and the run to make")
    from transformer_zoo.experiments.imported import import_model as read

    found = read(source, target)
    if arguments.has("--json"):
        print(json.dumps(found, ensure_ascii=False))
        return 0
    heads = ", ".join(found["heads"]) or "none"
    print(f"{found['run']}: {found['recipe']} with {found['parameters']:,} parameters ({found['dtype']}); heads: {heads}")
    return 0


def export_model(arguments: Arguments) -> int:
    """A run's model in the public format."""
    checkpoint = arguments.take("checkpoint") or "best"
    run, target = _two(arguments, "export", "RUN DIR", "the run and the folder to make")
    from transformer_zoo.experiments.exporting import export_model as write

    _require_plugins(run)
    found = write(run, target, checkpoint=checkpoint)
    if arguments.has("--json"):
        print(json.dumps(found, ensure_ascii=False))
        return 0
    print(f"{found['folder']}: {', '.join(found['architectures'])} with {found['parameters']:,} parameters ({found['dtype']})")
    for check, outcome in found["checks"].items():
        print(f"checked {check}: {outcome}")
    return 0


# --- shared -------------------------------------------------------------------------------------------------------------------------


def _two(arguments: Arguments, command: str, usage: str, meaning: str) -> tuple[Path, Path]:
    """The two places a command is given."""
    settings = [word for word in arguments.words if "=" in word and not Path(word).exists()]
    places = [word for word in arguments.words if word not in settings]
    surplus = [*settings, *places[2:]]
    if surplus or len(places) < 2:
        told = f"{', '.join(surplus)} {'is' if len(surplus) == 1 else 'are'} too much; " if surplus else ""
        raise ConfigError(f"{command}: {told}name {meaning}: transformer-zoo {command} {usage}")
    first, second = map(Path, places)
    return first, second


def _run_of(arguments: Arguments) -> Path:
    run = arguments.take("run")
    if not run:
        raise ConfigError("name the run: run=RUN, the folder that `transformer-zoo train` wrote")
    return Path(run)


def _require_plugins(run: Path) -> None:
    """The plugins a run was made with must be loaded before its settings are read."""
    from transformer_zoo.experiments import plugins

    try:
        facts = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # an older or half-written run; whatever is missing is told when it is read
    plugins.require(facts.get("plugins", []), f"run={run}")


def _shown(arguments: Arguments, config: Any) -> bool:
    """Whether `--cfg job` asked for the configuration, which is then printed."""
    if not arguments.has("--cfg"):
        return False
    if arguments.value("--cfg") != "job":
        raise ConfigError(f"--cfg {arguments.value('--cfg')}: only `--cfg job` is there, the configuration of the job itself")
    import yaml

    from transformer_zoo.experiments.convert import to_dict

    print(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), end="")
    return True


def _jobs(arguments: Arguments, job: Callable[[list[str]], None]) -> int:
    """Runs a job, or with --multirun one after another for every combination; one that fails does not stop the others."""
    if not arguments.has("--multirun"):
        job(arguments.words)
        return 0
    from transformer_zoo.experiments.compose import expand

    jobs = expand(arguments.words)
    _refuse_one_folder_for_many(jobs)
    codes: list[int] = []
    for number, overrides in enumerate(jobs, start=1):
        title = f"[{number}/{len(jobs)}] {' '.join(overrides)}"
        print(title, file=sys.stderr)
        try:
            job(overrides)
        except StoppedError:
            raise
        except ZooError as error:
            codes.append(error.exit_code)
            print(f"transformer-zoo: {title} failed: {error}", file=sys.stderr)
    if codes:
        print(f"transformer-zoo: {len(codes)} of {len(jobs)} jobs failed", file=sys.stderr)
    return codes[0] if codes else 0


def _refuse_one_folder_for_many(jobs: list[list[str]]) -> None:
    folders = [word for job in jobs for word in job if word.lstrip("+").startswith("run_dir=")]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"{folders[0]} names one folder for {len(jobs)} jobs: leave it out, or give every job one of its own")
