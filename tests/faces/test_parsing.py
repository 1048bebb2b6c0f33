"""The parser draws classes at the picture's size, in CelebAMask's order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.faces.bisenet import BiSeNet, load_bisenet
from likeness.faces.parsing import CLASSES, ParserNet, load_parser
from likeness.packs.recipes.parser import CLASS_OF_LABEL, ParserPhase, mirrored_classes, parsing_of
from likeness.sitters import LABELS


def test_every_label_of_a_sitter_has_a_class_and_every_class_a_label() -> None:
    assert set(CLASS_OF_LABEL) == set(LABELS)
    assert set(CLASS_OF_LABEL.values()) == set(CLASSES)
    labels = torch.arange(len(LABELS), dtype=torch.uint8).view(1, 1, -1)
    assert [CLASSES[i] for i in parsing_of(labels).flatten()] == [CLASS_OF_LABEL[name] for name in LABELS]


def test_a_mirror_changes_the_sides_of_brows_eyes_and_ears_alone() -> None:
    mirrored = [CLASSES[i] for i in mirrored_classes()]
    changed = {one: other for one, other in zip(CLASSES, mirrored, strict=True) if one != other}
    pairs = {"l_brow": "r_brow", "l_eye": "r_eye", "l_ear": "r_ear"}
    assert changed == {**pairs, **{right: left for left, right in pairs.items()}}, "l_lip is the lower one"


def test_what_overlap_lacks_counts_pixels_missed_and_pixels_taken() -> None:
    hair, skin = CLASSES.index("hair"), CLASSES.index("skin")
    wanted = torch.full((1, 4, 4), skin)
    wanted[:, :1] = hair  # 4 of 16 pixels
    found = torch.full((1, 4, 4), skin)
    found[:, :2] = hair  # 8: twice as many
    logits = 50.0 * F.one_hot(found, len(CLASSES)).permute(0, 3, 1, 2).float()
    batch = {"pixels": torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "parsing": wanted}
    phase = ParserPhase(ParserNet(width=12), torch.ones(len(CLASSES)))
    phase.trainable = lambda _: logits  # type: ignore[assignment]
    lacks = phase.loss(batch, torch.Generator().manual_seed(0))["overlap"]
    assert float(lacks) == pytest.approx(1 - (4 / 8 + 8 / 12) / 2)


def test_it_learns_a_line_to_the_pixel_and_survives_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ParserNet(width=12)
    pictures = torch.full((2, 3, 48, 32), -1.0)
    pictures[0, :, 21:] = 1.0
    pictures[1, :, :, 13:] = 1.0
    wanted = (pictures[:, 0] > 0).long() * CLASSES.index("hair")
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(80):
        loss = F.cross_entropy(net(pictures), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    assert (net.parse(pictures).long() == wanted).float().mean() > 0.99
    net.save_pretrained(tmp_path)
    torch.testing.assert_close(load_parser(tmp_path)(pictures), net(pictures))


def bisenet() -> BiSeNet:
    """Of random weights, its batch norms too."""
    torch.manual_seed(0)
    net = BiSeNet().eval()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return net


def test_published_weights_of_bisenet_are_read_from_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    net = bisenet()
    torch.save(net.state_dict(), tmp_path / "79999_iter.pth")
    pictures = torch.rand(1, 3, 40, 56) * 2 - 1
    found = load_parser(tmp_path / "79999_iter.pth").parse(pictures)
    assert found.shape == (1, 40, 56) and found.dtype == torch.uint8
    assert torch.equal(found, net.parse(pictures))
    shown = torch.rand(1, 3, 64, 64)
    logits = load_bisenet(tmp_path / "79999_iter.pth")(shown)
    assert logits.shape == (1, 19, 64, 64) and torch.equal(logits, net(shown))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(IncompatibleWeightsError, match="is not a BiSeNet"):
        load_parser(tmp_path / "other.pth")
    with pytest.raises(MissingWeightsError, match="There is no face parser in"):
        load_parser(tmp_path / "nowhere")


def test_bisenet_has_the_published_network_s_size_and_resnet() -> None:
    """The published file has 53,289,463 bytes: the tensors, and the pickle around 191 of them."""
    net = bisenet()
    tensors = net.state_dict()
    assert (
        len(tensors) == 191
        and sum(one.numel() * one.element_size() for one in tensors.values()) == 53_252_600
    )
    resnet = pytest.importorskip("torchvision").models.resnet18(weights=None).eval()
    resnet.load_state_dict(net.cp.resnet.state_dict(), strict=False)
    x = torch.rand(1, 3, 64, 96)
    wanted = resnet.layer1(resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x)))))
    for found, layer in zip(net.cp.resnet(x), (resnet.layer2, resnet.layer3, resnet.layer4), strict=True):
        wanted = layer(wanted)
        torch.testing.assert_close(found, wanted)


def segformer(folder: Path, labels: list[str]) -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    return model


def test_a_segformer_s_labels_are_put_in_our_order(tmp_path: Path) -> None:
    labels = [CLASSES[-1], *CLASSES[:-1]]
    model = segformer(tmp_path / "parser", labels)
    with torch.no_grad():
        model.decode_head.classifier.bias[labels.index("nose")] = 100.0
    model.save_pretrained(tmp_path / "parser")
    found = load_parser(tmp_path / "parser").parse(torch.zeros(1, 3, 24, 40))
    assert found.shape == (1, 24, 40)
    assert [CLASSES[index] for index in found.unique()] == ["nose"]
    segformer(tmp_path / "street", ["road", "sky"])
    with pytest.raises(IncompatibleWeightsError, match="tells 'road', which is no part of a face"):
        load_parser(tmp_path / "street")
