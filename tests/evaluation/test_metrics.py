"""Every metric against a case worked by hand or another way to the same number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness.errors import IncompatibleWeightsError, InputError
from likeness.evaluation.case import Case
from likeness.evaluation.metrics.distribution import FrechetDistance, KernelDistance
from likeness.evaluation.metrics.embedding import ClipImage, ClipText, DinoImage
from likeness.evaluation.metrics.faces import (
    FaceFound,
    FacePartSimilarity,
    FaceSimilarity,
    FaceViews,
    ProfileSimilarity,
    SamePerson,
)
from likeness.evaluation.metrics.perceptual import (
    AlexNetLayers,
    IntraLpips,
    Lpips,
    TowerLayers,
    lpips_distance,
)
from likeness.evaluation.metrics.segmentation import SegmentationConsistency, mean_overlap
from likeness.evaluation.metrics.sharpness import Sharpness
from likeness.faces.align import align_arcface
from likeness.faces.calibration import Calibration
from tests.methods.toys import MiddleDetector, PixelEncoder, picture

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColourEmbedder:
    """Mean colour as a unit vector; words are looked up."""

    name, licence = "colours", "none"

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = np.array([np.asarray(image, np.float64).mean((0, 1)) for image in images]).reshape(-1, 3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([COLOURS[text] for text in texts], np.float64) / 255


class SeeingDetector(MiddleDetector):
    """Finds no face on a black picture."""

    def __call__(self, image: Image.Image):  # type: ignore[no-untyped-def]
        return super().__call__(image) if np.asarray(image).any() else []


def plain(*colour: int) -> Image.Image:
    return Image.new("RGB", (96, 96), colour)


def views() -> FaceViews:
    return FaceViews(PixelEncoder(), SeeingDetector())


def test_words_and_references_by_cosine() -> None:
    cases = [
        Case("a", plain(255, 0, 0), "red", (plain(255, 0, 0), plain(0, 255, 0))),
        Case("b", plain(3, 0, 4), "blue", (plain(0, 0, 9),)),
        Case("c", plain(0, 9, 0), "red", ()),
    ]
    embedder = ColourEmbedder()
    assert ClipText(embedder)(cases) == pytest.approx([1.0, 0.8, 0.0])  # type: ignore[arg-type]
    for metric in (ClipImage(embedder), DinoImage(embedder)):  # type: ignore[arg-type]
        assert metric(cases) == pytest.approx([0.5, 0.8, np.nan], nan_ok=True)


def test_faces_by_the_encoders_cosine() -> None:
    painted, one, two, black = picture(0), picture(1), picture(2), plain(0, 0, 0)
    cases = [
        Case("a", painted, "", (one, black), (two,)),
        Case("b", black, "", (one,)),
        Case("c", painted, "", (black,)),
    ]
    detector = MiddleDetector()
    rows = PixelEncoder()([align_arcface(p, detector(p)[0]) for p in (painted, one, two)])
    first, second = float(rows[0] @ rows[1]), float(rows[0] @ rows[2])
    found = FaceSimilarity(views())(cases)
    assert found == pytest.approx([first, np.nan, np.nan], nan_ok=True, abs=1e-6)
    wanted = {"min": min(first, second), "max": max(first, second)}
    wanted |= {"mean": (first + second) / 2, "median": (first + second) / 2}
    for statistic, value in wanted.items():
        metric = ProfileSimilarity(views(), statistic)  # type: ignore[arg-type]
        assert metric.name == f"ArcFace {statistic}"
        assert metric(cases) == pytest.approx([value, np.nan, np.nan], nan_ok=True, abs=1e-6)


def test_the_chance_of_one_person_is_the_logistic_of_both_cosines() -> None:
    """Two encoders that see the same: weights 2 and 3 of one cosine c make 1 / (1 + exp(1 - 5 c))."""
    painted, one, two, black = picture(0), picture(1), picture(2), plain(0, 0, 0)
    both = [FaceViews(PixelEncoder(name), SeeingDetector()) for name in ("a", "b")]
    calibration = Calibration(encoders=("a", "b"), weights=(2.0, 3.0), bias=-1.0, own_pictures=0.9)
    cases = [
        Case("a", painted, "", (one, two)),
        Case("b", black, "", (one,)),
        Case("c", painted, "", (black,)),
    ]
    cosine = float(FaceSimilarity(both[0])(cases)[0])
    wanted = [1 / (1 + np.exp(1 - 5 * cosine)), np.nan, np.nan]
    assert SamePerson(both, calibration)(cases) == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    assert FaceFound(both[0])(cases) == pytest.approx([1, 0, 1])


def test_a_face_is_looked_at_once() -> None:
    class Counting(PixelEncoder):
        calls = 0

        def __call__(self, aligned: list[Image.Image]) -> np.ndarray:
            self.calls += len(aligned)
            return super().__call__(aligned)

    encoder = Counting()
    looked = FaceViews(encoder, SeeingDetector())
    cases = [Case(str(n), picture(n), "", (picture(9),) * 2) for n in range(3)]
    FaceSimilarity(looked)(cases)
    ProfileSimilarity(looked)(cases)
    assert encoder.calls == 3 + 3  # each case made its own reference picture


def test_parts_of_faces_by_dino() -> None:
    same = picture(3)
    halves = plain(200, 100, 50)
    halves.paste((50, 100, 200), (0, 0, 96, 52))  # eyes and ears above, nose and mouth below
    cases = [
        Case("same", same, "", (same,)),
        Case("colour", plain(3, 0, 4), "", (plain(0, 0, 9),)),
        Case("no face", plain(0, 0, 0), "", (same,)),
        Case("no reference", same, "", ()),
        Case("other parts", halves, "", (plain(200, 100, 50),)),
    ]
    found = FacePartSimilarity(views(), ColourEmbedder())(cases)
    assert found[:4] == pytest.approx([1.0, 0.8, np.nan, np.nan], nan_ok=True)
    upper = np.array([50, 100, 200]) @ np.array([200, 100, 50]) / (50**2 + 100**2 + 200**2)
    assert upper < found[4] < 1


def test_frechet_distance_is_the_closed_form_of_normals() -> None:
    """Independent directions: the sum of squared differences of means and of standard deviations."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(20000, 3)) * [1, 2, 0.5]
    two = rng.normal(size=(20000, 3)) * [1, 1, 1] + [0, 3, 0]
    metric = FrechetDistance(ColourEmbedder())
    assert metric.distance(one, two) == pytest.approx(0 + (9 + 1) + 0.25, rel=0.03)
    with pytest.raises(InputError, match="at least 2 real pictures, got 1"):
        metric.distance(one, two[:1])
    assert metric.features([plain(3, 0, 4)]) == pytest.approx(np.array([[0.6, 0, 0.8]]))


def test_kernel_distance_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((sum(a * b for a, b in zip(x, y, strict=True)) / 4 + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return sum(kernel(rows[i], rows[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(x, y) for x in one for y in two) / 35
    metric = KernelDistance(ColourEmbedder())
    assert metric.distance(one, two) == pytest.approx(within(one) + within(two) - 2 * between)
    same = [metric.distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 300**0.5  # unbiased: zero on average for one set
    assert metric.features([plain(3, 0, 4)]) == pytest.approx(np.array([[0.6, 0, 0.8]]) * 3**0.5)


class ColourLayers:
    """One layer: the colours themselves, green counting twice."""

    name = "colours"
    weights = (torch.tensor([1.0, 2.0, 1.0]),)

    def layers(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [(pixels + 1) / 2]


RED, GREEN, BLUE = (plain(*colour) for colour in COLOURS.values())


def test_lpips_is_equation_one() -> None:
    half = RED.copy()
    half.paste((0, 255, 0), (0, 0, 96, 24))  # green on a quarter: there (1, -1, 0)^2 weighted is 1 + 2
    cases = [Case("a", half, "", (), source=RED), Case("b", RED, "", ())]
    assert Lpips(ColourLayers())(cases) == pytest.approx([3 / 4, np.nan], nan_ok=True)
    with pytest.raises(InputError, match="of one size"):
        Lpips(ColourLayers())([Case("a", RED, "", (), source=RED.resize((32, 32)))])


def test_the_published_lpips_is_read(tmp_path: Path) -> None:
    """AlexNet as torchvision builds it, written and read, gives the same layers."""
    torch.manual_seed(0)
    nn = torch.nn
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )  # fmt: skip
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, tmp_path / "alexnet.pth")
    learned = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 192, 384, 256, 256))
    }
    torch.save(learned, tmp_path / "alex.pth")
    net = AlexNetLayers(tmp_path / "alexnet.pth", tmp_path / "alex.pth")
    one, two = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    wanted = torch.zeros(2)
    maps = [(x - shift[:, None, None]) / scale[:, None, None] for x in (one, two)]
    layer = 0
    for block in features:
        maps = [block(x) for x in maps]
        if isinstance(block, nn.ReLU):
            units = [x / x.square().sum(1, keepdim=True).sqrt() for x in maps]
            squares = (units[0] - units[1]).square() * learned[f"lin{layer}.model.1.weight"]
            wanted, layer = wanted + squares.sum(1).mean((1, 2)), layer + 1
    found = lpips_distance(net, one, two)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-4)
    with pytest.raises(IncompatibleWeightsError, match=r"'features\.0\.weight' is missing"):
        AlexNetLayers(tmp_path / "alex.pth", tmp_path / "alex.pth")


def test_a_tower_stands_in_for_alexnet() -> None:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32,
        patch_size=8,
    )  # fmt: skip
    net = TowerLayers(CLIPVisionModelWithProjection(config), "toy")
    assert [layer.shape for layer in net.layers(torch.zeros(1, 3, 64, 64))] == [(1, 32, 17)] * 2
    near, far = picture(0).rotate(2), picture(1)
    cases = [
        Case(str(n), image, "", (), source=picture(0)) for n, image in enumerate((picture(0), near, far))
    ]
    same, little, much = Lpips(net)(cases)
    assert same == pytest.approx(0, abs=1e-6) and 0 < little < much


def test_variety_is_the_mean_distance_to_the_others() -> None:
    person, other = picture(0), picture(1)
    cases = [Case(str(n), image, "", (person,)) for n, image in enumerate((RED, RED, GREEN))]
    cases.append(Case("alone", BLUE, "", (other,)))
    # red - green: 1 + 2
    assert IntraLpips(ColourLayers())(cases) == pytest.approx([1.5, 1.5, 3, np.nan], nan_ok=True)


def test_regions_are_compared_by_overlap() -> None:
    labels = np.arange(4)[:, None, None]  # nothing shows the last
    one = np.array([[0, 0, 1, 1], [0, 0, 1, 1]]) == labels
    two = np.array([[0, 0, 0, 1], [0, 0, 0, 2]]) == labels
    assert mean_overlap(one, two) == pytest.approx((4 / 6 + 1 / 4 + 0) / 3)
    assert mean_overlap(one.argmax(0), two.argmax(0)) == mean_overlap(one, two), "as labels"
    with pytest.raises(InputError, match="of one size"):
        mean_overlap(one, two[:, :1])

    class Bright:
        name, licence = "bright", "none"

        def __call__(self, image: Image.Image) -> np.ndarray:
            bright = np.asarray(image.convert("L")) > 100
            return np.stack([bright, ~bright])

    half = RED.copy()
    half.paste((255, 255, 255), (0, 0, 96, 48))
    white = plain(255, 255, 255)
    cases = [
        Case("a", half, "", (), source=white),
        Case("b", half, "", (), source=half),
        Case("c", half, "", ()),
    ]
    found = SegmentationConsistency(Bright())(cases)
    assert found == pytest.approx([(0 + 0.5) / 2, 1, np.nan], nan_ok=True)


def test_sharpness_is_the_share_of_the_truths_detail() -> None:
    rng = np.random.default_rng(0)
    sharp = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    soft = sharp.resize((8, 8), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BICUBIC)
    flat = Image.new("RGB", (32, 32), (90, 90, 90))
    cases = [
        Case("same", sharp, "", (), source=sharp),
        Case("soft", soft, "", (), source=sharp),
        Case("flat", sharp, "", (), source=flat),
        Case("alone", sharp, "", ()),
    ]
    found = Sharpness()(cases)
    assert found[0] == 1 and found[1] < 0.3 and np.isnan(found[2:]).all()
    dot = np.zeros((5, 5), np.uint8)
    dot[2, 2] = 9  # |Laplacian| of the inner 3 x 3: 36 in the middle, 9 at four sides
    dots, more = (Image.fromarray(one).convert("RGB") for one in (dot, 2 * dot))
    assert Sharpness()([Case("twice", more, "", (), source=dots)])[0] == pytest.approx(2)
