"""From a protocol to a report: painted once, taken up again, measured, written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.errors import InputError, NoFaceError
from likeness.evaluation.case import Case
from likeness.evaluation.groups import group_tables
from likeness.evaluation.metrics.distribution import FrechetDistance
from likeness.evaluation.metrics.embedding import ClipText
from likeness.evaluation.metrics.faces import FaceSimilarity, FaceViews
from likeness.evaluation.people import Person, people_in, sitters
from likeness.evaluation.protocol import Prompt, Protocol
from likeness.evaluation.report import report_html, report_markdown
from likeness.evaluation.run import measure, paint_cases, write_cases
from likeness.evaluation.suite import Suite
from likeness.evaluation.tasks import tasks_of
from likeness.files.images import read_recipe
from likeness.packs.mini import mini_path
from likeness.sitters import HELD_OUT_SEEDS
from likeness.types import PortraitPipeline
from tests import tiny
from tests.evaluation.test_metrics import ColourEmbedder
from tests.methods.toys import MiddleDetector, PixelEncoder, ToyConsistentID, picture

PROMPTS = (Prompt("hats", "a {person} wearing a red hat"), Prompt("faces", "a {person} smiling"))
PROTOCOL = Protocol("quick", "consistentid", "a toy", 2, PROMPTS, {"FaceSim": 0.772})


class Words(ColourEmbedder):
    def texts(self, texts):  # type: ignore[no-untyped-def]
        return np.ones((len(texts), 3)) / 3**0.5


def people() -> list[Person]:
    groups = ({"skin": "light"}, {"skin": "dark"})
    return [Person(f"p{n}", "man", (picture(n),), (picture(n + 5),), groups[n]) for n in range(2)]


def looked() -> Suite:
    views = FaceViews(PixelEncoder("judge"), MiddleDetector())
    return Suite((ClipText(Words()), FaceSimilarity(views)), (FrechetDistance(Words()),), {"FGIS": "no DINO"})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> PortraitPipeline:
    pipeline = ToyConsistentID(tiny.write_mini(tmp_path_factory.mktemp("toy") / "mini")).pipeline()

    class Small:
        """Paints 64 px in two steps, and counts."""

        painted = 0
        fail_after: int | None = None

        def __call__(self, requests, **more):  # type: ignore[no-untyped-def]
            if self.fail_after is not None and self.painted >= self.fail_after:
                raise KeyboardInterrupt
            if not requests[0].references:
                raise NoFaceError("No face was found on the reference.")
            self.painted += len(requests)
            small = [replace(r, steps=2, size_px=(64, 64)) for r in requests]
            return pipeline(small, **more)

    return Small()


def test_a_killed_evaluation_is_taken_up_where_it_was(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tasks = tasks_of(PROTOCOL, people(), 7)
    assert len({task.request.seed for task in tasks}) == len(tasks) == 4
    whole = measure(paint_cases(toy, tasks, tmp_path / "whole"), looked(), PROTOCOL, base="mini", seed=7)
    toy.painted, toy.fail_after = 0, 2
    with pytest.raises(KeyboardInterrupt):
        paint_cases(toy, tasks, tmp_path / "cut")
    toy.fail_after = None
    painted = paint_cases(toy, tasks_of(PROTOCOL, people(), 7), tmp_path / "cut")
    assert toy.painted == 4, "two before, two after, none twice"
    again = measure(painted, looked(), PROTOCOL, base="mini", seed=7)
    for name, value in whole.result.metrics.items():
        if name != "seconds a picture":
            assert value == again.result.metrics[name], name
    with pytest.raises(InputError, match="pictures of another evaluation"):
        paint_cases(toy, tasks_of(PROTOCOL, people(), 8), tmp_path / "cut")
    broken = tmp_path / "cut" / "pictures" / f"{tasks[0].id}.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="Remove it, or choose another folder"):
        paint_cases(toy, tasks, tmp_path / "cut")


def test_pictures_by_other_weights_are_not_mixed_in(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tasks = tasks_of(PROTOCOL, people(), 7)
    paint_cases(toy, tasks[:1], tmp_path)

    class Other:
        def __call__(self, requests):  # type: ignore[no-untyped-def]
            result = toy(requests)[0]
            return [replace(result, provenance=replace(result.provenance, weights=()))]

    with pytest.raises(InputError, match="painted by other weights"):
        paint_cases(Other(), tasks, tmp_path)  # type: ignore[arg-type]

    class Said(Other):
        weights = ()  # known before anything is painted, as real pipelines know them

    with pytest.raises(InputError, match="painted by other weights"):
        paint_cases(Said(), tasks[:1], tmp_path)  # type: ignore[arg-type]


def test_table_cases_and_report_say_the_same(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tasks = tasks_of(PROTOCOL, [*people(), Person("nobody", "man", ())], 7)
    measured = measure(paint_cases(toy, tasks, tmp_path), looked(), PROTOCOL, base="mini", seed=7)
    rows = pq.read_table(write_cases(measured, tmp_path)).to_pylist()
    assert [row["id"] for row in rows] == [task.id for task in tasks]
    assert [row["reason"] is None for row in rows] == [True] * 4 + [False] * 2
    known = [row["FaceSim"] for row in rows[:4]]
    assert measured.result.metrics["FaceSim"].mean == pytest.approx(np.mean(known))
    assert measured.result.n == 4 and measured.result.metrics["FGIS"].mean is None
    assert read_recipe(tmp_path / rows[0]["file"])["request"]["prompt"] == rows[0]["prompt"]
    groups = {table.kind for table in measured.result.groups if table.metric == "FaceSim"}
    assert groups == set()  # two cases a group are too few to name
    text = report_markdown(measured, looked(), PROTOCOL)
    assert f"| FaceSim | {np.mean(known):.3f} |" in text and "| 0.772 |" in text
    assert "not measured: no DINO" in text and "nobody-00" in text and "No face was found" in text
    page = report_html(measured, looked(), PROTOCOL, tmp_path)
    assert page.count("<img ") == 4 + 4 and f"<td>{np.mean(known):.3f}</td>" in page


def test_groups_are_told_apart(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    six = Protocol("quick", "consistentid", "a toy", 6, PROMPTS, {})
    everybody = [
        Person(f"p{n}", "man", (picture(n),), (picture(n + 9),), {"skin": "light" if n < 3 else "dark"})
        for n in range(6)
    ]
    painted = paint_cases(toy, tasks_of(six, everybody, 7), tmp_path)
    measured = measure(painted, looked(), six, base="b", seed=0)
    [table] = [t for t in measured.result.groups if (t.metric, t.kind) == ("FaceSim", "skin")]
    values = measured.values["FaceSim"]
    light, dark = values[:6].mean(), values[6:].mean()
    assert (table.groups["light"].mean, table.groups["light"].n) == (pytest.approx(light), 6)
    assert (table.groups["dark"].mean, table.groups["dark"].n) == (pytest.approx(dark), 6)
    assert table.gap is not None and table.gap.mean == pytest.approx(abs(light - dark))
    assert table.gap.low <= table.gap.mean <= table.gap.high  # type: ignore[operator]
    best, worst = ("light", "dark") if light > dark else ("dark", "light")
    text = report_markdown(measured, looked(), six)
    assert "Largest difference of means: prompts" in text
    assert f"| FaceSim | skin | {best} | {worst} | {abs(light - dark):.3f} |" in text


def test_many_pictures_of_few_people_are_few_people() -> None:
    """People differ and groups do not: of honest 95 % intervals few of a hundred leave out 0."""
    rng = np.random.default_rng(0)
    shown, sure = picture(0), 0
    labels = [("light" if n < 8 else "dark") for n in range(16)]
    cases = [
        Case(f"{n}-{k}", shown, "", (), groups={"skin": labels[n]}, person=f"p{n}")
        for n in range(16)
        for k in range(36)
    ]
    for trial in range(100):
        values = np.repeat(rng.normal(size=16), 36) + rng.normal(size=16 * 36)
        [table] = group_tables(
            FaceSimilarity(FaceViews(PixelEncoder("j"), MiddleDetector())), cases, values, trial
        )
        assert table.gap is not None and table.gap.low is not None
        sure += table.gap.low > 0
    assert sure <= 20
    alone = [case for case in cases if case.person in ("p0", "p8")]
    metric = FaceSimilarity(FaceViews(PixelEncoder("j"), MiddleDetector()))
    assert group_tables(metric, alone, np.arange(72.0), 0) == [], "a person is no group"


def test_too_few_pictures_for_a_distance_spare_the_other_numbers(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    alone = [Person("p", "man", (picture(0),))]
    painted = paint_cases(toy, tasks_of(PROTOCOL, alone, 7), tmp_path)
    found = measure(painted, looked(), PROTOCOL, base="mini", seed=7).result.metrics
    assert found["FID"].mean is None and found["FaceSim"].n == 2


def test_nothing_painted_is_an_error(toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tasks = tasks_of(PROTOCOL, [Person("nobody", "man", ())], 0)
    with pytest.raises(InputError, match="Nothing was painted: No face was found"):
        measure(paint_cases(toy, tasks, tmp_path), looked(), PROTOCOL, base="mini", seed=0)


def test_people_are_held_out_sitters_or_folders(tmp_path: Path) -> None:
    found = sitters(3, 5, 64)
    assert [p.id for p in found] == [p.id for p in sitters(3, 5, 64)] != [p.id for p in sitters(3, 6, 64)]
    assert all(int(p.id.removeprefix("sitter-")) in HELD_OUT_SEEDS for p in found)
    assert all(len(p.profiles) == 3 and p.references[0].size == (64, 64) for p in found)
    assert set(found[0].groups) == {"skin", "age", "presents as"}
    for place in ("woman--anna/2.png", "woman--anna/1.png", "bo/a.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (len(place), 0, int(place[-5] == "1"))).save(tmp_path / place)
    bo, anna = people_in(tmp_path)
    assert (bo.word, anna.word, len(anna.profiles)) == ("person", "woman", 1)
    assert anna.references[0].getpixel((0, 0))[2] == 1  # type: ignore[index]  # the first by name
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no picture"):
        people_in(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        people_in(tmp_path / "nowhere")


@pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack is not in this source tree"
)
def test_the_command_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from likeness.cli.main import main

    words = [
        "evaluate",
        "consistentid",
        "--cases",
        "3",
        "--seed",
        "7",
        "--out",
        str(tmp_path / "e"),
        "--json",
    ]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--result", str(tmp_path / "r.json")])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    table = json.loads(out)
    assert table.pop("out") == str(tmp_path / "e")
    assert table == json.loads((tmp_path / "r.json").read_text())
    with pytest.raises(SystemExit) as stop:
        main([*words, "--vlm", "http://127.0.0.1:9/v1"])
    assert stop.value.code == 2 and "belong together" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*words, "--judge", str(mini_path() / "recogniser")])
    assert stop.value.code == 2 and "may not judge it" in capsys.readouterr().out
    assert table["n"] == 3 and table["metrics"]["CLIP-T"]["n"] == 3
    assert len(list((tmp_path / "e" / "pictures").iterdir())) == 3
    for name in ("cases.parquet", "result.json", "report.md", "report.html"):
        assert (tmp_path / "e" / name).stat().st_size > 200
