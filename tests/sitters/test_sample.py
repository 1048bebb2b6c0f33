"""Sitters drawn from seeds: repeatable, independent by factor, sensible and wide."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from likeness.errors import InputError
from likeness.sitters import render_many, sample
from likeness.sitters.factors import LIGHTS_OF
from likeness.sitters.palette import DYES
from likeness.sitters.parameters import Identity, Scene, field_range
from likeness.sitters.sample import (
    EDITABLE,
    FACTORS,
    HELD_OUT_SEEDS,
    JUDGE_SEEDS,
    TRAINING_SEEDS,
    edited,
    partner,
    sample_identity,
    sample_scene,
    split_of,
    straightened,
    with_other_light,
    with_other_view,
    with_same_person,
    with_same_scene,
)

SCENES = [sample_scene(seed) for seed in range(600)]


def changed(a: Scene, b: Scene) -> set[str]:
    return {name for name in ("identity", *FACTORS) if getattr(a, name) != getattr(b, name)}


def test_a_seed_makes_the_same_scene_in_another_process() -> None:
    code = "from likeness.sitters.sample import sample_scene; print(sample_scene(12345))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(sample_scene(12345))
    assert sample_scene(12345) != sample_scene(12346)


def test_scenes_survive_their_record() -> None:
    for scene in SCENES[:50]:
        assert Scene.from_record(scene.record()) == scene


def test_changing_how_one_factor_is_drawn_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [sample_scene(seed) for seed in range(30)]
    drawn = sample.draw_pose

    def another(rng: np.random.Generator) -> object:
        rng.random(7)
        return drawn(rng)

    monkeypatch.setattr(sample, "draw_pose", another)
    for old, seed in zip(before, range(30), strict=True):
        assert changed(old, sample_scene(seed)) == {"pose"}


def test_same_person_keeps_who_it_is_and_what_is_asked_for() -> None:
    for scene in SCENES[:60]:
        new = with_same_person(scene, 5)
        assert new.identity == scene.identity
        assert {"pose", "camera", "clothes", "hair"} <= changed(scene, new)
        assert new.seed is not None and sample_scene(new.seed, new.identity) == new
        kept = with_same_person(scene, 5, keep=("hair", "clothes"))
        assert changed(new, kept) <= {"hair", "clothes"}
        assert not changed(scene, kept) & {"identity", "hair", "clothes"}
    with pytest.raises(InputError, match="no factor 'hat'"):
        with_same_person(SCENES[0], 1, keep=("hat",))


def test_pictures_of_people_never_share_a_seed() -> None:
    seeds = [with_same_person(scene, i).seed for scene in SCENES[:100] for i in range(10)]
    assert len(set(seeds)) == 1000
    assert all(seed is not None and 2**52 <= seed < 2**53 for seed in seeds)
    one, other = with_same_person(SCENES[0], 1), with_same_person(SCENES[1], 1)
    assert one.pose != other.pose


def test_same_scene_changes_the_person_only() -> None:
    for scene in SCENES[:60]:
        new = with_same_scene(scene, 77)
        assert changed(scene, new) == {"identity"}
        if scene.hair.beard != "none" or scene.hair.kind == "bald":
            assert new.identity.masculinity > 0.6


def test_pairs_differ_in_what_they_say() -> None:
    for scene in SCENES[:60]:
        assert changed(scene, with_other_view(scene, 1)) == {"pose", "camera"}
        other = with_other_light(scene, 1)
        assert changed(scene, other) == {"light"}
        assert other.light.kind != scene.light.kind
        assert other.light.kind in LIGHTS_OF[scene.background.kind]
        assert partner(scene, 1, "everything") == with_same_person(scene, 1)
    with pytest.raises(InputError, match="not by 'hat'"):
        partner(SCENES[0], 1, "hat")  # type: ignore[arg-type]


def test_an_edit_draws_as_many_factors_as_asked_for() -> None:
    scene = sample_scene(5)
    for factors in (1, 2, len(EDITABLE)):
        other = edited(scene, 9, factors)
        same = [name for name in FACTORS if getattr(other, name) == getattr(scene, name)]
        assert {"pose", "camera"} <= set(same)
        assert len(FACTORS) - len(same) <= factors
        assert other.identity == scene.identity
        assert edited(scene, 9, factors) == other
    chosen = {
        name for seed in range(40) for name in FACTORS
        if getattr(edited(scene, seed), name) != getattr(scene, name)
    }  # fmt: skip
    assert chosen == set(EDITABLE)
    with pytest.raises(InputError, match="1 to 7 factors, not 8"):
        edited(scene, 0, 8)


def test_straightened_people_look_ahead_and_stand_in_one_place() -> None:
    straight = [straightened(scene) for scene in SCENES]
    assert {name for scene, new in zip(SCENES, straight, strict=True) for name in changed(scene, new)} == {
        "pose",
        "camera",
        "accessories",
    }
    assert {scene.accessories.glasses for scene in straight} == {"none"}
    hats = [scene.accessories.hat for scene in straight]
    assert hats == [scene.accessories.hat for scene in SCENES]
    assert max(abs(scene.pose.yaw_deg) for scene in straight) <= 15
    assert max(abs(scene.pose.yaw_deg) for scene in SCENES) > 45
    assert len({scene.pose.yaw_deg for scene in straight}) > 0.9 * len(straight)  # still a little apart

    def spread(scenes: Sequence[Scene]) -> np.ndarray:  # of the place between the eyes
        return np.std([p.landmarks_px[:2].mean(0) for p in render_many(scenes, 64)], axis=0)

    assert (spread(straight[:40]) < 0.5 * spread(SCENES[:40])).all()


def test_splits_do_not_overlap() -> None:
    ranges = sorted((TRAINING_SEEDS, JUDGE_SEEDS, HELD_OUT_SEEDS), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
    assert [split_of(r.start) for r in ranges] == ["training", "judge", "held out"]
    assert split_of(HELD_OUT_SEEDS.stop) == "other"


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="-1"):
        sample_identity(-1)
    with pytest.raises(InputError, match="-1"):
        with_same_person(SCENES[0], -1)


def test_people_use_nearly_the_whole_of_every_range() -> None:
    people = [scene.identity for scene in SCENES]
    bounded = [f.name for f in dataclasses.fields(Identity) if "range" in f.metadata]
    for name in bounded:
        low, high = field_range(Identity, name)
        values = np.array([getattr(p, name) for p in people])
        assert (values.max() - values.min()) / (high - low) > 0.85, name
        assert ((values == low) | (values == high)).mean() < 0.15 or low == 0, name


def test_people_are_put_together_sensibly() -> None:
    for scene in SCENES:
        p, hair, worn = scene.identity, scene.hair, scene.accessories
        if p.masculinity <= 0.6:
            assert hair.beard == "none" and hair.kind != "bald"
        assert p.jaw_width < p.face_width < p.head_width
        assert p.chin_height < -(p.nose_length + p.mouth_drop) - 0.2
        assert p.eye_spacing - p.eye_radius > 0.07
        assert scene.light.kind in LIGHTS_OF[scene.background.kind]
        assert not (worn.scarf and scene.clothes.garment in ("turtleneck", "hoodie"))
        if worn.necklace != "none":
            assert scene.clothes.garment in ("t-shirt", "v-neck", "scoop top")
        assert scene.clothes.pattern_colour != scene.clothes.colour
        assert scene.background.colour != scene.clothes.colour


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_factors_lean_on_each_other() -> None:
    men = [s for s in SCENES if s.identity.masculinity > 0.6]
    women = [s for s in SCENES if s.identity.masculinity < 0.4]
    assert 0.35 < len(men) / len(SCENES) < 0.6
    assert 0.35 < mean([s.hair.beard != "none" for s in men]) < 0.55
    for name in ("jaw_width", "brow_ridge", "neck_width", "brow_thickness"):
        assert mean([getattr(s.identity, name) for s in men]) > mean(
            [getattr(s.identity, name) for s in women]
        )
    old = [s for s in SCENES if s.identity.age_years > 65]
    young = [s for s in SCENES if s.identity.age_years < 35]
    grey = ("grey", "white")
    assert mean([s.identity.hair_colour in grey for s in old]) > 0.5
    assert mean([s.identity.hair_colour in grey for s in young]) == 0
    dark = [s for s in SCENES if s.identity.skin_tone > 0.7]
    assert mean([s.identity.hair_colour in ("black", "dark brown", "grey", "white") for s in dark]) > 0.85
    assert {s.identity.hair_colour for s in SCENES} >= {"blond", "light blond", "red", "auburn", "chestnut"}


def test_shares_are_as_documented() -> None:
    share = {name: mean([pick(s) for s in SCENES]) for name, pick in {
        "hat": lambda s: s.accessories.hat != "none",
        "glasses": lambda s: s.accessories.glasses in ("glasses", "round glasses"),
        "sunglasses": lambda s: s.accessories.glasses == "sunglasses",
        "dyed": lambda s: s.hair.colour in DYES,
        "gaze away": lambda s: (s.expression.gaze_right, s.expression.gaze_up) != (0, 0),
        "wide yaw": lambda s: abs(s.pose.yaw_deg) > 35,
    }.items()}  # fmt: skip
    expected = {
        "hat": 0.22,
        "glasses": 0.28,
        "sunglasses": 0.07,
        "dyed": 0.07,
        "gaze away": 0.4,
        "wide yaw": 0.15,
    }
    for name, want in expected.items():
        assert abs(share[name] - want) < 0.06, (name, share[name])
    kinds = Counter(s.expression.kind for s in SCENES)
    assert len(kinds) == 10 and kinds["smiling"] > kinds["winking"]
