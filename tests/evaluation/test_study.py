"""A study from two evaluations to its report: blind, kept, counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.errors import ImageError, InputError
from likeness.evaluation.study import Answer, answer, answers_of, build_study, load_study, report, shown_to
from likeness.files.images import read_image, write_png
from likeness.files.provenance import pixels_sha256
from likeness.statistics import krippendorff_alpha


def evaluation(folder: Path, shade: int, cases: int = 4, skip: int | None = None) -> Path:
    """What `likeness evaluate` leaves: pictures with recipes, references, the table."""
    rows = []
    for number in range(cases):
        for place, colour in (
            (f"pictures/c{number}.png", (shade, number, 0)),
            ("references/p.png", (9, 9, 9)),
        ):
            write_png(Image.new("RGB", (16, 16), colour), folder / place, {"method": folder.name})
        file = None if number == skip else f"pictures/c{number}.png"
        rows.append(
            {
                "id": f"c{number}",
                "prompt": f"words {number}",
                "file": file,
                "reference": "references/p.png",
                "person": f"p{number // 2}",
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "cases.parquet")
    return folder


def two(tmp_path: Path) -> list[Path]:
    return [evaluation(tmp_path / "ours", 100), evaluation(tmp_path / "theirs", 200, skip=3)]


def test_pairs_are_blind_and_of_common_cases(tmp_path: Path) -> None:
    study = build_study(two(tmp_path), tmp_path / "study", kind="pairs", seed=1)
    assert load_study(tmp_path / "study") == study
    assert [item.prompt for item in study.items] == ["words 0", "words 1", "words 2"]
    assert len({item.variants for item in study.items}) == 2, "sides change"
    names = [name for item in study.items for name in item.pictures]
    assert len(set(names)) == 6 and not any("ours" in name or "c0" in name for name in names)
    shades = {"ours": 100, "theirs": 200}
    for item in study.items:
        for name, variant in zip(item.pictures, item.variants, strict=True):
            image = Image.open(tmp_path / "study" / name)
            assert not image.info and image.getpixel((0, 0))[0] == shades[variant]  # type: ignore[index]
        assert pixels_sha256(read_image(tmp_path / "study" / item.reference)) == pixels_sha256(
            read_image(tmp_path / "ours" / "references/p.png")
        )
    orders = [[item.id for item in shown_to(study, rater)] for rater in ("a", "b", "c", "a")]
    assert orders[0] == orders[3] and len({tuple(order) for order in orders}) > 1
    few = build_study(two(tmp_path), tmp_path / "few", kind="ratings", count=2, seed=3)
    assert len(few.items) == 4 and all(len(item.pictures) == 1 for item in few.items)


def test_preferences_are_counted_for_the_variant_wherever_it_stood(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study = build_study(two(tmp_path), folder, kind="pairs", seed=3)
    for rater in ("anna", "bo"):
        for item in study.items:
            side = ("left", "right")[item.variants.index("ours")]
            answer(folder, study, Answer(rater, item.id, "person", side))
    answer(folder, study, Answer("bo", study.items[0].id, "person", "equal"))  # bo changes one answer
    found = report(folder)["questions"]
    assert len(answers_of(folder)) == 6 and len(answers_of(folder, "bo")) == 3
    score = found["person"]["scores"]["ours"]
    assert score["mean"] == pytest.approx((0.75 + 1 + 1) / 3) and score["n"] == 3
    assert score["low"] <= score["mean"] <= score["high"]
    assert found["prompt"]["scores"]["ours"]["mean"] is None and found["prompt"]["alpha"] is None


def test_ratings_are_averaged_over_raters_then_items(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study = build_study(two(tmp_path), folder, kind="ratings", seed=1)
    for rater, shift in (("anna", 0), ("bo", 1)):
        for item in study.items:
            value = (3 if item.variants == ("ours",) else 1) + shift
            answer(folder, study, Answer(rater, item.id, "details", str(value)))
    found = report(folder)["questions"]["details"]
    assert found["scores"]["ours"]["mean"] == 3.5 and found["scores"]["theirs"]["mean"] == 1.5
    assert 0 < found["alpha"] < 1 and found["answers"] == 12


def test_collections_are_all_that_was_painted_of_a_person(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ours, theirs = evaluation(tmp_path / "ours", 100), evaluation(tmp_path / "theirs", 200)
    study = build_study([ours, theirs], folder, kind="collections", seed=1)
    assert len(study.items) == 4 and list(study.questions) == ["coherence"]
    for item in study.items:
        shade = {"ours": 100, "theirs": 200}[item.variants[0]]
        painted = [Image.open(folder / name).getpixel((0, 0)) for name in item.pictures]
        assert {colour[0] for colour in painted} == {shade}  # type: ignore[index]
        assert sorted(colour[1] for colour in painted) in ([0, 1], [2, 3]), "of one person"  # type: ignore[index]
    for rater, shift in (("anna", 0), ("bo", 1)):
        for item in study.items:
            value = (3 if item.variants == ("ours",) else 1) + shift
            answer(folder, study, Answer(rater, item.id, "coherence", str(value)))
    scores = report(folder)["questions"]["coherence"]["scores"]
    assert (scores["ours"]["mean"], scores["theirs"]["mean"], scores["ours"]["n"]) == (3.5, 1.5, 2)
    single = [evaluation(tmp_path / "a", 1, cases=1)]
    with pytest.raises(InputError, match="two pictures of one person"):
        build_study(single, tmp_path / "s", kind="collections")


def test_what_makes_no_study_or_answer_is_refused(tmp_path: Path) -> None:
    ours, theirs = two(tmp_path)
    with pytest.raises(InputError, match="two evaluations, got 1"):
        build_study([ours], tmp_path / "s", kind="pairs")
    with pytest.raises(InputError, match="is no evaluation"):
        build_study([ours, tmp_path], tmp_path / "s", kind="pairs")
    with pytest.raises(InputError, match="is not empty"):
        build_study([ours, theirs], ours, kind="pairs")
    with pytest.raises(InputError, match="no painted case in common"):
        build_study([ours, evaluation(tmp_path / "none", 1, 1, skip=0)], tmp_path / "s", kind="pairs")
    with pytest.raises(InputError, match="is no study"):
        load_study(tmp_path)
    (theirs / "pictures" / "c0.png").write_bytes(b"broken")
    with pytest.raises(ImageError):
        build_study([ours, theirs], tmp_path / "s", kind="pairs")
    assert not (tmp_path / "s").exists(), "nothing half-made is left"
    study = build_study([ours], tmp_path / "s", kind="ratings")
    for wrong in (("a", "9999", "details", "1"), ("a", "0000", "person", "1"), ("a", "0000", "details", "5")):
        with pytest.raises(InputError, match=r"no item|no answer"):
            answer(tmp_path / "s", study, Answer(*wrong))
    with pytest.raises(InputError, match="needs a name"):
        answer(tmp_path / "s", study, Answer(" ", "0000", "details", "1"))


def test_agreement_is_krippendorffs_example() -> None:
    """Section D of "Computing Krippendorff's Alpha-Reliability" (2011): four observers, twelve units."""
    n = np.nan
    values = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
            [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
        ]
    )
    assert krippendorff_alpha(values, "nominal") == pytest.approx(0.743, abs=0.0005)
    assert krippendorff_alpha(values, "ordinal") == pytest.approx(0.815, abs=0.0005)
    assert krippendorff_alpha(values, "interval") == pytest.approx(0.849, abs=0.0005)
    assert krippendorff_alpha(values[:1], "ordinal") is None
    assert krippendorff_alpha(np.ones((2, 3)), "ordinal") is None
