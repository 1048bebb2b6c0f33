"""What a file is when it is no picture we read, told from its first bytes."""

from __future__ import annotations

import codecs

__all__ = ["describe_non_picture"]

_FIRST_BYTES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon file"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"ID3", "a sound file"),
    (0, b"RIFF", "a RIFF file (sound or video)"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"qoif", "a QOI picture"),
    (0, b"P6", "a PPM picture"),
    (0, b"\x7fELF", "a program"),
)


def describe_non_picture(data: bytes) -> str:
    """The rest of a sentence that starts with "FILE is", for a file no decoder took."""
    for offset, first, name in _FIRST_BYTES:
        if data[offset : offset + len(first)] == first:
            return name + ", which is not read here"
    head = data[:1024].lstrip(b"\xef\xbb\xbf").lstrip()
    if head[:4].lower() == b"<svg" or b"<svg" in head.lower():
        return "an SVG drawing, which is not read here"
    if head[:5].lower() in (b"<!doc", b"<html"):
        return "a web page, not a picture"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in data[:1024]) and _is_utf8(data[:1024]):
        return "a text file, not a picture"
    return "not a picture in a known format, or a broken one"


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # may end within a character
    except UnicodeDecodeError:
        return False
    return True
