"""Studies: the grid, what is not repeated, what is tried again, what is named."""

import csv
import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from transformer_zoo.errors import ConfigError, NumericError, StoppedError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.studies import matching
from transformer_zoo.studies.cells import Contestant, config_hash
from transformer_zoo.studies.costs import Costs
from transformer_zoo.studies.factors import Design
from transformer_zoo.studies.recipe import Variant
from transformer_zoo.studies.study import Doors, Terms, ablate, compare


class Trainer:
    """Writes what a run leaves behind, without training; `faults` maps a text in the run's folder name to what happens there."""

    def __init__(self, **faults: Exception) -> None:
        self.faults = faults
        self.trained: list[str] = []

    def __call__(self, config: ExperimentConfig, overrides: Sequence[str]) -> None:
        assert config.run_dir is not None
        folder = Path(config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.trained.append(folder.name)
        (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
        (folder / "overrides.txt").write_text("\n".join(overrides))
        for text, error in self.faults.items():
            if text in folder.name:
                status = "preempted" if isinstance(error, StoppedError) else "failed"
                (folder / "status.json").write_text(json.dumps({"status": status, "reason": str(error)}))
                raise error
        loss = config.model.dropout + 0.01 * config.seed  # type: ignore[attr-defined]
        line = {"step": 1, "tokens": 10, "seconds": 0.1, "validation/loss": loss}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        (folder / "summary.json").write_text(json.dumps({"status": "done", "parameters": 7, "tokens": 10, "seconds": 0.1}))
        (folder / "status.json").write_text(json.dumps({"status": "done"}))


TINY = ["model=gpt2", "model/size=tiny"]


def priced(parameters: int, steps: float | None = 10.0) -> Costs:
    """Costs of which only what is given matters."""
    return Costs(
        parameters=parameters,
        parameters_embedding=0,
        parts=(),
        forward=1.0,
        backward=2.0,
        optimizer=0.0,
        tokens_per_step=8.0,
        predicted_per_step=2.0,
        steps=steps,
    )


def test_ablate_runs_the_grid_and_tabulates_mean_and_spread(tmp_path: Path) -> None:
    trainer = Trainer()
    study = ablate({"model.dropout": ["0.1", "0.2"]}, TINY, seeds=3, folder=tmp_path / "s", doors=Doors(train=trainer))
    assert len(trainer.trained) == 6
    assert study.exit_code == 0
    rows = list(csv.DictReader((tmp_path / "s" / "summary.csv").read_text().splitlines()))
    assert [(row["group"], row["n"]) for row in rows] == [("model.dropout=0.1", "3"), ("model.dropout=0.2", "3")]
    assert float(rows[1]["validation/loss mean"]) == pytest.approx(0.21)
    assert float(rows[1]["validation/loss sd"]) == pytest.approx(0.01)
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        *("study.yaml", "study_status.json", ".lock", "runs", "runs.csv", "summary.csv", "summary.md", "summary.tex", "report.html"),
        *("comparisons.csv", "comparisons.md", "comparisons.tex", "factors-validation-loss.svg"),
    }
    tidy = list(csv.DictReader((tmp_path / "s" / "runs.csv").read_text().splitlines()))
    assert {(row["model.dropout"], row["seed"]) for row in tidy} == {(d, s) for d in ("0.1", "0.2") for s in "012"}


def test_finished_runs_are_not_repeated_and_more_seeds_extend_a_study(tmp_path: Path) -> None:
    factors = {"model.dropout": ["0.1", "0.2"]}
    ablate(factors, TINY, seeds=1, folder=tmp_path / "s", doors=Doors(train=Trainer()))
    again = Trainer()
    ablate(factors, TINY, seeds=1, folder=tmp_path / "s", doors=Doors(train=again))
    assert again.trained == []
    more = Trainer()
    ablate(factors, TINY, seeds=2, folder=tmp_path / "s", doors=Doors(train=more))
    assert len(more.trained) == 2
    assert all("seed1" in name for name in more.trained)
    changed = Trainer()
    ablate(factors, [*TINY, "model.max_length=64"], seeds=2, folder=tmp_path / "s", doors=Doors(train=changed))
    assert len(changed.trained) == 4


def test_a_failed_run_is_named_and_the_others_go_on_and_it_is_tried_again_on_request(tmp_path: Path) -> None:
    factors = {"model.dropout": ["0.1", "0.2"]}
    study = ablate(factors, TINY, folder=tmp_path / "s", doors=Doors(train=Trainer(**{"dropout=0.1": NumericError("loss is nan at step 7")})))
    assert [(cell.label, cell.failure) for cell in study.failed] == [("model.dropout=0.1", "loss is nan at step 7")]
    assert study.exit_code == 4
    assert "model.dropout=0.1): failed, loss is nan at step 7" in (tmp_path / "s" / "summary.md").read_text()
    assert "| model.dropout=0.1 | 0 of 1 |" in (tmp_path / "s" / "summary.md").read_text()
    untouched = Trainer()
    assert ablate(factors, TINY, folder=tmp_path / "s", doors=Doors(train=untouched)).exit_code == 4
    assert untouched.trained == []
    repaired = Trainer()
    assert ablate(factors, TINY, folder=tmp_path / "s", doors=Doors(train=repaired, running={"retry": True})).exit_code == 0
    assert len(repaired.trained) == 1
    assert len(list((tmp_path / "s" / "runs").glob("*.failed-1"))) == 1
    assert "failed" not in (tmp_path / "s" / "summary.md").read_text()


def test_an_unexpected_error_is_named_too(tmp_path: Path) -> None:
    study = ablate({"model.dropout": ["0.1"]}, TINY, folder=tmp_path / "s", doors=Doors(train=Trainer(seed0=RuntimeError("out of\nluck"))))
    assert (study.exit_code, study.failed[0].failure) == (1, "RuntimeError: out of luck")


def test_a_signal_stops_the_study_and_it_goes_on_where_it_was(tmp_path: Path) -> None:
    factors = {"model.dropout": ["0.1", "0.2", "0.3"]}
    stopped = Trainer(**{"dropout=0.2": StoppedError("stopped by SIGTERM", signal.SIGTERM)})
    with pytest.raises(StoppedError):
        ablate(factors, TINY, folder=tmp_path / "s", doors=Doors(train=stopped))
    assert "missing, not started" in (tmp_path / "s" / "summary.md").read_text()
    rest = Trainer()
    ablate(factors, TINY, folder=tmp_path / "s", doors=Doors(train=rest))
    assert len(rest.trained) == 2
    assert rest.trained[0] == stopped.trained[1], "a stopped run goes on in its own folder"


def test_every_problem_of_a_grid_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    trainer = Trainer()
    with pytest.raises(ConfigError) as caught:
        ablate({"model.dropout": ["0.1", "2", "x"]}, TINY, folder=tmp_path / "s", doors=Doors(train=trainer))
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["model.dropout=2", "model.dropout=x"]
    assert trainer.trained == []
    assert not (tmp_path / "s").exists()


def test_a_comparison_s_plan_has_one_size_per_contestant(tmp_path: Path) -> None:
    study = compare(
        ["bert", "gpt2"], ["model/size=tiny"], plan=True, folder=tmp_path / "s", doors=Doors(price=lambda config: priced(config.model.d_ff))
    )  # type: ignore[attr-defined]
    plan = study.plan()
    assert json.loads(json.dumps(plan)) == plan
    assert [(one["name"], one["parameters"]) for one in plan["contestants"]] == [("bert", 512), ("gpt2", 512)]
    assert not (tmp_path / "s").exists()
    assert all("tokenizer=wordpiece" in run["overrides"] for run in plan["runs"]), "one tokenizer for all: the first one's"


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["bert", "bert"], {}, "name every model once"),
        (["bert"], {"terms": Terms(match=["size"])}, "match=size: expected some of parameters"),
        (["bert"], {"seeds": 0}, "seeds=0: expected at least 1"),
        (["brt"], {}, "did you mean"),
    ],
)
def test_what_cannot_be_compared_is_refused(models: list[str], options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(models, plan=True, folder=tmp_path, doors=Doors(price=lambda config: priced(1)), **options)  # type: ignore[arg-type]


def test_the_hash_of_a_run_ignores_places_and_sees_everything_else(tmp_path: Path) -> None:
    from transformer_zoo.experiments.compose import experiment

    plain = config_hash(experiment(TINY))
    assert config_hash(experiment([*TINY, "run_dir=elsewhere", "name=other", "device=cpu"])) == plain
    assert len({plain, config_hash(experiment([*TINY, "seed=1"])), config_hash(experiment([*TINY, "model.dropout=0.3"]))}) == 3


# --- what is fair -------------------------------------------------------------------------------------------------------------------


def planted(overrides: Sequence[str]) -> ExperimentConfig:
    """Composes as usual, and hides another learning rate in one of the contestants."""
    from transformer_zoo.experiments.compose import experiment

    return experiment([*overrides, *(["optimizer.lr=0.5"] if "model.dropout=0.2" in overrides else [])])


def test_a_planted_difference_is_found_and_named_before_anything_is_trained(tmp_path: Path) -> None:
    trainer = Trainer()
    given: dict[str, Any] = {"folder": tmp_path / "s", "doors": Doors(train=trainer, compose=planted)}
    with pytest.raises(ConfigError) as caught:
        ablate({"model.dropout": ["0.1", "0.2"]}, TINY, **given)
    assert caught.value.problems == (
        "optimizer.lr is 0.001 in model.dropout=0.1 and 0.5 in model.dropout=0.2, and nobody said that it may differ: set it for all of them, or "
        "declare=optimizer.lr if it is meant",
    )
    assert trainer.trained == []
    assert not (tmp_path / "s").exists()
    assert ablate({"model.dropout": ["0.1", "0.2"]}, TINY, terms=Terms(declare=["optimizer.lr"]), **given).exit_code == 0


def test_complete_experiments_are_no_contestants_unless_what_differs_is_declared() -> None:
    with pytest.raises(ConfigError) as caught:
        ablate({"experiment": ["pocket_bert", "pocket_gpt"]}, plan=True)
    assert any(problem.startswith("model.kind is encoder in experiment=pocket_bert and decoder") for problem in caught.value.problems)


def test_the_same_experiment_under_two_names_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.dropout=0\.10 is the same experiment as model\.dropout=0\.1"):
        ablate({"model.dropout": ["0.1", "0.10"]}, TINY, plan=True)
    with pytest.raises(ConfigError, match="without model/positions is the same experiment as full model"):
        ablate({}, [*TINY, "model/positions=none"], design=Design(drops=["model/positions=none"]), plan=True)


def test_the_seed_is_no_factor() -> None:
    with pytest.raises(ConfigError, match="the seed is no factor; seeds=3 repeats every run"):
        ablate({"seed": ["1", "2"]}, TINY, plan=True)


def test_runs_are_paired_by_seed_and_share_what_makes_their_order_of_data() -> None:
    study = ablate({"model.dropout": ["0.1", "0.2"]}, [*TINY, "seed=5"], seeds=3, plan=True)
    assert [cell.seed for cell in study.cells] == [5, 6, 7] * 2
    for first, second in zip(study.cells[:3], study.cells[3:], strict=True):
        assert (first.config.data, first.config.evaluation, first.config.training) == (
            second.config.data,
            second.config.evaluation,
            second.config.training,
        )


def test_a_baseline_is_one_of_the_labels_and_what_others_are_made_equal_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def match(contestants: Sequence[Contestant], *rest: Any, **more: Any) -> list[Contestant]:
        asked.append([one.name for one in contestants])
        return [replace(one, overrides=[*one.overrides, *(["training.steps=7"] if one.name == "bert" else [])]) for one in contestants]

    monkeypatch.setattr(matching, "match", match)
    monkeypatch.setattr(matching, "MEASURES", ("parameters", "flops"))
    terms = Terms(baseline="gpt2", match=["flops"])
    study = compare(["bert", "gpt2"], ["model/size=tiny", "training.tokens=50"], terms=terms, plan=True)
    assert asked == [["gpt2", "bert"]], "the baseline first"
    assert [one.name for one in study.contestants] == ["bert", "gpt2"]
    assert study.baseline == "gpt2"
    assert study.matched == ["flops"]
    assert "training.steps" in study.declared
    first, second = (cell.config.training.budget for cell in study.cells)
    assert (first, second) == (("steps", 7.0), ("tokens", 50.0)), "a budget that makes equal takes the place of the shared one"
    with pytest.raises(ConfigError, match=r"baseline=brt: there is no such label; did you mean bert\? \(there are bert, gpt2\)"):
        compare(["bert", "gpt2"], terms=Terms(baseline="brt"), plan=True)


def test_ablations_are_made_equal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def match(contestants: Sequence[Contestant], common: Sequence[str], measures: Sequence[str], **more: Any) -> list[Contestant]:
        asked.extend(measures)
        return list(contestants)

    monkeypatch.setattr(matching, "match", match)
    ablate({"model.dropout": ["0.1", "0.2"]}, TINY, terms=Terms(match=["parameters"]), plan=True)
    assert asked == ["parameters"]


def test_phases_are_planned_checked_and_part_of_the_identity() -> None:
    last = Variant(overrides=["objective.mask_ratio=0.15", "training.steps=3"], phases=[["objective.mask_ratio=0.5", "training.steps=4"]])
    variants = {"recipe": {"low": Variant(overrides=["objective.mask_ratio=0.15"]), "high, low": last}}
    shared = ["model=bert", "model/size=tiny", "objective=mlm", "training.steps=7"]
    study = ablate({}, shared, variants=variants, plan=True)
    first, second = study.cells
    assert first.phases == []
    assert second.phases == [["objective.mask_ratio=0.5", "training.steps=4", *shared[:3], "seed=0"]], "what a phase sets wins over what all share"
    assert second.config.training.steps == 3
    assert {"init_from", "objective.mask_ratio", "training.steps"} <= set(study.declared)
    assert study.plan()["runs"][1]["phases"] == second.phases
    last.phases[0][1] = "training.steps=5"
    assert ablate({}, shared, variants=variants, plan=True).cells[1].run != second.run
    last.phases[0].append("model.dropuot=0.1")
    with pytest.raises(ConfigError, match=r"recipe=high, low: model\.dropuot|dropuot"):
        ablate({}, shared, variants=variants, plan=True)


def test_contestants_with_phases_are_made_equal_in_what_all_phases_come_to() -> None:
    def price(config: ExperimentConfig) -> Costs:
        dear = config.objective.mask_ratio == 0.5  # type: ignore[attr-defined]
        return replace(priced(7, steps=config.training.steps), forward=4.0 if dear else 1.0)

    shared = ["model=bert", "model/size=tiny", "objective=mlm", "training.steps=100"]
    last = Variant(overrides=["objective.mask_ratio=0.15", "training.steps=60"], phases=[["objective.mask_ratio=0.5", "training.steps=40"]])
    variants = {
        "recipe": {"one": Variant(overrides=["objective.mask_ratio=0.15"]), "two": last, "dear": Variant(overrides=["objective.mask_ratio=0.5"])}
    }
    given: dict[str, Any] = {"doors": Doors(price=price), "plan": True, "variants": variants}
    study = ablate({}, shared, terms=Terms(match=["flops"]), **given)
    assert [cell.config.training.steps for cell in study.cells] == [100, 43, 50], "300 operations: 43 · 3 + 29 · 6, and 50 · 6"
    assert [word for word in study.cells[1].phases[0] if word.startswith("training.")] == ["training.steps=29"]
    assert [one.costs is None for one in study.contestants] == [False, True, False]
    assert study.contestants[2].overrides == ["objective.mask_ratio=0.5", "training.steps=50"]
    with pytest.raises(ConfigError) as caught:
        ablate({}, shared, terms=Terms(match=["flops", "steps"]), **given)
    assert [problem.split(":")[:2] for problem in caught.value.problems] == [
        ["match=flops,steps", " recipe=two has -28.0% steps of recipe=one, all phases together"],
        ["match=flops,steps", " recipe=dear has -50.0% steps of recipe=one, all phases together"],
    ]
    with pytest.raises(ConfigError, match="match=seconds: runs with phases are made equal in flops, tokens, predicted_tokens, steps"):
        ablate({}, shared, terms=Terms(match=["seconds"]), **given)


def test_the_study_s_file_says_what_was_equal_and_how_to_repeat_it(tmp_path: Path) -> None:
    command = ["ablate", "model.dropout=0.1,0.2", *TINY]
    ablate({"model.dropout": ["0.1", "0.2"]}, TINY, folder=tmp_path, command=command, doors=Doors(train=Trainer()))
    told = yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert told["command"] == command
    assert told["declared"] == ["model.dropout"]
    assert (told["baseline"], told["matched"], told["tolerance"], told["count_embeddings"]) == ("model.dropout=0.1", [], 0.02, True)
    assert [cell["levels"] for cell in told["cells"]] == [{"model.dropout": "0.1"}, {"model.dropout": "0.2"}]
    assert [one["name"] for one in told["contestants"]] == ["model.dropout=0.1", "model.dropout=0.2"]
