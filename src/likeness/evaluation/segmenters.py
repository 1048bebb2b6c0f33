"""Whose regions Seg-Cons compares: a pack's face parser's, or Segment Anything's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from likeness.evaluation.embedders import loaded
from likeness.faces.parsing import load_parser
from likeness.packs import read_card

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from likeness.faces.parsing import FaceParser

__all__ = ["ParsedRegions", "SamRegions", "load_pack_parser", "load_sam"]

GRID = 8
"""Points along each side that Segment Anything is asked about."""


@dataclass(frozen=True, slots=True, eq=False)
class ParsedRegions:
    """A face parser's classes; each picture object is looked at once, and kept as long as this lives."""

    net: FaceParser
    name: str = "face parser"
    licence: str = "not declared"
    _known: dict[int, tuple[Image.Image, NDArray[np.int64]]] = field(default_factory=dict)

    def __call__(self, image: Image.Image) -> NDArray[np.int64]:
        """See `Segmenter`: (H, W) of `faces.parsing.CLASSES`."""
        from likeness.data.build import parse

        if id(image) not in self._known:
            self._known[id(image)] = (image, parse(self.net, image).astype(np.int64))
        return self._known[id(image)][1]


class SamRegions:
    """Segment Anything (arXiv 2304.02643): the likeliest region around each point of a grid.

    model, processor: transformers' SamModel and SamProcessor.
    """

    def __init__(self, model: Any, processor: Any, name: str, licence: str, grid: int = GRID) -> None:
        self._model, self._processor, self._grid = model.eval(), processor, grid
        self.name, self.licence = name, licence

    @torch.inference_mode()
    def __call__(self, image: Image.Image) -> NDArray[np.bool_]:
        """See `Segmenter`: (R, H, W), row by row, one region a point."""
        places = (np.arange(self._grid) + 0.5) / self._grid
        points = [[[float(x * image.width), float(y * image.height)]] for y in places for x in places]
        inputs = self._processor(image.convert("RGB"), input_points=[points], return_tensors="pt")
        found = self._model(
            pixel_values=inputs["pixel_values"], input_points=inputs["input_points"].to(torch.float32)
        )
        masks = self._processor.post_process_masks(
            found.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )[0]
        best = found.iou_scores[0].argmax(-1)
        return np.asarray(masks[torch.arange(len(best)), best].numpy(), np.bool_)


def load_pack_parser(pack: Path) -> ParsedRegions | None:
    """A pack's own parser; None for a pack without one."""
    if not (pack / "parser").is_dir():
        return None
    return ParsedRegions(load_parser(pack / "parser"), f"{pack.name} pack's parser", read_card(pack).licence)


def load_sam(source: str | Path, licence: str = "not declared") -> SamRegions:
    """Segment Anything from a folder of transformers' or its name on the hub.

    Raises: MissingWeightsError where there is none.
    """
    from transformers import SamModel, SamProcessor

    model = loaded(SamModel, source, dtype=torch.float32)
    return SamRegions(model, loaded(SamProcessor, source), str(source), licence)
