"""Opening a base by any of its names, the packs' included."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likeness.errors import InputError
from likeness.packs.mini import mini_path

if TYPE_CHECKING:
    import torch

    from likeness.diffusion.load import Base

__all__ = ["open_base"]


def open_base(
    base: str | Path | Base = "mini",
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
) -> Base:
    """A base: "mini", or what `diffusion.load.load_base` takes; one that is loaded is given back.

    device: by default cuda where there is one, else cpu; or "openvino". dtype: "float32", "float16",
    "bfloat16" or torch's; by default float16 on cuda, else float32.
    Raises: MissingWeightsError, IncompatibleWeightsError, InputError.
    """
    import torch

    from likeness.diffusion.load import Base, load_base

    if isinstance(base, Base):
        return base
    device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if dtype is None:
        dtype = "float16" if device.startswith("cuda") else "float32"
    if isinstance(dtype, str):
        dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
        if dtype not in dtypes:
            raise InputError(f"dtype must be float32, float16 or bfloat16, not {dtype!r}.")
        dtype = dtypes[dtype]
    return load_base(mini_path() if str(base) == "mini" else base, device=device, dtype=dtype)
