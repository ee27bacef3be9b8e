"""The documentation shows the kept results of the benchmark and nothing else."""

import importlib.util
from pathlib import Path

from transformer_zoo.benchmark import results

ROOT = Path(__file__).parents[2]


def test_the_page_shows_what_was_kept() -> None:
    spec = importlib.util.spec_from_file_location("performance_page", ROOT / "scripts" / "performance_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    kept = results.read(module.KEPT)
    assert kept, "there are results"
    assert module.paged(page, kept) == page, "write it anew: python scripts/performance_page.py"
    for one in kept.values():
        assert all(row.row in page for row in one.rows)
