"""`likeness generate` from the command line to the saved files, on a toy pack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file

from likeness.catalog import load_pipeline
from likeness.cli.main import main
from likeness.diffusion.load import load_base
from likeness.faces.embed import JudgeRecogniserNet, RecogniserNet
from likeness.faces.landmarks import LandmarkNet
from likeness.files.images import read_image, read_recipe, write_png
from likeness.methods.consistentid.config import ConsistentIDSizes
from likeness.methods.consistentid.weights import new_adapter, save_adapter
from likeness.methods.spf_portrait.weights import DeltaCard, save_delta
from tests import tiny
from tests.methods.toys import picture

BOX = "24,19,72,77"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole pack of untrained parts."""
    folder = tiny.write_mini(tmp_path_factory.mktemp("pack") / "toy-pack")
    torch.manual_seed(4)
    RecogniserNet(width=4, depth=(1, 1), dim=48).save_pretrained(folder / "recogniser")
    JudgeRecogniserNet(width=4, depth=(1, 1), dim=32).save_pretrained(folder / "judge_recogniser")
    LandmarkNet().save_pretrained(folder / "landmarks")
    base = load_base(folder)
    sizes = ConsistentIDSizes(
        "mini",
        text_width=base.text_width,
        image_width=32,
        id_width=48,
        part_width=32,
        part_depth=1,
        part_heads=2,
        id_depth=1,
        id_heads=2,
        lora_rank=2,
    )
    save_adapter(new_adapter(base, sizes), folder / "adapters" / "consistentid")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    write_png(picture(0), file)
    return file


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["generate", *(str(word) for word in words)])
    return int(left.value.code or 0)


def test_from_photo_to_files(
    pack: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--reference", photo, "--prompt", "a man wearing a red hat", "--base", pack, "--out", out]
    words += ["--steps", 2, "--seed", 5, "--count", 2, "--face-box", BOX, "--device", "cpu", "--json"]
    words += ["--option", "eta=0.5", "--option", "caption=A man with one face."]
    words += ["--identity-scale", "0.3,0.5:1"]
    assert run(*map(str, words)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["out"] == str(out)
    assert [p["seed"] for p in document["pictures"]] == [5, 6]
    recipe = read_recipe(out / document["pictures"][0]["file"])
    assert recipe["request"]["steps"] == 2
    told = recipe["request"]["options"]
    assert (told["eta"], told["caption"]) == (0.5, "A man with one face.")
    assert told["identity_scale"] == [[0, 0.3], [0.5, 1]]
    assert recipe["method"] == "consistentid"
    assert (out / "result.json").is_file()
    assert (out / "contact-sheet.png").is_file()
    assert any("sitters only" in warning for warning in document["warnings"])

    again = tmp_path / "again"
    assert run(*map(str, [*words[:7], again, *words[8:]])) == 0
    for entry in document["pictures"]:
        one, other = read_recipe(out / entry["file"]), read_recipe(again / entry["file"])
        assert one["pixels_sha256"] == other["pixels_sha256"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--face-box", "1,2,3"], 2, "four numbers"),
        (["--method", "consistentld"], 2, "consistentid"),
        (["--base", "no/such/base"], 2, "no base"),
        (["--reference", "nowhere.jpg"], 3, "does not exist"),
        (["--merge-step", "3"], 2, "merge-step"),
        (["--identity-scale", "3"], 2, "--identity-scale takes a strength from 0 to 2"),
        (["--identity-scale", "0.3,1.0"], 2, "--identity-scale takes a strength from 0 to 2"),
        (["--identity-scale", "0.3,1:1"], 2, "whose shares begin at 0"),
        (["--adapter", "nowhere"], 6, "no adapter"),
        (["--option", "second-pass=0"], 2, "no option 'second-pass'; there are merge_step"),
        (["--option", "eta=3"], 2, "'eta'"),
        (["--option", "eta"], 2, "--option takes NAME=VALUE"),
        (["--merge-step", "0.5", "--option", "merge_step=1"], 2, "--option merge_step says again"),
    ],
)
def test_mistakes_are_one_sentence(
    pack: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    given = ["-r", photo, "-p", "a man", "--out", tmp_path / "out", "--steps", "1", "--face-box", BOX]
    base = [] if "--base" in words else ["--base", str(pack)]
    assert run(*given, *base, *words) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_people_and_a_picture_painted_into(
    pack: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.methods.toys import MiddleDetector

    # Faces cannot be found by an untrained network; everything else is as the command has it.
    monkeypatch.setattr("likeness.references.find_detector", lambda *_: MiddleDetector())
    monkeypatch.setattr("likeness.methods.consistentid.loading.find_detector", lambda *_: MiddleDetector())
    common = ["-p", "a man", "--base", pack, "--steps", 1, "--device", "cpu", "--json"]
    other = tmp_path / "other@photo.png"
    write_png(picture(1), other)
    two = ["--person", photo, "--person", other, "--person-prompt", "a man", "--person-prompt", "a woman"]
    assert run(*map(str, [*two, *common, "--out", tmp_path / "two"])) == 0
    document = json.loads(capsys.readouterr().out)
    recipe = read_recipe(tmp_path / "two" / document["pictures"][0]["file"])
    assert [one["prompt"] for one in recipe["request"]["people"]] == ["a man", "a woman"]
    assert len(recipe["settings"]["people_px"]) == len(document["pictures"][0]["people"]) == 2
    assert recipe["settings"]["size_px"] == [112, 64]

    boxed = ["--person", f"{photo}@0,0,64,64", "--person", f"{other}@32,0,96,64", "--size", "96x64"]
    assert run(*map(str, [*boxed, *common, "--out", tmp_path / "boxed"])) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["size_px"] == [96, 64]

    into = ["-r", photo, "--image", other, "--strength", 0.5, "--image-box", BOX]
    assert run(*map(str, [*into, *common, "--out", tmp_path / "into"])) == 0
    document = json.loads(capsys.readouterr().out)
    recipe = read_recipe(tmp_path / "into" / document["pictures"][0]["file"])
    assert recipe["request"]["strength"] == 0.5
    assert recipe["request"]["options"]["target_box"] == [float(side) for side in BOX.split(",")]
    assert recipe["request"]["image"]["size_px"] == [96, 96]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--person", "PHOTO", "-r", "PHOTO"], "Give one of --reference"),
        ([], "Give one of --reference"),
        (["--person", "PHOTO@1,2"], "--person takes four numbers"),
        (["--person", "PHOTO", "--person-prompt", "a", "--person-prompt", "b"], "as many --person-prompt"),
        (["-r", "PHOTO", "--face-box", BOX, "--size", "64"], "--size takes WIDTHxHEIGHT"),
        (["-r", "PHOTO", "--face-box", BOX, "--lora", "nowhere@x"], "FILE@SCALE"),
        (["-r", "PHOTO", "--face-box", BOX, "--lora", "nowhere@nan"], "FILE@SCALE"),
        (["-r", "PHOTO", "--face-box", BOX, "--lora", "nowhere"], "There is no LoRA"),
        (["-r", "PHOTO", "--face-box", BOX, "--controlnet", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_about_people_and_pictures(
    pack: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    given = [word.replace("PHOTO", str(photo)) for word in words]
    assert run("-p", "a man", "--base", pack, "--out", tmp_path / "out", "--steps", "1", *given) != 0
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_taught_words_from_a_delta(
    pack: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = dict(load_base(pack).unet.named_parameters())
    name = next(name for name in weights if "attn2.to_v" in name)
    hat = tmp_path / "hat.safetensors"
    save_delta({name: torch.randn_like(weights[name])}, DeltaCard("mini", "toy", "", ("a red hat",)), hat)
    words = ["-p", "a man", "--base", pack, "--steps", 2, "--device", "cpu", "--json", "--seed", 3]

    def painted(*more: str | Path) -> tuple[str, dict[str, object], str]:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        assert run(*map(str, [*words, *more, "--out", out])) == 0
        recipe = read_recipe(out / json.loads(capsys.readouterr().out)["pictures"][0]["file"])
        return recipe["method"], recipe["request"]["options"], recipe["pixels_sha256"]

    method, options, whole = painted("--customize", hat, "--target", "a red hat")
    assert (method, options) == ("spf-portrait", {"target": "a red hat"})
    assert painted("--customize", f"{hat}@0", "--target", "a red hat")[2] != whole
    assert painted("--customize", hat)[2] != whole
    assert run("-p", "a man", "--base", str(pack), "--target", "x", "--out", str(tmp_path / "no")) == 2
    assert "comes without taught words" in capsys.readouterr().err
    own = tmp_path / "own"
    shutil.copytree(pack, own)
    (own / "adapters" / "spf-portrait").mkdir(parents=True)
    shutil.copyfile(hat, own / "adapters" / "spf-portrait" / "delta.safetensors")
    assert painted("--base", own, "--target", "a red hat")[::2] == ("spf-portrait", whole)
    [file] = list(max(tmp_path.glob("out-*"), key=lambda f: f.stat().st_ctime_ns).glob("001-*.png"))
    with pytest.raises(SystemExit) as left:
        main(["replay", str(file), "--base", str(own), "--device", "cpu"])
    assert not left.value.code, "the pack's own delta is found again"
    capsys.readouterr()
    assert len(load_pipeline("spf-portrait", own).deltas) == 1  # type: ignore[attr-defined]
    assert load_pipeline("spf-portrait", own, adapter={}).deltas == ()  # type: ignore[attr-defined]
    for mistake, said in (
        (["--customize", str(hat), "-r", str(photo)], "Give one of --reference"),
        (["-r", str(photo), "--target", "x"], "Give one of --reference"),
        (["--customize", f"{hat}@x"], "--customize takes FILE or FILE@SCALE"),
        (["--customize", str(hat), "--adapter", str(hat)], "leave --adapter and --judge away"),
    ):
        assert run("-p", "a man", "--base", str(pack), "--out", str(tmp_path / "no"), *mistake) == 2
        assert said in capsys.readouterr().err


def test_attributes_one_after_another_and_their_maps(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for number, name in enumerate(("hat", "glasses")):
        delta = {
            key: torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) / 9
            for key, p in load_base(pack).unet.named_parameters()
            if ".attn2.to_v." in key
        }
        files.append(tmp_path / f"{name}.safetensors")
        save_delta(delta, DeltaCard("mini", "mini", "", (name,)), files[-1])
    words = ["-p", "a man", "--base", pack, "--steps", 3, "--device", "cpu", "--json", "--seed", 3]
    words += [
        "--customize",
        files[0],
        "--customize",
        files[1],
        "--target",
        "a red hat",
        "--target",
        "glasses",
    ]

    def painted(out: str, *more: str | int) -> tuple[list[dict[str, object]], list[str]]:
        assert run(*map(str, [*words, "--out", tmp_path / out, *more])) == 0
        pictures = json.loads(capsys.readouterr().out)["pictures"]
        recipes = [read_recipe(tmp_path / out / one["file"]) for one in pictures]
        assert {recipe["request"]["seed"] for recipe in recipes} == {3}
        return pictures, [recipe["pixels_sha256"] for recipe in recipes]

    added, first = painted("added", "--one-by-one", "add")
    assert [one["variant"] for one in added] == ["as it is", "1: + a red hat", "2: + glasses"]
    replaced, second = painted("replaced", "--one-by-one", "replace", "--show-map", 2)
    assert first[:2] == second[:2] and first[2] != second[2] and len({*first, *second}) == 4
    assert painted("both")[1] == [first[2]], "all at once is what they add up to"
    assert replaced[0]["extras"] == {}
    for one in replaced[1:]:
        file = tmp_path / "replaced" / one["extras"]["map"]  # type: ignore[index]
        assert read_image(file).width > 3 * 160, "map, difference, and the phrase"
    for mistake in (["--one-by-one", "add"], ["--show-map", "2"]):
        assert (
            run(
                "-p",
                "a",
                "--base",
                str(pack),
                "--out",
                str(tmp_path / "no"),
                "--customize",
                str(files[0]),
                *mistake,
            )
            == 2
        )
        assert "need --target" in capsys.readouterr().err


def test_what_was_added_to_the_base_is_replayed(
    pack: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet, files = load_base(pack).unet, tmp_path / "weights"
    files.mkdir()
    query = next(name for name, _ in unet.named_modules() if name.endswith("attn1.to_q"))
    down, up = torch.randn(2, unet.get_submodule(query).in_features), torch.randn(32, 2)
    save_file(
        {f"unet.{query}.lora_A.weight": down, f"unet.{query}.lora_B.weight": up}, files / "hat.safetensors"
    )
    value = next(name for name in dict(unet.named_parameters()) if ".attn2.to_v." in name)
    delta = {value: torch.randn_like(unet.get_parameter(value))}
    save_delta(delta, DeltaCard("mini", "toy", "", ("glasses",)), files / "glasses.safetensors")
    net = ControlNetModel.from_unet(unet, conditioning_channels=3)
    torch.nn.init.normal_(net.controlnet_mid_block.weight)
    net.save_pretrained(files / "net")

    def replayed(name: str, *words: str | Path) -> None:
        common = ["-p", "a man", "--base", pack, "--steps", 2, "--device", "cpu", "--json"]
        assert run(*map(str, [*common, *words, "--out", tmp_path / name])) == 0
        painted = tmp_path / name / json.loads(capsys.readouterr().out)["pictures"][0]["file"]
        assert str(tmp_path) not in json.dumps(read_recipe(painted)), "no folder of this computer"
        again = ["replay", str(painted), "--base", str(pack), "--device", "cpu"]
        for more, code, said in (
            ([], 2, "that took part are not here"),
            (["--weights", str(files)], 0, "is the same"),
        ):
            with pytest.raises(SystemExit) as left:
                main([*again, *more])
            assert (left.value.code or 0, said in "".join(capsys.readouterr())) == (code, True)

    person = ["-r", photo, "--face-box", BOX]
    replayed("lora", *person, "--lora", f"{files / 'hat.safetensors'}@0.5")
    replayed("net", *person, "--controlnet", files / "net", "--control-image", photo)
    replayed("delta", "--customize", f"{files / 'glasses.safetensors'}@0.5", "--target", "glasses")


def test_what_is_not_for_commercial_use_is_refused_before_painting(
    pack: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(pack, tmp_path / "own")
    (own / "pack.json").write_text('{"licence": "Apache-2.0"}')
    words = ["-r", photo, "-p", "a man", "--steps", 1, "--face-box", BOX, "--device", "cpu", "--commercial"]
    assert run(*map(str, [*words, "--base", own, "--out", tmp_path / "out"])) == 0
    capsys.readouterr()

    assert run(*map(str, [*words, "--base", pack, "--out", tmp_path / "not"])) == 5
    said = capsys.readouterr().err
    assert (
        "diffusion_pytorch_model.safetensors: see the folder's own licence" in said and said.count("\n") == 1
    )
    assert "Apache-2.0" not in said, "only what stands in the way is named"
    assert not (tmp_path / "not").exists()
