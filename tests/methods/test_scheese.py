"""SCheese: each formula against numbers worked by hand or by plain loops, then what the pipeline does."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from safetensors.torch import save_file
from torch import Tensor

from likeness.diffusion.attention import attached
from likeness.diffusion.channels import with_input_channels
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.shapes import unet_of
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.weights import read_metadata
from likeness.methods.scheese import config
from likeness.methods.scheese.attention import FusedAttnProcessor, ReferenceAttnProcessor
from likeness.methods.scheese.config import SIZES, VARIANTS, SCheeseTraining, Variant
from likeness.methods.scheese.losses import alignment_loss, noise_loss
from likeness.methods.scheese.model import FusionProjection, SCheese, consistency_net, features_of
from likeness.methods.scheese.pipeline import SCheesePipeline, load
from likeness.methods.scheese.plan import memory_plan
from likeness.methods.scheese.training import SCheesePhase
from likeness.methods.scheese.weights import begin_from_ip_adapter, load_adapter
from likeness.training import Budget, train
from tests import tiny
from tests.methods.toys import ToySCheese, picture, scheese_sizes


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToySCheese:
    return ToySCheese(tiny.write_mini(tmp_path_factory.mktemp("scheese") / "mini"))


@pytest.fixture(scope="module")
def pipeline(toy: ToySCheese) -> SCheesePipeline:
    found = toy.pipeline()
    assert isinstance(found, SCheesePipeline)
    return found


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """One picture, head by head and row by row: (P, C), (S, C), (S, C) -> (P, C)."""
    out = torch.zeros_like(q)
    width = q.shape[1] // heads
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for row in range(len(q)):
            weights = torch.softmax(k[:, part] @ q[row, part] / math.sqrt(width), dim=0)
            out[row, part] = weights @ v[:, part]
    return out


def test_alignment_is_the_divergence_over_channels() -> None:
    fused = torch.tensor([[[0.0, math.log(3)]]], requires_grad=True)  # soft-maxed: 1/4 and 3/4
    target = torch.tensor([[[2.0, 2.0]]], requires_grad=True)  # 1/2 and 1/2
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    found = alignment_loss(fused, target)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    found.backward()
    assert fused.grad is not None
    assert fused.grad.abs().sum() > 0
    assert target.grad is None, "the target is what is aimed at, it does not come nearer itself"
    both = torch.cat([fused, target], dim=1)
    other = torch.cat([target, target], dim=1)
    assert alignment_loss(both, other).item() == pytest.approx(expected / 2, abs=1e-6), "a mean over tokens"
    assert alignment_loss(target, target + 5).item() == pytest.approx(0, abs=1e-6)
    assert noise_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])).item() == 2.5
    prediction = torch.tensor([1.0, 2.0, 1.0, 2.0]).view(1, 2, 1, 2)  # two channels of two places
    weight = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    assert noise_loss(prediction, torch.zeros(1, 2, 1, 2), weight).item() == (1 * 1 + 3 * 4) / 4


def test_decoupled_cross_attention_adds_the_fused_tokens() -> None:
    torch.manual_seed(0)
    attn = Attention(query_dim=4, cross_attention_dim=6, heads=2, dim_head=2)
    layer = FusedAttnProcessor(attn, tokens=2)
    assert torch.equal(layer.to_k_ip.weight, attn.to_k.weight), "begins as the text's"
    with torch.no_grad():
        layer.to_v_ip.weight.mul_(-0.5)
    x, rows = torch.randn(1, 3, 4), torch.randn(1, 5 + 2, 6)
    layer.scale = 0.7
    text, fused = rows[0, :5], rows[0, 5:]
    q = x[0] @ attn.to_q.weight.T
    by_text = attention(q, text @ attn.to_k.weight.T, text @ attn.to_v.weight.T, 2)
    by_fused = attention(q, fused @ layer.to_k_ip.weight.T, fused @ layer.to_v_ip.weight.T, 2)
    expected = attn.to_out[0](by_text + 0.7 * by_fused)
    assert torch.allclose(layer(attn, x, rows)[0], expected, atol=1e-6)
    nothing = torch.cat([rows[:, :5], torch.zeros(1, 2, 6)], dim=1)
    plain = AttnProcessor2_0()(attn, x, rows[:, :5])
    assert torch.allclose(layer(attn, x, nothing), plain, atol=1e-6), "zero tokens add nothing"
    layer.kept = []
    assert torch.equal(layer(attn, x, rows), layer(attn, x, rows))
    assert len(layer.kept) == 1, "keys of the same states are computed once"


def test_the_reference_is_averaged_with_self_attention() -> None:
    torch.manual_seed(1)
    attn = Attention(query_dim=4, heads=2, dim_head=2)
    layer = ReferenceAttnProcessor(attn)
    x, seen = torch.randn(2, 3, 4), torch.randn(1, 5, 4)
    plain = AttnProcessor2_0()(attn, x)
    assert torch.equal(layer(attn, x), plain), "without a reference it is the base's layer, bit for bit"
    layer.keys = layer.keys_of(x)
    assert torch.allclose(layer(attn, x), plain, atol=1e-6), "begins as a copy of self-attention"
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    layer.keys = layer.keys_of(seen)
    found = layer(attn, x)
    for one in range(2):
        q = x[one] @ layer.to_q.weight.T
        looked = attention(q, seen[0] @ layer.to_k.weight.T, seen[0] @ layer.to_v.weight.T, 2)
        assert torch.allclose(found[one], (plain[one] + layer.to_out(looked)) / 2, atol=1e-6)
    layer.scale = 0.5
    assert torch.allclose(layer(attn, x), 0.5 * plain + 0.5 * found, atol=1e-6), "half of the way"
    layer.scale, layer.rows = 1.0, torch.tensor([False, True])
    assert torch.equal(layer(attn, x)[0], plain[0]), "a row that does not see it is the base's"
    assert torch.allclose(layer(attn, x)[1], found[1], atol=1e-6)
    layer.rows = torch.tensor([False, False])
    assert torch.equal(layer(attn, x), plain), "a batch in which nobody sees it"


def test_words_join_the_image_tokens_behind_them(toy: ToySCheese) -> None:
    torch.manual_seed(2)
    sizes = scheese_sizes(toy.base)
    fusion = FusionProjection(sizes)
    image, text = torch.randn(2, 17, 32), torch.randn(2, 77, sizes.text_width)
    assert torch.equal(fusion(image), fusion.image_proj(image))
    words = text @ fusion.words.weight.T + fusion.words.bias
    expected = fusion.image_proj(torch.cat([image, words], dim=1))
    assert torch.allclose(fusion(image, text), expected, atol=1e-5)
    assert fusion(image, text).shape == (2, sizes.queries, sizes.text_width)
    wide = torch.cat([torch.randn(2, 77, 9), text], dim=2)
    assert torch.equal(fusion(image, wide), fusion(image, text)), "of two encoders' rows the last columns"


def test_consistency_net_of_an_inpainting_model_reads_the_latents_alone(toy: ToySCheese) -> None:
    latent = toy.base.unet.config.in_channels
    inpainting = with_input_channels(toy.base.unet, 2 * latent + 1)
    with torch.no_grad():
        inpainting.conv_in.weight[:, latent:] = 7.0
    net = consistency_net(inpainting)
    assert net.config.in_channels == latent
    assert torch.equal(net.conv_in.weight, toy.base.unet.conv_in.weight)
    assert net is not toy.base.unet
    latents, text = torch.randn(2, latent, 8, 8), torch.randn(1, 77, toy.base.text_width)
    found = features_of(net, latents, text)

    seen: dict[str, Tensor] = {}

    class Listening(AttnProcessor2_0):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def __call__(self, attn: Attention, x: Tensor, *given: object, **more: object) -> Tensor:
            seen[self.path] = x
            return super().__call__(attn, x, *given, **more)  # type: ignore[no-any-return]

    paths = [name for name in net.attn_processors if "attn1" in name]
    with attached(net, {name: Listening(name.removesuffix(".processor")) for name in paths}):
        net(latents, torch.zeros(2).long(), text.expand(2, -1, -1))
    assert found.keys() == seen.keys()
    assert all(torch.allclose(found[path], seen[path], atol=1e-6) for path in found)


def test_variants_are_the_rows_of_the_ablation(toy: ToySCheese) -> None:
    assert list(VARIANTS) == ["zero-shot", "sft", "consistency", "fusion", "alignment", "scheese"]
    assert VARIANTS["scheese"] == Variant(True, True, True, 1.0, 0.35)
    rows = list(VARIANTS.values())
    for one, more in pairwise(rows):
        changed = [name for name in Variant.__slots__ if getattr(one, name) != getattr(more, name)]
        assert len(changed) == 1, "each row adds one thing"
    terms = {}
    for name, has in VARIANTS.items():
        adapter = SCheese(scheese_sizes(toy.base, name), toy.base.unet)
        assert (adapter.consistency_net is not None) == has.consistency
        assert hasattr(adapter.fusion, "words") == has.fusion
        terms[name] = set(
            SCheesePhase(adapter, toy.base).loss(toy.batch(0), torch.Generator().manual_seed(0))
        )
    assert [name for name, found in terms.items() if "alignment" in found] == ["alignment", "scheese"]
    with pytest.raises(IncompatibleWeightsError, match="no variant 'other'"):
        _ = scheese_sizes(toy.base, "other").has


def test_teacher_forcing_puts_the_targets_tokens_in(toy: ToySCheese, monkeypatch: pytest.MonkeyPatch) -> None:
    always = SCheeseTraining(drop_words=0, drop_details=0)

    def noise(p: float, change: str) -> tuple[float, float]:
        monkeypatch.setitem(config.VARIANTS, "scheese", Variant(teacher_forcing=p))
        phase = SCheesePhase(toy.adapter, toy.base, settings=always)
        found = []
        for factor in (1.0, -1.0):
            batch = toy.batch(0)
            batch[change] = factor * batch[change]
            found.append(phase.loss(batch, torch.Generator().manual_seed(0))["noise"].item())
        return found[0], found[1]

    same, other = noise(1.0, "reference_states")
    assert same == other, "always forced, the reference's tokens are never read"
    assert len(set(noise(1.0, "target_states"))) == 2
    assert len(set(noise(0.0, "reference_states"))) == 2
    same, other = noise(0.0, "target_states")
    assert same == other, "never forced, the target is not read by the denoising net"


class Colours(torch.nn.Module):
    """A recogniser that tells aligned faces by their colours, place by place."""

    def forward(self, aligned: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(aligned, 14).flatten(1), dim=1)


def test_the_person_may_weigh_more_and_be_looked_at_by_a_recogniser(toy: ToySCheese) -> None:
    """Neither is the paper's, and neither changes its losses where it is left out."""
    batch = toy.batch(0)
    batch["id_embedding"] = torch.nn.functional.normalize(torch.randn(4, 192), dim=1)
    batch["face_affine"] = torch.tensor([[0.5, 0, 0], [0, 0.5, 0]]).expand(4, -1, -1)
    batch["person_mask"] = torch.zeros(4, 8, 8)
    batch["person_mask"][:, :4] = 1.0
    adapter = SCheese(scheese_sizes(toy.base), toy.base.unet)

    def terms(**settings: Any) -> dict[str, Tensor]:
        phase = SCheesePhase(adapter, toy.base, **settings)
        return phase.loss(batch, torch.Generator().manual_seed(0))

    plain, weighed = terms(), terms(face_weight=1e6)
    assert set(plain) == {"noise", "alignment"}
    assert weighed["noise"] != plain["noise"]
    batch["latents"][:, :, 5:] += 1.0  # away from the person
    moved = terms(face_weight=1e6)["noise"].item(), terms()["noise"].item()
    assert abs(moved[0] - weighed["noise"].item()) < abs(moved[1] - plain["noise"].item()) / 10
    found = terms(recogniser=Colours(), identity_weight=0.5)
    assert found["identity"].item() == pytest.approx(0.5 * found["_unlike"].item())
    found["identity"].backward()
    assert adapter.consistency_net is not None
    assert max(p.grad.abs().max() for p in adapter.consistency_net.parameters() if p.grad is not None) > 0


def test_losses_fall(toy: ToySCheese, tmp_path: Path) -> None:
    torch.manual_seed(0)
    adapter = SCheese(scheese_sizes(toy.base), toy.base.unet)
    phase = SCheesePhase(adapter, toy.base, learning_rate=3e-3)
    before = {key: t.clone() for key, t in toy.base.unet.state_dict().items()}

    def losses() -> dict[str, float]:
        with torch.no_grad():
            found = [phase.loss(toy.batch(0), torch.Generator().manual_seed(s)) for s in range(4)]
        return {name: float(np.mean([one[name].item() for one in found])) for name in found[0]}

    start = losses()
    train([phase], lambda moment: toy.batch(0), tmp_path, Budget(steps=25), bf16=False, ema_decay=None)
    end = losses()
    assert end["noise"] < 0.985 * start["noise"]
    assert end["alignment"] < 0.9 * start["alignment"]
    assert all(torch.equal(t, before[key]) for key, t in toy.base.unet.state_dict().items())


def test_computed_anew_on_the_way_back_the_step_is_the_same(tmp_path: Path) -> None:
    toy = ToySCheese(tiny.write_mini(tmp_path / "mini"))
    [phase] = toy.phases()
    start = {key: t.clone() for key, t in toy.adapter.state_dict().items()}
    found = []
    for name in ("kept", "anew"):
        toy.adapter.load_state_dict(start)
        train(
            [phase], lambda moment: toy.batch(0), tmp_path / name, Budget(steps=1), bf16=False, ema_decay=None
        )
        found.append({key: t.clone() for key, t in toy.adapter.state_dict().items()})
        toy.base.unet.enable_gradient_checkpointing()
        toy.base.unet.train()
    assert all(torch.allclose(t, found[1][key], atol=1e-6) for key, t in found[0].items())
    assert any(not torch.equal(t, start[key]) for key, t in found[1].items())


def test_a_guide_is_asked_without_reference_and_instruction(tmp_path: Path) -> None:
    toy = ToySCheese(tiny.write_guide(tiny.write_mini(tmp_path / "mini")))
    asked: list[tuple[Tensor, Tensor]] = []
    toy.base.guide.register_forward_pre_hook(lambda module, given: asked.append((given[0], given[2])))
    [with_one] = toy.pipeline()([toy.request(1)])
    nothing = encode_prompts(toy.base, [""]).rows
    assert len(asked) == with_one.provenance.recipe["steps"]
    assert all(len(latents) == 1 and torch.equal(rows, nothing) for latents, rows in asked)
    assert "guide" in {weights.role for weights in with_one.provenance.weights}

    [unguided] = toy.pipeline()([dataclasses.replace(toy.request(1), guidance=1.0)])
    assert len(asked) == with_one.provenance.recipe["steps"], "nothing is led away from"
    assert "guide" not in {weights.role for weights in unguided.provenance.weights}
    toy.base = dataclasses.replace(toy.base, guide=None)
    [without] = toy.pipeline()([toy.request(1)])
    assert not np.array_equal(np.asarray(with_one.image), np.asarray(without.image))


def test_features_once_equal_features_at_every_step(toy: ToySCheese, pipeline: SCheesePipeline) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    hook = pipeline.adapter.consistency_net.register_forward_hook(count)  # type: ignore[union-attr]
    try:
        own = picture(40)
        requests = [toy.request(seed, references=(own,)) for seed in (1, 2, 3)]
        once = pipeline(requests)
        assert calls == 1, "a collection reads its reference once"
        again = [toy.request(r.seed, references=(own,), options={"features": "per step"}) for r in requests]
        each = pipeline(again)
        assert calls == 1 + 3 * 3
    finally:
        hook.remove()
    for one, other in zip(once, each, strict=True):
        assert np.array_equal(np.asarray(one.image), np.asarray(other.image))


def test_without_both_strengths_it_is_the_base(toy: ToySCheese, pipeline: SCheesePipeline) -> None:
    off = {"identity_scale": 0, "detail_scale": 0}
    [ours] = pipeline([toy.request(5, options=off, guidance=3.0)])
    plain = paint_text(toy.base, [ours.request.prompt], [5], steps=3, guidance=3.0)
    levels = (plain[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(np.asarray(ours.image, np.float32) - levels).max() < 1.5
    for name in ("identity_scale", "detail_scale"):
        [other] = pipeline([toy.request(5, options={**off, name: 1}, guidance=3.0)])
        assert not np.array_equal(np.asarray(other.image), np.asarray(ours.image)), name


def test_guiding_the_details_is_another_picture_only_with_guidance(
    toy: ToySCheese, pipeline: SCheesePipeline
) -> None:
    def painted(guidance: float, guided: bool) -> np.ndarray:
        [one] = pipeline([toy.request(3, guidance=guidance, options={"guide_details": guided})])
        return np.asarray(one.image)

    assert not np.array_equal(painted(4.0, True), painted(4.0, False))
    assert np.array_equal(painted(1.0, True), painted(1.0, False))


def test_words_of_instructions_are_known(toy: ToySCheese, pipeline: SCheesePipeline) -> None:
    [result] = pipeline(
        [toy.request(1, prompt="turn the head to the zebra", negative_prompt="a king", steps=1)]
    )
    assert result.warnings == ("The mini base does not know 'zebra', 'king'.",)


def test_files_say_what_they_are(toy: ToySCheese, tmp_path: Path) -> None:
    toy.save(tmp_path / "adapter")
    assert read_metadata(tmp_path / "adapter" / "model.safetensors")["licence"] == "Apache-2.0"
    adapter, record = load_adapter(tmp_path / "adapter", toy.base)
    assert (record.role, record.licence) == ("adapter", "Apache-2.0")
    assert not any(p.requires_grad for p in adapter.parameters())
    with pytest.raises(MissingWeightsError, match=r"needs config\.json"):
        load_adapter(tmp_path, toy.base)
    with pytest.raises(MissingWeightsError, match="--part scheese"):
        load(toy.base)
    with pytest.raises(MissingWeightsError, match="for toy yet: train them with `likeness train scheese"):
        load(replace(toy.base, family="sdxl", name="toy"))
    with pytest.raises(InputError, match="no ControlNet"):
        load(toy.base, tmp_path / "adapter", controlnets=["x"])
    text = (tmp_path / "adapter" / "config.json").read_text()
    for old, new, said in (
        ('"mini"', '"sdxl"', "is for sdxl"),
        ("SCheese", "Other", "holds a Other"),
        ('"scheese"', '"cheese"', "no variant 'cheese'"),
        ('"queries": 3', '"queries": 4', "does not fit"),
    ):
        (tmp_path / "adapter" / "config.json").write_text(text.replace(old, new))
        with pytest.raises(IncompatibleWeightsError, match=said):
            load_adapter(tmp_path / "adapter", toy.base)


def test_training_begins_from_a_published_ip_adapter(toy: ToySCheese, tmp_path: Path) -> None:
    """Of the published layout: `image_proj.*` and, numbered as the UNet's processors, `ip_adapter.N.*`."""
    source = toy.adapter
    tensors = {f"image_proj.{key}": t for key, t in source.fusion.image_proj.state_dict().items()}
    numbers = [i for i, name in enumerate(toy.base.unet.attn_processors) if ".attn2." in name]
    for number, layer in zip(numbers, source.cross, strict=True):
        tensors |= {f"ip_adapter.{number}.{key}": t for key, t in layer.state_dict().items()}
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, tmp_path / "plus.safetensors")
    fresh = SCheese(scheese_sizes(toy.base), toy.base.unet)
    words = fresh.fusion.words.weight.clone()
    begin_from_ip_adapter(fresh, tmp_path / "plus.safetensors")
    image = torch.randn(1, 17, 32)
    assert torch.equal(fresh.fusion(image), source.fusion(image))
    assert torch.equal(fresh.cross[1].to_k_ip.weight, source.cross[1].to_k_ip.weight)  # type: ignore[union-attr]
    assert torch.equal(fresh.fusion.words.weight, words), "what only SCheese has stays"
    save_file({"image_proj.latents": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(IncompatibleWeightsError, match="0 attention layers"):
        begin_from_ip_adapter(fresh, tmp_path / "other.safetensors")


def test_the_plan_counts_the_published_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = memory_plan("sdxl")
    parts = plan["parameters"]
    assert parts["denoising net"] == 2_567_463_684
    assert parts["ConsistencyNet"] == parts["denoising net"]
    # 70 transformer blocks: to_q, to_k, to_v, to_out with its bias, of 640 or 1280 channels.
    assert parts["reference attention"] == 10 * (4 * 640**2 + 640) + 60 * (4 * 1280**2 + 1280)
    # keys and values of the same width, from 2048 columns.
    assert parts["Fusion IP-Adapter's attention"] == 2 * 2048 * (10 * 640 + 60 * 1280)
    assert plan["reference_features"] == 2 * (10 * 64**2 * 640 + 60 * 32**2 * 1280)
    assert plan["parameters_trained"] == sum(list(parts.values())[:4])
    assert plan["train_gb"] == pytest.approx(
        (20 * plan["parameters_trained"] + 4 * sum(list(parts.values())[4:])) / 1e9, abs=1e-3
    ), "the frozen base is opened in single precision too"
    assert plan["paint_precision"] == "single", "as a CPU paints"
    assert plan["paint_gb"] == pytest.approx(
        4 * (sum(parts.values()) + plan["reference_features"]) / 1e9, abs=1e-3
    )
    unet_of("sdxl").save_config(tmp_path / "model" / "unet")
    assert memory_plan(tmp_path / "model")["parameters"] == parts, "a folder is of its family"
    with pytest.raises(InputError, match=r"no unet/config\.json"):
        memory_plan("nowhere")
    assert set(SIZES) == {"mini", "sd15", "sdxl"}
