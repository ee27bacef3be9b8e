"""The table of commands: what each is for, what it takes, examples, and where its work is done (imported only when called)."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from transformer_zoo.benchmark.suites import SUITES
from transformer_zoo.cli.arguments import COMMON, Arguments, Flag

CONFIG_DIR = Flag("--config-dir", "a folder with YAML options of your own (may be repeated)", short="-cd", value="DIR")
CFG = Flag("--cfg", "print the whole configuration as YAML and do nothing (`--cfg job`)", short="-c", value="job")
MULTIRUN = Flag("--multirun", "run every combination of comma lists, one after another", short="-m")
JSON = Flag("--json", "print one JSON document on standard output and nothing else")
PLAN = Flag("--plan", "say what would be run, and stop")
STUDY_KEYS = (
    *("study", "seeds", "study_dir", "match", "count_embeddings", "tolerance", "baseline", "declare"),
    *("samples", "tune", "trials", "jobs", "launcher", "on_change"),
)
STUDY_FLAGS = (
    CONFIG_DIR,
    PLAN,
    Flag("--status", "say how far the study is, and stop"),
    Flag("--zip", "settings whose lists go together, first with first (may be repeated)", value="KEY,KEY"),
    Flag("--drop", "words that each take one part from the full model, alone; write them last", value="WORD …", many=True),
    Flag("--commands", "print one command for every run, for a scheduler of your own, and stop"),
    Flag("--retry", "make failed runs again"),
    JSON,
)
_DESIGN = """match=parameters,flops,tokens,predicted_tokens,steps,seconds makes contestants equal within tolerance=0.02; with
count_embeddings=false parameters are counted without embeddings. tune=KEY looks for each contestant's best value, over KEY=A,B,C or
KEY='interval(1e-4,1e-2)', with trials=N of each on validation data and a seed of their own. samples=N draws combinations at random.
baseline=LABEL is what all is compared to (default: the first). Runs that differ in settings which are neither varied nor declared
(declare=KEY,…) are refused. jobs=2 makes two runs at once, launcher=slurm all of them on a cluster (slurm.partition=… and so on);
on_change=refuse|keep|repeat says what to do with runs of other code or data."""


@dataclass(frozen=True)
class Command:
    """One word behind `transformer-zoo`."""

    name: str
    summary: str
    usage: str
    """What stands behind the command's name."""
    explanation: str
    examples: tuple[str, ...]
    action: str
    """`module:function` in this package; it gets the Arguments and returns the exit code."""
    own_flags: tuple[Flag, ...] = ()
    takes_overrides: bool = True
    keys: tuple[str, ...] = ()
    """Keys that belong to the command itself, for help and completion."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        return (*self.own_flags, *COMMON)

    def run(self, arguments: Arguments) -> int:
        """Does the work; imports it only now."""
        module, _, function = self.action.partition(":")
        action: Callable[[Arguments], int] = getattr(import_module(f"transformer_zoo.cli.{module}"), function)
        return action(arguments)


_OVERRIDES = """group=choice picks an option (`transformer-zoo list` shows them), key=value sets a value. Nothing is read or computed before
every name, type and range is checked; all mistakes are shown at once."""

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            "train one model",
            "[group=choice …] [key=value …]",
            f"Trains, evaluates and keeps everything in a run folder.\n\n{_OVERRIDES}",
            (
                "train",
                "train model=gpt2 model/size=tiny data=text data.train=my.txt training.seconds=600",
                "train model=bert model/positions=rotary model/norm_placement=pre objective.mask_ratio=0.3",
                "train experiment=pocket_transformer",
                "train --multirun model=bert,gpt2 seed=1,2,3",
                "train run_dir=runs/mine resume=must",
            ),
            "actions:train",
            (CONFIG_DIR, CFG, MULTIRUN),
        ),
        Command(
            "evaluate",
            "measure a trained model",
            "run=RUN [evaluation=CHOICE] [key=value …]",
            "Measures the best checkpoint of a run (checkpoint=latest for the last one) on held-out data.",
            (
                "evaluate run=runs/mine",
                "evaluate run=runs/mine evaluation=bleu evaluation.split=test --json",
                "evaluate run=runs/mine checkpoint=latest",
                "evaluate run=runs/mine evaluation=probe evaluation/data=labelled evaluation.data.train=reviews.jsonl",
            ),
            "actions:evaluate",
            (CONFIG_DIR, CFG, MULTIRUN, JSON),
            keys=("run", "checkpoint"),
        ),
        Command(
            "generate",
            "continue a prompt, translate, or fill masks",
            'run=RUN prompt="…" | source="…" | text="… [MASK] …"  [generation=CHOICE] [key=value …]',
            "A decoder continues `prompt`, an encoder-decoder translates `source`, an encoder fills the [MASK]s of `text`.",
            (
                'generate run=runs/gpt prompt="The king" generation=sampling generation.temperature=0.8',
                'generate run=runs/translator source="A man is sleeping." generation=beam',
                'generate run=runs/bert text="The [MASK] sleeps."',
            ),
            "actions:generate",
            (CONFIG_DIR, CFG, JSON),
            keys=("run", "checkpoint", "prompt", "source", "text"),
        ),
        Command(
            "compare",
            "train several architectures under the same settings",
            "model=A,B,… | study=NAME [match=MEASURE,…] [seeds=N] [key=value …]",
            f"Trains every contestant with every seed; a finished run is never repeated.\n\n{_DESIGN}",
            (
                "compare model=bert,gpt2 model/size=tiny seeds=3",
                "compare model=bert,gpt2 match=parameters training.steps=500 --plan --json",
                "compare model=bert,gpt2 model/size=tiny seeds=3 tune=optimizer.lr optimizer.lr=1e-4,3e-4,1e-3",
            ),
            "studies:compare",
            STUDY_FLAGS,
            keys=STUDY_KEYS,
        ),
        Command(
            "ablate",
            "vary settings of one experiment",
            "key=A,B,… | study=NAME [seeds=N] [key=value …] [--zip KEY,KEY] [--drop WORD …]",
            "Trains every combination of the settings that have several values, with every seed; a finished run is never repeated. A study has its\n"
            "own settings and measurements (`transformer-zoo list study`); what is typed beside it wins, and a typed choice clears what the study\n"
            f"sets under it.\n\n{_DESIGN}",
            (
                "ablate objective.mask_ratio=0.15,0.3,0.4 seeds=3",
                "ablate study=mask_ratio model/size=tiny,mini",
                "ablate model/positions=learned,rotary,alibi model=gpt2 model/size=tiny training.steps=500",
                "ablate model.d_model=64,128 model.n_heads=2,4 --zip model.d_model,model.n_heads",
                "ablate model=bert model/size=tiny seeds=3 --drop model/positions=none model/norm_placement=pre",
                "ablate objective.mask_ratio=0.15,0.3,0.4 optimizer.lr='interval(1e-4,1e-2)' samples=10",
            ),
            "studies:ablate",
            STUDY_FLAGS,
            keys=STUDY_KEYS,
        ),
        Command(
            "report",
            "make tables, plots and one HTML file from runs",
            "PATH … [--output FILE.html|FOLDER] [--publish wandb]",
            "Reads run folders, studies, or folders of them, and writes one self-contained HTML file with a .csv and a .md beside it.",
            ("report runs", "report studies/positions --output positions.html", "report runs/a runs/b"),
            "studies:report",
            (
                Flag("--output", "the HTML file to write (default: report.html), or a folder for all tables and pictures", short="-o", value="PATH"),
                Flag("--publish", "send the table and the page there too: wandb", value="WHERE"),
            ),
            takes_overrides=False,
        ),
        Command(
            "describe",
            "show what would be built",
            "[group=choice …] [key=value …]",
            "Parts, shapes, parameters and operations by part, the attention mask as a picture, and what differs from the ancestor.\n"
            "Reads no data: without tokenizer=… the published vocabulary counts.",
            (
                "describe model=bert",
                "describe model=gpt2 model/size=xl model/positions=rotary",
                "describe experiment=bert_paper --json",
            ),
            "actions:describe",
            (CONFIG_DIR, CFG, JSON),
        ),
        Command(
            "list",
            "show what can be chosen",
            "[GROUP | GROUP=CHOICE]",
            "All groups; the choices of one group; or the settings of one choice with their defaults and meaning.",
            ("list", "list model/positions", "list optimizer=adamw", "list model --json"),
            "listing:show",
            (CONFIG_DIR, JSON),
            takes_overrides=False,
        ),
        Command(
            "tokenizer",
            "train tokenizers, or compare them on a text",
            "train|compare [tokenizer=CHOICE[,…]] [data=… data.train=…] [output=FILE]",
            "`train` writes a tokenizer.json; `compare` prints a table: vocabulary, tokens per word, unknown rate, bytes per token.",
            (
                "tokenizer train tokenizer=bpe tokenizer.vocab_size=8000 data=text data.train=my.txt output=tokenizer.json",
                "tokenizer compare tokenizer=word,wordpiece,bpe data=text data.train=my.txt",
            ),
            "actions:tokenizer",
            (CONFIG_DIR, JSON),
            keys=("output",),
        ),
        Command(
            "demo",
            "train a small BERT, GPT and Transformer on the built-in language and show what they learnt",
            "[output=DIR] [key=value …]",
            "Takes about three minutes on two cores, needs no network, and writes DIR/report.html.",
            ("demo", "demo output=demo"),
            "actions:demo",
            keys=("output",),
        ),
        Command(
            "benchmark",
            "measure speed and memory against other packages, side by side",
            "[table] [suite=NAME,…] [rounds=7] [output=DIR] [device=cpu] [threads=N] [data=DIR]",
            "Every round runs every side once, so that ratios mean something on a machine that others use too. Writes DIR/speed.json (default:\n"
            "benchmarks/results) suite by suite and prints a table of ratios with quartiles; above 1, ours is better. `table` prints what is kept.\n"
            f"Suites: {', '.join(SUITES)}. Needs the extra bench: pip install '.[bench]'; real text is read from data=DIR or TRANSFORMER_ZOO_DATA.",
            ("benchmark", "benchmark suite=step,memory rounds=3", "benchmark table", "benchmark suite=translation data=path/to/data --json"),
            "benchmarking:benchmark",
            (Flag("--quick", "tiny shapes and one round, to see that everything works; the figures mean nothing"), JSON),
            takes_overrides=False,
            keys=("suite", "rounds", "output", "device", "threads", "data"),
        ),
        Command(
            "completion",
            "print a script that completes commands and settings in your shell",
            "bash|zsh",
            "Put its output into your shell's start-up file, or load it at once as below.",
            ('completion bash  # eval "$(transformer-zoo completion bash)"', "completion zsh >> ~/.zshrc"),
            "completion:script",
            takes_overrides=False,
        ),
        Command(
            "import",
            "make a run of a model in the Hugging Face format",
            "DIR RUN",
            "Reads config.json, the safetensors weights and tokenizer.json of a folder; no code of a model is run, no pickle is read.\n"
            "`generate run=RUN`, `train init_from=RUN` and `export RUN` take the run; export gives back what was read, bit for bit.",
            ("import path/to/bert-base-uncased runs/bert", "import path/to/gpt2 runs/gpt2 --json"),
            "actions:import_model",
            (JSON,),
            takes_overrides=False,
        ),
        Command(
            "export",
            "write a model in the Hugging Face format",
            "RUN DIR [checkpoint=best]",
            "Writes config.json, model.safetensors and the tokenizer of a run, trained or imported, reads them and compares scores: with our own\n"
            "importer, and with the package transformers where it is installed.",
            ("export runs/mine path/to/model", "export runs/mine path/to/model checkpoint=latest --json"),
            "actions:export_model",
            (JSON,),
            takes_overrides=False,
            keys=("checkpoint",),
        ),
    )
}
