"""Puts what `make bench` kept into the page: `python scripts/performance_page.py`.

Reads `benchmarks/results/speed.json`, writes the tables between the speed markers of `docs/performance.md`.
"""

from pathlib import Path

from transformer_zoo.benchmark import results

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "results" / results.FILE
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def paged(page: str, kept: dict[str, results.Kept]) -> str:
    """The page with a table for every suite, one heading below the page's own."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    tables = results.table(kept.values()).replace("## ", "### ")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> None:
    PAGE.write_text(paged(PAGE.read_text(encoding="utf-8"), results.read(KEPT)), encoding="utf-8")


if __name__ == "__main__":
    main()
