"""A small fast autoencoder with AutoencoderKL's interface, started from patch statistics.

Pictures 8 times as wide as the latents, like Stable Diffusion's VAE, but nothing runs at full
resolution: on a CPU those layers are bound by memory. The encoder is

    latents = linear(x) + branch(x),        x unshuffled to quarter resolution

and the decoder the same the other way round. The linear parts start as the principal components
of 8x8 patches and as the least-squares inverse from a 3x3 neighbourhood of latents, the branches
end in convolutions that start at zero, so the network is a fair autoencoder before its first
training step and training only adds to it. Components are scaled by the fourth root of their
variance, between raw (square root) and whitened (none): coarse structure keeps a larger share of the
latents' energy, which a diffusion model then paints first.

Shapes: B pictures; H, W height and width, multiples of 8; h = H/8, w = W/8; C latent channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["PatchAutoencoderKL"]

FALL = 2.0
"""Channels come out of training at a spread of about variance^.25 of what they explain in pixels. Squared,
their spectrum is that of pixels: where all are alike, a small diffusion model spends itself on the finest
detail rather than on layout and skin."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions without norms, the second starting at zero. (B, width, ., .) both ways."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, ., .) -> the same shape."""
        out: Tensor = x + self.conv_out(F.silu(self.conv_in(x)))
        return out


class Encoder(nn.Module):
    """Quarter-resolution pixels (B, 48, H/4, W/4) -> latents (B, C, h, w)."""

    def __init__(self, channels: int, widths: tuple[int, int], blocks: int) -> None:
        super().__init__()
        fine, coarse = widths
        # 4x4 over quarter-resolution cells: 16x16 px, lapping over the 8x8 patch by 4 px on each side.
        self.linear = nn.Conv2d(48, channels, 4, stride=2, padding=1)
        self.conv_in = nn.Conv2d(48, fine, 3, padding=1)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks)))
        self.down = nn.Conv2d(fine, coarse, 4, stride=2, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks)))
        self.conv_out = nn.Conv2d(coarse, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 48, H/4, W/4) -> (B, C, h, w)."""
        branch = self.coarse(self.down(self.fine(self.conv_in(x))))
        out: Tensor = self.linear(x) + self.conv_out(F.silu(branch))
        return out


class Decoder(nn.Module):
    """Latents (B, C, h, w) -> quarter-resolution pixels (B, 48, H/4, W/4)."""

    def __init__(self, channels: int, widths: tuple[int, int], blocks: int) -> None:
        super().__init__()
        fine, coarse = widths
        self.linear = nn.Conv2d(channels, 192, 3, padding=1)
        self.conv_in = nn.Conv2d(channels, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks)))
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks)))
        self.conv_out = nn.Conv2d(fine, 48, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 48, H/4, W/4)."""
        coarse = self.coarse(self.conv_in(z))
        fine = self.fine(F.pixel_shuffle(self.up(coarse), 2))
        out: Tensor = cells_of_patches(self.linear(z)) + self.conv_out(F.silu(fine))
        return out


class PatchAutoencoderKL(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """f8 autoencoder for small machines; a drop-in for diffusers' AutoencoderKL.

    `encode(x).latent_dist` is a normal distribution whose spread is `latent_noise` in units of the
    encoder's own output; latents already come out centred and at about unit scale, so
    `config.scaling_factor` is 1. Pictures are (B, 3, H, W) in [-1, 1], latents (B, C, H/8, W/8).
    """

    _supports_gradient_checkpointing = False

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        latent_channels: int = 16,
        widths: tuple[int, int] = (96, 192),
        blocks: tuple[int, int] = (1, 2),
        latent_noise: float = 0.05,
        sample_size: int = 128,
        scaling_factor: float = 1.0,
        shift_factor: float | None = None,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),
        force_upcast: bool = False,
    ) -> None:
        # blocks: residual blocks a resolution, of the encoder and of the decoder.
        # block_out_channels says only that there are three halvings: pipelines read its length.
        super().__init__()
        self.encoder = Encoder(latent_channels, tuple(widths), blocks[0])  # type: ignore[arg-type]
        self.decoder = Decoder(latent_channels, tuple(widths), blocks[1])  # type: ignore[arg-type]
        self.register_buffer("latents_mean", torch.zeros(latent_channels))
        self.register_buffer("latents_std", torch.ones(latent_channels))

    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 8 -> distribution of latents (B, C, H/8, W/8)."""
        if x.shape[-1] % 8 or x.shape[-2] % 8:
            raise ValueError(
                f"This autoencoder needs sides that are multiples of 8 px, not {tuple(x.shape[-2:])}."
            )
        raw = self.encoder(F.pixel_unshuffle(x, 4))
        mean = (raw - self._column(self.latents_mean, raw)) / self._column(self.latents_std, raw)
        noise = self.config.latent_noise / self._column(self.latents_std, raw)
        log_variance = noise.square().log().expand_as(mean)
        posterior = DiagonalGaussianDistribution(torch.cat([mean, log_variance], dim=1))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """(B, C, h, w) -> pictures (B, 3, 8h, 8w), about [-1, 1] and not clipped."""
        raw = z * self._column(self.latents_std, z) + self._column(self.latents_mean, z)
        sample = F.pixel_shuffle(self.decoder(raw), 4)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Encode (the mean) and decode: (B, 3, H, W) -> (B, 3, H, W)."""
        (posterior,) = self.encode(sample, return_dict=False)
        return self.decode(posterior.mode(), return_dict=return_dict)

    @staticmethod
    def _column(values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.dtype).view(1, -1, 1, 1)

    @torch.no_grad()
    def start_from_patches(self, pictures: Tensor) -> None:
        """Set the linear parts from principal components of 8x8 patches of pictures (N, 3, H, W) in [-1, 1].

        A few hundred pictures are enough. The branches must be untrained: their ends are at zero.
        """
        channels = self.config.latent_channels
        patches = F.pixel_unshuffle(pictures.float(), 8)  # (N, 192, h, w)
        rows = patches.permute(0, 2, 3, 1).reshape(-1, 192)
        mean = rows.mean(0)
        variance, vectors = torch.linalg.eigh(torch.cov((rows - mean).T).double())
        variance, vectors = variance.flip(0)[:channels], vectors.flip(1)[:, :channels]
        quarter = variance.clamp_min(1e-8) ** 0.25
        quarter = quarter / quarter.square().mean().sqrt()  # mean variance of the latents: 1
        components = (vectors * (quarter / variance.clamp_min(1e-8).sqrt())).T.float()  # (C, 192)
        weight = cell_kernel(components)
        linear = self.encoder.linear
        linear.weight.zero_()
        linear.weight[:, :, 1:3, 1:3] = weight
        linear.bias.copy_(-(components @ mean))  # type: ignore[union-attr]
        self._fit_linear_decoder(pictures, patches)

    def _fit_linear_decoder(self, pictures: Tensor, patches: Tensor) -> None:
        """Least squares from 3x3 latents to the patch in their middle, with a little ridge."""
        latents = self.encoder.linear(F.pixel_unshuffle(pictures.float(), 4))
        noisy = latents + self.config.latent_noise * torch.randn(
            latents.shape, generator=torch.Generator().manual_seed(0)
        )
        padded = F.pad(noisy, (1, 1, 1, 1))
        around = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)  # (N h w, C 9)
        around = torch.cat([around, torch.ones(len(around), 1)], dim=1).double()
        wanted = patches.permute(0, 2, 3, 1).reshape(-1, 192).double()
        gram = around.T @ around + 1e-3 * len(around) * 1e-3 * torch.eye(around.shape[1], dtype=torch.double)
        solution = torch.linalg.solve(gram, around.T @ wanted).float()  # (9 C + 1, 192)
        linear = self.decoder.linear
        linear.weight.copy_(solution[:-1].T.reshape(192, self.config.latent_channels, 3, 3))
        linear.bias.copy_(solution[-1])  # type: ignore[union-attr]

    @torch.no_grad()
    def fold_statistics(self, pictures: Tensor) -> None:
        """Measure the latents of pictures (N, 3, H, W) and fold their centre and scale into the buffers.

        Each channel is centred and given the spread its own had to the power `FALL`, all at a mean
        variance of 1: coarse channels become larger still than fine ones, so that a diffusion model
        settles the picture's layout first and is judged by it most, as it would be on pixels.
        """
        raw = torch.cat([self.encoder(F.pixel_unshuffle(part, 4)) for part in pictures.split(32)])
        std, mean = torch.std_mean(raw.float(), dim=(0, 2, 3))
        wanted = std**FALL
        wanted = wanted / wanted.square().mean().sqrt()
        self.latents_mean.copy_(mean)
        self.latents_std.copy_(std / wanted)


def cells_of_patches(patches: Tensor) -> Tensor:
    """(B, 192, h, w), 8x8 px unshuffled -> (B, 48, 2h, 2w), the same pixels unshuffled by 4."""
    return F.pixel_unshuffle(F.pixel_shuffle(patches, 8), 4)


def cell_kernel(components: Tensor) -> Tensor:
    """Rows over 192 unshuffled patch values (C, 192) -> a kernel over 2x2 cells (C, 48, 2, 2)."""
    count = components.shape[0]
    as_picture = F.pixel_shuffle(components.view(count, 192, 1, 1), 8)  # (C, 3, 8, 8)
    return F.pixel_unshuffle(as_picture, 4)
