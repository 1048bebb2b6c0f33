"""ConsistentID's modules against numbers made with the published ones (seeded weights)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from likeness.diffusion.attention import attached
from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.methods.consistentid.attention import attention_processors
from likeness.methods.consistentid.config import SIZES, ConsistentIDSizes
from likeness.methods.consistentid.losses import facial_localisation_loss
from likeness.methods.consistentid.model import ConsistentIDAdapter, FacialEncoder, ProjPlusModel
from likeness.methods.consistentid.text import mark_caption, mark_prompt

DATA = Path(__file__).parents[1] / "data" / "consistentid"
SHARED = Path(__file__).parents[3] / "shared" / "spec" / "vectors"

PARTS_OF = {
    "Face": "face",
    "Left_Eye": "eyes",
    "Right_Eye": "eyes",
    "Left_Ear": "ears",
    "Right_Ear": "ears",
    "Nose": "nose",
    "Upper_Lip": "mouth",
    "Lower_Lip": "mouth",
}
TEXT_CASES = json.loads((DATA / "text_cases.json").read_text())


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def facial_encoder() -> tuple[FacialEncoder, dict[str, Tensor]]:
    tensors = load_file(DATA / "facial_encoder_tiny.safetensors")
    sizes = ConsistentIDSizes(
        "mini", text_width=32, image_width=24, part_width=32, part_depth=2, part_heads=4
    )
    module = FacialEncoder(sizes)
    module.load_state_dict(group(tensors, "w/"))
    return module, tensors


@pytest.mark.parametrize("case", ["all5", "three", "none", "batch2"])
def test_facial_encoder(facial_encoder: tuple[FacialEncoder, dict[str, Tensor]], case: str) -> None:
    module, tensors = facial_encoder
    inputs = group(tensors, f"{case}/")
    prompt = inputs["prompt_embeds"].clone()
    out = module(prompt, inputs["multi_image_embeds"], inputs["class_tokens_mask"], inputs["valid_id_mask"])
    assert_close(out, inputs["out"])
    assert torch.equal(prompt, inputs["prompt_embeds"]), "the caller's tensor was written to"


def test_facial_encoder_gradients(facial_encoder: tuple[FacialEncoder, dict[str, Tensor]]) -> None:
    module, tensors = facial_encoder
    inputs = group(tensors, "batch2/")
    crops = inputs["multi_image_embeds"].clone().requires_grad_()
    module.zero_grad()
    module(inputs["prompt_embeds"], crops, inputs["class_tokens_mask"], inputs["valid_id_mask"]).backward(
        inputs["g"]
    )
    assert crops.grad is not None
    assert_close(crops.grad, inputs["grad_multi_image_embeds"])
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert_close(parameter.grad, inputs[f"grad/{name}"])


def test_facial_encoder_refuses_tokens_without_parts(
    facial_encoder: tuple[FacialEncoder, dict[str, Tensor]],
) -> None:
    module, tensors = facial_encoder
    inputs = group(tensors, "three/")
    with pytest.raises(ValueError, match="one face part"):
        module(
            inputs["prompt_embeds"],
            inputs["multi_image_embeds"],
            inputs["class_tokens_mask"],
            torch.ones(1, 5, dtype=torch.bool),
        )


def test_identity_tokens() -> None:
    tensors = load_file(DATA / "proj_plus_tiny64.safetensors")
    module = ProjPlusModel(ConsistentIDSizes("mini", text_width=64, image_width=24, id_width=32, id_heads=1))
    module.load_state_dict(group(tensors, "w/"))
    embedding, states = tensors["id_embeds"], tensors["clip_embeds"]
    assert_close(module(embedding, states), tensors["out"])
    assert_close(module(torch.zeros_like(embedding), states), tensors["out_uncond"])
    module.shortcut = True
    assert_close(module(embedding, states), tensors["out_shortcut"])
    assert_close(module(embedding, states, 0.5), tensors["out_shortcut_0.5"])


def test_attention_in_a_unet() -> None:
    file = SHARED / "attn_unet_tiny.safetensors"
    if not file.is_file():
        pytest.skip(f"{file.name} (2 MB) lies beside the repository, not in it")
    with safe_open(file, "pt") as opened:
        meta = json.loads(opened.metadata()["meta"])
    tensors = load_file(file)
    unet = UNet2DConditionModel(**meta["unet_config"])
    unet.load_state_dict(group(tensors, "unet/"))
    sizes = ConsistentIDSizes("mini", text_width=64, lora_rank=meta["rank"], id_heads=1)
    processors = attention_processors(unet, sizes)
    assert list(processors) == meta["adapter_order"]
    adapter = ConsistentIDAdapter(sizes, processors)
    adapter.adapter_modules.load_state_dict(group(tensors, "adapter/"))

    def run() -> Tensor:
        with torch.no_grad(), attached(unet, adapter.processors):
            return unet(tensors["latents"], tensors["timestep"], tensors["encoder_hidden_states"]).sample

    assert_close(run(), tensors["out"])
    for identity, lora, name in [
        (0, 1, "out_ip_scale_0.0"),
        (0.5, 1, "out_ip_scale_0.5"),
        (1, 0, "out_lora_scale_0"),
    ]:
        adapter.set_scales(identity, lora)
        assert_close(run(), tensors[name])
    adapter.set_scales(1, 1)
    maps: list[Tensor] = []
    for processor in adapter.adapter_modules:
        processor.record = maps
    assert_close(run(), tensors["out"])
    assert len(maps) == 10, "one map a cross-attention layer, none from self-attention"
    assert all(torch.allclose(m.sum(-1), torch.ones(m.shape[:-1])) for m in maps)


@pytest.mark.parametrize("normalise", [False, True])
def test_localisation_loss(normalise: bool) -> None:
    tensors = load_file(DATA / "facial_loss.safetensors")
    maps = [tensors[f"scores_{n}"].unflatten(0, (2, -1)).clone().requires_grad_() for n in "ab"]
    loss = facial_localisation_loss(
        maps, tensors["segmaps"], tensors["token_idx"], tensors["token_idx_mask"], normalise=normalise
    )
    # The loss is a small difference of two means of about 0.01 (0.5 normalised): compare to 1e-5 of those.
    assert loss.item() == pytest.approx(tensors[f"loss_norm{normalise}"].item(), abs=1e-7)
    loss.backward()
    for name, m in zip("ab", maps, strict=True):
        assert m.grad is not None
        assert_close(m.grad.flatten(0, 1), tensors[f"grad_{name}_norm{normalise}"])


def test_localisation_loss_without_parts_is_zero() -> None:
    tensors = load_file(DATA / "facial_loss.safetensors")
    maps = [tensors["scores_a"].unflatten(0, (2, -1))]
    none = torch.zeros_like(tensors["token_idx_mask"])
    loss = facial_localisation_loss(maps, tensors["segmaps"], tensors["token_idx"], none)
    assert loss == tensors["loss_no_tokens"] == 0


def test_localisation_loss_by_hand() -> None:
    """Two pixels of four inside: attention 0.8 inside, 0.2 outside gives 0.2 - 0.8 (eq. 1)."""
    p = torch.zeros(1, 1, 4, 77)
    p[0, 0, :, 3] = torch.tensor([0.8, 0.2, 0.8, 0.2])
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    loss = facial_localisation_loss([p], mask, torch.tensor([[3]]), torch.tensor([[True]]))
    assert loss.item() == pytest.approx(-0.6, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "file", "projection"),
    [("sd15", "ConsistentID-v1.bin", "image_proj"), ("sdxl", "ConsistentID_SDXL-v1.bin", "image_proj_model")],
)
def test_names_and_shapes_of_the_published_weights(family: str, file: str, projection: str) -> None:
    keys = json.loads((DATA / "checkpoint_keys.json").read_text())[file]

    def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
        return {key: list(tensor.shape) for key, tensor in module.state_dict().items()}

    with torch.device("meta"):
        assert shapes(FacialEncoder(SIZES[family])) == keys["FacialEncoder"]
        assert shapes(ProjPlusModel(SIZES[family])) == keys[projection]
        unet = UNet2DConditionModel(**UNETS[family])
        adapter = ConsistentIDAdapter(SIZES[family], attention_processors(unet, SIZES[family]))
    assert list(adapter.names) == keys["_adapter_order"]
    assert shapes(adapter.adapter_modules) == keys["adapter_modules"]
    millions = {"sd15": (105.8, 33.6, 44.7), "sdxl": (125, 217, 527)}[family]
    modules = (adapter.FacialEncoder, adapter.image_proj, adapter.adapter_modules)
    for module, count in zip(modules, millions, strict=True):
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(count, abs=0.51)


UNETS = {
    "sd15": {"cross_attention_dim": 768},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize("case", TEXT_CASES, ids=range(len(TEXT_CASES)))
def test_marked_prompts(case: dict[str, object]) -> None:
    parts = {PARTS_OF[key] for key in case["mask_keys_in"]}
    assert mark_caption(case["caption"], parts) == case["caption_marked"]
    marked = mark_prompt((TOKENIZER,), case["prompt"], case["caption"], parts, joined=True)
    ids = marked.ids[0].tolist()
    assert len(ids) == 77
    assert ids[: ids.index(TOKENIZER.eos_token_id) + 1] == case["clean_input_ids"]
    assert marked.token_mask.nonzero().flatten().tolist() == case["facial_positions"]
    assert [f"{part}</w>" for part in marked.parts] == case["tokens_at_facial_positions"]
    assert marked.text == case["prompt_text_only"]


TOKENIZER = clip_tokenizer()
