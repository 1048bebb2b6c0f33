"""InstantPortrait beyond the contract: every formula by hand, one-step editing, its options and files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.diffusion.noise import draw
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.schedule import (
    add_noise,
    ddim,
    denoised,
    noised,
    predicted_latents,
    prediction_target,
)
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.faces.parsing import ParserNet
from likeness.methods.instant_portrait.config import (
    ABLATIONS,
    ANNEALINGS,
    STAGES,
    T_MAX,
    Annealing,
    DistillStage,
    EditSettings,
    IdeTraining,
)
from likeness.methods.instant_portrait.losses import (
    annealing_weight,
    discriminator_loss,
    generator_loss,
    identity_distance,
    inverted,
    noise_of,
    random_crops,
    to_gray,
    triplet_loss,
)
from likeness.methods.instant_portrait.model import editing_unet, one_step
from likeness.methods.instant_portrait.pipeline import InstantPortraitPipeline, load
from likeness.methods.instant_portrait.training import (
    DiscriminatorPhase,
    IdeNetPhase,
    IpNetPhase,
    changed_places,
    place_weight,
)
from likeness.methods.instant_portrait.weights import PUBLISHED, load_editor, save_editor
from likeness.types import Person, PortraitRequest
from tests import tiny
from tests.methods.toys import SIDE_PX, ToyInstantPortrait, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyInstantPortrait:
    return ToyInstantPortrait(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> ToyInstantPortrait:
    return ToyInstantPortrait(tiny.write_sd15(tmp_path_factory.mktemp("toy") / "sd15"))


@pytest.fixture(scope="module")
def pipeline(toy: ToyInstantPortrait) -> InstantPortraitPipeline:
    return toy.pipeline()  # type: ignore[return-value]


def edited(pipeline: InstantPortraitPipeline, **settings: object) -> np.ndarray:
    fixed = {"prompt": "wearing a red hat", "references": (picture(0),), "size_px": (64, 64), "steps": 1}
    return np.asarray(pipeline([PortraitRequest(**{**fixed, **settings})])[0].image)  # type: ignore[arg-type]


# --- formulas ---------------------------------------------------------------------------------------------


def test_annealing_weights_by_hand() -> None:
    steps = torch.tensor([0, 333, 666, 999])
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])
    assert torch.allclose(annealing_weight(steps, ANNEALINGS["t/T"]), thirds)
    assert torch.allclose(annealing_weight(steps, ANNEALINGS["t/T + .1"]), thirds + 0.1)
    assert torch.allclose(annealing_weight(steps, ANNEALINGS["constant"]), torch.ones(4))
    # .5 (1 + cos(pi (1 - t/T))): 0, .25, .75, 1
    assert torch.allclose(
        annealing_weight(steps, ANNEALINGS["cosine"]), torch.tensor([0.0, 0.25, 0.75, 1.0]), atol=1e-6
    )
    # .45 (...) + .1: between .1 and 1
    assert torch.allclose(
        annealing_weight(steps, ANNEALINGS["cosine .9"]), torch.tensor([0.1, 0.325, 0.775, 1.0]), atol=1e-6
    )


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 1.0])
    # real: 0, .5, 2 -> 2.5 / 3; fake: 0, 1, 2 -> 1
    assert discriminator_loss(real, fake) == pytest.approx(2.5 / 3 + 1)
    assert generator_loss(fake) == pytest.approx(1 / 3)


def test_the_triplets_sign() -> None:
    before, target, output = (torch.tensor([[x, 0.0]]) for x in (0.0, 3.0, 1.0))
    # d1 = 1, d2 = 2: as printed 2 - 1 - .15; the standard margin 2 - 1 + .15
    assert triplet_loss(before, target, output, 0.15) == pytest.approx(0.85)
    assert triplet_loss(before, target, output, 0.15, standard=True) == pytest.approx(1.15)
    near = torch.tensor([[1.45, 0.0]])  # d1 1.45, d2 1.55: within the margin
    assert triplet_loss(before, target, near, 0.15) == 0
    assert triplet_loss(before, target, near, 0.15, standard=True) == pytest.approx(0.25)
    moved = output.clone().requires_grad_(True)
    triplet_loss(before, target, moved).backward()
    assert moved.grad[0, 0] < 0, "a step against the gradient goes towards the target"


def test_gray_is_luma() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    assert torch.allclose(to_gray(red), torch.full((1, 3, 1, 1), 2 * 0.299 - 1), atol=1e-6)


def test_identity_distance_sees_structure_and_no_colour() -> None:
    def recogniser(faces: torch.Tensor) -> torch.Tensor:
        rows = faces.mean(dim=1).flatten(1)[:, ::500]
        return rows / rows.norm(dim=1, keepdim=True)

    affine = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    one = torch.rand(1, 3, 64, 64) * 2 - 1
    gray = to_gray(one)
    assert identity_distance(one, gray, affine, recogniser) == pytest.approx(0, abs=1e-6)
    other = one.clone().requires_grad_(True)
    value = identity_distance(one, other.flip(-1), affine, recogniser)
    assert value > 0.01
    value.sum().backward()
    assert other.grad is not None
    outside = other.grad.flip(-1)[..., 57:, 57:]
    assert outside.abs().max() == 0, "only the face counts"


class Wind:
    """A 'network' whose noise is known."""

    def __init__(self, scheduler: object, noise: torch.Tensor) -> None:
        self.scheduler, self.noise = scheduler, noise

    def __call__(self, latents: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        if self.scheduler.config.prediction_type == "epsilon":
            return self.noise
        abar = self.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return (self.noise - (1 - abar).sqrt() * latents) / abar.sqrt()


@pytest.mark.parametrize("family", ["toy", "sd15"])
@pytest.mark.parametrize("steps", [1, 7])
def test_inversion_by_a_known_noise(request: pytest.FixtureRequest, family: str, steps: int) -> None:
    scheduler = ddim(request.getfixturevalue(family).base.scheduler, 1)
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    at = torch.tensor([150, 200])
    network = Wind(scheduler, noise)
    abar = scheduler.alphas_cumprod[at].view(-1, 1, 1, 1)
    noisy = inverted(network, scheduler, clean, at, steps)
    assert torch.allclose(noisy, abar.sqrt() * clean + (1 - abar).sqrt() * noise, atol=1e-4), "eq. 9"
    prediction = network(noisy, at)
    assert torch.allclose(noise_of(scheduler, prediction, noisy, at), noise, atol=1e-4)
    assert torch.allclose(predicted_latents(scheduler, noisy, prediction, at), clean, atol=1e-4)


def test_inversion_and_sampling_are_a_round_trip(toy: ToyInstantPortrait) -> None:
    """A network that looks at its input: the more steps, the nearer DDIM comes back."""
    scheduler = ddim(toy.base.scheduler, 1000)
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(latents: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        noise = torch.tanh(latents + timesteps.view(-1, 1, 1, 1) / 1000)
        return Wind(scheduler, noise)(latents, timesteps)

    def away(steps: int) -> float:
        latents = inverted(predict, scheduler, clean, torch.tensor([200]), steps)
        for timestep in range(200, 0, -1):
            latents = denoised(scheduler, predict(latents, torch.tensor([timestep])), timestep, latents)
        last = torch.tensor([0])
        seen = predicted_latents(scheduler, latents, predict(latents, last), last)
        return float((seen - clean).abs().mean())

    assert away(200) < 0.5 * away(5) < 0.5 * away(1)


def test_crops_are_drawn_for_each_picture() -> None:
    pixels = torch.arange(2 * 16 * 16, dtype=torch.float32).view(2, 1, 16, 16).expand(-1, 3, -1, -1)
    first, again, other = (random_crops(pixels, 6, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (2, 3, 6, 6)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    places = first[:, 0, 0, 0] - torch.tensor([0.0, 256.0])
    assert places[0] != places[1]
    whole = {
        tuple(random_crops(pixels, 15, torch.Generator().manual_seed(s))[:, 0, 0, 0].tolist())
        for s in range(99)
    }
    assert {one[0] for one in whole} == {0.0, 1.0, 16.0, 17.0}, "every place can be drawn"


def test_table_6() -> None:
    assert [(s.low, s.high, s.distill, s.triplet, s.inversion) for s in STAGES] == [
        (400, 800, 1.0, 0.0, False), (200, 400, 0.3, 0.0, True), (150, 200, 0.3, 1.0, True)
    ]  # fmt: skip
    assert math.isclose(sum(stage.share for stage in STAGES), 1)
    assert not any(stage.inversion or stage.triplet for stage in ABLATIONS["adv+sds"])
    assert [stage.distill for stage in ABLATIONS["adv"]] == [0]


# --- training ---------------------------------------------------------------------------------------------


def test_an_untrained_editor_paints_what_the_base_does(toy: ToyInstantPortrait) -> None:
    base = toy.base.unet
    unet = editing_unet(base)
    assert unet.config.in_channels == 2 * base.config.in_channels
    noisy, text = torch.randn(1, base.config.in_channels, 8, 8), torch.randn(1, 77, toy.base.text_width)
    with torch.no_grad():
        seen = torch.cat([noisy, torch.randn_like(noisy)], dim=1)
        assert torch.allclose(unet(seen, 5, text).sample, base(noisy, 5, text).sample, atol=1e-6)
        again = editing_unet(unet)
        assert all(torch.equal(t, again.state_dict()[k]) for k, t in unet.state_dict().items())


def test_the_published_unet_has_859_million_parameters() -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(in_channels=8, cross_attention_dim=768)
    assert sum(p.numel() for p in unet.parameters()) == pytest.approx(859.5e6, rel=1e-3)


def test_conditions_are_dropped_as_often_as_asked(toy: ToyInstantPortrait) -> None:
    settings = IdeTraining(drop_text=0.1, drop_image=0.2, drop_both=0.3)
    phase = IdeNetPhase(toy.unets[0], toy.base, settings=settings)
    batch = {"latents": torch.zeros(1000, 1), "text": torch.ones(1000, 77, toy.base.text_width)}
    batch["image_latents"] = torch.ones(1000, 4, 1, 1)
    text, image = phase._dropped(batch, (torch.arange(1000) + 0.5) / 1000)
    no_text = (text != 1).flatten(1).any(1)
    no_image = (image == 0).flatten(1).all(1)
    assert torch.equal(text[no_text][0], phase._empty[0].float())
    assert (no_text & ~no_image).sum() == 100
    assert (no_image & ~no_text).sum() == 200
    assert (no_image & no_text).sum() == 300


def test_the_identity_loss_is_weighed_by_time(toy: ToyInstantPortrait) -> None:
    batch = toy.batch(0)

    def term(annealing: Annealing, rows: int | None = None) -> float:
        settings = IdeTraining(annealing=annealing, drop_text=0, drop_image=0, drop_both=0)
        phase = IdeNetPhase(toy.unets[0], toy.base, toy.recogniser, settings, identity_rows=rows)
        with torch.no_grad():
            return float(phase.loss(batch, torch.Generator().manual_seed(1))["identity"])

    constant, linear = term(ANNEALINGS["constant"]), term(ANNEALINGS["t/T"])
    assert 0 < linear < constant
    assert term(ANNEALINGS["t/T + .1"]) == pytest.approx(linear + 0.1 * constant, rel=1e-4)
    assert 0 < term(ANNEALINGS["t/T"], rows=1) < linear
    plain = IdeNetPhase(toy.unets[0], toy.base, toy.recogniser, IdeTraining(identity_weight=0))
    assert set(plain.loss(batch, torch.Generator())) == {"noise"}


def test_one_time_step_may_be_trained_alone(toy: ToyInstantPortrait) -> None:
    """As the student begins: from pure noise, so that its loss is what one step misses the target by."""
    batch, asked = toy.batch(0), []
    handle = toy.unets[0].register_forward_pre_hook(lambda module, given: asked.append(given[1]))
    phase = IdeNetPhase(toy.unets[0], toy.base, at=T_MAX, settings=IdeTraining(0, drop_text=0, drop_both=0))
    loss = phase.loss(batch, torch.Generator().manual_seed(3))["noise"]
    handle.remove()
    assert [at.tolist() for at in asked] == [[T_MAX] * 3]
    scheduler = ddim(toy.base.scheduler, 1)
    assert scheduler.config.prediction_type == "v_prediction" and scheduler.alphas_cumprod[-1] < 1e-6
    noise = draw(batch["latents"].shape, torch.Generator().manual_seed(3))
    found = one_step(toy.unets[0], scheduler, noise, batch["image_latents"], batch["text"])
    assert torch.allclose(loss, (found - batch["latents"]).square().mean(), rtol=1e-3)


def test_places_that_change_count_more(toy: ToyInstantPortrait) -> None:
    before = torch.zeros(2, 3, 32, 32)
    after = before.clone()
    after[0, :, :8, :8] = 0.2  # a cell of 4 x 4; the second picture stays as it was
    after[0, :, 8:16, :8] = 0.04
    places = changed_places(before, after, (4, 4))
    assert places[0, 0, 0, 0] == 1 and places.sum() == 1

    batch = toy.batch(0)
    batch["pixels_before"], batch["pixels_after"] = before, after
    batch |= {name: batch[name][:2] for name in ("latents", "image_latents", "text")}
    batch["latents"] = torch.zeros(2, batch["latents"].shape[1], 4, 4)
    batch["image_latents"] = torch.zeros(2, batch["image_latents"].shape[1], 4, 4)
    settings = IdeTraining(0, drop_text=0, drop_both=0, drop_image=0)
    phase = IdeNetPhase(toy.unets[0], toy.base, settings=settings, at=T_MAX)

    def noise(share: float) -> float:
        with torch.no_grad():
            weighed = dataclasses.replace(phase, change_share=share)
            return float(weighed.loss(batch, torch.Generator().manual_seed(1))["noise"])

    answers: list[torch.Tensor] = []
    handle = toy.unets[0].register_forward_hook(lambda module, given, found: answers.append(found.sample))
    noise(0.0)
    handle.remove()
    _, drawn, at = noised(phase._scheduler, batch["latents"], torch.Generator().manual_seed(1), T_MAX)
    error = (answers[0] - prediction_target(phase._scheduler, batch["latents"], drawn, at)).square().mean(1)
    assert noise(0.0) == pytest.approx(float(error.mean()), rel=1e-5)
    rest = (error[0].sum() - error[0, 0, 0]) / 15
    of_first = (error[0, 0, 0] + rest) / 2  # the one cell that changes counts as much as the others together
    assert noise(0.5) == pytest.approx(float((of_first + error[1].mean()) / 2), rel=1e-5)


def test_a_change_counts_its_share_however_small() -> None:
    changed = torch.zeros(4, 1, 16, 16)
    changed[0, 0, :4, :4] = 1  # a sixteenth
    changed[1, 0, 0, 0] = 1  # less than may be made up for
    changed[2, 0, :12] = 1  # more than its share
    weight = place_weight(changed, 0.5)
    assert torch.allclose(weight.mean((1, 2, 3)), torch.ones(4))
    of_changed = (weight * changed).sum((1, 2, 3)) / 256
    assert of_changed.tolist() == pytest.approx([0.5, 16 / 256, 0.75, 0.0])
    assert torch.equal(weight[3], torch.ones(1, 16, 16))
    assert torch.equal(place_weight(torch.ones(1, 1, 4, 4), 0.5), torch.ones(1, 1, 4, 4))


def test_a_compiled_unet_gives_the_same_loss(toy: ToyInstantPortrait) -> None:
    """What is compiled is no ordinary module: asking it for its truth fails."""
    plain = IdeNetPhase(toy.unets[0], toy.base)
    compiled = dataclasses.replace(plain, forward=torch.compile(toy.unets[0], backend="eager"))
    with torch.no_grad():
        losses = [p.loss(toy.batch(0), torch.Generator().manual_seed(1))["noise"] for p in (plain, compiled)]
    assert torch.equal(losses[0], losses[1])


def test_the_students_loss_moves_nobody_else(toy: ToyInstantPortrait) -> None:
    student, teacher = toy.unets[1:]
    stage = DistillStage(150, 200, triplet=1.0, inversion=True)
    phase = IpNetPhase(
        student, teacher, toy.discriminator, toy.backbone, toy.base, stage, margin=-1.0, crop_px=32
    )
    for module in (student, teacher, toy.discriminator, toy.backbone):
        module.zero_grad()
    terms = phase.loss(toy.batch(0), torch.Generator().manual_seed(0))
    assert set(terms) == {"adversarial", "distill", "triplet"}
    sum(terms.values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    for other in (teacher, toy.discriminator, toy.backbone):
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in other.parameters())
    assert all(p.requires_grad for p in toy.discriminator.parameters())


def test_distillation_is_zero_where_the_teacher_agrees(toy: ToyInstantPortrait) -> None:
    """A teacher that sees through any noise to the student's own picture has nothing to teach."""
    student = toy.unets[1]
    batch = toy.batch(0)
    scheduler = ddim(toy.base.scheduler, 1)
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        noise = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(3))
        clean = one_step(student, scheduler, noise, batch["image_latents"], batch["text"])

    class Agrees(torch.nn.Module):
        def forward(
            self, seen: torch.Tensor, at: torch.Tensor, encoder_hidden_states: torch.Tensor
        ) -> object:
            abar = scheduler.alphas_cumprod[at].view(-1, 1, 1, 1)
            noisy = seen[:, : clean.shape[1]]
            hidden = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
            kind = scheduler.config.prediction_type
            velocity = abar.sqrt() * hidden - (1 - abar).sqrt() * clean
            return SimpleNamespace(sample=hidden if kind == "epsilon" else velocity)

    for space in ("pixel", "latent"):
        stage = DistillStage(400, 800, adversarial=0, space=space)
        phase = IpNetPhase(student, Agrees(), toy.discriminator, toy.backbone, toy.base, stage)
        terms = phase.loss(batch, source.manual_seed(3))
        assert set(terms) == {"distill"}
        assert terms["distill"] < 1e-5


def test_only_steps_up_to_tau_are_inverted_row_by_row(toy: ToyInstantPortrait) -> None:
    student, teacher = toy.unets[1:]
    batch = toy.batch(0)
    asked: list[tuple[torch.Tensor, list[int]]] = []

    class Listens(torch.nn.Module):
        def forward(self, seen: torch.Tensor, at: torch.Tensor, **more: torch.Tensor) -> object:
            asked.append((seen[:, : batch["latents"].shape[1]], at.tolist()))
            return teacher(seen, at, **more)

    def of(low: int, high: int, inversion: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the teacher is asked about, the student's latents inverted, and noised."""
        asked.clear()
        stage = DistillStage(low, high, adversarial=0, inversion=inversion, space="latent")
        phase = IpNetPhase(student, Listens(), toy.discriminator, toy.backbone, toy.base, stage)
        source = torch.Generator().manual_seed(4)
        with torch.no_grad():
            phase.loss(batch, source)
            clean, _ = phase.edited(batch, source.manual_seed(4))
            at = torch.randint(low, high + 1, (len(clean),), generator=source)
            noise = draw(clean.shape, source)
            image, text = batch["image_latents"], batch["text"]
            back = inverted(lambda x, t: phase._asked(x, t, image, text), phase._scheduler, clean, at)
        asked.pop()  # by hand
        assert asked[-1][1] == at.tolist()
        return asked[-1][0], back, add_noise(phase._scheduler, clean, noise, at)

    seen, back, noised_ = of(200, 200)
    assert len(asked) == 2 and torch.allclose(seen, back, atol=1e-5)
    assert not torch.allclose(back, noised_, atol=0.1)
    seen, back, noised_ = of(201, 201)
    assert len(asked) == 1 and torch.allclose(seen, noised_, atol=1e-6)
    seen, back, noised_ = of(200, 200, inversion=False)
    assert len(asked) == 1 and torch.allclose(seen, noised_, atol=1e-6)
    seen, back, noised_ = of(100, 300)
    low = torch.tensor(asked[-1][1]) <= 200
    assert low.any() and not low.all(), "both kinds are in this batch"
    assert asked[0][1] == torch.tensor(asked[1][1])[low].tolist(), "the teacher inverts those rows alone"
    assert torch.allclose(seen[low], back[low], atol=1e-5)
    assert torch.allclose(seen[~low], noised_[~low], atol=1e-6)


def test_the_teacher_answers_by_the_guidance_it_paints_with(toy: ToyInstantPortrait) -> None:
    student, teacher = toy.unets[1:]
    phase = IpNetPhase(student, teacher, toy.discriminator, toy.backbone, toy.base, DistillStage(400, 800))
    batch, times = toy.batch(0), torch.tensor([400, 600, 800])
    given = batch["latents"], times, batch["image_latents"], batch["text"]
    nothing = encode_prompts(toy.base, [""]).rows.expand_as(batch["text"])

    def asked(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([batch["latents"], image], dim=1)
        return teacher(seen, times, encoder_hidden_states=text).sample

    with torch.no_grad():
        without = asked(torch.zeros_like(batch["image_latents"]), nothing)
        with_image, with_both = (asked(batch["image_latents"], text) for text in (nothing, batch["text"]))
        bare = phase._guided(*given)
        guided = dataclasses.replace(phase, guidance=4.0, image_guidance=2.0)._guided(*given)
    assert torch.allclose(bare, with_both, atol=1e-5)
    by_hand = without + 2 * (with_image - without) + 4 * (with_both - with_image)
    assert torch.allclose(guided, by_hand, atol=1e-4)
    assert not torch.allclose(guided, bare, atol=1e-2)


def test_the_discriminator_sees_what_the_student_has_just_painted(toy: ToyInstantPortrait) -> None:
    student, teacher = toy.unets[1:]
    phase = IpNetPhase(
        student, teacher, toy.discriminator, toy.backbone, toy.base, DistillStage(400, 800), crop_px=32
    )
    heads = DiscriminatorPhase(toy.discriminator, phase)
    source = torch.Generator()
    painted: list[int] = []
    handle = student.register_forward_hook(lambda *seen: painted.append(1))
    batch, other = toy.batch(0), toy.batch(1)
    first = heads.loss(batch, source.manual_seed(0))
    assert len(painted) == 1, "nothing has been painted yet"
    phase.loss(batch, source.manual_seed(5))
    assert len(painted) == 2
    reused = heads.loss(batch, source.manual_seed(0))
    assert len(painted) == 2
    assert reused["_fake"] != first["_fake"], "another noise than its own"
    heads.loss(other, source.manual_seed(0))
    assert len(painted) == 3, "pictures of another batch are of no use"
    handle.remove()


# --- editing ----------------------------------------------------------------------------------------------


def test_one_step_is_one_look(
    toy: ToyInstantPortrait, pipeline: InstantPortraitPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    forward = pipeline.unet.forward

    def count(seen: torch.Tensor, *rest: object, **more: object) -> object:
        looks.append(len(seen))
        return forward(seen, *rest, **more)

    monkeypatch.setattr(pipeline.unet, "forward", count)
    seen: list[tuple[int, int]] = []
    request = PortraitRequest("a hat", (picture(0),), size_px=(64, 64), steps=1)
    pipeline([request], on_step=lambda *at: seen.append(at))
    assert (looks, seen) == ([1], [(1, 1)])
    looks.clear()
    pipeline([dataclasses.replace(request, options={"style": 1.5})])
    assert looks == [2]
    looks.clear()
    pipeline([dataclasses.replace(request, steps=3)])
    assert looks == [3, 3, 3]


def test_words_of_instructions_are_known(pipeline: InstantPortraitPipeline) -> None:
    request = PortraitRequest("make the hat a zebra", (picture(0),), size_px=(64, 64), steps=1)
    [result] = pipeline([request])
    assert result.warnings == ("The mini base does not know 'zebra'.",)


@pytest.mark.parametrize("steps", [1, 2])
def test_through_openvino_the_picture_is_the_same(toy: ToyInstantPortrait, steps: int) -> None:
    toy.save(toy.folder.parent / "plain-editor")
    fast = load(toy.folder, toy.folder.parent / "plain-editor", device="openvino")
    assert fast.base.runtime == "openvino"
    fast.unet._converted.precision = fast.base.vae._converted.precision = "f32"
    for options in ({}, {"style": 1.5}):
        told = edited(toy.pipeline(), steps=steps, options=options).astype(int)
        found = edited(fast, steps=steps, options=options).astype(int)
        assert np.abs(told - found).max() <= 1
        assert found.std() > 1
    assert fast.unet._converted._known, "the editor itself has been compiled"


def test_style_runs_from_no_words_to_more_of_them(pipeline: InstantPortraitPipeline) -> None:
    for steps in (1, 3):
        none = edited(pipeline, steps=steps, guidance=4.0, options={"style": 0.0})
        plain = edited(pipeline, prompt="", steps=steps, guidance=4.0, options={"style": 0.0})
        assert np.abs(none.astype(int) - plain.astype(int)).max() <= 1
    none = edited(pipeline, options={"style": 0.0})
    assert np.abs(none.astype(int) - edited(pipeline, prompt="").astype(int)).max() <= 1
    one = edited(pipeline)
    assert not np.array_equal(one, none)
    assert not np.array_equal(edited(pipeline, options={"style": 2.0}), one)
    assert not np.array_equal(edited(pipeline, steps=3, options={"style": 2.0}), edited(pipeline, steps=3)), (
        "in several steps too"
    )


def test_style_boost_feeds_the_output_in_again(pipeline: InstantPortraitPipeline) -> None:
    seen: list[tuple[int, int]] = []
    request = PortraitRequest(
        "a hat", (picture(0),), size_px=(64, 64), steps=1, options={"style_boost": True}
    )
    boosted = np.asarray(pipeline([request], on_step=lambda *at: seen.append(at))[0].image, np.int16)
    assert seen == [(1, 2), (2, 2)]
    once = edited(pipeline, prompt="a hat")
    again = edited(pipeline, prompt="a hat", references=(Image.fromarray(once),)).astype(np.int16)
    assert np.abs(boosted - again).mean() < 1, "but for the rounding to bytes between"
    assert np.abs(boosted - once).mean() > 1


def test_a_guide_too_says_what_there_is_without_picture_and_words(tmp_path: Path) -> None:
    toy = ToyInstantPortrait(tiny.write_guide(tiny.write_mini(tmp_path / "mini")))
    plain = InstantPortraitPipeline(
        dataclasses.replace(toy.base, guide=None), toy.unets[0], EditSettings("mini", "ide-net", steps=4)
    )

    def without_picture(
        latents: torch.Tensor, timestep: torch.Tensor, rows: torch.Tensor, added_cond_kwargs: None
    ) -> Any:
        return toy.unets[0](torch.cat([latents, torch.zeros_like(latents)], dim=1), timestep, rows)

    own = InstantPortraitPipeline(
        dataclasses.replace(toy.base, guide=without_picture), toy.unets[0], plain.settings
    )
    several = {"steps": 3, "guidance": 4.0, "options": {"image_guidance": 2.0}}
    assert np.abs(edited(plain, **several).astype(int) - edited(own, **several)).max() <= 1
    guided = InstantPortraitPipeline(toy.base, toy.unets[0], plain.settings)
    assert not np.array_equal(edited(plain, **several), edited(guided, **several))
    roles = [
        {weights.role for weights in one.provenance.weights}
        for one in guided([PortraitRequest("a hat", (picture(0),), steps=steps) for steps in (1, 2)])
    ]
    assert ["guide" in one for one in roles] == [False, True]


def test_a_lora_of_the_base_is_refused(toy: ToyInstantPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path / "editor")
    with pytest.raises(InputError, match="no LoRA"):
        load(toy.base, tmp_path / "editor", loras={"x.safetensors": 1.0})


@pytest.mark.parametrize("size", [(72, 56), (128, 72), (64, 64)])
def test_sizes_are_multiples_of_eight(pipeline: InstantPortraitPipeline, size: tuple[int, int]) -> None:
    assert edited(pipeline, size_px=size).shape == (size[1], size[0], 3)


def test_a_picture_keeps_its_shape(pipeline: InstantPortraitPipeline) -> None:
    wide = picture(0).resize((320, 180))
    height, width = edited(pipeline, references=(wide,), size_px=None).shape[:2]
    assert width * height == pytest.approx(pipeline.base.size_px**2, rel=0.1)
    assert width / height == pytest.approx(16 / 9, rel=0.15)


@pytest.mark.parametrize("size", [(128, 72), (72, 128)])
def test_of_another_shape_the_middle_is_edited(
    pipeline: InstantPortraitPipeline, size: tuple[int, int]
) -> None:
    width, height = (side * SIDE_PX // max(size) for side in size)
    left, top = (SIDE_PX - width) // 2, (SIDE_PX - height) // 2
    middle = picture(0).crop((left, top, left + width, top + height))
    squeezed = picture(0).resize(size, Image.Resampling.LANCZOS)
    cut, alike, other = (
        edited(pipeline, references=(one,), size_px=size).astype(float)
        for one in (picture(0), middle, squeezed)
    )
    assert np.abs(cut - alike).mean() < 1
    assert np.abs(cut - other).mean() > 3


def test_the_background_can_be_kept(toy: ToyInstantPortrait, pipeline: InstantPortraitPipeline) -> None:
    class RightHalf(ParserNet):
        def parse(self, pictures: torch.Tensor) -> torch.Tensor:
            labels = torch.zeros(1, *pictures.shape[-2:], dtype=torch.uint8)
            labels[..., pictures.shape[-1] // 2 :] = 1
            return labels

    parsing = InstantPortraitPipeline(toy.base, pipeline.unet, pipeline.settings, parser=RightHalf(width=12))
    before = np.asarray(picture(0).resize((72, 72), Image.Resampling.LANCZOS))
    after = edited(parsing, size_px=(72, 72))
    kept = edited(parsing, size_px=(72, 72), options={"keep_background": True})
    # padded to 80 px for the parser, so its right half begins at 40
    assert np.array_equal(kept[:, :32], before[:, :32])
    assert np.array_equal(kept[:, 48:], after[:, 48:])
    with pytest.raises(InputError, match="needs a face parser"):
        edited(pipeline, options={"keep_background": True})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (PortraitRequest("a hat", (picture(0), picture(1))), "got 2"),
        (PortraitRequest("a hat", (picture(0),), size_px=(64, 60)), "multiples of 8"),
        (PortraitRequest("a hat", (picture(0),), people=(Person((picture(0),)),)), "takes no people"),
        (PortraitRequest("a hat", (picture(0),), options={"style": -1}), "style"),
        (PortraitRequest("a hat", (picture(0),), guidance=0.5), "guidance must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_is_named(
    pipeline: InstantPortraitPipeline, request_: PortraitRequest, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        pipeline([request_])


def test_a_packs_teacher_paints_what_takes_several_steps(tmp_path: Path) -> None:
    toy = ToyInstantPortrait(tiny.write_mini(tmp_path / "mini"))
    assert toy.base.folder is not None
    own = toy.base.folder / "adapters"
    save_editor(toy.unets[0], EditSettings("mini", "ide-net", steps=4), own / "instant-portrait-teacher")
    only = load(toy.base)
    [painted] = only([PortraitRequest("a hat", (picture(0),))])
    assert (painted.provenance.recipe["stage"], painted.provenance.recipe["steps"]) == ("ide-net", 4)
    save_editor(toy.unets[1], EditSettings("mini", "ipnet", steps=1), own / "instant-portrait")
    both = load(toy.base)
    found = both([PortraitRequest("a hat", (picture(0),), steps=n) for n in (None, 2, 3)])
    assert [one.provenance.recipe["stage"] for one in found] == ["ipnet", "ipnet", "ide-net"]
    editors = [{w.sha256 for w in one.provenance.weights if w.role == "editing UNet"} for one in found]
    assert editors[0] == editors[1] != editors[2] and all(len(one) == 1 for one in editors)
    for int8 in (True, False):
        folder = own / "instant-portrait"
        save_editor(toy.unets[1], EditSettings("mini", "ipnet", steps=1), folder, int8=int8)
        assert len(list((folder / "unet").glob("*.safetensors"))) == 1  # never two that may differ
    alone = load(toy.base, own / "instant-portrait")
    [painted] = alone([PortraitRequest("a hat", (picture(0),), steps=3)])
    assert painted.provenance.recipe["stage"] == "ipnet"  # who names one gets it


def test_files_that_do_not_fit_are_refused(
    toy: ToyInstantPortrait, sd15: ToyInstantPortrait, tmp_path: Path
) -> None:
    toy.save(tmp_path / "editor")
    unet, settings, record = load_editor(tmp_path / "editor", toy.base)
    assert settings.steps == 4
    assert (record.role, record.licence) == ("editing UNet", "Apache-2.0")
    assert not any(p.requires_grad for p in unet.parameters())
    with pytest.raises(IncompatibleWeightsError, match="is for mini"):
        load_editor(tmp_path / "editor", sd15.base)
    (tmp_path / "editor" / "config.json").write_text('{"family": "mini", "no such": 1}')
    with pytest.raises(IncompatibleWeightsError, match="not InstantPortrait's"):
        load_editor(tmp_path / "editor", toy.base)
    with pytest.raises(MissingWeightsError, match="adapters/instant-portrait"):
        load(toy.base)
    with pytest.raises(InputError, match="no ControlNet"):
        load(toy.base, tmp_path / "editor", controlnets=["x"])


def test_published_weights_have_no_config_of_ours(sd15: ToyInstantPortrait, tmp_path: Path) -> None:
    sd15.unets[0].save_pretrained(tmp_path / "pix2pix" / "unet")
    pipeline = load(sd15.base, tmp_path / "pix2pix")
    assert pipeline.settings == PUBLISHED
    [result] = pipeline([PortraitRequest("a hat", (picture(0),), size_px=(64, 64), steps=2)])
    assert result.provenance.recipe["guidance"] == 7.5
    assert {one.role for one in result.provenance.weights} >= {"vae", "text_encoder", "editing UNet"}
    assert "unet" not in {one.role for one in result.provenance.weights}
    assert T_MAX == 999


def test_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not on sdxl"):
        load(tiny.write_sdxl(tmp_path / "sdxl"))
