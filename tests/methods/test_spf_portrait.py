"""SPF-Portrait beyond the contract: every formula by hand, what is trained, deltas and their files."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.diffusion.load import load_base
from likeness.diffusion.noise import generator
from likeness.diffusion.pixels import to_pictures, to_pixels
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.schedule import ddim, noised
from likeness.diffusion.text_to_image import denoise, paint_text
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.files.deltas import DELTA_KEY
from likeness.files.weights import sha256_of, write_safetensors
from likeness.methods.spf_portrait.attention import adapted, recording
from likeness.methods.spf_portrait.config import ABLATIONS, SpfTraining
from likeness.methods.spf_portrait.control_map import control_map, phrase_maps, similarity_share, soft_map
from likeness.methods.spf_portrait.losses import (
    LayerFeatures,
    attention_loss,
    direct_loss,
    feature_loss,
    resized_map,
    target_loss,
)
from likeness.methods.spf_portrait.map_sheet import overlaid
from likeness.methods.spf_portrait.pipeline import load
from likeness.methods.spf_portrait.text import (
    base_tokens,
    phrase_tokens,
    phrases_of,
    target_tokens,
    with_target,
)
from likeness.methods.spf_portrait.training import ContrastivePhase
from likeness.methods.spf_portrait.tuning import Tuning, changed, tuned_names
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, load_delta, save_delta
from likeness.types import PortraitRequest
from tests import tiny
from tests.methods.toys import ToySpfPortrait, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToySpfPortrait:
    return ToySpfPortrait(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


# --- the control map --------------------------------------------------------------------------------------


def test_the_soft_map_by_hand() -> None:
    response, reference = torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)
    response[0, :, 0] = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, 4.0]])
    # mean over channels 0, 1, 3 -> 0, 1/3, 1
    assert torch.allclose(soft_map(response, reference), torch.tensor([[[0, 1 / 3, 1.0]]]))
    assert soft_map(reference, reference).max() == 0
    assert not soft_map(response.requires_grad_(), reference).requires_grad


def test_phrase_maps_by_hand() -> None:
    maps = torch.zeros(1, 2, 4, 3)  # two heads, 2 x 2 pixels, three tokens
    maps[0, 0, :, 1] = torch.tensor([0.0, 0.2, 0.4, 0.8])
    maps[0, 1, :, 1] = torch.tensor([0.0, 0.2, 0.4, 0.0])
    maps[0, :, :, 2] = 0.5
    tokens = torch.tensor([[[False, True, False], [False, False, True], [False, True, True]]])
    found = phrase_maps([maps], tokens, (2, 2))
    # heads' mean 0, .2, .4, .4 -> 0, .5, 1, 1; an even map is 0; with it, the same after stretching
    assert torch.allclose(found[0, 0].flatten(), torch.tensor([0, 0.5, 1, 1]))
    assert found[0, 1].max() == 0
    assert torch.allclose(found[0, 2], found[0, 0])
    larger = phrase_maps([maps, maps.repeat_interleave(4, dim=2)], tokens, (4, 4))
    assert larger.shape == (1, 3, 4, 4)
    assert phrase_maps([maps], tokens[:, :0], (2, 2)).shape == (1, 0, 2, 2), "no phrases, no maps"


def test_phrases_unlike_the_target_are_taken_out() -> None:
    soft = torch.tensor([[[0.0, 0.5, 1.0]]])
    phrases = torch.tensor([[[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]]])
    like = torch.ones(1, 2)
    assert torch.allclose(control_map(soft, phrases, like), soft), "related phrases take nothing out"
    unlike = torch.tensor([[0.25, 1.0]])
    # .5 and 1 - .75 = .25 remain -> 1 and .5
    assert torch.allclose(control_map(soft, phrases, unlike), torch.tensor([[[0.0, 1.0, 0.5]]]))
    again = torch.cat([phrases, 0.5 * phrases, torch.zeros_like(phrases)], dim=1)
    found = control_map(soft, again, torch.tensor([[0.25, 1.0, 0.25, 1.0, 0.0, 0.0]]))
    assert torch.allclose(found, torch.tensor([[[0.0, 1.0, 0.5]]])), "saying a thing twice takes out no more"
    assert torch.allclose(control_map(soft, phrases[:, :0], unlike[:, :0]), soft), "a text without phrases"
    target = torch.tensor([[1.0, 0.0]])
    named = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]])
    assert torch.allclose(similarity_share(target, named), torch.tensor([[1.0, 0.5, 0.0]]))


def test_phrases_stand_where_their_tokens_are(toy: ToySpfPortrait) -> None:
    tokenizer = toy.base.tokenizers[0]
    text = "A man with short hair, wearing a red hat."
    phrases = phrases_of(tokenizer, text)
    assert [one.text for one in phrases] == ["A man", "with short hair", "wearing a red hat"]
    ids = tokenizer(text).input_ids
    seen = tokenizer.convert_ids_to_tokens(ids)
    joined = ["".join(seen[i] for i in one.tokens).replace("</w>", " ").strip() for one in phrases]
    assert joined == ["a man", "with short hair", "wearing a red hat"]
    theirs = clip_tokenizer()
    words = "a woman (smiling), wearing a red hat... in a park"  # CLIP reads "),", "..." as one token each
    read = theirs.convert_ids_to_tokens(theirs(words).input_ids)
    spoken = [
        "".join(read[i] for i in one.tokens).replace("</w>", " ").strip() for one in phrases_of(theirs, words)
    ]
    assert spoken[-2:] == ["wearing a red hat", "in a park"]
    long = phrases_of(tokenizer, "hat " * 100)
    assert max(long[0].tokens) == tokenizer.model_max_length - 2
    found = phrase_tokens(phrases, 77)
    assert found.shape == (3, 77) and [row.nonzero()[:, 0].tolist() for row in found] == [
        list(one.tokens) for one in phrases
    ]
    whole = base_tokens(tokenizer, text)
    full = tokenizer(with_target(text, "glasses")).input_ids
    mine = [seen[i] for i in whole.nonzero()[:, 0].tolist()]
    assert not whole[0] and mine == seen[1:-2], "all but start, full stop and end"
    assert [ids[i] for i in whole.nonzero()[:, 0]] == [full[i] for i in whole.nonzero()[:, 0]]
    assert base_tokens(tokenizer, "hat " * 100).sum() == tokenizer.model_max_length - 2


# --- losses -----------------------------------------------------------------------------------------------


def layer(queries: list[list[float]], keys: list[list[float]]) -> LayerFeatures:
    return LayerFeatures(torch.tensor(queries)[None, None], torch.tensor(keys)[None, None])


def test_the_attention_loss_by_hand() -> None:
    """One head of width 1, two pixels, two tokens of which the first counts."""
    tokens = torch.tensor([[True, False]])
    one = layer([[0.0], [math.log(3)]], [[1.0], [9.0]])
    other = layer([[0.0], [0.0]], [[1.0], [5.0]])
    # softmax(0, log 3) = 1/4, 3/4 -> A = 3/4 log 3; the other's is 0
    wanted = (0.75 * math.log(3)) ** 2
    assert attention_loss([one], [other], tokens) == pytest.approx(wanted)
    assert attention_loss([one], [one], tokens) == 0
    # the second pixel belongs to the target: what is left of A is the first pixel, 0 in both
    control = torch.tensor([[[0.0, 1.0]]])
    assert attention_loss([one], [other], tokens, control) == pytest.approx(0)
    half = torch.tensor([[[0.0, 0.5]]])  # weights 1/4, 3/8 -> 2/5, 3/5
    assert attention_loss([one], [other], tokens, half) == pytest.approx((0.6 * math.log(3)) ** 2)


def test_the_feature_loss_by_hand() -> None:
    one, other = layer([[1.0], [3.0]], [[0.0]]), layer([[0.0], [1.0]], [[0.0]])
    assert feature_loss([one], [other]) == pytest.approx((1 + 4) / 2)
    assert feature_loss([one], [other], torch.tensor([[[0.0, 0.5]]])) == pytest.approx((1 + 1) / 2)
    assert feature_loss([one, one], [other, one]) == pytest.approx((1 + 4) / 4), "layers are averaged"
    assert resized_map(torch.ones(2, 8, 4), 8).shape == (2, 8)


def test_response_enhancement_by_hand() -> None:
    target = torch.tensor([[1.0, 0.0]])
    wanted, same = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.3]])
    assert target_loss(same, wanted, target) == pytest.approx(0, abs=1e-6), "the way counts, not its length"
    assert target_loss(torch.tensor([[2.0, 0.0]]), wanted, target) == pytest.approx(1)
    assert target_loss(torch.tensor([[1.0, -1.0]]), wanted, target) == pytest.approx(2)
    assert direct_loss(wanted, target) == pytest.approx(1 - 0.5**0.5)


# --- what is trained --------------------------------------------------------------------------------------


def test_a_tuning_begins_as_the_base(toy: ToySpfPortrait) -> None:
    unet = toy.base.unet
    source = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, unet.config.in_channels, 8, 8, generator=source)
    text = torch.randn(1, 77, toy.base.text_width, generator=source)
    plain = unet(noisy, 5, encoder_hidden_states=text).sample
    tokens = torch.ones(1, 77, dtype=torch.bool)
    for kind in ("all", "cross-attention", "lora", "adapter", "words"):
        tuning = Tuning(unet, kind)  # type: ignore[arg-type]
        found = tuning.predict(unet, noisy, 5, encoder_hidden_states=text, target_tokens=tokens)
        assert torch.allclose(found, plain, atol=1e-6)
        assert tuning.delta(unet) == {}
    counts = {kind: len(tuned_names(unet, kind)) for kind in ("all", "cross-attention", "lora")}  # type: ignore[arg-type]
    assert counts["lora"] < counts["cross-attention"] < counts["all"]
    assert all(".attn2." in name for name in tuned_names(unet, "cross-attention"))


def test_stage_two_goes_on_from_stage_one(toy: ToySpfPortrait) -> None:
    unet = toy.base.unet
    first = Tuning(unet, "all")
    with torch.no_grad():
        for parameter in first.parameters():
            parameter += 0.01
    wanted = {name: tensor.detach() for name, tensor in first.weights().items()}
    second = Tuning(unet, "cross-attention", first.delta(unet))
    found = second.weights()
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(tensor, wanted[name], atol=1e-6) for name, tensor in found.items())
    copied = copy.deepcopy(second)
    assert copied._rest is second._rest, "an average shares what nothing moves"
    trained = sum(p.numel() for p in second.parameters())
    assert trained < sum(p.numel() for p in first.parameters()) / 2
    assert len(second.delta(unet)) == len(first.delta(unet)), "stage 1's change is part of what was learned"


def test_a_changed_unet_comes_back_bit_for_bit(toy: ToySpfPortrait) -> None:
    unet = toy.base.unet
    before = {name: (p.data_ptr(), p.detach().clone()) for name, p in unet.named_parameters()}
    delta = toy.tuning.delta(unet)
    with pytest.raises(KeyboardInterrupt), changed(unet, delta, 0.5):
        name = next(iter(delta))
        now = dict(unet.named_parameters())[name]
        assert torch.allclose(now, before[name][1] + 0.5 * delta[name], atol=1e-6)
        raise KeyboardInterrupt
    for name, parameter in unet.named_parameters():
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])
    with pytest.raises(InputError, match="not for this base"), changed(unet, {"no.such": torch.zeros(1)}):
        pass


def test_the_terms_of_each_ablation(toy: ToySpfPortrait) -> None:
    batch = toy.batch(0)

    def terms(settings: SpfTraining) -> set[str]:
        tuning = Tuning(toy.base.unet, settings.weights, lora_rank=2)
        phase = ContrastivePhase(tuning, toy.base, toy.clip_image, settings)
        return set(phase.loss(batch, torch.Generator().manual_seed(0)))

    assert ABLATIONS["paper"].naive.weights == "all" == ABLATIONS["all-weights"].contrastive.weights
    whole = {"noise", "_map", "attention", "features", "target"}
    for name, missing in (
        ("spf", ""), ("no-map", "_map"), ("no-attention", "attention"), ("no-features", "features"),
        ("no-target", "target"), ("lora", ""), ("adapter", ""), ("words", ""),
    ):  # fmt: skip
        assert terms(ABLATIONS[name].contrastive) == whole - {missing}, name


def test_only_pictures_near_a_time_step_are_decoded(toy: ToySpfPortrait) -> None:
    """The rows whose time steps are nearest to where settings say; against what all rows decode to."""
    seen: list[torch.Tensor] = []

    def look(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.detach())
        return toy.clip_image(pixels)

    batch = {key: torch.cat([tensor, tensor, tensor]) for key, tensor in toy.batch(0).items()}
    for share, at, rows in ((1.0, 0.0, 6), (1 / 3, 0.0, 2), (0.01, 1.0, 1)):
        settings = SpfTraining(target_share=share, target_at=at)
        phase = ContrastivePhase(Tuning(toy.base.unet, "cross-attention"), toy.base, look, settings)
        phase.loss(batch, torch.Generator().manual_seed(0))
        assert len(seen[-1]) == rows
    _, _, steps = noised(ddim(toy.base.scheduler, 1), batch["latents"], torch.Generator().manual_seed(0))
    order = steps.argsort()
    assert torch.allclose(seen[1], seen[0][:2], atol=1e-4), "those of all, the clearest first"
    assert torch.allclose(seen[2], seen[0][-1:], atol=1e-4), "the noisiest"
    assert steps[order[0]] < steps[order[-1]]


def test_both_paths_agree_where_the_texts_do(toy: ToySpfPortrait) -> None:
    """An untrained tuning and the same text: nothing to align."""
    batch = toy.batch(0)
    batch["full_text"] = batch["base_text"]
    phase = ContrastivePhase(Tuning(toy.base.unet, "cross-attention"), toy.base, toy.clip_image)
    found = phase.loss(batch, torch.Generator().manual_seed(0))
    assert found["attention"] < 1e-8
    assert found["features"] < 1e-8
    assert found["_map"] < 1e-2, "only rounding is left to see"


def test_recording_changes_no_prediction(toy: ToySpfPortrait) -> None:
    unet = toy.base.unet
    noisy, text = torch.randn(1, unet.config.in_channels, 8, 8), torch.randn(1, 77, toy.base.text_width)
    with torch.no_grad():
        plain = unet(noisy, 5, text).sample
        for with_maps in (False, True):
            with recording(unet, with_maps) as recorder:
                assert torch.allclose(unet(noisy, 5, text).sample, plain, atol=1e-5)
            assert len(recorder.features) == sum("attn2" in name for name in unet.attn_processors)
            assert all(torch.allclose(m.sum(-1), torch.ones(1)) for m in recorder.maps)


# --- painting ---------------------------------------------------------------------------------------------


def paint(pipeline: object, prompt: str = "a man", **settings: object) -> np.ndarray:
    fixed = {"steps": 3, "size_px": (64, 64), "seed": 2}
    [result] = pipeline([PortraitRequest(prompt, **{**fixed, **settings})])  # type: ignore[operator,arg-type]
    return np.asarray(result.image)


def test_without_a_delta_it_paints_what_the_base_does(toy: ToySpfPortrait) -> None:
    pipeline = load(toy.base)
    [wanted] = to_pictures(paint_text(toy.base, ["a man, a red hat"], [2], steps=3, guidance=2.0))
    found = paint(pipeline, options={"target": "a red hat"}, guidance=2.0)
    assert np.abs(found.astype(int) - np.asarray(wanted, int)).max() <= 1
    assert with_target("A man.", "a red hat") == "A man, a red hat"
    assert with_target("A man.", "") == "A man."


def test_deltas_add_up_and_scale(toy: ToySpfPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path)
    file = tmp_path / "delta.safetensors"
    base, one = load(toy.base), load(toy.base, file)
    assert np.array_equal(paint(one, options={"scale": 0.0}), paint(base))
    whole = paint(one)
    assert not np.array_equal(whole, paint(base))
    half = tmp_path / "half.safetensors"
    card = DeltaCard("mini", "mini", base_digest(toy.base), ("glasses",), "CC0-1.0")
    halved = {name: tensor / 2 for name, tensor in toy.tuning.delta(toy.base.unet).items()}
    save_delta(halved, card, half, dtype=torch.float32)
    two = load(toy.base, {str(half): 1.5, str(tmp_path / "delta.safetensors"): 0.25})
    assert np.abs(paint(two).astype(int) - whole.astype(int)).max() <= 1
    [result] = two([PortraitRequest("a man", steps=1, size_px=(64, 64))])
    assert result.provenance.recipe["targets"] == ["glasses", "a red hat"]
    assert {w.licence for w in result.provenance.weights if w.role == "delta"} == {"CC0-1.0", "not declared"}
    assert not result.warnings or "trained on" not in result.warnings[-1]


def test_what_a_delta_was_taught_is_known(toy: ToySpfPortrait, tmp_path: Path) -> None:
    card = DeltaCard("mini", "mini", base_digest(toy.base), ("a tiara",), "CC0-1.0")
    save_delta(toy.tuning.delta(toy.base.unet), card, tmp_path / "delta.safetensors")
    said = PortraitRequest("make a tiara a zebra", steps=1, size_px=(64, 64), negative_prompt="a king")
    [result] = load(toy.base, tmp_path / "delta.safetensors")([said])
    assert result.warnings[0] == "The mini base does not know 'zebra', 'king'."


def test_a_delta_of_another_base_is_refused_or_told(toy: ToySpfPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path)
    file = tmp_path / "delta.safetensors"
    delta, card, _ = load_delta(file, toy.base)
    save_delta(delta, dataclasses.replace(card, base_sha256="0" * 64, base="another"), file)
    [result] = load(toy.base, file)([PortraitRequest("a man", steps=1, size_px=(64, 64))])
    assert "was trained on another" in result.warnings[-1]
    save_delta(delta, dataclasses.replace(card, family="sd15"), file)
    with pytest.raises(IncompatibleWeightsError, match="does not fit"):
        load(toy.base, file)
    for told in ({"family": "mini"}, {**dataclasses.asdict(card), "later": 1}):
        write_safetensors(delta, file, metadata={DELTA_KEY: json.dumps(told)})
        with pytest.raises(IncompatibleWeightsError, match="other fields than this version's"):
            load(toy.base, file)
    with pytest.raises(MissingWeightsError, match="There is no delta"):
        load(toy.base, tmp_path / "nowhere.safetensors")
    other = ToySpfPortrait(tiny.write_sd15(tmp_path / "sd15"))
    write_safetensors({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(IncompatibleWeightsError, match="no delta of SPF-Portrait"):
        load(other.base, tmp_path / "x.safetensors")


def test_a_delta_knows_a_base_of_a_single_file_again(tmp_path: Path) -> None:
    file = tiny.write_single_file(tiny.write_sd15(tmp_path / "sd15"), tmp_path / "one.safetensors")
    assert base_digest(load_base(file)) == sha256_of(file)


def test_a_second_attention_stands_beside_the_first(toy: ToySpfPortrait, tmp_path: Path) -> None:
    """By hand, from the layer's own parts; and through a delta on disk."""
    unet = toy.base.unet
    tuning = Tuning(unet, "adapter")
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=source)
    weights = tuning.adapter()
    name = next(one for one in unet.attn_processors if one.endswith("attn2.processor"))
    layer = name.removesuffix(".processor")
    attn = unet.get_submodule(layer)
    pixels = torch.randn(1, 16, attn.to_q.in_features, generator=source)
    text = torch.randn(1, 5, attn.to_k.in_features, generator=source)
    with torch.no_grad():
        plain = attn(pixels, text)
        with adapted(unet, weights, 0.5):
            both = attn(pixels, text)
        own = {
            part: weights[f"{layer}.adapter.{part}.weight"] for part in ("to_q", "to_k", "to_v", "to_out.0")
        }
        q, k, v = (
            (x @ own[part].T).view(1, -1, attn.heads, own[part].shape[0] // attn.heads).transpose(1, 2)
            for x, part in ((pixels, "to_q"), (text, "to_k"), (text, "to_v"))
        )
        shares = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        added = (shares @ v).transpose(1, 2).flatten(2) @ own["to_out.0"].T
    assert torch.allclose(both, plain + 0.5 * added, atol=1e-5)
    assert torch.equal(attn(pixels, text), plain)

    file = tmp_path / "adapter.safetensors"
    save_delta(tuning.delta(unet), DeltaCard("mini", "mini", "", ("a hat",)), file, torch.float32)
    noisy, rows = torch.randn(1, 8, 8, 8, generator=source), torch.randn(1, 77, 32, generator=source)
    delta, _, _ = load_delta(file, toy.base)
    with torch.no_grad(), changed(unet, delta):
        inside = unet(noisy, 5, rows).sample
    assert torch.allclose(inside, tuning.predict(unet, noisy, 5, rows), atol=1e-5)
    again = Tuning(unet, "adapter", delta)
    assert torch.allclose(again.predict(unet, noisy, 5, rows), inside, atol=1e-5)

    request = PortraitRequest("a man", options={"target": "a hat"}, size_px=(64, 64), steps=1, seed=2)
    [found] = load(toy.base, file).control_maps(request)
    read = encode_prompts(toy.base, ["a man, a hat", "a man"]).rows
    latents = torch.randn(1, 8, 8, 8, generator=generator(2))
    at = ddim(toy.base.scheduler, 1).timesteps[0]
    with torch.no_grad(), changed(unet, delta):
        response = unet(latents, at, read[:1]).sample
    with torch.no_grad():
        reference = unet(latents, at, read[1:]).sample
    assert torch.allclose(found.soft, soft_map(response, reference)[0], atol=1e-5), "the map knows of it"


def test_what_is_learned_for_the_targets_tokens_leaves_all_others(
    toy: ToySpfPortrait, tmp_path: Path
) -> None:
    """Keys and values by hand; base text paints the base's picture to the bit, a target another one."""
    unet = toy.base.unet
    tuning = Tuning(unet, "words")
    assert {name.rpartition("attn2.")[2] for name in tuning.names} == {"to_k.weight", "to_v.weight"}
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=source)
    delta = tuning.delta(unet)
    name = next(one for one in delta if one.endswith("attn2.words.to_k.weight"))
    layer = unet.get_submodule(name.removesuffix(".words.to_k.weight"))
    text = torch.randn(1, 4, layer.to_k.in_features, generator=source)
    tokens = torch.tensor([[False, False, True, True]])
    plain = layer.to_k(text)
    with torch.no_grad(), changed(unet, delta, 0.5, tokens):
        found = layer.to_k(text)
    assert torch.equal(found[:, :2], plain[:, :2]) and torch.equal(layer.to_k(text), plain)
    assert torch.allclose(found[:, 2:], (plain + 0.5 * text @ delta[name].T)[:, 2:], atol=1e-5)

    file = tmp_path / "delta.safetensors"
    card = DeltaCard("mini", "mini", base_digest(toy.base), ("a red hat",))
    save_delta(delta, card, file, torch.float32)
    base, taught = load(toy.base), load(toy.base, file)
    for guidance in (1.0, 2.0):  # with and without a negative prompt's row before
        assert np.array_equal(paint(taught, guidance=guidance), paint(base, guidance=guidance))
        target = {"options": {"target": "a red hat"}, "guidance": guidance}
        assert not np.array_equal(paint(taught, **target), paint(base, **target))
    guided = paint(taught, options={"target": "a red hat"}, guidance=2.0)
    rows = encode_prompts(toy.base, ["", "a man, a red hat"])
    behind = torch.stack([torch.zeros(77, dtype=torch.bool), target_tokens(toy.base.tokenizers[0], "a man")])
    with torch.no_grad(), changed(unet, delta, 1.0, behind):
        *_, (_, clean) = denoise(
            toy.base, rows[:1], rows[1:], [generator(2)], steps=3, guidance=2.0, size_px=(64, 64)
        )
    [wanted] = to_pictures(toy.base.decode(clean))
    assert np.array_equal(guided, np.asarray(wanted)), "the negative prompt's row is the base's"

    [result] = taught([PortraitRequest("a man", steps=1, size_px=(64, 64))])
    assert "give them with --target" in result.warnings[-1]
    for words in ("a red hat", ""):  # "" says that none are wanted
        [result] = taught([PortraitRequest("a man", steps=1, size_px=(64, 64), options={"target": words})])
        assert not any("--target" in warning for warning in result.warnings)
    request = PortraitRequest("a man", options={"target": "a red hat"}, size_px=(64, 64), steps=2)
    assert taught.control_maps(request, every=1)[0].map.max() > 0
    again = Tuning(unet, "words", load_delta(file, toy.base)[0])
    noisy, behind = torch.randn(1, 8, 8, 8, generator=source), behind[1:]
    both = [
        one.predict(unet, noisy, 5, rows.rows[1:], target_tokens=behind).detach() for one in (tuning, again)
    ]
    assert torch.allclose(*both, atol=1e-5), "training goes on from what was kept"
    over = Tuning(unet, "cross-attention", delta)
    kept = over.predict(unet, noisy, 5, rows.rows[1:], target_tokens=behind)
    assert torch.allclose(kept, both[0], atol=1e-5) and set(over.delta(unet)) == set(delta)


def test_of_several_deltas_each_has_its_own_words(toy: ToySpfPortrait, tmp_path: Path) -> None:
    tuning = Tuning(toy.base.unet, "words")
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for file, words in zip(files, ("a red hat", "glasses"), strict=True):
        card = DeltaCard("mini", "mini", base_digest(toy.base), (words,))
        save_delta(tuning.delta(toy.base.unet), card, file, torch.float32)
    pipeline, tokenizer = load(toy.base, [str(file) for file in files]), toy.base.tokenizers[0]

    def read(target: str, **options: object) -> list[list[str]]:
        request = PortraitRequest("a man", options={"target": target, **options}, size_px=(64, 64))
        request, settings = pipeline._checked(request)
        names = tokenizer.convert_ids_to_tokens(tokenizer(with_target("a man", target)).input_ids)
        found = [pipeline._target_tokens(request, settings, one)[0] for one in pipeline._chosen(settings)]
        assert all(one[len(names) :].all() for one in found), "what fills the row up tells of all"
        return [
            [name.replace("</w>", "") for name, own in zip(names, one, strict=False) if own] for one in found
        ]

    end = tokenizer.eos_token
    assert read("a red hat, glasses") == [[",", "a", "red", "hat", end], [",", "glasses", end]]
    assert read("round glasses, a red hat") == [[",", "a", "red", "hat", end], ["glasses", end]]
    assert read("a hat, glasses")[0] == [",", "a", "hat", end], "what nobody else was taught"
    assert read("a red hat, glasses", deltas=[0]) == [[",", "a", "red", "hat", ",", "glasses", end]]


def test_the_map_is_of_the_latents_before_the_step(toy: ToySpfPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path)
    pipeline = load(toy.base, tmp_path / "delta.safetensors")
    base, settings = toy.base, {"steps": 5, "size_px": (64, 64), "seed": 2, "guidance": 2.0}
    request = PortraitRequest("a man, with short hair", options={"target": "a red hat"}, **settings)  # type: ignore[arg-type]
    before = paint(pipeline)
    found = pipeline.control_maps(request, every=2)
    assert [one.step for one in found] == [1, 3, 5]
    for one in found:
        assert one.map.shape == one.soft.shape == (8, 8)
        assert 0 <= one.map.min() <= one.map.max() <= 1
        assert [name for name, _ in one.phrases] == ["a man", "with short hair"]
    assert found[0].map.max() > 0

    text = encode_prompts(base, ["", "a man, with short hair, a red hat", request.prompt])
    with torch.no_grad(), changed(base.unet, toy.tuning.delta(base.unet)):
        steps = list(
            denoise(base, text[:1], text[1:2], [generator(2)], steps=5, guidance=2.0, size_px=(64, 64))
        )
        timestep, latents = steps[2]
        response = base.unet(latents, timestep, text.rows[1:2]).sample
    with torch.no_grad():
        reference = base.unet(latents, timestep, text.rows[2:]).sample
    assert torch.allclose(found[1].soft, soft_map(response, reference)[0], atol=1e-5)

    [result] = pipeline([dataclasses.replace(request, options={**request.options, "show_map": 2})])
    assert set(result.extras) == {"map"} and result.extras["map"].width > 4 * 160
    assert np.array_equal(
        np.asarray(result.image), paint(pipeline, request.prompt, **settings, options={"target": "a red hat"})
    )
    assert np.array_equal(paint(pipeline), before), "looking changes nothing"
    with pytest.raises(InputError, match="of a target's words"):
        paint(pipeline, options={"show_map": 2})
    grey = Image.new("RGB", (16, 16), (100, 100, 100))
    hot = np.asarray(overlaid(grey, torch.tensor([[0.0, 0.0], [1.0, 1.0]])))
    assert hot[0, 0].tolist() == [100, 100, 100]
    assert hot[-1, 0].tolist() == [216, 73, 25], "a quarter of grey, three of the heat's colour"


def test_the_map_of_a_picture_that_is_there(toy: ToySpfPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path)
    pipeline, base = load(toy.base, tmp_path / "delta.safetensors"), toy.base
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    request = PortraitRequest("a man", options={"target": "a red hat"}, size_px=(64, 64), seed=3)
    found = pipeline.control_maps_on(request, picture, (900, 100))
    assert [one.step for one in found] == [1, 2]

    text = encode_prompts(base, ["a man, a red hat", "a man"]).rows
    with torch.no_grad():
        clean = base.encode(to_pixels(picture))[0]
        noise, at = torch.randn(clean.shape, generator=generator(3)), torch.tensor([100])
        noisy = base.scheduler.add_noise(clean, noise, at)
        reference = base.unet(noisy, 100, text[1:]).sample
        with changed(base.unet, toy.tuning.delta(base.unet)):
            response = base.unet(noisy, 100, text[:1]).sample
    assert torch.allclose(found[1].soft, soft_map(response, reference)[0], atol=1e-5)


def test_deltas_take_turns_from_the_same_seed(toy: ToySpfPortrait, tmp_path: Path) -> None:
    toy.save(tmp_path)
    one = tmp_path / "delta.safetensors"
    turned = {name: -tensor for name, tensor in toy.tuning.delta(toy.base.unet).items()}
    two = tmp_path / "two.safetensors"
    save_delta(turned, DeltaCard("mini", "mini", base_digest(toy.base), ("glasses",)), two, torch.float32)
    pipeline = load(toy.base, [one, two])
    alone = paint(load(toy.base))
    assert np.array_equal(paint(pipeline, options={"deltas": []}), alone)
    assert np.array_equal(paint(pipeline, options={"deltas": [0]}), paint(load(toy.base, one)))
    assert np.array_equal(paint(pipeline, options={"deltas": [1]}), paint(load(toy.base, two)))
    assert not np.array_equal(paint(pipeline, options={"deltas": [1]}), alone)
    assert np.abs(paint(pipeline).astype(int) - alone).max() <= 1, "one undoes the other"
    with pytest.raises(InputError, match="no delta 2; 2 were given"):
        paint(pipeline, options={"deltas": [2]})


def test_what_it_cannot_do_is_named(toy: ToySpfPortrait, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no pictures"):
        paint(load(toy.base), image=picture(0))
    with pytest.raises(InputError, match="not on sdxl"):
        load(tiny.write_sdxl(tmp_path / "sdxl"))
    with pytest.raises(InputError, match="openvino"):
        load(toy.base, device="openvino")
