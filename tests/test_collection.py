"""Collections: what is painted, judged as a set, painted again, flagged and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.catalog import load_pipeline
from likeness.cli.collect import _coherence, may_not_judge
from likeness.cli.main import main
from likeness.collection import COPIED, PRESETS, edits_of, likeness_of_places, make_collection
from likeness.errors import Cancelled, InputError
from likeness.evaluation.coherence import Coherence, SamePersons, Worn
from likeness.faces.embed import load_encoder
from likeness.faces.parsing import CLASSES
from likeness.files.images import read_image, read_recipe, write_png
from likeness.packs import mini_path
from likeness.packs.data import collection_views
from likeness.references import find_judge
from likeness.sitters import render_many
from likeness.sitters.words import split_words, vocabulary
from likeness.types import PortraitPipeline, PortraitRequest, PortraitResult, Provenance
from tests import tiny
from tests.methods.toys import ToySCheese, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToySCheese:
    return ToySCheese(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


class Painter:
    """A pipeline that paints by seed what a test wants to see judged."""

    def __init__(self, paint: Callable[[int], Image.Image]) -> None:
        self.paint, self.seeds = paint, []

    def __call__(self, requests: list[PortraitRequest], **_: object) -> list[PortraitResult]:
        self.seeds += [request.seed for request in requests]
        return [
            PortraitResult(self.paint(r.seed), r, Provenance("scheese", "0", r.seed, (), {"family": "mini"}))
            for r in requests
        ]


def dressed(colour: str, seed: int) -> Image.Image:
    """Something else each time, above clothes of one colour."""
    image = picture(seed).resize((32, 32))
    image.paste(colour, (0, 24, 32, 32))
    return image


def clothes() -> Coherence:
    labels = np.zeros((32, 32), np.uint8)
    labels[24:] = CLASSES.index("cloth")
    return Coherence([Worn("clothes", ("cloth",), lambda image: labels)])


def test_edits_come_from_words_and_files(tmp_path: Path) -> None:
    file = tmp_path / "edits.txt"
    file.write_text("smile\n\n# a remark\n  look left  \n")
    assert edits_of([str(file), "turn around"]) == ["smile", "look left", "turn around"]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="has no instruction"):
        edits_of([str(tmp_path / "empty.txt")])
    with pytest.raises(InputError, match=r"none\.txt cannot be read"):
        edits_of([str(tmp_path / "none.txt")])
    for nothing in ([], [" "]):
        with pytest.raises(InputError, match="Say what"):
            edits_of(nothing)


def test_presets_are_in_the_words_of_instructions() -> None:
    known = set(vocabulary())
    assert set(PRESETS) == {"headshots", "walk", "studio"}
    for edits in PRESETS.values():
        assert len(set(edits)) == len(edits) >= 6
        assert {word for edit in edits for word in split_words(edit)} <= known


def test_the_weakest_is_painted_again_and_the_better_kept(tmp_path: Path) -> None:
    colours = {0: "red", 1: "green", 2: "red", 3: "blue", 4: "red"}
    painter = Painter(lambda seed: dressed(colours[seed], seed + 1))
    document = make_collection(
        painter, dressed("red", 0), ["smile", "look left"], tmp_path, count=3, redo=2, coherence=clothes()
    )
    assert painter.seeds == [0, 1, 2, 3, 4], "three, then the green one twice"
    assert [row["seed"] for row in document["pictures"]] == [0, 4, 2]
    assert [row["prompt"] for row in document["pictures"]] == ["smile", "look left", "smile"]
    first, second = document["redone"]
    assert (first["picture"], first["seed"], first["kept"]) == (2, 3, False)
    assert (second["picture"], second["seed"], second["kept"]) == (2, 4, True)
    assert second["before"] < second["after"] == 1
    assert document["coherence"]["together"] == document["coherence"]["by_aspect"]["clothes"] == 1
    assert document["coherence"]["with_reference"] == {"clothes": 1}
    assert {path.name for path in tmp_path.iterdir()} == {
        "001-smile-0.png", "002-look-left-4.png", "003-smile-2.png", "contact-sheet.png", "result.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "result.json").read_text()) == document
    recipe = read_recipe(tmp_path / "002-look-left-4.png")
    assert recipe["scores"]["together"] == 1
    assert recipe["request"]["seed"] == 4
    assert any("synthetic sitters only" in warning for warning in document["warnings"])
    assert read_image(tmp_path / "contact-sheet.png").width > 4 * 160


def test_looking_for_the_weakest_compares_each_pair_once(tmp_path: Path) -> None:
    asked = []

    class Counting:
        name = "counting"

        def __call__(self, one: object, two: object) -> float:
            asked.append((one, two))
            return 0.5

    painter, seen = Painter(lambda seed: dressed("red", seed)), Coherence([Counting()])
    make_collection(painter, dressed("red", 9), ["a"], tmp_path, count=6, redo=1, coherence=seen)
    assert len(asked) <= 5 * 21, "a few times the pairs of seven pictures"


def test_where_nothing_is_compared_only_copies_are_painted_again(tmp_path: Path) -> None:
    reference = dressed("red", 0)
    pictures = {0: dressed("red", 5), 1: reference, 2: dressed("red", 7)}
    painter = Painter(lambda seed: pictures[seed])
    document = make_collection(painter, reference, ["smile"], tmp_path, count=2, redo=9)
    assert painter.seeds == [0, 1, 2], "the copy, and then nothing that could be better"
    [row] = document["redone"]
    assert (row["picture"], row["kept"], row["before"], row["after"]) == (2, True, None, None)


def test_a_copy_is_flagged_and_comes_last(tmp_path: Path) -> None:
    reference = dressed("red", 0)
    soft = reference.filter(ImageFilter.GaussianBlur(1))
    pictures = {0: dressed("red", 5), 1: soft, 2: soft.rotate(0.3), 3: dressed("green", 7)}
    document = make_collection(
        Painter(lambda seed: pictures[seed]), reference, ["smile"], tmp_path, count=2, redo=2,
        coherence=clothes(),
    )  # fmt: skip
    assert [row["kept"] for row in document["redone"]] == [False, True]
    assert [row["seed"] for row in document["pictures"]] == [0, 3], "green, and still no copy"
    assert [row["copied"] for row in document["pictures"]] == [False, False]
    document = make_collection(
        Painter(lambda seed: pictures[seed]), reference, ["smile"], tmp_path / "b", count=2
    )
    assert [row["copied"] for row in document["pictures"]] == [False, True]
    assert document["coherence"]["copied"] == 1
    assert document["coherence"]["together"] is None


def test_likeness_of_places_is_a_correlation() -> None:
    up = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1)))
    assert likeness_of_places(up, up) == pytest.approx(1)
    assert likeness_of_places(up.transpose(Image.Transpose.FLIP_LEFT_RIGHT), up) == pytest.approx(-1)
    assert likeness_of_places(up.point(lambda v: v // 2 + 20), up) == pytest.approx(1, abs=1e-2)
    assert likeness_of_places(up.transpose(Image.Transpose.ROTATE_90), up) == pytest.approx(0, abs=1e-6)
    halves = Image.new("L", (64, 64))
    halves.paste(up.crop((0, 0, 32, 64)), (0, 0))
    assert likeness_of_places(halves, up, (0, 0, 32, 64)) == pytest.approx(1)
    assert likeness_of_places(halves, up) < COPIED
    flat = Image.new("L", (8, 8), 9)
    assert likeness_of_places(flat, flat) == 1
    assert likeness_of_places(flat, Image.new("L", (8, 8), 10)) == 0


def test_other_views_of_sitters_are_no_copies_and_blurred_ones_are() -> None:
    for seed in range(20_000, 20_004):
        pictures = list(render_many(collection_views(seed, 3), 96))
        first, *others = (Image.fromarray(one.rgb) for one in pictures)
        x0, y0 = pictures[0].landmarks_px.min(axis=0)
        x1, y1 = pictures[0].landmarks_px.max(axis=0)
        for other in others:
            assert likeness_of_places(other, first, (x0, y0, x1, y1)) < COPIED
        blurred = first.filter(ImageFilter.GaussianBlur(1))
        assert likeness_of_places(blurred, first, (x0, y0, x1, y1)) > COPIED


def test_stopped_it_keeps_what_is_finished(tmp_path: Path) -> None:
    def paint(seed: int) -> Image.Image:
        if seed == 2:
            raise KeyboardInterrupt
        return dressed("red", seed)

    with pytest.raises(Cancelled, match="2 of 3"):
        make_collection(Painter(paint), dressed("red", 9), ["a", "b", "c"], tmp_path / "out")
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["stopped"] is True
    assert [row["file"] for row in told["pictures"]] == ["001-a-0.png", "002-b-1.png"]
    for count, redo in ((0, 0), (1, -1)):
        with pytest.raises(InputError, match="must be at least"):
            make_collection(Painter(paint), picture(0), ["a"], tmp_path / "x", count=count, redo=redo)
    assert not (tmp_path / "x").exists()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    return int(left.value.code or 0)


def test_the_command(toy: ToySCheese, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.save(tmp_path / "adapter")
    write_png(picture(0), tmp_path / "me.png")
    (tmp_path / "edits.txt").write_text("wearing a red hat\nsmiling\n")
    given = ["collect", str(tmp_path / "me.png"), "--base", str(toy.folder), "--device", "cpu"]
    given += ["--adapter", str(tmp_path / "adapter"), "--steps", "2", "--redo", "1", "--detail-scale", "0.5"]
    out = tmp_path / "out"
    assert (
        run(*given, "--edits", str(tmp_path / "edits.txt"), "--count", "3", "--out", str(out), "--json") == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert len(document["pictures"]) == 3
    assert document["redone"] == [], "neither judge nor parser could say which is better"
    assert "face parser" in document["coherence"]["reason"]
    recipe = read_recipe(out / document["pictures"][0]["file"])
    assert recipe["settings"]["options"]["detail_scale"] == 0.5
    assert {one["role"] for one in recipe["weights"]} >= {"unet", "adapter", "image encoder"}
    for words, said in (
        (["--preset", "wedding"], "no preset 'wedding'"),
        ([], "with --edits, or a --preset"),
        (["--preset", "walk", "--edits", "smile"], "with --edits, or a --preset"),
    ):
        assert run(*given, *words, "--out", str(tmp_path / "x")) == 2
        assert said in capsys.readouterr().err
    assert run("collect", "--edits", "smile") == 2
    assert "Give the portrait" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_recogniser_that_taught_the_weights_judges_nobody(tmp_path: Path) -> None:
    toy = ToySCheese(tiny.write_mini(tmp_path / "mini"))
    for part in ("landmarks", "recogniser", "judge_recogniser"):
        (toy.folder / part).symlink_to(mini_path() / part)
    judge = find_judge(toy.folder, sitters=True)
    assert len(judge.encoders) == 2
    taught_by = load_encoder(mini_path() / "recogniser").name
    for told, judges in (("none", 2), (taught_by, 1)):
        toy.adapter.sizes = replace(toy.adapter.sizes, taught_by=told)
        toy.save(tmp_path / told)
        pipeline = load_pipeline("scheese", toy.folder, adapter=tmp_path / told)
        [identity] = _coherence(judge, may_not_judge(pipeline), str(toy.folder), None).aspects
        assert isinstance(identity, SamePersons)
        left = [one.name for one in identity.judge.independent(identity.without)]
        assert len(left) == judges and (told in left) is False
    [result] = pipeline([toy.request(1, steps=1)])
    assert result.provenance.recipe["identity_encoder"] == taught_by, "for whoever judges it later"


def test_without_weights_one_sentence_says_how_to_train_them(
    toy: ToySCheese, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(picture(0), tmp_path / "me.png")
    words = ["collect", str(tmp_path / "me.png"), "--preset", "studio", "--out", str(tmp_path / "out")]
    assert run(*words, "--base", str(toy.folder)) == 6
    assert "--part scheese" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_it_takes(toy: ToySCheese, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("collect", "--base", str(toy.folder), "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["parameters"]["denoising net"] == sum(p.numel() for p in toy.base.unet.parameters())
    assert plan["paint_gb"] >= 0
    assert run("collect", "--base", "somewhere", "--dry-run") == 2
    assert "somewhere has no unet/config.json" in capsys.readouterr().err


def test_a_pipeline_is_what_it_takes(toy: ToySCheese) -> None:
    assert isinstance(Painter(lambda seed: picture(seed)), PortraitPipeline)
