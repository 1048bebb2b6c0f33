"""The CPU's faster route paints what torch paints, processors and all, and reports nothing to anybody."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from likeness.diffusion.attention import attached
from likeness.diffusion.load import Base, load_base
from likeness.diffusion.openvino import OpenVinoUnet, OpenVinoVae
from likeness.diffusion.prompts import encode_prompts
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import InputError
from likeness.methods.consistentid.weights import new_adapter
from likeness.packs import mini_path
from tests import tiny
from tests.methods.toys import consistentid_sizes


@pytest.fixture(scope="module", params=["mini", "sdxl"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Base]:
    folder = tmp_path_factory.mktemp("base") / request.param
    (tiny.write_mini if request.param == "mini" else tiny.write_sdxl)(folder)
    plain = load_base(folder)
    exact = OpenVinoUnet(plain.unet, "f32"), OpenVinoVae(plain.vae, "f32")
    return plain, replace(plain, unet=exact[0], vae=exact[1])


def inputs(base: Base, seed: int, batch: int = 2, rows: int = 77) -> tuple[tuple[torch.Tensor, ...], dict]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, base.unet.config.in_channels, 8, 8, generator=generator)
    text = torch.randn(batch, rows, base.unet.config.cross_attention_dim, generator=generator)
    if base.family != "sdxl":
        return (latents, torch.tensor(300), text), {}
    width = base.text_encoders[1].config.projection_dim
    added = {
        "text_embeds": torch.randn(batch, width, generator=generator),
        "time_ids": torch.full((batch, 6), 64.0),
    }
    return (latents, torch.tensor(300), text), {"added_cond_kwargs": added}


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


@torch.no_grad()
def test_the_unet_says_the_same(both: tuple[Base, Base]) -> None:
    plain, fast = both
    for seed in (0, 1):
        given, added = inputs(plain, seed)
        wanted = plain.unet(*given, **added).sample
        first = fast.unet(*given, **added).sample
        assert 0 < apart(wanted, first) < 1e-4  # 0 would be torch's own answer
        given_later, _ = inputs(plain, seed + 5)
        fast.unet(*given_later, **added)
        assert apart(wanted, first) < 1e-4  # not written over by the later call
    latents, _, _ = inputs(plain, 2, batch=1)[0]
    assert apart(plain.vae.decode(latents).sample, fast.vae.decode(latents).sample) < 1e-4
    pixels = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    wanted, found = (base.vae.encode(pixels).latent_dist for base in both)
    assert 0 < apart(wanted.mean, found.mean) < 1e-4
    assert apart(wanted.std, found.std) < 1e-4


@torch.no_grad()
def test_each_picture_may_have_its_own_timestep(both: tuple[Base, Base]) -> None:
    """As in training, where a frozen teacher is asked under autocast."""
    plain, fast = both
    (latents, _, text), added = inputs(plain, 0)
    times = torch.tensor([20, 900])
    wanted = plain.unet(latents, times, text, **added).sample
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = OpenVinoUnet(plain.unet, "f32")(latents, times, text, **added).sample
    assert found.dtype == torch.float32
    assert apart(wanted, found) < 1e-4
    assert apart(wanted[1], fast.unet(latents, times[:1], text, **added).sample[1]) > 1e-3


@torch.no_grad()
def test_bf16_is_near_enough_on_the_pack_that_comes_along() -> None:
    plain, fast = load_base(mini_path()), load_base(mini_path(), device="openvino")
    assert (plain.runtime, fast.runtime) == ("torch", "openvino")
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 16, 16, 16, generator=generator)
    rows = encode_prompts(plain, ["a woman in a red hat", ""]).rows
    import openvino  # loaded by now, without its telemetry

    # A processor without bf16 computes in fp32 whatever it is asked for.
    rounded = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    least, most = (1e-4, 0.03) if rounded else (0.0, 1e-4)
    for step in (999, 500, 20):
        given = latents, torch.tensor(step), rows
        assert least < apart(plain.unet(*given).sample, fast.unet(*given).sample) < most
    assert least < apart(plain.vae.decode(latents).sample, fast.vae.decode(latents).sample) < most


@torch.no_grad()
def test_attached_processors_and_their_scales_count(both: tuple[Base, Base]) -> None:
    plain, fast = both
    if plain.family != "mini":
        pytest.skip("one family is enough")
    torch.manual_seed(0)
    adapter = new_adapter(plain, consistentid_sizes(plain)).requires_grad_(False)
    for parameter in adapter.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    given, _ = inputs(plain, 0, rows=81)
    answers = []
    for scale in (1.0, 0.0):
        adapter.set_scales(scale, scale)
        with attached(plain.unet, adapter.processors):
            wanted = plain.unet(*given).sample
        with attached(fast.unet, adapter.processors):
            answers.append(fast.unet(*given).sample)
        assert apart(wanted, answers[-1]) < 1e-4
    assert apart(*answers) > 0.05
    assert all(type(p).__module__.startswith("diffusers") for p in fast.unet.attn_processors.values())


def test_it_paints_the_same_picture_twice(both: tuple[Base, Base]) -> None:
    plain, fast = both
    if plain.family != "mini":
        pytest.skip("words alone paint on bases with one text encoder")
    wanted = paint_text(plain, ["a red hat"], [3], steps=4)
    pictures = [paint_text(fast, ["a red hat"], [3], steps=4) for _ in range(2)]
    assert torch.equal(*pictures)
    assert (wanted - pictures[0]).abs().max() < 1e-3


def test_a_signal_after_painting_is_heard(tmp_path: Path) -> None:
    """OpenVINO's own signal stack made the next signal a crash."""
    code = (
        "import os, signal, sys; from likeness.diffusion.load import load_base;"
        "from likeness.diffusion.text_to_image import paint_text;"
        "paint_text(load_base(sys.argv[1], device='openvino'), ['a man'], [0], steps=2);"
        "heard = []; signal.signal(signal.SIGTERM, lambda *_: heard.append(1));"
        "os.kill(os.getpid(), signal.SIGTERM); assert heard"
    )
    folder = tiny.write_mini(tmp_path / "mini")
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_its_telemetry_is_never_loaded() -> None:
    code = (
        "from likeness.diffusion.openvino import require_openvino; require_openvino(); import sys;"
        "from openvino.tools.ovc import telemetry_utils;"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub');"
        "assert not [n for n, m in sys.modules.items() if m and n.startswith('openvino_telemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_or_a_gpu_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tiny.write_mini(tmp_path / "mini")
    with pytest.raises(InputError, match="no device 'toaster'"):
        load_base(folder, device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            load_base(folder, device="cuda")
    for other, there in (("mps", torch.backends.mps.is_available()), ("xpu", torch.xpu.is_available())):
        if not there:
            with pytest.raises(InputError, match=f"no device '{other}'"):
                load_base(folder, device=other)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"likeness\[openvino\]"):
        load_base(folder, device="openvino")
