"""Training SCheese on triplets as `likeness dataset build cheese` makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from likeness import finetune
from likeness.cli.main import main
from likeness.data.cheese.truth import TruthAnnotator
from likeness.data.engine import build
from likeness.data.kinds import check, open_dataset
from likeness.data.triplets import Triplet, TripletSet
from likeness.diffusion.channels import with_input_channels
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.load import load_base
from likeness.diffusion.prompts import encode_prompts
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.methods.scheese import own_data
from likeness.methods.scheese.conditioning import reference_of
from likeness.methods.scheese.config import SCheeseTraining
from likeness.methods.scheese.model import SCheese
from likeness.methods.scheese.own_data import TripletTraining, load_training
from likeness.methods.scheese.weights import load_adapter, new_adapter, save_adapter
from likeness.training import Budget, Moment, TrainingOptions
from tests import tiny
from tests.data.test_cheese import builder, sitter_shots
from tests.methods.toys import ToySCheese, picture

SETTINGS = SCheeseTraining(batch_size=4, learning_rate=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triplets of two people, six of each."""
    at = tmp_path_factory.mktemp("cheese")
    sitter_shots(at / "sitters", 2)
    build(builder(at / "sitters", at / "set", TruthAnnotator()), at / "set")
    return at / "set"


@pytest.fixture
def toy(tmp_path: Path) -> ToySCheese:
    return ToySCheese(tiny.write_mini(tmp_path / "mini"))


def training(toy: ToySCheese, folder: Path, rows: list[int] | None = None) -> TripletTraining:
    data = open_dataset(folder)
    assert isinstance(data, TripletSet)
    chosen = list(range(len(data.rows))) if rows is None else rows
    return TripletTraining(data, chosen, toy.pipeline(), SETTINGS, size_px=64)  # type: ignore[arg-type]


def test_the_folder_says_what_it_is(folder: Path) -> None:
    data = open_dataset(folder)
    assert data.about.kind == "cheese"
    assert sorted(len(rows) for rows in data.people().values()) == [6, 6]
    assert check(folder) == []


def test_a_batch_is_what_painting_sees(toy: ToySCheese, folder: Path) -> None:
    whole = training(toy, folder)
    drawn = [whole.batches(Moment(draw, 0.0, draw)) for draw in range(3)]
    again = whole.batches(Moment(1, 0.9, 1))
    assert all(torch.equal(drawn[1][name], again[name]) for name in again)
    assert [len(batch["latents"]) for batch in drawn] == [4, 4, 4]

    told = torch.cat([batch["text"] for batch in drawn])
    wanted = encode_prompts(toy.base, [row.instruction for row in whole.dataset.rows]).rows
    seen = [int((told - rows).flatten(1).abs().amax(1).argmin()) for rows in wanted]
    assert sorted(seen) == list(range(12)), "each triplet once an epoch"

    reference, target = whole.dataset.pictures(0)
    painted = reference_of(reference, toy.base, toy.image_encoder)
    row = whole.known(0)
    assert torch.allclose(row["reference_latents"], painted.latents[0], atol=1e-4)
    assert torch.allclose(row["reference_states"], painted.states[0], atol=1e-3)
    aside = reference_of(target, toy.base, toy.image_encoder)
    assert torch.allclose(row["mean"], aside.latents[0], atol=1e-4)
    assert torch.allclose(row["target_states"], aside.states[0], atol=1e-3)


class Shapes:
    """Triplets of toy pictures of these sizes, (reference, target) each."""

    def __init__(self, *sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
        self.rows = [Triplet("one", "smile", *both) for both in sizes]

    def pictures(self, row: int) -> list[Image.Image]:
        told = self.rows[row]
        sizes = (told.reference_size_px, told.target_size_px)
        return [picture(2 * row + number).resize(size) for number, size in enumerate(sizes)]


def test_a_reference_is_read_whole_whatever_the_targets_shape(toy: ToySCheese) -> None:
    tall, wide = (96, 160), (160, 96)
    data = Shapes((tall, wide), (wide, wide), (tall, wide))
    whole = TripletTraining(data, range(3), toy.pipeline(), SETTINGS, size_px=64)  # type: ignore[arg-type]
    row = whole.known(0)
    reference, target = (reference_of(one, toy.base, toy.image_encoder) for one in data.pictures(0))
    assert torch.allclose(row["reference_latents"], reference.latents[0], atol=1e-4)
    assert torch.allclose(row["reference_states"], reference.states[0], atol=1e-3)
    assert torch.allclose(row["mean"], target.latents[0], atol=1e-4)
    drawn = [whole.batches(Moment(draw, 0.0, draw)) for draw in range(2)]
    assert sorted(len(batch["latents"]) for batch in drawn) == [1, 2], "a batch is of one pair of shapes"
    loss = whole.phases[0].loss(drawn[0], torch.Generator().manual_seed(0))
    assert torch.isfinite(loss["noise"])


def test_triplets_are_remembered_while_there_is_room(
    toy: ToySCheese, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_data, "KEPT_BYTES", 1)
    square = ((64, 64), (64, 64))
    whole = TripletTraining(Shapes(square, square), range(2), toy.pipeline(), SETTINGS, size_px=64)  # type: ignore[arg-type]
    first = whole.known(0)
    assert whole.known(0) is first
    whole.known(1)
    assert whole.known(0) is not first


def test_a_run_ends_in_weights_that_paint(
    toy: ToySCheese, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = training(toy, folder, list(range(6)))
    validation = learned.validation([6, 7])
    found = finetune.finetune(learned, tmp_path / "run", Budget(steps=2), validation, settings={})
    assert found["steps"] == 2 and -1 <= found["score"] <= 1
    adapter, _ = load_adapter(tmp_path / "run" / "adapter", toy.base)
    before = toy.adapter.state_dict()
    changed = [name for name, t in adapter.state_dict().items() if not torch.equal(t.float(), before[name])]
    assert any(name.startswith("fusion.") for name in changed)
    assert any(name.startswith("reference.") for name in changed)
    assert (tmp_path / "run" / "validation" / "00000002.png").is_file()
    told = json.loads((tmp_path / "run" / "settings.json").read_text())
    asked = learned.settings
    assert (told["batch_size"], told["learning_rate"]) == (asked.batch_size, asked.learning_rate)
    assert (told["size"], told["drop_words"]) == (learned.size_px, asked.drop_words) and "steps" not in told


def test_the_command_trains_from_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write_mini(tmp_path / "mini")
    tiny.write_image_encoder(base / "image_encoder")
    words = ["train", "scheese", "--data", str(folder), "--base", str(base), "--sitters", "--json"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "-o", str(tmp_path / "run"), "--from-nothing", "--steps", "1", "--batch-size", "2",
              "--size", "64", "--hold-out", "0"])  # fmt: skip
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert json.loads(out)["steps"] == 1
    assert (tmp_path / "run" / "adapter" / "model.safetensors").is_file()


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", "scheese", *words, "--size", "64", "--hold-out", "0", "--json"])
    return int(stop.value.code or 0)


def test_the_command_trains_rows_of_the_ablation_and_begins_with_published_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write_mini(tmp_path / "mini")
    encoder = load_image_encoder(
        tiny.write_image_encoder(base / "image_encoder"), device="cpu", dtype=torch.float32
    )
    published = new_adapter(load_base(base), encoder)
    with torch.no_grad():
        for parameter in published.parameters():
            parameter += 0.1
    tensors = {f"image_proj.{key}": t for key, t in published.fusion.image_proj.state_dict().items()}
    names = [i for i, name in enumerate(load_base(base).unet.attn_processors) if ".attn2." in name]
    for number, layer in zip(names, published.cross, strict=True):
        tensors |= {f"ip_adapter.{number}.{key}": t for key, t in layer.state_dict().items()}
    plus = tmp_path / "ip-adapter-plus.safetensors"
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, plus)
    other = with_input_channels(load_base(base).unet, 9)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.1
    other.save_pretrained(tmp_path / "inpainting" / "unet")

    data = Shapes(((64, 64), (64, 64)))
    data.about = type("About", (), {"kind": "cheese"})  # type: ignore[attr-defined]

    def begun(adapter: Path | None = None, **more: Any) -> SCheese:
        options = TrainingOptions(adapter=adapter, batch_size=1, size_px=64, device="cpu")
        return load_training(data, [0], base, options, **more).pipeline.adapter  # type: ignore[arg-type]

    made = begun(ip_adapter=plus, inpainting=tmp_path / "inpainting")
    pairs = ((made.fusion.image_proj, published.fusion.image_proj), (made.cross, published.cross))
    for mine, theirs in pairs:
        assert all(torch.equal(t, theirs.state_dict()[key]) for key, t in mine.state_dict().items())
    net = made.consistency_net.state_dict()  # type: ignore[union-attr]
    assert torch.equal(net.pop("conv_in.weight"), other.conv_in.weight[:, :8])
    assert net and all(torch.equal(t, other.state_dict()[key]) for key, t in net.items())

    save_adapter(made, tmp_path / "adapter", dtype=torch.float32)
    row = begun(tmp_path / "adapter", ablation="sft")
    assert row.sizes.variant == "sft" and row.consistency_net is None
    assert row.state_dict() and all(
        torch.equal(t, made.state_dict()[key]) for key, t in row.state_dict().items()
    )

    words = ["--data", str(folder), "--base", str(base), "--steps", "1", "--batch-size", "2"]
    trained = []
    for name in ("sft", "scheese"):
        row_of = ["--ablation", name, "--from-nothing", "--dry-run", "-o", str(tmp_path / "x")]
        assert not command(*words, *row_of)
        trained.append(json.loads(capsys.readouterr().out)["parameters_trained"])
    assert trained[0] < trained[1], "without ConsistencyNet"
    starts = ["--ip-adapter", str(plus), "--inpainting", str(tmp_path / "inpainting")]
    tiny.unet((32, 96), 32, 8, attention_head_dim=2).save_pretrained(tmp_path / "wide")
    for given, said in (
        (["--ablation", "zero-shot"], "no 'zero-shot' from triplets; --ablation is one of sft, consistency"),
        (["--ablation", "sft", *starts], "sft has no ConsistencyNet"),
        (["--adapter", str(tmp_path / "adapter"), *starts], "not with both"),
        (["--inpainting", str(tmp_path / "wide")], "has other layers"),
        (["--inpainting", str(tmp_path / "none")], "no config.json"),
        (["--ip-adapter", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (["--clip", "x"], "scheese has no --clip"),
    ):
        assert command(*words, *given, "-o", str(tmp_path / "x")), said
        assert said in capsys.readouterr().err


def test_both_unets_are_computed_anew_where_memory_is_short(tmp_path: Path) -> None:
    base = tiny.write_mini(tmp_path / "mini")
    tiny.write_image_encoder(base / "image_encoder")
    data = Shapes(((64, 64), (64, 64)))
    data.about = type("About", (), {"kind": "cheese"})  # type: ignore[attr-defined]
    gradients = []
    for short in (False, True):
        options = TrainingOptions(
            from_nothing=True, batch_size=1, size_px=64, checkpoint_gradients=short, device="cpu"
        )
        made = load_training(data, [0], base, options)  # type: ignore[arg-type]
        net = made.pipeline.adapter.consistency_net
        assert net is not None
        assert net.is_gradient_checkpointing == made.pipeline.base.unet.is_gradient_checkpointing == short
        terms = made.phases[0].loss(made.batches(Moment(0, 0.0, 0)), torch.Generator().manual_seed(0))
        terms["noise"].backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    kept, anew = gradients
    assert kept and kept.keys() == anew.keys()
    assert all(torch.allclose(grad, anew[name], atol=1e-6) for name, grad in kept.items())


def test_what_cannot_be_learned_from_is_named(toy: ToySCheese, folder: Path, tmp_path: Path) -> None:
    data = open_dataset(folder)
    other = type("Views", (), {"about": type("About", (), {"kind": "fgid"}), "folder": tmp_path})
    with pytest.raises(IncompatibleWeightsError, match=r"kind cheese, but .* is of kind fgid"):
        load_training(other, [0], toy.folder)  # type: ignore[arg-type]
    for shard in (folder / "shards").glob("*.tar"):
        whole = shard.read_bytes()
        shard.write_bytes(whole[: len(whole) // 2])
        problems = check(folder)
        shard.write_bytes(whole)
        assert problems and "cut off" in str(problems[-1])
    assert isinstance(data, TripletSet)
    (tmp_path / "build.json").write_text('{"kind": "cheese"}', encoding="utf-8")
    with pytest.raises(InputError, match="no table"):
        open_dataset(tmp_path)
