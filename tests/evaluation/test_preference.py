"""HPSv2, MPS, Q-Align and Segment Anything: the code that reads them, on models of toy width made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPModel,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

from likeness.diffusion.clip_tokenizer import clip_tokenizer
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.evaluation.case import Case
from likeness.evaluation.metrics.preference import HumanPreference, MultiDimensionalPreference, VisualLevel
from likeness.evaluation.metrics.segmentation import SegmentationConsistency
from likeness.evaluation.multi_preference import CONDITION, NEAR, CrossModel, load_mps
from likeness.evaluation.preference_models import LEVELS, load_hpsv2, load_levels
from likeness.evaluation.segmenters import SamRegions, load_sam
from likeness.evaluation.suite import Given
from tests.evaluation.tiny_vlm import write_model
from tests.methods.toys import picture

SIDE = 32


def clip() -> CLIPModel:
    torch.manual_seed(0)
    tower = {"num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 32, "hidden_size": 16}
    tower |= {"hidden_act": "gelu", "projection_dim": 24}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**tower, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    return CLIPModel(config).eval()


def open_clip_names(model: CLIPModel) -> dict[str, torch.Tensor]:
    """The tensors as OpenCLIP's CLIP holds them, built field by field from its class's definition."""
    state = model.state_dict()
    out = {
        "logit_scale": state["logit_scale"],
        "text_projection": state["text_projection.weight"].T,
        "visual.proj": state["visual_projection.weight"].T,
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
             "ln_final": "text_model.final_layer_norm"}  # fmt: skip
    for tower, ours in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        for layer in range(2):
            here, there = f"{tower}.resblocks.{layer}", f"{ours}.encoder.layers.{layer}"
            norms |= {f"{here}.ln_1": f"{there}.layer_norm1", f"{here}.ln_2": f"{there}.layer_norm2"}
            norms |= {f"{here}.mlp.c_fc": f"{there}.mlp.fc1", f"{here}.mlp.c_proj": f"{there}.mlp.fc2"}
            norms |= {f"{here}.attn.out_proj": f"{there}.self_attn.out_proj"}
            for kind in ("weight", "bias"):
                rows = [state[f"{there}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                out[f"{here}.attn.in_proj_{kind}"] = torch.cat(rows)
    out |= {f"{a}.{kind}": state[f"{b}.{kind}"] for a, b in norms.items() for kind in ("weight", "bias")}
    return {key: tensor.clone().contiguous() for key, tensor in out.items()}


def pixels_of(image: Image.Image) -> torch.Tensor:
    """As CLIP is fed: bicubic to its side, ImageNet-like mean and spread of its own."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    unit = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
    return ((unit - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def ids_of(text: str, pad: str = "<|endoftext|>") -> torch.Tensor:
    tokens = clip_tokenizer(pad)([text], padding="max_length", max_length=77, truncation=True)["input_ids"]
    return torch.tensor(tokens)


def test_hpsv2_is_the_cosine_of_its_own_clip(tmp_path: Path) -> None:
    model = clip()
    torch.save({"state_dict": open_clip_names(model), "epoch": 3}, tmp_path / "HPS_v2_compressed.pt")
    cases = [Case(str(n), picture(n), words, ()) for n, words in enumerate(("a red hat", "a green coat", ""))]
    read = load_hpsv2(tmp_path / "HPS_v2_compressed.pt", "Apache-2.0")
    found = HumanPreference(read)(cases)
    with torch.no_grad():
        wanted = [
            F.cosine_similarity(
                model.get_image_features(pixel_values=pixels_of(case.image)).pooler_output,
                model.get_text_features(input_ids=ids_of(case.prompt, "!")).pooler_output,
            ).item()
            for case in cases[:2]
        ]
    assert found == pytest.approx([*wanted, np.nan], abs=2e-3, nan_ok=True)  # resized by two libraries
    assert abs(wanted[0] - wanted[1]) > 5e-3 and read.licence == "Apache-2.0"
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(IncompatibleWeightsError, match="no CLIP of OpenCLIP's names"):
        load_hpsv2(tmp_path / "other.safetensors")
    broken = {k: t for k, t in open_clip_names(model).items() if k != "ln_final.bias"}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(IncompatibleWeightsError, match=r"lacks text_model\.final_layer_norm\.bias"):
        load_hpsv2(tmp_path / "broken.safetensors")


def turned(x: torch.Tensor, place: int) -> torch.Tensor:
    """Rotary position (arXiv 2104.09864, eq. 34): channel pairs (i, i + half) as complex numbers."""
    half = len(x) // 2
    angles = torch.tensor([place / 10000 ** (2 * i / len(x)) for i in range(half)])
    spun = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones(half), angles)
    return torch.cat([spun.real, spun.imag])


def by_hand(
    net: CrossModel, seen: torch.Tensor, words: torch.Tensor, looked_at: list[bool], heads: int
) -> torch.Tensor:
    """The network position by position and head by head: (N, D), (T, D) -> (N, D)."""

    def gated(x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * gate * torch.sigmoid(gate)

    def attend(query: torch.Tensor, keys: list[torch.Tensor], values: list[torch.Tensor]) -> torch.Tensor:
        likely = torch.stack([query @ key for key in keys]).div(len(query) ** 0.5).softmax(0)
        return sum((p * v for p, v in zip(likely, values, strict=True)), torch.zeros_like(values[0]))

    for one, two in net.layers:  # type: ignore[misc]
        cross, within = one.fn, two.fn
        rows = [word for word, counts in zip(words, looked_at, strict=True) if counts]
        keys, values = zip(*(cross.to_kv(row).chunk(2) for row in rows), strict=True)
        fresh = []
        for x in seen:
            y = F.layer_norm(x, x.shape, cross.norm.weight, cross.norm.bias)
            heard = torch.cat([attend(q, list(keys), list(values)) for q in cross.to_q(y).chunk(heads)])
            fresh.append(x + cross.to_out(heard) + cross.ff[2](gated(cross.ff[0](y))))
        seen = torch.stack(fresh)
        normal = F.layer_norm(seen, seen.shape[-1:], within.norm.weight, within.norm.bias)
        parts = [within.fused_attn_ff_proj(y).split(within.parts) for y in normal]
        keys = [turned(part[1], place) for place, part in enumerate(parts)]
        fresh = []
        for place, (x, part) in enumerate(zip(seen, parts, strict=True)):
            queries = [turned(q, place) for q in part[0].chunk(heads)]
            heard = torch.cat([attend(q, keys, [p[2] for p in parts]) for q in queries])
            fresh.append(x + within.attn_out(heard) + within.ff_out[1](gated(part[3])))
        seen = torch.stack(fresh)
    return seen


def test_mps_is_its_network_worked_by_hand(tmp_path: Path) -> None:
    model = clip()
    torch.manual_seed(1)
    net = CrossModel(24, layers=2, heads=3, head=8, widening=2)
    state = {f"model.{k}": t for k, t in model.state_dict().items()}
    state |= {f"cross_model.{k}": t for k, t in net.state_dict().items()}
    state["cross_model.layers.0.1.fn.rotary_emb.inv_freq"] = torch.zeros(4)  # published files hold it
    torch.save(state, tmp_path / "mps.pth")
    image, prompt = picture(1), "a portrait of a woman, soft light on the face"
    with torch.no_grad():
        told = model.text_model(input_ids=ids_of(prompt))
        words, whole = (
            model.text_projection(told.last_hidden_state)[0],
            model.text_projection(told.pooler_output),
        )
        condition = model.text_projection(model.text_model(input_ids=ids_of(CONDITION)).last_hidden_state)[0]
        near = [max(float(word @ other) for other in condition) for word in words]
        looked_at = [value / max(near) > NEAR for value in near]
        seen = model.visual_projection(model.vision_model(pixel_values=pixels_of(image)).last_hidden_state)[0]
        first = by_hand(net, seen, words, looked_at, heads=3)[0]
        wanted = float(model.logit_scale.exp() * F.cosine_similarity(first[None], whole))
    read = load_mps(tmp_path / "mps.pth", "not declared")
    found = MultiDimensionalPreference(read)([Case("a", image, prompt, ()), Case("b", image, "", ())])
    assert found == pytest.approx([wanted, np.nan], rel=2e-2, abs=2e-2, nan_ok=True)
    save_file({"model.x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(IncompatibleWeightsError, match="save the published module's state_dict"):
        load_mps(tmp_path / "other.safetensors")


def test_levels_are_the_chances_of_five_words(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "vlm", steps=3)
    rater = load_levels(folder, "Apache-2.0")
    image = picture(2)
    level = VisualLevel(rater, "quality")([Case("a", image, "", ())])[0]
    processor, model = rater._processor, rater._model
    asked = [
        {"type": "image", "image": image},
        {"type": "text", "text": "How would you rate the quality of this image?"},
    ]
    text = processor.apply_chat_template(
        [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
    )
    start = f"{text}The quality of the image is"
    before = processor(text=[start], images=[image], return_tensors="pt")["input_ids"].shape[1]
    logs = []
    for word in LEVELS:  # the whole text anew for each word, its letters' chances multiplied
        inputs = processor(text=[f"{start} {word}"], images=[image], return_tensors="pt")
        with torch.no_grad():
            chances = model(**inputs).logits[0].double().softmax(-1)
        # bytes are tokens here: " good" needs two to be told from " excellent", as all five do
        ids = inputs["input_ids"][0, before : before + 2].tolist()
        logs.append(float(chances[before - 1, ids[0]] * chances[before, ids[1]]))
    wanted = sum(value * p for value, p in zip((5, 4, 3, 2, 1), logs, strict=True)) / sum(logs)
    assert level == pytest.approx(wanted, abs=1e-3) and 1 < level < 5
    assert VisualLevel(rater, "aesthetics").name == "Q-Align aesthetics"
    with pytest.raises(MissingWeightsError, match="that can be loaded"):
        load_levels(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam")
    config = SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
            "patch_size": 8, "output_channels": 16, "mlp_dim": 32, "global_attn_indexes": [0],
            "window_size": 4, "num_pos_feats": 8,
        },
        prompt_encoder_config={
            "hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    model = SamModel(config)
    for parameter in model.parameters():  # so large that what is painted counts
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.5)
    model.save_pretrained(folder)
    SamProcessor(
        SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    ).save_pretrained(folder)
    return folder


def test_regions_are_those_around_a_grid_of_points(sam: Path) -> None:
    regions = load_sam(sam, "Apache-2.0")
    image = picture(0).resize((80, 64))
    masks = regions(image)
    assert masks.shape == (64, 64, 80) and masks.dtype == np.bool_ and masks.any() and not masks.all()
    assert (regions(image) == masks).all()
    model = SamModel.from_pretrained(sam).eval()
    processor = SamProcessor.from_pretrained(sam)
    small = SamRegions(model, processor, "two by two", "Apache-2.0", grid=2)(image)
    for number, (x, y) in enumerate(((20, 16), (60, 16), (20, 48), (60, 48))):  # one point at a time
        inputs = processor(image, input_points=[[[x, y]]], return_tensors="pt")
        with torch.no_grad():
            out = model(pixel_values=inputs["pixel_values"], input_points=inputs["input_points"].float())
        full = processor.post_process_masks(
            out.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        alone = full[0][0, int(out.iou_scores[0, 0].argmax())].numpy()
        assert (alone == small[number]).mean() > 0.999
    cases = [
        Case("a", image, "", (), source=image),
        Case("b", image, "", (), source=picture(5).resize((80, 64))),
    ]
    same, other = SegmentationConsistency(regions)(cases)
    assert same == 1 and other < 1
    with pytest.raises(MissingWeightsError):
        load_sam(sam / "nowhere")


def test_models_are_given_by_name_and_licence() -> None:
    assert Given.parsed("hpsv2=a/b.pt,Apache-2.0") == ("hpsv2", Given("a/b.pt", "Apache-2.0"))
    assert Given.parsed("sam=facebook/sam-vit-base") == (
        "sam",
        Given("facebook/sam-vit-base", "not declared"),
    )
    for wrong in ("hps=x", "sam", "sam="):
        with pytest.raises(InputError, match="--model wants NAME=SOURCE"):
            Given.parsed(wrong)
