"""Edit pairs from folders, Parquet and data sets saved to disk, and painted target first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from likeness.cli.main import main
from likeness.data.build import FaceModels
from likeness.data.edit_pairs import PairImporter
from likeness.data.engine import build
from likeness.data.reading import read_set
from likeness.data.target_first import Edit, PairPainter, TargetFirstBuilder, read_edits, read_lines
from likeness.diffusion.canny import canny
from likeness.diffusion.control import load_controlnet
from likeness.diffusion.image_encoder import load_image_encoder
from likeness.diffusion.ip_adapter import attach_ip_adapter
from likeness.diffusion.load import load_base
from likeness.diffusion.pixels import to_pictures
from likeness.diffusion.text_to_image import paint_text
from likeness.errors import IncompatibleWeightsError, InputError
from likeness.files.images import png_bytes, write_png
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, picture


def cells(n: int) -> tuple[bytes, bytes]:
    return png_bytes(picture(2 * n)), png_bytes(picture(2 * n + 1))


def table(rows: range, **names: str) -> pa.Table:
    name = {"before": "original_image", "after": "edited_image", "words": "edit_prompt", **names}
    return pa.table(
        {
            name["before"]: [{"bytes": cells(n)[0], "path": None} for n in rows],
            name["words"]: [f"edit {n}" for n in rows],
            name["after"]: [{"bytes": cells(n)[1], "path": None} for n in rows],
        }
    )


def expect(folder: Path, rows: range) -> None:
    made = read_set(folder)
    assert made.column("instruction") == [f"edit {n}" for n in rows]
    for place, n in enumerate(rows):
        assert made.files(place) == {"before.png": cells(n)[0], "after.png": cells(n)[1]}
    assert made.row(0)["before_size_px"] == [96, 96]


def test_parquet_of_the_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hub" / "data").mkdir(parents=True)
    pq.write_table(
        table(range(5)), tmp_path / "hub" / "data" / "train-00000-of-00002.parquet", row_group_size=2
    )
    pq.write_table(table(range(5, 8)), tmp_path / "hub" / "data" / "train-00001-of-00002.parquet")
    words = ["dataset", "import", str(tmp_path / "hub"), "-o", str(tmp_path / "set"), "--json"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--licence", "MIT"])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert json.loads(out) == {"out": str(tmp_path / "set"), "pairs": 8, "rejected": {}}
    expect(tmp_path / "set", range(8))
    made = read_set(tmp_path / "set")
    assert (
        made.row(6)["source"] == "hub: data/train-00001-of-00002.parquet:0:1"
        and made.row(6)["licence"] == "MIT"
    )
    build(PairImporter(tmp_path / "hub" / "data" / "train-00001-of-00002.parquet"), tmp_path / "one")
    expect(tmp_path / "one", range(5, 8))


def test_a_data_set_saved_to_disk(tmp_path: Path) -> None:
    found = table(range(5), before="input_image", after="output_image", words="instruction")
    (tmp_path / "saved" / "train").mkdir(parents=True)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    place = str(tmp_path / "saved" / "train" / "data-00000-of-00001.arrow")
    with pa.OSFile(place, "wb") as file, pa.ipc.new_stream(file, found.schema) as stream:
        stream.write_table(found, max_chunksize=2)
    build(PairImporter(tmp_path / "saved"), tmp_path / "set")
    expect(tmp_path / "set", range(5))


def test_a_folder_of_instruct_pix2pix(tmp_path: Path) -> None:
    for n in range(3):
        folder = tmp_path / "ip2p" / f"{n:07d}"
        folder.mkdir(parents=True)
        for late in range(2):
            picture(2 * n + late).save(folder / f"77{n}_{late}.jpg")
        told = {"input": "a man", "edit": f"edit {n}", "output": "a man"}
        (folder / "prompt.json").write_text(json.dumps(told))
        (folder / "metadata.jsonl").write_text("{}")
    (tmp_path / "ip2p" / "seeds.json").write_text("[]")
    (tmp_path / "ip2p" / "0000001" / "771_1.jpg").write_bytes(b"no picture")
    made = build(PairImporter(tmp_path / "ip2p"), tmp_path / "set")
    assert [row["instruction"] for row in made.rows] == ["edit 0", "edit 2"]
    assert made.reasons() == {"image": 1} and "0000001/771, after" in made.rejects[0]["message"]
    assert set(read_set(tmp_path / "set").files(0)) == {"before.jpg", "after.jpg"}


def test_an_image_folder_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    source = tmp_path / "folder"
    for n in range(4):
        for late, name in enumerate(("a", "b")):
            write_png(picture(2 * n + late), source / f"{name}{n}.png")
    rows = [
        {
            "original_image_file_name": f"a{n}.png",
            "edited_image_file_name": f"b{n}.png",
            "edit_prompt": f"edit {n}",
        }
        for n in range(4)
    ]
    rows[1]["edit_prompt"] = " "
    rows[2]["edited_image_file_name"] = "gone.png"
    rows.append(rows[0])
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = build(PairImporter(source), tmp_path / "set")
    assert [row["instruction"] for row in made.rows] == ["edit 0", "edit 3"]
    assert made.reasons() == {"no instruction": 1, "no picture": 1, "copy": 1}
    assert made.rows[0]["identity"] != made.rows[1]["identity"]
    named = PairImporter(source, {"instruction": "words"})
    with pytest.raises(InputError, match=r"metadata.jsonl:1 has no column for instruction .*say --columns"):
        list(named.items())
    with pytest.raises(InputError, match="A pair has no 'mask'"):
        PairImporter(source, {"mask": "m"})
    (source / "metadata.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"metadata.jsonl:1:2: this is no JSON"):
        list(PairImporter(source).items())
    (source / "metadata.jsonl").write_text("[1]")
    with pytest.raises(InputError, match=r"metadata.jsonl:1: a row is an object"):
        list(PairImporter(source).items())
    with pytest.raises(InputError, match="holds no edit pairs"):
        list(PairImporter(tmp_path / "set" / "shards").items())
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"broken.parquet is no table"):
        list(PairImporter(tmp_path / "broken.parquet").items())


def listed(source: Path, *rows: tuple[int, str]) -> None:
    """An image folder of these pairs and instructions, in this order."""
    for n, _ in rows:
        for late, name in enumerate("ab"):
            write_png(picture(2 * n + late), source / f"{name}{n}.png")
    columns = [{"before_file_name": f"a{n}.png", "after_file_name": f"b{n}.png"} for n, _ in rows]
    lines = [
        json.dumps({**names, "instruction": words}) for names, (_, words) in zip(columns, rows, strict=True)
    ]
    (source / "metadata.jsonl").write_text("\n".join(lines))


def test_imported_again_what_stands_at_a_place_counts_not_the_place(tmp_path: Path) -> None:
    one, other, out = tmp_path / "one", tmp_path / "other", tmp_path / "set"
    listed(one, (0, "a"))
    build(PairImporter(one), out)
    listed(one, (1, "new"), (0, "a"))
    made = build(PairImporter(one), out)
    assert [row["instruction"] for row in made.rows] == ["new", "a"] and not made.rejects
    listed(other, (2, "c"), (3, "d"))
    assert [row["instruction"] for row in build(PairImporter(other), out).rows] == ["c", "d"]


def test_a_broken_prompt_is_left_out(tmp_path: Path) -> None:
    for n, text in enumerate(('{"edit": "x"}', "{", "[1]")):
        folder = tmp_path / "ip2p" / f"{n}"
        folder.mkdir(parents=True)
        for late in range(2):
            picture(2 * n + late).save(folder / f"7_{late}.jpg")
        (folder / "prompt.json").write_text(text)
    made = build(PairImporter(tmp_path / "ip2p"), tmp_path / "set")
    assert len(made.rows) == 1 and made.reasons() == {"no instruction": 2}


def test_one_picture_stays_in_one_split_with_all_its_edits(tmp_path: Path) -> None:
    shared = pa.table(
        {
            "before": [cells(0)[0]] * 3,
            "after": [cells(n)[1] for n in range(3)],
            "instruction": [f"edit {n}" for n in range(3)],
        }
    )
    pq.write_table(shared, tmp_path / "p.parquet")
    made = build(PairImporter(tmp_path / "p.parquet"), tmp_path / "set")
    assert len({row["identity"] for row in made.rows}) == 1 and len(made.rows) == 3


def test_edges_are_those_of_opencv() -> None:
    for seed in range(4):
        noise = picture(seed).resize((128, 96)).convert("L")
        found = np.asarray(canny(noise.convert("RGB")))[..., 0]
        wanted = cv2.Canny(np.asarray(noise), 100, 200)
        assert wanted.any() and (found == wanted).mean() > 0.999
    assert not np.asarray(canny(Image.new("RGB", (64, 64), "grey"))).any()


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> PairPainter:
    """SD1.5's classes at toy width, an IP-Adapter and a ControlNet of random weights."""
    from diffusers import ControlNetModel

    folder = tmp_path_factory.mktemp("toys")
    base = replace(load_base(tiny.write_sd15(folder / "base")), size_px=64)
    encoder = load_image_encoder(
        tiny.write_image_encoder(folder / "tower"), device="cpu", dtype=torch.float32
    )
    torch.manual_seed(0)
    net = ControlNetModel.from_unet(base.unet)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    net.save_pretrained(folder / "canny")
    save_file(ip_adapter(base, encoder.model.config.projection_dim), folder / "ip.safetensors")
    adapter = attach_ip_adapter(base, folder / "ip.safetensors", encoder)
    faces = FaceModels(MiddleDetector(), PixelEncoder())
    return PairPainter(base, adapter, load_controlnet(folder / "canny", base), faces)


def ip_adapter(base, width: int, tokens: int = 4) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    """Random weights in the layout of the published files."""
    text = base.text_width
    tensors = {
        "image_proj.proj.weight": torch.randn(tokens * text, width) / width**0.5,
        "image_proj.proj.bias": torch.zeros(tokens * text),
        "image_proj.norm.weight": torch.ones(text),
        "image_proj.norm.bias": torch.zeros(text),
    }
    number = 1
    for name in base.unet.attn_processors:
        if "attn2" in name:
            size = base.unet.get_submodule(name.removesuffix(".processor")).inner_dim
            for kind in ("k", "v"):
                tensors[f"ip_adapter.{number}.to_{kind}_ip.weight"] = torch.randn(size, text) / text**0.5
            number += 2
    return tensors


def edits(painter: PairPainter, **more: object) -> TargetFirstBuilder:
    settings = {"count": 5, "steps": 3, "similarity": -1.0, "licence": "CC0-1.0", **more}
    changes = (Edit("put on a red hat", "{person} wearing a red hat"), Edit("smile", "{person} smiling"))
    return TargetFirstBuilder(
        ("a man", "a woman"), changes, painter=lambda: painter, painter_name="toys", **settings
    )  # type: ignore[arg-type]


def test_pairs_are_painted_target_first_and_filtered(painter: PairPainter, tmp_path: Path) -> None:
    made = build(edits(painter), tmp_path / "set")
    assert len(made.rows) == 5 and len({row["key"] for row in made.rows}) == 5
    pairs = {(row["person"], row["instruction"]) for row in made.rows[:4]}
    assert len(pairs) == 4, "each person with each edit before any comes again"
    assert {row["identity"].split()[1] for row in made.rows} == {"man", "woman"}
    assert all(row["licence"] == "CC0-1.0" and -1 <= row["similarity"] <= 1 for row in made.rows)
    again = build(edits(painter), tmp_path / "again")
    assert again.rows == made.rows, "same seed, same pixels"
    more = build(edits(painter, count=7), tmp_path / "set")
    assert more.rows[:5] == made.rows and len(more.rows) == 7
    strict = build(edits(painter, similarity=0.9999), tmp_path / "strict")
    assert not strict.rows and strict.reasons() == {"another face": 5}
    assert all(row["similarity"] < 0.9999 for row in strict.rejects)


def test_target_is_plain_and_input_follows_edges_and_face(painter: PairPainter) -> None:
    builder = edits(painter)
    target = builder.paint(painter, "a man", 7)
    bare = replace(load_base(painter.base.folder or ""), size_px=64)
    [plain] = to_pictures(paint_text(bare, ["a man"], [7], steps=3))
    assert np.abs(np.asarray(plain, float) - np.asarray(target, float)).max() <= 1, "as without the adapter"
    first = np.asarray(builder.paint(painter, "a man", 8, like=target), float)
    other = builder.paint(painter, "a man", 9)
    assert np.abs(first - np.asarray(builder.paint(painter, "a man", 8, like=other), float)).mean() > 0.5
    no_face = edits(painter, keep_face=0.0).paint(painter, "a man", 8, like=target)
    assert np.abs(first - np.asarray(no_face, float)).mean() > 0.1, "the IP-Adapter counts"
    no_edges = edits(painter, keep_edges=0.0).paint(painter, "a man", 8, like=target)
    assert np.abs(first - np.asarray(no_edges, float)).mean() > 0.1, "the ControlNet counts"
    assert builder.paint(painter, "a man", 7) == target, "nothing of a pair stays in the painter"


def test_wrong_files_of_words_and_weights_are_named(painter: PairPainter, tmp_path: Path) -> None:
    file = tmp_path / "edits.txt"
    file.write_text("put on a hat | {person} in a hat\n\nsmile: {person} smiling\n")
    with pytest.raises(InputError, match=r"edits.txt:2: an edit is 'instruction \| target'"):
        read_edits(file)
    file.write_text("put on a hat | {person} in a hat\n")
    assert read_edits(file) == (Edit("put on a hat", "{person} in a hat"),)
    with pytest.raises(InputError, match=r"none.txt cannot be read"):
        read_lines(tmp_path / "none.txt")
    file.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_lines(file)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(IncompatibleWeightsError, match="is no IP-Adapter"):
        attach_ip_adapter(painter.base, tmp_path / "x.safetensors", None)  # type: ignore[arg-type]
