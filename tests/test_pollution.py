"""What else a fine-tune changed: each number by hand, exactly zero for nothing, a report of each kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from likeness.cli.main import main
from likeness.diffusion.load import Base, load_base
from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.evaluation.case import Case, Truth
from likeness.evaluation.judge import Judge
from likeness.evaluation.metrics.changes import (
    BackgroundChange,
    IdentityChange,
    KindChange,
    LayoutChange,
    kind_changes,
)
from likeness.evaluation.metrics.faces import FaceViews
from likeness.evaluation.pollution import ParserDescriber, open_axes
from likeness.faces.parsing import CLASSES, ParserNet
from likeness.files.images import read_recipe
from likeness.methods.spf_portrait.weights import DeltaCard, base_digest, save_delta
from likeness.packs.card import record_part
from likeness.pollution import PAGE, RESULT, Tuned, off_target, open_tuned
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, picture

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v"


class Halves:
    """Regions: background (0) left of a column that the picture's first pixel gives, else cloth."""

    name = "halves"

    def __call__(self, image: Image.Image) -> np.ndarray:
        labels = np.zeros(image.size[::-1], np.int64)
        labels[:, np.asarray(image)[0, 0, 0] :] = 16
        return labels


class Told:
    """Says of a picture what stands in a table by its first pixel."""

    name = "told"

    def __init__(self, *rows: dict[str, str]) -> None:
        self.rows = rows

    def __call__(self, images):  # type: ignore[no-untyped-def]
        return [self.rows[np.asarray(image)[0, 0, 0]] for image in images]


def plain(level: int, first: int = 0) -> Image.Image:
    pixels = np.full((4, 4, 3), level, np.uint8)
    pixels[0, 0] = first
    return Image.fromarray(pixels)


def case(image: Image.Image, source: Image.Image | None) -> Case:
    return Case("1", image, "", (), source=source)


def test_identity_by_hand() -> None:
    axis = IdentityChange(FaceViews(PixelEncoder(), MiddleDetector()))
    one, two = picture(0), picture(1)
    views = axis.views
    wanted = 1 - float(views.embedding(one) @ views.embedding(two))  # type: ignore[operator]
    found = axis([case(one, two), case(one, one), case(one.copy(), one)])
    assert found[0] == pytest.approx(wanted, abs=1e-6)
    assert found[1] == found[2] == 0.0, "exactly"

    class Blind(MiddleDetector):
        def __call__(self, image):  # type: ignore[no-untyped-def]
            return [] if image.getpixel((0, 0)) == (9, 9, 9) else super().__call__(image)

    gone = Image.new("RGB", (96, 96), (9, 9, 9))
    lost = IdentityChange(FaceViews(PixelEncoder(), Blind()))(
        [case(gone, one), case(one, gone), case(gone, gone)]
    )
    assert lost[0] == lost[1] == 1 and np.isnan(lost[2])


def test_layout_and_background_by_hand() -> None:
    two, three = plain(100, 2), plain(130, 3)  # background 2 columns and 3 of 4
    # background: 8 of 12 pixels in common, cloth: 4 of 8 -> mean IoU (2/3 + 1/2) / 2
    assert LayoutChange(Halves())([case(three, two)]) == pytest.approx([1 - (2 / 3 + 1 / 2) / 2])
    # in common: 2 columns of 4, each 30 apart but the first pixel, which is 1 apart
    assert BackgroundChange(Halves())([case(three, two)]) == pytest.approx([(7 * 30 + 1) / 8 / 255])
    assert LayoutChange(Halves())([case(two, two)])[0] == BackgroundChange(Halves())([case(two, two)])[0] == 0
    assert np.isnan(BackgroundChange(Halves())([case(plain(1, 0), two)])[0]), "no background in common"


def test_attributes_by_hand() -> None:
    told = Told({"hat": "cap", "hair": "bob"}, {"hair": "bun"}, {})
    zero, one, two = (plain(50, first) for first in range(3))
    cases = [case(one, zero), case(zero, zero), case(two, two), case(two, one)]
    table = kind_changes(told, cases)
    assert table["hat"].tolist()[:2] == [1, 0] and np.isnan(table["hat"][2:]).all()
    assert table["hair"].tolist()[:2] == [1, 0] and table["hair"][3] == 1
    found = KindChange(told)(cases)
    assert found[:2].tolist() == [1, 0] and np.isnan(found[2]) and found[3] == 1

    asked = Case("1", one, "", (), source=two, truth=Truth({"hair": "bun"}))
    assert np.isnan(KindChange(told)([asked])[0]), "what was asked for is no damage"
    hatted = Case("1", zero, "", (), source=one, truth=Truth({"hat": "cap"}))
    assert np.isnan(KindChange(told)([hatted])[0]), "nor is the hair under a hat"

    def labels(image: Image.Image) -> np.ndarray:
        found = np.zeros((100, 100), np.int64)
        found[: image.getpixel((1, 1))[0]] = CLASSES.index("hat")  # type: ignore[index]
        return found

    rows = ParserDescriber(labels)([plain(0), plain(9)])
    assert [row["hat"] for row in rows] == ["not there", "there"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy pack with a parser and a recogniser, and beside it what was made of its base."""
    folder = tiny.write_mini(tmp_path_factory.mktemp("toy") / "toy-pack")
    torch.manual_seed(5)
    ParserNet(width=12).save_pretrained(folder / "parser")
    record_part(
        folder, "unet", "unet", parameters=1, seed=0, steps=1, hours=0.0, people=1, pictures=1, first_seed=0
    )
    base = load_base(folder)
    names = [name for name, _ in base.unet.named_parameters() if ".attn2.to_v." in name]
    source = torch.Generator().manual_seed(1)
    weights = dict(base.unet.named_parameters())
    noise = {name: torch.randn(weights[name].shape, generator=source) for name in names}
    write_delta(
        base, {name: 0 * tensor for name, tensor in noise.items()}, folder.parent / "identity.safetensors"
    )
    write_delta(
        base, {name: 0.03 * tensor for name, tensor in noise.items()}, folder.parent / "delta.safetensors"
    )
    down, up = torch.randn(2, 32, generator=source), torch.randn(32, 2, generator=source)
    pair = {"lora_A": 0.3 * down, "lora_B": 0.3 * up}
    tensors = {f"unet.{LAYER}.{part}.weight": tensor for part, tensor in pair.items()}
    save_file(tensors, folder.parent / "lora.safetensors")
    shutil.copytree(folder, folder.parent / "naive")
    file = folder.parent / "naive" / "unet" / "diffusion_pytorch_model.safetensors"
    state = {
        name: tensor + 0.08 * torch.randn(tensor.shape, generator=source)
        for name, tensor in load_file(file).items()
    }
    save_file(state, file)
    return folder


def write_delta(base: Base, delta: dict[str, torch.Tensor], file: Path) -> None:
    card = DeltaCard("mini", "toy-pack", base_digest(base), ("a red hat",), "CC0-1.0")
    save_delta(delta, card, file, torch.float32)


def test_what_is_given_is_known(pack: Path, tmp_path: Path) -> None:
    place = pack.parent
    assert open_tuned(str(place / "delta.safetensors")) == Tuned(
        str(place / "delta.safetensors"), "delta", 1.0, ("a red hat",)
    )
    assert open_tuned(f"{place / 'lora.safetensors'}@0.5") == Tuned(
        str(place / "lora.safetensors"), "LoRA", 0.5
    )
    (tmp_path / "trained").mkdir()
    inside = tmp_path / "trained" / "pytorch_lora_weights.safetensors"
    shutil.copy(place / "lora.safetensors", inside)
    assert open_tuned(f"{tmp_path / 'trained'}@0.5") == Tuned(str(inside), "LoRA", 0.5), "as diffusers writes"
    assert open_tuned(str(place / "naive")).kind == open_tuned("sd15").kind == "fine-tune"
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    shutil.copy(place / "delta.safetensors", tmp_path / "run" / "adapter")
    assert open_tuned(str(tmp_path / "run")).kind == "delta", "a training's run folder"
    with pytest.raises(MissingWeightsError, match=r"no file nowhere.safetensors"):
        open_tuned("nowhere.safetensors")
    with pytest.raises(InputError, match="which has no scale"):
        open_tuned(f"{place / 'naive' / 'unet' / 'diffusion_pytorch_model.safetensors'}@2")


def test_prompts_keep_off_the_target() -> None:
    for family in ("mini", "sd15"):
        found = off_target(family, 8, 3, ["wearing a red hat"])
        assert len(found) == len(set(found)) == 8 and found == off_target(family, 8, 3, ["wearing a red hat"])
        assert not [text for text in found if "hat" in text.lower().replace(".", " ").split()]
        assert found != off_target(family, 8, 4, ["wearing a red hat"])
    every = off_target("sd15", 500, 3)
    assert len(every) == 72, "each of 36 of a man and of a woman"
    assert len(set(every)) == 72


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    with pytest.raises(SystemExit) as stop:
        main(["pollution", *words, "--json"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err or out
    document: dict = json.loads(out)  # type: ignore[type-arg]
    return document


def test_the_report_of_every_kind(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = [
        "-p",
        "a man with short hair",
        "-p",
        "a woman in blue glasses",
        "--steps",
        "2",
        "--device",
        "cpu",
    ]
    found = {}
    for name in ("identity.safetensors", "delta.safetensors", "lora.safetensors", "naive"):
        out = tmp_path / name
        found[name] = run(capsys, str(pack), str(pack.parent / name), "-o", str(out), *prompts)
        assert json.loads((out / RESULT).read_text()) == {k: v for k, v in found[name].items() if k != "out"}
        page = (out / PAGE).read_text()
        assert page.count("data:image/png") >= 4 and "not measured" in page
        means = [axis["mean"] for axis in found[name]["axes"].values() if axis["mean"] is not None]
        assert all(f"{mean:.3f}\N{NO-BREAK SPACE}[" in page for mean in means)
        assert read_recipe(out / "after" / "001.png")["request"]["prompt"] == "a man with short hair"
    none = found["identity.safetensors"]
    assert none["unchanged_pictures"] == none["pictures"] == 2
    assert set(none["axes"]) == {"layout", "background", "picture", "attributes"}
    for axis in none["axes"].values():
        assert axis["mean"] in (0.0, None) and axis["low"] in (0.0, None) and axis["high"] in (0.0, None)
        assert axis["another_seed"]["mean"] is None or axis["another_seed"]["mean"] >= 0
    assert none["axes"]["picture"]["mean"] == 0.0 and none["axes"]["picture"]["another_seed"]["mean"] > 0
    assert none["response"]["mean"] == 0.0, "with the words it paints the same as the base with them"
    assert "identity" in none["not_measured"]
    for name, kind in (("delta.safetensors", "delta"), ("lora.safetensors", "LoRA"), ("naive", "fine-tune")):
        document = found[name]
        assert document["tuned"]["kind"] == kind
        assert document["axes"]["picture"]["mean"] > 0 and document["unchanged_pictures"] == 0
    assert found["naive"]["axes"]["picture"]["mean"] > found["delta.safetensors"]["axes"]["picture"]["mean"]
    assert "response" in found["lora.safetensors"]["not_measured"], "a LoRA does not know its words"
    # what `scale` 0 makes of it is nothing
    half = run(
        capsys, str(pack), f"{pack.parent / 'lora.safetensors'}@0", "-o", str(tmp_path / "zero"), *prompts
    )
    assert half["unchanged_pictures"] == 2 and half["axes"]["picture"]["mean"] == 0


def test_a_delta_of_another_base_is_told(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    delta = load_file(pack.parent / "identity.safetensors")
    card = DeltaCard("mini", "another", "0" * 64, ("a red hat",), "CC0-1.0")
    save_delta(delta, card, tmp_path / "other.safetensors", torch.float32)
    words = ["-p", "a man", "--steps", "1", "--device", "cpu", "-o", str(tmp_path / "out")]
    found = run(capsys, str(pack), str(tmp_path / "other.safetensors"), *words)
    assert any("was trained on another" in warning for warning in found["warnings"])


def test_axes_without_models_say_why(tmp_path: Path) -> None:
    axes = open_axes(tmp_path, Judge(reason="nobody looks"))
    assert axes.metrics == () and axes.describer is None
    assert axes.missing["identity"] == "nobody looks" and set(axes.missing) == {
        "identity", "layout", "background", "picture", "attributes",
    }  # fmt: skip


def test_families_do_not_mix(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.write_sd15(tmp_path / "sd15")
    with pytest.raises(SystemExit) as stop:
        main(["pollution", str(pack), str(other), "-o", str(tmp_path / "out"), "-p", "a man", "--steps", "1"])
    assert stop.value.code == IncompatibleWeightsError.exit_code
    assert "is of the family sd15" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing was painted for it"


def test_what_is_not_there_is_told_before_anything_is_painted(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(
            ["pollution", str(pack), str(tmp_path / "nowhere"), "-o", str(tmp_path / "out"), "--prompts", "2"]
        )
    err = capsys.readouterr().err
    assert stop.value.code in (InputError.exit_code, MissingWeightsError.exit_code)
    assert "nowhere" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
