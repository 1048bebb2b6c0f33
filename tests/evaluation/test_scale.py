"""The page of large data sets is what its tables give, and says what they were measured with."""

from __future__ import annotations

from pathlib import Path

from likeness.evaluation.scale import scale_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_written_from_its_tables_and_names_the_clip() -> None:
    page = scale_page(ROOT / "benchmarks" / "results")
    assert page == (ROOT / "docs" / "data-at-scale.md").read_text(encoding="utf-8")
    assert "with the mini pack's CLIP on pictures of 128 px" in page
