"""The mini pack: its sizes, its presets (one function a part), its seeds. Everything at 128 px.

Each preset returns an untrained model of an ordinary diffusers or transformers class.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL
    from likeness.faces.attributes import AttributeNet
    from likeness.faces.embed import JudgeRecogniserNet, RecogniserNet
    from likeness.faces.landmarks import LandmarkNet
    from likeness.faces.parsing import ParserNet

__all__ = [
    "BORROWED",
    "GUIDANCE",
    "MINUTES",
    "NAME",
    "SIZE_PX",
    "STEPS",
    "attribute_net",
    "autoencoder",
    "first_seed",
    "guide",
    "image_encoder",
    "image_processor",
    "judge_recogniser",
    "landmark_net",
    "load_attributes",
    "load_landmarks",
    "load_recogniser",
    "mini_path",
    "pack_folder",
    "parser",
    "recogniser",
    "scheduler",
    "text_encoder",
    "to_unit",
    "unet",
    "vit",
    "vit_processor",
]

NAME = "mini"
SIZE_PX = 128
BORROWED = ()
LATENT_CHANNELS = 16
TOKENS = 77
WIDTH = 192
"""Of the text encoder, the image encoder and the UNet's cross-attention."""
VOCABULARY = 2048

STEPS, GUIDANCE = 30, 4.0
"""How the pack paints unless told otherwise: denoising steps and guidance (`diffusion.guidance`)."""

MINUTES = {
    "autoencoder": 25.0,
    "decoder": 15.0,
    "clip": 25.0,
    "instructions": 12.0,
    "landmarks": 15.0,
    "recogniser": 40.0,
    "judge_recogniser": 30.0,
    "parser": 25.0,
    "attributes": 60.0,
    "vit": 35.0,
    "unet": 400.0,
    "guide": 100.0,
}
"""How long each part trains unless told otherwise, on two cores with bf16: over ten hours in all."""


def first_seed(split: str) -> int:
    """Where the people of a split begin: "train", "portraits", "edits", "collections", "views", "stand-ins",
    "dressed", "judge", "held_out" or "calibration".

    "portraits" are the people of "train", most of them straight before the camera: what
    painting is learned from, as faces are learned soonest from aligned pictures; "edits" are they too, each
    in one pose with other clothes, hair, place or light: what editing is learned from; "collections" are
    they once more, each in one sitting, turned, framed and looking otherwise; "views" are they again, each
    the same from several sides, and in "stand-ins" with another head in each; "dressed" are they and others
    who wear the same. The judge recogniser has people of its own. "calibration" are held out too, from the
    middle on: the judge's chances are fitted on them and tested on the first.
    """
    from likeness import sitters

    seeds = {
        "train": sitters.TRAINING_SEEDS,
        "portraits": sitters.TRAINING_SEEDS,
        "edits": sitters.TRAINING_SEEDS,
        "collections": sitters.TRAINING_SEEDS,
        "views": sitters.TRAINING_SEEDS,
        "stand-ins": sitters.TRAINING_SEEDS,
        "dressed": sitters.TRAINING_SEEDS,
        "judge": sitters.JUDGE_SEEDS,
        "held_out": sitters.HELD_OUT_SEEDS,
        "calibration": sitters.HELD_OUT_SEEDS[len(sitters.HELD_OUT_SEEDS) // 2 :],
    }
    return int(seeds[split].start)


def mini_path() -> Path:
    """Folder of the shipped pack, a diffusers-like folder of folders; it may be empty in a source tree."""
    return Path(__file__).parent / "mini"


def pack_folder(base: str | Path) -> Path:
    """Where a base's parts would lie were it a pack: the shipped one for "mini", else `base` itself."""
    return mini_path() if str(base) == "mini" else Path(base)


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 pictures (B, 3, H, W) -> float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def autoencoder(**sizes: Any) -> PatchAutoencoderKL:
    """f8, 16 latent channels: 128 px -> 16 x 16 x 16."""
    from likeness.diffusion.patch_autoencoder import PatchAutoencoderKL

    net: PatchAutoencoderKL = PatchAutoencoderKL(
        **{"latent_channels": LATENT_CHANNELS, "sample_size": SIZE_PX, **sizes}
    )
    return net


def text_encoder(vocabulary: int = VOCABULARY, **sizes: Any) -> Any:
    """CLIPTextModel: (B, 77) ids -> last_hidden_state (B, 77, 192), pooler_output (B, 192).

    The pooled output is the text embedding that `image_encoder`'s `image_embeds` are compared with.
    The last two ids of the vocabulary are start and end of text.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    config = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "max_position_embeddings": TOKENS,
        "projection_dim": WIDTH,
        "hidden_act": "gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    return CLIPTextModel(CLIPTextConfig(**{**config, **sizes}))


def image_encoder(**sizes: Any) -> Any:
    """CLIPVisionModelWithProjection: (B, 3, 128, 128) -> image_embeds (B, 192), 64 + 1 tokens of 192."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": SIZE_PX,
        "patch_size": 16,
        "projection_dim": WIDTH,
        "hidden_act": "gelu",
    }
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**{**config, **sizes}))


def image_processor(side_px: int = SIZE_PX) -> Any:
    """What turns a PIL picture into `image_encoder`'s input: 128 px, [-1, 1], the autoencoder's range."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(
        size={"shortest_edge": side_px},
        crop_size={"height": side_px, "width": side_px},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def landmark_net(landmarks: int, **sizes: Any) -> LandmarkNet:
    """128 px -> face or not, box, landmarks and which are visible. `landmarks`: how many."""
    from likeness.faces.landmarks import LandmarkNet
    from likeness.sitters import LANDMARKS

    swap = {"left": "right", "right": "left"}
    names = list(LANDMARKS)[:landmarks]
    mirror = tuple(names.index(" ".join(swap.get(word, word) for word in name.split())) for name in names)
    net: LandmarkNet = LandmarkNet(**{"landmarks": landmarks, "mirror": mirror, **sizes})
    return net


def load_attributes(path: Path) -> AttributeNet:
    """A finished attribute judge, float32, for inference."""
    from likeness.faces.attributes import AttributeNet

    net: AttributeNet = AttributeNet.from_pretrained(str(path), use_safetensors=True, local_files_only=True)
    net.float().eval().requires_grad_(False)
    return net


def load_landmarks(path: Path) -> LandmarkNet:
    """A finished landmark network, float32, for inference."""
    from likeness.faces.landmarks import load_landmark_net

    return load_landmark_net(str(path))


def recogniser(**sizes: Any) -> RecogniserNet:
    """Recogniser A: 112 px aligned -> 256 numbers of unit length. Methods are conditioned on it.

    Faces of 128 px pictures hold no more than a first stride of 4 sees; wider is worth more than deeper.
    """
    from likeness.faces.embed import RecogniserNet

    net: RecogniserNet = RecogniserNet(**{"width": 48, "depth": (1, 2, 2), "stride": 4} | sizes)
    return net


def judge_recogniser(**sizes: Any) -> JudgeRecogniserNet:
    """Recogniser B: the same job by another architecture, for judging only."""
    from likeness.faces.embed import JudgeRecogniserNet

    net: JudgeRecogniserNet = JudgeRecogniserNet(**sizes)
    return net


def load_recogniser(path: Path) -> RecogniserNet | JudgeRecogniserNet:
    """A finished recogniser of either kind, float32, for inference."""
    from likeness.faces.embed import TorchEncoder, load_encoder

    encoder = load_encoder(path)
    if not isinstance(encoder, TorchEncoder):
        raise InputError(f"{path} is no recogniser of a pack; give a folder with config.json.")
    net: RecogniserNet | JudgeRecogniserNet = encoder.net
    return net


def parser(**sizes: Any) -> ParserNet:
    """(B, 3, 128, 128) -> logits of CelebAMask's 19 classes (B, 19, 128, 128)."""
    from likeness.faces.parsing import ParserNet

    net: ParserNet = ParserNet(**sizes)
    return net


def attribute_net(kinds: Mapping[str, Sequence[str]], **sizes: Any) -> AttributeNet:
    """The attribute judge: what a picture shows of each kind, head pose, and where the light comes from."""
    from likeness.faces.attributes import AttributeNet

    net: AttributeNet = AttributeNet(kinds=dict(kinds), **{"width": 24, **sizes})
    return net


def vit(**sizes: Any) -> Any:
    """ViTModel without a pooling layer: (B, 3, 64, 64) -> 64 + 1 tokens of 192, the first of the whole."""
    from transformers import ViTConfig, ViTModel

    config = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": SIZE_PX // 2,
        "patch_size": 8,
    }
    return ViTModel(ViTConfig(**{**config, **sizes}), add_pooling_layer=False)


def vit_processor() -> Any:
    """What turns a PIL picture into `vit`'s input: 64 px, [-1, 1]."""
    from transformers import ViTImageProcessor

    side = SIZE_PX // 2
    return ViTImageProcessor(size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def unet(**sizes: Any) -> Any:
    """UNet2DConditionModel over 16 x 16 x 16 latents with text states of 192."""
    from diffusers import UNet2DConditionModel

    config = {
        "sample_size": SIZE_PX // 8,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": (128, 128, 192),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 32,
    }
    return UNet2DConditionModel(**{**config, **sizes})


def guide(**sizes: Any) -> Any:
    """What guidance leads away from (`diffusion.guidance`): `unet`, narrower where there are most cells.

    There it has no attention either, which would take more than half of the time.
    """
    small = {
        "block_out_channels": (64, 128, 192),
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
    }
    return unet(**{**small, **sizes})


def scheduler() -> Any:
    """DDIM over 1000 steps, v-prediction, rescaled so that the last step is pure noise.

    Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed": zero terminal
    SNR needs v-prediction and trailing time steps.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
