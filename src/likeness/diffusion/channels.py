"""UNets of other input channels than the one they are made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["with_input_channels"]


@torch.no_grad()
def with_input_channels(unet: Any, channels: int) -> Any:
    """A copy of a diffusers UNet whose first convolution takes that many channels.

    Those it has keep their weights, in order; further ones begin at zero and change nothing until they are
    trained; those past `channels` are cut off.
    """
    config = {key: value for key, value in dict(unet.config).items() if not key.startswith("_")}
    with torch.device(unet.device):
        copy = type(unet)(**{**config, "in_channels": channels})
    if unet.device.type == "meta":
        return copy
    state = unet.state_dict()
    first = torch.zeros_like(copy.conv_in.weight, dtype=state["conv_in.weight"].dtype)
    kept = min(channels, state["conv_in.weight"].shape[1])
    first[:, :kept] = state["conv_in.weight"][:, :kept]
    copy.load_state_dict({**state, "conv_in.weight": first})
    return nn.Module.to(copy, unet.device, unet.dtype)
