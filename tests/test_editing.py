"""Editing many pictures: what is read, taken up again, judged and written. A toy editor, real files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.edit_jobs import EditJob, jobs_of_file, pictures_in
from likeness.editing import edit_pictures, edit_video
from likeness.errors import Cancelled, ImageError, InputError
from likeness.evaluation.judge import Judge, Likeness
from likeness.files.images import read_image, read_recipe, write_png
from likeness.files.video import frames_of, open_video, video_sink
from likeness.flicker import flicker
from likeness.methods.instant_portrait.config import EditSettings
from likeness.methods.instant_portrait.pipeline import load
from likeness.methods.instant_portrait.weights import save_editor
from likeness.replay import compared, known_pictures, request_from
from likeness.types import PortraitPipeline, PortraitRequest, PortraitResult
from tests import tiny
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyInstantPortrait, picture


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyInstantPortrait:
    return ToyInstantPortrait(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini"))


@pytest.fixture(scope="module")
def pipeline(toy: ToyInstantPortrait) -> PortraitPipeline:
    return toy.pipeline()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "in" / f"{name}.png" for name in ("b", "a")]
    for seed, file in enumerate(files):
        write_png(picture(seed), file)
    return files


class Counted:
    """A pipeline that counts the pictures it edits, and may be stopped after some."""

    def __init__(self, inner: PortraitPipeline, stop_after: int = 10**6) -> None:
        self.inner, self.count, self.stop_after = inner, 0, stop_after

    def __call__(self, requests: list[PortraitRequest], **more: object) -> list[PortraitResult]:
        if self.count >= self.stop_after:
            raise KeyboardInterrupt
        self.count += 1
        return self.inner(requests, **more)  # type: ignore[arg-type]


def job(file: Path, *words: str, **more: object) -> EditJob:
    return EditJob(file, words or ("a red hat",), steps=1, **more)  # type: ignore[arg-type]


def test_what_files_folders_and_patterns_stand_for(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "c.mp4").write_bytes(b"")
    b, a = photos
    assert pictures_in([tmp_path / "in"]) == ([a, b], [])
    assert pictures_in([str(tmp_path / "in" / "*.png"), a]) == ([a, b], [])
    assert pictures_in([b, tmp_path / "in" / "c.mp4"]) == ([b], [tmp_path / "in" / "c.mp4"])
    assert pictures_in([str(tmp_path / "in" / "*")]) == ([a, b], [tmp_path / "in" / "c.mp4"])
    (tmp_path / "in" / "d.heic").write_bytes(b"what no reader here reads")
    assert pictures_in([tmp_path / "in"]) == ([a, b], [])
    for nothing in (tmp_path, tmp_path / "*.gif"):
        with pytest.raises(InputError, match="holds no picture"):
            pictures_in([nothing])
    with pytest.raises(ImageError, match=r"nowhere\.png does not exist"):  # before any model is loaded
        pictures_in([b, tmp_path / "nowhere.png"])


def test_rows_of_a_file(tmp_path: Path, photos: list[Path]) -> None:
    like = job(Path(), options=(("style_boost", True),))
    table = tmp_path / "edits.csv"
    table.write_text('image,instruction,seed,style\nin/a.png,a hat,3,\nin/b.png,"glasses, round",,1.5\n')
    one, two = jobs_of_file(table, like)
    assert (one.picture, one.instructions, one.seed, one.options) == (photos[1], ("a hat",), 3, like.options)
    assert (two.instructions, two.seed) == (("glasses, round",), 0)
    assert dict(two.options) == {"style_boost": True, "style": 1.5}
    lines = tmp_path / "edits.jsonl"
    lines.write_text('{"image": "in/a.png", "instruction": "a hat", "steps": 2}\n\n')
    assert jobs_of_file(lines, like)[0].steps == 2
    lines.write_text('{"image": "in/a.png", "instruction": "a hat", "size": "128x72"}')
    assert jobs_of_file(lines, like)[0].size_px == (128, 72)


def test_a_text_may_have_several_lines(tmp_path: Path, photos: list[Path]) -> None:
    table = tmp_path / "edits.csv"
    table.write_bytes(b'image,instruction,seed\r\nin/a.png,"a hat\r\nof wool",\r\nin/b.png,glasses,1.0\r\n')
    one, two = jobs_of_file(table, job(Path()))
    assert (one.instructions, two.instructions, two.seed) == (("a hat\r\nof wool",), ("glasses",), 1)
    with table.open("ab") as more:
        more.write(b"in/z.png,a scarf,\r\n")
    with pytest.raises(InputError, match=r"line 5: .*does not exist"):
        jobs_of_file(table, job(Path()))
    lines = tmp_path / "edits.jsonl"
    row = {"image": "in/a.png", "instruction": "a hat\u2028of wool", "seed": 1.0, "style": 2}
    lines.write_text(json.dumps(row, ensure_ascii=False) + "\r\n\r\n", "utf-8")
    [one] = jobs_of_file(lines, job(Path()))
    assert (one.instructions, one.seed) == (("a hat\u2028of wool",), 1)
    assert isinstance(one.seed, int)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("in/a.png,a hat, red,1", "line 2: it has more fields than the header"),
        ('in/a.png,"a hat,1\nin/b.png,a scarf,2', "line 3: this is no CSV"),
        ("in/a.png,a hat,1.5", "line 2: seed is '1.5', not a whole number"),
    ],
)
def test_a_wrong_row_of_a_table_is_named(tmp_path: Path, photos: list[Path], text: str, said: str) -> None:
    table = tmp_path / "edits.csv"
    table.write_text(f"image,instruction,seed\n{text}\n")
    with pytest.raises(InputError, match=said):
        jobs_of_file(table, job(photos[0]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"image": "in/a.png"}', r"line 1: it lacks 'instruction'"),
        ('{"image": "in/a.png", "instruction": "x", "sed": 1}', "no column 'sed'"),
        ('\n{"image": "in/a.png", "instruction": "x", "seed": "one"}', r"line 2: seed is 'one'"),
        ('{"image": "in/a.png", "instruction": "x", "steps": 1.5}', "steps is 1.5, not a whole number"),
        ('{"image": "in/a.png", "instruction": "x", "style": NaN}', "style is nan, not a number"),
        ('{"image": "in/a.png", "instruction": "x", "size": 72}', "size is 72, not WIDTHxHEIGHT"),
        ('{"image": "in/z.png", "instruction": "x"}', "z.png does not exist"),
        ('{"image": }', "line 1, column 11"),
        ("[1]", "a row is an object"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, photos: list[Path], text: str, said: str) -> None:
    file = tmp_path / "edits.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        jobs_of_file(file, job(photos[0]))


def test_pictures_are_edited_saved_and_taken_up(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    jobs = [job(photos[0]), job(photos[1]), job(photos[0], "glasses"), job(photos[0], seed=4)]
    stopped = Counted(pipeline, stop_after=2)
    with pytest.raises(Cancelled, match="2 of 4"):
        edit_pictures(stopped, jobs, out)  # type: ignore[arg-type]
    assert json.loads((out / "result.json").read_text())["stopped"] is True
    rest = Counted(pipeline)
    document = edit_pictures(rest, jobs, out)  # type: ignore[arg-type]
    assert (rest.count, document["taken_up"], document["stopped"]) == (2, 2, False)
    assert document == json.loads((out / "result.json").read_text())
    files = [row["file"] for row in document["edits"]]
    assert len(set(files)) == 4
    assert files[0] == "b-a-red-hat.png"
    recipe = read_recipe(out / files[2])
    assert recipe["request"]["prompt"] == "glasses"
    assert recipe["method"] == "instant-portrait"
    (out / files[1]).unlink()
    again = Counted(pipeline)
    before = (out / files[0]).read_bytes()
    edit_pictures(again, jobs, out)  # type: ignore[arg-type]
    assert again.count == 1, "only what is gone is made again"
    assert (out / files[0]).read_bytes() == before
    sheet = read_image(out / "before-after.png")
    assert sheet.width > sheet.height


def test_a_bad_picture_does_not_stop_the_others(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    out, broken, jobs = tmp_path / "out", tmp_path / "broken.png", [job(file) for file in photos]
    broken.write_bytes(photos[0].read_bytes()[:200])
    for again in (0, 2):
        document = edit_pictures(pipeline, [jobs[0], job(broken), jobs[1]], out)
        assert document == json.loads((out / "result.json").read_text())
        assert [row["picture"] for row in document["edits"]] == [str(file) for file in photos]
        [row] = document["failed"]
        assert (row["picture"], document["taken_up"]) == (str(broken), again)
        assert "broken or cut off" in row["reason"]
    sheet = read_image(out / "before-after.png")
    edit_pictures(pipeline, jobs, tmp_path / "good")
    whole = read_image(tmp_path / "good" / "before-after.png")
    assert np.array_equal(np.asarray(sheet), np.asarray(whole)), "each beside its own photo"


def test_what_is_wrong_with_every_job_is_told_at_once(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"broken\.png is"):
        edit_pictures(pipeline, [job(tmp_path / "broken.png")], tmp_path / "out")
    impossible = [job(file, guidance=1000.0) for file in photos]
    with pytest.raises(InputError, match="guidance must be"):
        edit_pictures(pipeline, impossible, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_given_out_again_is_not_taken_for_the_old_picture(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    [first] = edit_pictures(pipeline, [job(photos[0])], out)["edits"]
    (out / first["file"]).unlink()
    edit_pictures(pipeline, [job(photos[0], seed=7)], out)
    [again] = edit_pictures(pipeline, [job(photos[0])], out)["edits"]
    assert read_recipe(out / again["file"])["request"]["seed"] == 0


def test_other_weights_are_other_work(
    toy: ToyInstantPortrait, pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    save_editor(toy.unets[1], EditSettings("mini", "ide-net", steps=4), tmp_path / "other")
    other, out = load(toy.base, tmp_path / "other"), tmp_path / "out"
    edit_pictures(pipeline, [job(photos[0])], out)
    assert edit_pictures(other, [job(photos[0])], out)["taken_up"] == 0
    assert edit_pictures(other, [job(photos[0])], out)["taken_up"] == 1


def test_edits_one_after_another_are_judged_by_the_first_photo(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    seen: list[Sequence[Image.Image]] = []

    class Listening(Judge):
        def compare(
            self, image: Image.Image, references: Sequence[Image.Image], without: str | None = None
        ) -> Likeness:
            seen.append(references)
            assert without == "none"
            return Judge.compare(self, image, references, without)

    judge = Listening([PixelEncoder()], MiddleDetector(), reason="not calibrated")
    document = edit_pictures(pipeline, [job(photos[0], "a hat", "glasses")], tmp_path / "out", judge=judge)
    [[reference]] = seen
    assert np.array_equal(np.asarray(reference), np.asarray(read_image(photos[0])))
    assert set(document["edits"][0]["cosines"]) == {"pixels"}
    once = edit_pictures(pipeline, [job(photos[0], "glasses")], tmp_path / "once")
    chained = read_image(tmp_path / "out" / document["edits"][0]["file"])
    alone = read_image(tmp_path / "once" / once["edits"][0]["file"])
    assert not np.array_equal(np.asarray(chained), np.asarray(alone)), (
        "the second edit began from the first's"
    )


def write_video(file: Path, frames: int) -> list[Image.Image]:
    shown = [picture(0).resize((64, 64)).rotate(2 * index) for index in range(frames)]
    with video_sink(file, (64, 64), 12.0) as take:
        for frame in shown:
            take(frame)
    return shown


def test_edits_one_after_another_can_be_replayed_from_what_lies_beside(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "in" / "out"
    jobs = [job(photos[0], "a hat", "glasses", "a scarf"), job(photos[1], "a hat", "glasses", "a scarf")]
    document = edit_pictures(pipeline, jobs, out)
    known = known_pictures([out, out.parent])
    for name, file in zip("ba", (row["file"] for row in document["edits"]), strict=True):
        assert file == f"{name}-a-scarf.png"
        words = []
        for step in (out / file, out / f"{file[:-4]}-step-2.png", out / f"{file[:-4]}-step-1.png"):
            recipe = read_recipe(step)
            [after] = pipeline([request_from(recipe, lambda digest: read_image(known[digest]))])
            assert compared(recipe, read_image(step), after) == []
            words.append(recipe["request"]["prompt"])
        assert words == ["a scarf", "glasses", "a hat"]
    assert edit_pictures(pipeline, jobs, out)["taken_up"] == 2


def test_a_video_comes_back_as_it_was_written(tmp_path: Path) -> None:
    shown = write_video(tmp_path / "in.mp4", 5)
    about = open_video(tmp_path / "in.mp4")
    assert (about.size_px, round(about.frames_per_s)) == ((64, 64), 12)
    read = list(frames_of(tmp_path / "in.mp4"))
    assert len(read) == 5
    assert flicker(shown[2], read[2]) < 12, "compressed, and still this frame"
    assert flicker(shown[2], read[2]) < flicker(shown[2], read[4])
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    (tmp_path / "no.mp4").write_bytes(b"not a video")
    with pytest.raises(ImageError, match="no video"):
        open_video(tmp_path / "no.mp4")
    with pytest.raises(ImageError, match="does not exist"):
        next(frames_of(tmp_path / "nowhere.mp4"))


def test_a_broken_video_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), video_sink(tmp_path / "out.mp4", (64, 64), 12.0) as take:
        take(picture(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_video_is_edited_frame_by_frame(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", 4)
    counted = Counted(pipeline)
    told = edit_video(counted, tmp_path / "in.mp4", job(Path()), tmp_path / "out.mp4")  # type: ignore[arg-type]
    assert counted.count == told["frames"] == len(list(frames_of(tmp_path / "out.mp4"))) == 4
    assert told["flicker"]["before"] > 0
    assert (told["checked"], told["judged"], told["reason"]) == (1, 0, "no judge was given")
    still = picture(0).resize((64, 64))
    with video_sink(tmp_path / "still.mp4", (64, 64), 12.0) as take:
        for _ in range(3):
            take(still)
    told = edit_video(pipeline, tmp_path / "still.mp4", job(Path()), tmp_path / "out2.mp4")
    assert told["flicker"]["after"] <= told["flicker"]["before"] + 1, "the same frame is edited the same way"


def test_what_stands_still_in_a_video_is_held_still(pipeline: PortraitPipeline, tmp_path: Path) -> None:
    rng, scene = np.random.default_rng(0), np.asarray(picture(0).resize((64, 64)), np.float32)
    with video_sink(tmp_path / "in.mp4", (64, 64), 12.0) as take:
        for _ in range(5):
            seen = scene + rng.normal(0, 4, scene.shape)
            take(Image.fromarray(seen.clip(0, 255).astype(np.uint8)))

    def flickers(steady: bool) -> float:
        told = edit_video(pipeline, tmp_path / "in.mp4", job(Path()), tmp_path / "out.mp4", steady=steady)
        return float(told["flicker"]["after"])

    assert flickers(True) < 0.7 * flickers(False)


def test_videos_are_judged_by_their_first_frame_and_taken_up(
    pipeline: PortraitPipeline, photos: list[Path], tmp_path: Path
) -> None:
    class Listening(Judge):
        def compare(
            self, image: Image.Image, references: Sequence[Image.Image], without: str | None = None
        ) -> Likeness:
            seen.append(np.asarray(references[0]))
            return Judge.compare(self, image, references, without)

    seen: list[np.ndarray] = []
    judge = Listening([PixelEncoder()], MiddleDetector(), reason="not calibrated")
    clip, broken, out = tmp_path / "clip.mp4", tmp_path / "broken.mp4", tmp_path / "out"
    write_video(clip, 14)
    broken.write_bytes(b"no video")
    counted = Counted(pipeline)
    jobs = [job(photos[0]), job(broken), job(clip)]
    document = edit_pictures(counted, jobs, out, judge=judge)  # type: ignore[arg-type]
    assert counted.count == 15
    assert document == json.loads((out / "result.json").read_text())
    [row] = document["videos"]
    assert (row["file"], row["frames"], row["reason"]) == ("clip-a-red-hat.mp4", 14, "not calibrated")
    assert (row["checked"], row["judged"], set(row["cosines"])) == (2, 2, {"pixels"}), "one a second"
    first = np.asarray(next(frames_of(clip)))
    assert all(np.array_equal(reference, first) for reference in seen[-2:])
    assert [one["picture"] for one in document["failed"]] == [str(broken)]
    assert any("sound" in warning for warning in document["warnings"])
    written = (out / row["file"]).read_bytes()
    again = Counted(pipeline)
    document = edit_pictures(again, jobs, out, judge=judge)  # type: ignore[arg-type]
    assert (again.count, document["taken_up"]) == (0, 2)
    assert (out / row["file"]).read_bytes() == written
    assert [one["cosines"] for one in document["videos"]] == [row["cosines"]]
    write_video(clip, 2)
    assert edit_pictures(pipeline, [job(clip)], out)["taken_up"] == 0, "another video of that name"
    assert edit_pictures(pipeline, [job(clip)], out, steady=False)["taken_up"] == 0


def test_the_command(
    toy: ToyInstantPortrait, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.save(tmp_path / "editor")
    given = ["edit", str(tmp_path / "in"), "-i", "a red hat", "--steps", "1", "--base", str(toy.folder)]
    given += ["--adapter", str(tmp_path / "editor"), "--device", "cpu", "--json", "--style", "1.5"]

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        return int(left.value.code or 0)

    assert run(*given, "--out", str(tmp_path / "out")) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["edits"]) == 2
    recipe = read_recipe(tmp_path / "out" / document["edits"][0]["file"])
    assert recipe["request"]["options"]["style"] == 1.5
    videos = [tmp_path / "clips" / name for name in ("видео.mp4", "视频.mp4")]
    for video in videos:
        video.parent.mkdir(exist_ok=True)
        write_video(video, 1)
    capsys.readouterr()
    assert run("edit", *map(str, videos), *given[2:], "--out", str(tmp_path / "out")) == 0
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 2, "neither name has a letter of ours"
    assert [row["video"] for row in json.loads(capsys.readouterr().out)["videos"]] == [*map(str, videos)]
    given.remove("--json")
    assert run("edit", *map(str, videos), *given[2:], "--out", str(tmp_path / "out")) == 0
    told = capsys.readouterr().out
    assert "2 were there already" in told and told.count("without their sound") == 1
    given.append("--json")
    wide = ["edit", str(photos[0]), *given[2:], "--out", str(tmp_path / "wide"), "--size"]
    assert run(*wide, "128x72") == 0
    assert read_image(tmp_path / "wide" / "b-a-red-hat.png").size == (128, 72)
    capsys.readouterr()
    for size in ("100x64", "8x64"):
        assert run(*wide, size) == 2
        assert "multiples of 8 from 16 on" in capsys.readouterr().err
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    assert run(*given, "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr()
    assert len(json.loads(said.out)["failed"]) == 1
    assert "1 of 3 could not be edited" in said.err and "result.json" in said.err
    assert run("edit", "--out", str(tmp_path / "x")) == 2
    assert "Give pictures" in capsys.readouterr().err
    assert run("edit", str(photos[0]), "--out", str(tmp_path / "x")) == 2
    assert "Say what to change" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
