"""Are clothes and jewellery of a portrait still there in its collection, and are pose, face and framing those
that were asked for? By the attribute judge, detail by detail.

Held-out sitters; each portrait is told by two instructions what becomes of it. Beside painted pictures stand
the true ones, which is the most that the judge grants anybody. A pose is right where each of yaw, pitch and
roll is. `--sheet` draws `docs/images/collections.png` of the first six.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from record import ROOT, record

from likeness.catalog import load_pipeline
from likeness.evaluation.metrics.attributes import AttributeViews
from likeness.evaluation.result import summarised
from likeness.files.images import contact_sheet, write_png
from likeness.packs.data import collection_views
from likeness.packs.mini import SIZE_PX, load_attributes, mini_path
from likeness.sitters import HELD_OUT_SEEDS, attributes, instructions
from likeness.sitters.render import render_many
from likeness.types import PortraitRequest

KEPT = {
    "garment": ("garment",),
    "colour of the garment": ("garment_colour",),
    "pattern of the garment": ("pattern", "pattern_colour"),
    "jewellery": ("earrings", "earrings_metal", "necklace", "necklace_metal"),
    "hat": ("hat", "hat_colour"),
    "hair": ("hair", "hair_colour"),
    "place": ("background", "background_colour"),
}
FOLLOWED = {"expression": ("expression",), "framing": ("framing",)}
POSE_DEG = 10.0
SHOWN, WIDE = 6, 5

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=HELD_OUT_SEEDS[100])
    arguments.add_argument("--sheet", action="store_true")
    arguments.add_argument("--adapter", help="weights that are not the pack's: a folder of `likeness train`")
    given = arguments.parse_args()
    pipeline = load_pipeline("scheese", "mini", adapter=given.adapter, sitters=True)
    views = AttributeViews(load_attributes(mini_path() / "attributes"))
    rows: dict[str, list[list[float]]] = {"painted": [], "true": []}
    pictures, labels = [], []
    for number in range(given.people):
        scenes = collection_views(given.seed + number, 3)
        reference, *true = (Image.fromarray(one.rgb) for one in render_many(scenes, SIZE_PX))
        pictures.append(reference)
        labels.append("the portrait")
        for view, (scene, truth) in enumerate(zip(scenes[1:], true, strict=True), start=1):
            [words] = instructions(scenes[0], scene, view, 1)
            [result] = pipeline([PortraitRequest(words, (reference,), seed=2 * number + view)])
            pictures += [result.image, truth]
            labels += [words, "truth"]
            before, after = attributes(scenes[0]), attributes(scene)
            pose = (scene.pose.yaw_deg, scene.pose.pitch_deg, scene.pose.roll_deg)
            for name, picture in (("painted", result.image), ("true", truth)):
                kept = [
                    # What both show; it may be turned away, and then there is nothing to keep.
                    views.share(
                        picture, {k: after[k] for k in kinds if k in after and before.get(k) == after[k]}
                    )
                    for kinds in KEPT.values()
                ]
                asked = [
                    views.share(
                        picture, {k: after[k] for k in kinds if k in after and before.get(k) != after[k]}
                    )
                    for kinds in FOLLOWED.values()
                ]
                turned = float(views.turned_from(picture, pose) <= POSE_DEG)
                rows[name].append([*kept, *asked, turned])
    names = [f"{name} kept" for name in KEPT] + [f"{name} as asked for" for name in FOLLOWED]
    names.append(f"pose within {POSE_DEG:g} degrees")
    found = {name: np.array(values) for name, values in rows.items()}
    metrics = {}
    for column, name in enumerate(names):
        metrics[name] = summarised(found["painted"][:, column], "share")
        metrics[f"{name}, true pictures"] = summarised(found["true"][:, column], "share")
    worn = list(range(4))
    for name, values in found.items():
        own = "" if name == "painted" else ", true pictures"
        metrics[f"clothes and jewellery kept{own}"] = summarised(np.nanmean(values[:, worn], axis=1), "share")
    if given.sheet:
        sheet = contact_sheet(pictures[: SHOWN * WIDE], WIDE, labels[: SHOWN * WIDE])
        write_png(sheet, ROOT / "docs" / "images" / "collections.png")
    record("scheese-details", "scheese", metrics, given=given, n=len(found["painted"]), seed=given.seed)
