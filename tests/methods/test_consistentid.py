"""ConsistentID beyond the contract: its files, its pairing of crops and words, its conditions."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from likeness.diffusion.image_encoder import ImageEncoder
from likeness.errors import IncompatibleWeightsError, InputError, LikenessError, MissingWeightsError
from likeness.faces.align import align_arcface
from likeness.faces.embed import faces_to_tensor, identity_loss
from likeness.methods.consistentid.conditioning import identity_of, order_crops
from likeness.methods.consistentid.config import CAPTION, PARTS, SIZES, ConsistentIDSizes
from likeness.methods.consistentid.loading import load_pipeline
from likeness.methods.consistentid.model import FacialEncoder
from likeness.methods.consistentid.text import mark_prompt
from likeness.methods.consistentid.training import ConsistentIDPhase, training_row
from likeness.methods.consistentid.weights import load_adapter, new_adapter, save_adapter
from likeness.packs import mini as mini_sizes
from likeness.packs.recipes.landmarks import face_affines
from likeness.sitters import render_many, sample_scene
from likeness.training.precision import trainable_attention
from likeness.types import Face
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyConsistentID, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyConsistentID:
    return ToyConsistentID(tiny.write_sd15(tmp_path_factory.mktemp("toy") / "sd15"))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> ToyConsistentID:
    return ToyConsistentID(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


@pytest.fixture
def published(toy: ToyConsistentID, tmp_path: Path) -> dict[str, Path]:
    """The toy adapter in each layout that is read. Heads of 64 channels cannot be made toy-sized,
    so the weights are compared and not the pictures."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in toy.adapter.state_dict().items():
        group, _, rest = key.partition(".")
        groups.setdefault(group, {})[rest] = tensor.clone()
    paths = {
        name: tmp_path / name
        for name in ("v1.bin", "trained.bin", "flat.safetensors", "ours.safetensors", "folder")
    }
    torch.save(groups, paths["v1.bin"])
    torch.save(
        {"image_proj_model" if k == "image_proj" else k: v for k, v in groups.items()}, paths["trained.bin"]
    )
    flat = {f"{group}.{key}": tensor for group, tensors in groups.items() for key, tensor in tensors.items()}
    save_file(flat, paths["flat.safetensors"])
    save_file(flat, paths["ours.safetensors"], {"pairing": "names"})
    save_adapter(toy.adapter, paths["folder"], dtype=torch.float32)
    return paths


@pytest.mark.parametrize("name", ["v1.bin", "trained.bin", "flat.safetensors", "ours.safetensors", "folder"])
def test_every_layout_is_read(
    toy: ToyConsistentID,
    published: dict[str, Path],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    adapter, record = load_adapter(published[name], toy.base)
    ours, theirs = adapter.state_dict(), toy.adapter.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert len(record.sha256) == 64
    ours = name in ("ours.safetensors", "folder")
    assert adapter.sizes.pairing == ("names" if ours else "published")
    assert adapter.sizes.null_image == ("zeros" if ours else "zero_picture")
    assert not any(p.requires_grad for p in adapter.parameters())


def test_half_precision_is_kept_on_disk(toy: ToyConsistentID, tmp_path: Path) -> None:
    save_adapter(toy.adapter, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert json.loads((tmp_path / "config.json").read_text())["family"] == "sd15"


def test_a_wrong_mix_names_the_partner(toy: ToyConsistentID, mini: ToyConsistentID, tmp_path: Path) -> None:
    save_adapter(toy.adapter, tmp_path)
    with pytest.raises(IncompatibleWeightsError, match="stable-diffusion-v1-5") as caught:
        load_adapter(tmp_path, mini.base)
    assert "\n" not in str(caught.value)


DEAD_ENDS = {
    "nothing": (MissingWeightsError, "no adapter"),
    "empty folder": (MissingWeightsError, r"needs config\.json"),
    "another model": (IncompatibleWeightsError, "UNet2DConditionModel"),
    "another method": (IncompatibleWeightsError, "lacks FacialEncoder"),
    "half a file": (IncompatibleWeightsError, "lacks"),
    "unknown size": (IncompatibleWeightsError, "colour"),
    "picture": (InputError, "not a weights file"),
    "code in a pickle": (IncompatibleWeightsError, "not a plain file of tensors"),
    "other shape": (IncompatibleWeightsError, "does not fit the base"),
}


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


@pytest.mark.parametrize("case", DEAD_ENDS)
def test_dead_ends_are_one_sentence(
    toy: ToyConsistentID, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "adapter"
    match case:
        case "empty folder":
            path.mkdir()
        case "another model" | "unknown size" | "other shape":
            save_adapter(toy.adapter, path)
            values = json.loads((path / "config.json").read_text())
            changed = {
                "another model": {"_class_name": "UNet2DConditionModel"},
                "unknown size": {"colour": 3},
                "other shape": {"lora_rank": 3},
            }
            (path / "config.json").write_text(json.dumps(values | changed[case]))
        case "another method":
            path = tmp_path / "ip.safetensors"
            save_file(
                {"image_proj.norm.weight": torch.zeros(4), "ip_adapter.1.to_k_ip.weight": torch.zeros(4)},
                path,
            )
        case "half a file":
            path = tmp_path / "half.safetensors"
            names = ("image_proj.norm.weight", "FacialEncoder.x", "adapter_modules.0.x")
            save_file({name: torch.zeros(4) for name in names}, path)
        case "picture":
            path = tmp_path / "me.png"
            path.write_bytes(b"png")
        case "code in a pickle":
            path = tmp_path / "evil.bin"
            torch.save({"image_proj": Payload()}, path)
    kind, words = DEAD_ENDS[case]
    with pytest.raises(kind, match=words) as caught:
        load_adapter(path, toy.base)
    assert isinstance(caught.value, LikenessError)
    assert "\n" not in str(caught.value)


def test_encoders_of_other_widths_are_refused(toy: ToyConsistentID, tmp_path: Path) -> None:
    save_adapter(toy.adapter, tmp_path)
    wide = PixelEncoder()
    wide.dim = 512  # type: ignore[misc]
    common = {"detector": MiddleDetector(), "image_encoder": toy.image_encoder}
    with pytest.raises(IncompatibleWeightsError, match="gives 512 numbers"):
        load_pipeline(toy.base, tmp_path, face_encoder=wide, **common)


def test_crops_meet_the_words_that_name_them() -> None:
    crops = (
        torch.arange(1, 6).float().view(5, 1, 1).expand(5, 2, 3)
    )  # face 1, eyes 2, ears 3, nose 4, mouth 5
    words = ("face", "ears", "eyes", "nose", "mouth")  # the order of the caption's clauses
    ours, valid = order_crops(crops, words, "names")
    assert ours[:, 0, 0].tolist() == [1, 3, 2, 4, 5]
    assert valid.all()
    theirs, _ = order_crops(crops, words, "published")
    assert theirs[:, 0, 0].tolist() == [1, 2, 3, 4, 5], "the published weights take eyes where ears are named"
    some, valid = order_crops(crops, ("ears", "mouth"), "names")
    assert some[:, 0, 0].tolist() == [3, 5, 0, 0, 0]
    assert valid.tolist() == [True, True, False, False, False]


def test_training_pairs_as_painting_does(mini: ToyConsistentID) -> None:
    """The phase puts parts into token order by itself; both ways must give the same fused rows."""
    identity = identity_of([picture(1)], MiddleDetector(), PixelEncoder(), mini.image_encoder)
    caption = "A mouth, two eyes, and a face"
    marked = mark_prompt(mini.base.tokenizers, "a man", caption, identity.parts)
    assert marked.parts == ("face", "eyes", "mouth")
    rows = torch.randn(1, 77, mini.base.text_width, generator=torch.Generator().manual_seed(0))
    crops, valid = order_crops(identity.crops, marked.parts, "names")
    painted = mini.adapter.FacialEncoder(rows, crops[None], marked.token_mask[None], valid[None])
    row = {key: tensor[None] for key, tensor in training_row(identity, marked).items()}
    phase = ConsistentIDPhase(mini.adapter, mini.base)
    trained = phase._fused(rows, row, row["valid"] & (row["part_tokens"] > 0))
    assert torch.allclose(trained, painted, atol=1e-6)
    assert not torch.allclose(trained, rows)


def test_dropping_everything_drops_the_identity(mini: ToyConsistentID) -> None:
    batch = mini.batch(0)
    other = {**batch, "id_embedding": -batch["id_embedding"], "crop_states": -batch["crop_states"]}

    def noise(batch: dict[str, torch.Tensor], drop: float) -> float:
        phase = ConsistentIDPhase(mini.adapter, mini.base, drop=drop)
        return phase.loss(batch, torch.Generator().manual_seed(0))["noise"].item()

    assert noise(batch, 1.0) == noise(other, 1.0)
    assert noise(batch, 0.0) != noise(other, 0.0)


def test_the_empty_prompt_replaces_dropped_text(mini: ToyConsistentID) -> None:
    batch = mini.batch(0)
    blank = mini.base.tokenizers[0]([""], padding="max_length", max_length=77, return_tensors="pt").input_ids
    empty = {**batch, "text_ids": blank.expand(4, -1)}
    losses = []
    for rows, kind in ((batch, "empty"), (empty, "empty"), (batch, "zeros")):
        phase = ConsistentIDPhase(mini.adapter, mini.base, drop=1.0, dropped_text=kind)
        losses.append(phase.loss(rows, torch.Generator().manual_seed(0))["noise"].item())
    assert losses[0] == losses[1] != losses[2]


def test_localisation_pulls_attention_into_the_parts(mini: ToyConsistentID) -> None:
    """A few steps on eq. 1 alone lower it."""
    state = {key: tensor.clone() for key, tensor in mini.adapter.state_dict().items()}
    phase = ConsistentIDPhase(mini.adapter, mini.base, drop=0.0, facial_weight=1.0)
    batch = mini.batch(0)
    batch["part_masks"] = torch.zeros(4, 5, 8, 8)
    for part in range(5):
        batch["part_masks"][:, part, part : part + 2] = 1
    optimizer = torch.optim.Adam(mini.adapter.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        facial = phase.loss(batch, torch.Generator().manual_seed(0))["facial"]
        facial.backward()
        optimizer.step()
        values.append(facial.item())
    mini.adapter.load_state_dict(state)
    assert values[-1] < values[0] - 1e-4


def test_places_of_the_face_weigh_more_when_asked(mini: ToyConsistentID) -> None:
    batch = mini.batch(0)

    def noise(face: float, weight: float) -> float:
        given = {**batch, "part_masks": torch.zeros(4, 5, 16, 16)}
        given["part_masks"][:, 0] = face
        phase = ConsistentIDPhase(mini.adapter, mini.base, face_weight=weight)
        return phase.loss(given, torch.Generator().manual_seed(0))["noise"].item()

    plain = noise(1.0, 0.0)
    assert noise(0.0, 3.0) == pytest.approx(plain)
    assert noise(1.0, 3.0) == pytest.approx(4 * plain)
    assert noise(0.5, 2.0) == pytest.approx(2 * plain)
    batch["person_mask"] = torch.zeros(4, 16, 16)  # hair and beard besides: it takes the place of the face's
    assert noise(1.0, 3.0) == pytest.approx(plain)
    batch["person_mask"] += 1
    assert noise(0.0, 3.0) == pytest.approx(4 * plain)


class Eye(torch.nn.Module):
    """A recogniser that tells aligned faces by their colours, place by place."""

    def forward(self, aligned: torch.Tensor) -> torch.Tensor:
        places = torch.nn.functional.avg_pool2d(aligned, 14).flatten(1)
        return torch.nn.functional.normalize(places - places.mean(dim=1, keepdim=True), dim=1)


def test_identity_is_compared_on_the_face_as_recognisers_see_it() -> None:
    pictures = list(render_many([sample_scene(seed) for seed in (1, 2)], 128))
    pixels = torch.stack([torch.from_numpy(p.rgb.copy()).permute(2, 0, 1) for p in pictures]) / 127.5 - 1
    points = [p.landmarks_px[:5] for p in pictures]
    aligned = [
        align_arcface(Image.fromarray(p.rgb), Face((0, 0, 128, 128), five))
        for p, five in zip(pictures, points, strict=True)
    ]
    known = Eye()(faces_to_tensor(aligned))
    affine = face_affines(torch.from_numpy(np.stack(points)))
    same = identity_loss(pixels, affine, known, Eye())
    other = identity_loss(pixels, affine, known.flip(0), Eye())
    beside = identity_loss(pixels, affine + torch.tensor([0, 0, 12.0]), known, Eye())
    assert same.max() < 0.01  # the filters differ a little
    assert other.min() > 0.1 and beside.min() > 0.05


def test_the_adapter_can_be_told_by_a_recogniser(mini: ToyConsistentID) -> None:
    """The further loss is there with a recogniser only, reaches the adapter, and leaves noisy steps out."""
    batch = mini.batch(0)
    batch["id_embedding"] = torch.nn.functional.normalize(torch.randn(4, 192), dim=1)
    adapter = new_adapter(mini.base, dataclasses.replace(mini.adapter.sizes, id_width=192))
    batch["face_affine"] = torch.tensor([[0.5, 0, 0], [0, 0.5, 0]]).expand(4, -1, -1)

    def terms(**settings: Any) -> dict[str, torch.Tensor]:
        phase = ConsistentIDPhase(adapter, mini.base, drop=0.0, **settings)
        return phase.loss(batch, torch.Generator().manual_seed(0))

    assert "identity" not in terms()
    found = terms(recogniser=Eye(), identity_until=1.0, identity_weight=0.5)
    assert found["identity"].item() == pytest.approx(0.5 * found["_unlike"].item())
    assert 0.5 < found["_unlike"] < 1.5
    found["identity"].backward()
    assert adapter.image_proj.proj[0].weight.grad.abs().sum() > 0
    none = terms(recogniser=Eye(), identity_until=0.0)
    assert none["identity"] == 0


def test_options_change_the_picture(mini: ToyConsistentID) -> None:
    pipeline = mini.pipeline()

    def paint(**options: object) -> np.ndarray:
        return np.asarray(pipeline([mini.request(1, options=options)])[0].image)

    plain = paint()
    for options in (
        {"identity_scale": 0.0},
        {"eta": 0.5},
        {"lora_scale": 0.0},
        {"merge_step": 1.0},
        {"caption": "one nose"},
    ):
        assert not np.array_equal(paint(**options), plain), options


def test_the_strength_of_identity_may_change_on_the_way(
    mini: ToyConsistentID, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = mini.pipeline()

    def paint(scale: object) -> np.ndarray:
        [result] = pipeline([mini.request(1, steps=4, options={"identity_scale": scale, "second_pass": 0})])
        assert json.loads(json.dumps(scale)) == result.provenance.recipe["options"]["identity_scale"]
        return np.asarray(result.image, np.int16)

    off, half, full = paint(0.0), paint(0.5), paint(1.0)
    assert np.array_equal(paint([(0, 0.5)]), half)
    assert np.array_equal(paint([[0.0, 0.5], [0.75, 0.5]]), half)
    late = paint([(0, 0.0), (0.5, 1.0)])
    assert not np.array_equal(late, off) and not np.array_equal(late, full)
    assert np.array_equal(paint([(0, 0.0), (0.9, 1.0)]), off), "no step of four begins so late"
    monkeypatch.setattr(type(pipeline.adapter), "remembering", lambda self: nullcontext())  # type: ignore[attr-defined]
    assert np.abs(paint([(0, 0.0), (0.5, 1.0)]) - late).max() <= 1, (
        "what is kept changes nothing but rounding"
    )


@pytest.mark.parametrize(
    "scale",
    [
        [],
        [(0.1, 1)],
        [(0, 1), (0, 1)],
        [(0, 1), (1, 1)],
        [(0, 3)],
        [(0, float("nan"))],
        [(0, 1, 2)],
        2.1,
        "much",
    ],
)
def test_a_strength_that_cannot_be_is_one_sentence(mini: ToyConsistentID, scale: object) -> None:
    with pytest.raises(InputError, match="option 'identity_scale': give a number from 0 to 2, or pairs"):
        mini.pipeline()([mini.request(1, options={"identity_scale": scale})])


def test_face_parts_join_after_the_merge_step(mini: ToyConsistentID) -> None:
    pipeline = mini.pipeline()

    def paint(merge_step: float, steps: int = 5) -> np.ndarray:
        request = mini.request(1, steps=steps, options={"merge_step": merge_step})
        return np.asarray(pipeline([request])[0].image)

    shares = (0.0, 0.3, 0.6, 1.0)
    before = [paint(share) for share in shares]
    with torch.no_grad():
        for parameter in pipeline.adapter.FacialEncoder.parameters():  # type: ignore[attr-defined]
            parameter.mul_(0.5)
    after = [paint(share) for share in shares]
    changes = [float(np.abs(a.astype(float) - b).mean()) for a, b in zip(after, before, strict=True)]
    assert changes[0] > changes[1] > changes[2] > changes[3] == 0


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_what_stays_the_same_is_computed_once(
    mini: ToyConsistentID, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    """Keys and values of the text without and with the parts, not again at every step."""
    pipeline = mini.pipeline()
    asked = mini.request(3, steps=6, guidance=guidance, options={"merge_step": 0.5})
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    layer = next(p for p in pipeline.adapter.adapter_modules if p.is_cross)
    hook = layer.to_k_ip.register_forward_hook(count)
    quick = pipeline([asked])[0].image
    assert calls == 2
    monkeypatch.setattr(type(pipeline.adapter), "remembering", lambda self: nullcontext())
    slow = pipeline([asked])[0].image
    hook.remove()
    assert calls == 2 + 6
    apart = np.abs(np.asarray(quick, int) - np.asarray(slow, int))
    assert apart.max() <= 1, "the same but for rounding, which depends on where a tensor lies in memory"
    assert layer.kept is None, "nothing is held once the picture is finished"


def test_without_guidance_and_with_several_references(mini: ToyConsistentID) -> None:
    pipeline = mini.pipeline()
    result = pipeline([mini.request(1, guidance=1.0, references=(picture(1), picture(2)))])[0]
    assert result.image.size == (64, 64)
    assert result.provenance.recipe["merge_step"] == 1
    assert {record.role for record in result.provenance.weights} >= {"unet", "adapter", "identity encoder"}


def test_missing_parts_are_said_and_zero(mini: ToyConsistentID) -> None:
    cut = picture(1).crop((0, 0, 96, 62))  # the mouth lies outside

    class High(MiddleDetector):
        def __call__(self, image):  # type: ignore[no-untyped-def]
            [face] = super().__call__(picture(1))
            return [face]

    pipeline = mini.pipeline()
    pipeline.detector = High()  # type: ignore[attr-defined]
    box = (24.0, 19.0, 72.0, 62.0)
    result = pipeline([mini.request(1, references=(cut,), options={"face_box": box})])[0]
    assert any("mouth" in warning for warning in result.warnings)


def test_words_it_never_learned_are_told(mini: ToyConsistentID) -> None:
    request = mini.request(1, prompt="make a man a zebra", negative_prompt="a king", steps=1)
    [result] = mini.pipeline()([request])
    assert "The mini base does not know 'zebra', 'king'." in result.warnings


def test_image_encoder_reads_the_layer_before_the_last(toy: ToyConsistentID) -> None:
    encoder: ImageEncoder = toy.image_encoder
    states = encoder([picture(1), picture(2).resize((120, 96))])
    assert states.shape == (2, 17, 32)
    pixels = torch.from_numpy(np.asarray(picture(1).resize((32, 32), 3), np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        out = encoder.model(pixels / 127.5 - 1, output_hidden_states=True)
    assert torch.allclose(states[:1], out.hidden_states[-2], atol=1e-5)


def test_the_mini_adapter_is_small() -> None:
    from likeness.methods.consistentid.attention import attention_processors
    from likeness.methods.consistentid.model import ConsistentIDAdapter

    sizes = SIZES["mini"]
    with torch.device("meta"):
        unet = mini_sizes.unet()
        adapter = ConsistentIDAdapter(sizes, attention_processors(unet, sizes))
    assert sum(p.numel() for p in adapter.parameters()) < 3_000_000
    assert sizes.text_width == mini_sizes.WIDTH


def test_sizes_survive_json() -> None:
    for sizes in SIZES.values():
        assert ConsistentIDSizes.from_dict(json.loads(json.dumps(sizes.to_dict()))) == sizes
    assert PARTS == ("face", "eyes", "ears", "nose", "mouth")
    assert FacialEncoder(SIZES["mini"]).visual_projection.latents.shape == (1, 1, 192)


def test_a_marker_in_the_users_text_is_no_marker(mini: ToyConsistentID) -> None:
    plain = mark_prompt(mini.base.tokenizers, "a red hat", CAPTION, PARTS)
    tricky = mark_prompt(mini.base.tokenizers, "a red<|facial|> hat", CAPTION, PARTS)
    assert torch.equal(tricky.ids[0], plain.ids[0])
    assert tricky.parts == plain.parts


def test_the_last_word_is_read_without_a_full_stop_too(mini: ToyConsistentID) -> None:
    def read(prompt: str, *, joined: bool = False) -> list[int]:
        return mark_prompt(mini.base.tokenizers, prompt, CAPTION, PARTS, joined=joined).ids[0].tolist()

    assert read("a man in a forest") == read("a man in a forest \n") == read("a man in a forest.")
    assert read("a man,") != read("a man,."), "punctuation of the user's own is enough"
    assert read("a man in a forest", joined=True) != read("a man in a forest."), (
        "as the authors' weights learned"
    )


@pytest.mark.parametrize(("pairing", "same"), [("names", True), ("published", False)])
def test_a_full_stop_changes_pictures_of_published_weights_alone(
    mini: ToyConsistentID, pairing: str, same: bool
) -> None:
    pipeline: Any = mini.pipeline()
    pipeline.adapter.sizes = dataclasses.replace(pipeline.adapter.sizes, pairing=pairing)
    one, other = (
        np.asarray(pipeline([mini.request(1, prompt=prompt)])[0].image)
        for prompt in ("a man in a forest", "a man in a forest.")
    )
    assert np.array_equal(one, other) == same


def test_text_too_long_for_the_caption(mini: ToyConsistentID) -> None:
    marked = mark_prompt(mini.base.tokenizers, "a man " * 60, "one face, two eyes", ("face", "eyes"))
    assert marked.text.startswith("Detail:one face")
    assert marked.parts == ("face", "eyes")
    lost = mark_prompt(
        mini.base.tokenizers, "a man", "one face, " + "hair " * 72 + "two eyes", ("face", "eyes")
    )
    assert lost.parts in (("face",), ())
    assert lost.warnings


def test_computed_anew_on_the_way_back_the_step_is_the_same(tmp_path: Path) -> None:
    toy = ToyConsistentID(tiny.write_mini(tmp_path / "mini"))
    [phase] = toy.phases()
    found = []
    for _ in range(2):
        phase.trainable.zero_grad()
        with trainable_attention("cpu"):
            terms = phase.loss(toy.batch(0), torch.Generator().manual_seed(0))
            assert "facial" in terms, "attention maps are part of it"
            (terms["noise"] + terms["facial"]).backward()
        found.append(
            {name: p.grad.clone() for name, p in phase.trainable.named_parameters() if p.grad is not None}
        )
        toy.base.unet.enable_gradient_checkpointing()
        toy.base.unet.train()
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(grad, found[1][name], atol=1e-6) for name, grad in found[0].items())
    assert any(grad.abs().max() > 0 for grad in found[0].values())
