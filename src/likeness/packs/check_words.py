"""Checks of what words and pictures have to do with each other: CLIP, attribute judge, UNet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from likeness.diffusion.load import load_base
from likeness.diffusion.text_to_image import paint_text
from likeness.faces.attributes import NOT_SHOWN
from likeness.packs import mini
from likeness.packs.data import picture_rows
from likeness.packs.recipes.attributes import attribute_truth
from likeness.sitters import Scene, attributes
from likeness.sitters.instruct import GROUPS
from likeness.statistics import area_under_curve, frechet_distance, mean_interval, share_interval
from likeness.training.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from likeness.packs.data import Pictures
    from likeness.packs.recipes.attributes import Truth

__all__ = [
    "CATEGORIES",
    "attribute_accuracy",
    "attributes_right",
    "instructions_read",
    "painting",
    "retrieval",
]

CATEGORIES: dict[str, tuple[str, ...]] = {
    "pose": ("turn", "nod", "tilt", "framing"),
    "light": ("light", "light_side"),
    "expression": ("expression", "winking_eye", "gaze"),
    "person": ("person", "age", "skin", "freckles", "eyes"),
    "hair": ("hair", "hair_colour", "greying", "fringe", "beard"),
    "clothes": ("garment", "garment_colour", "pattern", "pattern_colour", "inner_colour", "logo", "scarf"),
    "accessories": (
        "glasses", "glasses_colour", "hat", "hat_colour", "hat_trim_colour", "earrings", "earrings_metal",
        "necklace", "necklace_metal", "lipstick", "eyeshadow",
    ),
    "background": ("background", "background_colour"),
}  # fmt: skip
"""Which kinds of attribute (`sitters.attributes`) make up each category."""


@torch.no_grad()
def clip_embeddings(pack: Path, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Pictures and their first captions, which tell everything, both (N, 192) of unit length."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(pack / "tokenizer")
    text: Any = CLIPTextModel.from_pretrained(pack / "text_encoder", dtype=torch.float32).eval()
    said = []
    for start in range(0, len(pictures), 100):
        captions = [c[0] for c in pictures.captions[start : start + 100]]
        ids = tokenizer(captions, padding=True, truncation=True, max_length=mini.TOKENS, return_tensors="pt")
        said.append(F.normalize(text(input_ids=ids["input_ids"]).pooler_output, dim=-1))
    return image_embeddings(pack, mini.to_unit(pictures.pixels)), torch.cat(said)


def retrieval(pack: Path, pictures: Pictures) -> dict[str, float]:
    """CLIP: in groups of 100 pictures, how often a caption that tells everything finds its own picture
    first; and how well words separate attributes (`separation`)."""
    images, texts = clip_embeddings(pack, pictures)
    right = [
        ((said @ seen.T).argmax(1) == torch.arange(100)).float()
        for seen, said in zip(images.split(100), texts.split(100), strict=True)
        if len(seen) == 100
    ]
    if not right:
        return {}
    found = torch.cat(right)
    value, interval = mean_interval(found, pictures.person[: len(found)])
    separated = separation(images, texts, pictures)
    counted = float(len(pictures.person[: len(found)].unique()))
    return {"right_of_100": value, "right_of_100_interval": interval, "right_of_100_n": counted, **separated}


def separation(images: Tensor, texts: Tensor, pictures: Pictures, fewest: int = 20) -> dict[str, float]:
    """How well words tell pictures that show an attribute from pictures that do not.

    For each value of each kind (a red garment, a beanie): the mean text embedding of captions that
    name it less that of the others points where pictures with it should lie. Directions come from
    one half of the people, areas under the ROC curve from the other half's pictures. Values
    shown, or missing, in fewer than `fewest` pictures of a half are left out.
    """
    shown = [attributes(Scene.from_record(row["record"])) for row in picture_rows(pictures)]
    half = pictures.person < (pictures.person.max() + 1) // 2
    areas: dict[str, float] = {}
    for kind, value in sorted({pair for found in shown for pair in found.items()}):
        has = torch.tensor([found.get(kind) == value for found in shown])
        counts = [int(x.sum()) for x in (has & half, ~has & half, has & ~half, ~has & ~half)]
        if min(counts) < fewest:
            continue
        direction = texts[has & half].mean(0) - texts[~has & half].mean(0)
        areas[f"{kind}_{value}"] = area_under_curve(images[~half] @ direction, has[~half])
    if not areas:
        return {}
    values = torch.tensor(list(areas.values()))
    worst = min(areas, key=lambda name: areas[name])
    mean, mean_half = mean_interval(values)
    over = float((values >= 0.9).float().mean())
    return {
        "mean_area": mean,
        "mean_area_interval": mean_half,
        "mean_area_n": float(len(values)),
        "values": float(len(values)),
        "over_90_percent": over,
        "over_90_percent_interval": share_interval(over, len(values)),
        "over_90_percent_n": float(len(values)),
        f"worst_{worst.replace(' ', '_')}": areas[worst],
    }


PAINTED_AT_ONCE = 16


@torch.no_grad()
def painting(pack: Path, pictures: Pictures, count: int = 500) -> dict[str, float]:
    """UNet: attributes its pictures show by the judge's word, of captions it has never read, all of them and
    by category; and FID.

    Captions are the full ones of `count` held-out scenes, people counted even. A kind counts where the
    caption's scene shows it. `judge` is the same judge's answer on the real pictures: no painter can
    be seen to do better. Frechet distances are between CLIP's image embeddings, to the pictures of
    the people counted odd: `fid` of the painted ones, `fid_real` of the real ones they were told of.
    """
    even = (pictures.person % 2 == 0).nonzero()[:, 0]
    odd = (pictures.person % 2 == 1).nonzero()[:, 0]
    rows = even[torch.linspace(0, len(even) - 1, count).long().unique()]
    others = odd[torch.linspace(0, len(odd) - 1, len(rows)).long().unique()]
    base = load_base(pack)
    parts, times = [], []
    with autocast("cpu"):
        for few in rows.split(PAINTED_AT_ONCE):
            started = time.perf_counter()
            said = [pictures.captions[i][0] for i in few.tolist()]
            parts.append(paint_text(base, said, few.tolist(), steps=mini.STEPS, guidance=mini.GUIDANCE))
            times.append((time.perf_counter() - started) / len(few))
    painted, seconds = torch.cat(parts), torch.tensor(times)
    net = mini.load_attributes(pack / "attributes")
    truth = attribute_truth(pictures, net.config.kinds)
    people = float(len(pictures.person[rows].unique()))
    out: dict[str, float] = {
        "n": people,
        "pictures": float(len(rows)),
        "seconds_a_picture": float(seconds.mean()),
    }
    if len(seconds) > 1:
        out["seconds_a_picture_interval"] = mean_interval(seconds)[1]
    out["seconds_a_picture_n"] = float(len(seconds))
    sides = {"named": painted, "judge": mini.to_unit(pictures.pixels[rows])}
    for category, kinds in {"attributes": None, **CATEGORIES}.items():
        for name, pixels in sides.items():
            right = attributes_right(net, pixels, truth, rows, kinds)
            asked = ~right.isnan()
            if asked.any():
                whose = pictures.person[rows][asked]
                value, interval = mean_interval(right[asked], whose)
                seen_by = f"{name}_{category}_seen"
                out |= {seen_by: value, f"{seen_by}_interval": interval}
                out[f"{seen_by}_n"] = float(len(whose.unique()))
    real, truth_of, seen = (
        image_embeddings(pack, p)
        for p in (
            mini.to_unit(pictures.pixels[others]),
            mini.to_unit(pictures.pixels[rows]),
            painted,
        )
    )
    return out | frechet(seen, truth_of, real)


def frechet(painted: Tensor, truth: Tensor, real: Tensor, draws: int = 100) -> dict[str, float]:
    """Distances of painted pictures and of those they were told of, both (N, D), to other real ones (M, D);
    the first as a multiple of the second, with its interval by the bootstrap over pictures."""
    fid, fid_real = frechet_distance(painted, real), frechet_distance(truth, real)
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(draws):
        some = torch.randint(len(painted), (len(painted),), generator=generator)
        others = real[torch.randint(len(real), (len(real),), generator=generator)]
        times.append(
            frechet_distance(painted[some], others) / max(frechet_distance(truth[some], others), 1e-9)
        )
    return {
        "fid": fid,
        "fid_real": fid_real,
        "fid_times_real": fid / max(fid_real, 1e-9),
        "fid_times_real_interval": float(1.96 * torch.tensor(times).std()),
    }


@torch.no_grad()
def image_embeddings(pack: Path, pixels: Tensor) -> Tensor:
    """CLIP's embeddings (N, 192) of unit length of pictures (N, 3, H, W) in [-1, 1]."""
    from transformers import CLIPVisionModelWithProjection

    image: Any = CLIPVisionModelWithProjection.from_pretrained(
        pack / "image_encoder", dtype=torch.float32
    ).eval()
    found = [image(pixel_values=few).image_embeds for few in pixels.split(100)]
    return F.normalize(torch.cat(found), dim=-1)


@torch.no_grad()
def attributes_right(
    net: Any, pictures: Tensor, truth: Truth, rows: Tensor, kinds: Sequence[str] | None = None
) -> Tensor:
    """Share of the kinds that each scene shows whose value the judge names right: (N,).

    kinds: of all kinds only these; nan where a scene shows none of them.
    """
    shares = []
    asked = torch.tensor([kinds is None or kind in kinds for kind in truth.kinds])
    for part, some in zip(pictures.split(64), rows.split(64), strict=True):
        logits = net(part).logits
        wanted = truth.shown[some]
        right = torch.stack([logits[kind].argmax(-1) for kind in truth.kinds], dim=1) == wanted
        absent = torch.tensor([v.index(NOT_SHOWN) if NOT_SHOWN in v else -1 for v in truth.kinds.values()])
        counts = (wanted >= 0) & (wanted != absent) & asked
        shares.append((right & counts).sum(1) / counts.sum(1))
    return torch.cat(shares)


RIDGE = 1e-4
READ_PEOPLE = 400
"""Training people whose instructions the readers of `instructions_read` learn from."""


@torch.no_grad()
def instructions_read(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Text encoder: how much of what an instruction asks for a linear reading of its mean row tells right,
    in all and for each group of attributes; the readings are fitted (ridge regression) on other people.

    pictures: only how many people they show counts.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    from likeness.packs.recipes.instructions import asked_of

    tokenizer = CLIPTokenizer.from_pretrained(pack / "tokenizer")
    text: Any = CLIPTextModel.from_pretrained(pack / "text_encoder", dtype=torch.float32).eval()
    people = int(pictures.person.max()) + 1
    known = asked_of(mini.first_seed("train"), READ_PEOPLE)
    asked = asked_of(mini.first_seed("held_out"), people, known.kinds)

    def rows_of(ids: Tensor) -> Tensor:
        """The mean of all rows, and a constant."""
        mean = [text(input_ids=few.long()).last_hidden_state.mean(1) for few in ids.split(128)]
        return F.pad(torch.cat(mean), (0, 1), value=1.0)

    learned, seen = rows_of(known.ids(tokenizer)), rows_of(asked.ids(tokenizer))
    right: dict[str, list[Tensor]] = {}
    for kind, wanted, truth in zip(known.kinds, known.wanted.T, asked.wanted.T, strict=True):
        values = len(known.kinds[kind])
        told, spoken = (wanted >= 0) & (wanted < values), (truth >= 0) & (truth < values)
        if not told.any() or not spoken.any():
            continue
        some, targets = learned[told], F.one_hot(wanted[told], values).float()
        gram = some.T @ some + RIDGE * len(some) * torch.eye(some.shape[1])
        reading = torch.linalg.solve(gram, some.T @ targets)
        group = next(group for group, kinds in GROUPS.items() if kind in kinds)
        right.setdefault(group, []).append(((seen[spoken] @ reading).argmax(1) == truth[spoken]).float())
    everything = torch.cat([one for found in right.values() for one in found])
    value = float(everything.mean())
    table = {"read": value, "read_interval": share_interval(value, people)}
    return table | {f"read_{group}": float(torch.cat(found).mean()) for group, found in right.items()}


@torch.no_grad()
def attribute_accuracy(pack: Path, pictures: Pictures) -> dict[str, float]:
    """Attribute judge: share of right answers in each category, and mean angles of head pose and light."""
    net = mini.load_attributes(pack / "attributes")
    truth = attribute_truth(pictures, net.config.kinds)
    right: dict[str, list[Tensor]] = {kind: [] for kind in truth.kinds}
    pose, light = [], []
    for rows in torch.arange(len(pictures)).split(64):
        found = net(mini.to_unit(pictures.pixels[rows]))
        for column, kind in enumerate(truth.kinds):
            right[kind].append((found.logits[kind].argmax(-1) == truth.shown[rows, column]).float())
        pose.append((found.pose_deg - truth.pose_deg[rows]).abs())
        light.append(torch.rad2deg((found.light * truth.light[rows]).sum(-1).clamp(-1, 1).acos()))
    out: dict[str, float] = {}
    for category, kinds in CATEGORIES.items():
        answers = torch.stack([torch.cat(right[kind]) for kind in kinds if kind in right])
        value, interval = mean_interval(answers.mean(0), pictures.person)
        out |= {category: value, f"{category}_interval": interval}
    out |= {f"kind_{kind}": float(torch.cat(values).mean()) for kind, values in right.items()}
    angles = dict(zip(("yaw", "pitch", "roll"), torch.cat(pose).unbind(1), strict=True))
    for name, errors in {**angles, "light": torch.cat(light)}.items():
        value, interval = mean_interval(errors, pictures.person)
        out |= {f"{name}_error_deg": value, f"{name}_error_deg_interval": interval}
    return out
