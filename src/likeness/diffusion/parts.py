"""One model on disk: a folder of diffusers' or transformers', or of diffusers' in one byte a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from likeness.errors import IncompatibleWeightsError, MissingWeightsError
from likeness.files.int8 import INT8_FILE, read_int8, write_int8

__all__ = ["load_part", "quiet", "save_part", "weights_files"]


def weights_files(folder: Path) -> list[Path]:
    """The safetensors that `load_part` reads from a folder: those in fp16 only where there are no others."""
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if ".fp16" not in file.name]
    return whole or files


def load_part(folder: Path, kind: Any, dtype: torch.dtype, start: Path | None = None) -> Any:
    """One model (a diffusers or transformers class) from its folder, frozen, in evaluation mode.

    Of diffusers' classes also from `INT8_FILE`, which stands in place of the weights file. A folder that was
    fetched in fp16 alone, as most of SDXL's are, is read from that. start: folder of the weights that those
    of an `INT8_FILE` may be offsets from.
    Raises: MissingWeightsError naming the folder when it or its safetensors are not there,
    IncompatibleWeightsError when its tensors do not fit its config.
    """
    if not (folder / "config.json").is_file():
        raise MissingWeightsError(f"{folder} has no config.json: the model folder is not whole.")
    try:
        with quiet():
            if (folder / INT8_FILE).is_file():
                model = kind.from_config(kind.load_config(folder))
                model.load_state_dict(read_int8(folder / INT8_FILE, start))
            else:
                half = any(".fp16" in file.name for file in weights_files(folder))
                model = kind.from_pretrained(
                    folder,
                    torch_dtype=dtype,
                    use_safetensors=True,
                    local_files_only=True,
                    variant="fp16" if half else None,
                )
    except OSError as error:
        pickled = any(folder.glob("*.bin"))
        hint = "only pickle (.bin) weights; save them as safetensors first" if pickled else "no whole weights"
        raise MissingWeightsError(f"{folder} has {hint}.") from error
    except (ValueError, RuntimeError) as error:
        raise IncompatibleWeightsError(f"{folder} does not load: {str(error).splitlines()[0]}") from error
    return torch.nn.Module.to(model, dtype).eval().requires_grad_(False)


def save_part(
    model: Any,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    *,
    int8: bool = False,
    start: Path | None = None,
    coarse: int = 1,
) -> None:
    """Write a model of diffusers' that `load_part` reads; its own weights stay as they are, to the bit.

    int8: half as large as fp16, and ours alone; what lay there in the other form is removed. start: folder of
    the weights that it began as, which offsets are then written from. coarse: see `files.int8.to_int8`.
    """
    if int8:
        model.save_config(folder)
        write_int8(model.state_dict(), folder / INT8_FILE, start=start, coarse=coarse)
        for other in folder.glob("diffusion_pytorch_model*"):
            other.unlink()
        return
    own = {name: tensor.data for name, tensor in _tensors(model)}
    try:
        # torch's own cast: diffusers' warns of layers to be kept in fp32, of which there are none.
        torch.nn.Module.to(model, dtype)
        model.save_pretrained(folder, safe_serialization=True)
        for file in folder.glob("*.safetensors"):  # which safetensors writes for the owner's eyes alone
            file.chmod((folder / "config.json").stat().st_mode)
    finally:
        for name, tensor in _tensors(model):
            tensor.data = own[name]
    (folder / INT8_FILE).unlink(missing_ok=True)


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loaders' own progress bars off the terminal; ours is enough."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
