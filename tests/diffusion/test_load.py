"""Every route to a base gives the same tensors; every dead end gives one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.diffusion.load import Base, load_base
from likeness.diffusion.prompts import encode_prompts, prompt_warnings
from likeness.errors import IncompatibleWeightsError, InputError, LikenessError, MissingWeightsError
from tests import tiny

WRITERS: dict[str, Callable[[Path], Path]] = {
    "mini": tiny.write_mini,
    "sd15": tiny.write_sd15,
    "sdxl": tiny.write_sdxl,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: write(root / family) for family, write in WRITERS.items()}


def same_tensors(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def same_bases(one: Base, other: Base) -> bool:
    return (
        one.family == other.family
        and same_tensors(one.unet, other.unet)
        and same_tensors(one.vae, other.vae)
        and all(same_tensors(a, b) for a, b in zip(one.text_encoders, other.text_encoders, strict=True))
    )


@pytest.mark.parametrize("family", WRITERS)
def test_folder(folders: dict[str, Path], family: str) -> None:
    base = load_base(folders[family])
    assert base.family == family
    assert base.downscale == 8
    assert base.size_px == {"mini": 64, "sd15": 512, "sdxl": 1024}[family]
    models = (base.unet, base.vae, *base.text_encoders)
    assert not any(p.requires_grad for model in models for p in model.parameters())
    assert not any(model.training for model in models)
    assert {record.role for record in base.weights} >= {"unet", "vae", "text_encoder"}
    assert all(len(record.sha256) == 64 for record in base.weights)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_single_file_is_the_folder(
    folders: dict[str, Path], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))  # nothing to fall back on
    file = tiny.write_single_file(folders[family], tmp_path / "base.safetensors")
    folder, single = load_base(folders[family]), load_base(file)
    assert same_bases(folder, single)
    text = ["a portrait, wearing a red hat", ""]
    ours, theirs = encode_prompts(single, text), encode_prompts(folder, text)
    assert torch.equal(ours.rows, theirs.rows)
    latents, step = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    added = None
    if ours.pooled is not None:
        added = {"text_embeds": ours.pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
    with torch.no_grad():
        a, b = (
            base.unet(latents, step, ours.rows, added_cond_kwargs=added).sample for base in (folder, single)
        )
        assert torch.equal(a, b)
        assert torch.equal(folder.vae.decode(latents).sample, single.vae.decode(latents).sample)
    assert {one.source for one in load_base(file).weights} == {"base.safetensors"}, "recipes name no folder"


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_hub_name_from_the_cache(
    folders: dict[str, Path], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--somebody--tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(folders[family], snapshot)
    (snapshot / "model_index.json").write_text("{}")
    refs = tmp_path / "models--somebody--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("LIKENESS_OFFLINE", "1")
    assert same_bases(load_base("somebody/tiny"), load_base(folders[family]))


def test_precision_and_vae_class(folders: dict[str, Path]) -> None:
    base = load_base(folders["mini"], dtype=torch.bfloat16)
    assert base.unet.dtype == base.vae.dtype == torch.bfloat16
    assert type(base.vae).__name__ == "PatchAutoencoderKL"


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_folder_fetched_in_fp16_alone(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[family], tmp_path / "base")
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    half = load_base(folder)
    assert same_bases(half, load_base(folders[family]))
    for file in list(folder.rglob("*.fp16.safetensors")):
        shutil.copy(file, file.with_name(file.name.replace(".fp16", "")))
    both = [record.name for record in load_base(folder).weights]
    assert len(both) == len(half.weights) and not any("fp16" in name for name in both), "what took part"


@pytest.mark.parametrize("family", WRITERS)
def test_a_guide_comes_along_where_there_is_one(
    folders: dict[str, Path], family: str, tmp_path: Path
) -> None:
    assert load_base(folders[family]).guide is None
    folder = shutil.copytree(folders[family], tmp_path / "base")
    base = load_base(tiny.write_guide(folder), dtype=torch.bfloat16)
    assert base.guide.dtype == torch.bfloat16
    assert not base.guide.training
    assert not any(parameter.requires_grad for parameter in base.guide.parameters())
    assert [record.name for record in base.weights if record.role == "guide"] == [
        "base/guide/diffusion_pytorch_model.safetensors"
    ]


def test_a_guide_that_reads_something_else_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["mini"], tmp_path / "base")
    tiny.write_guide(folder, in_channels=4)
    with pytest.raises(IncompatibleWeightsError, match="its guide has in_channels 4, its UNet 8"):
        load_base(folder)


def broken(folders: dict[str, Path], tmp_path: Path, case: str) -> Path:
    """One way of being no base."""
    target = tmp_path / "base"
    if case in ("no vae", "other vae", "pickled", "other text width", "inpainting", "odd scheduler"):
        shutil.copytree(folders["sd15"], target)
    match case:
        case "no vae":
            shutil.rmtree(target / "vae")
        case "other vae":
            (target / "vae" / "config.json").write_text('{"_class_name": "AutoencoderTiny"}')
        case "pickled":
            weights = target / "unet" / "diffusion_pytorch_model.safetensors"
            weights.rename(weights.with_suffix(".bin"))
        case "other text width":
            shutil.rmtree(target / "text_encoder")
            shutil.copytree(folders["mini"] / "text_encoder", target / "text_encoder")
        case "inpainting":
            torch.manual_seed(0)
            tiny.unet((32, 64), 64, 4, in_channels=9).save_pretrained(target / "unet")
        case "odd scheduler":
            (target / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "AutoencoderKL"}')
        case "part alone":
            return folders["sd15"] / "unet"
        case "cut file":
            file = tiny.write_single_file(folders["sd15"], tmp_path / "whole.safetensors")
            target = tmp_path / "cut.safetensors"
            target.write_bytes(file.read_bytes()[:100_000])
        case "adapter":
            target = tmp_path / "adapter.safetensors"
            tiny.save_file({"image_proj.norm.weight": torch.zeros(4)}, target)
        case "lora":
            target = tmp_path / "lora.safetensors"
            tiny.save_file({"unet.down.lora_A.weight": torch.zeros(4)}, target)
        case "checkpoint":
            target = tmp_path / "model.ckpt"
            target.write_bytes(b"pickle")
        case "typing error":
            return tmp_path / "nothing-here"
    return target


DEAD_ENDS = {
    "no vae": (IncompatibleWeightsError, "lacks vae/"),
    "other vae": (IncompatibleWeightsError, "AutoencoderTiny"),
    "pickled": (MissingWeightsError, r"pickle \(\.bin\)"),
    "other text width": (IncompatibleWeightsError, "different bases"),
    "inpainting": (IncompatibleWeightsError, "inpainting"),
    "odd scheduler": (IncompatibleWeightsError, "no scheduler"),
    "part alone": (IncompatibleWeightsError, "UNet2DConditionModel alone"),
    "cut file": (IncompatibleWeightsError, "not a whole safetensors file"),
    "adapter": (IncompatibleWeightsError, "pass it as the adapter"),
    "lora": (IncompatibleWeightsError, "is a LoRA"),
    "checkpoint": (InputError, r"not a \.safetensors"),
    "typing error": (InputError, "give mini, sd15, sdxl"),
}


@pytest.mark.parametrize("case", DEAD_ENDS)
def test_dead_ends_are_one_sentence(folders: dict[str, Path], tmp_path: Path, case: str) -> None:
    kind, words = DEAD_ENDS[case]
    with pytest.raises(kind, match=words) as caught:
        load_base(broken(folders, tmp_path, case))
    assert isinstance(caught.value, LikenessError)
    assert "\n" not in str(caught.value)


def test_offline_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("sd15", "sdxl", "somebody/something"):
        with pytest.raises(MissingWeightsError, match="not in the hub cache and offline"):
            load_base(name)


def test_saved_tokenizers_agree_with_the_packed_one(folders: dict[str, Path]) -> None:
    text = "Wearing a RED hat, it's 42 °C in Zürich!"
    saved = load_base(folders["sd15"]).tokenizers[0]
    assert saved(text).input_ids == clip_tokenizer()(text).input_ids
    # CLIP's own numbering, known from its publication
    assert clip_tokenizer()("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_prompt_warnings(folders: dict[str, Path]) -> None:
    mini, sd15 = load_base(folders["mini"]), load_base(folders["sd15"])
    assert prompt_warnings(mini, "a man wearing a red hat") == []
    assert prompt_warnings(mini, "a portrait of Banksy") == ["The mini base does not know 'Banksy'."]
    assert prompt_warnings(sd15, "a portrait of Banksy") == []
    [warning] = prompt_warnings(sd15, "red " * 75 + "green hat")
    assert "2 tokens too long" in warning
    assert "'green hat'" in warning
    [warning] = prompt_warnings(mini, "a hat", negative_prompt="a zebra, 42 scarfs")
    assert warning == "The mini base does not know 'zebra', '42', 'scarfs'."
    [warning] = prompt_warnings(sd15, "a hat", negative_prompt="red " * 75 + "green hat")
    assert warning.startswith("The negative prompt is 2 tokens too long")


def test_pieces_of_words_are_no_words(folders: dict[str, Path], tmp_path: Path) -> None:
    """ "gl" of "glasses" is a token that may end a word; the base's list does not have it."""
    folder = shutil.copytree(folders["mini"], tmp_path / "mini")
    (folder / "tokenizer" / "words.json").write_text('{"hat": 9, "red": 9}')
    base = load_base(folder)
    assert prompt_warnings(base, "someone, who has a Red hat; it's this image") == []
    assert prompt_warnings(base, "a blue hat") == ["The mini base does not know 'blue'."]
    assert prompt_warnings(base, "a blue hat", {"blue"}) == []
