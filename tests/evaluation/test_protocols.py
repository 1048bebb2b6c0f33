"""Each paper's protocol as tasks: how many, of whom, what they ask for and what they have to show."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from likeness.errors import InputError
from likeness.evaluation.people import Person, Style, groups_of, told_only
from likeness.evaluation.protocol import load_protocol, protocol_names
from likeness.evaluation.tasks import tasks_of
from likeness.faces.attributes import NOT_SHOWN
from likeness.packs import unknown_words
from likeness.packs.mini import mini_path
from likeness.sitters import Scene, attributes, sample_scene, vocabulary
from likeness.sitters.words import split_words
from likeness.types import RESTYLING
from tests.methods.toys import picture

PAPERS = Path(__file__).parents[3] / "shared" / "papers"


def drawn(number: int) -> Person:
    scene = sample_scene(10_000_000 + number)
    word = attributes(scene)["person"]
    return Person(f"s{number}", word, (picture(number),), (), groups_of(scene), scene)


def whole(method: str) -> int:
    """How many pictures the paper's protocol on sitters has."""
    protocol = load_protocol(method, "paper", sitters=True)
    return protocol.people * (1 if protocol.kind == "customise" else protocol.each)


def test_sizes_are_the_papers() -> None:
    assert protocol_names() == ("consistentid", "ic-portrait", "instant-portrait", "scheese", "spf-portrait")
    sizes = {"consistentid": 15 * 36, "instant-portrait": 100 * 40, "ic-portrait": 11 * 40}
    sizes |= {"scheese": 2000, "spf-portrait": 5000}
    assert {method: whole(method) for method in protocol_names()} == sizes
    for method in ("instant-portrait", "ic-portrait"):
        photos = load_protocol(method, "paper", sitters=False)
        assert photos.people * len(photos.prompts) == sizes[method]


def test_quick_is_a_share_of_each_group() -> None:
    for method in protocol_names():
        for of_sitters in (False, True):
            paper = load_protocol(method, "paper", sitters=of_sitters)
            quick = load_protocol(method, "quick", sitters=of_sitters)
            assert all(prompt in paper.prompts for prompt in quick.prompts)
            assert {p.group for p in quick.prompts} == {p.group for p in paper.prompts}
            assert quick.people <= 40 and quick.each <= 8
    with pytest.raises(InputError, match="has no protocol; there are consistentid"):
        load_protocol("magic", sitters=True)
    with pytest.raises(InputError, match="no protocol 'long'"):
        load_protocol("consistentid", "long", sitters=True)  # type: ignore[arg-type]


def test_words_for_sitters_are_those_of_their_captions_and_instructions() -> None:
    known = set(vocabulary())
    for method in protocol_names():
        protocol = load_protocol(method, "paper", sitters=True)
        for prompt in (*protocol.prompts, *protocol.targets):
            said = prompt.text.format(person="man", object="him")
            assert not set(split_words(said)) - known, said
            # what methods on the mini pack's own words paint from has to be in captions alone
            if protocol.kind != "edit" and (mini_path() / "pack.json").exists():
                assert unknown_words(mini_path(), said) == [], said


def test_what_prompts_show_are_values_that_sitters_have() -> None:
    """Every value named in a protocol is one that some sitter shows."""
    known: dict[str, set[str]] = {}
    for seed in range(1500):
        for kind, value in attributes(sample_scene(seed)).items():
            known.setdefault(kind, set()).add(value)
    for method in protocol_names():
        protocol = load_protocol(method, "paper", sitters=True)
        for prompt in (*protocol.prompts, *protocol.targets):
            for kind, value in prompt.shows.items():
                assert value in known[kind] | {NOT_SHOWN}, (prompt.text, kind, value)


def test_limits_draw_the_same_tasks_again() -> None:
    protocol = load_protocol("consistentid", "paper", sitters=True)
    people = [drawn(1), drawn(2)]
    every = tasks_of(protocol, people, 3)
    some = tasks_of(protocol, people, 3, limit=10)
    assert [t.id for t in some] == [t.id for t in tasks_of(protocol, people, 3, limit=10)]
    assert {t.id for t in some} < {t.id for t in every} and len(some) == 10
    assert len({task.request.seed for task in every}) == len(every)
    with pytest.raises(InputError, match="At least 1 case"):
        tasks_of(protocol, people, 3, limit=0)


def test_portraits_keep_who_it_is() -> None:
    person = drawn(4)
    tasks = tasks_of(load_protocol("consistentid", "paper", sitters=True), [person], 0)
    seen = attributes(person.scene)  # type: ignore[arg-type]
    by_words = {task.request.prompt: task.truth for task in tasks}
    hat = by_words[f"a {person.word} wearing a red beanie"]
    assert hat is not None and dict(hat.asked) == {"hat": "beanie", "hat_colour": "red"}
    assert hat.kept is not None and hat.kept["skin"] == seen["skin"] and "hat" not in hat.kept
    shut = by_words[f"a {person.word} with closed eyes"]
    assert shut is not None and shut.kept is not None and "eyes" not in shut.kept
    assert all(task.source is None and task.truth.pose_deg is None for task in tasks if task.truth)


def test_edits_keep_everything_else() -> None:
    person = drawn(3)
    tasks = tasks_of(load_protocol("instant-portrait", "paper", sitters=True), [person], 0)
    assert len(tasks) == 40 and all(task.source is person.references[0] for task in tasks)
    seen = attributes(person.scene)  # type: ignore[arg-type]
    by_words = {task.request.prompt: task.truth for task in tasks}
    green = by_words["dye the hair green"]
    assert green is not None and green.kept is not None
    assert dict(green.asked) == {"hair_colour": "green"}
    assert green.kept["garment_colour"] == seen["garment_colour"] and "hair_colour" not in green.kept
    pose = person.scene.pose  # type: ignore[union-attr]
    assert green.pose_deg == (pose.yaw_deg, pose.pitch_deg, pose.roll_deg)
    assert green.light_deg is not None
    sea = by_words["change the background to a beach"]
    assert sea is not None and sea.light_deg is None, "another place may have another light"
    told = next(text for text in by_words if "smile" in text)
    assert {"woman": "her", "man": "him"}.get(person.word, "them") in told


def test_people_are_put_into_styles_and_keep_who_they_are() -> None:
    person, other = drawn(5), sample_scene(10_000_777)
    style = Style("style-00", "window", picture(9), "", other)
    protocol = load_protocol("ic-portrait", "quick", sitters=True)
    [task] = tasks_of(protocol, [person], 0, styles=[style])
    assert task.request.image is style.image is task.source and task.request.prompt == ""
    assert task.request.references == person.references and task.request.strength == RESTYLING
    truth, mine, theirs = task.truth, attributes(person.scene), attributes(other)  # type: ignore[arg-type]
    assert truth is not None and truth.kept is not None
    assert truth.kept["skin"] == mine["skin"] and truth.kept["background"] == theirs["background"]
    assert truth.light_deg == (other.light.azimuth_deg, other.light.elevation_deg)
    for_women = Style("w", "Light", picture(9), word="woman")
    man = replace(person, word="man", scene=None)
    assert [t.id for t in tasks_of(protocol, [man], 0, styles=[style, for_women])] == [f"{man.id}-style-00"]
    with pytest.raises(InputError, match="Style references are needed"):
        tasks_of(protocol, [person], 0)


def test_collections_change_pose_and_keep_clothes() -> None:
    person = drawn(6)
    tasks = tasks_of(load_protocol("scheese", "quick", sitters=True), [person], 1)
    assert len(tasks) == 8 and len({task.request.prompt for task in tasks}) == 8
    clothes, pose = ("garment", "garment_colour", "pattern"), ("turn", "nod", "tilt", "framing")
    seen = attributes(person.scene)  # type: ignore[arg-type]
    for task in tasks:
        assert task.truth is not None and task.truth.kept is not None
        assert {kind: task.truth.kept[kind] for kind in clothes} == {kind: seen[kind] for kind in clothes}
        assert not set(task.truth.asked) & set(clothes)
        assert not set(task.truth.asked) & set(task.truth.kept)
    assert any(kind in task.truth.asked for task in tasks if task.truth for kind in pose)
    photos = tasks_of(
        load_protocol("scheese", "quick", sitters=False), [Person("anna", "woman", (picture(1),))], 0
    )
    assert len(photos) == 8 and all(task.truth is None for task in photos)


def test_triples_say_what_the_base_alone_paints() -> None:
    protocol = load_protocol("spf-portrait", "quick", sitters=True)
    people = told_only(40, 7, of_sitters=True)
    tasks = tasks_of(protocol, people, 7)
    assert len({task.id for task in tasks}) == 40
    for task in tasks:
        base, scene = task.source_request, task.person.scene
        assert base is not None and base.options == {"scale": 0.0} and isinstance(scene, Scene)
        assert (base.prompt, base.seed) == (task.request.prompt, task.request.seed)
        assert task.request.options["target"] in [target.text for target in protocol.targets]
        assert task.words == f"{base.prompt.rstrip(' .')}, {task.request.options['target']}"
        assert task.truth is not None and task.truth.kept is None
        assert not set(task.truth.asked) & set(attributes(scene, hidden=True)), "it adds what is not there"
    assert len(Counter(task.group for task in tasks)) > 3
    photos = load_protocol("spf-portrait", "quick", sitters=False)
    plain = tasks_of(photos, told_only(40, 7, of_sitters=False), 7)
    assert {task.request.prompt for task in plain} == {prompt.text for prompt in photos.prompts}
    assert all(task.truth is None and task.source_request for task in plain)


@pytest.mark.skipif(not PAPERS.is_dir(), reason="the papers' texts are not here")
def test_published_figures_stand_in_the_papers() -> None:
    files = {
        "consistentid": "consistentid",
        "ic-portrait": "ic-portrait",
        "instant-portrait": "instantportrait",
    }
    files |= {"scheese": "scheese", "spf-portrait": "spf-portrait"}
    for method, name in files.items():
        text = (PAPERS / f"{name}.txt").read_text(encoding="utf-8")
        numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
        for metric, value in load_protocol(method, "paper", sitters=True).published.items():
            assert {value, round(100 * value, 4)} & numbers, (method, metric, value)
