"""The attribute judge says what it was taught, leaves out what is not there, and gives angles."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from likeness.faces.attributes import NOT_SHOWN, AttributeNet, light_direction

KINDS = {"colour": ["blue", "green", "red"], "hat": ["cap", NOT_SHOWN]}


def net() -> AttributeNet:
    torch.manual_seed(0)
    return AttributeNet(kinds=KINDS, width=16, blocks=1)


def flat(colour: int, hat: bool) -> torch.Tensor:
    picture = torch.full((3, 128, 128), -1.0)
    picture[2 - colour] = 1.0
    if hat:
        picture[:, 8:24, 40:90] = 0.0
    return picture


def test_it_learns_colours_and_leaves_out_what_is_not_shown() -> None:
    model = net()
    pictures = torch.stack([flat(c, h) for c in range(3) for h in (False, True)])
    colour, hat = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 0, 1, 0, 1, 0])
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        found = model(pictures).logits
        loss = F.cross_entropy(found["colour"], colour) + F.cross_entropy(found["hat"], hat)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert model.eval().describe(pictures) == [
        {"colour": name} | ({"hat": "cap"} if worn else {})
        for name in KINDS["colour"]
        for worn in (False, True)
    ]


def test_angles_have_their_shapes_and_units() -> None:
    found = net()(torch.zeros(2, 3, 128, 128))
    assert found.pose_deg.shape == (2, 3)
    torch.testing.assert_close(found.light.norm(dim=-1), torch.ones(2))


def test_light_comes_from_where_its_angles_say() -> None:
    found = light_direction(torch.tensor([0.0, 90.0, -90.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 90.0]))
    wanted = torch.tensor([[0.0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_it_comes_back_from_its_folder_as_it_was(tmp_path: Path) -> None:
    model = net().eval()
    model.save_pretrained(tmp_path)
    again = AttributeNet.from_pretrained(tmp_path, use_safetensors=True, local_files_only=True).eval()
    picture = flat(1, True)[None]
    assert again.describe(picture) == model.describe(picture)
    torch.testing.assert_close(again(picture).light, model(picture).light)
