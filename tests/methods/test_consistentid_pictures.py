"""ConsistentID in pictures that are more than one new portrait: several people, a picture painted into, small
faces, ControlNets and LoRAs. Toy width, the real diffusers classes."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image, ImageFilter

from likeness.diffusion.control import control_pixels, load_controlnet
from likeness.diffusion.inpaint import Kept, Patch, _eroded
from likeness.diffusion.load import load_base
from likeness.diffusion.regions import Region, blended, covered, side_by_side
from likeness.errors import Cancelled, InputError, SeveralFacesError
from likeness.evaluation.judge import Judge
from likeness.faces.parts import head_mask
from likeness.methods.consistentid import pipeline as consistentid_pipeline
from likeness.methods.consistentid.loading import load_pipeline
from likeness.methods.consistentid.pipeline import ConsistentIDPipeline
from likeness.portraits import paint_one
from likeness.types import Face, Person, PortraitRequest
from tests import tiny
from tests.methods.toys import WRITERS, MiddleDetector, PixelEncoder, ToyConsistentID, picture

WORDS = "a man wearing a red hat"


@pytest.fixture(scope="module", params=sorted(WRITERS))
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ToyConsistentID:
    return ToyConsistentID(WRITERS[request.param](tmp_path_factory.mktemp("toy") / request.param))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> ToyConsistentID:
    return ToyConsistentID(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


def small_base(toy: ToyConsistentID) -> ConsistentIDPipeline:
    """The toy as if its base painted 64 px best, so that windows are small."""
    return pipeline_of(toy, base=dataclasses.replace(toy.base, size_px=64))


def pipeline_of(toy: ToyConsistentID, **settings: object) -> ConsistentIDPipeline:
    return load_pipeline(
        settings.pop("base", toy.base),  # type: ignore[arg-type]
        toy.adapter,
        detector=MiddleDetector(),
        face_encoder=PixelEncoder(),
        image_encoder=toy.image_encoder,
        **settings,  # type: ignore[arg-type]
    )


def painted(pipeline: ConsistentIDPipeline, *people: Person, **settings: object) -> np.ndarray:
    options = {"second_pass": 0, **settings.pop("options", {})}  # type: ignore[dict-item]
    fixed = {"prompt": WORDS, "steps": 3, "seed": 4, "people": people, "options": options}
    [result] = pipeline([PortraitRequest(**{**fixed, **settings})])  # type: ignore[arg-type]
    return np.asarray(result.image, np.int16)


def test_one_person_in_a_box_is_the_person_of_the_references(toy: ToyConsistentID) -> None:
    pipeline = small_base(toy)
    plain = painted(pipeline, references=(picture(0),))
    boxed = painted(pipeline, Person((picture(0),), (0, 0, 64, 64)), size_px=(64, 64))
    assert np.array_equal(plain, boxed)


def latents_of(monkeypatch: pytest.MonkeyPatch, pipeline: ConsistentIDPipeline) -> list[torch.Tensor]:
    """Collects what is decoded from now on; decoders may mix the whole picture."""
    seen: list[torch.Tensor] = []
    decode = pipeline.base.vae.decode

    def listen(latents: torch.Tensor) -> object:
        seen.append(latents)
        return decode(latents)

    monkeypatch.setattr(pipeline.base.vae, "decode", listen)
    return seen


def test_a_guide_knows_neither_person_nor_processors(toy: ToyConsistentID) -> None:
    """The UNet as its own guide: with nobody put in it is what guidance leads away from anyway."""
    own = dataclasses.replace(toy.base, guide=toy.base.unet)
    nobody = {"identity_scale": 0.0, "lora_scale": 0.0, "merge_step": 1.0}
    small = {"size_px": (64, 64)}  # a base's own size would take minutes
    fixed = {"references": (picture(0),), "guidance": 3.0, "negative_prompt": "a beard", **small}
    plain, guided = (
        painted(pipeline_of(toy, base=base), **fixed, options=nobody) for base in (toy.base, own)
    )
    assert np.abs(plain - guided).max() <= 1
    asked: list[tuple[int, ...]] = []

    class Guide:
        """Listens to what it is asked; answers like another base's UNet, to which nothing is attached."""

        def __init__(self) -> None:
            self.unet = type(toy.base.unet).from_config(toy.base.unet.config).eval()

        def __call__(self, latents: torch.Tensor, step: torch.Tensor, rows: torch.Tensor, **more: Any) -> Any:
            asked.append((len(latents), *rows.shape[:2]))
            return self.unet(latents, step, rows, **more)

    other = dataclasses.replace(toy.base, guide=Guide())
    people = Person((picture(0),)), Person((picture(1),))
    assert not np.array_equal(
        painted(pipeline_of(toy, base=other), *people, **small),
        painted(pipeline_of(toy, base=toy.base), *people, **small),
    )
    assert asked == [(1, 1, 77)] * 2 * 3, "three steps of two people, by words alone"


def test_a_person_reaches_as_far_as_the_own_window(
    toy: ToyConsistentID, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = small_base(toy)
    seen = latents_of(monkeypatch, pipeline)
    for second in (1, 2):
        people = Person((picture(0),), (0, 0, 64, 64)), Person((picture(second),), (64, 0, 128, 64))
        painted(pipeline, *people, size_px=(128, 64))
    one, other = seen
    assert torch.equal(one[..., :8], other[..., :8]), (
        "windows that do not overlap paint nothing of each other"
    )
    assert not torch.equal(one[..., 8:], other[..., 8:])


def test_people_without_boxes_stand_side_by_side(toy: ToyConsistentID) -> None:
    pipeline = small_base(toy)
    request = PortraitRequest(
        WORDS, people=(Person((picture(0),)), Person((picture(1),), prompt="a woman smiling")), steps=2
    )
    [result] = pipeline([request])
    assert result.image.size == (112, 64)
    first, second = result.provenance.recipe["people_px"]
    assert first[0] == 0
    assert second[2] == 112
    assert abs(first[2] - second[0]) <= 8, "they meet in the middle of what they share"
    other = [dataclasses.replace(request, people=(request.people[0], Person((picture(1),), prompt=WORDS)))]
    assert not np.array_equal(np.asarray(pipeline(other)[0].image), np.asarray(result.image))


def test_a_mask_says_where_a_person_is(mini: ToyConsistentID) -> None:
    pipeline = small_base(mini)
    left = Image.new("L", (128, 64), 0)
    left.paste(255, (0, 0, 64, 64))
    people = Person((picture(0),), mask=left), Person((picture(1),), (64, 0, 128, 64))
    masked = painted(pipeline, *people, size_px=(128, 64))
    boxed = painted(pipeline, Person((picture(0),), (0, 0, 64, 64)), people[1], size_px=(128, 64))
    assert np.abs(masked - boxed)[:, :48].max() <= 3, "alone in its window, a person's weight does not matter"


def test_where_nobody_is_the_words_are_painted(mini: ToyConsistentID) -> None:
    pipeline = small_base(mini)
    person = Person((picture(0),), (0, 0, 40, 64))
    image = painted(pipeline, person, size_px=(192, 64))
    assert image[:, 128:].std() > 1
    other = painted(pipeline, dataclasses.replace(person, references=(picture(3),)), size_px=(192, 64))
    assert np.abs(image - other)[:, :64].max() > 0


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (PortraitRequest(WORDS, (picture(0),), people=(Person((picture(0),)),)), "not both"),
        (PortraitRequest(WORDS, people=(Person(()),)), "got 0"),
        (
            PortraitRequest(WORDS, people=(Person((picture(0),), (0, 0, 50, 50)), Person((picture(1),)))),
            "for every person, or for none",
        ),
        (PortraitRequest(WORDS, people=(Person((picture(0),), (0, 0, 500, 50)),)), "does not lie in"),
        (
            PortraitRequest(WORDS, people=(Person((picture(0),), mask=Image.new("L", (64, 64))),)),
            "black everywhere",
        ),
        (PortraitRequest(WORDS, (picture(0),), mask_image=Image.new("L", (96, 96))), "give image too"),
        (
            PortraitRequest(WORDS, (picture(0),), image=picture(1), mask_image=Image.new("L", (9, 9))),
            "of one size",
        ),
        (
            PortraitRequest(WORDS, (picture(0),), image=picture(1), mask_image=Image.new("L", (96, 96))),
            "black everywhere",
        ),
        (PortraitRequest(WORDS, (picture(0),), options={"target_box": (0, 0, 9, 9)}), "give image"),
        (PortraitRequest(WORDS, (picture(0),), image=picture(1), strength=0.0), "strength must be"),
        (PortraitRequest(WORDS, (picture(0),), image=picture(1), size_px=(64, 64)), "keeps its size"),
        (PortraitRequest(WORDS, (picture(0),), control_images=(picture(1),)), "0 ControlNets and got 1"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(
    mini: ToyConsistentID, request_: PortraitRequest, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        pipeline_of(mini)([request_])


def test_painting_into_a_picture_keeps_the_rest_of_it(toy: ToyConsistentID) -> None:
    pipeline = small_base(toy)
    whole = picture(1).resize((200, 150))
    mask = Image.new("L", whole.size, 0)
    mask.paste(255, (60, 40, 120, 100))
    into = painted(pipeline, references=(picture(0),), image=whole, mask_image=mask)
    before, white = np.asarray(whole, np.int16), np.asarray(mask) > 0
    assert np.array_equal(into[~white], before[~white])
    assert np.abs(into - before)[white].mean() > 5
    other = painted(pipeline, references=(picture(2),), image=whole, mask_image=mask)
    assert not np.array_equal(into, other), "the person matters"


class Two(MiddleDetector):
    """Of a picture of two, a large face on the left and a small one on the right."""

    def __call__(self, image: Image.Image) -> list[Face]:
        if image.size != (192, 96):
            return super().__call__(image)
        [large] = super().__call__(image.crop((0, 0, 96, 96)))
        x0, y0, x1, y1 = (side / 2 for side in large.box_xyxy)
        points = large.landmarks_px * 0.5 + np.array([132, 24], np.float32)
        return [large, Face((x0 + 132, y0 + 24, x1 + 132, y1 + 24), points)]


class Pair(MiddleDetector):
    """Of a picture of two, a face on either side."""

    def __call__(self, image: Image.Image) -> list[Face]:
        if image.size != (192, 96):
            return super().__call__(image)
        [face] = super().__call__(image.crop((0, 0, 96, 96)))
        x0, y0, x1, y1 = face.box_xyxy
        points = face.landmarks_px + np.array([96, 0], np.float32)
        return [face, Face((x0 + 96, y0, x1 + 96, y1), points)]


def into_the_small_face(**settings: Any) -> PortraitRequest:
    group, mask = Image.new("RGB", (192, 96)), Image.new("L", (192, 96))
    group.paste(picture(5), (0, 0))
    group.paste(picture(6), (96, 0))
    mask.paste(255, (132, 24, 180, 72))
    fixed = {"steps": 2, "image": group, "mask_image": mask, "options": {"second_pass": 0}, **settings}
    return PortraitRequest(WORDS, (picture(0),), **fixed)


def test_who_is_painted_into_a_picture_is_judged_and_no_bystander(mini: ToyConsistentID) -> None:
    pipeline = small_base(mini)
    pipeline.detector = Two()
    judge = Judge([PixelEncoder("judge")], Two())
    one = paint_one(pipeline, into_the_small_face(), 0, judge, best_of=3)
    assert len(set(one.tried.values())) == 3, "seeds differ where they painted"
    assert one.result.provenance.recipe["people_px"] != [[0, 0, 192, 96]]


def test_a_box_says_which_face_of_a_group_is_painted(mini: ToyConsistentID) -> None:
    pipeline = small_base(mini)
    pipeline.detector = Pair()
    group = Image.new("RGB", (192, 96))
    group.paste(picture(5), (0, 0))
    group.paste(picture(6), (96, 0))
    asked = PortraitRequest(WORDS, (picture(0),), steps=2, image=group, options={"second_pass": 0})
    with pytest.raises(SeveralFacesError, match="choose one with a box"):
        pipeline([asked])
    before = np.asarray(group)
    for side, box in (("left", (24, 19, 72, 77)), ("right", (120, 19, 168, 77))):
        [result] = pipeline([dataclasses.replace(asked, options={"second_pass": 0, "target_box": box})])
        changed = (np.asarray(result.image) != before).any(axis=(0, 2))
        assert changed[:96].any() == (side == "left") and changed[96:].any() == (side == "right")


def test_a_control_picture_is_of_the_whole_picture(
    mini: ToyConsistentID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ControlNetModel.from_unet(mini.base.unet).save_pretrained(tmp_path / "net")
    pipeline = pipeline_of(
        mini, base=dataclasses.replace(mini.base, size_px=64), controlnets=[tmp_path / "net"]
    )
    pipeline.detector = Two()
    seen: list[torch.Tensor] = []

    def looked(*given: Any) -> list[torch.Tensor]:
        seen.extend(control_pixels(*given))
        return seen[-1:]

    monkeypatch.setattr(consistentid_pipeline, "control_pixels", looked)
    lines = Image.new("RGB", (192, 96), "red")
    lines.paste("blue", (156, 0, 192, 96))  # from the middle of the face on
    [result] = pipeline([into_the_small_face(control_images=(lines,))])
    [(x0, _, x1, _)] = result.provenance.recipe["people_px"]
    assert float(seen[0][0, 0].mean()) == pytest.approx((156 - x0) / (x1 - x0), abs=0.05)


def test_a_second_pass_is_no_other_persons(mini: ToyConsistentID, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people in one window, and a face found for one of them only."""
    pipeline = small_base(mini)
    references, [face] = MiddleDetector(), MiddleDetector()(Image.new("RGB", (24, 24)))
    left = Face(
        tuple(np.add(face.box_xyxy, (8, 20, 8, 20))), face.landmarks_px + np.array([8, 20], np.float32)
    )

    class Left(MiddleDetector):
        def __call__(self, image: Image.Image) -> list[Face]:
            return references(image) if image.size == (96, 96) else [left]

    pipeline.detector = Left()
    people = (Person((picture(0),), (0, 8, 32, 56)), Person((picture(1),), (32, 8, 64, 56)))
    options = {"second_pass": 0.9}
    request = PortraitRequest(WORDS, people=people, steps=2, size_px=(64, 64), options=options)
    [result] = pipeline([request])
    assert result.provenance.recipe["second_pass_faces"] == 1


def test_a_weak_repaint_stays_near_the_picture(
    mini: ToyConsistentID, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = small_base(mini)
    seen = latents_of(monkeypatch, pipeline)
    near, far = (
        painted(pipeline, references=(picture(0),), image=picture(1), steps=10, strength=strength)
        for strength in (0.1, 1.0)
    )
    assert np.abs(near - far).max() > 0
    assert np.array_equal(near[:12, :12], far[:12, :12]), "by default only the head is painted anew"
    mask = head_mask(MiddleDetector()(picture(1))[0], (96, 96))
    patch = Patch.around(picture(1), mask, 64, 8)
    kept = Kept.of(pipeline.base, patch, torch.Generator().manual_seed(0))
    away = [(latents - kept.latents).abs() for latents in seen]
    assert away[0].mean() < away[1].mean()
    assert all((one * (1 - kept.changes)).max() == 0 for one in away), "outside the mask it is the picture's"


def test_progress_counts_the_steps_that_are_taken(mini: ToyConsistentID) -> None:
    seen: list[tuple[int, int]] = []
    request = PortraitRequest(WORDS, (picture(0),), image=picture(1), steps=10, strength=0.3)
    small_base(mini)([request], on_step=lambda step, steps: seen.append((step, steps)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_small_face_is_painted_a_second_time(mini: ToyConsistentID) -> None:
    pipeline = small_base(mini)
    request = PortraitRequest(WORDS, (picture(0),), size_px=(64, 64), steps=4, options={"second_pass": 0.9})
    [once] = pipeline([dataclasses.replace(request, options={"second_pass": 0.5})])
    [twice] = pipeline([request])
    assert once.provenance.recipe["second_pass_faces"] == 0, "the toy's face is .55 of the picture"
    assert twice.provenance.recipe["second_pass_faces"] == 1
    changed = np.abs(np.asarray(once.image, np.int16) - np.asarray(twice.image, np.int16)).max(axis=2)
    assert changed[30:34, 30:34].min() > 0, "in the middle of the face"
    assert changed[:, :2].max() == 0, "beside the head nothing"
    count = 0

    def stop_late() -> bool:
        nonlocal count
        count += 1
        return count > 5

    with pytest.raises(Cancelled):
        pipeline([request], cancel=stop_late)


def test_a_control_net_steers_every_kind_of_base(toy: ToyConsistentID, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ControlNetModel.from_unet(toy.base.unet, conditioning_channels=3)
    net.save_pretrained(tmp_path / "untrained")
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("controlnet_"):
                parameter += 0.1 * torch.randn_like(parameter)
    net.save_pretrained(tmp_path / "trained")
    person = {"references": (picture(0),), "size_px": (64, 64)}
    plain = painted(small_base(toy), **person)
    base = dataclasses.replace(toy.base, size_px=64)
    untrained = pipeline_of(toy, base=base, controlnets=[tmp_path / "untrained"])
    assert np.array_equal(painted(untrained, **person, control_images=(picture(5),)), plain)
    trained = pipeline_of(toy, base=base, controlnets=[tmp_path / "trained"])
    steered = painted(trained, **person, control_images=(picture(5),))
    assert not np.array_equal(steered, plain)
    assert not np.array_equal(painted(trained, **person, control_images=(picture(6),)), steered)
    weak = painted(trained, **person, control_images=(picture(5),), control_scale=0.0)
    assert np.array_equal(weak, plain)
    both = pipeline_of(toy, base=base, controlnets=[tmp_path / "trained", tmp_path / "untrained"])
    assert np.array_equal(painted(both, **person, control_images=(picture(5), picture(6))), steered)
    people = Person((picture(0),), (0, 0, 64, 64)), Person((picture(1),), (64, 0, 128, 64))
    halves = painted(trained, *people, size_px=(128, 64), control_images=(picture(5).resize((128, 64)),))
    assert halves.shape == (64, 128, 3)


def test_a_control_net_fits_a_base_of_one_file(tmp_path: Path) -> None:
    folder = tiny.write_sd15(tmp_path / "sd15")
    ControlNetModel.from_unet(load_base(folder).unet).save_pretrained(tmp_path / "net")
    base = load_base(tiny.write_single_file(folder, tmp_path / "one.safetensors"))
    assert load_controlnet(tmp_path / "net", base).weights.role == "ControlNet"


@pytest.mark.parametrize("reach", [0, 1, 3, 10])
def test_a_mask_shrinks_as_by_pillows_filter(reach: int) -> None:
    levels = np.random.default_rng(reach).integers(0, 256, (40, 60)).astype(np.uint8)
    mask = Image.fromarray(levels)
    assert np.array_equal(_eroded(mask, reach), mask.filter(ImageFilter.MinFilter(2 * reach + 1)))


def test_a_large_patch_is_laid_back_in_seconds() -> None:
    photo, mask = Image.new("RGB", (2400, 2400)), Image.new("L", (2400, 2400))
    mask.paste(255, (300, 300, 2100, 2100))
    patch = Patch((0, 0, 2400, 2400), photo.resize((512, 512)), mask.resize((512, 512)))
    started = time.process_time()
    patch.laid_back(photo, mask, Image.new("RGB", (512, 512), "red"))
    assert time.process_time() - started < 10


def test_remembered_weights_change_nothing(toy: ToyConsistentID) -> None:
    """Low-rank changes inside the weights or beside them: the same prediction."""
    from likeness.diffusion.attention import attached

    unet, adapter = toy.base.unet, toy.adapter
    source = torch.Generator().manual_seed(0)
    latents = torch.randn(1, unet.config.in_channels, 8, 8, generator=source)
    rows = torch.randn(1, 77 + adapter.sizes.id_tokens, toy.base.text_width, generator=source)
    added = None
    if toy.base.family == "sdxl":
        pooled = toy.base.text_encoders[1].config.projection_dim
        added = {"text_embeds": torch.zeros(1, pooled), "time_ids": torch.zeros(1, 6)}
    adapter.set_scales(1.0, 0.7)
    with torch.no_grad(), attached(unet, adapter.processors):
        plain = unet(latents, 5, rows, added_cond_kwargs=added).sample
        with adapter.remembering():
            for _ in range(2):
                kept = unet(latents, 5, rows, added_cond_kwargs=added).sample
    assert torch.allclose(plain, kept, atol=1e-5)
    assert all(processor.merged is None for processor in adapter.processors.values())


def test_windows_are_averaged_by_weight() -> None:
    left = Region(0, 0, 2, 3, torch.tensor([[1.0, 1.0, 0.5], [1.0, 1.0, 0.5]]))
    right = Region(0, 2, 2, 2, torch.tensor([[1.5, 1.0], [1.5, 1.0]]))
    like = torch.zeros(1, 1, 2, 4)
    out = blended([torch.full((1, 1, 2, 3), 2.0), torch.full((1, 1, 2, 2), 6.0)], [left, right], like)
    assert torch.allclose(out[0, 0, 0], torch.tensor([2.0, 2.0, 5.0, 6.0])), "(.5 * 2 + 1.5 * 6) / 2 = 5"
    faint = [dataclasses.replace(one, weight=1e-4 * one.weight) for one in (left, right)]
    again = blended([torch.full((1, 1, 2, 3), 2.0), torch.full((1, 1, 2, 2), 6.0)], faint, like)
    assert torch.allclose(again, out), "weights count beside each other, not by themselves"
    assert covered([left, right], (4, 2))
    assert not covered([left], (4, 2))


def test_a_row_of_people() -> None:
    size, boxes = side_by_side(3, 512, 64)
    assert size == (1280, 512)
    assert boxes == [(0, 0, 448, 512), (448, 0, 832, 512), (832, 0, 1280, 512)]
    region = Region.around((56, 0, 104, 64), (160, 64), 64, 8)
    assert (region.left, region.width, region.top, region.height) == (48, 64, 0, 64)
    assert region.weight[32, 32] > 0.99
    assert region.weight[32, 0] < 0.01
