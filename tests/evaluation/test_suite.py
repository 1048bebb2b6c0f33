"""What is measured follows from the tasks and from the models that are there; the rest says why not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from likeness.errors import MissingWeightsError
from likeness.evaluation.judge import Judge
from likeness.evaluation.people import Style, told_only
from likeness.evaluation.protocol import load_protocol
from likeness.evaluation.run import parameters_of
from likeness.evaluation.suite import Given, Suite, suite
from likeness.evaluation.tasks import Task, tasks_of
from likeness.faces.attributes import NOT_SHOWN, AttributeNet
from likeness.sitters import sample_scene
from tests import tiny
from tests.evaluation.test_protocols import drawn
from tests.methods.toys import MiddleDetector, PixelEncoder, picture


def tasks(method: str) -> list[Task]:
    protocol = load_protocol(method, "quick", sitters=True)
    if protocol.kind == "customise":
        return tasks_of(protocol, told_only(4, 1, of_sitters=True), 1)
    styles = [Style(f"style-{n}", "soft", picture(n), "", sample_scene(n)) for n in range(2)]
    return tasks_of(protocol, [drawn(1), drawn(2)], 1, styles=styles)


def measured(method: str, judge: Judge | None = None, **more: object) -> Suite:
    given = {"clip": None, "dino": None, **more}
    return suite(judge or Judge(), MiddleDetector(), tasks(method), **given)  # type: ignore[arg-type]


def names(found: Suite) -> set[str]:
    return {metric.name for metric in (*found.metrics, *found.sets)}


def test_without_a_model_nothing_is_measured_and_everything_says_why() -> None:
    every = {"CLIP-T", "CLIP-I", "FID", "KID", "DINO-I", "FaceSim", "FGIS", "DP", "PF", "HPSv2", "MPS",
             "Q-Align quality", "Q-Align aesthetics", "followed", "details wrong", "intra-LPIPS"}  # fmt: skip
    more = {"instant-portrait": {"LPIPS", "Seg-Cons", "pose error", "light error"}, "consistentid": set()}
    for method, further in more.items():
        found = measured(method)
        assert names(found) == set() and every | further <= set(found.missing)
        assert bool(further) == ("Seg-Cons" in found.missing)
    restyled, customised = measured("ic-portrait"), measured("spf-portrait")
    assert not {"CLIP-T", "PF", "HPSv2", "MPS"} & set(restyled.missing), "there are no words to follow"
    assert {"pose error", "light error", "Seg-Cons"} <= set(restyled.missing)
    assert {"followed", "LPIPS"} <= set(customised.missing) and "pose error" not in customised.missing


def test_a_pack_measures_what_its_parts_can(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pack = tiny.write_mini(tmp_path / "toy")
    capfd.readouterr()
    found = measured("instant-portrait", pack=pack)
    assert capfd.readouterr() == ("", ""), "the loaders' own progress bars stay off the terminal"
    assert "likeness pack build toy --part attributes" in found.missing["followed"]
    assert {"LPIPS", "intra-LPIPS"} <= names(found), "its CLIP tower stands in"
    torch.manual_seed(0)
    kinds = {"hat": [NOT_SHOWN, "beanie"], "hair_colour": ["black", "green"]}
    AttributeNet(kinds=kinds, width=16, blocks=1, heads=2).save_pretrained(pack / "attributes")
    found = measured("instant-portrait", pack=pack)
    assert {"followed", "followed: hair", "followed: accessories", "followed: background", "details wrong",
            "wrong: clothes", "wrong: person", "pose error", "light error"} <= names(found)  # fmt: skip
    assert found.models["toy pack's attribute judge"] == "Apache-2.0"
    assert "followed: pose" not in names(found), "no instruction of the protocol asks for a pose"
    assert "pose error" not in names(measured("consistentid", pack=pack)), "any pose will do"


def test_every_independent_encoder_says_how_alike() -> None:
    judge = Judge([PixelEncoder("a"), PixelEncoder("mine"), PixelEncoder("taught")], MiddleDetector())
    found = measured("consistentid", judge, without="taught")
    assert {"FaceSim", "FaceSim by mine", "face found", "ArcFace mean"} <= names(found)
    assert not any("taught" in name for name in (*names(found), *found.models))
    assert set(found.models) == {"a", "mine"}


def test_models_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"is not a folder with torchvision's alexnet"):
        measured("consistentid", given={"lpips": Given(str(tmp_path))})
    with pytest.raises(MissingWeightsError):
        measured("consistentid", given={"q-align": Given(str(tmp_path))})


def test_parameters_are_counted_once() -> None:
    shared = nn.Linear(3, 4)
    base = tiny_base(shared)
    pipeline = SimpleNamespace(base=base, unet=shared, adapters=[nn.Linear(2, 2, bias=False)], name="x")
    assert parameters_of(pipeline) == (3 * 4 + 4) + 4 + 25


def tiny_base(unet: nn.Module) -> object:
    from dataclasses import dataclass

    @dataclass
    class Base:
        unet: nn.Module
        text_encoders: tuple[nn.Module, ...]

    return Base(unet, (nn.Linear(5, 5, bias=False),))
