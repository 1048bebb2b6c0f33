"""The renderer: same scene same picture, and ground truth that agrees with the picture."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from likeness.errors import InputError
from likeness.sitters import Scene, sample_scene
from likeness.sitters.parameters import Accessories, Camera, Expression, Hairstyle, Identity, Light, Pose
from likeness.sitters.render import LABELS, LANDMARKS, Picture, render, render_many
from likeness.sitters.renderer.compiled import ensure_compiled
from likeness.sitters.renderer.kernel import inline_kernel, sources_hash
from likeness.sitters.renderer.shading import render_rays

PLAIN = Scene()


def share(picture: Picture, *names: str) -> float:
    """Share of the picture that carries one of these labels."""
    return float(np.isin(picture.labels, [LABELS.index(name) for name in names]).mean())


def at(picture: Picture, name: str) -> tuple[float, float]:
    x, y = picture.landmarks_px[LANDMARKS.index(name)]
    return float(x), float(y)


def test_same_scene_same_bytes_whatever_the_threads() -> None:
    scenes = [sample_scene(seed) for seed in range(6)]
    alone = [render(scene, 64) for scene in scenes]
    together = list(render_many(scenes, 64, workers=3))
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.labels, b.labels)
        assert np.array_equal(a.depth, b.depth)


def test_the_process_that_compiles_paints_what_later_ones_paint(tmp_path: Path) -> None:
    """Two kernels are missing from a cache; a process that compiled them itself would paint both scenes
    otherwise than from the cache."""
    ensure_compiled()
    missing = ("trace.march_cones", "field.distance")
    compiled = Path(render_rays.stats.cache_path).glob(f"*{sources_hash()}*.nb?")
    there = [str(file) for file in compiled if not file.name.startswith(missing)]
    code = (
        "import hashlib, shutil, sys\n"
        "from likeness.sitters import sample_scene\n"
        "from likeness.sitters.render import render\n"
        "from likeness.sitters.renderer.shading import render_rays\n"
        "for file in sys.argv[1:]:\n"
        "    shutil.copy2(file, render_rays.stats.cache_path)\n"
        "pictures = [render(sample_scene(seed), 96).rgb for seed in (7, 26)]\n"
        "print([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, *given], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for given in (there, [])
    ]
    assert runs[0] == runs[1]
    assert list(tmp_path.rglob("compiled-*"))


def test_record_makes_the_scene_again() -> None:
    scene = sample_scene(11)
    assert Scene.from_record(render(scene, 32).record) == scene


@pytest.mark.parametrize(
    ("record", "said"), [({"mood": {}}, "no 'mood'"), ({"pose": {"yaw": 3}}, "pose does not fit")]
)
def test_record_of_something_else_is_refused(record: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Scene.from_record(record)


def test_values_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"Pose\.yaw_deg is 170"):
        Pose(yaw_deg=170)
    with pytest.raises(InputError, match=r"Hairstyle\.kind is 'mohawk'.*afro"):
        Hairstyle(kind="mohawk")  # type: ignore[arg-type]


@pytest.mark.parametrize("size_px", [0, 15, 5000])
def test_impossible_sizes_are_refused(size_px: int) -> None:
    with pytest.raises(InputError, match="16 to 4096"):
        render(PLAIN, size_px)


def test_landmarks_lie_on_their_parts() -> None:
    expected = {
        "left eye": {"left eye"},
        "right eye": {"right eye"},
        "nose tip": {"nose"},
        "upper lip": {"upper lip", "skin", "mouth"},
        "chin": {"skin", "neck"},
    }
    for seed in range(40, 52):
        scene = dataclasses.replace(
            sample_scene(seed),
            accessories=Accessories(),
            hair=Hairstyle(kind="bald"),
            expression=Expression(),
            pose=Pose(yaw_deg=10),
        )
        picture = render(scene, 192)
        for name, parts in expected.items():
            assert picture.landmarks_visible[LANDMARKS.index(name)], (seed, name)
            x, y = at(picture, name)
            assert LABELS[picture.labels[int(y), int(x)]] in parts, (seed, name)


def test_turning_away_hides_the_far_side() -> None:
    front = render(PLAIN, 96)
    turned = render(dataclasses.replace(PLAIN, pose=Pose(yaw_deg=55)), 96)
    assert front.landmarks_visible[LANDMARKS.index("left mouth corner")]
    assert front.landmarks_visible[LANDMARKS.index("right mouth corner")]
    assert at(turned, "nose tip")[0] > at(front, "nose tip")[0] + 5
    assert not turned.landmarks_visible[LANDMARKS.index("right ear")]


def test_dark_glasses_hide_the_eyes() -> None:
    picture = render(dataclasses.replace(PLAIN, accessories=Accessories(glasses="sunglasses")), 96)
    assert not picture.landmarks_visible[LANDMARKS.index("left eye")]
    assert share(picture, "dark lenses") > 0.005
    assert share(picture, "left eye", "right eye") < share(render(PLAIN, 96), "left eye", "right eye") / 4


@pytest.mark.parametrize(
    ("accessories", "part"),
    [
        (Accessories(hat="beanie"), "hat"),
        (Accessories(glasses="round glasses"), "glasses"),
        (Accessories(scarf=True), "scarf"),
        (Accessories(earrings="hoops"), "earring"),
        (Accessories(necklace="beads"), "necklace"),
    ],
)
def test_what_is_put_on_is_seen(accessories: Accessories, part: str) -> None:
    assert share(render(PLAIN, 96), part) == 0
    assert share(render(dataclasses.replace(PLAIN, accessories=accessories), 96), part) > 0


def test_a_wink_closes_the_eye_it_names() -> None:
    picture = render(
        dataclasses.replace(PLAIN, expression=Expression(kind="winking", winking_eye="left")), 128
    )
    assert share(picture, "left eye") < 0.3 * share(picture, "right eye")


def test_light_from_one_side_brightens_that_side() -> None:
    def lean(azimuth: float) -> float:
        scene = dataclasses.replace(PLAIN, light=Light(kind="noon", azimuth_deg=azimuth))
        picture = render(scene, 96)
        skin = picture.labels == LABELS.index("skin")
        brightness = picture.rgb.mean(2)
        half = np.arange(96)[None, :] < at(picture, "nose tip")[0]
        return float(brightness[skin & ~half].mean() - brightness[skin & half].mean())

    assert lean(70) > 10
    assert lean(-70) < -10


def test_depth_and_normals_agree() -> None:
    """The plane through neighbouring depths faces where the normal says."""
    picture = render(dataclasses.replace(PLAIN, camera=Camera(field_of_view_deg=14)), 192)
    inside = picture.labels == LABELS.index("skin")
    per_px = 1.62 * 2 / 192  # head units a pixel spans at the sitter
    dz_dx = np.gradient(picture.depth, axis=1) / per_px
    dz_dy = np.gradient(picture.depth, axis=0) / per_px
    from_depth = np.stack([dz_dx, -dz_dy, np.ones_like(dz_dx)], -1)
    from_depth /= np.linalg.norm(from_depth, axis=-1, keepdims=True)
    cosine = (from_depth * picture.normals).sum(-1)[inside]
    assert np.median(cosine) > 0.97
    assert np.allclose(np.linalg.norm(picture.normals[inside], axis=-1), 1, atol=1e-3)
    assert (picture.depth[picture.labels == 0] == 0).all()


def test_antialiasing_only_touches_edges() -> None:
    scene = sample_scene(5)
    smooth, plain = render(scene, 96), render(scene, 96, antialias=False)
    changed = (smooth.rgb != plain.rgb).any(2)
    assert 0.02 < changed.mean() < 0.7
    assert np.array_equal(smooth.labels, plain.labels)


def test_people_differ_and_one_person_does_not_change_with_the_light() -> None:
    other = dataclasses.replace(PLAIN, identity=Identity(nose_length=0.42, jaw_width=0.6))
    relit = dataclasses.replace(PLAIN, light=Light(kind="rim"))
    same, shape = render(PLAIN, 96), render(other, 96)
    assert np.abs(same.depth - shape.depth).max() > 0.1
    assert np.array_equal(same.depth, render(relit, 96).depth)


def test_kernels_stay_in_32_bits() -> None:
    """A float literal inside a kernel must not widen the result."""
    halve(np.float32(3))
    signature = halve.nopython_signatures[0]
    assert str(signature.return_type) == "float32"


@inline_kernel
def halve(x):  # type: ignore[no-untyped-def]
    return x * 0.5 + 0.25
