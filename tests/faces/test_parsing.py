"""The parser draws classes at the picture's size, in CelebAMask's order."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from likeness.faces.parsing import CLASSES, ParserNet, load_parser
from likeness.packs.recipes.parser import CLASS_OF_LABEL, parsing_of
from likeness.sitters import LABELS


def test_every_label_of_a_sitter_has_a_class_and_every_class_a_label() -> None:
    assert set(CLASS_OF_LABEL) == set(LABELS)
    assert set(CLASS_OF_LABEL.values()) == set(CLASSES)
    labels = torch.arange(len(LABELS), dtype=torch.uint8).view(1, 1, -1)
    assert [CLASSES[i] for i in parsing_of(labels).flatten()] == [CLASS_OF_LABEL[name] for name in LABELS]


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
