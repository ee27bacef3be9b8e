"""From run folders alone to tables, curves and one HTML file that opens with no network."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from transformer_zoo.experiments.results import STUDY_FILE, Group, RunRecord, differing_keys, find_runs, group_runs, is_run, mean_and_deviation
from transformer_zoo.reports.curves import Reference, curve_files, curves
from transformer_zoo.reports.curves import data as curve_data
from transformer_zoo.reports.effects import effects_section
from transformer_zoo.reports.grids import grid_md, grid_section
from transformer_zoo.reports.ledgers import ledger_md, ledger_section
from transformer_zoo.reports.mask_answers import answers_md, answers_section
from transformer_zoo.reports.page import page, table
from transformer_zoo.reports.pareto import pareto_files, pareto_section
from transformer_zoo.reports.parts import parts_section
from transformer_zoo.reports.plans import Plans, read_plans
from transformer_zoo.reports.provenance import code_state, commands_section, differences_section, unfinished, unfinished_section
from transformer_zoo.reports.svg import Interval, dot_chart
from transformer_zoo.reports.tables import (
    SIZES,
    Row,
    best_rows,
    count_text,
    heading,
    runs_csv,
    scores,
    size_text,
    spread_text,
    summarise,
    summary_csv,
    summary_md,
    summary_tex,
)
