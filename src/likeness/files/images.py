"""Pictures and documents on disk: read anything a camera or a tool makes, write whole files only."""

from __future__ import annotations

import json
import os
import secrets
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from likeness.errors import ImageError, InputError
from likeness.files.signatures import describe_non_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ASPECT_MAX",
    "FORMATS",
    "PIXELS_MAX",
    "RECIPE_KEY",
    "SIDE_MIN_PX",
    "contact_sheet",
    "image_from",
    "png_bytes",
    "read_image",
    "read_recipe",
    "to_json",
    "whole_file",
    "write_bytes",
    "write_json",
    "write_png",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SIDE_MIN_PX = 16
PIXELS_MAX = 200_000_000
ASPECT_MAX = 20
RECIPE_KEY = "likeness"

# Pillow's limits and Python's warning filters belong to the whole process.
_pillow_lock = threading.Lock()


def read_image(path: Path | str) -> Image.Image:
    """Read a picture the way a person sees it.

    JPEG, PNG, WebP, BMP, TIFF and GIF (of an animation or several pages: the first). The EXIF
    rotation is applied, transparency laid on white, a colour profile converted to sRGB; grey,
    palette, 16-bit (its upper 8 bits), CMYK, Lab and floating-point pictures (0 to 1, 0 to 255 or
    0 to 65535, whichever fits) become RGB.

    Returns: PIL RGB, uint8, without metadata.
    Raises: ImageError, one sentence naming the file and what is wrong with it: not there, not
    readable, not a picture, broken, under 16 px a side, over 200 megapixels, narrower than 1:20.
    """
    path = Path(path)
    return image_from(_read_bytes(path), path)


def image_from(data: bytes, path: Path | str, pixels_max: int = PIXELS_MAX) -> Image.Image:
    """`read_image` of bytes that are at hand; `path` is what messages call them.

    pixels_max: larger pictures are refused before they are decoded.
    """
    with _quiet_pillow():
        try:
            picture = Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            raise ImageError(f"{path} is {describe_non_picture(data)}; save it as JPEG or PNG.") from None
        except Image.DecompressionBombError:
            raise ImageError(f"{path} has more than {_megapixels(PIXELS_MAX)}; scale it down.") from None
        except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise anything
            raise ImageError(f"{path} is broken: {_reason(error)}; export it again.") from None
        _check_size(path, picture.size, pixels_max)
        try:
            picture.load()
            _turn_upright(picture)
            rgb = _to_rgb(picture, picture.info.get("icc_profile"))
        except ImageError as error:
            raise ImageError(f"{path} {error}") from None
        except Exception as error:  # noqa: BLE001
            raise ImageError(
                f"{path} is a broken or cut off {picture.format} file: {_reason(error)}; export it again."
            ) from None
    rgb.info = {}
    return rgb


def write_png(image: Image.Image, path: Path | str, recipe: dict[str, Any] | None = None) -> None:
    """Write a PNG whole; `recipe` goes into its text chunk "likeness" as JSON (see `read_recipe`).

    Raises: InputError when the place cannot be written to.
    """
    write_bytes(path, png_bytes(image, recipe))


def png_bytes(image: Image.Image, recipe: dict[str, Any] | None = None) -> bytes:
    """The PNG file that `write_png` writes: the same pixels and recipe, the same bytes."""
    chunks = PngImagePlugin.PngInfo()
    if recipe is not None:
        chunks.add_itxt(RECIPE_KEY, to_json(recipe, indent=None))
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_recipe(path: Path | str) -> dict[str, Any]:
    """The recipe `write_png` put into a PNG.

    Raises: ImageError when the file is no PNG, is broken, or holds no recipe.
    """
    path = Path(path)
    data = _read_bytes(path)
    with _quiet_pillow():
        try:
            picture = Image.open(BytesIO(data), formats=["PNG"])
            picture.load()
        except UnidentifiedImageError:  # whose own words hold an address in memory
            raise ImageError(f"{path} is no PNG, and recipes are kept in PNGs.") from None
        except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise anything
            raise ImageError(
                f"{path} is not a readable PNG ({_reason(error)}); recipes are kept in PNGs."
            ) from None
    text = picture.info.get(RECIPE_KEY)
    if text is None:
        raise ImageError(
            f"{path} holds no recipe; it was not made by likeness, or a tool dropped its metadata."
        )
    try:
        recipe = json.loads(text)
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict):
        raise ImageError(f"The recipe inside {path} is damaged; use the result.json beside it.")
    return recipe


def to_json(document: object, indent: int | None = 2) -> str:
    """JSON text: paths become strings, tuples and sets lists, NumPy values plain numbers.

    Raises: TypeError and ValueError for what JSON cannot say (NaN among it).
    """
    return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain)


def write_json(path: Path | str, document: object) -> None:
    """Write a JSON document whole (see `to_json`), UTF-8, a newline at its end.

    Raises: InputError when the place cannot be written to; what `to_json` raises.
    """
    write_bytes(path, (to_json(document) + "\n").encode())


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file whole (see `whole_file`). Raises: InputError when it cannot be written."""
    with whole_file(path) as part:
        part.write_bytes(data)


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to; renamed to `path` at the end, or removed.

    Whoever opens `path` finds the old file or the new one, also after a kill in the middle.
    Missing folders are made. Raises: InputError when the place cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"Cannot write {path}: {_reason(error)}; choose another place.") from None


def contact_sheet(
    images: Sequence[Image.Image], columns: int, labels: Sequence[str] | None = None
) -> Image.Image:
    """Pictures side by side on one sheet, row by row, each in the middle of a cell of equal size.

    images: RGB, any sizes; small ones (under 160 px) are enlarged by a whole number. columns: at
    most so many a row. labels: one a picture, set below it in at most two lines.
    Raises: InputError for no pictures, columns under 1, or a wrong number of labels.
    """
    if not images:
        raise InputError("A contact sheet needs at least one picture.")
    if columns < 1:
        raise InputError(f"A contact sheet needs at least one column, not {columns}.")
    if labels is not None and len(labels) != len(images):
        raise InputError(f"{len(labels)} labels for {len(images)} pictures; give one each.")

    zoom = max(1, -(-160 // max(max(image.size) for image in images)))
    shown = [image.convert("RGB").resize((image.width * zoom, image.height * zoom)) for image in images]
    cell_w, cell_h = max(image.width for image in shown), max(image.height for image in shown)
    margin = max(8, round(0.06 * min(cell_w, cell_h)))
    font = ImageFont.load_default(size=max(11, round(0.055 * cell_w)))
    lines = [_wrap(label, font, cell_w) for label in labels] if labels else [[] for _ in shown]
    line_h = round(1.35 * font.size)  # type: ignore[union-attr]  # with a size it is a FreeTypeFont
    text_h = line_h * max(len(entry) for entry in lines)
    gap = round(0.4 * line_h) if text_h else 0

    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB",
        (margin + columns * (cell_w + margin), margin + rows * (cell_h + gap + text_h + margin)),
        (250, 249, 246),
    )
    draw = ImageDraw.Draw(sheet)
    for index, (image, entry) in enumerate(zip(shown, lines, strict=True)):
        row, column = divmod(index, columns)
        x = margin + column * (cell_w + margin)
        y = margin + row * (cell_h + gap + text_h + margin)
        sheet.paste(image, (x + (cell_w - image.width) // 2, y + (cell_h - image.height) // 2))
        for number, line in enumerate(entry):
            draw.text(
                (x + cell_w / 2, y + cell_h + gap + (number + 0.5) * line_h),
                line,
                fill=(60, 58, 54),
                font=font,
                anchor="mm",
            )
    return sheet


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        data = path.read_bytes() if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path.") from None
    except PermissionError:
        raise ImageError(f"{path} may not be read; change its permissions.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(path)!r:.200} cannot be read: {_reason(error)}; check the path.") from None
    if stat.S_ISDIR(mode):
        raise ImageError(f"{path} is a folder; name a picture in it.")
    if not stat.S_ISREG(mode):
        raise ImageError(f"{path} is not a regular file; name a picture file.")
    if not data:
        raise ImageError(f"{path} is empty (0 bytes); download or export it again.")
    return data


def _check_size(path: Path | str, size: tuple[int, int], pixels_max: int) -> None:
    width, height = size
    if min(size) < SIDE_MIN_PX:
        raise ImageError(
            f"{path} is too small ({width} x {height} px); give at least {SIDE_MIN_PX} px a side."
        )
    if width * height > pixels_max:
        raise ImageError(
            f"{path} is too large ({width} x {height} px, over {_megapixels(pixels_max)}); scale it down."
        )
    if max(size) > ASPECT_MAX * min(size):
        raise ImageError(f"{path} is a strip ({width} x {height} px, beyond 1:{ASPECT_MAX}); crop it.")


def _turn_upright(picture: Image.Image) -> None:
    # EXIF that cannot be parsed turns nothing.
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)


def _to_rgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_levels(picture)
    if picture.mode == "LAB":
        return _through_profile(picture, b"") or picture.convert("RGB")
    alpha = None
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        alpha = rgba.getchannel("A")
        # The profile of a grey picture with alpha is a grey one: convert the colours it fits.
        picture = picture.convert("L") if picture.mode in ("LA", "La", "L") else rgba.convert("RGB")
    elif profile and picture.mode in ("1", "P", "PA"):
        picture = picture.convert("RGB")
    rgb = _through_profile(picture, profile) if profile else None
    rgb = rgb or picture.convert("RGB")
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return rgb


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """To sRGB by a colour profile (none given: Lab); None when it is broken or for another mode."""
    try:
        source = BytesIO(profile) if profile else ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(
            picture, ImageCms.ImageCmsProfile(source), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _from_levels(picture: Image.Image) -> Image.Image:
    """Pictures of more than 8 bits a channel: which range they use is told by their largest value."""
    import numpy as np

    values: NDArray[np.float64] = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError("holds values that are not finite numbers; export it as 8-bit PNG.")
    largest = values.max(initial=0.0)
    if picture.mode.startswith("I;16"):
        white = 65535.0
    elif picture.mode == "F" and largest <= 16:
        white = 1.0  # 0 to 1, light beyond white is clipped
    elif largest <= 255:
        white = 255.0
    elif largest <= 65535:
        white = 65535.0
    else:
        raise ImageError(f"holds values up to {largest:.3g}, no known range; export it as 8-bit PNG.")
    levels = np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8)
    return Image.fromarray(levels).convert("RGB")


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Our size limit in the place of Pillow's, and no warnings: a file is read or refused."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = PIXELS_MAX  # Pillow raises at twice this; _check_size is exact
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """At most two lines of `width` px, the second ending in an ellipsis when words are left over."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    shown = lines[:2]
    if len(lines) > 2:
        shown[1] += "…"
    for number, line in enumerate(shown):
        while font.getlength(line) > width and len(line) > 1:
            line = line.removesuffix("…")[:-1].rstrip() + "…"
        shown[number] = line
    return shown


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, tensors
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _megapixels(pixels: int) -> str:
    return f"{pixels // 1_000_000} megapixels"


def _reason(error: Exception) -> str:
    """The decoder's own words as part of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split()).rstrip(".")
    return f"{words[:160]}" if words else type(error).__name__
