"""Write `docs/results/*.md` and `docs/data-at-scale.md` from the tables in `benchmarks/results/`."""

from __future__ import annotations

from record import RESULTS, ROOT

from likeness.evaluation.report import result_pages
from likeness.evaluation.scale import scale_page
from likeness.files.images import write_bytes

if __name__ == "__main__":
    for name, text in result_pages(RESULTS).items():
        write_bytes(ROOT / "docs" / "results" / name, text.encode())
        print(f"docs/results/{name}")
    if all((RESULTS / f"{name}.json").is_file() for name in ("cheese", "data-engine")):
        write_bytes(ROOT / "docs" / "data-at-scale.md", scale_page(RESULTS).encode())
        print("docs/data-at-scale.md")
