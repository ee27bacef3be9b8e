"""Differences to a baseline: pairs, adjustment over the table, tables in three formats, and sentences that claim no more than chance allows."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from reports.folders import write_study
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.comparing import baseline_of, compare, comparisons, comparisons_csv, comparisons_md, comparisons_tex, sentences
from transformer_zoo.reports.finding import StudyRecord
from transformer_zoo.reports.groups import Group
from transformer_zoo.reports.report import report, study_files
from transformer_zoo.reports.statistics import holm

LOSS, ACCURACY = "validation/loss", "validation/mlm_accuracy"


def group(label: str, values: dict[int, float], metric: str = LOSS, status: str = "done") -> Group:
    runs = [
        RunRecord(path=Path(f"{label}-{seed}"), status=status, config={"seed": seed}, summary={"metrics": {"final": {metric: value}}})
        for seed, value in values.items()
    ]
    return Group(label=label, runs=runs)


BASE = {0: 2.00, 1: 2.10, 2: 1.95, 3: 2.05, 4: 2.02}
NOISE = (0.002, -0.001, 0.001, 0.0, -0.002)


def shifted(by: float, noise: float = 1.0) -> dict[int, float]:
    return {seed: value + by + noise * NOISE[seed] for seed, value in BASE.items()}


GROUPS = [group("base", BASE), group("bet_ter", shifted(-0.1)), group("same", shifted(0.0)), group("worse", shifted(0.2))]


def test_pairs_take_away_what_seeds_do_to_all() -> None:
    better, same, worse = comparisons(GROUPS, LOSS)
    assert (better.label, better.baseline, better.n, better.method) == ("bet_ter", "base", 5, "t")
    assert better.mean == pytest.approx(-0.1)
    assert better.low is not None
    assert better.high is not None
    assert better.low < -0.1 < better.high < 0
    assert [one.beyond_chance for one in (better, same, worse)] == [True, False, True]
    assert (better.better, worse.better) == (True, False)
    assert [one.p_adjusted for one in (better, same, worse)] == holm([one.p for one in (better, same, worse)])


def test_all_comparisons_of_a_table_are_adjusted_together() -> None:
    alone = comparisons(GROUPS, LOSS)
    for one in GROUPS:
        for run in one.runs:
            run.summary["metrics"]["final"][ACCURACY] = 0.5 + 0.001 * run.config["seed"] * len(one.label)
    both = compare(GROUPS, [LOSS, ACCURACY])
    for one in GROUPS:
        for run in one.runs:
            del run.summary["metrics"]["final"][ACCURACY]
    assert [(one.metric, one.label) for one in both][3:] == [(ACCURACY, "bet_ter"), (ACCURACY, "same"), (ACCURACY, "worse")]
    assert both[0].p == alone[0].p
    assert both[0].p_adjusted is not None
    assert alone[0].p_adjusted is not None
    assert both[0].p_adjusted > alone[0].p_adjusted


def test_the_baseline_is_named_or_the_first_that_finished() -> None:
    unfinished = group("not there", BASE, status="failed")
    assert comparisons([unfinished, *GROUPS], LOSS)[0].baseline == "base"
    assert comparisons(GROUPS, LOSS, "worse")[0].label == "base"
    assert comparisons([unfinished, *GROUPS], LOSS, "not there") == []
    with pytest.raises(ConfigError, match=r"^baseline=bert: no group is called so; there are base; bet_ter; same; worse$"):
        comparisons(GROUPS, LOSS, "bert")
    assert baseline_of(GROUPS, StudyRecord(path=Path(), baseline="same")) == "same"
    assert baseline_of(GROUPS, StudyRecord(path=Path(), baseline="gone")) is None
    assert compare(GROUPS[:1]) == []


def test_unpaired_seeds_are_left_out_and_counted() -> None:
    partly = group("partly", {seed: value for seed, value in shifted(-0.1).items() if seed < 3} | {9: 5.0})
    (one,) = comparisons([GROUPS[0], partly], LOSS)
    assert (one.n, one.unpaired) == (3, 3)
    assert "3 (3 unpaired)" in comparisons_md([one])
    assert "3 pairs, 3 unpaired left out" in sentences([one])[0]
    (stranger,) = comparisons([GROUPS[0], group("stranger", {7: 1.0, 8: 1.1})], LOSS)
    assert (stranger.n, stranger.unpaired, stranger.p, stranger.beyond_chance) == (0, 7, None, False)
    assert math.isnan(stranger.mean)
    assert sentences([stranger]) == ["validation/loss ↓, against base: stranger shares no seed with it, so that nothing can be paired."]


def test_sentences_claim_what_chance_allows() -> None:
    (told,) = sentences(comparisons(GROUPS, LOSS))
    assert told.startswith(
        "validation/loss ↓, against base: bet_ter is better beyond chance by 0.1000 (95% interval −0.1020 to −0.0980, p (Holm) < 0.001, g −50.5"
    )
    assert "no difference beyond chance to same (0.0000, 95% interval −0.0020 to +0.0020, p (Holm) 1.000, 5 pairs; a difference above" in told
    assert "worse is worse beyond chance by 0.2000" in told
    higher = [group("base", BASE, ACCURACY), group("more", shifted(0.2), ACCURACY)]
    assert "more is better beyond chance" in sentences(comparisons(higher, ACCURACY))[0]


def test_what_the_adjustment_takes_back_is_said() -> None:
    noise = np.random.default_rng(0).normal(0, 1.0, size=(8, 5))
    others = [group(f"g{number}", {seed: value + 0.05 * float(row[seed]) for seed, value in BASE.items()}) for number, row in enumerate(noise)]
    others.append(group("nearly", {seed: value + 0.02 + 0.01 * (-1) ** seed for seed, value in BASE.items()}))
    found = comparisons([GROUPS[0], *others], LOSS)[-1]
    assert found.low is not None
    assert found.low > 0
    assert not found.beyond_chance
    assert "its own interval leaves out 0, the adjusted p does not allow to say so" in sentences([found])[0]


def test_a_single_pair_is_an_observation() -> None:
    (one,) = comparisons([group("base", {0: 2.0}), group("other", {0: 1.9})], LOSS)
    assert not one.beyond_chance
    assert sentences([one]) == ["validation/loss ↓, against base: other −0.10 (n=1, no spread: an observation, no more)."]
    assert comparisons_md([one]).splitlines()[5] == "| validation/loss ↓ | other | 1 | −0.10 | – | – | – | – |"


def test_equal_values_and_equal_differences_have_no_interval() -> None:
    identical, constant = comparisons([GROUPS[0], group("identical", BASE), group("constant", shifted(0.1, 0.0))], LOSS)
    assert (identical.p_adjusted, constant.method, constant.beyond_chance) == (1.0, "signs", False)
    assert sentences([identical]) == ["validation/loss ↓, against base: identical is identical in all 5 pairs."]
    assert "constant +0.10 in each of 5 pairs: no difference beyond chance by the signs alone (p (Holm) 0.125" in sentences([constant])[0]


def test_tables_say_the_same_in_every_format() -> None:
    found = comparisons(GROUPS, LOSS)
    lines = comparisons_md(found).splitlines()
    assert lines[1] == "## Differences to base"
    assert lines[5].startswith("| validation/loss ↓ | bet_ter | 5 | **−0.1000** | −0.1020 to −0.0980 | < 0.001 | < 0.001 | −50.5")
    assert "**" not in lines[6]
    assert "p (Holm) for the 3 comparisons of this table together" in comparisons_md(found)
    latex = comparisons_tex(found).splitlines()
    assert [line for line in latex if line in {r"\toprule", r"\midrule", r"\bottomrule"}] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert {line.count("&") for line in latex if line.endswith(r"\\")} == {7}
    assert r"validation/loss $\downarrow$ & bet\_ter & 5 & \textbf{$-$0.1000}" in "\n".join(latex)
    assert [r"\textbf" in line for line in latex if line.startswith("validation")] == [True, False, True]
    rows = list(csv.DictReader(io.StringIO(comparisons_csv(found))))
    assert [(row["group"], row["n"], row["beyond chance"], row["method"]) for row in rows] == [
        ("bet_ter", "5", "yes", "t"),
        ("same", "5", "no", "t"),
        ("worse", "5", "yes", "t"),
    ]
    assert float(rows[0]["difference"]) == pytest.approx(-0.1)
    assert comparisons_md([]) == ""


def test_metrics_that_mean_something_else_are_not_compared() -> None:
    for number, one in enumerate(GROUPS[:2]):
        for run in one.runs:
            run.config["objective.kind"] = ("mlm", "clm")[number]
    try:
        assert compare(GROUPS[:2]) == []
        assert sentences([], GROUPS[:2]) == ["Not compared, since they do not mean the same in all groups: validation/loss."]
    finally:
        for one in GROUPS[:2]:
            for run in one.runs:
                del run.config["objective.kind"]


def test_twenty_pairs_are_judged_by_the_bootstrap() -> None:
    draws = np.random.default_rng(3)
    base = {seed: 2.0 + float(value) for seed, value in enumerate(draws.normal(0, 0.1, 20))}
    other = {seed: value - 0.05 + 0.01 * float(wobble) for (seed, value), wobble in zip(base.items(), draws.normal(0, 1, 20), strict=True)}
    (one,) = comparisons([group("base", base), group("other", other)], LOSS)
    assert (one.method, one.p, one.beyond_chance) == ("bootstrap", pytest.approx(5e-5), True)


def test_a_study_is_reported_with_its_labels_and_its_baseline(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"bert": (2.0, 2.1, 2.05), "gpt2": (1.5, 1.602, 1.549)}, baseline="gpt2")
    report([study], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "## Differences to gpt2" in text
    assert "- validation/loss ↓, against gpt2: bert is worse beyond chance by 0.4997" in text
    study_files(study, "A study")
    assert "## Differences to gpt2" in (study / "summary.md").read_text(encoding="utf-8")
    assert (study / "comparisons.csv").read_text(encoding="utf-8").startswith("metric,group,baseline,n,unpaired,difference,sd,low,high,p,")
