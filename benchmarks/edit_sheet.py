"""Draw `docs/images/edits.png`: edits of held-out sitters, not chosen, beside what they truly become."""

from __future__ import annotations

import argparse

from record import ROOT

from likeness.catalog import load_pipeline
from likeness.evaluation.edits import held_out_edits
from likeness.files.images import contact_sheet, write_png
from likeness.packs.mini import SIZE_PX
from likeness.types import PortraitRequest

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--edits", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    pipeline = load_pipeline("instant-portrait", "mini", sitters=True)
    edits = held_out_edits(given.edits, given.seed, SIZE_PX)
    rows = {"one step": 1, "its teacher, 20 steps": 20}
    painted = [
        pipeline([PortraitRequest(one.instruction, (one.before,), seed=number, steps=steps)])[0].image
        for steps in rows.values()
        for number, one in enumerate(edits)
    ]
    pictures = [*(one.before for one in edits), *painted, *(one.after for one in edits)]
    labels = [one.instruction for one in edits]
    labels += [row for row in (*rows, "truth") for _ in edits]
    write_png(contact_sheet(pictures, len(edits), labels), ROOT / "docs" / "images" / "edits.png")
