"""IC-Portrait at the size of SD1.5, from random weights: a step of both nets and the UNet, 512 x 1024 px.

A UNet of SD1.5's shape in bfloat16, both nets begun from it, one row for a picture's embedding. Says how many
parameters there are, how long a step takes and how much memory the process held at most.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from random_weights import built_in, millions, sd15_unet
from record import record, single

from likeness.methods.ic_portrait.config import NetSettings
from likeness.methods.ic_portrait.model import InContextControlNet, Nets, control_net


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(0)
    with built_in(torch.bfloat16):
        unet = sd15_unet().eval().requires_grad_(False)
        nets = Nets(
            control_net(unet).eval().requires_grad_(False),
            control_net(unet).eval().requires_grad_(False),
            NetSettings("sd15"),
        )
    latents, rows, at = noise(1, 4, 64, 128), noise(1, 1, 768), torch.tensor(500)
    condition = torch.rand(1, 3, 512, 1024).bfloat16()
    with torch.no_grad():
        started = time.process_time()
        matching = nets.match(unet, latents, at, rows, condition)
        matched = time.process_time()
        down, middle = InContextControlNet.of(nets, unet)(latents, at, rows, condition, return_dict=False)
        guided = time.process_time()
        prediction = unet(
            latents,
            at,
            rows,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        finished = time.process_time()
    if prediction.shape != latents.shape or not torch.isfinite(prediction).all():
        raise SystemExit("The UNet did not take the nets' residuals.")
    metrics = {
        "parameters, UNet": single(millions(unet), "millions"),
        "parameters, appearance net": single(millions(nets.appearance), "millions"),
        "parameters, matching net": single(millions(nets.matching), "millions"),
        "cells matched": single(float(matching.source[0].numel()), "cells"),
        "residuals taken by the UNet": single(float(len(down) + 1), "levels"),
        "processor time, matching net": single(round(matched - started, 1), "s"),
        "processor time, both nets": single(round(guided - matched, 1), "s"),
        "processor time, UNet": single(round(finished - guided, 1), "s"),
        "memory at most": single(float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024), "MiB"),
    }
    record("ic-portrait-sd15", "ic-portrait", metrics, given=given, n=1, base="sd15", intervals="none")
