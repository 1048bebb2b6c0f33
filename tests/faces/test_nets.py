"""Our own networks at toy width: they learn, keep their output through a save, and stay honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import IncompatibleWeightsError, InputError, MissingWeightsError
from likeness.faces.detect import FaceDetector, find_one_face
from likeness.faces.embed import (
    ArcFaceHead,
    FaceEncoder,
    JudgeRecogniserNet,
    OnnxEncoder,
    RecogniserNet,
    crop_faces,
    faces_to_tensor,
    load_encoder,
)
from likeness.faces.landmarks import (
    INPUT_PX,
    LandmarkNet,
    LandmarkTarget,
    landmark_loss,
    letterbox,
    random_views,
)
from likeness.faces.sitter_detector import SitterDetector
from tests.faces.places import MODEL, needs_photos

LAYOUT = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]])


def doll(rng: np.random.Generator) -> tuple[Image.Image, np.ndarray, tuple[float, float, float, float]]:
    """A drawn head with eyes, nose and mouth: (picture, landmarks (5, 2) px, box)."""
    side = rng.uniform(45, 80)
    x0, y0 = rng.uniform(6, 122 - side, 2)
    back, skin = (
        tuple(int(v) for v in rng.integers(30, 110, 3)),
        tuple(int(v) for v in rng.integers(150, 240, 3)),
    )
    image = Image.new("RGB", (INPUT_PX, INPUT_PX), back)
    draw = ImageDraw.Draw(image)
    draw.ellipse([x0, y0, x0 + side, y0 + side], skin)
    points = np.array([x0, y0]) + LAYOUT * side
    r = side / 14
    for x, y in points[:2]:
        draw.ellipse([x - r, y - r, x + r, y + r], "black")
    x, y = points[2]
    draw.polygon([(x, y - 2 * r), (x - r, y), (x + r, y)], "brown")
    draw.line([tuple(points[3]), tuple(points[4])], "darkred", max(2, int(r)))
    return image, points, (x0, y0, x0 + side, y0 + side)


def dolls(count: int, seed: int) -> tuple[Tensor, LandmarkTarget]:
    rng = np.random.default_rng(seed)
    made = [doll(rng) for _ in range(count)]
    pictures = torch.stack([letterbox(image)[0] for image, _, _ in made])
    points = torch.tensor(np.stack([points for _, points, _ in made])).float()
    boxes = torch.tensor([box for _, _, box in made]).float()
    return pictures, LandmarkTarget(torch.ones(count), boxes, points, torch.ones(count, 5))


def test_landmark_net_is_small_and_has_gradients_everywhere() -> None:
    assert sum(p.numel() for p in LandmarkNet().parameters()) < 1_000_000
    assert sum(p.numel() for p in LandmarkNet(width=48).parameters()) < 1_000_000
    net = LandmarkNet(width=16, blocks=1)
    pictures, target = dolls(4, 0)
    terms = landmark_loss(net(pictures), target)
    assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    with pytest.raises(ValueError, match="mirror"):
        LandmarkNet(landmarks=6)


def test_landmark_loss_is_zero_at_the_truth_and_ignores_empty_pictures() -> None:
    _, target = dolls(3, 1)
    net = LandmarkNet(width=16, blocks=1)
    found = net(torch.zeros(3, 3, INPUT_PX, INPUT_PX))
    exact = found._replace(landmarks_px=target.landmarks_px, box_xyxy=target.box_xyxy)
    terms = landmark_loss(exact, target)
    assert terms["landmarks"] == 0
    assert terms["box"] == 0
    empty = LandmarkTarget(torch.zeros(3), target.box_xyxy, target.landmarks_px, target.visible)
    terms = landmark_loss(found, empty)
    assert terms["landmarks"] == terms["box"] == terms["visible"] == terms["maps"] == 0
    assert terms["face"] > 0


def test_random_views_move_landmarks_with_the_picture() -> None:
    pictures, target = dolls(16, 2)
    generator = torch.Generator().manual_seed(3)
    views, moved = random_views(pictures, target, generator, empty=0.0)
    assert moved.face.all()
    checked = 0
    for view, points, seen in zip(views, moved.landmarks_px, moved.visible, strict=True):
        for point, visible in zip(points[:2], seen[:2], strict=True):
            x, y = (int(v) for v in point)
            if visible and 2 < x < 125 and 2 < y < 125:
                # at an eye the view is darker than around it
                eye = view[:, y - 1 : y + 2, x - 1 : x + 2].mean()
                assert eye < view.mean((1, 2)).max()
                checked += 1
    assert checked > 20
    # left stays left, also in mirrored views: turned by at most 20 degrees
    assert (moved.landmarks_px[:, 0, 0] < moved.landmarks_px[:, 1, 0]).all()
    again, _ = random_views(pictures, target, torch.Generator().manual_seed(3), empty=0.0)
    assert torch.equal(views, again)
    _, without = random_views(pictures, target, generator, empty=1.0)
    assert not without.face.any()


def test_landmark_net_learns_dolls_and_survives_a_save(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LandmarkNet(width=16, blocks=1)
    pictures, target = dolls(48, 4)
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(0)
    first = last = 0.0
    for step in range(60):
        rows = torch.randint(48, (12,), generator=generator)
        part = LandmarkTarget(
            target.face[rows], target.box_xyxy[rows], target.landmarks_px[rows], target.visible[rows]
        )
        # every fourth picture is noise, so that the score has something to refuse
        batch, face = pictures[rows].clone(), target.face[rows].clone()
        batch[::4] = torch.rand(batch[::4].shape, generator=generator) * 2 - 1
        face[::4] = 0
        part = LandmarkTarget(face, target.box_xyxy[rows], target.landmarks_px[rows], target.visible[rows])
        loss = torch.stack(list(landmark_loss(net(batch), part).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.35 * first
    net.eval()
    unseen, truth = dolls(16, 5)
    with torch.inference_mode():
        found = net(unseen)
    size = (truth.box_xyxy[:, 2:] - truth.box_xyxy[:, :2]).mean(1)
    miss = (found.landmarks_px - truth.landmarks_px).norm(dim=-1).mean(1) / size
    assert miss.median() < 0.08
    net.save_pretrained(tmp_path / "net")
    assert (tmp_path / "net" / "config.json").is_file()
    same = LandmarkNet.from_pretrained(tmp_path / "net").eval()
    with torch.inference_mode():
        assert torch.equal(same(unseen).landmarks_px, found.landmarks_px)
    detector = SitterDetector(tmp_path / "net")
    assert isinstance(detector, FaceDetector)
    assert detector.licence == "Apache-2.0"
    image, points, _ = doll(np.random.default_rng(9))
    large = image.resize((384, 384), Image.Resampling.LANCZOS)
    lenient = SitterDetector(tmp_path / "net", threshold=0.02)
    face = find_one_face(large, lenient)
    assert np.linalg.norm(face.landmarks_px - 3 * points, axis=1).mean() < 0.15 * face.size_px
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    with pytest.raises(InputError, match="YuNet") as refused:
        find_one_face(noise, detector)
    assert "synthetic sitters only" in str(refused.value)


@pytest.mark.parametrize("kind", [RecogniserNet, JudgeRecogniserNet])
def test_recognisers_learn_and_survive_a_save(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = kind(width=8, depth=(1, 1, 1), dim=32)
    head = ArcFaceHead(32, 4, scale=16.0, margin=0.3)
    generator = torch.Generator().manual_seed(0)
    bases = F.interpolate(torch.rand(4, 3, 7, 7, generator=generator) * 2 - 1, 112, mode="bilinear")
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 3e-3)
    losses = []
    for _ in range(25):
        who = torch.arange(4).repeat(3)
        batch = bases[who] + 0.3 * torch.randn(12, 3, 112, 112, generator=generator)
        loss = F.cross_entropy(head(net(batch), who), who)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.eval()
    with torch.inference_mode():
        out = net(bases + 0.3 * torch.randn(4, 3, 112, 112, generator=generator))
        alone = net(bases[:1])
        together = net(bases)[:1]
    torch.testing.assert_close(out.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)  # batch mates change nothing
    net.save_pretrained(tmp_path / "net")
    encoder = load_encoder(tmp_path / "net")
    assert isinstance(encoder, FaceEncoder)
    assert (encoder.dim, encoder.licence) == (32, "Apache-2.0")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8))
    with torch.inference_mode():
        expected = net(faces_to_tensor([picture])).numpy()
    np.testing.assert_allclose(encoder([picture]), expected, atol=1e-6)
    assert encoder([]).shape == (0, 32)
    with pytest.raises(InputError, match="align_arcface"):
        encoder([picture.resize((64, 64))])


def test_arcface_margin_equals_the_paper() -> None:
    head = ArcFaceHead(2, 2, scale=10.0, margin=0.5)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    theta = torch.tensor(0.7)
    embedding = torch.stack([theta.cos(), theta.sin()])[None]
    logits = head(embedding, torch.tensor([0]))
    expected = torch.tensor([[10 * np.cos(0.7 + 0.5), 10 * np.sin(0.7)]], dtype=torch.float32)
    torch.testing.assert_close(logits, expected)
    # the true logit falls with the angle all the way to pi
    angles = torch.linspace(0.01, 3.13, 60)
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    true = head(rows, torch.zeros(60, dtype=torch.long))[:, 0]
    assert (true.diff() < 0).all()


def onnx_mean_colour(batch: int = 1) -> bytes:
    """An ONNX model written by hand: GlobalAveragePool then Flatten, (1, 3, 112, 112) -> (1, 3)."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    def number(field: int, value: int) -> bytes:
        return varint(field << 3) + varint(value)

    def block(field: int, value: bytes | str) -> bytes:
        data = value.encode() if isinstance(value, str) else value
        return varint(field << 3 | 2) + varint(len(data)) + data

    def tensor(name: str, shape: tuple[int, ...]) -> bytes:
        dims = b"".join(block(1, number(1, size)) for size in shape)
        return block(1, name) + block(2, block(1, number(1, 1) + block(2, dims)))

    def node(operator: str, source: str, target: str) -> bytes:
        return block(1, block(1, source) + block(2, target) + block(4, operator))

    graph = (
        node("GlobalAveragePool", "face", "pooled") + node("Flatten", "pooled", "vector") + block(2, "mean")
    )
    graph += block(11, tensor("face", (batch, 3, 112, 112))) + block(12, tensor("vector", (batch, 3)))
    return number(1, 8) + block(7, graph) + block(8, block(1, "") + number(2, 13))


def test_onnx_encoder_normalises_and_declares(tmp_path: Path) -> None:
    path = tmp_path / "mean.onnx"
    path.write_bytes(onnx_mean_colour())
    encoder = load_encoder(path, licence="Apache-2.0")
    assert isinstance(encoder, FaceEncoder)
    assert (encoder.name, encoder.licence, encoder.dim) == ("mean", "Apache-2.0", 3)
    face = Image.new("RGB", (112, 112), (255, 0, 0))
    np.testing.assert_allclose(encoder([face, face]), np.array([[1, -1, -1]] * 2) / 3**0.5, atol=1e-6)
    raw = OnnxEncoder(path, pixels=(0.0, 255.0))
    np.testing.assert_allclose(raw([face]), [[1, 0, 0]], atol=1e-6)
    assert raw.licence == "not declared"


def test_encoder_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="no face encoder"):
        load_encoder(tmp_path)
    LandmarkNet(width=16, blocks=1).save_pretrained(tmp_path / "other")
    with pytest.raises(IncompatibleWeightsError, match="LandmarkNet"):
        load_encoder(tmp_path / "other")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(IncompatibleWeightsError, match="not an ONNX"):
        load_encoder(tmp_path / "bad.onnx")


@needs_photos
def test_a_detector_is_no_encoder() -> None:
    with pytest.raises(IncompatibleWeightsError, match="not a"):
        load_encoder(MODEL)


def test_places_of_a_crop_are_exact_in_mixed_precision() -> None:
    pixels = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    affine = torch.tensor([[[2.7, 0.1, 90.3], [-0.1, 2.7, 110.7]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crop_faces(pixels, affine)
    assert torch.allclose(found, crop_faces(pixels, affine), atol=1e-5)
