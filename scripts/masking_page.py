"""Writes the study of mask ratios into docs/masking.md, with its figure: `python scripts/masking_page.py STUDY`, a folder that
`transformer-zoo ablate study=mask_ratio_books` made."""

import sys
from pathlib import Path

from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.grids import Grid
from transformer_zoo.reports.groups import Group, group_runs, mean_and_deviation
from transformer_zoo.reports.mask_answers import answers_md, grid_to_compare, trained_at
from transformer_zoo.reports.svg import Series, figure, line_chart
from transformer_zoo.reports.tables import size_text, spread_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "masking.md"
FIGURE = ROOT / "docs" / "figures" / "masking_books.svg"
COLOURS = ("blue", "orange", "green", "purple", "brown")
CAPTION = "Over the ratio of training: loss above the best of each evaluated ratio ({}), and the probes; bands: one sample standard deviation."
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"


def main(study: Path) -> None:
    groups = group_runs(find_runs([study]), labelled=True)
    grid = grid_to_compare(groups)
    if grid is None:
        raise SystemExit(f"{study}: no two groups were measured on the same grid")
    FIGURE.write_text(drawn(grid), encoding="utf-8")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{section(grid, groups)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def section(grid: Grid, groups: list[Group]) -> str:
    """The tables and the conclusion."""
    found = trained_at(grid)
    assert found is not None, "the study varies the mask ratio"
    ((_, points),) = found[1]
    scores = list(points[0][1].finished[0].measured_scores())
    head = ["trained at", *(f"loss at {float(ratio):.0%}" for ratio in grid.ratios), *scores, "hidden", "predicted tokens", "FLOPs"]
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    for ratio, group in points:
        losses = [spread_text(*grid.mean(group, at, "loss")) for at in grid.ratios]
        told = [spread_text(*mean_and_deviation(group.values(name))) for name in scores]
        ledger = [run.summary["ledger"] for run in group.finished]
        hidden = mean_and_deviation([one["masking/selected"] for one in ledger])[0]
        predicted = mean_and_deviation([one["masking/predicted_tokens"] for one in ledger])[0]
        flops = mean_and_deviation(group.sizes("flops"))[0]
        lines.append(f"| {ratio:.0%} | {' | '.join([*losses, *told, f'{hidden:.2%}', size_text(predicted), size_text(flops)])} |")
    run = points[0][1].finished[0]
    versions, machine = run.environment.get("versions", {}), run.environment.get("device", {})
    n_seeds = min(len(group.finished) for _, group in points)
    told_machine = (
        f"{run.summary['parameters']:,} parameters, {size_text(run.summary['tokens'])} tokens a run, {n_seeds} seeds; "
        f"{machine.get('name', 'a CPU')}, torch {versions.get('torch', '?')}"
    )
    colours = ", ".join(f"{colour} {float(ratio):.0%}" for colour, ratio in zip(COLOURS, grid.ratios, strict=False))
    picture = f"![Loss and scores over the ratio of training](figures/{FIGURE.name})"
    return "\n".join([f"{told_machine}.", "", *lines, "", picture, "", f"*{CAPTION.format(colours)}*", answers_md(groups)])


def drawn(grid: Grid) -> str:
    """Loss above the best of each evaluated ratio, and the scores, over the ratio of training."""
    found = trained_at(grid)
    assert found is not None
    ((_, points),) = found[1]
    series = []
    for colour, at in enumerate(grid.ratios):
        means = {ratio: grid.mean(group, at, "loss") for ratio, group in points}
        lowest = min(mean for mean, _ in means.values())
        curve = [(ratio, mean - lowest) for ratio, (mean, _) in means.items()]
        series.append(Series(label=f"at {at}", points=curve, colour=colour, spread=[deviation or 0.0 for _, deviation in means.values()]))
    panels = [("nats above the best, evaluated at 15 … 80%", line_chart(series, name="loss above the best", x_label="mask ratio in training"))]
    for name in points[0][1].finished[0].measured_scores():
        told = {ratio: mean_and_deviation(group.values(name)) for ratio, group in points}
        curve = [(ratio, mean) for ratio, (mean, _) in told.items()]
        one = Series(label=name, points=curve, colour=0, spread=[deviation or 0.0 for _, deviation in told.values()])
        panels.append((name, line_chart([one], name=name, x_label="mask ratio in training")))
    return figure(panels)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
