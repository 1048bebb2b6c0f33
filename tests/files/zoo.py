"""A zoo of odd and broken picture files, made from nothing: what every reader of photos has to stand.

`ZOO` holds entries; `populate(folder)` writes them. `expected` is None for a file that has to be
read, otherwise a part of the sentence it has to be refused with.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

__all__ = ["ZOO", "Animal", "card", "populate"]


@dataclass(frozen=True)
class Animal:
    name: str
    make: Callable[[], bytes]
    expected: str | None = None


@cache
def card(size: int = 64) -> Image.Image:
    """Quarters of one colour: red and green above, blue and white below."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half], pixels[:half, half:] = (220, 30, 30), (30, 200, 60)
    pixels[half:, :half], pixels[half:, half:] = (40, 60, 210), (255, 255, 255)
    return Image.fromarray(pixels)


def saved(format: str, image: Image.Image | None = None, **options: Any) -> bytes:  # noqa: A002
    buffer = BytesIO()
    (image or card()).save(buffer, format=format, **options)
    return buffer.getvalue()


def noise(size: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, depth: int, colour: int, body: bytes = b"", extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    image = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def png16(channels: int) -> bytes:
    grid = np.asarray(card()).astype(np.uint16) * 257
    values = grid[..., :channels] if channels == 3 else grid[..., 0]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    return png_of(64, 64, 16, 2 if channels == 3 else 0, rows)


def tiff_float(scale: float, bad: float | None = None) -> bytes:
    grey = np.asarray(card().convert("L")).astype(np.float32) * (scale / 255)
    if bad is not None:
        grey[3, 3] = bad
    return saved("TIFF", Image.fromarray(grey))


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def with_alpha() -> Image.Image:
    image = card().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 32, 32))
    image.putalpha(alpha)
    return image


def palette_transparent() -> bytes:
    image = card().convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    return saved("PNG", image, transparency=bytes([0, 120, 255, 255, 255, 255, 255, 255]))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 80_000_000, zip=True)
    return saved("PNG", pnginfo=info)


def cut(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def flipped(data: bytes, at: float) -> bytes:
    spot = int(len(data) * at)
    return data[:spot] + bytes(255 - byte for byte in data[spot : spot + 8]) + data[spot + 8 :]


def animation(format: str) -> bytes:  # noqa: A002
    return saved(format, save_all=True, append_images=[noise(64), noise(64)], duration=40)


BROKEN = "broken"
OTHER = "not read here"
UNKNOWN = "not a picture"

ZOO: tuple[Animal, ...] = (
    # Odd, but pictures.
    Animal("plain.jpg", lambda: saved("JPEG", quality=95)),
    Animal("progressive.jpg", lambda: saved("JPEG", progressive=True)),
    Animal("plain.webp", lambda: saved("WEBP", lossless=True)),
    Animal("plain.bmp", lambda: saved("BMP")),
    Animal("plain.tiff", lambda: saved("TIFF")),
    Animal("deflated.tiff", lambda: saved("TIFF", compression="tiff_adobe_deflate")),
    Animal("plain.gif", lambda: saved("GIF")),
    Animal("animated.gif", lambda: animation("GIF")),
    Animal("animated.webp", lambda: animation("WEBP")),
    Animal("animated.png", lambda: animation("PNG")),
    Animal("two_pages.tiff", lambda: animation("TIFF")),
    Animal("two_pictures_mpo.jpg", lambda: saved("MPO", save_all=True, append_images=[noise(64)])),
    Animal("png_called.jpg", lambda: saved("PNG")),
    Animal("no_extension", lambda: saved("PNG")),
    *[Animal(f"turned_{n}.jpg", lambda n=n: saved("JPEG", quality=95, exif=exif(n))) for n in range(2, 9)],
    Animal("turned_in_png.png", lambda: saved("PNG", exif=exif(6))),
    Animal("senseless_rotation.jpg", lambda: saved("JPEG", exif=exif(77))),
    Animal("broken_exif.jpg", lambda: saved("JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")),
    Animal("alpha.png", lambda: saved("PNG", with_alpha())),
    Animal("alpha.webp", lambda: saved("WEBP", with_alpha(), lossless=True)),
    Animal("alpha.tiff", lambda: saved("TIFF", with_alpha())),
    Animal("grey.jpg", lambda: saved("JPEG", card().convert("L"))),
    Animal("grey_alpha.png", lambda: saved("PNG", with_alpha().convert("LA"))),
    Animal("grey_key_colour.png", lambda: saved("PNG", card().convert("L"), transparency=255)),
    Animal("key_colour.png", lambda: saved("PNG", transparency=(255, 255, 255))),
    Animal("palette.png", lambda: saved("PNG", card().convert("P"))),
    Animal("palette_transparent.png", palette_transparent),
    Animal("bilevel.png", lambda: saved("PNG", card().convert("1"))),
    Animal("bilevel_fax.tiff", lambda: saved("TIFF", card().convert("1"), compression="group4")),
    Animal("rgb_16_bit.png", lambda: png16(3)),
    Animal("grey_16_bit.png", lambda: png16(1)),
    Animal("grey_16_bit.tiff", lambda: saved("TIFF", Image.open(BytesIO(png16(1))))),
    Animal("int_32_bit.tiff", lambda: saved("TIFF", card().convert("L").convert("I"))),
    Animal("float_0_to_1.tiff", lambda: tiff_float(1.0)),
    Animal("float_0_to_255.tiff", lambda: tiff_float(255.0)),
    Animal("float_0_to_65535.tiff", lambda: tiff_float(65535.0)),
    Animal("cmyk.jpg", lambda: saved("JPEG", card().convert("CMYK"), quality=95)),
    Animal("cmyk.tiff", lambda: saved("TIFF", card().convert("CMYK"))),
    Animal(
        "cmyk_wrong_profile.jpg",
        lambda: saved("JPEG", card().convert("CMYK"), icc_profile=profile("sRGB")),
    ),
    Animal("cmyk_profile.jpg", lambda: saved("JPEG", solid_cmyk(), quality=95, icc_profile=cmyk_profile())),
    Animal("lab.tiff", lambda: saved("TIFF", lab())),
    Animal("profile.png", lambda: saved("PNG", icc_profile=profile("sRGB"))),
    Animal("broken_profile.png", lambda: saved("PNG", icc_profile=b"no profile at all")),
    Animal("smallest.png", lambda: saved("PNG", noise(16))),
    Animal("strip_1_to_20.png", lambda: saved("PNG", Image.new("RGB", (16, 320)))),
    Animal("photograph_90_megapixels.png", lambda: saved("PNG", Image.new("1", (9500, 9500), 1))),
    Animal("trailing_bytes.jpg", lambda: saved("JPEG") + b"\x00" * 1000),
    Animal("many_text_chunks.png", lambda: png_with_texts(200)),
    # Its stream ends in order after 64 of 640 rows: the others are read as black.
    Animal("rows_missing.png", lambda: png_of(64, 640, 8, 2, bytes(64 * 193))),
    # Refused.
    Animal("empty.jpg", lambda: b"", "is empty (0 bytes)"),
    Animal("one_byte.png", lambda: b"\x89", UNKNOWN),
    Animal("zeros.jpg", lambda: bytes(4096), UNKNOWN),
    Animal("text.jpg", lambda: b"This is not a picture.\n" * 9, "a text file"),
    Animal("unicode_text.png", lambda: "Größe, 肖像, портрет".encode() * 4, UNKNOWN),
    Animal("page.jpg", lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    Animal("drawing.png", lambda: b'<?xml version="1.0"?><svg width="9"></svg>', "an SVG drawing"),
    Animal("document.jpg", lambda: b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    Animal("archive.jpg", lambda: b"PK\x03\x04" + bytes(99), "a ZIP archive"),
    Animal("packed.jpg", lambda: b"\x1f\x8b\x08" + bytes(99), "a gzip archive"),
    Animal("photo.heic", lambda: b"\x00\x00\x00\x18ftypheic" + bytes(99), "a HEIC picture"),
    Animal("photo.avif", lambda: b"\x00\x00\x00\x18ftypavif" + bytes(99), "an AVIF picture"),
    Animal("clip.jpg", lambda: b"\x00\x00\x00\x18ftypisom" + bytes(99), "a video"),
    Animal("layers.psd", lambda: b"8BPS\x00\x01" + bytes(99), "a Photoshop file"),
    Animal("icon.png", lambda: saved("ICO"), "an icon file"),
    Animal("portable.ppm", lambda: saved("PPM"), "a PPM picture"),
    Animal("sound.webp", lambda: b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(99), OTHER),
    Animal("random.jpg", lambda: noise(40).tobytes(), UNKNOWN),
    Animal("only_a_header.jpg", lambda: saved("JPEG")[:40], BROKEN),
    Animal("only_a_signature.png", lambda: saved("PNG")[:8], BROKEN),
    Animal("half.jpg", lambda: cut(saved("JPEG", noise()), 0.5), "cut off JPEG"),
    Animal("nearly_whole.jpg", lambda: cut(saved("JPEG", noise()), 0.97), "cut off JPEG"),
    Animal("half.png", lambda: cut(saved("PNG", noise()), 0.5), "cut off PNG"),
    Animal("half.webp", lambda: cut(saved("WEBP", noise()), 0.5), BROKEN),
    Animal("half.bmp", lambda: cut(saved("BMP", noise()), 0.5), "cut off BMP"),
    Animal("half.tiff", lambda: cut(saved("TIFF", noise(), compression="raw"), 0.5), BROKEN),
    Animal("half_deflated.tiff", lambda: cut(saved("TIFF", noise(), compression="tiff_lzw"), 0.5), BROKEN),
    Animal("half.gif", lambda: cut(saved("GIF", noise()), 0.5), "cut off GIF"),
    Animal("flipped.png", lambda: flipped(saved("PNG", noise()), 0.5), BROKEN),
    Animal("no_pixels.png", lambda: png_of(64, 64, 8, 2), BROKEN),
    Animal("impossible_depth.png", lambda: png_of(64, 64, 7, 2, bytes(64 * 193)), BROKEN),
    Animal("zero_width.png", lambda: png_of(0, 64, 8, 2), BROKEN),
    Animal("one_pixel.png", lambda: saved("PNG", Image.new("RGB", (1, 1))), "too small (1 x 1 px)"),
    Animal("thin.png", lambda: saved("PNG", Image.new("RGB", (4000, 8))), "too small (4000 x 8 px)"),
    Animal("strip.png", lambda: saved("PNG", Image.new("RGB", (16, 321))), "a strip (16 x 321 px"),
    Animal("bomb_225_megapixels.png", lambda: png_of(15_000, 15_000, 1, 0), "too large (15000 x 15000 px"),
    Animal("bomb_4_gigapixels.png", lambda: png_of(65_000, 65_000, 8, 2), "200 megapixels"),
    Animal("bomb.gif", lambda: gif_header(65_000, 65_000), "200 megapixels"),
    Animal("bomb_in_a_text.png", text_bomb, BROKEN),
    Animal("float_nan.tiff", lambda: tiff_float(1.0, float("nan")), "not finite"),
    Animal("float_infinite.tiff", lambda: tiff_float(1.0, float("inf")), "not finite"),
    Animal("float_huge.tiff", lambda: tiff_float(1e9), "no known range"),
)


def lab() -> Image.Image:
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    converted = ImageCms.applyTransform(card(), transform)
    assert converted is not None
    return converted


def solid_cmyk() -> Image.Image:
    return Image.new("CMYK", (64, 64), (0, 0, 0, 255))


def cmyk_profile() -> bytes:
    """An ink profile in which K, alone or with others, prints Lab (60, 60, 20), a light red."""
    white, red = bytes([255, 128, 128]), bytes([153, 188, 148])
    grid = b"".join(red if index & 1 else white for index in range(16))  # the last ink varies fastest
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", 65536 * (i % 4 == 0)) for i in range(9))
    table += ramp * 4 + grid + ramp * 3
    tags = {
        b"A2B0": table,
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"Inks\x00" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\x00",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061),
    }
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I", start + len(body)) + bytes(4) + b"\x02\x40\x00\x00" + b"prtrCMYKLab "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + directory + body


def png_with_texts(count: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(count):
        info.add_text(f"Note {number}", "words " * 50)
    return saved("PNG", pnginfo=info)


def gif_header(width: int, height: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\x00\x00" + bytes(6)
    return head + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\x00\x02\x02\x4c\x01\x00;"


def populate(folder: Path) -> list[tuple[Path, str | None]]:
    """Write the whole zoo; also a folder called .jpg and a name that is not there."""
    files: list[tuple[Path, str | None]] = []
    for animal in ZOO:
        path = folder / animal.name
        path.write_bytes(animal.make())
        files.append((path, animal.expected))
    (folder / "folder.jpg").mkdir()
    files.append((folder / "folder.jpg", "is a folder"))
    files.append((folder / "missing.jpg", "does not exist"))
    return files
