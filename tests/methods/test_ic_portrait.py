"""IC-Portrait's formulas by hand, its nets in diffusers' hands, and what painting keeps."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from likeness.diffusion.control import added_up
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.diffusion.schedule import ddim, predicted_latents
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError, NoFaceError
from likeness.faces.embed import crop_faces
from likeness.faces.parts import head_mask
from likeness.methods.ic_portrait.conditioning import condition_of, pair_of, rows_before, told_rows
from likeness.methods.ic_portrait.config import AGGREGATIONS, NETS, Aggregation, Training
from likeness.methods.ic_portrait.matching import Matching, cost_volume, endpoint_error, match, warp
from likeness.methods.ic_portrait.model import InContextControlNet, Nets, aggregated, control_net
from likeness.methods.ic_portrait.pairs import halves, joined, random_shares, sample_pixels
from likeness.methods.ic_portrait.pipeline import load
from likeness.methods.ic_portrait.training import (
    STYLED_FROM,
    AppearancePhase,
    ConditionPhase,
    MatchingPhase,
    NoisyPair,
    noisy_pair,
)
from likeness.methods.ic_portrait.weights import load_nets, save_nets
from likeness.packs import mini_path
from likeness.packs.data import turned_views
from likeness.sitters.correspondence import correspondence
from likeness.sitters.render import render
from likeness.training import Budget, train
from likeness.types import Face, Person
from tests import tiny
from tests.methods.toys import SIDE_PX, MiddleDetector, PixelEncoder, ToyIcPortrait, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyIcPortrait:
    return ToyIcPortrait(tiny.write_sd15(tmp_path_factory.mktemp("ic") / "sd15"))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- equations 1 and 2


def test_sampled_pixels_are_a_share_of_the_pixels_themselves() -> None:
    pixels = torch.rand(3, 3, 100, 100, generator=torch.Generator().manual_seed(1)) + 0.01
    kept = sample_pixels(pixels, torch.tensor([0.0, 0.2, 1.0]), torch.Generator().manual_seed(2))
    assert not kept[0].any()
    assert torch.equal(kept[2], pixels[2])
    there = kept[1].any(dim=0)
    assert torch.equal(kept[1][:, there], pixels[1][:, there])
    assert abs(float(there.float().mean()) - 0.2) < 0.015
    # No regular grid: neighbours are as likely kept as any.
    beside = (there[:, 1:] & there[:, :-1]).float().mean()
    assert abs(float(beside) - 0.04) < 0.01


def test_shares_fill_the_range_up_to_the_most() -> None:
    shares = random_shares(2000, 0.2, torch.Generator().manual_seed(0))
    assert 0 <= float(shares.min()) < 0.005 and 0.195 < float(shares.max()) < 0.2
    assert abs(float(shares.mean()) - 0.1) < 0.005


def test_a_pair_comes_apart_as_it_was_put_together() -> None:
    target, profile = noise(2, 1, 2, 3), noise(2, 1, 2, 3, seed=1)
    swapped = torch.tensor([False, True])
    pair = joined(target, profile, swapped)
    assert torch.equal(pair[0], torch.cat([target[0], profile[0]], dim=-1))
    assert torch.equal(pair[1], torch.cat([profile[1], target[1]], dim=-1))
    for found, given in zip(halves(pair, swapped), (target, profile), strict=True):
        assert torch.equal(found, given)


def test_an_identity_is_cut_into_rows_beside_the_embedding() -> None:
    rows, identity = noise(2, 4, 5), torch.nn.functional.normalize(noise(2, 12, seed=1), dim=1)
    assert told_rows(rows, None) is rows
    told = told_rows(rows, identity)
    assert told.shape == (2, 4, 5), "the embedding, and twelve numbers in rows of five"
    assert torch.equal(told[:, 0], rows[:, -1])
    assert torch.allclose(told[:, 1:].flatten(1)[:, :12], identity * 12**0.5)
    assert not told[:, 3, 2:].any()


# --- equations 5 and 6


def test_the_cost_volume_is_the_cosine() -> None:
    source = torch.tensor([[3.0, 0.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 2)  # cells (3, 0) and (0, 1)
    target = torch.tensor([[1.0, 1.0], [0.0, -2.0]]).T.reshape(1, 2, 1, 2)
    wanted = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]])
    assert torch.allclose(cost_volume(source, target)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 48, 1000])
def test_chunked_correspondence_equals_the_full_one(chunk: int) -> None:
    source, target = noise(2, 16, 6, 8), noise(2, 16, 6, 8, seed=1)
    volume = cost_volume(source, target)
    found = match(source, target, chunk)
    assert torch.equal(found.source.flatten(1), volume.argmax(-1))
    assert torch.allclose(found.confidence.flatten(1), volume.amax(-1), atol=1e-6)
    assert found.confidence.abs().max() <= 1 + 1e-5


def test_a_shifted_picture_has_the_shift_as_its_flow() -> None:
    source = noise(1, 12, 6, 8)
    target = source.roll((1, 2), dims=(2, 3))  # what was at (y, x) is now at (y + 1, x + 2)
    found = match(source, target)
    inner = found.flow[0, :, 1:, 2:]
    assert (inner[0] == -2).all() and (inner[1] == -1).all()
    assert torch.allclose(found.confidence, torch.ones(1, 6, 8), atol=1e-5)
    assert found.coverage.tolist() == [1.0]
    one_cell = Matching(torch.zeros(1, 6, 8, dtype=torch.long), found.confidence)
    assert one_cell.coverage.tolist() == pytest.approx([1 / 48])
    true = torch.zeros(1, 2, 6, 8)
    true[:, 0], true[:, 1] = 1.0, 3.0  # off by (-3, -4)
    assert float(endpoint_error(found.flow, true)[0, 3, 4]) == pytest.approx(5.0)


def test_warping_takes_each_feature_from_where_the_flow_points() -> None:
    features = noise(1, 3, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    moved = warp(features, flow)
    assert torch.allclose(moved[..., 1:, :-2], features[..., :-1, 2:], atol=1e-5)
    # A flow of half the size says the same in larger cells.
    half = torch.zeros(1, 2, 3, 4)
    half[:, 0], half[:, 1] = 1.0, -0.5
    assert torch.allclose(warp(features, half), moved, atol=1e-5)


# --- equation 7


def test_weights_anneal_from_the_input_on() -> None:
    annealed = AGGREGATIONS["annealed"]
    assert [annealed.weight(level, 12) for level in (0, 3, 6, 12)] == pytest.approx([1.0, 0.8, 0.6, 0.2])
    flat = [AGGREGATIONS["flat"].weight(level, 12) for level in range(13)]
    assert flat == pytest.approx([0.6] * 13)
    assert sum(annealed.weight(level, 12) for level in range(13)) == pytest.approx(sum(flat))


def test_aggregation_adds_the_warped_profile_to_the_target_half_alone() -> None:
    swapped = torch.tensor([False, True])
    down, middle = [noise(2, 4, 4, 8), noise(2, 4, 2, 4, seed=1)], noise(2, 4, 2, 4, seed=2)
    still = torch.zeros(2, 2, 4, 4)
    found, last = aggregated((down, middle), still, Aggregation(alpha=0.5, beta=0.25), swapped)
    for before, after, weight in zip([*down, middle], [*found, last], (0.75, 0.5, 0.25), strict=True):
        (target, profile), (blended, kept) = halves(before, swapped), halves(after, swapped)
        assert torch.equal(kept, profile)
        assert torch.allclose(blended, target + weight * profile, atol=1e-5)
    untouched, _ = aggregated((down, middle), still, AGGREGATIONS["none"])
    assert all(torch.equal(a, b) for a, b in zip(untouched, down, strict=True))


# --- the nets


def test_new_nets_add_nothing(toy: ToyIcPortrait) -> None:
    net = control_net(toy.base.unet)
    latents, rows = noise(1, 4, 8, 16), noise(1, 1, 64)
    down, middle = net(
        latents, torch.tensor(10), rows, controlnet_cond=torch.rand(1, 3, 64, 128), return_dict=False
    )
    assert not middle.any() and not any(one.any() for one in down)


def test_the_nets_are_one_controlnet_to_diffusers(toy: ToyIcPortrait) -> None:
    base = toy.base
    net = InContextControlNet.of(toy.nets, base.unet)
    latents, rows, at = noise(2, 4, 8, 16), noise(2, 1, 64, seed=1), torch.tensor(500)
    condition = torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(3))
    down, middle = net(latents, at, rows, condition, conditioning_scale=0.5, return_dict=False)
    matching = toy.nets.match(base.unet, latents, at, rows, condition)
    own, last = toy.nets.residuals(latents, at, rows, condition, matching)
    plain, _ = toy.nets.appearance(latents, at, rows, condition, return_dict=False)
    assert torch.allclose(middle, 0.5 * last, atol=1e-5)
    for one, other, without in zip(down, own, plain, strict=True):
        assert torch.allclose(one, 0.5 * other, atol=1e-5)
        assert not torch.allclose(other, without, atol=1e-3), "nothing was warped"

    def painted(controlnet: object, images: object) -> np.ndarray:
        pipe = StableDiffusionControlNetPipeline(
            base.vae, base.text_encoders[0], base.tokenizers[0], base.unet, controlnet, base.scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        found = pipe(
            prompt_embeds=rows[:1], negative_prompt_embeds=torch.zeros(1, 1, 64), image=images,
            latents=latents[:1], height=64, width=128, num_inference_steps=2, output_type="np",
        )  # fmt: skip
        return np.asarray(found.images[0])

    pair = condition[:1]
    ours = painted(net, pair)
    assert ours.shape == (64, 128, 3)
    assert np.abs(ours - painted(toy.nets.appearance, pair)).max() > 1e-3
    other = ControlNetModel.from_unet(base.unet)  # untrained: it adds nothing, so both are as ours alone
    together = painted([net, other], [pair, torch.rand(1, 3, 64, 128)])
    assert np.allclose(together, ours, atol=1e-5)


def test_residuals_of_two_sources_add_up() -> None:
    one = {"down_block_additional_residuals": [torch.ones(1)], "mid_block_additional_residual": torch.ones(1)}
    both = added_up(one, one)
    assert both["down_block_additional_residuals"][0].item() == 2
    assert both["mid_block_additional_residual"].item() == 2
    assert added_up(one, {}) is one and added_up({}, one) is one


def test_half_of_the_pairs_are_swapped_and_some_rows_are_zero(toy: ToyIcPortrait) -> None:
    batch = {key: tensor.repeat(100, *[1] * (tensor.ndim - 1)) for key, tensor in toy.batch(0).items()}
    batch = {key: tensor[:300] for key, tensor in batch.items() if "pixels" not in key}
    batch |= {name: torch.ones(300, 3, 8, 8) for name in ("pixels_target", "pixels_profile")}
    pair = noisy_pair(
        batch, toy.base.scheduler, Training(), torch.Generator().manual_seed(0), rows_before(toy.base)
    )
    assert 0.4 < float(pair.swapped.float().mean()) < 0.6
    assert 0.05 < float((~pair.rows[:, -1].any(1)).float().mean()) < 0.16
    assert pair.told is pair.rows
    batch["identity"] = torch.ones(300, 2 * toy.base.text_width)
    told = noisy_pair(
        batch, toy.base.scheduler, Training(), torch.Generator().manual_seed(0), rows_before(toy.base)
    ).told
    assert told.shape[1] == 3
    assert torch.equal(told.any(2).all(1), pair.rows[:, -1].any(1)), "both are hidden, or none"
    # The profile is whole, of the target at most N is left.
    target, profile = halves(pair.condition, pair.swapped)
    assert profile.min() == 1
    assert 0.05 < float(target.mean()) < 0.15


def test_noise_that_begins_from_a_style_reference_still_leads_to_the_target(toy: ToyIcPortrait) -> None:
    scheduler = ddim(toy.base.scheduler, steps=1)
    batch = {key: tensor.repeat(16, *[1] * (tensor.ndim - 1)) for key, tensor in toy.batch(0).items()}

    def pair() -> NoisyPair:
        source = torch.Generator().manual_seed(0)
        return noisy_pair(batch, scheduler, Training(), source, rows_before(toy.base))

    plain = pair()
    batch["latents_style"] = batch["latents_target"] + 1
    styled = pair()
    ratio = (scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)).sqrt()
    target, profile = halves(styled.latents - plain.latents, plain.swapped)
    assert not profile.any()
    assert float(target.std((1, 2, 3)).max()) < 1e-5, "as much everywhere"
    # DDIM keeps the noise that painting began with, so there is some of the style at every later step.
    share = target.mean((1, 2, 3)) / (1 - scheduler.alphas_cumprod[plain.timesteps]).sqrt()
    first = int(STYLED_FROM * scheduler.config.num_train_timesteps)
    most = ratio[plain.timesteps.clamp_min(first)]
    assert bool((share >= 0).all()) and bool((share <= most + 1e-4).all())
    early = plain.timesteps < first
    assert (
        early.any()
        and float(share[early].std()) > 0.05
        and float(share[early].max()) > 0.5 * float(ratio[first])
    )
    clean = predicted_latents(scheduler, styled.latents, styled.target, styled.timesteps)
    wanted = joined(batch["latents_target"], batch["latents_profile"], styled.swapped)
    early = styled.timesteps < 900  # beyond, hardly any signal is left to divide by
    assert torch.allclose(clean[early], wanted[early], atol=1e-2)


@pytest.mark.parametrize("which", ["matching", "appearance"])
def test_losses_fall(toy: ToyIcPortrait, tmp_path: Path, which: str) -> None:
    models = [control_net(toy.base.unet).requires_grad_(True) for _ in range(2)]
    nets = Nets(*models, toy.nets.settings)
    phase = (
        MatchingPhase(nets.matching, toy.base, learning_rate=3e-3)
        if which == "matching"
        else AppearancePhase(nets, toy.base, learning_rate=3e-3)
    )
    before = [p.detach().clone() for p in nets.matching.parameters()]
    same = toy.batch(0)

    def loss() -> float:
        with torch.no_grad():
            draws = [phase.loss(same, torch.Generator().manual_seed(seed)) for seed in range(6)]
        return float(np.mean([one["noise"] for one in draws]))

    first = loss()
    train([phase], lambda moment: same, tmp_path / which, Budget(steps=40), bf16=False, ema_decay=None)
    assert loss() < 0.9 * first
    moved = any(not torch.equal(a, b) for a, b in zip(before, nets.matching.parameters(), strict=True))
    assert moved == (which == "matching")


class Colours(torch.nn.Module):
    """A recogniser that knows a face by its colours, place by place."""

    def forward(self, aligned: Tensor) -> Tensor:
        places = torch.nn.functional.avg_pool2d(aligned, 14).flatten(1)
        return torch.nn.functional.normalize(places - places.mean(dim=1, keepdim=True), dim=1)


def test_places_of_the_person_count_more(toy: ToyIcPortrait) -> None:
    def noise_of(face_weight: float, mask: Tensor) -> float:
        phase = AppearancePhase(toy.nets, toy.base, face_weight=face_weight)
        with torch.no_grad():
            return float(phase.loss(batch | {"person_mask": mask}, torch.Generator().manual_seed(0))["noise"])

    batch = toy.batch(0)
    nowhere, everywhere = torch.zeros(3, 16, 16), torch.ones(3, 16, 16)
    left = torch.zeros(3, 16, 16)
    left[..., :8] = 1
    plain = noise_of(0.0, everywhere)
    assert noise_of(3.0, nowhere) == pytest.approx(plain, rel=1e-5)
    # of the target half alone: what it adds is three times that half's share of the loss
    added = noise_of(3.0, everywhere) - plain
    assert 0 < added < 3 * plain
    halves_added = (noise_of(3.0, left) - plain) + (noise_of(3.0, 1 - left) - plain)
    assert halves_added == pytest.approx(added, rel=1e-4)


def test_a_recogniser_compares_the_target_half_with_the_person(toy: ToyIcPortrait) -> None:
    """What the noise truly hides is the target, on either side, so the face on it is the person's."""
    batch = {key: tensor.repeat(6, *[1] * (tensor.ndim - 1)) for key, tensor in toy.batch(0).items()}
    batch["face_affine"] = torch.tensor([[0.5, 0, 2], [0, 0.5, 2]]).expand(18, 2, 3)  # nearly all 64 px
    aligned = crop_faces(toy.base.decode(batch["latents_target"]), batch["face_affine"])
    batch["id_embedding"] = Colours()(aligned)
    phase = AppearancePhase(toy.nets, toy.base, recogniser=Colours())
    scheduler = ddim(toy.base.scheduler, steps=1)
    pair = noisy_pair(batch, scheduler, Training(), torch.Generator().manual_seed(0), rows_before(toy.base))
    assert pair.swapped.any() and not pair.swapped.all()
    assert phase._unlike(batch, pair, pair.target, Colours()) < 0.02
    other = {**batch, "id_embedding": batch["id_embedding"].roll(1, 0)}
    assert phase._unlike(other, pair, pair.target, Colours()) > 0.1
    late = dataclasses.replace(pair, timesteps=torch.full_like(pair.timesteps, 999))
    assert phase._unlike(batch, late, pair.target, Colours()) == 0

    terms = phase.loss(batch, torch.Generator().manual_seed(1))
    [grad, *_] = torch.autograd.grad(
        terms["identity"], [*toy.nets.appearance.parameters()], allow_unused=True
    )
    assert grad is not None and grad.any()
    assert "identity" not in AppearancePhase(toy.nets, toy.base).loss(batch, torch.Generator().manual_seed(1))


def test_condition_layers_learn_to_tell_the_latents_and_the_net_still_adds_nothing(
    toy: ToyIcPortrait, tmp_path: Path
) -> None:
    net = control_net(toy.base.unet).requires_grad_(True)
    batch = toy.batch(0)
    mix = noise(batch["latents_target"].shape[1], 3, seed=0)
    for number, half in enumerate(("target", "profile")):
        colours = noise(3, 3, 8, 8, seed=1 + number).clamp(-2, 2) / 2
        batch[f"pixels_{half}"] = torch.nn.functional.interpolate(colours, scale_factor=8)
        batch[f"latents_{half}"] = torch.einsum("cp,bphw->bchw", mix, colours)
    phase = ConditionPhase(net.controlnet_cond_embedding, learning_rate=1e-3)

    def untold() -> float:
        with torch.no_grad():
            draws = [phase.loss(batch, torch.Generator().manual_seed(seed)) for seed in range(6)]
        return float(np.mean([one["untold"] for one in draws]))

    first = untold()
    train([phase], lambda moment: batch, tmp_path, Budget(steps=100), bf16=False, ema_decay=None)
    assert untold() < 0.5 * first
    pair = noisy_pair(
        batch, toy.base.scheduler, Training(), torch.Generator().manual_seed(0), rows_before(toy.base)
    )
    with torch.no_grad():
        down, middle = net(pair.latents, pair.timesteps, pair.rows, pair.condition, return_dict=False)
    assert not any(one.any() for one in (*down, middle))


def test_descriptors_of_two_blocks_see_the_same_part_in_both_views() -> None:
    """On sitters turned and lit anew, against the renderer's own correspondence: better than no flow."""
    base = load_base(mini_path())
    encoder = load_image_encoder(mini_path() / "image_encoder", device="cpu", dtype=torch.float32)
    new = control_net(base.unet)
    nets = Nets(new, new, NETS["mini"])
    middle, every = slice(4, None, 8), 8
    apart, still = [], []
    for seed in range(10_000_000, 10_000_005):
        target, source = turned_views(seed, 2)
        pictures = [Image.fromarray(render(one, 128).rgb) for one in (target, source)]
        pair, source_px = pair_of(base, encoder, *pictures), correspondence(target, source, 128)
        latents = joined(pair.latents_target, pair.latents_profile)
        noisy = base.scheduler.add_noise(latents, noise(*latents.shape, seed=seed), torch.tensor([200]))
        generator = torch.Generator().manual_seed(seed)
        condition = condition_of(pair.pixels_target, pair.pixels_profile, torch.tensor([0.1]), generator)
        flow = nets.match(base.unet, noisy, torch.tensor(200), pair.rows, condition).flow
        there = torch.from_numpy(source_px.source_px[middle, middle] / every)
        centres = torch.arange(16) + 0.5
        own = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
        true, visible = (there - own).permute(2, 0, 1)[None], source_px.visible[middle, middle]
        apart.append(float(endpoint_error(flow, true)[0][visible].median()))
        still.append(float(endpoint_error(torch.zeros_like(flow), true)[0][visible].median()))
    assert np.mean(apart) < 0.75 * np.mean(still), (apart, still)
    assert not any(module._forward_hooks for module in base.unet.modules()), "a hook was left behind"


# --- painting


def test_outside_of_the_head_nothing_changes(toy: ToyIcPortrait) -> None:
    style = picture(5)
    [result] = toy.pipeline()([toy.request(1, image=style)])
    [face] = MiddleDetector()(style)
    head = np.asarray(head_mask(face, style.size)) > 0
    before, after = np.asarray(style), np.asarray(result.image)
    assert np.array_equal(before[~head], after[~head])
    assert (before[head] != after[head]).mean() > 0.3
    recipe = result.provenance.recipe
    assert recipe["aggregation"] == "annealed" and recipe["matching"][0]["coverage"] > 0


def test_each_person_comes_to_their_own_face(toy: ToyIcPortrait) -> None:
    group = Image.new("RGB", (2 * SIDE_PX, SIDE_PX))
    group.paste(picture(5), (0, 0))
    group.paste(picture(6), (SIDE_PX, 0))
    [left] = MiddleDetector()(picture(5))
    boxes = [left.box_xyxy, tuple(v + SIDE_PX * (i % 2 == 0) for i, v in enumerate(left.box_xyxy))]

    def painted(*profiles: int) -> tuple[np.ndarray, np.ndarray]:
        people = tuple(
            Person((picture(number),), box)  # type: ignore[arg-type]
            for number, box in zip(profiles, boxes, strict=True)
        )
        request = toy.request(3, references=(), people=people, image=group)
        steps: list[int] = []
        [result] = toy.pipeline()([request], on_step=lambda step, of: steps.append(of))
        assert steps == [6] * 6, "both heads' steps are counted"
        assert len(result.provenance.recipe["people_px"]) == 2
        pixels = np.asarray(result.image)
        return pixels[:, :SIDE_PX], pixels[:, SIDE_PX:]

    first, second = painted(1, 2), painted(3, 2)
    assert not np.array_equal(first[0], second[0]), "the left person changed"
    heads = [np.asarray(head_mask(Face(box, left.landmarks_px), group.size)) > 0 for box in boxes]  # type: ignore[arg-type]
    right = heads[1][:, SIDE_PX:]
    assert not np.array_equal(painted(1, 4)[1][right], first[1][right]), "the right person changed"
    outside = ~(heads[0] | heads[1])
    whole = np.concatenate(first, axis=1)
    assert np.array_equal(whole[outside], np.asarray(group)[outside])


def test_a_face_that_is_missing_is_told_before_any_head_is_painted(
    toy: ToyIcPortrait, tmp_path: Path
) -> None:
    class Blind(MiddleDetector):
        def __call__(self, image: Image.Image) -> list[Face]:
            return [] if image.getpixel((0, 0)) == (9, 9, 9) else super().__call__(image)

    nobody = Image.new("RGB", (SIDE_PX, SIDE_PX), (9, 9, 9))
    [face] = MiddleDetector()(picture(5))
    people = tuple(Person((one,), face.box_xyxy) for one in (picture(1), nobody))
    toy.save(tmp_path)
    pipeline = load(toy.base, tmp_path, detector=Blind(), image_encoder=toy.image_encoder)
    steps: list[int] = []
    with pytest.raises(NoFaceError):
        pipeline([toy.request(1, references=(), people=people)], on_step=lambda step, of: steps.append(step))
    assert steps == []


def test_less_strength_stays_nearer_to_the_style_reference(toy: ToyIcPortrait) -> None:
    style = np.asarray(picture(5), np.float32)
    pipeline = toy.pipeline()
    far = [
        np.abs(np.asarray(pipeline([toy.request(1, strength=strength, steps=6)])[0].image) - style).mean()
        for strength in (0.17, 1.0)
    ]
    assert far[0] < far[1]


def test_a_profile_s_face_may_be_said_by_hand(toy: ToyIcPortrait) -> None:
    asked = toy.request(1, options={"face_box": (8.0, 8.0, 40.0, 40.0)})
    [by_hand] = toy.pipeline()([asked])
    [found] = toy.pipeline()([toy.request(1)])
    assert not np.array_equal(np.asarray(by_hand.image), np.asarray(found.image))
    people = (Person((picture(1),)),)
    with pytest.raises(InputError, match="face_box is for one profile"):
        toy.pipeline()([toy.request(1, references=(), people=people, options=asked.options)])


def test_as_diffusers_controlnet_nobody_is_known_where_the_embedding_is_zero(toy: ToyIcPortrait) -> None:
    """diffusers' negative half holds zeros: guidance has to lead away from nobody, as ours does."""
    identity = torch.ones(1, 2 * toy.base.text_width)
    net = InContextControlNet.of(toy.nets, toy.base.unet, identity)
    latents, at = noise(1, 4, 8, 16).repeat(2, 1, 1, 1), torch.tensor(500)
    condition = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(3)).repeat(2, 1, 1, 1)
    rows = torch.cat([torch.zeros(1, 1, 64), noise(1, 1, 64, seed=1)])
    _, middle = net(latents, at, rows, condition, return_dict=False)
    for number, known in enumerate((torch.zeros_like(identity), identity)):
        mine = (latents[:1], at, rows[number : number + 1], condition[:1])
        matching = toy.nets.match(toy.base.unet, *mine)
        told = told_rows(rows[number : number + 1], known)
        _, wanted = toy.nets.residuals(latents[:1], at, told, condition[:1], matching)
        assert torch.allclose(middle[number : number + 1], wanted, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_nets_that_read_an_identity_paint_whose_face_it_is(
    toy: ToyIcPortrait, tmp_path: Path, guidance: float
) -> None:
    class Told(PixelEncoder):
        turned = False

        def __call__(self, aligned: list[Image.Image]) -> np.ndarray:
            return super().__call__(aligned) * (-1 if self.turned else 1)

    def painted(encoder: PixelEncoder | None) -> np.ndarray:
        pipeline = load(
            toy.base,
            tmp_path,
            detector=MiddleDetector(),
            image_encoder=toy.image_encoder,
            face_encoder=encoder,
        )
        [result] = pipeline([toy.request(1, guidance=guidance)])
        assert ("identity encoder" in [one.role for one in result.provenance.weights]) == reads
        return np.asarray(result.image)

    one, other = Told(), Told()
    other.turned = True
    for reads in (True, False):
        settings = dataclasses.replace(toy.nets.settings, identity_encoder="pixels" if reads else "")
        save_nets(dataclasses.replace(toy.nets, settings=settings), tmp_path, dtype=torch.float32)
        assert np.array_equal(painted(one), painted(other)) != reads
    settings = dataclasses.replace(toy.nets.settings, identity_encoder="pixels")
    save_nets(dataclasses.replace(toy.nets, settings=settings), tmp_path, dtype=torch.float32)
    with pytest.raises(MissingWeightsError, match="read an identity by pixels"):
        painted(None)


def test_a_guide_says_too_what_there_would_be_of_nobody(tmp_path: Path) -> None:
    toy = ToyIcPortrait(tiny.write_guide(tiny.write_mini(tmp_path / "mini")))
    seen: list[tuple[torch.Size, torch.Size]] = []

    def asked(latents: Tensor, timestep: Tensor, rows: Tensor, added_cond_kwargs: None) -> Any:
        seen.append((latents.shape, rows.shape))
        return toy.base.unet(latents, timestep, rows)

    pipeline = toy.pipeline()
    guided = copy.copy(pipeline)
    guided.base = dataclasses.replace(toy.base, guide=asked)  # type: ignore[attr-defined]
    for guidance, roles in ((1.0, False), (3.0, True)):
        [plain] = pipeline([toy.request(1, guidance=guidance)])
        [other] = guided([toy.request(1, guidance=guidance)])
        assert ("guide" in [one.role for one in plain.provenance.weights]) == roles
        assert np.array_equal(np.asarray(plain.image), np.asarray(other.image)) != roles
    target, empty = seen[0]
    assert target[-1] == target[-2], "of the target alone, not of the pair"
    assert empty[1] == 77, "the empty prompt, without an embedding"


@pytest.mark.parametrize("option", [{"sampling": 1.0}, {"aggregation": "flat"}, {"aggregation": "none"}])
def test_options_count(toy: ToyIcPortrait, option: dict[str, object]) -> None:
    pipeline = toy.pipeline()
    plain, other = (
        np.asarray(pipeline([toy.request(1, options=options)])[0].image) for options in ({}, option)
    )
    assert not np.array_equal(plain, other)


def test_what_cannot_be_painted_is_said(toy: ToyIcPortrait) -> None:
    pipeline = toy.pipeline()
    two = (Person((picture(1),)), Person((picture(2),)))
    for settings, told in (
        ({"image": None}, "give image, the picture with the pose"),
        ({"references": (), "people": two}, "which face is theirs"),
        ({"strength": 0.0}, "strength must be above 0"),
        ({"control_images": (picture(1),)}, "has 0 ControlNets and got 1"),
        ({"options": {"aggregation": "round"}}, "aggregation"),
    ):
        with pytest.raises(InputError, match=told):
            pipeline([toy.request(1, **settings)])


def test_other_controlnets_add_up(toy: ToyIcPortrait, tmp_path: Path) -> None:
    torch.manual_seed(9)
    extra = ControlNetModel.from_unet(toy.base.unet)
    with torch.no_grad():
        for parameter in extra.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    extra.save_pretrained(tmp_path / "extra")
    toy.save(tmp_path / "nets")
    both = load(
        toy.base, tmp_path / "nets", detector=MiddleDetector(), image_encoder=toy.image_encoder,
        controlnets=[tmp_path / "extra"],
    )  # fmt: skip
    request = toy.request(1, control_images=(picture(2),))
    [silent] = both([dataclasses.replace(request, control_scale=0.0)])
    [loud] = both([request])
    [alone] = toy.pipeline()([toy.request(1)])
    assert np.array_equal(np.asarray(silent.image), np.asarray(alone.image))
    assert not np.array_equal(np.asarray(loud.image), np.asarray(alone.image))


def test_the_matching_is_drawn(toy: ToyIcPortrait) -> None:
    [drawn] = toy.pipeline().matching_pictures(toy.request(1))  # type: ignore[attr-defined]
    assert drawn.size == (4 * 320, 320)
    confidence = np.asarray(drawn)[:, 3 * 320 :].reshape(-1, 3)
    assert len(np.unique(confidence, axis=0)) > 4, "confidence differs from cell to cell"


# --- weights


def test_weights_of_another_kind_are_refused(toy: ToyIcPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path / "nets")
    other = ToyIcPortrait(tiny.write_mini(tmp_path / "mini"))
    with pytest.raises(IncompatibleWeightsError, match="does not fit the base mini"):
        load_nets(tmp_path / "nets", other.base)
    (tmp_path / "nets" / "config.json").write_text('{"family": "sd15", "descriptor_blocks": [-9, -1]}')
    with pytest.raises(IncompatibleWeightsError, match=r"up blocks \(-9, -1\), and the UNet of .* has 2"):
        load_nets(tmp_path / "nets", toy.base)
    (tmp_path / "nets" / "config.json").write_text('{"family": "sd15", "stage": "ipnet"}')
    with pytest.raises(IncompatibleWeightsError, match="is not IC-Portrait's"):
        load_nets(tmp_path / "nets", toy.base)
    with pytest.raises(MissingWeightsError, match=r"--part ic-portrait` or .* --from-nothing`"):
        load(toy.base, detector=MiddleDetector(), image_encoder=toy.image_encoder)


def test_a_persons_unet_beside_the_nets_paints(
    toy: ToyIcPortrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "person"
    torch.manual_seed(5)
    unet = tiny.unet((32, 64), 64, 4)
    settings = dataclasses.replace(toy.nets.settings, person="anna")
    save_nets(dataclasses.replace(toy.nets, settings=settings), folder, unet=unet, dtype=torch.float32)
    [result] = toy.loaded(folder)([toy.request(1)])
    [plain] = toy.pipeline()([toy.request(1)])
    assert not np.array_equal(np.asarray(result.image), np.asarray(plain.image))
    roles = [one.role for one in result.provenance.weights]
    assert "customised UNet" in roles and "unet" not in roles
    assert result.provenance.recipe["person"] == "anna"
    monkeypatch.setenv("HOME", str(tmp_path))
    [same] = toy.loaded(Path("~/person"))([toy.request(1)])
    assert np.array_equal(np.asarray(same.image), np.asarray(result.image))
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = unet.get_submodule(name).weight
    change = {"A": torch.randn(3, weight.shape[1]), "B": torch.randn(len(weight), 3)}
    save_file(
        {f"unet.{name}.lora_{side}.weight": one for side, one in change.items()}, tmp_path / "l.safetensors"
    )
    with_lora = load(
        toy.base, folder, detector=MiddleDetector(), image_encoder=toy.image_encoder,
        loras={tmp_path / "l.safetensors": 1.0},
    )  # fmt: skip
    [other] = with_lora([toy.request(1)])
    assert not np.array_equal(np.asarray(other.image), np.asarray(result.image))
